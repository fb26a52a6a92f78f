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


MADE = {
    "own_interface": new_interface,
    "attachment": attached,
}
NAMES = {"attachment": ["AttachmentId"]}
NESTED = [
    ("ModifyNetworkInterfaceAttribute", "attachment", lambda id: {"Description": None, "Attachment": {"AttachmentId": id, "DeleteOnTermination": True}}),
]
TAGGED = ["own_interface"]
NOT_LISTS = {"DescribeNetworkInterfaceAttribute"}
ALWAYS_WET = {"AssignPrivateIpAddresses", "UnassignPrivateIpAddresses"}

CALLS = {
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
