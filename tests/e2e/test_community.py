"""The pattern of the community's VPC module, made by Terraform, with real guests in its subnets: packets flow as it is drawn.

The configuration is that of tests/terraform, where its resources are tried without guests; `guests.tf` adds these. All
that the test says to guests comes from a world behind this machine, by SSH: to the public one from there, to the others
through it. The pattern's endpoints are not tried: packets do not reach a service through one yet.
"""

from types import SimpleNamespace

import pytest
from awan import ROOT, Awan, until
from configuration import LACKS, Terraform
from test_guests import SSH, Tenant
from world import world

pytestmark = pytest.mark.skipif(bool(LACKS), reason=LACKS)
FILES = [ROOT / "tests/terraform/community.tf", ROOT / "tests/e2e/guests.tf"]
WORLD = "203.0.113.80"
PAGE = f"timeout 5 wget -q -O - http://{WORLD}/"


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    with world("203.0.113.1/24", f"{WORLD}/24", "198.18.0.0/16") as made:
        # It also sends here what is for the pattern's private addresses: that these are not reached is not for want of a route.
        made.do("ip route add 10.20.0.0/15 via 203.0.113.1")
        made.count_visitors()
        folder = tmp_path_factory.mktemp("world")
        (folder / "index.html").write_text("the world\n")
        with made.web(folder):
            yield made


@pytest.fixture(scope="module")
def tenant(behind):
    running = Awan("auto", shutdown_grace=20, uplink="routed")
    try:
        yield Tenant(running.start(), "acme")
    finally:
        running.close()


class Shop:
    """The pattern as it stands, and its guests by the names of their subnets."""

    def __init__(self, tenant, world, outputs):
        self.tenant, self.world = tenant, world
        self.guests = {name: SimpleNamespace(**guest) for name, guest in outputs["guests"].items()}
        self.nat, self.intra = outputs["nat"], SimpleNamespace(**outputs["intra"])

    def say(self, name, command):
        """From the world to the public guest; from there to the others."""
        public = self.guests["public"].public_ip
        if name == "public":
            return self.tenant.ssh_to(public, command, self.world.enter)
        through = " ".join([*SSH, "-i", str(self.tenant.key), "-W", "%h:%p", f"root@{public}"])
        return self.tenant.ssh_to(self.guests[name].private_ip, command, self.world.enter, ["-o", f"ProxyCommand={through}"])

    def hears(self, name, command, answer):
        """It answers so within two minutes: all of them boot at once."""
        said = []

        def asked():
            said[:] = [self.say(name, command)]
            return said[0].stdout == answer

        try:
            until(name, 120, asked, 0.3)
        except AssertionError as late:
            console = self.tenant.ec2.get_console_output(InstanceId=self.guests[name].id, Latest=True)["Output"][-1500:]
            raise AssertionError(f"{late}: {said}\n{console}")

    def pings(self, name, address):
        return self.say(name, f"ping -c 1 -W 2 {address}").returncode == 0

    def fetches(self, name, other):
        return self.say(name, f"timeout 3 wget -q -O - http://{self.guests[other].private_ip}:8080/").stdout == f"{other}\n"

    def visits(self, name):
        """As whom a guest visits the world, by TCP and by ping; None where it does not reach it."""
        self.world.visitors()
        page, ping = self.say(name, PAGE).stdout == "the world\n", self.pings(name, WORLD)
        assert page == ping
        visitors = self.world.visitors()
        assert len(visitors) == page, visitors
        return visitors.pop() if page else None


def what_is_there(ec2):
    return [
        ec2.describe_vpcs()["Vpcs"],
        ec2.describe_subnets()["Subnets"],
        ec2.describe_internet_gateways()["InternetGateways"],
        ec2.describe_nat_gateways(Filter=[{"Name": "state", "Values": ["pending", "available", "deleting"]}])["NatGateways"],
        ec2.describe_route_tables()["RouteTables"],
        ec2.describe_network_acls()["NetworkAcls"],
        ec2.describe_security_groups()["SecurityGroups"],
        ec2.describe_dhcp_options()["DhcpOptions"],
        ec2.describe_vpc_endpoints()["VpcEndpoints"],
        ec2.describe_addresses()["Addresses"],
        ec2.describe_network_interfaces()["NetworkInterfaces"],
        ec2.describe_volumes()["Volumes"],
    ]


@pytest.fixture(scope="module")
def shop(tenant, behind, tmp_path_factory):
    """A second plan is empty while its guests run; when they go, all goes."""
    before = what_is_there(tenant.ec2)
    terraform = Terraform(tmp_path_factory.mktemp("shop") / "first", tenant, *FILES).init()
    terraform.apply("-auto-approve", "-var=stage=2")
    made = Shop(tenant, behind, terraform.outputs())
    for name in made.guests:
        made.hears(name, f"mkdir -p /www; echo {name} > /www/index.html; busybox httpd -p 8080 -h /www; echo serves", "serves\n")
    yield made
    assert terraform.pending(2) == {}
    terraform.destroy()
    assert what_is_there(tenant.ec2) == before
    tenant.awan.audit()
    assert tenant.awan.guests() == {}


def test_the_public_guest_is_reached_and_visits_as_itself(shop):
    public = shop.guests["public"].public_ip
    assert shop.say("public", "echo reached").stdout == "reached\n"
    assert shop.visits("public") == public
    assert shop.world.try_(f"ping -c 1 -W 1 {public}").returncode != 0, "its group lets pings come from inside only"
    assert shop.pings("private-a", shop.guests["public"].private_ip)
    assert not shop.fetches("public", "private-a"), "it is no member of the group inside"
    assert shop.fetches("private-b", "private-a"), "which this one is"


def test_a_private_guest_visits_by_the_gateway_of_its_zone_and_is_not_reached(shop):
    assert len(set(shop.nat)) == 3
    assert [shop.visits(f"private-{zone}") for zone in "ab"] == shop.nat[:2]
    for name in ("private-a", "private-b", "intra"):
        guest = shop.guests[name]
        assert guest.public_ip == ""
        assert shop.pings("public", guest.private_ip), "from inside it is"
        assert shop.world.try_(f"ping -c 1 -W 1 {guest.private_ip}").returncode != 0
        assert shop.tenant.ssh_to(guest.private_ip, "true", shop.world.enter).returncode != 0
    for address in shop.nat:
        assert shop.tenant.ssh_to(address, "true", shop.world.enter).returncode != 0, "a gateway leads nobody in"


def test_an_intra_guest_meets_guests_of_the_vpc_and_nobody_else(shop):
    ec2, intra = shop.tenant.ec2, shop.intra
    assert shop.fetches("intra", "private-a") and shop.fetches("private-b", "intra")
    assert shop.pings("intra", shop.guests["public"].private_ip)
    assert shop.visits("intra") is None
    # With a route and entries of its ACL that lead out it comes out; without either it does not.
    way = {"RouteTableId": intra.table, "DestinationCidrBlock": "0.0.0.0/0"}
    everybody = [{"NetworkAclId": intra.acl, "RuleNumber": 200, "Egress": egress} for egress in (True, False)]
    allow = lambda: [ec2.create_network_acl_entry(**e, Protocol="-1", RuleAction="allow", CidrBlock="0.0.0.0/0") for e in everybody]
    undo = lambda: [ec2.delete_network_acl_entry(**entry) for entry in everybody]
    comes_out = lambda: shop.pings("intra", WORLD)
    ec2.create_route(**way, NatGatewayId=intra.gateway)
    allow()
    until("out", 10, comes_out, 0.1)
    assert shop.visits("intra") == shop.nat[2]
    undo()
    until("kept in by the ACL", 10, lambda: not comes_out(), 0.1)
    allow()
    until("out again", 10, comes_out, 0.1)
    ec2.delete_route(**way)
    until("kept in by the routes", 10, lambda: not comes_out(), 0.1)
    undo()


def test_names_are_those_of_the_vpc(shop):
    told = shop.say("intra", "cat /etc/resolv.conf").stdout.split()
    assert told == ["search", "shop.internal", "nameserver", "10.20.0.2"]
    look_up = lambda name: shop.say("intra", f"nslookup -type=a {name} | tail -n +3").stdout.split()
    for name in ("private-a", "intra"):
        guest = shop.guests[name]
        assert look_up(guest.private_dns)[-1] == guest.private_ip
    public = shop.guests["public"]
    assert look_up(public.public_dns)[-1] == public.private_ip, "inside, a public name leads to the private address"
    assert public.private_dns in shop.say("intra", f"nslookup {public.private_ip}").stdout
