"""What all lists have in common: pages, filters, ids."""

import re

import pytest
from clients import ABSENT, OURS, Tenant, refused

FILTERED = ["DescribeInstances", "DescribeInstanceStatus", "DescribeImages", "DescribeInstanceTypes", "DescribeInstanceTypeOfferings"]
FILTERED += ["DescribeVpcs", "DescribeSubnets", "DescribeSecurityGroups", "DescribeSecurityGroupRules", "DescribeAddresses", "DescribeTags"]
FILTERED += ["DescribeInternetGateways", "DescribeRouteTables", "DescribeVolumes"]
FILTERED += ["DescribeNetworkInterfaces", "DescribeKeyPairs", "DescribeRegions", "DescribeAvailabilityZones"]

# Action, parameter, prefix, code without its ending: what asks for things by id.
BY_ID = [
    ("DescribeInstances", "InstanceIds", "i", "InvalidInstanceID"),
    ("DescribeInstanceStatus", "InstanceIds", "i", "InvalidInstanceID"),
    ("StartInstances", "InstanceIds", "i", "InvalidInstanceID"),
    ("StopInstances", "InstanceIds", "i", "InvalidInstanceID"),
    ("RebootInstances", "InstanceIds", "i", "InvalidInstanceID"),
    ("TerminateInstances", "InstanceIds", "i", "InvalidInstanceID"),
    ("GetConsoleOutput", "InstanceId", "i", "InvalidInstanceID"),
    ("GetConsoleScreenshot", "InstanceId", "i", "InvalidInstanceID"),
    ("GetInstanceUefiData", "InstanceId", "i", "InvalidInstanceID"),
    ("DescribeImages", "ImageIds", "ami", "InvalidAMIID"),
    ("DescribeVpcs", "VpcIds", "vpc", "InvalidVpcID"),
    ("DescribeSubnets", "SubnetIds", "subnet", "InvalidSubnetID"),
    ("DescribeSecurityGroups", "GroupIds", "sg", "InvalidGroupId InvalidGroup"),
    ("DeleteSecurityGroup", "GroupId", "sg", "InvalidGroupId InvalidGroup"),
    ("DescribeSecurityGroupRules", "SecurityGroupRuleIds", "sgr", "InvalidSecurityGroupRuleId"),
    ("DescribeNetworkInterfaces", "NetworkInterfaceIds", "eni", "InvalidNetworkInterfaceId InvalidNetworkInterfaceID"),
    ("DescribeAddresses", "AllocationIds", "eipalloc", "InvalidAllocationID"),
    ("ReleaseAddress", "AllocationId", "eipalloc", "InvalidAllocationID"),
    ("DisassociateAddress", "AssociationId", "eipassoc", "InvalidAssociationID"),
    ("DescribeInternetGateways", "InternetGatewayIds", "igw", "InvalidInternetGatewayId InvalidInternetGatewayID"),
    ("DescribeRouteTables", "RouteTableIds", "rtb", "InvalidRouteTableId InvalidRouteTableID"),
    ("DescribeVolumes", "VolumeIds", "vol", "InvalidVolumeID InvalidVolume"),
    ("DeleteInternetGateway", "InternetGatewayId", "igw", "InvalidInternetGatewayId InvalidInternetGatewayID"),
    ("DeleteNetworkInterface", "NetworkInterfaceId", "eni", "InvalidNetworkInterfaceId InvalidNetworkInterfaceID"),
    ("DeleteRouteTable", "RouteTableId", "rtb", "InvalidRouteTableId InvalidRouteTableID"),
    ("DeleteSubnet", "SubnetId", "subnet", "InvalidSubnetID"),
    ("DeleteVolume", "VolumeId", "vol", "InvalidVolumeID InvalidVolume"),
    ("DeleteVpc", "VpcId", "vpc", "InvalidVpcID"),
    ("DisassociateRouteTable", "AssociationId", "rtbassoc", "InvalidAssociationID"),
    ("DescribeKeyPairs", "KeyPairIds", "key", "InvalidKeyPair"),
]


@pytest.fixture(scope="module")
def crowd(cloud):
    """An account with more than a page of everything."""
    tenant = Tenant(cloud, "crowd")
    ids = tenant.launch(12, TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "one of 12"}]}])
    tenant.wait("instance_running", *ids)
    for n in range(7):
        group = tenant.ec2.create_security_group(GroupName=f"g{n}", Description="d")["GroupId"]
        rule = {"IpProtocol": "tcp", "FromPort": n, "ToPort": n, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        tenant.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    return tenant


def of(tenant, action):
    return getattr(tenant.ec2, re.sub(r"(?<!^)(?=[A-Z])", "_", action).lower())


PAGED = [a for a in FILTERED if a not in ("DescribeAddresses", "DescribeKeyPairs", "DescribeRegions", "DescribeAvailabilityZones")]


@pytest.mark.parametrize("action", PAGED)
def test_pages_show_each_thing_once(awan, crowd, action):
    paginator = crowd.ec2.get_paginator(of(crowd, action).__name__)
    (key,) = [k.expression for k in paginator.result_keys]
    whole = of(crowd, action)()[key]
    pages = [page[key] for page in paginator.paginate(PaginationConfig={"PageSize": 5})]
    flat = [thing for page in pages for thing in page]
    if action == "DescribeInstances":
        assert all(sum(len(r["Instances"]) for r in page) <= 5 for page in pages)
        assert all(page for page in pages)
        flat, whole = ([i["InstanceId"] for r in rs for i in r["Instances"]] for rs in (flat, whole))
        assert len(pages) == 3
    assert all(len(page) <= 5 for page in pages)
    assert flat == whole and len(pages) >= len(whole) // 5


def test_a_page_holds_while_others_come_and_go(tenant):
    ids = sorted(tenant.launch(11))
    first = tenant.ec2.describe_instances(MaxResults=5)
    shown = [i["InstanceId"] for r in first["Reservations"] for i in r["Instances"]]
    tenant.launch(5)
    token = first["NextToken"]
    while token:
        page = tenant.ec2.describe_instances(MaxResults=5, NextToken=token)
        shown += [i["InstanceId"] for r in page["Reservations"] for i in r["Instances"]]
        token = page.get("NextToken")
    assert len(set(shown)) == len(shown) and set(ids) <= set(shown)


def test_page_sizes_have_bounds(crowd, awan):
    for call, wrong in ((crowd.ec2.describe_instances, 4), (crowd.ec2.describe_instances, 1001), (crowd.ec2.describe_instance_types, 101)):
        with refused("InvalidParameterValue"):
            call(MaxResults=wrong)
    with refused("InvalidParameterCombination"):
        crowd.ec2.describe_instances(MaxResults=5, InstanceIds=[f"i-{ABSENT}"])
    with refused("InvalidNextToken"):
        crowd.ec2.describe_instances(MaxResults=5, NextToken="abc")
    token = crowd.ec2.describe_instances(MaxResults=5)["NextToken"]
    with refused("InvalidNextToken"):
        crowd.ec2.describe_network_interfaces(MaxResults=5, NextToken=token)


@pytest.mark.parametrize("action", FILTERED)
def test_an_unknown_filter_is_refused_not_ignored(awan, crowd, action):
    with refused("InvalidParameterValue", message="The filter 'no-such-filter' is invalid"):
        of(crowd, action)(Filters=[{"Name": "no-such-filter", "Values": ["x"]}])


def test_filters(crowd, awan):
    def count(**filters):
        asked = [{"Name": name.replace("_", "-"), "Values": values} for name, values in filters.items()]
        return sum(len(r["Instances"]) for r in crowd.ec2.describe_instances(Filters=asked)["Reservations"])

    for values, expected in [
        (["running"], 12),
        (["r*"], 12),
        (["runnin?"], 12),
        (["RUNNING"], 0),
        (["run"], 0),
        (["stopped", "running"], 12),
        (["?"], 0),
        (["\\*"], 0),
        (["*"], 12),
    ]:
        assert count(instance_state_name=values) == expected, values
    assert count(instance_state_name=["running"], instance_type=["m5.*"]) == 0, "all filters"
    assert count(instance_state_name=["running"], instance_type=["m5.*", "t3.*"], architecture=["x86_64"]) == 12
    assert count(launch_index=["3", "4"]) == 2
    assert count(instance_state_code=["16"]) == 12
    assert sum(len(r["Instances"]) for r in crowd.ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["one*"]}])["Reservations"]) == 12
    types = crowd.ec2.describe_instance_types(Filters=[{"Name": "vcpu-info.default-vcpus", "Values": ["2"]}, {"Name": "instance-type", "Values": ["m5.*"]}])
    assert [t["InstanceType"] for t in types["InstanceTypes"]] == ["m5.large"]
    with refused("FilterLimitExceeded"):
        crowd.ec2.describe_instances(Filters=[{"Name": "instance-type", "Values": [str(n) for n in range(201)]}])


def test_types_are_real_ones(tenant):
    pages = tenant.ec2.get_paginator("describe_instance_types").paginate()
    types = {t["InstanceType"]: t for page in pages for t in page["InstanceTypes"]}
    for name, cpus, mib in [("t3.nano", 2, 512), ("t3.micro", 2, 1024), ("m5.large", 2, 8192), ("c5.4xlarge", 16, 32768), ("r5.24xlarge", 96, 786432)]:
        assert (types[name]["VCpuInfo"]["DefaultVCpus"], types[name]["MemoryInfo"]["SizeInMiB"]) == (cpus, mib)
    families = {name.split(".")[0] for name in types}
    assert {"t3", "m5", "c5", "r5"} <= families
    offers = tenant.ec2.get_paginator("describe_instance_type_offerings").paginate(LocationType="availability-zone")
    offered = {(o["InstanceType"], o["Location"]) for page in offers for o in page["InstanceTypeOfferings"]}
    assert len(offered) == len(types) * 3
    with refused("InvalidInstanceType"):
        tenant.ec2.describe_instance_types(InstanceTypes=["t9.giant"])


@pytest.mark.parametrize(("action", "parameter", "prefix", "codes"), BY_ID)
def test_wrong_ids_have_the_codes_of_ec2(tenant, action, parameter, prefix, codes):
    malformed, absent = codes.split()[0], codes.split()[-1]
    ask = lambda id: of(tenant, action)(**{parameter: [id] if parameter.endswith("s") else id})
    with refused(f"{absent}.NotFound", message=f"{prefix}-{ABSENT}"):
        ask(f"{prefix}-{ABSENT}")
    for bad in ("nonsense", f"x-{ABSENT}", f"{prefix}-{ABSENT}0", f"{prefix}-XYZ", f"{prefix}-{ABSENT.upper()}"):
        with refused(f"{malformed}.Malformed"):
            ask(bad)


def test_several_ids_of_which_some_are_not_there(tenant):
    (id,) = tenant.launch()
    two = ["i-0123456789abcdef1", "i-0123456789abcdef2"]
    with refused("InvalidInstanceID.NotFound", message="The instance IDs 'i-0123456789abcdef1, i-0123456789abcdef2' do not exist"):
        tenant.ec2.describe_instances(InstanceIds=[id, *two])


def test_regions_and_zones(tenant):
    (region,) = tenant.ec2.describe_regions()["Regions"]
    assert region["RegionName"] == "us-east-1"
    zones = tenant.ec2.describe_availability_zones(Filters=[{"Name": "zone-name", "Values": ["*b"]}])["AvailabilityZones"]
    assert [(z["ZoneName"], z["ZoneId"]) for z in zones] == [("us-east-1b", "use1-az2")]
    with refused("InvalidParameterValue"):
        tenant.ec2.describe_availability_zones(ZoneNames=["us-east-1z"])
    with refused("InvalidParameterValue"):
        tenant.ec2.describe_regions(RegionNames=["mars-1"])


def test_images(tenant):
    (image,) = tenant.ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "name", "Values": ["awan-tiny-*"]}])["Images"]
    assert image["Public"] and image["State"] == "available" and image["Architecture"] == "x86_64"
    assert tenant.ec2.describe_images(Owners=["self"])["Images"] == []
    tenant.ec2.get_waiter("image_available").wait(ImageIds=[image["ImageId"]])


def documented(shape):
    """The filters that EC2's own description of an action names."""
    names = re.findall(r"<li>\s*<p>\s*<code>([a-zA-Z0-9.:&;<>-]+)</code>(?=\s*(?::|-|—|&lt;|<))", shape.documentation)
    return {"tag:Name" if name.startswith("tag") and ("key" not in name or ":" in name) else name for name in names} - NO_FILTERS


# Values of filters, listed in the same way.
NO_FILTERS = {"informational", "low", "medium", "high", "critical"}


@pytest.mark.parametrize("action", FILTERED)
def test_every_filter_that_ec2_describes_is_known(awan, crowd, action):
    names = documented(crowd.ec2.meta.service_model.operation_model(action).input_shape.members["Filters"])
    assert len(names) >= 2
    refusals = {}
    for name in sorted(names):
        status, body = crowd.answer(action, Filters=[{"Name": name, "Values": ["nothing-has-this"]}])
        if status != 200:
            refusals[name] = body
    assert refusals == {}
