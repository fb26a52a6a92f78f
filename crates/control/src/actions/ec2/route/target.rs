//! What a route can lead to: the one that a request names, and whether it is still there.

use awan_model::gateway::InternetGateway;
use awan_model::id::{InstanceId, InterfaceId, InternetGatewayId, NatGatewayId, VpcId};
use awan_model::instance::Instance;
use awan_model::interface::NetworkInterface;
use awan_model::nat::NatGateway;
use awan_model::route::{Destination, RouteTable, Target};
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};

use crate::actions::ec2::vpc::create_vpc::network_of;
use crate::error::{Code, Result, combination, invalid, missing, refuse, refuse_if, unsupported};

/// The members of a request that say where a route begins.
pub struct Where {
    pub destination_cidr_block: Option<String>,
    pub destination_ipv6_cidr_block: Option<String>,
    pub destination_prefix_list_id: Option<String>,
}

impl Where {
    pub fn destination(self) -> Result<Destination> {
        let Self { destination_cidr_block, destination_ipv6_cidr_block, destination_prefix_list_id } = self;
        refuse_if(destination_prefix_list_id.is_some(), "DestinationPrefixListId")?;
        refuse_if(destination_ipv6_cidr_block.is_some(), "DestinationIpv6CidrBlock")?;
        let text = destination_cidr_block.ok_or_else(|| missing("DestinationCidrBlock"))?;
        network_of(&text, "destinationCidrBlock").map(Destination::Ipv4)
    }
}

/// How EC2's messages call the member of a destination.
pub fn member_of(destination: &Destination) -> &'static str {
    match destination {
        Destination::Ipv4(_) => "destination-cidr-block",
        Destination::Ipv6(_) => "destination-ipv6-cidr-block",
        Destination::PrefixList(_) => "destination-prefix-list-id",
    }
}

/// Whether a destination is one of the VPC's own ranges, whose route is local and stays.
pub fn is_local(vpc: &Vpc, destination: &Destination) -> bool {
    match destination {
        Destination::Ipv4(net) => vpc.cidrs().any(|cidr| cidr == *net),
        Destination::Ipv6(_) | Destination::PrefixList(_) => false,
    }
}

/// The members of a request that say where a route leads.
pub struct Asked {
    pub gateway_id: Option<String>,
    pub nat_gateway_id: Option<String>,
    pub network_interface_id: Option<String>,
    pub instance_id: Option<String>,
    pub vpc_peering_connection_id: Option<String>,
    pub egress_only_internet_gateway_id: Option<String>,
    pub vpc_endpoint_id: Option<String>,
    pub transit_gateway_id: Option<String>,
    pub local_gateway_id: Option<String>,
    pub carrier_gateway_id: Option<String>,
    pub core_network_arn: Option<String>,
    pub odb_network_arn: Option<String>,
}

impl Asked {
    /// The one target that is named.
    pub fn target(self, tx: &mut Tx<Tenant>, table: &RouteTable) -> Result<Target> {
        let Self {
            gateway_id,
            nat_gateway_id,
            network_interface_id,
            instance_id,
            vpc_peering_connection_id,
            egress_only_internet_gateway_id,
            vpc_endpoint_id,
            transit_gateway_id,
            local_gateway_id,
            carrier_gateway_id,
            core_network_arn,
            odb_network_arn,
        } = self;
        for (there, name) in [
            (vpc_endpoint_id, "VpcEndpointId"),
            (transit_gateway_id, "TransitGatewayId"),
            (local_gateway_id, "LocalGatewayId"),
            (carrier_gateway_id, "CarrierGatewayId"),
            (core_network_arn, "CoreNetworkArn"),
            (odb_network_arn, "OdbNetworkArn"),
            (egress_only_internet_gateway_id, "EgressOnlyInternetGatewayId"),
            (vpc_peering_connection_id, "VpcPeeringConnectionId"),
        ] {
            refuse_if(there.is_some(), name)?;
        }
        type Find = fn(&mut Tx<Tenant>, &RouteTable, &str) -> Result<Target>;
        let all: [(Option<String>, Find); 4] = [
            (gateway_id, gateway),
            (nat_gateway_id, nat_gateway),
            (network_interface_id, interface),
            (instance_id, instance),
        ];
        let mut named = all.iter().filter_map(|(id, find)| id.as_ref().map(|id| (id, find)));
        match (named.next(), named.next()) {
            (Some((id, find)), None) => find(tx, table, id),
            (None, _) => Err(missing("GatewayId")),
            (Some(_), Some(_)) => Err(combination(
                "The request must contain exactly one of gatewayId, natGatewayId, networkInterfaceId, \
                 vpcPeeringConnectionId or instanceId",
            )),
        }
    }
}

fn must_share(table: &RouteTable, vpc: &VpcId, kind: &str, id: &str) -> Result<()> {
    if *vpc == table.vpc {
        return Ok(());
    }
    let table = &table.id;
    Err(invalid(format!("route table {table} and {kind} {id} belong to different networks")))
}

fn gateway(tx: &mut Tx<Tenant>, table: &RouteTable, id: &str) -> Result<Target> {
    if id.starts_with("vgw-") {
        return Err(unsupported("GatewayId of a virtual private gateway"));
    }
    if id == "local" {
        return Err(invalid("The target 'local' is only for the local route."));
    }
    let id: InternetGatewayId = id.parse()?;
    let Some(gateway) = tx.find::<InternetGateway>(&id) else {
        return Err(refuse(Code::InvalidGatewayIdNotFound, format!("The gateway ID '{id}' does not exist")));
    };
    if gateway.vpc.as_ref() != Some(&table.vpc) {
        let table = &table.id;
        return Err(invalid(format!("route table {table} and network gateway {id} belong to different networks")));
    }
    Ok(Target::InternetGateway(id))
}

fn nat_gateway(tx: &mut Tx<Tenant>, table: &RouteTable, id: &str) -> Result<Target> {
    let id: NatGatewayId = id.parse()?;
    let Some(gateway) = tx.find::<NatGateway>(&id).filter(|gateway| gateway.deleted.is_none()) else {
        let message = format!("The natGateway ID '{id}' does not exist");
        return Err(refuse(Code::InvalidNatGatewayIdNotFound, message));
    };
    must_share(table, &gateway.vpc, "NAT gateway", id.as_str())?;
    Ok(Target::NatGateway(id))
}

fn interface(tx: &mut Tx<Tenant>, table: &RouteTable, id: &str) -> Result<Target> {
    let id: InterfaceId = id.parse()?;
    let eni = tx.get::<NetworkInterface>(&id)?;
    must_share(table, &eni.vpc, "interface", id.as_str())?;
    Ok(Target::NetworkInterface(id))
}

/// EC2 wants one interface only; which of several is meant, the request cannot say.
fn instance(tx: &mut Tx<Tenant>, table: &RouteTable, id: &str) -> Result<Target> {
    let id: InstanceId = id.parse()?;
    let instance = tx.get::<Instance>(&id)?;
    let of = |eni: &NetworkInterface| eni.attachment.as_ref().is_some_and(|a| a.instance == id);
    if tx.list::<NetworkInterface>().iter().filter(|eni| of(eni)).count() > 1 {
        let message = format!(
            "There are multiple interfaces attached to instance '{id}'. Please specify an interface ID for the operation instead."
        );
        return Err(refuse(Code::InvalidInstanceId, message));
    }
    interface(tx, table, instance.interface.as_str())
}

/// Whether a target is there, and where packets could come to.
pub fn is_active(tx: &mut Tx<Tenant>, table: &RouteTable, target: &Target) -> bool {
    match target {
        Target::InternetGateway(id) => {
            tx.find::<InternetGateway>(id).is_some_and(|g| g.vpc.as_ref() == Some(&table.vpc))
        }
        Target::NatGateway(id) => tx.find::<NatGateway>(id).is_some_and(|g| g.deleted.is_none()),
        Target::NetworkInterface(id) => tx.find::<NetworkInterface>(id).is_some_and(|eni| eni.attachment.is_some()),
        Target::VpcPeering(_) | Target::EgressOnly(_) | Target::Endpoint(_) | Target::Blackhole => false,
    }
}
