//! Requests about what connects VPCs and names ranges.

use super::{FILTER_VALUE, PAGE, Recipe, Teller, text};

const LIST: (&str, &str) = ("PrefixListId", "<pl>|pl-63a5400a");
const VERSION: (&str, &str) = ("CurrentVersion", "1|2|3");

const PEERING: (&str, &str) = ("VpcPeeringConnectionId", "<pcx>");

pub const RECIPES: &[Recipe] = &[
    ("AcceptVpcPeeringConnection", &[PEERING], &[]),
    ("CreateEgressOnlyInternetGateway", &[("VpcId", "<vpc>")], &[("ClientToken", "x|y|z")]),
    (
        "CreateFlowLogs",
        &[
            ("ResourceType", "VPC|Subnet"),
            ("ResourceId.1", "<vpc>|<subnet>"),
            ("TrafficType", "ALL|REJECT|x"),
            ("LogDestinationType", "s3"),
            ("LogDestination", "arn:aws:s3:::a|arn:aws:s3:::b/c|x"),
        ],
        &[("MaxAggregationInterval", "60|600|1"), ("ClientToken", "x|y|z"), ("LogGroupName", "a")],
    ),
    (
        "CreateVpcPeeringConnection",
        &[("VpcId", "<vpc>"), ("PeerVpcId", "<vpc>")],
        &[("PeerOwnerId", "123456789012|me"), ("PeerRegion", "us-east-1|mars-1")],
    ),
    (
        "CreateVpcEndpoint",
        &[("VpcId", "<vpc>"), ("ServiceName", "com.amazonaws.us-east-1.s3|com.amazonaws.us-east-1.ec2|x")],
        &[
            ("VpcEndpointType", "Gateway|Interface|x"),
            ("RouteTableId.1", "<rtb>"),
            ("SubnetId.1", "<subnet>"),
            ("PrivateDnsEnabled", "true|false"),
            ("PolicyDocument", "{}|{"),
            ("ClientToken", "x|y|z"),
        ],
    ),
    ("DeleteVpcEndpoints", &[("VpcEndpointId.1", "<vpce>")], &[("VpcEndpointId.2", "<vpce>")]),
    ("DescribeVpcEndpointServices", &[], &[("ServiceName.1", "com.amazonaws.us-east-1.sts|x"), PAGE]),
    (
        "DescribeVpcEndpoints",
        &[],
        &[("VpcEndpointId.1", "<vpce>"), ("Filter.1.Name", "vpc-id|colour"), FILTER_VALUE, PAGE],
    ),
    (
        "ModifyVpcEndpoint",
        &[("VpcEndpointId", "<vpce>")],
        &[
            ("AddRouteTableId.1", "<rtb>"),
            ("RemoveRouteTableId.1", "<rtb>"),
            ("AddSubnetId.1", "<subnet>"),
            ("RemoveSubnetId.1", "<subnet>"),
            ("AddSecurityGroupId.1", "<sg>"),
            ("RemoveSecurityGroupId.1", "<sg>"),
            ("PrivateDnsEnabled", "true|false"),
            ("ResetPolicy", "true"),
        ],
    ),
    ("DeleteEgressOnlyInternetGateway", &[("EgressOnlyInternetGatewayId", "<eigw>")], &[]),
    ("DeleteFlowLogs", &[("FlowLogId.1", "<fl>")], &[]),
    ("DeleteVpcPeeringConnection", &[PEERING], &[]),
    ("DescribeEgressOnlyInternetGateways", &[], &[("EgressOnlyInternetGatewayId.1", "<eigw>"), PAGE]),
    (
        "DescribeFlowLogs",
        &[],
        &[("FlowLogId.1", "<fl>"), ("Filter.1.Name", "resource-id|traffic-type"), FILTER_VALUE, PAGE],
    ),
    (
        "DescribeVpcPeeringConnections",
        &[],
        &[
            ("VpcPeeringConnectionId.1", "<pcx>"),
            ("Filter.1.Name", "status-code|accepter-vpc-info.vpc-id|expiration-time|colour"),
            FILTER_VALUE,
            PAGE,
        ],
    ),
    (
        "ModifyVpcPeeringConnectionOptions",
        &[PEERING],
        &[
            ("RequesterPeeringConnectionOptions.AllowDnsResolutionFromRemoteVpc", "true|false"),
            ("AccepterPeeringConnectionOptions.AllowDnsResolutionFromRemoteVpc", "true|false|x"),
        ],
    ),
    ("RejectVpcPeeringConnection", &[PEERING], &[]),
    (
        "CreateManagedPrefixList",
        &[("PrefixListName", "a|b|com.amazonaws.c"), ("AddressFamily", "IPv4|IPv6"), ("MaxEntries", "1|2|9|1001")],
        &[
            ("Entry.1.Cidr", "10.0.0.0/8|2001:db8::/32"),
            ("ClientToken", "x|y|z"),
            ("TagSpecification.1.ResourceType", "prefix-list|instance"),
        ],
    ),
    ("DeleteManagedPrefixList", &[LIST], &[]),
    (
        "DescribeManagedPrefixLists",
        &[],
        &[("PrefixListId.1", "<pl>"), ("Filter.1.Name", "tag:a|owner-id|prefix-list-name|colour"), FILTER_VALUE, PAGE],
    ),
    ("DescribePrefixLists", &[], &[("PrefixListId.1", "<pl>|pl-63a5400a"), PAGE]),
    ("GetManagedPrefixListAssociations", &[LIST], &[PAGE]),
    ("GetManagedPrefixListEntries", &[LIST], &[("TargetVersion", "1|2|-1"), PAGE]),
    (
        "ModifyManagedPrefixList",
        &[LIST],
        &[
            VERSION,
            ("AddEntry.1.Cidr", "10.0.0.0/8|192.0.2.0/24|x"),
            ("RemoveEntry.1.Cidr", "10.0.0.0/8|192.0.2.0/24"),
            ("MaxEntries", "1|2|9"),
            ("PrefixListName", "c|"),
        ],
    ),
    ("RestoreManagedPrefixListVersion", &[LIST, VERSION, ("PreviousVersion", "1|2")], &[]),
];

pub const WET: &[&str] = &[];

pub fn story(teller: &mut dyn Teller) {
    let entry = "&Entry.1.Cidr=10.0.0.0%2F8";
    let made =
        teller.ask("CreateManagedPrefixList", &format!("PrefixListName=told&AddressFamily=IPv4&MaxEntries=3{entry}"));
    let list = format!("PrefixListId={}", text(&made, "prefixListId"));
    teller.ask("ModifyManagedPrefixList", &format!("{list}&CurrentVersion=1&AddEntry.1.Cidr=192.0.2.0%2F24"));
    teller.ask("RestoreManagedPrefixListVersion", &format!("{list}&CurrentVersion=2&PreviousVersion=1"));
    teller.ask("GetManagedPrefixListEntries", &format!("{list}&TargetVersion=2"));
    teller.ask("GetManagedPrefixListAssociations", &list);
    teller.ask("DeleteManagedPrefixList", &list);
    peering(teller);
    logs_and_gateways(teller);
}

fn new_vpc(teller: &mut dyn Teller, cidr: &str) -> String {
    text(&teller.ask("CreateVpc", &format!("CidrBlock={cidr}%2F24")), "vpcId")
}

fn peering(teller: &mut dyn Teller) {
    let (a, b) = (new_vpc(teller, "10.77.1.0"), new_vpc(teller, "10.77.2.0"));
    for verdict in ["RejectVpcPeeringConnection", "AcceptVpcPeeringConnection"] {
        let made = teller.ask("CreateVpcPeeringConnection", &format!("VpcId={a}&PeerVpcId={b}"));
        let this = format!("VpcPeeringConnectionId={}", text(&made, "vpcPeeringConnectionId"));
        teller.ask(verdict, &this);
        let dns = "RequesterPeeringConnectionOptions.AllowDnsResolutionFromRemoteVpc=false";
        teller.ask("ModifyVpcPeeringConnectionOptions", &format!("{this}&{dns}"));
        teller.ask("DescribeVpcPeeringConnections", "");
        teller.ask("DeleteVpcPeeringConnection", &this);
    }
    for vpc in [a, b] {
        teller.ask("DeleteVpc", &format!("VpcId={vpc}"));
    }
}

fn logs_and_gateways(teller: &mut dyn Teller) {
    let vpc = new_vpc(teller, "10.77.3.0");
    let made = teller.ask("CreateEgressOnlyInternetGateway", &format!("VpcId={vpc}"));
    let gateway = text(&made, "egressOnlyInternetGatewayId");
    let to = "TrafficType=ALL&LogDestinationType=s3&LogDestination=arn%3Aaws%3As3%3A%3A%3Atold";
    let made = teller.ask("CreateFlowLogs", &format!("ResourceType=VPC&ResourceId.1={vpc}&{to}"));
    let log = text(&made, "item");
    teller.ask("DescribeFlowLogs", &format!("FlowLogId.1={log}"));
    teller.ask("DeleteFlowLogs", &format!("FlowLogId.1={log}"));
    teller.ask("DeleteEgressOnlyInternetGateway", &format!("EgressOnlyInternetGatewayId={gateway}"));
    let made = teller.ask("CreateVpcEndpoint", &format!("VpcId={vpc}&ServiceName=com.amazonaws.us-east-1.s3"));
    let endpoint = text(&made, "vpcEndpointId");
    teller.ask("ModifyVpcEndpoint", &format!("VpcEndpointId={endpoint}&ResetPolicy=true"));
    teller.ask("DeleteVpcEndpoints", &format!("VpcEndpointId.1={endpoint}"));
    teller.ask("DeleteVpc", &format!("VpcId={vpc}"));
}
