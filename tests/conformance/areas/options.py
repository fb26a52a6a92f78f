"""Options of instances, placement."""

from areas import COUNT, named, under

PLACEMENT_GROUP = "GroupName State Strategy GroupId GroupArn Tags.Key"
METADATA = "State HttpTokens HttpPutResponseHopLimit HttpEndpoint HttpProtocolIpv6 InstanceMetadataTags"


def new_group(h, strategy="spread"):
    made = h.ec2.create_placement_group(
        GroupName=f"canary-placement-{next(COUNT)}", Strategy=strategy, TagSpecifications=named("placement-group")
    )
    return made["PlacementGroup"]


def defaults(h):
    h.ec2.modify_instance_metadata_defaults(HttpTokens="required", HttpEndpoint="enabled", HttpPutResponseHopLimit=2)
    return {}


CALLS = {
    "CreatePlacementGroup": lambda h: {
        "GroupName": f"placement-{next(COUNT)}", "Strategy": "cluster", "TagSpecifications": named("placement-group"),
    },
    "DescribePlacementGroups": lambda h: {"GroupIds": [h.placement_group]},
    "DeletePlacementGroup": lambda h: {"GroupName": new_group(h)["GroupName"]},
    "ModifyInstanceMetadataOptions": lambda h: {"InstanceId": h.instance, "HttpPutResponseHopLimit": next(COUNT) % 64 + 1},
    "GetInstanceMetadataDefaults": defaults,
    "ModifyInstanceMetadataDefaults": lambda h: {"InstanceMetadataTags": "no-preference"},
    "ModifyInstancePlacement": lambda h: {"InstanceId": h.new_stopped(), "GroupName": new_group(h, "partition")["GroupName"]},
    "MonitorInstances": lambda h: {"InstanceIds": [h.instance]},
    "UnmonitorInstances": lambda h: {"InstanceIds": [h.instance]},
    "ResetInstanceAttribute": lambda h: {"InstanceId": h.instance, "Attribute": "sourceDestCheck"},
    "DescribeInstanceCreditSpecifications": lambda h: {"InstanceIds": [h.instance]},
    "ModifyInstanceCreditSpecification": lambda h: {
        "InstanceCreditSpecifications": [{"InstanceId": h.instance, "CpuCredits": "standard"}]
    },
    "GetDefaultCreditSpecification": lambda h: {"InstanceFamily": "t2"},
    "ModifyDefaultCreditSpecification": lambda h: {"InstanceFamily": "t2", "CpuCredits": "unlimited"},
    "ModifyInstanceMaintenanceOptions": lambda h: {"InstanceId": h.instance, "AutoRecovery": "disabled"},
    "GetPasswordData": lambda h: {"InstanceId": h.instance},
    "SendDiagnosticInterrupt": lambda h: {"InstanceId": h.instance},
    "GetConsoleScreenshot": lambda h: {"InstanceId": h.instance, "WakeUp": True},
    "GetSerialConsoleAccessStatus": lambda h: {},
    "EnableSerialConsoleAccess": lambda h: {},
    "DisableSerialConsoleAccess": lambda h: {},
}
READS = {
    "CreatePlacementGroup": under("PlacementGroup", PLACEMENT_GROUP),
    "DescribePlacementGroups": under("PlacementGroups", PLACEMENT_GROUP + " SpreadLevel"),
    "DeletePlacementGroup": "",
    "ModifyInstanceMetadataOptions": "InstanceId " + under("InstanceMetadataOptions", METADATA),
    "GetInstanceMetadataDefaults": "AccountLevel.HttpTokens AccountLevel.HttpPutResponseHopLimit AccountLevel.HttpEndpoint AccountLevel.ManagedBy",
    "ModifyInstanceMetadataDefaults": "Return",
    "ModifyInstancePlacement": "Return",
    "MonitorInstances": under("InstanceMonitorings", "InstanceId Monitoring.State"),
    "UnmonitorInstances": under("InstanceMonitorings", "InstanceId Monitoring.State"),
    "ResetInstanceAttribute": "",
    "DescribeInstanceCreditSpecifications": under("InstanceCreditSpecifications", "InstanceId CpuCredits"),
    "ModifyInstanceCreditSpecification": "SuccessfulInstanceCreditSpecifications.InstanceId",
    "GetDefaultCreditSpecification": under("InstanceFamilyCreditSpecification", "InstanceFamily CpuCredits"),
    "ModifyDefaultCreditSpecification": under("InstanceFamilyCreditSpecification", "InstanceFamily CpuCredits"),
    "ModifyInstanceMaintenanceOptions": "InstanceId AutoRecovery RebootMigration",
    "GetPasswordData": "InstanceId Timestamp PasswordData",
    "SendDiagnosticInterrupt": "",
    "GetConsoleScreenshot": "InstanceId ImageData",
    "GetSerialConsoleAccessStatus": "SerialConsoleAccessEnabled ManagedBy",
    "EnableSerialConsoleAccess": "SerialConsoleAccessEnabled",
    "DisableSerialConsoleAccess": "SerialConsoleAccessEnabled",
}
MADE = {
    "placement_group": lambda h: new_group(h)["GroupId"],
    "placement_name": lambda h: new_group(h)["GroupName"],
}
NESTED = [
    ("DescribePlacementGroups", "placement_group", lambda id: {"GroupIds": [id]}),
    ("DescribePlacementGroups", "placement_name", lambda id: {"GroupIds": None, "GroupNames": [id]}),
    ("DeletePlacementGroup", "placement_name", lambda id: {"GroupName": id}),
    ("ModifyInstancePlacement", "placement_group", lambda id: {"GroupName": None, "GroupId": id}),
    ("RunInstances", "placement_group", lambda id: {"Placement": {"GroupId": id}}),
    ("RunInstances", "placement_name", lambda id: {"Placement": {"GroupName": id}}),
]
TAGGED = ["placement_group"]
ALWAYS_WET = {"ModifyInstancePlacement"}
# No instance boots by UEFI, so this has an answer for none.
ELSEWHERE = {"GetInstanceUefiData"}


def FILTERS(h):
    yield "DescribePlacementGroups", "group-name", [h.placement_name]
    yield "DescribeInstanceCreditSpecifications", "instance-id", [h.instance]
    yield "DescribeInstances", "placement-group-name", [h.placement_name]
