//! CreateInternetGateway. It leads nowhere until it is attached.

use awan_model::gateway::InternetGateway;
use awan_model::id::InternetGatewayId;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_internet_gateways::shown;
use crate::error::{Code, Result, refuse};
use crate::tagging;

/// As many as VPCs.
const GATEWAYS_MAX: usize = 100;

pub fn create_internet_gateway(
    tx: &mut Tx<Tenant>,
    req: ec2::CreateInternetGatewayRequest,
) -> Result<ec2::CreateInternetGatewayResult> {
    let ec2::CreateInternetGatewayRequest { tag_specifications, dry_run: _ } = req;
    if tx.list::<InternetGateway>().len() >= GATEWAYS_MAX {
        let message = "The maximum number of internet gateways has been reached.";
        return Err(refuse(Code::InternetGatewayLimitExceeded, message));
    }
    let tags = tagging::specified(&tag_specifications, "internet-gateway", &["internet-gateway"])?;
    let (home, created) = (tx.home().clone(), tx.now());
    let id = InternetGatewayId::made(tx.new_id(InternetGatewayId::PREFIX));
    let gateway = InternetGateway { home, id, vpc: None, created };
    tx.put(gateway.clone());
    tagging::add(tx, gateway.id.as_str(), &tags)?;
    Ok(ec2::CreateInternetGatewayResult { internet_gateway: Some(shown(&gateway, tags)) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_new_gateway_has_its_tags_and_is_attached_to_nothing() {
        let mut cloud = Cloud::new();
        let ask = [
            ("TagSpecification.1.ResourceType", "internet-gateway"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", "door"),
        ];
        let made = cloud.tenant("acme").call("CreateInternetGateway", &ask).expect("makes");
        assert!(made.contains("<value>door</value>") && !made.contains("<vpcId>"), "{made}");
        let tags = cloud.tenant("acme").call("DescribeTags", &[]).expect("answers");
        assert_eq!(Cloud::ids(&tags, "resourceType"), ["internet-gateway"]);
    }
}
