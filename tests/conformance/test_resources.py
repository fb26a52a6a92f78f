"""boto3's resources of EC2, every one that its model has: what can be read is walked, what can be done is done in a story.

An attribute, a collection, an action or a waiter that no story calls and no list names is a failure."""

import json

import pytest
from areas import COUNT, named
from clients import QUICK, refused
from resources import called, definitions, kind, promised, walk
from showcase import OPEN, WAY_OUT, Home

CLASSES = definitions("ec2")
TAG = [{"Key": "colour", "Value": "blue"}]
SHARED = "210987654321"
TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}]}


class House(Home):
    """A home with one of each, an instance that points at all that it can, and boto3's resources to see it by."""

    def __init__(self, awan, name):
        super().__init__(awan, name)
        self.things = self.tenant.resource()
        iam = awan.client(self.tenant.keys, "iam")
        iam.create_role(RoleName="web", AssumeRolePolicyDocument=json.dumps(TRUST))
        iam.create_instance_profile(InstanceProfileName="web")
        iam.add_role_to_instance_profile(InstanceProfileName="web", RoleName="web")
        self.places = self.ec2.create_placement_group(GroupName="places", Strategy="spread", TagSpecifications=named("placement-group"))
        (self.placed,) = self.tenant.run(
            KeyName=self.key_name,
            SubnetId=self.subnet,
            IamInstanceProfile={"Name": "web"},
            Placement={"GroupName": "places"},
            TagSpecifications=named("instance"),
        )
        self.both_families()
        self.placed_address = self.new_address()[0]
        self.ec2.associate_address(AllocationId=self.placed_address, InstanceId=self.placed)
        self.furnish()


    def both_families(self):
        """IPv6 for the VPC, the subnet and the interfaces that are looked at."""
        made = self.ec2.associate_vpc_cidr_block(VpcId=self.vpc, AmazonProvidedIpv6CidrBlock=True)
        range = made["Ipv6CidrBlockAssociation"]["Ipv6CidrBlock"].replace("/56", "/64")
        self.ec2.associate_subnet_cidr_block(SubnetId=self.subnet, Ipv6CidrBlock=range)
        for eni in self.interface, self.tenant.about(self.placed)["NetworkInterfaces"][0]["NetworkInterfaceId"]:
            self.ec2.assign_ipv6_addresses(NetworkInterfaceId=eni, Ipv6AddressCount=1)


@pytest.fixture(scope="module")
def furnished(cloud):
    return House(cloud, "resources")


@pytest.fixture
def home(awan, furnished):
    return furnished


@pytest.fixture
def ec2(home):
    return home.things


# ---- what can be read ------------------------------------------------------------------------------------------------

# How to come to one of each, not read yet where it can load itself.
ONE = {
    "ClassicAddress": lambda ec2, home: ec2.ClassicAddress(home.public_ip),
    "DhcpOptions": lambda ec2, home: ec2.DhcpOptions(home.dhcp_options),
    "Image": lambda ec2, home: ec2.Image(home.image),
    "Instance": lambda ec2, home: ec2.Instance(home.placed),
    "InternetGateway": lambda ec2, home: ec2.InternetGateway(home.gateway),
    "KeyPair": lambda ec2, home: ec2.create_key_pair(KeyName=f"key-{next(COUNT)}", KeyType="ed25519", TagSpecifications=named("key-pair")),
    "KeyPairInfo": lambda ec2, home: ec2.KeyPair(home.key_name),
    "NetworkAcl": lambda ec2, home: ec2.NetworkAcl(home.network_acl),
    "NetworkInterface": lambda ec2, home: ec2.NetworkInterface(home.interface),
    "NetworkInterfaceAssociation": lambda ec2, home: ec2.NetworkInterfaceAssociation(home.association),
    "PlacementGroup": lambda ec2, home: ec2.PlacementGroup("places"),
    "Route": lambda ec2, home: next(route for route in ec2.RouteTable(home.table).routes if route.gateway_id == home.gateway),
    "RouteTable": lambda ec2, home: ec2.RouteTable(home.table),
    "RouteTableAssociation": lambda ec2, home: ec2.RouteTable(home.table).associations[0],
    "SecurityGroup": lambda ec2, home: ec2.SecurityGroup(home.group),
    "Snapshot": lambda ec2, home: ec2.Snapshot(home.snapshot),
    "Subnet": lambda ec2, home: ec2.Subnet(home.subnet),
    "Tag": lambda ec2, home: ec2.Tag(home.instance, "Name", "canary-instance"),
    "Volume": lambda ec2, home: ec2.Volume(home.volume),
    "Vpc": lambda ec2, home: ec2.Vpc(home.vpc),
    "VpcPeeringConnection": lambda ec2, home: ec2.VpcPeeringConnection(home.peering),
    "VpcAddress": lambda ec2, home: ec2.VpcAddress(home.placed_address),
}

# What no such thing shows yet, on any account.
NOT_HERE = {
    name
    for names in [
        # No Outposts, no local zones, no addresses that a customer brings, no gateways of AWS's own network.
        "outpost_arn carrier_ip customer_owned_ip customer_owned_ipv4_pool carrier_gateway_id local_gateway_id enable_lni_at_device_index",
        "core_network_arn odb_network_arn transit_gateway_id propagating_vgws public_ipv4_pool",
        # No prefixes of an interface, no subnets with IPv6 alone.
        "ipv4_prefixes ipv6_native ipv6_prefixes",
        "deny_all_igw_traffic",
        # No kernels beside an image's own, no other platform than Linux, no product codes, no TPM.
        "kernel_id ramdisk_id platform product_codes sriov_net_support tpm_support boot_mode",
        # No accelerators, no licences, no spot instances, no other kinds of interfaces.
        "elastic_gpu_associations elastic_inference_accelerator_associations licenses instance_lifecycle spot_instance_request_id",
        "capacity_block_id secondary_interfaces network_performance_options",
        # Nothing is encrypted, copied within a time, or kept in a recycle bin.
        "kms_key_id sse_type associated_kms_keys data_encryption_key_id restore_expiry_time completion_duration_minutes transfer_type",
        "full_snapshot_size_in_bytes fast_restored volume_initialization_rate",
        # No firewalls and other services that would manage or inspect things.
        "service_managed network_firewall_associations network_firewall_connectivity_type igw_firewall encryption_control scan_results",
        "image_watermarks image_allowed free_tier_eligible instance_type_specification public_ssm_parameter_name last_launched_time",
        "associated_subnets connection_tracking_configuration public_ip_dns_name_options multipath_resilience_status",
        "image_owner_alias source_volume_id",
    ]
    for name in names.split()
}

# What this one has nothing to show as, because of what it is.
EMPTY = {
    "ClassicAddress": "subnet_id",
    "Image": "deprecation_time source_instance_id state_reason",
    "Instance": "capacity_reservation_id state_reason",
    "KeyPairInfo": "public_key",
    "Route": "destination_ipv6_cidr_block destination_prefix_list_id egress_only_internet_gateway_id instance_id instance_owner_id ip_address nat_gateway_id "
    "network_interface_id vpc_peering_connection_id",
    "PlacementGroup": "linked_group_id operator parent_group_id partition_count",
    "RouteTableAssociation": "gateway_id",
    "Snapshot": "availability_zone owner_alias state_message",
    "Subnet": "type",
    "Volume": "owner_id volume_arn",
    "Vpc": "accepted_vpc_peering_connections",
    "VpcAddress": "subnet_id",
    "VpcPeeringConnection": "expiration_time",
}


@pytest.mark.parametrize("name", CLASSES)
def test_what_can_be_read_of_a_resource(home, ec2, name):
    thing = ONE[name](ec2, home)
    assert kind(thing) == name
    walk(thing, empty=EMPTY.get(name, "").split(), not_here=NOT_HERE)


def test_what_can_be_read_of_the_service(ec2):
    walk(ec2, empty=["classic_addresses"])


# ---- what can be done ------------------------------------------------------------------------------------------------


def of_the_service(ec2, home):
    """Everything that can be made without another resource."""
    options = ec2.create_dhcp_options(DhcpConfigurations=[{"Key": "domain-name", "Values": ["story.example"]}])
    vpc = ec2.create_vpc(CidrBlock="10.30.0.0/16")
    subnet = ec2.create_subnet(VpcId=vpc.id, CidrBlock="10.30.1.0/24", AvailabilityZone="us-east-1a")
    gateway = ec2.create_internet_gateway()
    acl = ec2.create_network_acl(VpcId=vpc.id)
    table = ec2.create_route_table(VpcId=vpc.id)
    association = table.associate_with_subnet(SubnetId=subnet.id)
    group = ec2.create_security_group(GroupName="story", Description="text", VpcId=vpc.id)
    interface = ec2.create_network_interface(SubnetId=subnet.id, Groups=[group.id])
    (instance,) = ec2.create_instances(ImageId=home.tenant.image, InstanceType="t3.micro", MinCount=1, MaxCount=1, SubnetId=subnet.id)
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)
    snapshot = ec2.create_snapshot(VolumeId=volume.id)
    root = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": home.snapshot}}
    image = ec2.register_image(Name="story", VirtualizationType="hvm", RootDeviceName="/dev/xvda", BlockDeviceMappings=[root])
    places = ec2.create_placement_group(GroupName="story", Strategy="cluster")
    peering = ec2.create_vpc_peering_connection(VpcId=vpc.id, PeerVpcId=home.vpc)
    pair = ec2.create_key_pair(KeyName="story", KeyType="ed25519")
    assert pair.key_material.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    public = home.ec2.describe_key_pairs(KeyNames=["story"], IncludePublicKey=True)["KeyPairs"][0]["PublicKey"]
    imported = ec2.import_key_pair(KeyName="imported", PublicKeyMaterial=public)
    imported.load()
    assert (imported.key_type, imported.key_fingerprint) == ("ed25519", pair.key_fingerprint)
    made = [options, vpc, subnet, gateway, acl, table, group, interface, instance, volume, snapshot, image, places, peering]
    tags = ec2.create_tags(Resources=[thing.id for thing in made if thing is not places], Tags=TAG)
    assert {(tag.key, tag.value) for tag in tags} == {("colour", "blue")} and len(tags) == len(made) - 1
    for thing in made:
        thing.load()
    assert vpc.tags == subnet.tags == instance.tags == volume.tags == TAG
    ec2.disassociate_route_table(AssociationId=association.id)
    table.reload()
    assert not table.associations
    assert {thing.id for thing in vpc.security_groups.filter(Filters=[{"Name": "group-name", "Values": ["story"]}])} == {group.id}


def of_a_classic_address(ec2, home):
    """By its number alone, as once in EC2-Classic."""
    address = ec2.ClassicAddress(home.new_address()[1])
    address.associate(InstanceId=home.placed)
    address.load()
    assert address.instance_id == home.placed
    address.disassociate()
    address.reload()
    assert not address.instance_id
    address.release()
    with refused("InvalidAddress.NotFound"):
        address.reload()


def of_dhcp_options(ec2, home):
    options = ec2.create_dhcp_options(DhcpConfigurations=[{"Key": "domain-name-servers", "Values": ["AmazonProvidedDNS"]}])
    assert options.dhcp_configurations == [{"Key": "domain-name-servers", "Values": [{"Value": "AmazonProvidedDNS"}]}]
    vpc = ec2.create_vpc(CidrBlock="10.31.0.0/16")
    options.associate_with_vpc(VpcId=vpc.id)
    vpc.reload()
    assert vpc.dhcp_options == options
    with refused("DependencyViolation"):
        options.delete()
    vpc.delete()
    tagged(options)
    options.delete()


def of_an_image(ec2, home):
    image = ec2.Instance(home.instance).create_image(Name="story-image", NoReboot=True)
    image.wait_until_exists(WaiterConfig=QUICK)
    home.ec2.get_waiter("image_available").wait(ImageIds=[image.id], WaiterConfig=QUICK)
    image.load()
    assert (image.name, image.state, image.public, image.source_instance_id) == ("story-image", "available", False, home.instance)
    image.modify_attribute(LaunchPermission={"Add": [{"UserId": SHARED}]})
    assert image.describe_attribute(Attribute="launchPermission")["LaunchPermissions"] == [{"UserId": SHARED}]
    image.reset_attribute(Attribute="launchPermission")
    assert image.describe_attribute(Attribute="launchPermission")["LaunchPermissions"] == []
    tagged(image)
    image.deregister()
    with refused("InvalidAMIID.NotFound"):
        home.tenant.launch(ImageId=image.id)


def of_an_instance(ec2, home):
    (instance,) = ec2.create_instances(ImageId=home.tenant.image, InstanceType="t3.micro", MinCount=1, MaxCount=1, SubnetId=home.subnet)
    instance.wait_until_exists(WaiterConfig=QUICK)
    instance.wait_until_running(WaiterConfig=QUICK)
    volume = ec2.create_volume(AvailabilityZone=instance.placement["AvailabilityZone"], Size=1)
    instance.attach_volume(VolumeId=volume.id, Device="/dev/sdf")
    home.ec2.get_waiter("volume_in_use").wait(VolumeIds=[volume.id], WaiterConfig=QUICK)
    assert volume in instance.volumes.all()
    instance.detach_volume(VolumeId=volume.id)
    home.ec2.get_waiter("volume_available").wait(VolumeIds=[volume.id], WaiterConfig=QUICK)
    assert volume not in instance.volumes.all()
    assert instance.monitor()["InstanceMonitorings"][0]["Monitoring"]["State"] == "pending"
    assert instance.unmonitor()["InstanceMonitorings"][0]["Monitoring"]["State"] == "disabling"
    instance.modify_attribute(SourceDestCheck={"Value": False})
    assert instance.describe_attribute(Attribute="sourceDestCheck")["SourceDestCheck"] == {"Value": False}
    instance.reset_source_dest_check()
    assert instance.describe_attribute(Attribute="sourceDestCheck")["SourceDestCheck"] == {"Value": True}
    instance.reset_attribute(Attribute="sourceDestCheck")
    assert instance.id in instance.console_output()["Output"]
    assert instance.password_data()["PasswordData"] == ""
    image = instance.create_image(Name="story-of-an-instance")
    assert image.source_instance_id == instance.id
    tagged(instance)
    instance.create_tags(Tags=TAG)
    instance.delete_tags(Tags=[{"Key": "colour"}])
    instance.reboot()
    instance.stop()
    instance.wait_until_stopped(WaiterConfig=QUICK)
    instance.start()
    instance.wait_until_running(WaiterConfig=QUICK)
    instance.terminate(DryRun=False)
    instance.wait_until_terminated(WaiterConfig=QUICK)
    assert instance.state == {"Code": 48, "Name": "terminated"}
    many_instances(ec2, home)


def many_instances(ec2, home):
    """All of a collection by one call each."""
    made = ec2.create_instances(ImageId=home.tenant.image, InstanceType="t3.micro", MinCount=2, MaxCount=2)
    ids = {instance.id for instance in made}
    many = ec2.instances.filter(InstanceIds=sorted(ids))
    states = lambda: {instance.state["Name"] for instance in many}
    home.tenant.wait("instance_running", *ids)
    many.create_tags(Tags=TAG)
    assert [instance.tags for instance in many] == [TAG, TAG]
    assert {one["InstanceId"] for one in many.monitor()[0]["InstanceMonitorings"]} == ids
    many.unmonitor()
    many.reboot()
    home.tenant.wait("instance_status_ok", *ids)
    (stopped,) = many.stop()
    assert {one["CurrentState"]["Name"] for one in stopped["StoppingInstances"]} == {"stopping"}
    home.tenant.wait("instance_stopped", *ids)
    assert states() == {"stopped"}
    many.start()
    home.tenant.wait("instance_running", *ids)
    many.terminate()
    home.tenant.wait("instance_terminated", *ids)
    assert states() == {"terminated"}


def of_an_internet_gateway(ec2, home):
    gateway, vpc = ec2.create_internet_gateway(), ec2.create_vpc(CidrBlock="10.32.0.0/16")
    gateway.attach_to_vpc(VpcId=vpc.id)
    gateway.reload()
    assert gateway.attachments == [{"State": "available", "VpcId": vpc.id}] and list(vpc.internet_gateways.all()) == [gateway]
    with refused("DependencyViolation"):
        gateway.delete()
    gateway.detach_from_vpc(VpcId=vpc.id)
    tagged(gateway)
    gateway.delete()
    vpc.delete()


def of_a_key_pair(ec2, home):
    pair = ec2.create_key_pair(KeyName="gone", KeyType="ed25519")
    pair.delete()
    assert not list(ec2.key_pairs.filter(Filters=[{"Name": "key-name", "Values": ["gone"]}]))


def of_the_public_half(ec2, home):
    ec2.create_key_pair(KeyName="half", KeyType="ed25519")
    pair = ec2.KeyPair("half")
    assert pair.key_pair_id.startswith("key-")
    pair.delete()
    with refused("InvalidKeyPair.NotFound"):
        pair.reload()
    pair.delete()


def of_a_network_acl(ec2, home):
    vpc = ec2.Vpc(home.own_vpc)
    acl, subnet = vpc.create_network_acl(), vpc.create_subnet(CidrBlock=home.new_range())
    rule = {"Protocol": "6", "RuleAction": "allow", "RuleNumber": 100, "Egress": False, "CidrBlock": "10.0.0.0/8", "PortRange": {"From": 22, "To": 22}}
    acl.create_entry(**rule)
    acl.replace_entry(**{**rule, "RuleAction": "deny"})
    acl.reload()
    assert [entry["RuleAction"] for entry in acl.entries if entry["RuleNumber"] == 100] == ["deny"]
    acl.delete_entry(RuleNumber=100, Egress=False)
    acl.reload()
    assert {entry["RuleNumber"] for entry in acl.entries} == {32767}
    (association,) = [a for other in vpc.network_acls.all() for a in other.associations if a["SubnetId"] == subnet.id]
    acl.replace_association(AssociationId=association["NetworkAclAssociationId"])
    acl.reload()
    assert [a["SubnetId"] for a in acl.associations] == [subnet.id]
    with refused("DependencyViolation"):
        acl.delete()
    subnet.delete()
    tagged(acl)
    acl.delete()


def of_a_network_interface(ec2, home):
    interface = ec2.create_network_interface(SubnetId=home.subnet)
    instance = ec2.Instance(home.placed)
    given = interface.assign_private_ip_addresses(SecondaryPrivateIpAddressCount=1)["AssignedPrivateIpAddresses"][0]["PrivateIpAddress"]
    interface.reload()
    assert [one["PrivateIpAddress"] for one in interface.private_ip_addresses] == [interface.private_ip_address, given]
    interface.unassign_private_ip_addresses(PrivateIpAddresses=[given])
    interface.modify_attribute(Description={"Value": "of a story"})
    assert interface.describe_attribute(Attribute="description")["Description"] == {"Value": "of a story"}
    interface.modify_attribute(SourceDestCheck={"Value": False})
    interface.reset_attribute(SourceDestCheck="true")
    assert interface.describe_attribute(Attribute="sourceDestCheck")["SourceDestCheck"] == {"Value": True}
    interface.attach(InstanceId=instance.id, DeviceIndex=1)
    interface.reload()
    assert interface.status == "in-use" and interface in instance.network_interfaces
    with refused("InvalidParameterValue", message="is currently in use"):
        interface.delete()
    interface.detach(Force=True)
    home.ec2.get_waiter("network_interface_available").wait(NetworkInterfaceIds=[interface.id], WaiterConfig=QUICK)
    tagged(interface)
    interface.delete()


def of_an_association_of_an_address(ec2, home):
    address = ec2.VpcAddress(home.new_address()[0])
    interface = ec2.create_network_interface(SubnetId=home.subnet)
    address.associate(NetworkInterfaceId=interface.id)
    interface.reload()
    association = interface.association
    assert association.address == address and association.public_ip == address.public_ip
    association.delete()
    interface.reload()
    assert interface.association is None
    interface.delete()
    address.release()


def of_a_placement_group(ec2, home):
    places = ec2.create_placement_group(GroupName="soon-gone", Strategy="partition", PartitionCount=3)
    assert places.partition_count == 3 and not list(places.instances.all())
    assert [instance.id for instance in ec2.PlacementGroup("places").instances.all()] == [home.placed]
    with refused("InvalidPlacementGroup.InUse"):
        ec2.PlacementGroup("places").delete()
    places.delete()
    with refused("InvalidPlacementGroup.Unknown"):
        places.reload()


def of_a_route(ec2, home):
    table, other = ec2.RouteTable(home.new_table()), home.new_gateway()
    interface = ec2.create_network_interface(SubnetId=ec2.Vpc(home.own_vpc).create_subnet(CidrBlock=home.new_range()).id)
    route = table.create_route(DestinationCidrBlock="0.0.0.0/0", GatewayId=home.gateway)
    assert (route.destination_cidr_block, route.route_table_id, route.RouteTable()) == ("0.0.0.0/0", table.id, table)
    with refused("InvalidParameterValue"):
        route.replace(GatewayId=other)
    route.replace(NetworkInterfaceId=interface.id)
    table.reload()
    (changed,) = [each for each in table.routes if each.destination_cidr_block == "0.0.0.0/0"]
    assert (changed.network_interface_id, changed.gateway_id, changed.origin) == (interface.id, None, "CreateRoute")
    route.delete()
    table.reload()
    assert [each.gateway_id for each in table.routes] == ["local"]


def of_a_route_table(ec2, home):
    vpc = ec2.Vpc(home.own_vpc)
    table, subnet = vpc.create_route_table(), vpc.create_subnet(CidrBlock=home.new_range())
    table.create_route(DestinationCidrBlock="192.0.2.0/24", GatewayId=home.gateway)
    association = table.associate_with_subnet(SubnetId=subnet.id)
    with refused("DependencyViolation"):
        table.delete()
    table.reload()
    assert table.associations == [association] and table.associations[0].subnet == subnet
    association.delete()
    tagged(table)
    table.delete()
    subnet.delete()


def of_an_association_of_a_route_table(ec2, home):
    vpc = ec2.Vpc(home.own_vpc)
    old, new, subnet = vpc.create_route_table(), vpc.create_route_table(), vpc.create_subnet(CidrBlock=home.new_range())
    association = old.associate_with_subnet(SubnetId=subnet.id)
    moved = association.replace_subnet(RouteTableId=new.id)
    for table in (old, new):
        table.reload()
    assert new.associations == [moved] and not old.associations and moved != association
    moved.delete()
    new.reload()
    assert not new.associations
    for thing in (old, new, subnet):
        thing.delete()


def of_a_security_group(ec2, home):
    group = ec2.create_security_group(GroupName="story-of-a-group", Description="text")
    group.authorize_ingress(IpPermissions=OPEN)
    group.authorize_ingress(SourceSecurityGroupName="story-of-a-group")
    group.authorize_egress(IpPermissions=WAY_OUT)
    group.reload()
    assert {rule["IpProtocol"] for rule in group.ip_permissions} == {"tcp", "-1"}
    assert {rule["IpProtocol"] for rule in group.ip_permissions_egress} == {"-1", "udp"}
    group.revoke_ingress(IpPermissions=group.ip_permissions)
    group.revoke_egress(IpPermissions=group.ip_permissions_egress)
    group.reload()
    assert not group.ip_permissions and not group.ip_permissions_egress
    tagged(group)
    group.delete()
    with refused("InvalidGroup.NotFound"):
        group.reload()


def of_a_snapshot(ec2, home):
    snapshot = ec2.Volume(home.volume).create_snapshot(Description="of a story")
    snapshot.wait_until_completed(WaiterConfig=QUICK)
    snapshot.load()
    assert (snapshot.state, snapshot.progress, snapshot.volume.id) == ("completed", "100%", home.volume)
    copy = ec2.Snapshot(snapshot.copy(SourceRegion="us-east-1", Description="copied")["SnapshotId"])
    copy.wait_until_completed(WaiterConfig=QUICK)
    assert (copy.description, copy.volume_size) == ("copied", snapshot.volume_size)
    snapshot.modify_attribute(Attribute="createVolumePermission", OperationType="add", UserIds=[SHARED])
    assert snapshot.describe_attribute(Attribute="createVolumePermission")["CreateVolumePermissions"] == [{"UserId": SHARED}]
    snapshot.reset_attribute(Attribute="createVolumePermission")
    assert snapshot.describe_attribute(Attribute="createVolumePermission")["CreateVolumePermissions"] == []
    tagged(snapshot)
    snapshot.delete()
    copy.delete()
    with refused("InvalidSnapshot.NotFound"):
        snapshot.reload()


def of_a_subnet(ec2, home):
    subnet = ec2.Vpc(home.own_vpc).create_subnet(CidrBlock=home.new_range())
    interface = subnet.create_network_interface(Description="of a story")
    (instance,) = subnet.create_instances(ImageId=home.tenant.image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    assert list(subnet.instances.all()) == [instance] and interface in subnet.network_interfaces.all()
    with refused("DependencyViolation"):
        subnet.delete()
    instance.terminate()
    instance.wait_until_terminated(WaiterConfig=QUICK)
    interface.delete()
    tagged(subnet)
    subnet.delete()
    with refused("InvalidSubnetID.NotFound"):
        subnet.reload()


def of_a_tag(ec2, home):
    mine = {"Key": "story", "Value": "of a tag"}
    (tag,) = ec2.Volume(home.volume).create_tags(Tags=[mine])
    assert (tag.resource_id, tag.key, tag.value) == (home.volume, "story", "of a tag")
    assert tag.resource_type == "volume"
    ec2.Tag(home.volume, "story", "another").delete()
    assert mine in ec2.Volume(home.volume).tags, "with another value it is another tag"
    tag.delete()
    assert mine not in ec2.Volume(home.volume).tags


def of_a_volume(ec2, home):
    instance = ec2.Instance(home.placed)
    volume = ec2.create_volume(AvailabilityZone=instance.placement["AvailabilityZone"], Size=1, VolumeType="gp3")
    volume.attach_to_instance(InstanceId=instance.id, Device="/dev/sdg")
    home.ec2.get_waiter("volume_in_use").wait(VolumeIds=[volume.id], WaiterConfig=QUICK)
    snapshot = volume.create_snapshot()
    assert list(volume.snapshots.all()) == [snapshot]
    (status,) = volume.describe_status()["VolumeStatuses"]
    assert (status["VolumeId"], status["VolumeStatus"]["Status"]) == (volume.id, "ok")
    volume.modify_attribute(AutoEnableIO={"Value": True})
    assert volume.describe_attribute(Attribute="autoEnableIO")["AutoEnableIO"] == {"Value": True}
    volume.enable_io()
    with refused("VolumeInUse"):
        volume.delete()
    volume.detach_from_instance()
    home.ec2.get_waiter("volume_available").wait(VolumeIds=[volume.id], WaiterConfig=QUICK)
    tagged(volume)
    volume.delete()
    home.ec2.get_waiter("volume_deleted").wait(VolumeIds=[volume.id], WaiterConfig=QUICK)


def of_a_vpc(ec2, home):
    vpc = ec2.create_vpc(CidrBlock="10.33.0.0/16")
    vpc.wait_until_exists(WaiterConfig=QUICK)
    vpc.wait_until_available(WaiterConfig=QUICK)
    vpc.associate_dhcp_options(DhcpOptionsId="default")
    vpc.modify_attribute(EnableDnsHostnames={"Value": True})
    assert vpc.describe_attribute(Attribute="enableDnsHostnames")["EnableDnsHostnames"] == {"Value": True}
    gateway = ec2.InternetGateway(home.new_gateway())
    vpc.attach_internet_gateway(InternetGatewayId=gateway.id)
    acl, table = vpc.create_network_acl(), vpc.create_route_table()
    group, subnet = vpc.create_security_group(GroupName="of-a-vpc", Description="text"), vpc.create_subnet(CidrBlock="10.33.1.0/24")
    peering = vpc.request_vpc_peering_connection(PeerVpcId=home.vpc)
    assert list(vpc.requested_vpc_peering_connections.all()) == [peering] and not list(vpc.accepted_vpc_peering_connections.all())
    assert peering in ec2.Vpc(home.vpc).accepted_vpc_peering_connections.all()
    assert acl in vpc.network_acls.all() and table in vpc.route_tables.all() and list(vpc.subnets.all()) == [subnet]
    assert {one.group_name for one in vpc.security_groups.all()} == {"default", "of-a-vpc"}
    with refused("DependencyViolation"):
        vpc.delete()
    vpc.detach_internet_gateway(InternetGatewayId=gateway.id)
    for thing in (peering, acl, table, group, subnet):
        thing.delete()
    tagged(vpc)
    vpc.delete()
    with refused("InvalidVpcID.NotFound"):
        vpc.reload()


def of_a_peering_connection(ec2, home):
    ends = [ec2.create_vpc(CidrBlock=f"10.{n}.0.0/16") for n in (34, 35)]
    refusal = ends[0].request_vpc_peering_connection(PeerVpcId=home.vpc)
    peering = ends[0].request_vpc_peering_connection(PeerVpcId=ends[1].id)
    peering.wait_until_exists(WaiterConfig=QUICK)
    peering.accept()
    peering.reload()
    assert (peering.status["Code"], [peering.requester_vpc, peering.accepter_vpc]) == ("active", ends)
    refusal.reject()
    refusal.reload()
    assert refusal.status["Code"] == "rejected"
    peering.delete()
    peering.reload()
    assert peering.status["Code"] == "deleted"


def of_an_address(ec2, home):
    address = ec2.VpcAddress(home.new_address()[0])
    address.associate(InstanceId=home.placed, AllowReassociation=True)
    assert address.association.id == address.association_id and address in ec2.Instance(home.placed).vpc_addresses.all()
    with refused("InvalidIPAddress.InUse"):
        address.release()
    address.association.delete()
    address.release()
    ec2.VpcAddress(home.placed_address).associate(InstanceId=home.placed)


def tagged(thing):
    """Tags are put on it, are read of it, and go."""
    (tag,) = thing.create_tags(Tags=TAG)
    thing.reload()
    read = lambda: thing.tag_set if hasattr(thing, "tag_set") else thing.tags
    assert tag.value == "blue" and TAG[0] in read()
    tag.delete()
    thing.reload()
    assert TAG[0] not in (read() or [])


STORIES = {
    "ec2": of_the_service,
    "ClassicAddress": of_a_classic_address,
    "DhcpOptions": of_dhcp_options,
    "Image": of_an_image,
    "Instance": of_an_instance,
    "InternetGateway": of_an_internet_gateway,
    "KeyPair": of_a_key_pair,
    "KeyPairInfo": of_the_public_half,
    "NetworkAcl": of_a_network_acl,
    "NetworkInterface": of_a_network_interface,
    "NetworkInterfaceAssociation": of_an_association_of_an_address,
    "PlacementGroup": of_a_placement_group,
    "Route": of_a_route,
    "RouteTable": of_a_route_table,
    "RouteTableAssociation": of_an_association_of_a_route_table,
    "SecurityGroup": of_a_security_group,
    "Snapshot": of_a_snapshot,
    "Subnet": of_a_subnet,
    "Tag": of_a_tag,
    "Volume": of_a_volume,
    "Vpc": of_a_vpc,
    "VpcPeeringConnection": of_a_peering_connection,
    "VpcAddress": of_an_address,
}

# What is refused with `UnsupportedOperation`, with what is sent.
UNSUPPORTED = {
    # There is no EC2-Classic to link to, in EC2 neither.
    ("Instance", "attach_classic_link_vpc"): lambda home: {"VpcId": home.vpc, "Groups": [home.group]},
    ("Instance", "detach_classic_link_vpc"): lambda home: {"VpcId": home.vpc},
    ("Vpc", "attach_classic_link_instance"): lambda home: {"InstanceId": home.instance, "Groups": [home.group]},
    ("Vpc", "detach_classic_link_instance"): lambda home: {"InstanceId": home.instance},
    ("Vpc", "enable_classic_link"): lambda home: {},
    ("Vpc", "disable_classic_link"): lambda home: {},
    # Nobody would read the report.
    ("Instance", "report_status"): lambda home: {"ReasonCodes": ["other"], "Status": "impaired"},
    # A machine starts the kernel of its disk.
    ("Instance", "reset_kernel"): lambda home: {},
    ("Instance", "reset_ramdisk"): lambda home: {},
}

# boto3 puts a function of its own in their place, which the story calls.
BOTOS = {("ec2", "create_tags")}


@pytest.mark.parametrize("name", ["ec2", *CLASSES])
def test_all_that_can_be_done_with_a_resource(home, ec2, name):
    thing = ec2 if name == "ec2" else ONE[name](ec2, home)
    with called() as heard:
        STORIES[name](ec2, home)
    refusals = {action for owner, action in UNSUPPORTED if owner == name}
    left = promised(thing) - heard.get(name, set()) - refusals - {action for owner, action in BOTOS if owner == name}
    assert not left, f"no story calls {sorted(left)} of {name}"
    for action in refusals:
        with refused("UnsupportedOperation"):
            getattr(thing, action)(**UNSUPPORTED[name, action](home))
