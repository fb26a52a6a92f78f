"""Groups and their rules, addresses, interfaces, subnets: as a client sees them change."""

import ipaddress

from clients import refused


def tcp(port, **peers):
    ranges = {} if peers else {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    return [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **ranges, **peers}]


def group(tenant, name):
    return tenant.ec2.create_security_group(GroupName=name, Description="d")["GroupId"]


def seen(tenant, id):
    return tenant.ec2.describe_security_groups(GroupIds=[id])["SecurityGroups"][0]


def rules(tenant, id, egress=False):
    found = tenant.ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [id]}])
    return [r for r in found["SecurityGroupRules"] if r["IsEgress"] is egress]


def test_a_default_vpc_that_was_deleted_is_made_again(tenant):
    (vpc,) = tenant.ec2.describe_vpcs()["Vpcs"]
    for subnet in tenant.ec2.describe_subnets()["Subnets"]:
        tenant.ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    (gateway,) = tenant.ec2.describe_internet_gateways()["InternetGateways"]
    tenant.ec2.detach_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"], VpcId=vpc["VpcId"])
    with refused("DefaultVpcAlreadyExists"):
        tenant.ec2.create_default_vpc()
    tenant.ec2.delete_vpc(VpcId=vpc["VpcId"])
    with refused("DryRunOperation", 412):
        tenant.ec2.create_default_vpc(DryRun=True)
    made = tenant.ec2.create_default_vpc()["Vpc"]
    assert made["IsDefault"] and made["CidrBlock"] == "172.31.0.0/16" and made["State"] == "available"
    assert len(tenant.ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [made["VpcId"]]}])["Subnets"]) == 3
    tenant.launch()


def test_a_new_account_is_furnished_as_in_ec2(tenant):
    (vpc,) = tenant.ec2.describe_vpcs()["Vpcs"]
    assert vpc["IsDefault"] and vpc["CidrBlock"] == "172.31.0.0/16"
    zones = [z["ZoneName"] for z in tenant.ec2.describe_availability_zones()["AvailabilityZones"]]
    subnets = tenant.ec2.describe_subnets()["Subnets"]
    assert sorted(s["AvailabilityZone"] for s in subnets) == zones == ["us-east-1a", "us-east-1b", "us-east-1c"]
    networks = [ipaddress.ip_network(s["CidrBlock"]) for s in subnets]
    assert all(s["DefaultForAz"] and s["MapPublicIpOnLaunch"] and s["VpcId"] == vpc["VpcId"] for s in subnets)
    assert not any(a.overlaps(b) for a in networks for b in networks if a != b)
    (default,) = tenant.ec2.describe_security_groups()["SecurityGroups"]
    assert default["GroupName"] == "default" and default["Description"] == "default VPC security group"
    (inward,), (outward,) = default["IpPermissions"], default["IpPermissionsEgress"]
    assert inward["IpProtocol"] == "-1" and inward["UserIdGroupPairs"] == [{"UserId": tenant.id, "GroupId": default["GroupId"]}]
    assert outward["IpProtocol"] == "-1" and outward["IpRanges"] == [{"CidrIp": "0.0.0.0/0"}]
    attributes = {a["AttributeName"]: a["AttributeValues"] for a in tenant.ec2.describe_account_attributes()["AccountAttributes"]}
    assert attributes["default-vpc"] == [{"AttributeValue": vpc["VpcId"]}]


def test_rules_come_and_go(tenant):
    ec2, id = tenant.ec2, group(tenant, "web")
    assert seen(tenant, id)["IpPermissions"] == [] and len(seen(tenant, id)["IpPermissionsEgress"]) == 1
    made = ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=tcp(80) + tcp(443))["SecurityGroupRules"]
    assert [r["FromPort"] for r in made] == [80, 443]
    assert [r["SecurityGroupRuleId"] for r in rules(tenant, id)] == sorted(r["SecurityGroupRuleId"] for r in made)
    with refused("InvalidPermission.Duplicate"):
        ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=tcp(22) + tcp(80))
    assert len(rules(tenant, id)) == 2, "all of a request's rules, or none"
    ec2.revoke_security_group_ingress(GroupId=id, IpPermissions=tcp(80))
    # In the default VPC it is told, and no mistake; elsewhere it is one.
    again = ec2.revoke_security_group_ingress(GroupId=id, IpPermissions=tcp(80))
    assert [p["FromPort"] for p in again["UnknownIpPermissions"]] == [80] and not again.get("RevokedSecurityGroupRules")
    vpc = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    elsewhere = ec2.create_security_group(GroupName="web", Description="d", VpcId=vpc)["GroupId"]
    with refused("InvalidPermission.NotFound"):
        ec2.revoke_security_group_ingress(GroupId=elsewhere, IpPermissions=tcp(80))
    ec2.revoke_security_group_ingress(GroupId=id, SecurityGroupRuleIds=[made[1]["SecurityGroupRuleId"]])
    with refused("InvalidSecurityGroupRuleId.NotFound"):
        ec2.describe_security_group_rules(SecurityGroupRuleIds=[made[1]["SecurityGroupRuleId"]])
    assert rules(tenant, id) == []
    v6 = [{"IpProtocol": "icmpv6", "FromPort": -1, "ToPort": -1, "Ipv6Ranges": [{"CidrIpv6": "fd00::/8", "Description": "lab"}]}]
    ec2.authorize_security_group_egress(GroupId=id, IpPermissions=v6)
    shown = [p for p in seen(tenant, id)["IpPermissionsEgress"] if p["IpProtocol"] == "icmpv6"]
    assert [p["Ipv6Ranges"] for p in shown] == [v6[0]["Ipv6Ranges"]]
    ec2.revoke_security_group_egress(GroupId=id, IpPermissions=v6)
    assert len(rules(tenant, id, egress=True)) == 1


def test_the_old_flat_way_to_say_a_rule(tenant):
    ec2, id = tenant.ec2, group(tenant, "old")
    ec2.authorize_security_group_ingress(GroupName="old", IpProtocol="udp", FromPort=53, ToPort=54, CidrIp="10.1.2.3/8")
    (permission,) = seen(tenant, id)["IpPermissions"]
    assert permission["IpRanges"] == [{"CidrIp": "10.0.0.0/8"}] and (permission["FromPort"], permission["ToPort"]) == (53, 54)
    ec2.authorize_security_group_ingress(GroupId=id, SourceSecurityGroupName="default")
    pairs = [p["UserIdGroupPairs"] for p in seen(tenant, id)["IpPermissions"] if p["UserIdGroupPairs"]]
    assert pairs == [[{"UserId": tenant.id, "GroupId": tenant.default_group()}]] * len(pairs) and pairs
    for wrong in ({"CidrIp": "10.0.0.0/33"}, {"CidrIp": "x"}, {"CidrIp": "10.0.0.0/8", "FromPort": 9, "ToPort": 8}):
        with refused("InvalidParameterValue"):
            ec2.authorize_security_group_ingress(GroupId=id, **{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, **wrong})


def test_a_group_that_is_referred_to_stays(tenant):
    ec2, front, back = tenant.ec2, group(tenant, "front"), group(tenant, "back")
    with refused("InvalidGroup.Duplicate"):
        group(tenant, "front")
    pair = tcp(5432, UserIdGroupPairs=[{"GroupId": front, "Description": "from the front"}])
    made = ec2.authorize_security_group_ingress(GroupId=back, IpPermissions=pair)["SecurityGroupRules"][0]
    assert made["ReferencedGroupInfo"]["GroupId"] == front
    found = ec2.describe_security_groups(Filters=[{"Name": "ip-permission.group-id", "Values": [front]}])["SecurityGroups"]
    assert [g["GroupId"] for g in found] == [back]
    with refused("DependencyViolation"):
        ec2.delete_security_group(GroupId=front)
    ec2.revoke_security_group_ingress(GroupId=back, SecurityGroupRuleIds=[made["SecurityGroupRuleId"]])
    ec2.delete_security_group(GroupId=front)
    (id,) = tenant.launch(SecurityGroupIds=[back])
    with refused("DependencyViolation"):
        ec2.delete_security_group(GroupId=back)
    ec2.modify_instance_attribute(InstanceId=id, Groups=[tenant.default_group()])
    assert [g["GroupName"] for g in tenant.about(id)["SecurityGroups"]] == ["default"]
    ec2.delete_security_group(GroupId=back)
    with refused("InvalidGroup.NotFound"):
        seen(tenant, back)
    with refused("CannotDelete"):
        ec2.delete_security_group(GroupId=tenant.default_group())


def test_a_rule_of_a_group_to_itself_does_not_hold_it(tenant):
    id = group(tenant, "alone")
    tenant.ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=tcp(1, UserIdGroupPairs=[{"GroupId": id}]))
    tenant.ec2.delete_security_group(GroupId=id)


def test_an_elastic_address_and_all_that_is_done_with_one(tenant):
    ec2, (a, b) = tenant.ec2, tenant.run(2)
    automatic = tenant.about(a)["PublicIpAddress"]
    made = ec2.allocate_address(Domain="vpc")
    allocation, ip = made["AllocationId"], made["PublicIp"]
    association = ec2.associate_address(AllocationId=allocation, InstanceId=a)["AssociationId"]
    assert tenant.about(a)["PublicIpAddress"] == ip != automatic
    (interface,) = ec2.describe_network_interfaces(Filters=[{"Name": "attachment.instance-id", "Values": [a]}])["NetworkInterfaces"]
    assert interface["Association"]["PublicIp"] == ip and interface["Association"]["IpOwnerId"] == tenant.id
    with refused("Resource.AlreadyAssociated"):
        ec2.associate_address(AllocationId=allocation, InstanceId=b, AllowReassociation=False)
    assert tenant.about(a)["PublicIpAddress"] == ip
    with refused("InvalidIPAddress.InUse"):
        ec2.release_address(AllocationId=allocation)
    moved = ec2.associate_address(AllocationId=allocation, InstanceId=b)["AssociationId"]
    assert moved != association and tenant.about(b)["PublicIpAddress"] == ip and tenant.about(a).get("PublicIpAddress") != ip
    with refused("InvalidAssociationID.NotFound"):
        ec2.disassociate_address(AssociationId=association)
    ec2.disassociate_address(AssociationId=moved)
    (address,) = ec2.describe_addresses(PublicIps=[ip])["Addresses"]
    assert "AssociationId" not in address and "InstanceId" not in address
    ec2.release_address(AllocationId=allocation)
    with refused("InvalidAllocationID.NotFound"):
        ec2.describe_addresses(AllocationIds=[allocation])
    with refused("InvalidAllocationID.NotFound"):
        ec2.release_address(AllocationId=allocation)


def test_a_terminated_instance_gives_its_elastic_address_back(tenant):
    (id,) = tenant.run()
    made = tenant.ec2.allocate_address(Domain="vpc")
    tenant.ec2.associate_address(AllocationId=made["AllocationId"], InstanceId=id)
    tenant.ec2.terminate_instances(InstanceIds=[id])
    tenant.wait("instance_terminated", id)
    (address,) = tenant.ec2.describe_addresses()["Addresses"]
    assert address["PublicIp"] == made["PublicIp"] and "AssociationId" not in address
    with refused("InvalidInstanceID"):
        tenant.ec2.associate_address(AllocationId=made["AllocationId"], InstanceId=id)
    tenant.ec2.release_address(AllocationId=made["AllocationId"])


def test_tags(tenant):
    ec2, (id,) = tenant.ec2, tenant.launch()
    volume = tenant.about(id)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    name, empty = {"Key": "Name", "Value": "wéb <1> & \"2\""}, {"Key": "empty", "Value": ""}
    ec2.create_tags(Resources=[id, volume], Tags=[name, empty])
    assert tenant.about(id)["Tags"] == [name, empty]
    ec2.create_tags(Resources=[id], Tags=[{"Key": "Name", "Value": "db"}])

    def found(filter, *values):
        listed = ec2.describe_instances(Filters=[{"Name": filter, "Values": list(values)}])
        return [i["InstanceId"] for r in listed["Reservations"] for i in r["Instances"]]

    assert found("tag:Name", "db") == found("tag:Name", "no", "d?") == found("tag-key", "Na*") == found("tag:empty", "") == [id]
    assert found("tag:Name", "web") == found("tag:name", "db") == found("tag-key", "Nam") == []
    listed = ec2.describe_tags(Filters=[{"Name": "resource-type", "Values": ["volume"]}])["Tags"]
    assert listed == [{**tag, "ResourceId": volume, "ResourceType": "volume"} for tag in (name, empty)]
    ec2.delete_tags(Resources=[id], Tags=[{"Key": "Name", "Value": "other"}])
    assert tenant.about(id)["Tags"] == [{"Key": "Name", "Value": "db"}, empty], "another value is another tag"
    ec2.delete_tags(Resources=[id], Tags=[{"Key": "Name"}])
    assert tenant.about(id)["Tags"] == [empty]
    ec2.delete_tags(Resources=[id, volume])
    assert ec2.describe_tags()["Tags"] == []
    with refused("InvalidParameterValue"):
        ec2.create_tags(Resources=[id], Tags=[{"Key": "aws:mine", "Value": "x"}])
    with refused("TagLimitExceeded"):
        ec2.create_tags(Resources=[id], Tags=[{"Key": str(n), "Value": ""} for n in range(51)])
    with refused("InvalidInstanceID.NotFound"):
        ec2.create_tags(Resources=[volume, "i-0123456789abcdef0"], Tags=[name])
    assert ec2.describe_tags()["Tags"] == [], "all of the resources, or none"


def test_limits_of_rules(tenant):
    id = group(tenant, "full")
    with refused("InvalidParameterValue"):
        tenant.ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=tcp(1) + tcp(1))
    tenant.ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=[p for n in range(60) for p in tcp(n)])
    with refused("RulesPerSecurityGroupLimitExceeded"):
        tenant.ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=tcp(61))
    assert len(rules(tenant, id)) == 60


def test_filters_of_groups(tenant):
    ec2, a, b = tenant.ec2, group(tenant, "a"), group(tenant, "b")
    ec2.authorize_security_group_ingress(GroupId=a, IpPermissions=tcp(80))
    ec2.authorize_security_group_egress(GroupId=b, IpPermissions=[{"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}])

    def found(**filters):
        asked = [{"Name": name.replace("__", ".").replace("_", "-"), "Values": [value]} for name, value in filters.items()]
        return [g["GroupId"] for g in ec2.describe_security_groups(Filters=asked)["SecurityGroups"]]

    assert found(ip_permission__from_port="80") == found(ip_permission__cidr="0.0.0.0/0") == found(group_name="a") == [a]
    assert found(egress__ip_permission__protocol="udp") == found(egress__ip_permission__cidr="10.*") == [b]
    assert found(ip_permission__from_port="80", group_name="b") == []
    assert set(found(owner_id=tenant.id)) == {a, b, tenant.default_group()}
    assert ec2.describe_security_groups(GroupNames=["b"])["SecurityGroups"][0]["GroupId"] == b
    with refused("InvalidGroup.NotFound"):
        ec2.describe_security_groups(GroupNames=["b", "c"])
    for name, code in (("default", "InvalidGroup.Reserved"), ("sg-mine", "InvalidParameterValue"), ("", "InvalidParameterValue")):
        with refused(code):
            ec2.create_security_group(GroupName=name, Description="d")


def test_a_network_of_ones_own_from_nothing_to_nothing(tenant):
    resource, ec2 = tenant.resource(), tenant.ec2
    vpc = resource.create_vpc(CidrBlock="10.30.0.0/16")
    ec2.get_waiter("vpc_available").wait(VpcIds=[vpc.id])
    vpc.modify_attribute(EnableDnsHostnames={"Value": True})
    assert vpc.describe_attribute(Attribute="enableDnsHostnames")["EnableDnsHostnames"] == {"Value": True}
    near, far = (vpc.create_subnet(CidrBlock=f"10.30.{n}.0/24", AvailabilityZone="us-east-1b") for n in (1, 2))
    ec2.get_waiter("subnet_available").wait(SubnetIds=[near.id, far.id])
    near.meta.client.modify_subnet_attribute(SubnetId=near.id, MapPublicIpOnLaunch={"Value": True})
    gateway = resource.create_internet_gateway()
    vpc.attach_internet_gateway(InternetGatewayId=gateway.id)
    ec2.get_waiter("internet_gateway_exists").wait(InternetGatewayIds=[gateway.id])
    table = vpc.create_route_table()
    route = table.create_route(DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway.id)
    association = table.associate_with_subnet(SubnetId=near.id)
    assert [(r.destination_cidr_block, r.state) for r in table.routes] == [("10.30.0.0/16", "active"), ("0.0.0.0/0", "active")]
    web = vpc.create_security_group(GroupName="web", Description="d")
    with refused("InvalidParameter", message="belong to different networks"):
        tenant.launch(SubnetId=near.id, SecurityGroupIds=[tenant.default_group()])
    (outer,), (inner,) = (tenant.run(SubnetId=s.id, SecurityGroupIds=[web.id]) for s in (near, far))
    a, b = tenant.about(outer), tenant.about(inner)
    assert a["PublicIpAddress"] and a["PublicDnsName"] and "PublicIpAddress" not in b and b["PublicDnsName"] == ""
    assert all(ipaddress.ip_address(i["PrivateIpAddress"]) in ipaddress.ip_network(c) for i, c in ((a, "10.30.1.0/24"), (b, "10.30.2.0/24")))
    assert {i.id for i in vpc.instances.all()} == {outer, inner}
    for call in (near.delete, web.delete, table.delete, vpc.delete, lambda: gateway.detach_from_vpc(VpcId=vpc.id)):
        with refused("DependencyViolation"):
            call()
    ec2.terminate_instances(InstanceIds=[outer, inner])
    tenant.wait("instance_terminated", outer, inner)
    association.delete()
    route.delete()
    gateway.detach_from_vpc(VpcId=vpc.id)
    for thing in (gateway, table, web, near, far, vpc):
        thing.delete()
    assert [v["IsDefault"] for v in ec2.describe_vpcs()["Vpcs"]] == [True]
    assert len(ec2.describe_route_tables()["RouteTables"]) == len(ec2.describe_internet_gateways()["InternetGateways"]) == 1


def test_what_an_instance_left_is_listed_and_deleted(tenant):
    ec2 = tenant.ec2
    keep = {"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}
    (id,) = tenant.run(BlockDeviceMappings=[keep], NetworkInterfaces=[{"DeviceIndex": 0, "DeleteOnTermination": False}])
    (volume,), (interface,) = ec2.describe_volumes()["Volumes"], ec2.describe_network_interfaces()["NetworkInterfaces"]
    volume, interface = volume["VolumeId"], interface["NetworkInterfaceId"]
    with refused("VolumeInUse"):
        ec2.delete_volume(VolumeId=volume)
    with refused("InvalidParameterValue", message="is currently in use"):
        ec2.delete_network_interface(NetworkInterfaceId=interface)
    ec2.terminate_instances(InstanceIds=[id])
    tenant.wait("instance_terminated", id)
    ec2.get_waiter("volume_available").wait(VolumeIds=[volume])
    ec2.get_waiter("network_interface_available").wait(NetworkInterfaceIds=[interface])
    ec2.delete_volume(VolumeId=volume)
    ec2.get_waiter("volume_deleted").wait(VolumeIds=[volume])
    ec2.delete_network_interface(NetworkInterfaceId=interface)
    assert not ec2.describe_volumes()["Volumes"] and not ec2.describe_network_interfaces()["NetworkInterfaces"]
