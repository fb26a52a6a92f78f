//! ModifyInstanceMetadataDefaults: what the launches of an account have in a region where they do not say.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::metadata::{account, hop_limit, one_of};
use crate::error::{Result, combination};

pub fn modify_instance_metadata_defaults(
    tx: &mut Tx<Tenant>,
    req: ec2::ModifyInstanceMetadataDefaultsRequest,
) -> Result<ec2::ModifyInstanceMetadataDefaultsResult> {
    let ec2::ModifyInstanceMetadataDefaultsRequest {
        http_tokens,
        http_put_response_hop_limit,
        http_endpoint,
        instance_metadata_tags,
        dry_run: _,
        http_tokens_enforced,
    } = req;
    let mut options = account(tx);
    let defaults = &mut options.metadata;
    set(&mut defaults.tokens_required, http_tokens, ("required", "optional"), "HttpTokens")?;
    let switch = ("enabled", "disabled");
    set(&mut defaults.endpoint, http_endpoint, switch, "HttpEndpoint")?;
    set(&mut defaults.tags, instance_metadata_tags, switch, "InstanceMetadataTags")?;
    set(&mut defaults.tokens_enforced, http_tokens_enforced, switch, "HttpTokensEnforced")?;
    match http_put_response_hop_limit {
        None => {}
        Some(-1) => defaults.hop_limit = None,
        Some(n) => defaults.hop_limit = Some(hop_limit(n)?),
    }
    // Source: "Enforce IMDSv2 at the account level", EC2 User Guide.
    if defaults.tokens_enforced == Some(true) && defaults.tokens_required == Some(false) {
        return Err(combination("HttpTokens cannot be 'optional' where HttpTokensEnforced is 'enabled'"));
    }
    tx.put(options);
    Ok(ec2::ModifyInstanceMetadataDefaultsResult { r#return: Some(true) })
}

fn set(held: &mut Option<bool>, value: Option<String>, (yes, no): (&str, &str), name: &str) -> Result<()> {
    if value.as_deref() == Some("no-preference") {
        *held = None;
    } else if let Some(chosen) = one_of(value, yes, no, name)? {
        *held = Some(chosen);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn launches_follow_what_the_account_chose_where_they_do_not_say() {
        let mut cloud = Cloud::new();
        let set =
            |cloud: &mut Cloud, ask: &[(&str, &str)]| cloud.tenant("acme").call("ModifyInstanceMetadataDefaults", ask);
        set(
            &mut cloud,
            &[("HttpTokens", "optional"), ("HttpPutResponseHopLimit", "3"), ("InstanceMetadataTags", "enabled")],
        )
        .expect("sets");
        let id = cloud.tenant("acme").launch();
        let options = cloud.instance(&id).0.metadata;
        assert!(!options.tokens_required && options.hop_limit == 3 && options.tags && options.endpoint, "{options:?}");
        let own = [("MetadataOptions.HttpTokens", "required"), ("MetadataOptions.HttpPutResponseHopLimit", "1")];
        let id = cloud.tenant("acme").run_with(&own).expect("launches").remove(0);
        let options = cloud.instance(&id).0.metadata;
        assert!(options.tokens_required && options.hop_limit == 1, "{options:?}");
        let other = cloud.tenant("other").launch();
        assert!(cloud.instance(&other).0.metadata.tokens_required, "another account's");
        set(&mut cloud, &[("HttpTokens", "no-preference"), ("HttpPutResponseHopLimit", "-1")]).expect("unsets");
        let id = cloud.tenant("acme").launch();
        assert_eq!(
            (cloud.instance(&id).0.metadata.tokens_required, cloud.instance(&id).0.metadata.hop_limit),
            (true, 2)
        );
        for ask in [("HttpTokens", "maybe"), ("HttpEndpoint", "on"), ("HttpPutResponseHopLimit", "0")] {
            let refusal = set(&mut cloud, &[ask]).expect_err(ask.1);
            assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
        }
    }

    #[test]
    fn where_tokens_are_enforced_nothing_launches_without() {
        let mut cloud = Cloud::new();
        let enforce = [("HttpTokensEnforced", "enabled")];
        cloud.tenant("acme").call("ModifyInstanceMetadataDefaults", &enforce).expect("sets");
        let refusal =
            cloud.tenant("acme").run_with(&[("MetadataOptions.HttpTokens", "optional")]).expect_err("optional");
        assert!(refusal.starts_with("UnsupportedOperation"), "{refusal}");
        let id = cloud.tenant("acme").launch();
        let ask = [("InstanceId", id.as_str()), ("HttpTokens", "optional")];
        let refusal = cloud.tenant("acme").call("ModifyInstanceMetadataOptions", &ask).expect_err("optional");
        assert!(refusal.starts_with("UnsupportedOperation"), "{refusal}");
        let optional = [("HttpTokens", "optional")];
        let refusal = cloud.tenant("acme").call("ModifyInstanceMetadataDefaults", &optional).expect_err("both");
        assert!(refusal.starts_with("InvalidParameterCombination"), "{refusal}");
    }
}
