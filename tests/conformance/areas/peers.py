"""What connects VPCs and names ranges."""

from . import COUNT, named, under

LIST = "PrefixListId AddressFamily State PrefixListArn PrefixListName MaxEntries Version OwnerId"


def new_list(home, **more):
    asked = {"PrefixListName": "canary-ranges", "AddressFamily": "IPv4", "MaxEntries": 9, "Entries": [{"Cidr": "10.0.0.0/8", "Description": "canary"}]}
    return home.ec2.create_managed_prefix_list(**asked, TagSpecifications=named("prefix-list"), **more)["PrefixList"]["PrefixListId"]


def old_list(home):
    id = new_list(home)
    home.ec2.modify_managed_prefix_list(PrefixListId=id, CurrentVersion=1, AddEntries=[{"Cidr": "192.0.2.0/24"}])
    return id


def new_peering(home):
    """Asked, and by the same account."""
    asked = {"VpcId": home.vpc, "PeerVpcId": home.new_vpc(), "TagSpecifications": named("vpc-peering-connection")}
    return home.ec2.create_vpc_peering_connection(**asked)["VpcPeeringConnection"]["VpcPeeringConnectionId"]


def new_active(home):
    id = new_peering(home)
    home.ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=id)
    return id


def new_egress_only(home):
    made = home.ec2.create_egress_only_internet_gateway(VpcId=home.own_vpc, TagSpecifications=named("egress-only-internet-gateway"))
    return made["EgressOnlyInternetGateway"]["EgressOnlyInternetGatewayId"]


def flow_log(home):
    return {
        "ResourceType": "VPC",
        "ResourceIds": [home.own_vpc],
        "TrafficType": "ALL",
        "LogDestinationType": "s3",
        "LogDestination": f"arn:aws:s3:::canary-bucket/{next(COUNT)}/",
        "TagSpecifications": named("vpc-flow-log"),
    }


def new_flow_log(home):
    return home.ec2.create_flow_logs(**flow_log(home))["FlowLogIds"][0]


S3 = "com.amazonaws.us-east-1.s3"
EC2 = "com.amazonaws.us-east-1.ec2"


def gateway_endpoint(home):
    return {"VpcId": home.own_vpc, "ServiceName": S3, "RouteTableIds": [home.new_table()], "TagSpecifications": named("vpc-endpoint")}


def new_endpoint(home):
    return home.ec2.create_vpc_endpoint(**gateway_endpoint(home))["VpcEndpoint"]["VpcEndpointId"]


def new_interface_endpoint(home):
    asked = {"VpcEndpointType": "Interface", "VpcId": home.vpc, "ServiceName": EC2, "SubnetIds": [home.subnet], "PrivateDnsEnabled": False}
    return home.ec2.create_vpc_endpoint(**asked, TagSpecifications=named("vpc-endpoint"))["VpcEndpoint"]["VpcEndpointId"]


CALLS = {
    "CreateVpcEndpoint": gateway_endpoint,
    "DeleteVpcEndpoints": lambda h: {"VpcEndpointIds": [new_endpoint(h)]},
    "DescribeVpcEndpointServices": lambda h: {"ServiceNames": [EC2]},
    "DescribeVpcEndpoints": lambda h: {"VpcEndpointIds": [h.interface_endpoint]},
    "ModifyVpcEndpoint": lambda h: {"VpcEndpointId": h.endpoint, "AddRouteTableIds": [h.new_table()]},
    "AcceptVpcPeeringConnection": lambda h: {"VpcPeeringConnectionId": new_peering(h)},
    "CreateEgressOnlyInternetGateway": lambda h: {"VpcId": h.own_vpc, "TagSpecifications": named("egress-only-internet-gateway")},
    "CreateFlowLogs": flow_log,
    "CreateVpcPeeringConnection": lambda h: {"VpcId": h.vpc, "PeerVpcId": h.new_vpc(), "TagSpecifications": named("vpc-peering-connection")},
    "DeleteEgressOnlyInternetGateway": lambda h: {"EgressOnlyInternetGatewayId": new_egress_only(h)},
    "DeleteFlowLogs": lambda h: {"FlowLogIds": [new_flow_log(h)]},
    "DeleteVpcPeeringConnection": lambda h: {"VpcPeeringConnectionId": new_active(h)},
    "DescribeEgressOnlyInternetGateways": lambda h: {"EgressOnlyInternetGatewayIds": [h.egress_only]},
    "DescribeFlowLogs": lambda h: {"FlowLogIds": [h.flow_log]},
    "DescribeVpcPeeringConnections": lambda h: {"VpcPeeringConnectionIds": [h.peering]},
    "ModifyVpcPeeringConnectionOptions": lambda h: {
        "VpcPeeringConnectionId": new_active(h),
        "RequesterPeeringConnectionOptions": {"AllowDnsResolutionFromRemoteVpc": True},
    },
    "RejectVpcPeeringConnection": lambda h: {"VpcPeeringConnectionId": new_peering(h)},
    "CreateManagedPrefixList": lambda h: {
        "PrefixListName": f"list-{next(COUNT)}",
        "AddressFamily": "IPv6",
        "MaxEntries": 5,
        "Entries": [{"Cidr": "2001:db8::/32"}],
        "TagSpecifications": named("prefix-list"),
    },
    "DeleteManagedPrefixList": lambda h: {"PrefixListId": new_list(h)},
    "DescribeManagedPrefixLists": lambda h: {"PrefixListIds": [h.prefix_list]},
    "DescribePrefixLists": lambda h: {},
    "GetManagedPrefixListAssociations": lambda h: {"PrefixListId": h.prefix_list},
    "GetManagedPrefixListEntries": lambda h: {"PrefixListId": h.prefix_list},
    "ModifyManagedPrefixList": lambda h: {"PrefixListId": new_list(h), "CurrentVersion": 1, "AddEntries": [{"Cidr": "192.0.2.0/24"}]},
    "RestoreManagedPrefixListVersion": lambda h: {"PrefixListId": old_list(h), "PreviousVersion": 1, "CurrentVersion": 2},
}

EGRESS_ONLY = "EgressOnlyInternetGatewayId Attachments.State Attachments.VpcId Tags.Key"
FLOW_LOG = (
    "CreationTime DeliverLogsStatus FlowLogId FlowLogStatus ResourceId TrafficType LogDestinationType LogDestination LogFormat "
    "MaxAggregationInterval DestinationOptions.FileFormat DestinationOptions.PerHourPartition Tags.Key"
)
ENDS = "AccepterVpcInfo.OwnerId AccepterVpcInfo.Region AccepterVpcInfo.VpcId " + under(
    "RequesterVpcInfo", "OwnerId Region VpcId CidrBlock CidrBlockSet.CidrBlock"
)
PEERING = f"VpcPeeringConnectionId Status.Code Status.Message Tags.Key {ENDS}"
ACTIVE = f"{PEERING} AccepterVpcInfo.CidrBlock AccepterVpcInfo.PeeringOptions.AllowDnsResolutionFromRemoteVpc"

ENDPOINT = (
    "VpcEndpointId VpcEndpointType VpcId ServiceName State PolicyDocument IpAddressType RequesterManaged CreationTimestamp OwnerId "
    "PrivateDnsEnabled Tags.Key"
)
SERVICE = (
    "ServiceName ServiceId ServiceType.ServiceType ServiceRegion AvailabilityZones Owner BaseEndpointDnsNames PrivateDnsName "
    "VpcEndpointPolicySupported AcceptanceRequired ManagesVpcEndpoints SupportedIpAddressTypes"
)

READS = {
    "CreateVpcEndpoint": under("VpcEndpoint", ENDPOINT + " RouteTableIds"),
    "DeleteVpcEndpoints": "",
    "DescribeVpcEndpointServices": "ServiceNames " + under("ServiceDetails", SERVICE),
    "DescribeVpcEndpoints": under(
        "VpcEndpoints", ENDPOINT + " SubnetIds NetworkInterfaceIds Groups.GroupId Groups.GroupName DnsEntries.DnsName DnsOptions.DnsRecordIpType"
    ),
    "ModifyVpcEndpoint": "Return",
    "AcceptVpcPeeringConnection": under("VpcPeeringConnection", ACTIVE),
    "CreateEgressOnlyInternetGateway": under("EgressOnlyInternetGateway", EGRESS_ONLY),
    "CreateFlowLogs": "FlowLogIds",
    "CreateVpcPeeringConnection": under("VpcPeeringConnection", PEERING + " ExpirationTime"),
    "DeleteEgressOnlyInternetGateway": "ReturnCode",
    "DeleteFlowLogs": "",
    "DeleteVpcPeeringConnection": "Return",
    "DescribeEgressOnlyInternetGateways": under("EgressOnlyInternetGateways", EGRESS_ONLY),
    "DescribeFlowLogs": under("FlowLogs", FLOW_LOG),
    "DescribeVpcPeeringConnections": under("VpcPeeringConnections", ACTIVE),
    "ModifyVpcPeeringConnectionOptions": "RequesterPeeringConnectionOptions.AllowDnsResolutionFromRemoteVpc",
    "RejectVpcPeeringConnection": "Return",
    "CreateManagedPrefixList": under("PrefixList", LIST + " Tags.Key"),
    "DeleteManagedPrefixList": under("PrefixList", LIST),
    "DescribeManagedPrefixLists": under("PrefixLists", LIST + " Tags.Key"),
    "DescribePrefixLists": under("PrefixLists", "PrefixListId PrefixListName"),
    "GetManagedPrefixListAssociations": "",
    "GetManagedPrefixListEntries": under("Entries", "Cidr Description"),
    "ModifyManagedPrefixList": under("PrefixList", LIST),
    "RestoreManagedPrefixListVersion": under("PrefixList", LIST),
}

MADE = {"prefix_list": new_list, "peering": new_active, "egress_only": new_egress_only, "flow_log": new_flow_log, "endpoint": new_endpoint, "interface_endpoint": new_interface_endpoint}

NAMES = {
    "prefix_list": ["PrefixListId", "PrefixListIds"],
    "peering": ["VpcPeeringConnectionId", "VpcPeeringConnectionIds"],
    "vpc": ["PeerVpcId"],
    "egress_only": ["EgressOnlyInternetGatewayId", "EgressOnlyInternetGatewayIds"],
    "flow_log": ["FlowLogIds"],
    "endpoint": ["VpcEndpointIds", "VpcEndpointId"],
}

NESTED = [
    ("CreateRoute", "peering", lambda id: {"GatewayId": None, "VpcPeeringConnectionId": id}),
    ("CreateRoute", "egress_only", lambda id: {"GatewayId": None, "EgressOnlyInternetGatewayId": id}),
    ("CreateRoute", "prefix_list", lambda id: {"DestinationCidrBlock": None, "DestinationPrefixListId": id}),
    ("DeleteRoute", "prefix_list", lambda id: {"DestinationCidrBlock": None, "DestinationPrefixListId": id}),
    ("CreateVpcEndpoint", "table", lambda id: {"RouteTableIds": [id]}),
    ("CreateVpcEndpoint", "subnet", lambda id: {"VpcEndpointType": "Interface", "ServiceName": EC2, "RouteTableIds": None, "SubnetIds": [id]}),
    ("CreateVpcEndpoint", "group", lambda id: {"VpcEndpointType": "Interface", "ServiceName": EC2, "RouteTableIds": None, "SecurityGroupIds": [id]}),
    ("ModifyVpcEndpoint", "table", lambda id: {"AddRouteTableIds": [id]}),
    ("CreateFlowLogs", "vpc", lambda id: {"ResourceIds": [id]}),
    ("CreateFlowLogs", "subnet", lambda id: {"ResourceType": "Subnet", "ResourceIds": [id]}),
    ("CreateFlowLogs", "interface", lambda id: {"ResourceType": "NetworkInterface", "ResourceIds": [id]}),
]

TAGGED = ["prefix_list", "peering", "egress_only", "flow_log", "endpoint"]

# EC2 says it in small letters, its model in large ones.
UNLISTED = [("CreateVpcEndpoint.VpcEndpoint.State", "available"), ("DescribeVpcEndpoints.VpcEndpoints.State", "available")]

# What is not there is told of in the answer.
FINE = {"DeleteVpcEndpoints"}


def FILTERS(home):
    yield "DescribeVpcEndpoints", "vpc-id", [home.own_vpc]
    yield "DescribeManagedPrefixLists", "prefix-list-id", [home.prefix_list]
    yield "DescribeManagedPrefixLists", "owner-id", [home.tenant.id]
    yield "DescribeVpcPeeringConnections", "vpc-peering-connection-id", [home.peering]
    yield "DescribeVpcPeeringConnections", "requester-vpc-info.owner-id", [home.tenant.id]
