//! DetachInternetGateway. Routes to it stay and lead nowhere.

use awan_model::address::Address;
use awan_model::gateway::InternetGateway;
use awan_model::id::VpcId;
use awan_model::instance::Placement;
use awan_model::interface::NetworkInterface;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, dependency, missing, refuse};

pub fn detach_internet_gateway(tx: &mut Tx<Tenant>, req: ec2::DetachInternetGatewayRequest) -> Result<()> {
    let ec2::DetachInternetGatewayRequest { dry_run: _, internet_gateway_id, vpc_id } = req;
    let id = internet_gateway_id.ok_or_else(|| missing("InternetGatewayId"))?;
    let gateway = tx.get::<InternetGateway>(&id.parse()?)?;
    let vpc = tx.get::<Vpc>(&vpc_id.ok_or_else(|| missing("VpcId"))?.parse()?)?;
    if gateway.vpc.as_ref() != Some(&vpc.id) {
        let message = format!("resource {} is not attached to network {}", gateway.id, vpc.id);
        return Err(refuse(Code::GatewayNotAttached, message));
    }
    if has_public_addresses(tx, &vpc.id) {
        return Err(dependency(format!(
            "Network {} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.",
            vpc.id
        )));
    }
    tx.put(InternetGateway { vpc: None, ..(*gateway).clone() });
    Ok(())
}

/// Elastic or automatic.
fn has_public_addresses(tx: &mut Tx<Tenant>, vpc: &VpcId) -> bool {
    tx.list::<NetworkInterface>().iter().filter(|eni| eni.vpc == *vpc).any(|eni| {
        let instance = eni.attachment.as_ref().map(|a| &a.instance);
        eni.addresses().any(|ip| tx.lookup(Address::BY_INTERFACE, &Address::on(&eni.id, ip)).is_some())
            || instance.and_then(|id| tx.find::<Placement>(id)).is_some_and(|place| place.public_ip.is_some())
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_gateway_stays_while_guests_are_reached_through_it() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let vpc = cloud.instance(&instance).0.vpc.to_string();
        let shown = cloud.tenant("acme").call("DescribeInternetGateways", &[]).expect("answers");
        let gateway = Cloud::ids(&shown, "internetGatewayId").remove(0);
        let both = [("InternetGatewayId", gateway.as_str()), ("VpcId", vpc.as_str())];
        let alone = [both[0]];
        let refusal = cloud.tenant("acme").call("DetachInternetGateway", &both).expect_err("has an address");
        assert!(refusal.starts_with(&format!("DependencyViolation: Network {vpc} has some mapped")), "{refusal}");
        let refusal = cloud.tenant("acme").call("DeleteInternetGateway", &alone).expect_err("is attached");
        let expected =
            format!("DependencyViolation: The internetGateway '{gateway}' has dependencies and cannot be deleted.");
        assert_eq!(refusal, expected);
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("terminates");
        cloud.settle();
        cloud.tenant("acme").call("DetachInternetGateway", &both).expect("detaches");
        let refusal = cloud.tenant("acme").call("DetachInternetGateway", &both).expect_err("twice");
        assert_eq!(refusal, format!("Gateway.NotAttached: resource {gateway} is not attached to network {vpc}"));
        let shown = cloud.tenant("acme").call("DescribeRouteTables", &[]).expect("answers");
        assert!(shown.contains("<state>blackhole</state>"), "{shown}");
    }
}
