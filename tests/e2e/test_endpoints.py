"""VPC endpoints: a guest with no way out of its VPC calls this cloud's own API."""

import subprocess

import boto3
import pytest
from awan import until
from botocore.config import Config
from test_guests import SSH

SERVICE = "ec2.us-east-1.amazonaws.com"


class Private:
    """A subnet that no route leads out of, a guest there, and one that the world reaches, by which it is logged in to."""

    def __init__(self, tenant):
        self.tenant, ec2 = tenant, tenant.ec2
        self.door = tenant.launch()[0]
        self.vpc, zone = (tenant.about(self.door)[key] for key in ("VpcId", "Placement"))
        made = ec2.create_subnet(VpcId=self.vpc, CidrBlock="172.31.240.0/24", AvailabilityZone=zone["AvailabilityZone"])
        self.subnet = made["Subnet"]["SubnetId"]
        table = ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        ec2.associate_route_table(RouteTableId=table, SubnetId=self.subnet)
        (self.id,) = tenant.launch(SubnetId=self.subnet)
        self.address = tenant.about(self.id)["PrivateIpAddress"]
        tenant.ssh(self.door, "true")
        until("the private guest", 60, lambda: self.try_ssh("true").returncode == 0, 0.3)

    def try_ssh(self, command):
        login = [*SSH, "-i", str(self.tenant.key)]
        by = " ".join([*login, "-W", "%h:%p", f"root@{self.tenant.about(self.door)['PublicIpAddress']}"])
        there = [*login, "-o", f"ProxyCommand={by}", f"root@{self.address}", command]
        return subprocess.run(there, capture_output=True, text=True, timeout=60)

    def ssh(self, command):
        done = self.try_ssh(command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fetches(self, url):
        return self.try_ssh(f"timeout 4 wget -q -O - '{url}'").stdout

    def close(self):
        self.tenant.terminate(self.id, self.door)


@pytest.fixture(scope="module")
def keys(awan):
    return awan.account("caller")


def signed(keys, host, port="", operation="describe_regions", service="ec2"):
    """A request that anybody can send until it expires: what names the host is signed."""
    client = boto3.client(
        service,
        endpoint_url=f"http://{host}{port}",
        region_name="us-east-1",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        config=Config(signature_version="v4"),
    )
    return client.generate_presigned_url(operation, HttpMethod="GET")


def test_a_guest_without_a_way_out_calls_the_api_through_an_endpoint(awan, tenant, keys):
    ec2, private = tenant.ec2, Private(tenant)
    url = signed(keys, SERVICE)
    asks = lambda to=url: "<regionName>us-east-1</regionName>" in private.fetches(to)
    assert not asks(), "it has no way to any API"
    group = ec2.create_security_group(VpcId=private.vpc, GroupName="endpoint", Description="who may call")["GroupId"]
    asked = {"VpcId": private.vpc, "VpcEndpointType": "Interface", "SubnetIds": [private.subnet], "SecurityGroupIds": [group]}
    made = ec2.create_vpc_endpoint(ServiceName="com.amazonaws.us-east-1.ec2", **asked)["VpcEndpoint"]
    own = [entry["DnsName"] for entry in made["DnsEntries"]]
    (eni,) = ec2.describe_network_interfaces(NetworkInterfaceIds=made["NetworkInterfaceIds"])["NetworkInterfaces"]
    address = eni["PrivateIpAddress"]
    named = lambda name: address in private.try_ssh(f"nslookup {name}").stdout
    for name in own:
        until(f"{name} means the endpoint", 10, lambda: named(name), 0.3)
    assert own[-1] == SERVICE and not asks(), "its group lets nobody in"

    rule = lambda port: [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "UserIdGroupPairs": [{"GroupId": tenant.group}]}]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rule(80))
    until("the API's answer", 10, asks, 0.2)
    assert all(asks(signed(keys, name)) for name in own[:-1])
    assert not asks(signed(keys, SERVICE, ":443")), "the group lets nobody in there"
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rule(443))
    until("the same at HTTPS's port", 10, lambda: asks(signed(keys, SERVICE, ":443")), 0.2)
    # What is signed for one service is nothing to the endpoint of another, and what nobody signed to none.
    refused = lambda to: private.try_ssh(f"timeout 4 wget -O - '{to}'").stderr
    assert "HTTP/1.1 401" in refused(signed(keys, SERVICE, operation="get_caller_identity", service="sts"))
    assert "HTTP/1.1 403" in refused(f"http://{SERVICE}/?Action=DescribeRegions&Version=2016-11-15")
    assert "HTTP" not in refused(f"http://{address}:{awan.api}/"), "there is nothing else at its address"
    # The guest still reaches nobody outside.
    assert private.try_ssh("ping -c 1 -W 1 198.18.0.1").returncode != 0

    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=rule(80))
    until("no answer any more", 5, lambda: not asks(), 0.1)
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rule(80))
    until("the answer again", 10, asks, 0.2)
    id = made["VpcEndpointId"]
    ec2.modify_vpc_endpoint(VpcEndpointId=id, PrivateDnsEnabled=False)
    until("its name is no more", 10, lambda: not named(SERVICE), 0.3)
    assert asks(signed(keys, own[0]))
    ec2.delete_vpc_endpoints(VpcEndpointIds=[id])
    until("no name", 10, lambda: not named(own[0]), 0.3)
    assert "<region" not in private.fetches(signed(keys, address)), "nobody is at its address"
    ec2.delete_security_group(GroupId=group)
    private.close()
    awan.audit()
