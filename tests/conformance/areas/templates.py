"""Launch templates, fleets and capacity."""

from . import COUNT, named, under

DATA = {"InstanceType": "t3.nano", "UserData": "aGVsbG8=", "TagSpecifications": named("instance")}
TEMPLATE = "LaunchTemplateId LaunchTemplateName CreateTime CreatedBy DefaultVersionNumber LatestVersionNumber"
VERSION = (
    "LaunchTemplateId LaunchTemplateName VersionNumber CreateTime CreatedBy DefaultVersion LaunchTemplateData.InstanceType "
    "LaunchTemplateData.UserData LaunchTemplateData.TagSpecifications.ResourceType LaunchTemplateData.TagSpecifications.Tags.Key"
)
NUMBER = "LaunchTemplateId LaunchTemplateName VersionNumber"


def new_template(home):
    made = home.ec2.create_launch_template(
        LaunchTemplateName=f"canary-template-{next(COUNT)}",
        LaunchTemplateData={"ImageId": home.tenant.image, **DATA},
        TagSpecifications=named("launch-template"),
    )
    return made["LaunchTemplate"]["LaunchTemplateId"]


def two_versions(home):
    id = new_template(home)
    home.ec2.create_launch_template_version(LaunchTemplateId=id, LaunchTemplateData=DATA)
    return id


def fleet(home, **more):
    return {
        "Type": "instant",
        "TargetCapacitySpecification": {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {"LaunchTemplateId": home.launch_template, "Version": "1"},
                "Overrides": [{"InstanceType": "t3.micro", "WeightedCapacity": 1, "Priority": 1}, {"InstanceType": "r5.24xlarge"}],
            }
        ],
        "OnDemandOptions": {"AllocationStrategy": "prioritized"},
        "TagSpecifications": named("fleet"),
        **more,
    }


def new_fleet(home):
    return home.ec2.create_fleet(**fleet(home))["FleetId"]


def reservation(home, **more):
    return {
        "InstanceType": "r5.large",
        "InstancePlatform": "Linux/UNIX",
        "AvailabilityZone": "us-east-1a",
        "InstanceCount": 1,
        "EndDateType": "unlimited",
        "InstanceMatchCriteria": "targeted",
        "TagSpecifications": named("capacity-reservation"),
        **more,
    }


def new_reservation(home):
    return home.ec2.create_capacity_reservation(**reservation(home))["CapacityReservation"]["CapacityReservationId"]


RESERVATION = (
    "CapacityReservationId OwnerId CapacityReservationArn AvailabilityZone AvailabilityZoneId InstanceType InstancePlatform Tenancy "
    "TotalInstanceCount AvailableInstanceCount EbsOptimized EphemeralStorage State StartDate EndDateType InstanceMatchCriteria CreateDate Tags.Key"
)
REQUIREMENTS = {"VCpuCount": {"Min": 2}, "MemoryMiB": {"Min": 4096}}
CHOSEN = "LaunchTemplateAndOverrides.LaunchTemplateSpecification.LaunchTemplateId LaunchTemplateAndOverrides.Overrides.InstanceType Lifecycle"

CALLS = {
    "CreateLaunchTemplate": lambda h: {
        "LaunchTemplateName": f"template-{next(COUNT)}",
        "LaunchTemplateData": DATA,
        "TagSpecifications": named("launch-template"),
    },
    "CreateLaunchTemplateVersion": lambda h: {
        "LaunchTemplateId": h.launch_template,
        "SourceVersion": "1",
        "VersionDescription": "next",
        "LaunchTemplateData": {"KeyName": h.key_name},
    },
    "CancelCapacityReservation": lambda h: {"CapacityReservationId": new_reservation(h)},
    "CreateCapacityReservation": lambda h: reservation(h, EndDateType="limited", EndDate="2099-01-01T00:00:00Z"),
    "DescribeCapacityReservations": lambda h: {"CapacityReservationIds": [h.capacity_reservation]},
    "GetCapacityReservationUsage": lambda h: {"CapacityReservationId": h.capacity_reservation},
    "ModifyCapacityReservation": lambda h: {"CapacityReservationId": new_reservation(h), "InstanceCount": 2},
    "ModifyInstanceCapacityReservationAttributes": lambda h: {
        "InstanceId": h.new_stopped(),
        "CapacityReservationSpecification": {"CapacityReservationPreference": "none"},
    },
    "CreateFleet": fleet,
    "DeleteFleets": lambda h: {"FleetIds": [new_fleet(h)], "TerminateInstances": True},
    "DescribeFleetHistory": lambda h: {"FleetId": h.fleet, "StartTime": "2026-01-01T00:00:00Z"},
    "DescribeFleetInstances": lambda h: {"FleetId": h.fleet},
    "DescribeFleets": lambda h: {"FleetIds": [h.fleet]},
    "DescribeSpotPriceHistory": lambda h: {"InstanceTypes": ["t3.micro"]},
    "GetInstanceTypesFromInstanceRequirements": lambda h: {
        "ArchitectureTypes": ["x86_64"],
        "VirtualizationTypes": ["hvm"],
        "InstanceRequirements": REQUIREMENTS,
    },
    "DeleteLaunchTemplate": lambda h: {"LaunchTemplateId": new_template(h)},
    "DeleteLaunchTemplateVersions": lambda h: {"LaunchTemplateId": two_versions(h), "Versions": ["1", "2"]},
    "DescribeLaunchTemplates": lambda h: {"LaunchTemplateIds": [h.launch_template]},
    "DescribeLaunchTemplateVersions": lambda h: {"LaunchTemplateId": h.launch_template},
    "GetLaunchTemplateData": lambda h: {"InstanceId": h.instance},
    "ModifyLaunchTemplate": lambda h: {"LaunchTemplateId": two_versions(h), "DefaultVersion": "2"},
}

READS = {
    "CreateLaunchTemplate": under("LaunchTemplate", TEMPLATE + " Tags.Key"),
    "CreateLaunchTemplateVersion": under("LaunchTemplateVersion", VERSION + " VersionDescription LaunchTemplateData.KeyName"),
    "CancelCapacityReservation": "Return",
    "CreateCapacityReservation": under("CapacityReservation", RESERVATION + " EndDate"),
    "DescribeCapacityReservations": under("CapacityReservations", RESERVATION),
    "GetCapacityReservationUsage": "CapacityReservationId InstanceType TotalInstanceCount AvailableInstanceCount State",
    "ModifyCapacityReservation": "Return",
    "ModifyInstanceCapacityReservationAttributes": "Return",
    "CreateFleet": "FleetId " + under("Instances", CHOSEN + " InstanceIds InstanceType AvailabilityZone AvailabilityZoneId SubnetId"),
    "DeleteFleets": under("SuccessfulFleetDeletions", "FleetId CurrentFleetState PreviousFleetState"),
    "DescribeFleetHistory": "FleetId StartTime LastEvaluatedTime " + under("HistoryRecords", "EventType Timestamp EventInformation.EventSubType"),
    "DescribeFleetInstances": "FleetId " + under("ActiveInstances", "InstanceId InstanceType InstanceHealth"),
    "DescribeFleets": under(
        "Fleets",
        "FleetId FleetState ActivityStatus CreateTime Type FulfilledCapacity FulfilledOnDemandCapacity Tags.Key "
        "TargetCapacitySpecification.TotalTargetCapacity TargetCapacitySpecification.OnDemandTargetCapacity "
        "LaunchTemplateConfigs.LaunchTemplateSpecification.Version LaunchTemplateConfigs.Overrides.InstanceType "
        "OnDemandOptions.AllocationStrategy Instances.InstanceIds Instances.Lifecycle",
    ),
    "DescribeSpotPriceHistory": "",
    "GetInstanceTypesFromInstanceRequirements": under("InstanceTypes", "InstanceType"),
    "DeleteLaunchTemplate": under("LaunchTemplate", TEMPLATE),
    "DeleteLaunchTemplateVersions": under("SuccessfullyDeletedLaunchTemplateVersions", NUMBER)
    + " "
    + under("UnsuccessfullyDeletedLaunchTemplateVersions", NUMBER + " ResponseError.Code ResponseError.Message"),
    "DescribeLaunchTemplates": under("LaunchTemplates", TEMPLATE + " Tags.Key Operator.Managed"),
    "DescribeLaunchTemplateVersions": under("LaunchTemplateVersions", VERSION),
    "GetLaunchTemplateData": under(
        "LaunchTemplateData",
        "ImageId InstanceType KeyName UserData Monitoring.Enabled Placement.AvailabilityZone MetadataOptions.HttpTokens "
        "DisableApiTermination InstanceInitiatedShutdownBehavior NetworkInterfaces.SubnetId NetworkInterfaces.Groups "
        "BlockDeviceMappings.DeviceName BlockDeviceMappings.Ebs.VolumeSize",
    ),
    "ModifyLaunchTemplate": under("LaunchTemplate", TEMPLATE),
}

MADE = {"launch_template": new_template, "fleet": new_fleet, "capacity_reservation": new_reservation}

NAMES = {"launch_template": ["LaunchTemplateId", "LaunchTemplateIds"], "fleet": ["FleetId", "FleetIds"], "capacity_reservation": ["CapacityReservationId", "CapacityReservationIds"]}

TAGGED = ["launch_template", "fleet", "capacity_reservation"]

# All versions of all templates cannot be asked for; and no prices are kept.
NOT_LISTS = {"DescribeLaunchTemplateVersions", "DescribeFleetHistory", "DescribeFleetInstances", "DescribeSpotPriceHistory"}


def FILTERS(home):
    (theirs,) = home.ec2.describe_launch_templates(LaunchTemplateIds=[home.launch_template])["LaunchTemplates"]
    yield "DescribeLaunchTemplates", "launch-template-name", [theirs["LaunchTemplateName"]]
    yield "DescribeCapacityReservations", "owner-id", [home.tenant.id]

# They say of each fleet whether it went.
FINE = {"DeleteFleets"}
# Values that the documentation lists below a filter.
STATES = "active expired cancelled pending failed open targeted unlimited limited default dedicated"
NO_FILTERS = {"DescribeCapacityReservations": STATES.split()}
