"""One call of every action that works, and what a client reads in its answer."""

import itertools

from clients import Tenant, ids_in

COUNT = itertools.count()
OPEN = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "lab"}]}]
WAY_OUT = [{"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]


def named(kind):
    return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": f"canary-{kind}"}]}]


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

    def new_group(self, name=None):
        name = name or f"canary-group-{next(COUNT)}"
        return self.ec2.create_security_group(GroupName=name, Description="canary-text", TagSpecifications=named("security-group"))["GroupId"]

    def new_address(self):
        made = self.ec2.allocate_address(Domain="vpc", TagSpecifications=named("elastic-ip"))
        return made["AllocationId"], made["PublicIp"]

    def new_stopped(self):
        (id,) = self.tenant.launch()
        self.ec2.stop_instances(InstanceIds=[id])
        self.tenant.wait("instance_stopped", id)
        return id

    def secrets(self):
        """Every id and every word by which this account could be known, but for what all accounts share."""
        text = "".join(self.tenant.everything().values())
        shared = {id for id in ids_in(text) if id.startswith(("ami-", "snap-"))}
        return ids_in(text) - shared | {"canary", self.public_ip, self.tenant.id, self.key_name, self.group_name}


# How to call each action so that it works.
CALLS = {
    "AllocateAddress": lambda h: {"Domain": "vpc"},
    "AssociateAddress": lambda h: {"AllocationId": h.new_address()[0], "InstanceId": h.tenant.run()[0]},
    "AuthorizeSecurityGroupEgress": lambda h: {"GroupId": h.new_group(), "IpPermissions": WAY_OUT},
    "AuthorizeSecurityGroupIngress": lambda h: {"GroupId": h.new_group(), "IpPermissions": OPEN},
    "CreateKeyPair": lambda h: {"KeyName": f"key-{next(COUNT)}", "KeyType": "ed25519", "TagSpecifications": named("key-pair")},
    "CreateSecurityGroup": lambda h: {"GroupName": f"group-{next(COUNT)}", "Description": "text", "VpcId": h.vpc},
    "CreateTags": lambda h: {"Resources": [h.instance], "Tags": [{"Key": "colour", "Value": "blue"}]},
    "DeleteKeyPair": lambda h: {"KeyPairId": h.ec2.create_key_pair(KeyName=f"key-{next(COUNT)}", KeyType="ed25519")["KeyPairId"]},
    "DeleteSecurityGroup": lambda h: {"GroupId": h.new_group()},
    "DeleteTags": lambda h: {"Resources": [h.instance], "Tags": [{"Key": "colour"}]},
    "DescribeAccountAttributes": lambda h: {},
    "DescribeAddresses": lambda h: {"AllocationIds": [h.allocation]},
    "DescribeAvailabilityZones": lambda h: {},
    "DescribeImages": lambda h: {"Owners": ["amazon"]},
    "DescribeInstanceAttribute": lambda h: {"InstanceId": h.instance, "Attribute": "userData"},
    "DescribeInstanceStatus": lambda h: {"InstanceIds": [h.instance]},
    "DescribeInstanceTypeOfferings": lambda h: {"LocationType": "availability-zone"},
    "DescribeInstanceTypes": lambda h: {"InstanceTypes": ["t3.micro", "m5.24xlarge"]},
    "DescribeInstances": lambda h: {"InstanceIds": [h.instance]},
    "DescribeKeyPairs": lambda h: {"KeyPairIds": [h.key], "IncludePublicKey": True},
    "DescribeNetworkInterfaces": lambda h: {"NetworkInterfaceIds": [h.interface]},
    "DescribeRegions": lambda h: {},
    "DescribeSecurityGroupRules": lambda h: {"SecurityGroupRuleIds": [h.rule]},
    "DescribeSecurityGroups": lambda h: {"GroupIds": [h.group]},
    "DescribeSubnets": lambda h: {"SubnetIds": [h.subnet]},
    "DescribeTags": lambda h: {"Filters": [{"Name": "resource-id", "Values": [h.instance]}]},
    "DescribeVpcs": lambda h: {"VpcIds": [h.vpc]},
    "DisassociateAddress": lambda h: {
        "AssociationId": h.ec2.associate_address(AllocationId=h.new_address()[0], InstanceId=h.tenant.run()[0])["AssociationId"]
    },
    "GetConsoleOutput": lambda h: {"InstanceId": h.instance},
    "ImportKeyPair": lambda h: {
        "KeyName": f"key-{next(COUNT)}",
        "PublicKeyMaterial": b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@home",
    },
    "ModifyInstanceAttribute": lambda h: {"InstanceId": h.new_stopped(), "InstanceType": {"Value": "r5.large"}},
    "RebootInstances": lambda h: {"InstanceIds": [h.instance]},
    "ReleaseAddress": lambda h: {"AllocationId": h.new_address()[0]},
    "RevokeSecurityGroupEgress": lambda h: {"GroupId": h.new_group(), "IpPermissions": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]},
    "RevokeSecurityGroupIngress": lambda h: revocable(h),
    "RunInstances": lambda h: {"ImageId": h.tenant.image, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 2},
    "StartInstances": lambda h: {"InstanceIds": [h.new_stopped()]},
    "StopInstances": lambda h: {"InstanceIds": h.tenant.run()},
    "TerminateInstances": lambda h: {"InstanceIds": h.tenant.run()},
}


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
RULE = "SecurityGroupRuleId GroupId GroupOwnerId IsEgress IpProtocol FromPort ToPort CidrIpv4 SecurityGroupRuleArn"
CHANGE = "InstanceId PreviousState.Code PreviousState.Name CurrentState.Code CurrentState.Name"


def under(head, tails):
    return " ".join(f"{head}.{tail}" for tail in (tails.split() if isinstance(tails, str) else tails))


# What must be there in the answer; of lists, in each member of a list that is not empty.
READS = {
    "AllocateAddress": "AllocationId PublicIp Domain PublicIpv4Pool NetworkBorderGroup",
    "AssociateAddress": "AssociationId",
    "AuthorizeSecurityGroupEgress": "Return " + under("SecurityGroupRules", RULE),
    "AuthorizeSecurityGroupIngress": "Return " + under("SecurityGroupRules", RULE + " Description"),
    "CreateKeyPair": "KeyPairId KeyName KeyFingerprint KeyMaterial Tags.Key Tags.Value",
    "CreateSecurityGroup": "GroupId SecurityGroupArn",
    "CreateTags": "",
    "DeleteKeyPair": "Return KeyPairId",
    "DeleteSecurityGroup": "Return GroupId",
    "DeleteTags": "",
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
    "DescribeSecurityGroupRules": under("SecurityGroupRules", RULE + " Description Tags.Key"),
    "DescribeSecurityGroups": under(
        "SecurityGroups",
        "GroupId GroupName Description OwnerId VpcId SecurityGroupArn Tags.Key IpPermissions.IpProtocol IpPermissionsEgress.IpProtocol "
        "IpPermissionsEgress.IpRanges.CidrIp",
    ),
    "DescribeSubnets": under(
        "Subnets",
        "SubnetId SubnetArn VpcId State CidrBlock AvailableIpAddressCount AvailabilityZone AvailabilityZoneId DefaultForAz "
        "MapPublicIpOnLaunch OwnerId AssignIpv6AddressOnCreation Tags.Key",
    ),
    "DescribeTags": under("Tags", "Key Value ResourceId ResourceType"),
    "DescribeVpcs": under(
        "Vpcs",
        "VpcId CidrBlock State IsDefault InstanceTenancy OwnerId DhcpOptionsId Tags.Key CidrBlockAssociationSet.AssociationId "
        "CidrBlockAssociationSet.CidrBlock CidrBlockAssociationSet.CidrBlockState.State",
    ),
    "DisassociateAddress": "",
    "GetConsoleOutput": "InstanceId Timestamp Output",
    "ImportKeyPair": "KeyPairId KeyName KeyFingerprint",
    "ModifyInstanceAttribute": "",
    "RebootInstances": "",
    "ReleaseAddress": "",
    "RevokeSecurityGroupEgress": "Return " + under("RevokedSecurityGroupRules", "SecurityGroupRuleId GroupId IsEgress IpProtocol CidrIpv4"),
    "RevokeSecurityGroupIngress": "Return "
    + under("RevokedSecurityGroupRules", "SecurityGroupRuleId GroupId IsEgress IpProtocol FromPort ToPort CidrIpv4"),
    "RunInstances": "ReservationId OwnerId " + under("Instances", INSTANCE),
    "StartInstances": under("StartingInstances", CHANGE),
    "StopInstances": under("StoppingInstances", CHANGE),
    "TerminateInstances": under("TerminatingInstances", CHANGE),
}


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
