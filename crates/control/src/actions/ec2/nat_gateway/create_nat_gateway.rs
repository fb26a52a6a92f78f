//! CreateNatGateway. It has an interface of its own, and a public one its elastic address, as EC2's have.

use awan_model::address::{Address, Association};
use awan_model::id::{AssociationId, NatGatewayId};
use awan_model::interface::NetworkInterface;
use awan_model::nat::{Elastic, NatGateway};
use awan_model::subnet::Subnet;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_nat_gateways::shown;
use crate::actions::ec2::interface::addresses::{Free, Wanted};
use crate::actions::ec2::interface::draft::{self, Draft};
use crate::actions::ec2::vpc::create_vpc::brief;
use crate::error::{Code, Error, Result, combination, invalid_value, missing, refuse, refuse_if};
use crate::token::Use;
use crate::{network, tagging};

/// EC2 begins with 5 in each zone.
const GATEWAYS_MAX: usize = 100;

pub fn create_nat_gateway(
    tx: &mut Tx<Tenant>,
    req: ec2::CreateNatGatewayRequest,
) -> Result<ec2::CreateNatGatewayResult> {
    let others = ec2::CreateNatGatewayRequest { client_token: None, dry_run: None, ..req.clone() };
    let ec2::CreateNatGatewayRequest {
        availability_mode,
        allocation_id,
        client_token,
        dry_run: _,
        subnet_id,
        vpc_id,
        availability_zone_addresses,
        tag_specifications,
        connectivity_type,
        private_ip_address,
        secondary_allocation_ids,
        secondary_private_ip_addresses,
        secondary_private_ip_address_count,
    } = req;
    for (there, name) in [
        (availability_mode.is_some_and(|mode| mode != "zonal"), "AvailabilityMode"),
        (vpc_id.is_some(), "VpcId"),
        (!availability_zone_addresses.is_empty(), "AvailabilityZoneAddresses"),
        (!secondary_allocation_ids.is_empty(), "SecondaryAllocationIds"),
        (!secondary_private_ip_addresses.is_empty(), "SecondaryPrivateIpAddresses"),
        (secondary_private_ip_address_count.is_some_and(|n| n != 0), "SecondaryPrivateIpAddressCount"),
    ] {
        refuse_if(there, name)?;
    }
    let client_token = client_token.filter(|token| !token.is_empty());
    let token = client_token.as_deref().map(|t| Use::new("CreateNatGateway", t, &format!("{others:?}"))).transpose()?;
    if let Some(first) = &token
        && let Some(made) = first.made(tx)?
    {
        return answer(tx, &made, client_token);
    }
    let subnet = tx.get::<Subnet>(&subnet_id.ok_or_else(|| missing("SubnetId"))?.parse()?)?;
    let address = elastic(tx, &subnet, connectivity_type.as_deref(), allocation_id)?;
    let living = tx.list::<NatGateway>().iter().filter(|gateway| gateway.deleted.is_none()).count();
    if living >= GATEWAYS_MAX {
        let message = "The maximum number of NAT gateways has been reached.";
        return Err(refuse(Code::NatGatewayLimitExceeded, message));
    }
    let tags = tagging::specified(&tag_specifications, "natgateway", &["natgateway"])?;
    let wanted = Wanted::read(&subnet, private_ip_address, Vec::new(), None)?;
    let made = vec![put(tx, &subnet, &wanted, address.as_ref(), client_token.clone())?.to_string()];
    tagging::add(tx, &made[0], &tags)?;
    if let Some(first) = token {
        first.keep(tx, made.clone());
    }
    answer(tx, &made, client_token)
}

/// The address of a public gateway; `None`: it is to be private.
fn elastic(
    tx: &mut Tx<Tenant>,
    subnet: &Subnet,
    kind: Option<&str>,
    allocation: Option<String>,
) -> Result<Option<Address>> {
    match kind {
        None | Some("public") => {}
        Some("private") if allocation.is_some() => {
            return Err(combination("An Elastic IP address cannot be specified with a private NAT gateway."));
        }
        Some("private") => return Ok(None),
        Some(other) => return Err(invalid_value(brief(other), "connectivityType")),
    }
    let address = tx.get::<Address>(&allocation.ok_or_else(|| missing("AllocationId"))?.parse()?)?;
    if address.association.is_some() {
        let message = format!("Elastic IP address [{}] is already associated", address.id);
        return Err(refuse(Code::AlreadyAssociated, message));
    }
    if network::gateway_of(tx, &subnet.vpc).is_none() {
        let message = format!("Network {} has no Internet gateway attached", subnet.vpc);
        return Err(refuse(Code::GatewayNotAttached, message));
    }
    Ok(Some((*address).clone()))
}

fn put(
    tx: &mut Tx<Tenant>,
    subnet: &std::sync::Arc<Subnet>,
    wanted: &Wanted,
    address: Option<&Address>,
    client_token: Option<String>,
) -> Result<NatGatewayId> {
    draft::must_have_room(tx)?;
    let id = NatGatewayId::made(tx.new_id(NatGatewayId::PREFIX));
    let found = wanted.take(tx, &mut Free::default(), subnet)?;
    let private_ip = found.private_ip;
    let description = format!("Interface for NAT Gateway {id}");
    let draft = Draft { subnet: subnet.clone(), groups: Vec::new(), wanted: wanted.clone(), description };
    let interface = draft::put(tx, &draft, found, None, None);
    let eni = tx.get::<NetworkInterface>(&interface)?;
    tx.put(NetworkInterface {
        gateway: Some(id.clone()),
        source_dest_check: false,
        requester_managed: true,
        ..(*eni).clone()
    });
    let (home, created) = (tx.home().clone(), tx.now());
    if let Some(address) = address {
        let association = AssociationId::made(tx.new_id(AssociationId::PREFIX));
        let association = Association { id: association, interface: interface.clone(), private_ip, at: created };
        tx.put(Address { association: Some(association), ..address.clone() });
    }
    tx.put(NatGateway {
        home,
        id: id.clone(),
        vpc: subnet.vpc.clone(),
        subnet: subnet.id.clone(),
        interface,
        private_ip,
        address: address.map(|a| Elastic { allocation: a.id.clone(), public_ip: a.public_ip }),
        client_token,
        created,
        deleted: None,
    });
    Ok(id)
}

fn answer(tx: &mut Tx<Tenant>, made: &[String], client_token: Option<String>) -> Result<ec2::CreateNatGatewayResult> {
    let id = made.first().ok_or_else(|| Error::fault("a token that made nothing"))?;
    let gateway = tx.get::<NatGateway>(&id.parse()?)?;
    let tags = tagging::shown(&tagging::of(tx, id));
    let shown = shown(tx, &gateway, tags);
    // It is there already; who asks again is told so.
    let nat_gateway = Some(ec2::NatGateway { state: Some("pending".into()), ..shown });
    Ok(ec2::CreateNatGatewayResult { client_token, nat_gateway })
}

#[cfg(test)]
mod tests {
    use awan_model::plan::Way;
    use awan_state::System;

    use crate::plan;
    use crate::testing::Cloud;

    #[test]
    fn a_gateway_holds_its_subnet_and_its_address_and_lets_nothing_out() {
        let mut cloud = Cloud::new();
        let one = |made: &str, element: &str| Cloud::ids(made, element).remove(0);
        cloud.tenant("acme").run();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let subnets = call("DescribeSubnets", &[]).expect("answers");
        let subnet = one(&subnets, "subnetId");
        let address = one(&call("AllocateAddress", &[]).expect("allocates"), "allocationId");
        let ask = [("SubnetId", subnet.as_str()), ("AllocationId", address.as_str()), ("ClientToken", "once")];
        let made = call("CreateNatGateway", &ask).expect("makes");
        assert!(made.contains("<state>pending</state>"), "{made}");
        assert_eq!(call("CreateNatGateway", &ask).expect("the same"), made);
        let refusal = call("CreateNatGateway", &ask[..2]).expect_err("is taken");
        assert!(refusal.starts_with("Resource.AlreadyAssociated: Elastic IP address"), "{refusal}");
        let (id, eni) = (one(&made, "natGatewayId"), one(&made, "networkInterfaceId"));
        let shown = call("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", &eni)]).expect("answers");
        assert_eq!(one(&shown, "interfaceType"), "nat_gateway");
        assert_eq!(one(&shown, "status"), "in-use");
        let table = one(&call("DescribeRouteTables", &[]).expect("answers"), "routeTableId");
        let route =
            [("RouteTableId", table.as_str()), ("DestinationCidrBlock", "0.0.0.0/0"), ("NatGatewayId", id.as_str())];
        call("ReplaceRoute", &route).expect("replaces");
        for (action, ask) in [
            ("DeleteNetworkInterface", vec![("NetworkInterfaceId", eni.as_str())]),
            ("DisassociateAddress", vec![("AssociationId", one(&made, "associationId").leak() as &str)]),
            ("AssociateAddress", vec![("AllocationId", address.as_str()), ("NetworkInterfaceId", &eni)]),
            ("AssignPrivateIpAddresses", vec![("NetworkInterfaceId", &eni), ("SecondaryPrivateIpAddressCount", "1")]),
        ] {
            let refusal = call(action, &ask).expect_err(action);
            assert!(refusal.starts_with("OperationNotPermitted"), "{action}: {refusal}");
        }
        call("DeleteSubnet", &[("SubnetId", &subnet)]).expect_err("has an interface");
        call("ReleaseAddress", &[("AllocationId", &address)]).expect_err("is in use");
        cloud.audit();
        let plans = cloud.control.db.read(System, |tx| plan::all(tx, 1));
        let network = &plans.values().next().expect("a host").network.vpcs[0];
        assert!(network.subnets.iter().all(|subnet| subnet.ways.is_empty()));
    }

    #[test]
    fn a_private_gateway_leads_to_the_peers_that_its_own_subnet_is_led_to() {
        let mut cloud = Cloud::new();
        let one = |made: String, element: &str| Cloud::ids(&made, element).remove(0);
        cloud.tenant("acme").run();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask).expect(action);
        let main = call("DescribeRouteTables", &[]);
        let (main, vpc) = (one(main.clone(), "routeTableId"), one(main, "vpcId"));
        let peer = one(call("CreateVpc", &[("CidrBlock", "10.7.0.0/16")]), "vpcId");
        let ask = [("VpcId", vpc.as_str()), ("PeerVpcId", peer.as_str())];
        let pcx = one(call("CreateVpcPeeringConnection", &ask), "vpcPeeringConnectionId");
        call("AcceptVpcPeeringConnection", &[("VpcPeeringConnectionId", &pcx)]);
        let of_vpc = ("VpcId", vpc.as_str());
        let subnet = one(call("CreateSubnet", &[of_vpc, ("CidrBlock", "172.31.240.0/24")]), "subnetId");
        let table = one(call("CreateRouteTable", &[of_vpc]), "routeTableId");
        call("AssociateRouteTable", &[("RouteTableId", &table), ("SubnetId", &subnet)]);
        let ask = [("SubnetId", subnet.as_str()), ("ConnectivityType", "private")];
        let nat = one(call("CreateNatGateway", &ask), "natGatewayId");
        let to = ("DestinationCidrBlock", "10.7.0.0/17");
        call("CreateRoute", &[("RouteTableId", &main), to, ("NatGatewayId", &nat)]);
        let network = |cloud: &Cloud| {
            let plans = cloud.control.db.read(System, |tx| plan::all(tx, 1));
            plans.values().next().expect("a host").network.vpcs[0].clone()
        };
        let by_nat = |cloud: &Cloud| -> Vec<String> {
            let network = network(cloud);
            let ways = network.subnets.iter().filter(|s| s.id.as_str() != subnet).flat_map(|s| &s.ways);
            let led = ways
                .filter(|way| matches!(&way.way, Way::NatPeering(id, to) if id.as_str() == nat && to.as_str() == pcx));
            led.map(|way| way.to.to_string()).collect()
        };
        assert_eq!(by_nat(&cloud), [""; 0], "no route of its own subnet leads there");
        let to_peer = [
            ("RouteTableId", table.as_str()),
            ("DestinationCidrBlock", "10.7.0.0/16"),
            ("VpcPeeringConnectionId", &pcx),
        ];
        cloud.tenant("acme").call("CreateRoute", &to_peer).expect("adds");
        let count = network(&cloud).subnets.len() - 1;
        assert_eq!(by_nat(&cloud), vec!["10.7.0.0/17"; count]);
        let planned = network(&cloud).nats;
        assert_eq!((planned.len(), planned[0].public_ip), (1, None));
        cloud.audit();
    }

    #[test]
    fn a_private_gateway_has_no_public_address() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let made = call("CreateVpc", &[("CidrBlock", "10.7.0.0/16")]).expect("makes");
        let vpc = Cloud::ids(&made, "vpcId").remove(0);
        let made = call("CreateSubnet", &[("VpcId", &vpc), ("CidrBlock", "10.7.0.0/28")]).expect("makes");
        let subnet = Cloud::ids(&made, "subnetId").remove(0);
        let subnet = ("SubnetId", subnet.as_str());
        let address = Cloud::ids(&call("AllocateAddress", &[]).expect("allocates"), "allocationId").remove(0);
        let address = ("AllocationId", address.as_str());
        let private = ("ConnectivityType", "private");
        for (ask, expected) in [
            (&[subnet][..], "MissingParameter: The request must contain the parameter AllocationId"),
            (&[subnet, address], "Gateway.NotAttached: Network vpc-"),
            (&[subnet, address, private], "InvalidParameterCombination"),
            (&[subnet, private, ("PrivateIpAddress", "10.8.0.1")], "InvalidParameterValue"),
            (&[subnet, private, ("SecondaryPrivateIpAddressCount", "1")], "UnsupportedOperation"),
            (&[subnet, ("ConnectivityType", "x")], "InvalidParameterValue: Value (x) for parameter connectivityType"),
        ] {
            let refusal = call("CreateNatGateway", ask).expect_err(expected);
            assert!(refusal.starts_with(expected), "{refusal}");
        }
        let made = call("CreateNatGateway", &[subnet, private, ("PrivateIpAddress", "10.7.0.9")]).expect("makes");
        assert!(made.contains("<privateIp>10.7.0.9</privateIp>") && !made.contains("<publicIp>"), "{made}");
        assert!(made.contains("<connectivityType>private</connectivityType>"), "{made}");
        cloud.audit();
    }
}
