//! DescribeInternetGateways.

use awan_model::gateway::InternetGateway;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

const FILTERS: &[&str] = &["tag:*", "attachment.state", "attachment.vpc-id", "internet-gateway-id", "owner-id"];

pub fn describe_internet_gateways(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeInternetGatewaysRequest,
) -> Result<ec2::DescribeInternetGatewaysResult> {
    let ec2::DescribeInternetGatewaysRequest { next_token, max_results, dry_run: _, internet_gateway_ids, filters } =
        req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !internet_gateway_ids.is_empty();
    let page = Page::new(tx, "DescribeInternetGateways", (max_results, next_token.as_deref()), (5, 1000), named)?;
    let mut found = Vec::new();
    for id in &internet_gateway_ids {
        found.push(tx.get::<InternetGateway>(&id.parse()?)?);
    }
    if !named {
        found = tx.list::<InternetGateway>();
    }
    let mut kept = Vec::new();
    for gateway in found {
        let tags = tagging::of(tx, gateway.id.as_str());
        let values = |name: &str| match name {
            "attachment.state" => gateway.vpc.iter().map(|_| "available".to_owned()).collect(),
            "attachment.vpc-id" => gateway.vpc.iter().map(ToString::to_string).collect(),
            "internet-gateway-id" => vec![gateway.id.to_string()],
            "owner-id" => vec![gateway.home.account().into()],
            tag => tagging::filter_values(&tags, tag),
        };
        if filters.match_all(values) {
            kept.push((gateway, tags));
        }
    }
    let (kept, next_token) = page.cut(kept, |(gateway, _)| gateway.id.clone());
    let internet_gateways = kept.iter().map(|(gateway, tags)| shown(gateway, tagging::shown(tags))).collect();
    Ok(ec2::DescribeInternetGatewaysResult { internet_gateways, next_token })
}

pub fn shown(gateway: &InternetGateway, tags: Vec<ec2::Tag>) -> ec2::InternetGateway {
    // EC2 calls an attached internet gateway "available", unlike all else that is attached.
    let attachment = |vpc: &awan_model::id::VpcId| ec2::InternetGatewayAttachment {
        state: Some("available".into()),
        vpc_id: Some(vpc.to_string()),
    };
    ec2::InternetGateway {
        attachments: gateway.vpc.iter().map(attachment).collect(),
        internet_gateway_id: Some(gateway.id.to_string()),
        owner_id: Some(gateway.home.account().into()),
        tags,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_default_vpc_has_its_gateway() {
        let mut cloud = Cloud::new();
        let vpc = Cloud::ids(&cloud.tenant("acme").call("DescribeVpcs", &[]).expect("answers"), "vpcId").remove(0);
        cloud.tenant("acme").call("CreateInternetGateway", &[]).expect("makes");
        let shown = cloud.tenant("acme").call("DescribeInternetGateways", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "internetGatewayId").len(), 2, "{shown}");
        assert_eq!(Cloud::ids(&shown, "vpcId"), [vpc]);
    }
}
