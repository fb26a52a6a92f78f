"""IPv6 ranges and addresses."""

from areas import COUNT, named, under

RANGE = under("Ipv6CidrBlockAssociation", "AssociationId Ipv6CidrBlock Ipv6CidrBlockState.State Ipv6AddressAttribute IpSource")


def new_ipv6_vpc(home):
    asked = {"CidrBlock": "10.21.0.0/16", "AmazonProvidedIpv6CidrBlock": True, "TagSpecifications": named("vpc")}
    return home.ec2.create_vpc(**asked)["Vpc"]["VpcId"]


def ipv6_range(home):
    """The /64 of its number in the VPC of the home that has IPv6."""
    (vpc,) = home.ec2.describe_vpcs(VpcIds=[home.ipv6_vpc])["Vpcs"]
    first = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].removesuffix("00::/56")
    return f"{first}{next(COUNT) % 256:02x}::/64"


def new_ipv6_subnet(home, ipv6=True):
    n = next(COUNT)
    asked = {"VpcId": home.ipv6_vpc, "CidrBlock": f"10.21.{n // 16}.{n % 16 * 16}/28", "TagSpecifications": named("subnet")}
    if ipv6:
        asked["Ipv6CidrBlock"] = ipv6_range(home)
    return home.ec2.create_subnet(**asked)["Subnet"]["SubnetId"]


def new_association(home):
    (subnet,) = home.ec2.describe_subnets(SubnetIds=[new_ipv6_subnet(home)])["Subnets"]
    return subnet["Ipv6CidrBlockAssociationSet"][0]["AssociationId"]


def new_ipv6_interface(home, **more):
    asked = {"SubnetId": home.ipv6_subnet, "Ipv6AddressCount": 1, "TagSpecifications": named("network-interface"), **more}
    return home.ec2.create_network_interface(**asked)["NetworkInterface"]["NetworkInterfaceId"]


def unassignable(home):
    (made,) = home.ec2.describe_network_interfaces(NetworkInterfaceIds=[new_ipv6_interface(home)])["NetworkInterfaces"]
    return {"NetworkInterfaceId": made["NetworkInterfaceId"], "Ipv6Addresses": [made["Ipv6Addresses"][0]["Ipv6Address"]]}


CALLS = {
    "AssignIpv6Addresses": lambda h: {"NetworkInterfaceId": new_ipv6_interface(h), "Ipv6AddressCount": 1},
    "AssociateSubnetCidrBlock": lambda h: {"SubnetId": new_ipv6_subnet(h, ipv6=False), "Ipv6CidrBlock": ipv6_range(h)},
    "DisassociateSubnetCidrBlock": lambda h: {"AssociationId": new_association(h)},
    "UnassignIpv6Addresses": unassignable,
}
READS = {
    "AssignIpv6Addresses": "NetworkInterfaceId AssignedIpv6Addresses",
    "AssociateSubnetCidrBlock": "SubnetId " + RANGE,
    "DisassociateSubnetCidrBlock": "SubnetId " + RANGE,
    "UnassignIpv6Addresses": "NetworkInterfaceId UnassignedIpv6Addresses",
}
MADE = {"ipv6_vpc": new_ipv6_vpc, "ipv6_subnet": new_ipv6_subnet, "ipv6_interface": new_ipv6_interface, "subnet_range": new_association}
NESTED = [("DisassociateSubnetCidrBlock", "subnet_range", lambda id: {"AssociationId": id})]
# EC2 has no DryRun for these.
ALWAYS_WET = set(CALLS)


def FILTERS(home):
    (vpc,) = home.ec2.describe_vpcs(VpcIds=[home.ipv6_vpc])["Vpcs"]
    (eni,) = home.ec2.describe_network_interfaces(NetworkInterfaceIds=[home.ipv6_interface])["NetworkInterfaces"]
    association, range = "ipv6-cidr-block-association.association-id", "ipv6-cidr-block-association.ipv6-cidr-block"
    yield "DescribeVpcs", association, [vpc["Ipv6CidrBlockAssociationSet"][0]["AssociationId"]]
    yield "DescribeVpcs", range, [vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]]
    yield "DescribeSubnets", association, [home.subnet_range]
    yield "DescribeNetworkInterfaces", "ipv6-addresses.ipv6-address", [eni["Ipv6Addresses"][0]["Ipv6Address"]]
