//! CreateDefaultSubnet: where the first one of a zone was deleted.

use awan_model::subnet::Subnet;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::create_subnet::zone;
use super::describe_subnets::shown;
use crate::error::{Code, Result, missing, refuse, refuse_if};
use crate::network;

pub fn create_default_subnet(
    tx: &mut Tx<Tenant>,
    req: ec2::CreateDefaultSubnetRequest,
) -> Result<ec2::CreateDefaultSubnetResult> {
    let ec2::CreateDefaultSubnetRequest { availability_zone, dry_run: _, ipv6_native, availability_zone_id } = req;
    refuse_if(ipv6_native == Some(true), "Ipv6Native")?;
    if availability_zone.is_none() && availability_zone_id.is_none() {
        return Err(missing("AvailabilityZone"));
    }
    let zone = zone(tx, availability_zone, availability_zone_id)?;
    let Some(vpc) = tx.list::<Vpc>().into_iter().find(|vpc| vpc.is_default) else {
        let message = "No default VPC exists for this account in this region.";
        return Err(refuse(Code::DefaultVpcDoesNotExist, message));
    };
    let there = tx.list::<Subnet>();
    if let Some(there) = there.iter().find(|s| s.vpc == vpc.id && s.default_for_zone && s.zone == zone) {
        let message = format!("'{}' is already the default subnet in {zone}.", there.id);
        return Err(refuse(Code::DefaultSubnetAlreadyExists, message));
    }
    let Some(subnet) = network::default_subnet(tx, &vpc, &zone)? else {
        let message = format!("The default VPC {} has no free range of the size /20.", vpc.id);
        return Err(refuse(Code::InvalidSubnetRange, message));
    };
    let free = subnet.usable().count();
    Ok(ec2::CreateDefaultSubnetResult { subnet: Some(shown(&subnet, free, Vec::new())) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn each_zone_has_one_default_subnet() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let zone = [("AvailabilityZone", "us-east-1b")];
        let of_zone = [("Filter.1.Name", "availability-zone"), ("Filter.1.Value.1", "us-east-1b")];
        let subnet = Cloud::ids(&call("DescribeSubnets", &of_zone).expect("answers"), "subnetId").remove(0);
        let refusal = call("CreateDefaultSubnet", &zone).expect_err("has one");
        let expected = format!(
            "DefaultSubnetAlreadyExistsInAvailabilityZone: '{subnet}' is already the default subnet in us-east-1b."
        );
        assert_eq!(refusal, expected);
        call("DeleteSubnet", &[("SubnetId", &subnet)]).expect("deletes");
        let made = call("CreateDefaultSubnet", &zone).expect("makes");
        assert!(made.contains("<defaultForAz>true</defaultForAz>"), "{made}");
        assert!(made.contains("<mapPublicIpOnLaunch>true</mapPublicIpOnLaunch>"), "{made}");
        let refusal = call("CreateDefaultSubnet", &[("AvailabilityZone", "mars")]).expect_err("no such zone");
        assert!(refusal.starts_with("InvalidParameterValue: Value (mars) for parameter availabilityZone"), "{refusal}");
        cloud.audit();
    }
}
