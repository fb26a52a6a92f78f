//! CreateNetworkInterface.

use awan_model::interface::NetworkInterface;
use awan_model::subnet::Subnet;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::addresses::{Free, Wanted};
use super::draft::{self, Draft};
use super::{ipv6, view};
use crate::actions::ec2::instance::launch;
use crate::actions::ec2::instance::view::GroupNames;
use crate::error::{Error, Result, missing, refuse_if};
use crate::tagging;
use crate::token::Use;

/// How a request is remembered by its client token.
pub const TOKEN: &str = "CreateNetworkInterface";

pub fn create_network_interface(
    tx: &mut Tx<Tenant>,
    req: ec2::CreateNetworkInterfaceRequest,
) -> Result<ec2::CreateNetworkInterfaceResult> {
    let others = ec2::CreateNetworkInterfaceRequest { client_token: None, dry_run: None, ..req.clone() };
    let ec2::CreateNetworkInterfaceRequest {
        ipv4_prefixes,
        ipv4_prefix_count,
        ipv6_prefixes,
        ipv6_prefix_count,
        interface_type,
        tag_specifications,
        client_token,
        enable_primary_ipv6,
        connection_tracking_specification,
        operator,
        subnet_id,
        description,
        private_ip_address,
        groups,
        private_ip_addresses,
        secondary_private_ip_address_count,
        ipv6_addresses,
        ipv6_address_count,
        dry_run: _,
    } = req;
    for (there, name) in [
        (!ipv4_prefixes.is_empty() || ipv4_prefix_count.is_some_and(|n| n != 0), "Ipv4Prefix"),
        (!ipv6_prefixes.is_empty() || ipv6_prefix_count.is_some_and(|n| n != 0), "Ipv6Prefix"),
        (interface_type.is_some_and(|kind| kind != "interface"), "InterfaceType"),
        (enable_primary_ipv6 == Some(true), "EnablePrimaryIpv6"),
        (connection_tracking_specification.is_some(), "ConnectionTrackingSpecification"),
        (operator.is_some(), "Operator"),
    ] {
        refuse_if(there, name)?;
    }
    let client_token = client_token.filter(|token| !token.is_empty());
    let token = client_token.as_deref().map(|t| Use::new(TOKEN, t, &format!("{others:?}"))).transpose()?;
    if let Some(first) = &token
        && let Some(made) = first.made(tx)?
    {
        return answer(tx, &made, client_token);
    }
    let subnet = tx.get::<Subnet>(&subnet_id.ok_or_else(|| missing("SubnetId"))?.parse()?)?;
    let groups = launch::groups(tx, &subnet.vpc, &groups, &[])?;
    let mut wanted =
        Wanted::read(&subnet, private_ip_address, private_ip_addresses, secondary_private_ip_address_count)?;
    wanted.ipv6 = ipv6::Wanted::read(&subnet, ipv6_addresses, ipv6_address_count)?;
    let tags = tagging::specified(&tag_specifications, "network-interface", &["network-interface"])?;
    draft::must_have_room(tx)?;
    let draft = Draft { subnet, groups, wanted, description: draft::description(description)? };
    let mut free = Free::default();
    free.keep(&draft.subnet.id, draft.wanted.named())?;
    let addresses = draft.wanted.take(tx, &mut free, &draft.subnet)?;
    let id = draft::put(tx, &draft, addresses, None, client_token.clone());
    tagging::add(tx, id.as_str(), &tags)?;
    let made = vec![id.to_string()];
    if let Some(first) = token {
        first.keep(tx, made.clone());
    }
    answer(tx, &made, client_token)
}

fn answer(
    tx: &mut Tx<Tenant>,
    made: &[String],
    client_token: Option<String>,
) -> Result<ec2::CreateNetworkInterfaceResult> {
    let id = made.first().ok_or_else(|| Error::fault("a token that made nothing"))?;
    let eni = tx.get::<NetworkInterface>(&id.parse()?)?;
    let seen = view::see(tx, eni);
    let shown = view::shown(tx, &seen, &mut GroupNames::default());
    Ok(ec2::CreateNetworkInterfaceResult { network_interface: Some(shown), client_token })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_interface_has_the_addresses_that_were_asked_for() {
        let mut cloud = Cloud::new();
        let (subnet, base) = cloud.tenant("acme").subnet();
        let (a, b) = (format!("{base}.20"), format!("{base}.21"));
        let ask = [
            ("SubnetId", subnet.as_str()),
            ("Description", "a second leg"),
            ("PrivateIpAddresses.1.PrivateIpAddress", a.as_str()),
            ("PrivateIpAddresses.2.PrivateIpAddress", b.as_str()),
            ("PrivateIpAddresses.2.Primary", "true"),
            ("TagSpecification.1.ResourceType", "network-interface"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", "leg"),
        ];
        let made = cloud.tenant("acme").call("CreateNetworkInterface", &ask).expect("makes");
        assert_eq!(Cloud::ids(&made, "privateIpAddress"), [b.clone(), b.clone(), a.clone()], "{made}");
        assert_eq!(
            (Cloud::ids(&made, "status"), Cloud::ids(&made, "key")),
            (vec!["available".into()], vec!["Name".into()])
        );
        let twice = cloud.tenant("acme").call("CreateNetworkInterface", &ask).expect_err("taken");
        assert_eq!(twice, format!("InvalidIPAddress.InUse: Address {b} is in use."));
        let more = [("SubnetId", subnet.as_str()), ("PrivateIpAddress", "172.31.0.1")];
        let refusal = cloud.tenant("acme").call("CreateNetworkInterface", &more).expect_err("the router's");
        assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
        let many = [("SubnetId", subnet.as_str()), ("SecondaryPrivateIpAddressCount", "50")];
        let refusal = cloud.tenant("acme").call("CreateNetworkInterface", &many).expect_err("no type has so many");
        assert!(refusal.starts_with("PrivateIpAddressLimitExceeded"), "{refusal}");
        let foreign = cloud.tenant("other").call("CreateNetworkInterface", &ask).expect_err("foreign");
        assert_eq!(foreign, format!("InvalidSubnetID.NotFound: The subnet ID '{subnet}' does not exist"));
        cloud.audit();
    }

    #[test]
    fn a_token_makes_one_interface_for_as_long_as_that_lives() {
        let mut cloud = Cloud::new();
        let (subnet, _) = cloud.tenant("acme").subnet();
        let ask = [("SubnetId", subnet.as_str()), ("SecondaryPrivateIpAddressCount", "2"), ("ClientToken", "once")];
        let mut make = || cloud.tenant("acme").call("CreateNetworkInterface", &ask).expect("makes");
        let first = make();
        assert_eq!(first, make());
        assert_eq!(Cloud::ids(&first, "privateIpAddress").len(), 4, "{first}");
        let eni = Cloud::ids(&first, "networkInterfaceId").remove(0);
        let other = [("SubnetId", subnet.as_str()), ("ClientToken", "once")];
        let refusal = cloud.tenant("acme").call("CreateNetworkInterface", &other).expect_err("another request");
        assert!(refusal.starts_with("IdempotentParameterMismatch"), "{refusal}");
        cloud.tenant("acme").call("DeleteNetworkInterface", &[("NetworkInterfaceId", &eni)]).expect("deletes");
        let again = cloud.tenant("acme").call("CreateNetworkInterface", &ask).expect("makes");
        assert_ne!(Cloud::ids(&again, "networkInterfaceId"), [eni]);
    }
}
