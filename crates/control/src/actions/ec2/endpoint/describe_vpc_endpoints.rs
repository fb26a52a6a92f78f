//! DescribeVpcEndpoints.

use awan_model::endpoint::Endpoint;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::endpoints::shown;
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

const FILTERS: &[&str] = &[
    "tag:*",
    "ip-address-type",
    "service-name",
    "service-region",
    "vpc-id",
    "vpc-endpoint-id",
    "vpc-endpoint-state",
    "vpc-endpoint-type",
];

pub fn describe_vpc_endpoints(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeVpcEndpointsRequest,
) -> Result<ec2::DescribeVpcEndpointsResult> {
    let ec2::DescribeVpcEndpointsRequest { dry_run: _, vpc_endpoint_ids, filters, max_results, next_token } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !vpc_endpoint_ids.is_empty();
    // More are asked for than EC2 gives: it gives what it can.
    let token = (max_results.map(|n| n.min(1000)), next_token.as_deref());
    let page = Page::new(tx, "DescribeVpcEndpoints", token, (1, 1000), named)?;
    let mut found = Vec::new();
    for id in &vpc_endpoint_ids {
        found.push(tx.get::<Endpoint>(&id.parse()?)?);
    }
    if !named {
        found = tx.list::<Endpoint>();
    }
    let mut kept = Vec::new();
    for endpoint in found {
        let tags = tagging::of(tx, endpoint.id.as_str());
        let shown = shown(tx, &endpoint, tagging::shown(&tags));
        let values = |name: &str| {
            let one = match name {
                "ip-address-type" => &shown.ip_address_type,
                "service-name" => &shown.service_name,
                "service-region" => &shown.service_region,
                "vpc-id" => &shown.vpc_id,
                "vpc-endpoint-id" => &shown.vpc_endpoint_id,
                "vpc-endpoint-state" => &shown.state,
                "vpc-endpoint-type" => &shown.vpc_endpoint_type,
                tag => return tagging::filter_values(&tags, tag),
            };
            one.iter().cloned().collect()
        };
        if filters.match_all(values) {
            kept.push((endpoint, shown));
        }
    }
    let (kept, next_token) = page.cut(kept, |(endpoint, _)| endpoint.id.clone());
    let vpc_endpoints = kept.into_iter().map(|(_, shown)| shown).collect();
    Ok(ec2::DescribeVpcEndpointsResult { vpc_endpoints, next_token })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn endpoints_are_found_by_what_they_are() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let vpc = Cloud::ids(&call("DescribeVpcs", &[]).expect("answers"), "vpcId").remove(0);
        let [s3, ec2] = [("s3", "Gateway"), ("ec2", "Interface")].map(|(service, kind)| {
            let service = format!("com.amazonaws.us-east-1.{service}");
            let ask = [("VpcId", vpc.as_str()), ("ServiceName", &service), ("VpcEndpointType", kind)];
            Cloud::ids(&call("CreateVpcEndpoint", &ask).expect("makes"), "vpcEndpointId").remove(0)
        });
        for (name, value, expected) in [
            ("service-name", "*.s3", Some(&s3)),
            ("vpc-endpoint-type", "Interface", Some(&ec2)),
            ("vpc-endpoint-id", &ec2, Some(&ec2)),
            ("vpc-endpoint-state", "deleted", None),
            ("ip-address-type", "ipv6", None),
            ("service-region", "mars-1", None),
        ] {
            let ask = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
            let shown = call("DescribeVpcEndpoints", &ask).expect("answers");
            assert_eq!(Cloud::ids(&shown, "vpcEndpointId").first(), expected, "{name}");
        }
        let refusal =
            cloud.tenant("other").call("DescribeVpcEndpoints", &[("VpcEndpointId.1", &s3)]).expect_err("foreign");
        assert_eq!(refusal, format!("InvalidVpcEndpointId.NotFound: The Vpc Endpoint Id '{s3}' does not exist"));
    }
}
