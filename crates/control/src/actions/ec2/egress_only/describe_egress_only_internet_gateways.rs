//! DescribeEgressOnlyInternetGateways.

use awan_model::egress_only::EgressOnlyGateway;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

pub fn describe_egress_only_internet_gateways(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeEgressOnlyInternetGatewaysRequest,
) -> Result<ec2::DescribeEgressOnlyInternetGatewaysResult> {
    let ec2::DescribeEgressOnlyInternetGatewaysRequest {
        dry_run: _,
        egress_only_internet_gateway_ids,
        max_results,
        next_token,
        filters,
    } = req;
    let filters = Filters::new(&filters, &["tag:*"])?;
    let named = !egress_only_internet_gateway_ids.is_empty();
    let token = (max_results, next_token.as_deref());
    let page = Page::new(tx, "DescribeEgressOnlyInternetGateways", token, (5, 255), named)?;
    let mut found = Vec::new();
    for id in &egress_only_internet_gateway_ids {
        found.push(tx.get::<EgressOnlyGateway>(&id.parse()?)?);
    }
    if !named {
        found = tx.list::<EgressOnlyGateway>();
    }
    let mut kept = Vec::new();
    for gateway in found {
        let tags = tagging::of(tx, gateway.id.as_str());
        if filters.match_all(|name| tagging::filter_values(&tags, name)) {
            kept.push((gateway, tags));
        }
    }
    let (kept, next_token) = page.cut(kept, |(gateway, _)| gateway.id.clone());
    let egress_only_internet_gateways = kept.iter().map(|(g, tags)| shown(g, tagging::shown(tags))).collect();
    Ok(ec2::DescribeEgressOnlyInternetGatewaysResult { egress_only_internet_gateways, next_token })
}

pub fn shown(gateway: &EgressOnlyGateway, tags: Vec<ec2::Tag>) -> ec2::EgressOnlyInternetGateway {
    let attachment =
        ec2::InternetGatewayAttachment { state: Some("attached".into()), vpc_id: Some(gateway.vpc.to_string()) };
    ec2::EgressOnlyInternetGateway {
        attachments: vec![attachment],
        egress_only_internet_gateway_id: Some(gateway.id.to_string()),
        tags,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn gateways_are_found_by_their_tags() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask).expect(action);
        let vpc = Cloud::ids(&call("DescribeVpcs", &[]), "vpcId").remove(0);
        let made = ["a", "b"].map(|value| {
            let ask = [
                ("VpcId", vpc.as_str()),
                ("TagSpecification.1.ResourceType", "egress-only-internet-gateway"),
                ("TagSpecification.1.Tag.1.Key", "name"),
                ("TagSpecification.1.Tag.1.Value", value),
            ];
            Cloud::ids(&call("CreateEgressOnlyInternetGateway", &ask), "egressOnlyInternetGatewayId").remove(0)
        });
        let ask = [("Filter.1.Name", "tag:name"), ("Filter.1.Value.1", "b")];
        let shown = call("DescribeEgressOnlyInternetGateways", &ask);
        assert_eq!(Cloud::ids(&shown, "egressOnlyInternetGatewayId"), [made[1].as_str()]);
        let ask = [("EgressOnlyInternetGatewayId.1", made[0].as_str())];
        let refusal = cloud.tenant("other").call("DescribeEgressOnlyInternetGateways", &ask).expect_err("not its own");
        assert_eq!(refusal, format!("InvalidGatewayID.NotFound: The eigw ID '{}' does not exist", made[0]));
    }
}
