"""VPCs and what connects them."""

from . import named, under

ACL = (
    "NetworkAclId VpcId IsDefault OwnerId Tags.Key Entries.CidrBlock Entries.Egress Entries.Protocol Entries.RuleAction Entries.RuleNumber"
)
OPTIONS = "DhcpOptionsId OwnerId Tags.Key DhcpConfigurations.Key DhcpConfigurations.Values.Value"
NAT = (
    "NatGatewayId SubnetId VpcId State CreateTime ConnectivityType AvailabilityMode Tags.Key NatGatewayAddresses.AllocationId "
    "NatGatewayAddresses.NetworkInterfaceId NatGatewayAddresses.PrivateIp NatGatewayAddresses.PublicIp NatGatewayAddresses.AssociationId "
    "NatGatewayAddresses.IsPrimary NatGatewayAddresses.Status"
)
RANGE = "CidrBlockAssociation.AssociationId CidrBlockAssociation.CidrBlock CidrBlockAssociation.CidrBlockState.State"
ENTRY = {"RuleNumber": 50, "Protocol": "6", "RuleAction": "allow", "Egress": True, "CidrBlock": "192.0.2.0/24", "PortRange": {"From": 80, "To": 81}}


def new_acl(home):
    return home.ec2.create_network_acl(VpcId=home.own_vpc, TagSpecifications=named("network-acl"))["NetworkAcl"]["NetworkAclId"]


def new_ruled_acl(home):
    id = new_acl(home)
    home.ec2.create_network_acl_entry(NetworkAclId=id, **ENTRY)
    return id


def new_acl_association(home):
    subnet = home.new_subnet()
    (acl,) = home.ec2.describe_network_acls(Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])["NetworkAcls"]
    return next(a["NetworkAclAssociationId"] for a in acl["Associations"] if a["SubnetId"] == subnet)


def served_acl(home):
    """Serves a subnet."""
    id = new_ruled_acl(home)
    home.ec2.replace_network_acl_association(AssociationId=new_acl_association(home), NetworkAclId=id)
    return id


def new_options(home):
    configurations = [{"Key": "domain-name", "Values": ["canary.example"]}, {"Key": "domain-name-servers", "Values": ["192.0.2.1", "192.0.2.2"]}]
    made = home.ec2.create_dhcp_options(DhcpConfigurations=configurations, TagSpecifications=named("dhcp-options"))
    return made["DhcpOptions"]["DhcpOptionsId"]


def new_ranged_vpc(home):
    vpc = home.new_vpc()
    made = home.ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="100.64.0.0/16")
    return made["CidrBlockAssociation"]["AssociationId"]


def new_nat_gateway(home):
    made = home.ec2.create_nat_gateway(SubnetId=home.new_subnet(), AllocationId=home.new_address()[0], TagSpecifications=named("natgateway"))
    return made["NatGateway"]["NatGatewayId"]


def without_default_subnet(home):
    """A zone without its default subnet: one that nobody is in is deleted first."""
    subnets = home.ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    zones = {zone["ZoneName"] for zone in home.ec2.describe_availability_zones()["AvailabilityZones"]} - {s["AvailabilityZone"] for s in subnets}
    if zones:
        return zones.pop()
    used = {i["SubnetId"] for i in home.ec2.describe_network_interfaces()["NetworkInterfaces"]} | {home.subnet}
    subnet = next(s for s in subnets if s["SubnetId"] not in used)
    home.ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    return subnet["AvailabilityZone"]


CALLS = {
    "AssociateDhcpOptions": lambda h: {"DhcpOptionsId": h.dhcp_options, "VpcId": h.new_vpc()},
    "AssociateVpcCidrBlock": lambda h: {"VpcId": h.new_vpc(), "CidrBlock": "100.64.0.0/16"},
    "CreateDefaultSubnet": lambda h: {"AvailabilityZone": without_default_subnet(h)},
    "CreateDhcpOptions": lambda h: {
        "DhcpConfigurations": [{"Key": "ntp-servers", "Values": ["192.0.2.1"]}],
        "TagSpecifications": named("dhcp-options"),
    },
    "CreateNetworkAcl": lambda h: {"VpcId": h.own_vpc, "TagSpecifications": named("network-acl")},
    "CreateNetworkAclEntry": lambda h: {"NetworkAclId": new_acl(h), **ENTRY},
    "CreateNatGateway": lambda h: {"SubnetId": h.new_subnet(), "AllocationId": h.new_address()[0], "TagSpecifications": named("natgateway")},
    "DeleteNatGateway": lambda h: {"NatGatewayId": new_nat_gateway(h)},
    "DescribeNatGateways": lambda h: {"NatGatewayIds": [h.nat_gateway]},
    "DeleteDhcpOptions": lambda h: {"DhcpOptionsId": new_options(h)},
    "DeleteNetworkAcl": lambda h: {"NetworkAclId": new_acl(h)},
    "DeleteNetworkAclEntry": lambda h: {"NetworkAclId": new_ruled_acl(h), "RuleNumber": 50, "Egress": True},
    "DescribeDhcpOptions": lambda h: {"DhcpOptionsIds": [h.dhcp_options]},
    "DescribeNetworkAcls": lambda h: {"NetworkAclIds": [h.network_acl]},
    "DisassociateVpcCidrBlock": lambda h: {"AssociationId": new_ranged_vpc(h)},
    "ModifyVpcTenancy": lambda h: {"VpcId": h.own_vpc, "InstanceTenancy": "default"},
    "ReplaceNetworkAclAssociation": lambda h: {"AssociationId": new_acl_association(h), "NetworkAclId": new_acl(h)},
    "ReplaceNetworkAclEntry": lambda h: {"NetworkAclId": new_ruled_acl(h), **ENTRY, "RuleAction": "deny"},
}
READS = {
    "AssociateDhcpOptions": "",
    "AssociateVpcCidrBlock": "VpcId " + RANGE,
    "CreateDefaultSubnet": "Subnet.SubnetId Subnet.DefaultForAz Subnet.CidrBlock",
    "CreateDhcpOptions": under("DhcpOptions", OPTIONS),
    "CreateNetworkAcl": under("NetworkAcl", ACL) + " ClientToken",
    "CreateNetworkAclEntry": "",
    "CreateNatGateway": under("NatGateway", NAT) + " ClientToken",
    "DeleteNatGateway": "NatGatewayId",
    "DescribeNatGateways": under("NatGateways", NAT),
    "DeleteDhcpOptions": "",
    "DeleteNetworkAcl": "",
    "DeleteNetworkAclEntry": "",
    "DescribeDhcpOptions": under("DhcpOptions", OPTIONS),
    "DescribeNetworkAcls": under("NetworkAcls", ACL + " Associations.NetworkAclAssociationId Associations.NetworkAclId Associations.SubnetId"),
    "DisassociateVpcCidrBlock": "VpcId " + RANGE,
    "ModifyVpcTenancy": "ReturnValue",
    "ReplaceNetworkAclAssociation": "NewAssociationId",
    "ReplaceNetworkAclEntry": "",
}
MADE = {"nat_gateway": new_nat_gateway, "network_acl": served_acl, "dhcp_options": new_options, "acl_association": new_acl_association, "vpc_range": new_ranged_vpc}
NAMES = {
    "nat_gateway": ["NatGatewayId", "NatGatewayIds"],
    "network_acl": ["NetworkAclId", "NetworkAclIds"],
    "dhcp_options": ["DhcpOptionsId", "DhcpOptionsIds"],
}
NESTED = [
    ("ReplaceNetworkAclAssociation", "acl_association", lambda id: {"AssociationId": id}),
    ("DisassociateVpcCidrBlock", "vpc_range", lambda id: {"AssociationId": id}),
]
TAGGED = ["nat_gateway", "network_acl", "dhcp_options"]
# A home cannot lose its default VPC.
ELSEWHERE = {"CreateDefaultVpc"}
# EC2 has no DryRun for these.
ALWAYS_WET = {"AssociateVpcCidrBlock", "DisassociateVpcCidrBlock"}


def FILTERS(home):
    # The parameter of its filters has another name: `Filter`.
    yield "DescribeNetworkAcls", "network-acl-id", [home.network_acl]
    yield "DescribeNetworkAcls", "association.subnet-id", [home.subnet]
    yield "DescribeDhcpOptions", "dhcp-options-id", [home.dhcp_options]
    yield "DescribeVpcs", "cidr-block-association.association-id", [home.vpc_range]
