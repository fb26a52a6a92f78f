//! ModifyInstanceMetadataOptions: of a running instance too; its host follows within a moment, and says so.

use awan_model::instance::{Instance, VmReport, state};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::metadata::{self, Asked};
use super::modify_instance_attribute::must_be_there;
use crate::error::{Result, combination, missing};

pub fn modify_instance_metadata_options(
    tx: &mut Tx<Tenant>,
    req: ec2::ModifyInstanceMetadataOptionsRequest,
) -> Result<ec2::ModifyInstanceMetadataOptionsResult> {
    let ec2::ModifyInstanceMetadataOptionsRequest {
        instance_id,
        http_tokens,
        http_put_response_hop_limit,
        http_endpoint,
        dry_run: _,
        http_protocol_ipv6,
        instance_metadata_tags,
    } = req;
    let instance = tx.get::<Instance>(&instance_id.ok_or_else(|| missing("InstanceId"))?.parse()?)?;
    must_be_there(tx, &instance)?;
    let asked =
        Asked { http_tokens, http_put_response_hop_limit, http_endpoint, http_protocol_ipv6, instance_metadata_tags };
    if asked.is_empty() {
        return Err(combination("The request must contain at least one metadata option"));
    }
    let old = &instance.metadata;
    let mut new = asked.over(old.clone())?;
    // What the account enforces holds for what becomes optional, not for what has been.
    if old.tokens_required && !new.tokens_required && metadata::account(tx).metadata.tokens_enforced == Some(true) {
        return Err(metadata::not_enforced());
    }
    if new != *old {
        new.changes = old.changes.wrapping_add(1);
    }
    let instance = Instance { metadata: new, ..(*instance).clone() };
    let report = tx.find::<VmReport>(&instance.id);
    let now = state(&instance, report.as_deref());
    let shown = metadata::shown(&instance, now, report.as_deref());
    let instance_id = Some(instance.id.to_string());
    tx.put(instance);
    Ok(ec2::ModifyInstanceMetadataOptionsResult { instance_id, instance_metadata_options: Some(shown) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_change_is_pending_until_the_host_says_that_the_guest_sees_it() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let change = |cloud: &mut Cloud, ask: &[(&str, &str)]| {
            let ask: Vec<_> = [("InstanceId", id.as_str())].into_iter().chain(ask.iter().copied()).collect();
            cloud.tenant("acme").call("ModifyInstanceMetadataOptions", &ask)
        };
        let hops = ("HttpPutResponseHopLimit", "1");
        let answer = change(&mut cloud, &[("HttpTokens", "optional"), hops]).expect("changes");
        assert!(answer.contains("<state>pending</state>"), "{answer}");
        let find = [("Filter.1.Name", "metadata-options.state"), ("Filter.1.Value.1", "pending")];
        let found = |cloud: &mut Cloud| {
            Cloud::ids(&cloud.tenant("acme").call("DescribeInstances", &find).expect("answers"), "instanceId").len()
        };
        assert_eq!(found(&mut cloud), 1);
        cloud.settle();
        assert_eq!(found(&mut cloud), 0);
        let plans = cloud.control.db.read(awan_state::System, |tx| crate::plan::all(tx, 0));
        let options = plans.into_values().flat_map(|p| p.vms).next().expect("is planned").metadata.options;
        assert!(!options.tokens_required && options.hop_limit == 1 && options.endpoint, "{options:?}");
        let answer = change(&mut cloud, &[hops]).expect("changes nothing");
        assert!(answer.contains("<state>applied</state>"), "{answer}");
        for on in ["enabled", "disabled"] {
            let answer = change(&mut cloud, &[("HttpProtocolIpv6", on)]).expect("changes");
            assert_eq!(Cloud::ids(&answer, "httpProtocolIpv6"), [on]);
        }
        for (ask, code) in [
            (&[("HttpTokens", "maybe")][..], "InvalidParameterValue"),
            (&[("HttpPutResponseHopLimit", "65")], "InvalidParameterValue"),
            (&[("HttpProtocolIpv6", "maybe")], "InvalidParameterValue"),
            (&[], "InvalidParameterCombination"),
        ] {
            let refusal = change(&mut cloud, ask).expect_err(code);
            assert!(refusal.starts_with(code), "{refusal}");
        }
        let foreign = [("InstanceId", id.as_str()), hops];
        let refusal = cloud.tenant("other").call("ModifyInstanceMetadataOptions", &foreign).expect_err("foreign");
        assert!(refusal.starts_with("InvalidInstanceID.NotFound"), "{refusal}");
        cloud.audit();
    }
}
