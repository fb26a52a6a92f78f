//! Requests about what is in a VPC and around its subnets.

use super::{FILTER_VALUE, PAGE, Recipe, Teller, text};

const ACL: (&str, &str) = ("NetworkAclId", "<acl>");
const OPTIONS: (&str, &str) = ("DhcpOptionsId", "<dopt>");
const NUMBER: (&str, &str) = ("RuleNumber", "1|100|32766|32767");
const EGRESS: (&str, &str) = ("Egress", "true|false");
const ENTRY: &[(&str, &str)] = &[
    ACL,
    NUMBER,
    EGRESS,
    ("Protocol", "-1|6|17|1|47|tcp|300"),
    ("RuleAction", "allow|deny|x"),
    ("CidrBlock", "0.0.0.0/0|10.0.0.0/8|x"),
];
const MORE: &[(&str, &str)] = &[
    ("PortRange.From", "0|80|x"),
    ("PortRange.To", "80|65535|65536"),
    ("Icmp.Type", "-1|8"),
    ("Icmp.Code", "-1|0"),
    ("Ipv6CidrBlock", "::/0|2001:db8::/32"),
];

pub const RECIPES: &[Recipe] = &[
    ("AssociateDhcpOptions", &[("DhcpOptionsId", "<dopt>|default"), ("VpcId", "<vpc>")], &[]),
    (
        "AssociateVpcCidrBlock",
        &[("VpcId", "<vpc>"), ("CidrBlock", "100.64.0.0/16|100.65.0.0/24|10.0.0.0/16|172.16.0.0/16|198.18.0.0/16")],
        &[("AmazonProvidedIpv6CidrBlock", "true|false")],
    ),
    ("AssociateSubnetCidrBlock", &[("SubnetId", "<subnet>"), ("Ipv6CidrBlock", "2001:db8:a00:100::/64|::/0|x")], &[]),
    ("CreateDefaultSubnet", &[("AvailabilityZone", "us-east-1a|us-east-1b|us-east-1c|x")], &[("Ipv6Native", "false")]),
    ("CreateDefaultVpc", &[], &[]),
    (
        "CreateDhcpOptions",
        &[
            ("DhcpConfiguration.1.Key", "domain-name|domain-name-servers|ntp-servers|netbios-node-type|x"),
            ("DhcpConfiguration.1.Value.1", "corp.example|AmazonProvidedDNS|192.0.2.1|2"),
        ],
        &[("TagSpecification.1.ResourceType", "dhcp-options|vpc"), ("DhcpConfiguration.2.Key", "domain-name|x")],
    ),
    (
        "CreateNetworkAcl",
        &[("VpcId", "<vpc>")],
        &[("ClientToken", "x|y|z"), ("TagSpecification.1.ResourceType", "network-acl|vpc")],
    ),
    (
        "CreateNatGateway",
        &[("SubnetId", "<subnet>")],
        &[("AllocationId", "<eipalloc>"), ("ConnectivityType", "private|public"), ("ClientToken", "x|y|z")],
    ),
    ("CreateNetworkAclEntry", ENTRY, MORE),
    ("DeleteDhcpOptions", &[OPTIONS], &[]),
    ("DeleteNatGateway", &[("NatGatewayId", "<nat>")], &[]),
    ("DeleteNetworkAcl", &[ACL], &[]),
    ("DeleteNetworkAclEntry", &[ACL, NUMBER, EGRESS], &[]),
    (
        "DescribeDhcpOptions",
        &[],
        &[("DhcpOptionsId.1", "<dopt>"), ("Filter.1.Name", "key|value|tag:a|colour"), FILTER_VALUE, PAGE],
    ),
    (
        "DescribeNetworkAcls",
        &[],
        &[("NetworkAclId.1", "<acl>"), ("Filter.1.Name", "default|entry.protocol|tag:a|colour"), FILTER_VALUE, PAGE],
    ),
    ("DescribeNatGateways", &[], &[("NatGatewayId.1", "<nat>"), ("Filter.1.Name", "state|tag:a"), FILTER_VALUE, PAGE]),
    ("DisassociateSubnetCidrBlock", &[("AssociationId", "<subnet-cidr-assoc>")], &[]),
    ("DisassociateVpcCidrBlock", &[("AssociationId", "<vpc-cidr-assoc>")], &[]),
    ("ModifyVpcTenancy", &[("VpcId", "<vpc>"), ("InstanceTenancy", "default|dedicated")], &[]),
    ("ReplaceNetworkAclAssociation", &[("AssociationId", "<aclassoc>"), ACL], &[]),
    ("ReplaceNetworkAclEntry", ENTRY, MORE),
];

pub const WET: &[&str] =
    &["AssociateSubnetCidrBlock", "AssociateVpcCidrBlock", "DisassociateSubnetCidrBlock", "DisassociateVpcCidrBlock"];

pub fn story(teller: &mut dyn Teller) {
    default_vpc(teller);
    ipv6(teller);
    let vpc = text(&teller.ask("CreateVpc", "CidrBlock=10.9.0.0%2F16&InstanceTenancy=dedicated"), "vpcId");
    teller.ask("ModifyVpcTenancy", &format!("VpcId={vpc}&InstanceTenancy=default"));
    let subnet = text(&teller.ask("CreateSubnet", &format!("VpcId={vpc}&CidrBlock=10.9.1.0%2F24")), "subnetId");
    acl(teller, &vpc);
    let nat = teller.ask("CreateNatGateway", &format!("SubnetId={subnet}&ConnectivityType=private"));
    teller.ask("DeleteNatGateway", &format!("NatGatewayId={}", text(&nat, "natGatewayId")));
    let made =
        teller.ask("CreateDhcpOptions", "DhcpConfiguration.1.Key=domain-name&DhcpConfiguration.1.Value.1=corp.example");
    let options = text(&made, "dhcpOptionsId");
    for id in [&options, "default"] {
        teller.ask("AssociateDhcpOptions", &format!("VpcId={vpc}&DhcpOptionsId={id}"));
    }
    teller.ask("DeleteDhcpOptions", &format!("DhcpOptionsId={options}"));
    let made = teller.ask("AssociateVpcCidrBlock", &format!("VpcId={vpc}&CidrBlock=100.64.0.0%2F16"));
    teller.ask("DisassociateVpcCidrBlock", &format!("AssociationId={}", text(&made, "associationId")));
    teller.ask("DeleteSubnet", &format!("SubnetId={subnet}"));
    teller.ask("DeleteVpc", &format!("VpcId={vpc}"));
}

/// Ranges and addresses of the other family, and the way out that only it has.
fn ipv6(teller: &mut dyn Teller) {
    let vpc = text(&teller.ask("CreateVpc", "CidrBlock=10.8.0.0%2F16"), "vpcId");
    let made = teller.ask("AssociateVpcCidrBlock", &format!("VpcId={vpc}&AmazonProvidedIpv6CidrBlock=true"));
    let (of_vpc, range) = (text(&made, "associationId"), text(&made, "ipv6CidrBlock").replace("/56", "%2F64"));
    let subnet = text(&teller.ask("CreateSubnet", &format!("VpcId={vpc}&CidrBlock=10.8.1.0%2F24")), "subnetId");
    let made = teller.ask("AssociateSubnetCidrBlock", &format!("SubnetId={subnet}&Ipv6CidrBlock={range}"));
    let of_subnet = text(&made, "associationId");
    for on in ["true", "false"] {
        let ask = format!("SubnetId={subnet}&AssignIpv6AddressOnCreation.Value={on}");
        teller.ask("ModifySubnetAttribute", &ask);
    }
    let made = teller.ask("CreateNetworkInterface", &format!("SubnetId={subnet}&Ipv6AddressCount=1"));
    let (eni, ip) = (text(&made, "networkInterfaceId"), text(&made, "ipv6Address"));
    for action in ["UnassignIpv6Addresses", "AssignIpv6Addresses"] {
        teller.ask(action, &format!("NetworkInterfaceId={eni}&Ipv6Addresses.1={ip}"));
    }
    let gateway = teller.ask("CreateEgressOnlyInternetGateway", &format!("VpcId={vpc}"));
    let gateway = text(&gateway, "egressOnlyInternetGatewayId");
    let table = teller.ask("DescribeRouteTables", &format!("Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}"));
    let route = format!("RouteTableId={}&DestinationIpv6CidrBlock=::%2F0", text(&table, "routeTableId"));
    teller.ask("CreateRoute", &format!("{route}&EgressOnlyInternetGatewayId={gateway}"));
    teller.ask("DeleteEgressOnlyInternetGateway", &format!("EgressOnlyInternetGatewayId={gateway}"));
    teller.ask("DeleteNetworkInterface", &format!("NetworkInterfaceId={eni}"));
    teller.ask("DisassociateSubnetCidrBlock", &format!("AssociationId={of_subnet}"));
    teller.ask("DisassociateVpcCidrBlock", &format!("AssociationId={of_vpc}"));
    teller.ask("DeleteSubnet", &format!("SubnetId={subnet}"));
    teller.ask("DeleteVpc", &format!("VpcId={vpc}"));
}

fn acl(teller: &mut dyn Teller, vpc: &str) {
    let acl = text(&teller.ask("CreateNetworkAcl", &format!("VpcId={vpc}")), "networkAclId");
    let entry = format!("NetworkAclId={acl}&RuleNumber=9&Egress=true");
    for action in ["CreateNetworkAclEntry", "ReplaceNetworkAclEntry"] {
        teller.ask(action, &format!("{entry}&Protocol=-1&RuleAction=allow&CidrBlock=10.0.0.0%2F8"));
    }
    teller.ask("DeleteNetworkAclEntry", &entry);
    let of_vpc = format!("Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}&Filter.2.Name=default&Filter.2.Value.1=true");
    let mut association = text(&teller.ask("DescribeNetworkAcls", &of_vpc), "networkAclAssociationId");
    let default = text(&teller.ask("DescribeNetworkAcls", &of_vpc), "networkAclId");
    for id in [&acl, &default] {
        let ask = format!("AssociationId={association}&NetworkAclId={id}");
        association = text(&teller.ask("ReplaceNetworkAclAssociation", &ask), "newAssociationId");
    }
    teller.ask("DeleteNetworkAcl", &format!("NetworkAclId={acl}"));
}

/// Where nobody is in it, it goes and comes back.
fn default_vpc(teller: &mut dyn Teller) {
    default_subnets(teller);
    let vpc = text(&teller.ask("DescribeVpcs", "Filter.1.Name=is-default&Filter.1.Value.1=true"), "vpcId");
    let of_vpc = format!("Filter.1.Name=attachment.vpc-id&Filter.1.Value.1={vpc}");
    let gateway = text(&teller.ask("DescribeInternetGateways", &of_vpc), "internetGatewayId");
    let both = format!("InternetGatewayId={gateway}&VpcId={vpc}");
    teller.ask("DetachInternetGateway", &both);
    teller.ask("DeleteVpc", &format!("VpcId={vpc}"));
    let made = teller.ask("CreateDefaultVpc", "");
    if text(&made, "vpcId").is_empty() {
        teller.ask("AttachInternetGateway", &both);
    }
    default_subnets(teller);
    for zone in ["a", "b", "c"] {
        teller.ask("CreateDefaultSubnet", &format!("AvailabilityZone=us-east-1{zone}"));
    }
}

fn default_subnets(teller: &mut dyn Teller) {
    for subnet in all(&teller.ask("DescribeSubnets", "Filter.1.Name=default-for-az&Filter.1.Value.1=true"), "subnetId")
    {
        teller.ask("DeleteSubnet", &format!("SubnetId={subnet}"));
    }
}

fn all(answer: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    answer.split(&open).skip(1).filter_map(|rest| rest.split(&close).next()).map(str::to_owned).collect()
}
