//! The network part of a launch request: which interfaces each instance has, new ones and those that are there.
//!
//! EC2's rules for several interfaces are from "RunInstances" (`NetworkInterfaces`) and "Public IPv4 addresses".

use std::collections::BTreeSet;
use std::sync::Arc;

use awan_model::id::{InstanceId, InterfaceId};
use awan_model::instance_type::InstanceType;
use awan_model::interface::NetworkInterface;
use awan_model::subnet::Subnet;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::launch::{self, Asked};
use crate::actions::ec2::interface::addresses::{self, Free, Taken, Wanted};
use crate::actions::ec2::interface::attach_network_interface::{must_be_free, must_have_places};
use crate::actions::ec2::interface::draft::{self, Draft};
use crate::actions::ec2::interface::ipv6;
use crate::error::{Result, combination, invalid, invalid_value, refuse_if};
use crate::tagging;

/// What each instance of a launch has of the network.
pub struct Network {
    /// Of the primary interface.
    pub subnet: Arc<Subnet>,
    pub public_ip: bool,
    /// In the order of their device index; the first has index 0.
    interfaces: Vec<Leg>,
    free: Free,
}

struct Leg {
    device_index: u32,
    delete_on_termination: bool,
    source: Source,
}

enum Source {
    There(Arc<NetworkInterface>),
    New(Draft),
}

/// Addresses for the new interfaces of one instance.
pub type Addresses = Vec<Taken>;

/// `fits`: how many of the machines that are wanted have room in a zone.
pub fn network(tx: &mut Tx<Tenant>, asked: Asked, most: u32, fits: impl Fn(&str) -> u64) -> Result<Network> {
    let Asked {
        subnet_id,
        security_group_ids,
        security_groups,
        private_ip_address,
        ipv6_addresses,
        ipv6_address_count,
        network_interfaces,
        zone,
    } = asked;
    if network_interfaces.is_empty() {
        if subnet_id.is_some() && !security_groups.is_empty() {
            return Err(combination("The parameter groupName cannot be used with the parameter subnet"));
        }
        let subnet = launch::subnet(tx, subnet_id.as_deref(), zone.as_deref(), fits)?;
        let groups = launch::groups(tx, &subnet.vpc, &security_group_ids, &security_groups)?;
        let mut wanted = Wanted::read(&subnet, private_ip_address, Vec::new(), None)?;
        wanted.ipv6 = ipv6::Wanted::read(&subnet, ipv6_addresses, ipv6_address_count)?;
        let draft = Draft { subnet: subnet.clone(), groups, wanted, description: String::new() };
        let leg = Leg { device_index: 0, delete_on_termination: true, source: Source::New(draft) };
        return whole(subnet.clone(), subnet.map_public_ip, vec![leg], most);
    }
    for (there, what) in [
        (!(security_group_ids.is_empty() && security_groups.is_empty()), "security groups"),
        (subnet_id.is_some(), "subnet ID"),
        (private_ip_address.is_some(), "private IP address"),
        (!ipv6_addresses.is_empty() || ipv6_address_count.is_some_and(|n| n != 0), "IPv6 address"),
    ] {
        if there {
            return Err(combination(format!(
                "Network interfaces and an instance-level {what} may not be specified on the same request"
            )));
        }
    }
    several(tx, network_interfaces, zone.as_deref(), most, fits)
}

fn several(
    tx: &mut Tx<Tenant>,
    specs: Vec<ec2::InstanceNetworkInterfaceSpecification>,
    zone: Option<&str>,
    most: u32,
    fits: impl Fn(&str) -> u64,
) -> Result<Network> {
    let alone = specs.len() == 1;
    let mut legs = Vec::new();
    let mut public_ip = None;
    let mut primary: Option<Arc<Subnet>> = None;
    for (n, spec) in sorted(specs)? {
        checked(&spec, n)?;
        if spec.associate_public_ip_address == Some(true) && !alone {
            return Err(combination(
                "The associatePublicIPAddress parameter cannot be specified when launching with multiple network interfaces.",
            ));
        }
        // The other interfaces are in the zone of the first.
        let zone = primary.as_ref().map(|s| s.zone.clone()).or(zone.map(str::to_owned));
        let associate = spec.associate_public_ip_address;
        let leg = match &spec.network_interface_id {
            Some(_) => there(tx, spec, zone.as_deref(), most)?,
            None => new(tx, spec, zone.as_deref(), primary.as_deref(), &fits)?,
        };
        if primary.is_none() {
            let (subnet, usual) = match &leg.source {
                Source::There(eni) => (tx.get::<Subnet>(&eni.subnet)?, false),
                Source::New(draft) => (draft.subnet.clone(), alone && draft.subnet.map_public_ip),
            };
            public_ip = Some(associate.unwrap_or(usual));
            primary = Some(subnet);
        }
        legs.push(leg);
    }
    let subnet = primary.ok_or_else(|| invalid("A launch needs a network interface"))?;
    whole(subnet, public_ip.unwrap_or_default(), legs, most)
}

/// With their place in the request, by device index; 0 is there, and none twice.
fn sorted(
    specs: Vec<ec2::InstanceNetworkInterfaceSpecification>,
) -> Result<Vec<(usize, ec2::InstanceNetworkInterfaceSpecification)>> {
    let mut out: Vec<(usize, ec2::InstanceNetworkInterfaceSpecification)> = (1..).zip(specs).collect();
    for (_, spec) in &out {
        match spec.device_index {
            None => return Err(invalid("Each network interface requires a device index.")),
            Some(index) if index < 0 => return Err(invalid_value(index, "deviceIndex")),
            Some(_) => {}
        }
    }
    out.sort_by_key(|(_, spec)| spec.device_index);
    if out.first().is_some_and(|(_, spec)| spec.device_index != Some(0)) {
        return Err(invalid("When specifying network interfaces, you must include a device at index 0."));
    }
    let distinct: BTreeSet<_> = out.iter().map(|(_, spec)| spec.device_index).collect();
    if distinct.len() != out.len() {
        return Err(invalid("Each network interface requires a unique device index."));
    }
    Ok(out)
}

fn whole(subnet: Arc<Subnet>, public_ip: bool, interfaces: Vec<Leg>, most: u32) -> Result<Network> {
    let mut free = Free::default();
    for leg in &interfaces {
        let Source::New(draft) = &leg.source else { continue };
        if most > 1 && draft.wanted.named().next().is_some() {
            return Err(combination("A private address can be given to one instance only"));
        }
        free.keep(&draft.subnet.id, draft.wanted.named())?;
    }
    Ok(Network { subnet, public_ip, interfaces, free })
}

type Spec = ec2::InstanceNetworkInterfaceSpecification;

fn leg(spec: &Spec, usual: bool, source: Source) -> Leg {
    let device_index = spec.device_index.and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
    Leg { device_index, delete_on_termination: spec.delete_on_termination.unwrap_or(usual), source }
}

/// An interface that is there is nobody's yet, and stays as it is.
fn there(tx: &mut Tx<Tenant>, spec: Spec, zone: Option<&str>, most: u32) -> Result<Leg> {
    let id = spec.network_interface_id.as_deref().unwrap_or_default();
    let eni = tx.get::<NetworkInterface>(&id.parse()?)?;
    for (there, what) in [
        (spec.subnet_id.is_some(), "a subnet ID"),
        (!spec.groups.is_empty(), "security groups"),
        (spec.private_ip_address.is_some() || !spec.private_ip_addresses.is_empty(), "private IP addresses"),
        (spec.secondary_private_ip_address_count.is_some_and(|n| n > 0), "a number of secondary addresses"),
        (!spec.ipv6_addresses.is_empty() || spec.ipv6_address_count.is_some_and(|n| n != 0), "IPv6 addresses"),
        (spec.description.as_ref().is_some_and(|d| !d.is_empty()), "a description"),
        (spec.associate_public_ip_address == Some(true), "associatePublicIPAddress"),
        (spec.delete_on_termination == Some(true), "delete on termination as true"),
    ] {
        if there {
            return Err(combination(format!(
                "A network interface may not specify both a network interface ID and {what}"
            )));
        }
    }
    if most > 1 {
        return Err(combination("A network interface that exists can be given to one instance only"));
    }
    must_be_free(&eni)?;
    if zone.is_some_and(|zone| zone != eni.zone) {
        return Err(combination("All network interfaces of an instance must be in one availability zone"));
    }
    Ok(leg(&spec, false, Source::There(eni)))
}

fn new(
    tx: &mut Tx<Tenant>,
    spec: Spec,
    zone: Option<&str>,
    primary: Option<&Subnet>,
    fits: impl Fn(&str) -> u64,
) -> Result<Leg> {
    // One that names no subnet is in that of the primary interface.
    let id = spec.subnet_id.as_deref().or(primary.map(|s| s.id.as_str()));
    let subnet = launch::subnet(tx, id, zone, fits)?;
    let groups = launch::groups(tx, &subnet.vpc, &spec.groups, &[])?;
    let (alone, list) = (spec.private_ip_address.clone(), spec.private_ip_addresses.clone());
    let mut wanted = Wanted::read(&subnet, alone, list, spec.secondary_private_ip_address_count)?;
    wanted.ipv6 = ipv6::Wanted::read(&subnet, spec.ipv6_addresses.clone(), spec.ipv6_address_count)?;
    let description = draft::description(spec.description.clone())?;
    Ok(leg(&spec, true, Source::New(Draft { subnet, groups, wanted, description })))
}

/// Refuses what an interface of a launch cannot be. `n`: its place in the request.
fn checked(spec: &Spec, n: usize) -> Result<()> {
    let ec2::InstanceNetworkInterfaceSpecification {
        associate_public_ip_address: _,
        delete_on_termination: _,
        description: _,
        device_index: _,
        groups: _,
        ipv6_address_count: _,
        ipv6_addresses: _,
        network_interface_id: _,
        private_ip_address: _,
        private_ip_addresses: _,
        secondary_private_ip_address_count: _,
        subnet_id: _,
        associate_carrier_ip_address,
        interface_type,
        network_card_index,
        ipv4_prefixes,
        ipv4_prefix_count,
        ipv6_prefixes,
        ipv6_prefix_count,
        primary_ipv6,
        ena_srd_specification,
        connection_tracking_specification,
        ena_queue_count,
    } = spec;
    for (there, name) in [
        (*associate_carrier_ip_address == Some(true), "AssociateCarrierIpAddress"),
        (interface_type.as_deref().is_some_and(|t| t != "interface"), "InterfaceType"),
        (network_card_index.is_some_and(|n| n != 0), "NetworkCardIndex"),
        (!ipv4_prefixes.is_empty() || ipv4_prefix_count.is_some_and(|n| n != 0), "Ipv4Prefix"),
        (!ipv6_prefixes.is_empty() || ipv6_prefix_count.is_some_and(|n| n != 0), "Ipv6Prefix"),
        (*primary_ipv6 == Some(true), "PrimaryIpv6"),
        (ena_srd_specification.is_some(), "EnaSrdSpecification"),
        (connection_tracking_specification.is_some(), "ConnectionTrackingSpecification"),
        (ena_queue_count.is_some(), "EnaQueueCount"),
    ] {
        refuse_if(there, &format!("NetworkInterface.{n}.{name}"))?;
    }
    Ok(())
}

impl Network {
    /// Refuses more interfaces or addresses than the type has.
    pub fn must_fit(&self, kind: &InstanceType) -> Result<()> {
        must_have_places(kind, self.interfaces.len())?;
        for leg in &self.interfaces {
            let count = match &leg.source {
                Source::There(eni) => eni.addresses().count().max(eni.ipv6.len()),
                Source::New(draft) => draft.wanted.count().max(draft.wanted.ipv6.count()),
            };
            addresses::must_fit(kind, count)?;
        }
        Ok(())
    }

    /// Addresses for one more instance.
    pub fn addresses(&mut self, tx: &mut Tx<Tenant>) -> Result<Addresses> {
        let mut all = Vec::new();
        for leg in &self.interfaces {
            if let Source::New(draft) = &leg.source {
                all.push(draft.wanted.take(tx, &mut self.free, &draft.subnet)?);
            }
        }
        Ok(all)
    }

    /// The interfaces of one instance, attached; the primary first.
    pub fn attach(
        &self,
        tx: &mut Tx<Tenant>,
        instance: &InstanceId,
        addresses: Addresses,
        tags: &[ec2::Tag],
    ) -> Result<Vec<InterfaceId>> {
        let mut addresses = addresses.into_iter();
        let mut ids = Vec::with_capacity(self.interfaces.len());
        for leg in &self.interfaces {
            let attachment = draft::attachment(tx, (instance, leg.device_index), leg.delete_on_termination);
            match &leg.source {
                Source::There(eni) => {
                    tx.put(NetworkInterface { attachment: Some(attachment), ..(**eni).clone() });
                    ids.push(eni.id.clone());
                }
                Source::New(draft) => {
                    let own = addresses.next().ok_or_else(|| crate::error::Error::fault("too few addresses"))?;
                    let id = draft::put(tx, draft, own, Some(attachment), None);
                    tagging::add(tx, id.as_str(), tags)?;
                    ids.push(id);
                }
            }
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_instance_is_launched_with_all_that_it_asks_for() {
        let mut cloud = Cloud::new();
        let (subnet, base) = cloud.tenant("acme").subnet();
        let there = cloud.tenant("acme").interface(&subnet);
        let (a, b) = (format!("{base}.50"), format!("{base}.51"));
        let ask = [
            ("NetworkInterface.1.DeviceIndex", "1"),
            ("NetworkInterface.1.NetworkInterfaceId", there.as_str()),
            ("NetworkInterface.2.DeviceIndex", "0"),
            ("NetworkInterface.2.SubnetId", subnet.as_str()),
            ("NetworkInterface.2.PrivateIpAddress", a.as_str()),
            ("NetworkInterface.2.PrivateIpAddresses.1.PrivateIpAddress", b.as_str()),
            ("TagSpecification.1.ResourceType", "network-interface"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", "leg"),
        ];
        let theirs = [("NetworkInterface.1.DeviceIndex", "0"), ask[1]];
        let foreign = cloud.tenant("other").run_with(&theirs).expect_err("foreign");
        assert!(foreign.starts_with("InvalidNetworkInterfaceID.NotFound"), "{foreign}");
        let id = cloud.tenant("acme").run_with(&ask).expect("launches").remove(0);
        let shown = cloud.tenant("acme").call("DescribeInstances", &[("InstanceId.1", &id)]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "deviceIndex"), ["0", "1"], "{shown}");
        assert_eq!(Cloud::ids(&shown, "deleteOnTermination"), ["true", "true", "false"], "{shown}");
        assert_eq!(Cloud::ids(&shown, "primary"), ["true", "false", "true"], "{shown}");
        assert!(shown.contains(&a) && shown.contains(&b) && !shown.contains("<ipAddress>"), "{shown}");
        let again = cloud.tenant("acme").run_with(&ask).expect_err("in use");
        assert!(again.starts_with("InvalidNetworkInterface.InUse"), "{again}");
        cloud.settle();
        cloud.audit();
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
        cloud.settle();
        let left = cloud.tenant("acme").call("DescribeNetworkInterfaces", &[]).expect("answers");
        assert_eq!(Cloud::ids(&left, "networkInterfaceId"), [there], "{left}");
        cloud.audit();
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut cloud = Cloud::new();
        let (subnet, base) = cloud.tenant("acme").subnet();
        let there = cloud.tenant("acme").interface(&subnet);
        let ip = format!("{base}.50");
        let (index, id) = ("NetworkInterface.1.DeviceIndex", "NetworkInterface.1.NetworkInterfaceId");
        for (ask, code) in [
            (&[(index, "1")] as &[(&str, &str)], "InvalidParameterValue"),
            (&[(index, "0"), ("NetworkInterface.2.DeviceIndex", "0")], "InvalidParameterValue"),
            (&[(index, "0"), ("NetworkInterface.2.Description", "x")], "InvalidParameterValue"),
            (
                &[(index, "0"), ("NetworkInterface.2.DeviceIndex", "1"), ("NetworkInterface.3.DeviceIndex", "2")],
                "AttachmentLimitExceeded",
            ),
            (
                &[
                    (index, "0"),
                    ("NetworkInterface.1.AssociatePublicIpAddress", "true"),
                    ("NetworkInterface.2.DeviceIndex", "1"),
                ],
                "InvalidParameterCombination",
            ),
            (&[(index, "0"), ("NetworkInterface.1.SecondaryPrivateIpAddressCount", "2")], "PrivateIpAddressLimit"),
            (&[(index, "0"), (id, &there), ("NetworkInterface.1.SubnetId", &subnet)], "InvalidParameterCombination"),
            (&[(index, "0"), (id, &there), ("MaxCount", "2")], "InvalidParameterCombination"),
            (&[(index, "0"), (id, &there), ("SubnetId", &subnet)], "InvalidParameterCombination"),
            (&[("PrivateIpAddress", &ip), ("SubnetId", &subnet), ("MaxCount", "2")], "InvalidParameterCombination"),
            (&[(index, "0"), ("NetworkInterface.1.Ipv6AddressCount", "1")], "InvalidParameterValue"),
            (&[(index, "0"), ("NetworkInterface.1.PrimaryIpv6", "true")], "UnsupportedOperation"),
            (&[("Ipv6AddressCount", "1")], "InvalidParameterValue"),
            (&[(index, "0"), ("Ipv6AddressCount", "1")], "InvalidParameterCombination"),
        ] {
            let refusal = cloud.tenant("acme").run_with(ask).expect_err(code);
            assert!(refusal.starts_with(code), "{ask:?}: {refusal}");
        }
        assert!(cloud.tenant("acme").instances().is_empty());
        cloud.audit();
    }

    #[test]
    fn ipv6_addresses_are_those_asked_for_or_what_the_subnet_gives() {
        let mut cloud = Cloud::new();
        let ((_, subnet), range) = cloud.tenant("acme").ipv6_subnet();
        let named = range.replace("/64", "77");
        let of = |cloud: &mut Cloud, more: &[(&str, &str)]| {
            let ids = cloud.tenant("acme").run_with(&[&[("SubnetId", subnet.as_str())], more].concat())?;
            let shown = cloud.tenant("acme").call("DescribeInstances", &[("InstanceId.1", &ids[0])])?;
            // The first one stands at the instance too.
            Ok::<_, String>(Cloud::ids(&shown, "ipv6Address").split_last().map_or(0, |(own, all)| {
                assert_eq!(Some(own), all.first(), "{shown}");
                all.len()
            }))
        };
        assert_eq!(of(&mut cloud, &[]), Ok(0));
        assert_eq!(of(&mut cloud, &[("Ipv6AddressCount", "2")]), Ok(2));
        assert_eq!(of(&mut cloud, &[("Ipv6Address.1.Ipv6Address", &named)]), Ok(1));
        let many = [("Ipv6Address.1.Ipv6Address", named.as_str()), ("MaxCount", "2")];
        for (more, code) in [
            (&many[..1], "InvalidIPAddress.InUse"),
            (&many, "InvalidParameterCombination"),
            (&[many[0], ("Ipv6AddressCount", "1")], "InvalidParameterCombination"),
            (&[("Ipv6AddressCount", "3")], "PrivateIpAddressLimitExceeded"),
        ] {
            let refusal = of(&mut cloud, more).expect_err(code);
            assert!(refusal.starts_with(code), "{more:?}: {refusal}");
        }
        let attribute = [("SubnetId", subnet.as_str()), ("AssignIpv6AddressOnCreation.Value", "true")];
        cloud.tenant("acme").call("ModifySubnetAttribute", &attribute).expect("has a range");
        assert_eq!(of(&mut cloud, &[]), Ok(1));
        assert_eq!(of(&mut cloud, &[("Ipv6AddressCount", "0")]), Ok(0), "a number of none is one");
        let leg = [
            ("NetworkInterface.1.DeviceIndex", "0"),
            ("NetworkInterface.1.SubnetId", subnet.as_str()),
            ("NetworkInterface.1.Ipv6AddressCount", "2"),
        ];
        let id = cloud.tenant("acme").run_with(&leg).expect("launches").remove(0);
        let shown = cloud.tenant("acme").call("DescribeInstances", &[("InstanceId.1", &id)]).expect("answers");
        let ip = Cloud::ids(&shown, "ipv6Address").remove(0);
        for name in ["ipv6-address", "network-interface.ipv6-addresses.ipv6-address"] {
            let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", ip.as_str())];
            let found = cloud.tenant("acme").call("DescribeInstances", &filter).expect("answers");
            assert_eq!(Cloud::ids(&found, "instanceId")[0], id, "{name}");
        }
        cloud.settle();
        cloud.audit();
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
        cloud.settle();
        let shown = cloud.tenant("acme").call("DescribeInstances", &[("InstanceId.1", &id)]).expect("answers");
        assert!(!shown.contains("ipv6Address"), "{shown}");
    }
}
