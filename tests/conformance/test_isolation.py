"""Two accounts with the same VPC range. To each, what is the other's is as if it were not there."""

import re

import pytest
from areas import AREAS
from clients import ABSENT, OURS
from showcase import CALLS, Home

# Whatever names a thing, by the names that the API's parameters have for it.
NAMES = {
    "instance": ["InstanceId", "InstanceIds"],
    "group": ["GroupId", "GroupIds", "SecurityGroupIds", "Groups"],
    "group_name": ["GroupName", "GroupNames", "SecurityGroups", "SourceSecurityGroupName"],
    "rule": ["SecurityGroupRuleIds"],
    "subnet": ["SubnetId", "SubnetIds"],
    "vpc": ["VpcId", "VpcIds"],
    "gateway": ["InternetGatewayId", "InternetGatewayIds", "GatewayId"],
    "table": ["RouteTableId", "RouteTableIds"],
    "volume": ["VolumeId", "VolumeIds"],
    "interface": ["NetworkInterfaceId", "NetworkInterfaceIds"],
    "allocation": ["AllocationId", "AllocationIds"],
    "association": ["AssociationId"],
    "public_ip": ["PublicIp", "PublicIps"],
    "key": ["KeyPairId", "KeyPairIds"],
    "key_name": ["KeyName", "KeyNames"],
    "anything": ["Resources"],
}
for area in AREAS:
    for kind, names in area.NAMES.items():
        NAMES[kind] = NAMES.get(kind, []) + names
KINDS = {name: kind for kind, names in NAMES.items() for name in names}
TAGGED = ["instance", "volume", "group", "rule", "subnet", "vpc", "gateway", "table", "interface", "allocation", "key"]
TAGGED += [kind for area in AREAS for kind in area.TAGGED]
# A name that is to be given, not one that is looked up; text that names nothing.
NEW = {("CreateKeyPair", "KeyName"), ("ImportKeyPair", "KeyName"), ("CreateSecurityGroup", "GroupName"), ("CreatePlacementGroup", "GroupName")}
# Where ids are inside of structures.
NESTED = [
    ("RunInstances", "subnet", lambda id: {"NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": id}]}),
    ("RunInstances", "group", lambda id: {"NetworkInterfaces": [{"DeviceIndex": 0, "Groups": [id]}]}),
    ("RunInstances", "interface", lambda id: {"NetworkInterfaces": [{"DeviceIndex": 0, "NetworkInterfaceId": id}]}),
    ("AuthorizeSecurityGroupIngress", "group", lambda id: peered({"GroupId": id})),
    ("AuthorizeSecurityGroupIngress", "group_name", lambda id: peered({"GroupName": id})),
    ("AuthorizeSecurityGroupEgress", "group", lambda id: peered({"GroupId": id})),
    ("RevokeSecurityGroupIngress", "group", lambda id: peered({"GroupId": id})),
    ("RevokeSecurityGroupEgress", "group", lambda id: peered({"GroupId": id})),
    ("RevokeSecurityGroupIngress", "rule", lambda id: {"IpPermissions": None, "SecurityGroupRuleIds": [id]}),
    ("RevokeSecurityGroupEgress", "rule", lambda id: {"IpPermissions": None, "SecurityGroupRuleIds": [id]}),
    ("ModifyInstanceAttribute", "group", lambda id: {"InstanceType": None, "Groups": [id]}),
    ("AssociateAddress", "public_ip", lambda id: {"AllocationId": None, "PublicIp": id}),
    ("ReleaseAddress", "public_ip", lambda id: {"AllocationId": None, "PublicIp": id}),
    ("DisassociateAddress", "public_ip", lambda id: {"AssociationId": None, "PublicIp": id}),
    ("AssociateAddress", "interface", lambda id: {"InstanceId": None, "NetworkInterfaceId": id}),
    ("DisassociateRouteTable", "route_association", lambda id: {"AssociationId": id}),
    ("ReplaceRouteTableAssociation", "route_association", lambda id: {"AssociationId": id}),
    ("DeleteKeyPair", "key_name", lambda id: {"KeyPairId": None, "KeyName": id}),
    ("DeleteSecurityGroup", "group_name", lambda id: {"GroupId": None, "GroupName": id}),
    ("DescribeAddresses", "public_ip", lambda id: {"AllocationIds": None, "PublicIps": [id]}),
    ("DescribeKeyPairs", "key_name", lambda id: {"KeyPairIds": None, "KeyNames": [id]}),
    ("DescribeSecurityGroups", "group_name", lambda id: {"GroupIds": None, "GroupNames": [id]}),
]

NESTED += [case for area in AREAS for case in area.NESTED]


def peered(pair):
    return {"IpPermissions": [{"IpProtocol": "-1", "UserIdGroupPairs": [pair]}]}


def cases(model):
    """Every place of every action where an id or a name goes."""
    for action in OURS:
        for member, shape in model.operation_model(action).input_shape.members.items():
            kind = KINDS.get(member)
            if kind and (action, member) not in NEW and (shape.type_name == "string" or shape.member.type_name == "string"):
                listed = shape.type_name == "list"
                for one in TAGGED if kind == "anything" else [kind]:
                    yield action, one, member, lambda id, member=member, listed=listed: {member: [id] if listed else id}
    for action, kind, change in NESTED:
        yield action, kind, "nested", change


def absent(theirs):
    """A name of the same form that nobody has."""
    if re.fullmatch(r"[a-z-]+-[0-9a-f]{17}", theirs):
        return theirs.rsplit("-", 1)[0] + "-" + ABSENT
    if re.search(r"-[0-9a-f]{12}$", theirs):
        return theirs[:-12] + ABSENT[:12]
    return "198.18.255.254" if theirs.startswith("198.18.") else theirs[:-3] + "zzz"


@pytest.fixture(scope="module")
def homes(cloud):
    return Home(cloud, "watched").furnish(), Home(cloud, "watcher").furnish()


def test_an_id_of_another_account_answers_as_one_that_is_not_there(awan, homes):
    theirs, mine = homes
    before = theirs.tenant.everything()
    secrets = theirs.secrets()
    tried, found = set(), []
    dead = deleted(mine)
    for action, kind, member, change in cases(mine.ec2.meta.service_model):
        foreign = getattr(theirs, kind)
        ids = {"foreign": foreign, "absent": absent(foreign), "malformed": malformed(foreign), "deleted": dead.get(kind)}
        answers = {}
        for what, id in ids.items():
            if id:
                asked = {**CALLS[action](mine), **change(id)}
                status, body = mine.tenant.answer(action, **{k: v for k, v in asked.items() if v is not None})
                answers[what] = (status, normal(body.replace(id, "ID")))
        leaks = {word for word in secrets for _, body in answers.values() if word in body} - {"canary"}
        if answers["foreign"] != answers["absent"] or answers.get("deleted", answers["absent"]) != answers["absent"] or leaks:
            found.append((action, kind, member, answers, leaks))
        for what, (status, body) in answers.items():
            if status >= 500 or (status == 200 and action not in FINE):
                found.append((action, kind, member, what, "was not refused", status, body))
        tried.add((action, kind))
    assert found == [], "\n".join(map(str, found))
    assert theirs.tenant.everything() == before
    assert len(tried) > 60, tried


def malformed(id):
    """Nothing has such a name, of whatever kind it is."""
    return re.sub(r"[0-9a-f]{12,17}$", "xyz", id) if re.search(r"-[0-9a-f]{12,17}$", id) else id + "/é"


# How a thing of a kind is made and deleted again, where what is deleted is not shown for a while.
DELETED = {
    "group": (Home.new_group, "delete_security_group", "GroupId"),
    "subnet": (Home.new_subnet, "delete_subnet", "SubnetId"),
    "vpc": (Home.new_vpc, "delete_vpc", "VpcId"),
    "gateway": (Home.new_gateway, "delete_internet_gateway", "InternetGatewayId"),
    "table": (Home.new_table, "delete_route_table", "RouteTableId"),
    "volume": (lambda home: home.left_by_instance()[0], "delete_volume", "VolumeId"),
    "interface": (lambda home: home.left_by_instance()[1], "delete_network_interface", "NetworkInterfaceId"),
    "allocation": (lambda home: home.new_address()[0], "release_address", "AllocationId"),
}
for area in AREAS:
    DELETED |= vars(area).get("DELETED", {})


def deleted(home):
    """Ids that this account had, by kind."""
    ids = {}
    for kind, (make, method, parameter) in DELETED.items():
        ids[kind] = make(home)
        getattr(home.ec2, method)(**{parameter: ids[kind]})
    return ids


# Deleting a key by a name that nobody has is fine in EC2.
FINE = {"DeleteKeyPair"}.union(*(area.FINE for area in AREAS))


def normal(body):
    """Without what differs between any two calls: the time, and ids that are made by them."""
    return re.sub(r"20\d\d-\d\d-\d\dT[\d:.]+Z|(?<=-)[0-9a-f]{17}\b", "NEW", body)


def test_nothing_of_another_account_is_ever_shown(awan, homes):
    theirs, mine = homes
    mine_alone = Home(awan, "without-canaries").furnish()
    secrets = theirs.secrets() - {"canary"}
    assert len(secrets) > 20
    tenant = mine_alone.tenant
    for action in OURS:
        tenant.call(action, **CALLS[action](mine_alone))
    about_one = {"DescribeInstanceAttribute", "DescribeVpcAttribute"}.union(*(area.NOT_LISTS for area in AREAS))
    about_one |= {action for action in OURS if mine.ec2.meta.service_model.operation_model(action).input_shape.required_members}
    lists = [action for action in OURS if action.startswith("Describe") and action not in about_one]
    for action in lists:
        tenant.call(action)
    for action, filter, values in filters_that_would_find(theirs):
        before = len(tenant.said)
        answer = tenant.call(action, Filters=[{"Name": filter, "Values": values}])
        assert not any(answer[key] for key in answer if isinstance(answer[key], list)), (action, filter)
        assert len(tenant.said) == before + 1
    leaks = [(word, action) for action, _, body in tenant.said for word in secrets if word in body]
    assert leaks == []
    theirs_said = "".join(body for _, _, body in theirs.tenant.said)
    assert all(word in theirs_said for word in secrets), "its owner does see it"


def filters_that_would_find(home):
    yield "DescribeInstances", "instance-id", [home.instance]
    yield "DescribeInstances", "owner-id", [home.tenant.id]
    yield "DescribeInstances", "ip-address", [home.public_ip]
    yield "DescribeInstances", "key-name", [home.key_name]
    yield "DescribeSecurityGroups", "group-id", [home.group]
    yield "DescribeSecurityGroups", "ip-permission.group-id", [home.peer]
    yield "DescribeSecurityGroupRules", "group-id", [home.group]
    yield "DescribeVpcs", "owner-id", [home.tenant.id]
    yield "DescribeSubnets", "vpc-id", [home.vpc]
    yield "DescribeInternetGateways", "attachment.vpc-id", [home.own_vpc]
    yield "DescribeRouteTables", "association.route-table-association-id", [home.route_association]
    yield "DescribeVolumes", "attachment.instance-id", [home.instance]
    yield "DescribeNetworkInterfaces", "attachment.instance-id", [home.instance]
    yield "DescribeAddresses", "public-ip", [home.public_ip]
    yield "DescribeKeyPairs", "key-name", [home.key_name]
    yield "DescribeTags", "resource-id", [home.instance, home.vpc, home.volume, home.key]
    for area in AREAS:
        yield from area.FILTERS(home)


def test_both_have_the_same_range_and_can_have_the_same_address(homes):
    seen = []
    for home in homes:
        filters = [{"Name": "availability-zone", "Values": ["us-east-1a"]}, {"Name": "default-for-az", "Values": ["true"]}]
        (subnet,) = home.ec2.describe_subnets(Filters=filters)["Subnets"]
        ip = subnet["CidrBlock"].rsplit(".", 1)[0] + ".66"
        (id,) = home.tenant.run(SubnetId=subnet["SubnetId"], PrivateIpAddress=ip)
        seen.append(home.tenant.about(id))
    a, b = seen
    assert a["PrivateIpAddress"] == b["PrivateIpAddress"] and a["VpcId"] != b["VpcId"]
    assert a["PublicIpAddress"] != b["PublicIpAddress"]


def test_a_page_token_of_another_account_is_no_token(homes):
    theirs, mine = homes
    for home in homes:
        home.tenant.launch(6)
    token = theirs.ec2.describe_instances(MaxResults=5)["NextToken"]
    assert mine.ec2.describe_instances(MaxResults=5)["NextToken"]
    answers = [mine.tenant.answer("DescribeInstances", MaxResults=5, NextToken=t) for t in (token, token[::-1])]
    assert answers[0] == answers[1] and answers[0][0] == 400 and "<Code>InvalidNextToken<" in answers[0][1]
