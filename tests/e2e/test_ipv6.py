"""IPv6 of real guests: they take their addresses by themselves, reach each other, and are reached as far as gateways let them."""

import ipaddress

import pytest
from awan import Awan, until
from world import world

WORLD = "2001:db8:ffff::2"
POOL = "2001:db8:a00::/40"


@pytest.fixture(scope="module")
def awan():
    """With a world behind this machine that sends the pool to it."""
    with world("2001:db8:ffff::1/64", f"{WORLD}/64", POOL) as behind:
        running = Awan("auto", shutdown_grace=20, uplink="routed", public_ipv6_cidr=POOL)
        running.world = behind.try_
        try:
            yield running.start()
        finally:
            running.close()


class Network:
    """A VPC with both families. The first subnet leads to the internet, the second to an egress-only gateway as well."""

    def __init__(self, ec2):
        self.ec2 = ec2
        self.vpc = ec2.create_vpc(CidrBlock="10.60.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]["VpcId"]
        (vpc,) = ec2.describe_vpcs(VpcIds=[self.vpc])["Vpcs"]
        self.range = ipaddress.ip_network(vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        egress = ec2.create_egress_only_internet_gateway(VpcId=self.vpc)["EgressOnlyInternetGateway"]
        self.egress = egress["EgressOnlyInternetGatewayId"]
        ranges = list(self.range.subnets(new_prefix=64))
        self.subnets, self.tables = [], []
        for n, way in enumerate([{"GatewayId": gateway}, {"EgressOnlyInternetGatewayId": self.egress}]):
            asked = {"VpcId": self.vpc, "CidrBlock": f"10.60.{n}.0/24", "Ipv6CidrBlock": str(ranges[n])}
            subnet = ec2.create_subnet(**asked)["Subnet"]["SubnetId"]
            ec2.modify_subnet_attribute(SubnetId=subnet, AssignIpv6AddressOnCreation={"Value": True})
            ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
            table = ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
            ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
            ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
            ec2.create_route(RouteTableId=table, DestinationIpv6CidrBlock="::/0", **way)
            self.subnets.append(subnet)
            self.tables.append(table)
        of = [{"Name": "vpc-id", "Values": [self.vpc]}]
        self.group = ec2.describe_security_groups(Filters=of)["SecurityGroups"][0]["GroupId"]
        ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        self.web = {"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}
        ec2.authorize_security_group_ingress(GroupId=self.group, IpPermissions=[ssh, self.web])


def has(tenant, id, address):
    """It answers for an address once it has asked whether anybody else has it."""
    shown = tenant.try_ssh(id, "ip -6 addr show dev eth0 scope global").stdout.splitlines()
    return any(f" {address}/128 " in line and "tentative" not in line for line in shown)


def test_guests_take_addresses_and_are_reached_as_their_routes_say(awan, tenant):
    ec2 = tenant.ec2
    network = Network(ec2)
    options = {"HttpProtocolIpv6": "enabled", "HttpTokens": "optional"}
    both = [tenant.launch(SubnetId=subnet, MetadataOptions=options)[0] for subnet in network.subnets]
    addresses = [tenant.about(id)["NetworkInterfaces"][0]["Ipv6Addresses"][0]["Ipv6Address"] for id in both]
    assert all(ipaddress.ip_address(address) in network.range for address in addresses)
    for id, address in zip(both, addresses):
        until("its address", 60, lambda: has(tenant, id, address), 0.3)
        until("its router", 20, lambda: "default via fe80::1" in tenant.ssh(id, "ip -6 route"), 0.3)
        # It made up none.
        assert tenant.ssh(id, "ip -6 addr show dev eth0 scope global").count("inet6") == 1
        metadata = "wget -q -O - 'http://[fd00:ec2::254]/latest/meta-data/{}'"
        assert tenant.ssh(id, metadata.format("instance-id")) == id
        assert tenant.ssh(id, metadata.format("ipv6")) == address
        tenant.ssh(id, "mkdir -p /www; echo page > /www/index.html; busybox httpd -p 8080 -h /www")
    open_, closed = both
    page = lambda address: f"wget -q -O - 'http://[{address}]:8080/index.html'"
    fetched = lambda id, address: tenant.try_ssh(id, f"timeout 3 {page(address)}").stdout == "page\n"
    pings = lambda id, address: tenant.try_ssh(id, f"ping -6 -c 1 -W 2 {address}").returncode == 0
    for id, other in [(open_, addresses[1]), (closed, addresses[0])]:
        assert fetched(id, other) and pings(id, other)

    # What each begins is answered; only to the one that an internet gateway leads to anybody comes.
    begun = lambda address: awan.world(f"timeout 3 {page(address)}").stdout == "page\n"
    for id in both:
        assert pings(id, WORLD), tenant.ssh(id, "ip -6 route; ip -6 addr")
    assert begun(addresses[0]) and not begun(addresses[1])
    assert awan.world(f"ping -6 -c 1 -W 1 {addresses[0]}").returncode != 0, "no group lets it in"
    ec2.revoke_security_group_ingress(GroupId=network.group, IpPermissions=[network.web])
    until("no page", 5, lambda: not begun(addresses[0]), 0.2)
    assert fetched(closed, addresses[0]), "members of the group go on"
    ec2.delete_route(RouteTableId=network.tables[1], DestinationIpv6CidrBlock="::/0")
    until("no way", 5, lambda: not pings(closed, WORLD), 0.2)
    assert pings(open_, WORLD)

    # Nobody speaks as another.
    lie = network.range[0x99]
    tenant.ssh(open_, f"ip -6 addr add {lie}/128 dev eth0")
    until("an address that it made up", 10, lambda: has(tenant, open_, lie), 0.3)
    says = lambda source: tenant.try_ssh(open_, f"ping -6 -c 1 -W 1 -I {source} {addresses[1]}").returncode == 0
    assert says(addresses[0]) and not says(lie)
    tenant.ssh(open_, f"ip -6 addr del {lie}/128 dev eth0")

    # An address that goes is nobody's any more; a new one is taken when it is asked for.
    eni = tenant.about(open_)["NetworkInterfaces"][0]["NetworkInterfaceId"]
    ec2.unassign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6Addresses=[addresses[0]])
    until("it is gone", 10, lambda: not pings(closed, addresses[0]), 0.2)
    (new,) = ec2.assign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6AddressCount=1)["AssignedIpv6Addresses"]
    tenant.ssh(open_, "killall dhcp6c; true")
    until("its new address", 30, lambda: has(tenant, open_, new), 0.3)
    until("it is reached", 10, lambda: pings(closed, new), 0.2)
    tenant.terminate(*both)
    awan.audit()
