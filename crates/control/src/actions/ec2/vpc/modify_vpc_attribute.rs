//! ModifyVpcAttribute: one attribute a call.

use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, combination, missing, refuse_if};

pub fn modify_vpc_attribute(tx: &mut Tx<Tenant>, req: ec2::ModifyVpcAttributeRequest) -> Result<()> {
    let ec2::ModifyVpcAttributeRequest {
        enable_dns_hostnames,
        enable_dns_support,
        vpc_id,
        enable_network_address_usage_metrics,
    } = req;
    let vpc = tx.get::<Vpc>(&vpc_id.ok_or_else(|| missing("VpcId"))?.parse()?)?;
    let flag = |v: Option<ec2::AttributeBooleanValue>| v.and_then(|v| v.value);
    let (hostnames, support) = (flag(enable_dns_hostnames), flag(enable_dns_support));
    let metrics = flag(enable_network_address_usage_metrics);
    refuse_if(metrics == Some(true), "EnableNetworkAddressUsageMetrics")?;
    let mut changed = (*vpc).clone();
    match (hostnames, support, metrics) {
        (Some(on), None, None) => {
            if on && !vpc.dns_support {
                return Err(combination("DNS hostnames need DNS support: set enableDnsSupport to true first."));
            }
            changed.dns_hostnames = on;
        }
        (None, Some(on), None) => changed.dns_support = on,
        // It is off, and stays so.
        (None, None, Some(_)) => {}
        (None, None, None) => return Err(combination("No attributes specified.")),
        _ => {
            return Err(combination(
                "Fields for multiple attribute types specified; please specify only one attribute.",
            ));
        }
    }
    tx.put(changed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn guests_get_public_names_where_the_vpc_gives_them() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let vpc = Cloud::ids(&cloud.tenant("acme").call("DescribeVpcs", &[]).expect("answers"), "vpcId").remove(0);
        for (on, named) in [("false", false), ("true", true)] {
            let ask = [("VpcId", vpc.as_str()), ("EnableDnsHostnames.Value", on)];
            cloud.tenant("acme").call("ModifyVpcAttribute", &ask).expect("changes");
            for list in ["DescribeInstances", "DescribeNetworkInterfaces"] {
                let shown = cloud.tenant("acme").call(list, &[]).expect("answers");
                assert_eq!(shown.contains("compute-1.amazonaws.com"), named, "{shown}");
            }
            let ask = [("Filter.1.Name", "dns-name"), ("Filter.1.Value.1", "ec2-*")];
            let shown = cloud.tenant("acme").call("DescribeInstances", &ask).expect("answers");
            assert_eq!(shown.contains(&id), named, "{shown}");
        }
    }

    #[test]
    fn one_attribute_a_call_and_no_names_without_a_resolver() {
        let mut cloud = Cloud::new();
        let vpc = Cloud::ids(&cloud.tenant("acme").call("DescribeVpcs", &[]).expect("answers"), "vpcId").remove(0);
        let mut modify = |more: &[(&str, &str)]| {
            let ask: Vec<_> = [("VpcId", vpc.as_str())].into_iter().chain(more.iter().copied()).collect();
            cloud.tenant("acme").call("ModifyVpcAttribute", &ask)
        };
        let (hostnames, support) = (("EnableDnsHostnames.Value", "true"), ("EnableDnsSupport.Value", "false"));
        for wrong in [&[][..], &[hostnames, support]] {
            assert!(modify(wrong).expect_err("one").starts_with("InvalidParameterCombination"));
        }
        modify(&[support]).expect("changes");
        assert!(modify(&[hostnames]).expect_err("needs support").starts_with("InvalidParameterCombination"));
        let metrics = [("EnableNetworkAddressUsageMetrics.Value", "true")];
        assert!(modify(&metrics).expect_err("is not there").starts_with("UnsupportedOperation"));
    }
}
