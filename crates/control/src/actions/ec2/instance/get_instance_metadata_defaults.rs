//! GetInstanceMetadataDefaults.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::metadata::account;
use crate::error::Result;

pub fn get_instance_metadata_defaults(
    tx: &mut Tx<Tenant>,
    req: ec2::GetInstanceMetadataDefaultsRequest,
) -> Result<ec2::GetInstanceMetadataDefaultsResult> {
    let ec2::GetInstanceMetadataDefaultsRequest { dry_run: _ } = req;
    let defaults = account(tx).metadata;
    let on = |value: Option<bool>| value.map(|yes| if yes { "enabled" } else { "disabled" }.to_owned());
    let account_level = ec2::InstanceMetadataDefaultsResponse {
        http_tokens: defaults.tokens_required.map(|yes| if yes { "required" } else { "optional" }.to_owned()),
        http_put_response_hop_limit: defaults.hop_limit.map(i32::from),
        http_endpoint: on(defaults.endpoint),
        instance_metadata_tags: on(defaults.tags),
        http_tokens_enforced: on(defaults.tokens_enforced),
        managed_by: Some("account".into()),
        ..Default::default()
    };
    Ok(ec2::GetInstanceMetadataDefaultsResult { account_level: Some(account_level) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_account_that_chose_nothing_has_no_defaults() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("GetInstanceMetadataDefaults", &[]).expect("answers");
        assert!(shown.contains("<accountLevel>") && shown.contains("<managedBy>account</managedBy>"), "{shown}");
        assert!(!shown.contains("httpTokens"), "{shown}");
    }
}
