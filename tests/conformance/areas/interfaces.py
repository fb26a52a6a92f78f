"""Interfaces, addresses, groups and prefix lists."""

from areas import COUNT, named, under


def new_interface(home, **more):
    asked = {"SubnetId": home.subnet, "Description": "canary-text", "TagSpecifications": named("network-interface"), **more}
    return home.ec2.create_network_interface(**asked)["NetworkInterface"]["NetworkInterfaceId"]


def attached(home):
    """An attachment of an interface of its own to an instance of its own."""
    (instance,) = home.tenant.run(SubnetId=home.subnet)
    asked = {"NetworkInterfaceId": new_interface(home), "InstanceId": instance, "DeviceIndex": 1}
    return home.ec2.attach_network_interface(**asked)["AttachmentId"]


def with_secondary(home):
    id = new_interface(home)
    made = home.ec2.assign_private_ip_addresses(NetworkInterfaceId=id, SecondaryPrivateIpAddressCount=1)
    return {"NetworkInterfaceId": id, "PrivateIpAddresses": [made["AssignedPrivateIpAddresses"][0]["PrivateIpAddress"]]}


RULE = [{"IpProtocol": "tcp", "FromPort": 8000, "ToPort": 8000, "IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "canary-text"}]}]


def ruled(home, egress=False):
    """A group with a rule of its own."""
    group = home.new_group()
    add = home.ec2.authorize_security_group_egress if egress else home.ec2.authorize_security_group_ingress
    return group, add(GroupId=group, IpPermissions=RULE)["SecurityGroupRules"][0]["SecurityGroupRuleId"]


def changed(home):
    group, rule = ruled(home)
    new = {"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "CidrIpv4": "10.0.0.0/8", "Description": "canary-text"}
    return {"GroupId": group, "SecurityGroupRules": [{"SecurityGroupRuleId": rule, "SecurityGroupRule": new}]}


def described(home, egress):
    group, rule = ruled(home, egress)
    return {"GroupId": group, "SecurityGroupRuleDescriptions": [{"SecurityGroupRuleId": rule, "Description": "canary-text"}]}


def with_name(home):
    allocation = home.new_address()[0]
    home.ec2.modify_address_attribute(AllocationId=allocation, DomainName="canary-text.example.com")
    return allocation


def update(rule, change):
    return {"SecurityGroupRules": [{"SecurityGroupRuleId": rule, "SecurityGroupRule": {"IpProtocol": "-1", **change}}]}


MADE = {
    "own_interface": new_interface,
    "attachment": attached,
}
NAMES = {"attachment": ["AttachmentId"]}
NESTED = [
    ("ModifyNetworkInterfaceAttribute", "attachment", lambda id: {"Description": None, "Attachment": {"AttachmentId": id, "DeleteOnTermination": True}}),
    ("ModifySecurityGroupRules", "rule", lambda id: update(id, {"CidrIpv4": "10.0.0.0/8"})),
    ("UpdateSecurityGroupRuleDescriptionsIngress", "rule", lambda id: {"SecurityGroupRuleDescriptions": [{"SecurityGroupRuleId": id}]}),
    ("UpdateSecurityGroupRuleDescriptionsEgress", "rule", lambda id: {"SecurityGroupRuleDescriptions": [{"SecurityGroupRuleId": id}]}),
]
TAGGED = ["own_interface"]
NOT_LISTS = {"DescribeNetworkInterfaceAttribute", "DescribeSecurityGroupReferences", "DescribeStaleSecurityGroups"}
ALWAYS_WET = {"AssignPrivateIpAddresses", "UnassignPrivateIpAddresses"}

CALLS = {
    "DescribeAddressesAttribute": lambda h: {"AllocationIds": [with_name(h)], "Attribute": "domain-name"},
    "DescribeSecurityGroupReferences": lambda h: {"GroupId": [h.group]},
    "DescribeStaleSecurityGroups": lambda h: {"VpcId": h.vpc},
    "GetSecurityGroupsForVpc": lambda h: {"VpcId": h.vpc, "Filters": [{"Name": "group-id", "Values": [h.group]}]},
    "ModifyAddressAttribute": lambda h: {"AllocationId": h.new_address()[0], "DomainName": "canary-text.example.com"},
    "ModifySecurityGroupRules": changed,
    "ResetAddressAttribute": lambda h: {"AllocationId": with_name(h), "Attribute": "domain-name"},
    "UpdateSecurityGroupRuleDescriptionsEgress": lambda h: described(h, True),
    "UpdateSecurityGroupRuleDescriptionsIngress": lambda h: described(h, False),
    "AssignPrivateIpAddresses": lambda h: {"NetworkInterfaceId": new_interface(h), "SecondaryPrivateIpAddressCount": 1},
    "AttachNetworkInterface": lambda h: {
        "NetworkInterfaceId": new_interface(h),
        "InstanceId": h.tenant.run(SubnetId=h.subnet)[0],
        "DeviceIndex": 1,
    },
    "CreateNetworkInterface": lambda h: {
        "SubnetId": h.subnet,
        "Description": "canary-text",
        "Groups": [h.group],
        "SecondaryPrivateIpAddressCount": 1,
        "ClientToken": f"token-{next(COUNT)}",
        "TagSpecifications": named("network-interface"),
    },
    "DescribeNetworkInterfaceAttribute": lambda h: {"NetworkInterfaceId": h.interface, "Attribute": "attachment"},
    "DetachNetworkInterface": lambda h: {"AttachmentId": attached(h), "Force": True},
    "ModifyNetworkInterfaceAttribute": lambda h: {"NetworkInterfaceId": new_interface(h), "Description": {"Value": "canary-text"}},
    "ResetNetworkInterfaceAttribute": lambda h: {"NetworkInterfaceId": new_interface(h), "SourceDestCheck": "true"},
    "UnassignPrivateIpAddresses": with_secondary,
}

INTERFACE = (
    "NetworkInterfaceId SubnetId VpcId AvailabilityZone Description Groups.GroupId Groups.GroupName InterfaceType MacAddress OwnerId "
    "PrivateDnsName PrivateIpAddress PrivateIpAddresses.Primary PrivateIpAddresses.PrivateIpAddress PrivateIpAddresses.PrivateDnsName "
    "RequesterManaged SourceDestCheck Status TagSet.Key"
)
READS = {
    "DescribeAddressesAttribute": under("Addresses", "AllocationId PublicIp PtrRecord"),
    "DescribeSecurityGroupReferences": "",
    "DescribeStaleSecurityGroups": "",
    "GetSecurityGroupsForVpc": under("SecurityGroupForVpcs", "Description GroupName OwnerId GroupId PrimaryVpcId Tags.Key"),
    "ModifyAddressAttribute": under("Address", "AllocationId PublicIp PtrRecord"),
    "ModifySecurityGroupRules": "Return",
    "ResetAddressAttribute": under("Address", "AllocationId PublicIp"),
    "UpdateSecurityGroupRuleDescriptionsEgress": "Return",
    "UpdateSecurityGroupRuleDescriptionsIngress": "Return",
    "AssignPrivateIpAddresses": "NetworkInterfaceId AssignedPrivateIpAddresses.PrivateIpAddress",
    "AttachNetworkInterface": "AttachmentId NetworkCardIndex",
    "CreateNetworkInterface": under("NetworkInterface", INTERFACE) + " ClientToken",
    "DescribeNetworkInterfaceAttribute": "NetworkInterfaceId "
    + under("Attachment", "AttachTime AttachmentId DeleteOnTermination DeviceIndex InstanceId InstanceOwnerId Status"),
    "DetachNetworkInterface": "",
    "ModifyNetworkInterfaceAttribute": "",
    "ResetNetworkInterfaceAttribute": "",
    "UnassignPrivateIpAddresses": "",
}
