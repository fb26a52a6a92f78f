"""One call of every action that works, and what a client reads in its answer."""

from areas import AREAS, COUNT, named, under
from clients import Tenant, ids_in

OPEN = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "lab"}]}]
WAY_OUT = [{"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]



class Home:
    """An account with one of each thing, all tagged with canaries."""

    def __init__(self, awan, name):
        self.tenant = tenant = Tenant(awan, name)
        ec2 = self.ec2 = tenant.ec2
        key = ec2.create_key_pair(KeyName=f"canary-key-{name}", KeyType="ed25519", TagSpecifications=named("key-pair"))
        self.key, self.key_name = key["KeyPairId"], key["KeyName"]
        self.group_name = f"canary-group-{name}"
        self.group = self.new_group(self.group_name)
        self.peer = self.new_group()
        allowed = ec2.authorize_security_group_ingress(
            GroupId=self.group,
            IpPermissions=[*OPEN, {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": self.peer}]}],
            TagSpecifications=named("security-group-rule"),
        )
        self.rule = allowed["SecurityGroupRules"][0]["SecurityGroupRuleId"]
        kinds = ("instance", "volume", "network-interface")
        more = {"KeyName": self.key_name, "SecurityGroupIds": [self.group], "UserData": "#!/bin/sh\n# canary-user-data\n"}
        (self.instance,) = tenant.launch(TagSpecifications=[spec for kind in kinds for spec in named(kind)], **more)
        tenant.wait("instance_status_ok", self.instance)
        about = tenant.about(self.instance)
        self.vpc, self.subnet = about["VpcId"], about["SubnetId"]
        self.interface = about["NetworkInterfaces"][0]["NetworkInterfaceId"]
        self.volume = about["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
        self.allocation, self.public_ip = self.new_address()
        self.association = ec2.associate_address(AllocationId=self.allocation, InstanceId=self.instance)["AssociationId"]
        ec2.create_tags(Resources=[self.vpc, self.subnet], Tags=[{"Key": "Name", "Value": "canary-network"}])
        self.own_vpc = self.new_vpc()
        self.gateway = self.new_gateway(self.own_vpc)
        self.table = self.new_table()
        self.way_out = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": self.gateway}
        ec2.create_route(RouteTableId=self.table, **self.way_out)
        self.route_association = self.new_route_association()

    def __getattr__(self, name):
        """What an area's `MADE` makes, once it is asked for."""
        makers = [area.MADE[name] for area in AREAS if name in area.MADE]
        if not makers:
            raise AttributeError(name)
        self.__dict__[name] = made = makers[0](self)
        return made

    def furnish(self):
        for area in AREAS:
            for name in area.MADE:
                getattr(self, name)
        return self

    def new_group(self, name=None):
        name = name or f"canary-group-{next(COUNT)}"
        return self.ec2.create_security_group(GroupName=name, Description="canary-text", TagSpecifications=named("security-group"))["GroupId"]

    def new_address(self):
        made = self.ec2.allocate_address(Domain="vpc", TagSpecifications=named("elastic-ip"))
        return made["AllocationId"], made["PublicIp"]

    def new_vpc(self):
        return self.ec2.create_vpc(CidrBlock="10.20.0.0/16", TagSpecifications=named("vpc"))["Vpc"]["VpcId"]

    def new_range(self):
        """A subnet's worth of addresses that no subnet of the own VPC has."""
        n = next(COUNT)
        return f"10.20.{n // 16}.{n % 16 * 16}/28"

    def new_subnet(self):
        asked = {"VpcId": self.own_vpc, "CidrBlock": self.new_range(), "TagSpecifications": named("subnet")}
        return self.ec2.create_subnet(**asked)["Subnet"]["SubnetId"]

    def new_gateway(self, vpc=None):
        gateway = self.ec2.create_internet_gateway(TagSpecifications=named("internet-gateway"))["InternetGateway"]["InternetGatewayId"]
        if vpc:
            self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        return gateway

    def new_table(self):
        return self.ec2.create_route_table(VpcId=self.own_vpc, TagSpecifications=named("route-table"))["RouteTable"]["RouteTableId"]

    def new_routed_table(self):
        table = self.new_table()
        self.ec2.create_route(RouteTableId=table, **self.way_out)
        return table

    def new_route_association(self):
        return self.ec2.associate_route_table(RouteTableId=self.table, SubnetId=self.new_subnet())["AssociationId"]

    def left_by_instance(self):
        """The volume and the interface of an instance that is no more."""
        (id,) = self.tenant.run(
            NetworkInterfaces=[{"DeviceIndex": 0, "DeleteOnTermination": False}],
            BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}],
        )
        about = self.tenant.about(id)
        self.ec2.terminate_instances(InstanceIds=[id])
        self.tenant.wait("instance_terminated", id)
        return about["BlockDeviceMappings"][0]["Ebs"]["VolumeId"], about["NetworkInterfaces"][0]["NetworkInterfaceId"]

    def new_stopped(self):
        (id,) = self.tenant.run()
        self.ec2.stop_instances(InstanceIds=[id])
        self.tenant.wait("instance_stopped", id)
        return id

    def secrets(self):
        """Every id and every word by which this account could be known, but for what all accounts share."""
        text = "".join(self.tenant.everything().values())
        shared = ids_in(self.tenant.answer("DescribeImages", Owners=["amazon"])[1])
        return ids_in(text) - shared | {"canary", self.public_ip, self.tenant.id, self.key_name, self.group_name}


# How to call each action so that it works.
CALLS = {
    "AllocateAddress": lambda h: {"Domain": "vpc"},
    "AssociateAddress": lambda h: {"AllocationId": h.new_address()[0], "InstanceId": h.tenant.run()[0]},
    "AssociateRouteTable": lambda h: {"RouteTableId": h.table, "SubnetId": h.new_subnet()},
    "AttachInternetGateway": lambda h: {"InternetGatewayId": h.new_gateway(), "VpcId": h.new_vpc()},
    "AuthorizeSecurityGroupEgress": lambda h: {"GroupId": h.new_group(), "IpPermissions": WAY_OUT},
    "AuthorizeSecurityGroupIngress": lambda h: {"GroupId": h.new_group(), "IpPermissions": OPEN},
    "CreateInternetGateway": lambda h: {"TagSpecifications": named("internet-gateway")},
    "CreateKeyPair": lambda h: {"KeyName": f"key-{next(COUNT)}", "KeyType": "ed25519", "TagSpecifications": named("key-pair")},
    "CreateRoute": lambda h: {"RouteTableId": h.new_table(), **h.way_out},
    "CreateRouteTable": lambda h: {"VpcId": h.own_vpc, "TagSpecifications": named("route-table")},
    "CreateSecurityGroup": lambda h: {"GroupName": f"group-{next(COUNT)}", "Description": "text", "VpcId": h.vpc},
    "CreateSubnet": lambda h: {"VpcId": h.own_vpc, "CidrBlock": h.new_range(), "TagSpecifications": named("subnet")},
    "CreateTags": lambda h: {"Resources": [h.instance], "Tags": [{"Key": "colour", "Value": "blue"}]},
    "CreateVpc": lambda h: {"CidrBlock": "10.20.0.0/16", "TagSpecifications": named("vpc")},
    "DeleteInternetGateway": lambda h: {"InternetGatewayId": h.new_gateway()},
    "DeleteKeyPair": lambda h: {"KeyPairId": h.ec2.create_key_pair(KeyName=f"key-{next(COUNT)}", KeyType="ed25519")["KeyPairId"]},
    "DeleteNetworkInterface": lambda h: {"NetworkInterfaceId": h.left_by_instance()[1]},
    "DeleteRoute": lambda h: {"RouteTableId": h.new_routed_table(), "DestinationCidrBlock": "0.0.0.0/0"},
    "DeleteRouteTable": lambda h: {"RouteTableId": h.new_table()},
    "DeleteSecurityGroup": lambda h: {"GroupId": h.new_group()},
    "DeleteSubnet": lambda h: {"SubnetId": h.new_subnet()},
    "DeleteTags": lambda h: {"Resources": [h.instance], "Tags": [{"Key": "colour"}]},
    "DeleteVolume": lambda h: {"VolumeId": h.left_by_instance()[0]},
    "DeleteVpc": lambda h: {"VpcId": h.new_vpc()},
    "DescribeAccountAttributes": lambda h: {},
    "DescribeAddresses": lambda h: {"AllocationIds": [h.allocation]},
    "DescribeAvailabilityZones": lambda h: {},
    "DescribeImages": lambda h: {"Owners": ["amazon"]},
    "DescribeInstanceAttribute": lambda h: {"InstanceId": h.instance, "Attribute": "userData"},
    "DescribeInstanceStatus": lambda h: {"InstanceIds": [h.instance]},
    "DescribeInstanceTypeOfferings": lambda h: {"LocationType": "availability-zone"},
    "DescribeInstanceTypes": lambda h: {"InstanceTypes": ["t3.micro", "m5.24xlarge"]},
    "DescribeInstances": lambda h: {"InstanceIds": [h.instance]},
    "DescribeInternetGateways": lambda h: {"InternetGatewayIds": [h.gateway]},
    "DescribeKeyPairs": lambda h: {"KeyPairIds": [h.key], "IncludePublicKey": True},
    "DescribeNetworkInterfaces": lambda h: {"NetworkInterfaceIds": [h.interface]},
    "DescribeRegions": lambda h: {},
    "DescribeRouteTables": lambda h: {"RouteTableIds": [h.table]},
    "DescribeSecurityGroupRules": lambda h: {"SecurityGroupRuleIds": [h.rule]},
    "DescribeSecurityGroups": lambda h: {"GroupIds": [h.group]},
    "DescribeSubnets": lambda h: {"SubnetIds": [h.subnet]},
    "DescribeTags": lambda h: {"Filters": [{"Name": "resource-id", "Values": [h.instance]}]},
    "DescribeVolumes": lambda h: {"VolumeIds": [h.volume]},
    "DescribeVpcAttribute": lambda h: {"VpcId": h.vpc, "Attribute": "enableDnsSupport"},
    "DescribeVpcs": lambda h: {"VpcIds": [h.vpc]},
    "DetachInternetGateway": lambda h: detachable(h),
    "DisassociateAddress": lambda h: {
        "AssociationId": h.ec2.associate_address(AllocationId=h.new_address()[0], InstanceId=h.tenant.run()[0])["AssociationId"]
    },
    "DisassociateRouteTable": lambda h: {"AssociationId": h.new_route_association()},
    "GetConsoleOutput": lambda h: {"InstanceId": h.instance},
    "ImportKeyPair": lambda h: {
        "KeyName": f"key-{next(COUNT)}",
        "PublicKeyMaterial": b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@home",
    },
    "ModifyInstanceAttribute": lambda h: {"InstanceId": h.new_stopped(), "InstanceType": {"Value": "r5.large"}},
    "ModifySubnetAttribute": lambda h: {"SubnetId": h.new_subnet(), "MapPublicIpOnLaunch": {"Value": True}},
    "ModifyVpcAttribute": lambda h: {"VpcId": h.own_vpc, "EnableDnsHostnames": {"Value": True}},
    "RebootInstances": lambda h: {"InstanceIds": [h.instance]},
    "ReleaseAddress": lambda h: {"AllocationId": h.new_address()[0]},
    "ReplaceRoute": lambda h: {"RouteTableId": h.new_routed_table(), **h.way_out},
    "ReplaceRouteTableAssociation": lambda h: {"AssociationId": h.new_route_association(), "RouteTableId": h.new_table()},
    "RevokeSecurityGroupEgress": lambda h: {"GroupId": h.new_group(), "IpPermissions": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]},
    "RevokeSecurityGroupIngress": lambda h: revocable(h),
    "RunInstances": lambda h: {"ImageId": h.tenant.image, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 2},
    "StartInstances": lambda h: {"InstanceIds": [h.new_stopped()]},
    "StopInstances": lambda h: {"InstanceIds": h.tenant.run()},
    "TerminateInstances": lambda h: {"InstanceIds": h.tenant.run()},
}

CALLS |= {action: call for area in AREAS for action, call in area.CALLS.items()}


def detachable(h):
    vpc = h.new_vpc()
    return {"InternetGatewayId": h.new_gateway(vpc), "VpcId": vpc}


def revocable(h):
    group = h.new_group()
    h.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=OPEN)
    return {"GroupId": group, "IpPermissions": OPEN}


INSTANCE = """
    InstanceId ImageId InstanceType State.Code State.Name AmiLaunchIndex LaunchTime Placement.AvailabilityZone Placement.Tenancy
    Placement.GroupName Monitoring.State SubnetId VpcId PrivateIpAddress PrivateDnsName PublicDnsName StateTransitionReason
    Architecture Hypervisor VirtualizationType RootDeviceName RootDeviceType EbsOptimized EnaSupport SourceDestCheck
    SecurityGroups.GroupId SecurityGroups.GroupName MetadataOptions.State MetadataOptions.HttpTokens
    MetadataOptions.HttpPutResponseHopLimit MetadataOptions.HttpEndpoint MetadataOptions.InstanceMetadataTags
    EnclaveOptions.Enabled HibernationOptions.Configured MaintenanceOptions.AutoRecovery PlatformDetails UsageOperation
    UsageOperationUpdateTime CurrentInstanceBootMode BlockDeviceMappings.DeviceName BlockDeviceMappings.Ebs.VolumeId
    BlockDeviceMappings.Ebs.Status BlockDeviceMappings.Ebs.AttachTime BlockDeviceMappings.Ebs.DeleteOnTermination
    NetworkInterfaces.NetworkInterfaceId NetworkInterfaces.MacAddress NetworkInterfaces.OwnerId NetworkInterfaces.Status
    NetworkInterfaces.SubnetId NetworkInterfaces.VpcId NetworkInterfaces.PrivateIpAddress NetworkInterfaces.PrivateDnsName
    NetworkInterfaces.SourceDestCheck NetworkInterfaces.Description NetworkInterfaces.InterfaceType
    NetworkInterfaces.Groups.GroupId NetworkInterfaces.Attachment.AttachmentId NetworkInterfaces.Attachment.DeviceIndex
    NetworkInterfaces.Attachment.Status NetworkInterfaces.Attachment.AttachTime NetworkInterfaces.Attachment.DeleteOnTermination
    NetworkInterfaces.PrivateIpAddresses.Primary NetworkInterfaces.PrivateIpAddresses.PrivateIpAddress
""".split()
ADDRESSED = "PublicIpAddress KeyName Tags.Key Tags.Value NetworkInterfaces.Association.PublicIp NetworkInterfaces.Association.IpOwnerId"
SUBNET = (
    "SubnetId SubnetArn VpcId State CidrBlock AvailableIpAddressCount AvailabilityZone AvailabilityZoneId DefaultForAz "
    "MapPublicIpOnLaunch OwnerId AssignIpv6AddressOnCreation Tags.Key"
)
VPC = (
    "VpcId CidrBlock State IsDefault InstanceTenancy OwnerId DhcpOptionsId Tags.Key CidrBlockAssociationSet.AssociationId "
    "CidrBlockAssociationSet.CidrBlock CidrBlockAssociationSet.CidrBlockState.State"
)
TABLE = "RouteTableId VpcId OwnerId Tags.Key Routes.DestinationCidrBlock Routes.GatewayId Routes.Origin Routes.State"
RULE = "SecurityGroupRuleId GroupId GroupOwnerId IsEgress IpProtocol FromPort ToPort CidrIpv4 SecurityGroupRuleArn"
CHANGE = "InstanceId PreviousState.Code PreviousState.Name CurrentState.Code CurrentState.Name"



# What must be there in the answer; of lists, in each member of a list that is not empty.
READS = {
    "AllocateAddress": "AllocationId PublicIp Domain PublicIpv4Pool NetworkBorderGroup",
    "AssociateAddress": "AssociationId",
    "AssociateRouteTable": "AssociationId AssociationState.State",
    "AttachInternetGateway": "",
    "AuthorizeSecurityGroupEgress": "Return " + under("SecurityGroupRules", RULE),
    "AuthorizeSecurityGroupIngress": "Return " + under("SecurityGroupRules", RULE + " Description"),
    "CreateInternetGateway": under("InternetGateway", "InternetGatewayId OwnerId Tags.Key"),
    "CreateKeyPair": "KeyPairId KeyName KeyFingerprint KeyMaterial Tags.Key Tags.Value",
    "CreateRoute": "Return",
    "CreateRouteTable": under("RouteTable", TABLE) + " ClientToken",
    "CreateSecurityGroup": "GroupId SecurityGroupArn",
    "CreateSubnet": under("Subnet", SUBNET),
    "CreateTags": "",
    "CreateVpc": under("Vpc", VPC),
    "DeleteInternetGateway": "",
    "DeleteKeyPair": "Return KeyPairId",
    "DeleteNetworkInterface": "",
    "DeleteRoute": "",
    "DeleteRouteTable": "",
    "DeleteSecurityGroup": "Return GroupId",
    "DeleteSubnet": "",
    "DeleteTags": "",
    "DeleteVolume": "",
    "DeleteVpc": "",
    "DescribeAccountAttributes": "AccountAttributes.AttributeName AccountAttributes.AttributeValues.AttributeValue",
    "DescribeAddresses": under(
        "Addresses",
        "AllocationId AssociationId PublicIp PrivateIpAddress Domain InstanceId NetworkInterfaceId NetworkInterfaceOwnerId PublicIpv4Pool "
        "NetworkBorderGroup Tags.Key",
    ),
    "DescribeAvailabilityZones": under(
        "AvailabilityZones", "ZoneName ZoneId RegionName State ZoneType GroupName OptInStatus NetworkBorderGroup"
    ),
    "DescribeImages": under(
        "Images",
        "ImageId Name Description State OwnerId ImageOwnerAlias Public Architecture ImageType ImageLocation CreationDate Hypervisor "
        "VirtualizationType RootDeviceName RootDeviceType EnaSupport PlatformDetails UsageOperation BlockDeviceMappings.DeviceName "
        "BlockDeviceMappings.Ebs.SnapshotId BlockDeviceMappings.Ebs.VolumeSize BlockDeviceMappings.Ebs.VolumeType "
        "BlockDeviceMappings.Ebs.DeleteOnTermination BlockDeviceMappings.Ebs.Encrypted",
    ),
    "DescribeInstanceAttribute": "InstanceId UserData.Value",
    "DescribeInstanceStatus": under(
        "InstanceStatuses",
        "InstanceId AvailabilityZone InstanceState.Code InstanceState.Name InstanceStatus.Status InstanceStatus.Details.Name "
        "InstanceStatus.Details.Status SystemStatus.Status SystemStatus.Details.Name SystemStatus.Details.Status",
    ),
    "DescribeInstanceTypeOfferings": under("InstanceTypeOfferings", "InstanceType Location LocationType"),
    "DescribeInstanceTypes": under(
        "InstanceTypes",
        "InstanceType CurrentGeneration FreeTierEligible SupportedUsageClasses SupportedRootDeviceTypes SupportedVirtualizationTypes "
        "BareMetal Hypervisor ProcessorInfo.SupportedArchitectures ProcessorInfo.SustainedClockSpeedInGhz VCpuInfo.DefaultVCpus "
        "VCpuInfo.DefaultCores VCpuInfo.DefaultThreadsPerCore MemoryInfo.SizeInMiB InstanceStorageSupported EbsInfo.EbsOptimizedSupport "
        "EbsInfo.EncryptionSupport NetworkInfo.NetworkPerformance NetworkInfo.MaximumNetworkInterfaces "
        "NetworkInfo.Ipv4AddressesPerInterface NetworkInfo.EnaSupport HibernationSupported "
        "BurstablePerformanceSupported DedicatedHostsSupported AutoRecoverySupported SupportedBootModes",
    ),
    "DescribeInstances": "Reservations.ReservationId Reservations.OwnerId " + under("Reservations.Instances", [*INSTANCE, *ADDRESSED.split()]),
    "DescribeInternetGateways": under(
        "InternetGateways", "InternetGatewayId OwnerId Tags.Key Attachments.State Attachments.VpcId"
    ),
    "DescribeKeyPairs": under("KeyPairs", "KeyPairId KeyName KeyType KeyFingerprint PublicKey CreateTime Tags.Key"),
    "DescribeNetworkInterfaces": under(
        "NetworkInterfaces",
        "NetworkInterfaceId VpcId SubnetId AvailabilityZone Description OwnerId RequesterManaged Status MacAddress PrivateIpAddress "
        "PrivateDnsName SourceDestCheck InterfaceType Groups.GroupId Groups.GroupName Attachment.AttachmentId Attachment.InstanceId "
        "Attachment.InstanceOwnerId Attachment.DeviceIndex Attachment.Status Attachment.AttachTime Attachment.DeleteOnTermination "
        "Association.PublicIp Association.AllocationId Association.AssociationId Association.IpOwnerId Association.PublicDnsName "
        "PrivateIpAddresses.Primary PrivateIpAddresses.PrivateIpAddress PrivateIpAddresses.Association.PublicIp TagSet.Key",
    ),
    "DescribeRegions": under("Regions", "RegionName Endpoint OptInStatus"),
    "DescribeRouteTables": under(
        "RouteTables",
        TABLE + " Associations.Main Associations.RouteTableAssociationId Associations.RouteTableId Associations.SubnetId "
        "Associations.AssociationState.State",
    ),
    "DescribeSecurityGroupRules": under("SecurityGroupRules", RULE + " Description Tags.Key"),
    "DescribeSecurityGroups": under(
        "SecurityGroups",
        "GroupId GroupName Description OwnerId VpcId SecurityGroupArn Tags.Key IpPermissions.IpProtocol IpPermissionsEgress.IpProtocol "
        "IpPermissionsEgress.IpRanges.CidrIp",
    ),
    "DescribeSubnets": under("Subnets", SUBNET),
    "DescribeTags": under("Tags", "Key Value ResourceId ResourceType"),
    "DescribeVolumes": under(
        "Volumes",
        "VolumeId State Size VolumeType SnapshotId AvailabilityZone AvailabilityZoneId CreateTime Encrypted MultiAttachEnabled Tags.Key "
        "Attachments.VolumeId Attachments.InstanceId Attachments.Device Attachments.State Attachments.AttachTime "
        "Attachments.DeleteOnTermination",
    ),
    "DescribeVpcAttribute": "VpcId EnableDnsSupport.Value",
    "DescribeVpcs": under("Vpcs", VPC),
    "DetachInternetGateway": "",
    "DisassociateAddress": "",
    "DisassociateRouteTable": "",
    "GetConsoleOutput": "InstanceId Timestamp Output",
    "ImportKeyPair": "KeyPairId KeyName KeyFingerprint",
    "ModifyInstanceAttribute": "",
    "ModifySubnetAttribute": "",
    "ModifyVpcAttribute": "",
    "RebootInstances": "",
    "ReleaseAddress": "",
    "ReplaceRoute": "",
    "ReplaceRouteTableAssociation": "NewAssociationId AssociationState.State",
    "RevokeSecurityGroupEgress": "Return " + under("RevokedSecurityGroupRules", "SecurityGroupRuleId GroupId IsEgress IpProtocol CidrIpv4"),
    "RevokeSecurityGroupIngress": "Return "
    + under("RevokedSecurityGroupRules", "SecurityGroupRuleId GroupId IsEgress IpProtocol FromPort ToPort CidrIpv4"),
    "RunInstances": "ReservationId OwnerId " + under("Instances", INSTANCE),
    "StartInstances": under("StartingInstances", CHANGE),
    "StopInstances": under("StoppingInstances", CHANGE),
    "TerminateInstances": under("TerminatingInstances", CHANGE),
}

READS |= {action: paths for area in AREAS for action, paths in area.READS.items()}


def lacks(answer, path):
    """What of a path is not there, or `None`."""
    head, _, rest = path.partition(".")
    if head not in answer:
        return head
    value = answer[head]
    if isinstance(value, list):
        if not value:
            return f"{head} (empty)"
        members = value
    else:
        members = [value]
    for member in members if rest else ():
        missing = lacks(member, rest)
        if missing:
            return f"{head}.{missing}"
    return None
