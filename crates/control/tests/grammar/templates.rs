//! Requests about templates.

use super::{FILTER_VALUE, IMAGE, PAGE, Recipe, Teller, text};

const NAME: (&str, &str) = ("LaunchTemplateName", "web|data|work");
const TYPE: (&str, &str) = ("LaunchTemplateData.InstanceType", "t3.nano|t3.micro|x");
const NUMBER: &str = "1|2|3|$Latest|$Default";
const DATA: &[(&str, &str)] = &[
    ("LaunchTemplateData.ImageId", IMAGE),
    ("LaunchTemplateData.UserData", "aGVsbG8=|%"),
    ("LaunchTemplateData.BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
    ("LaunchTemplateData.NetworkInterface.1.DeviceIndex", "0"),
    ("LaunchTemplateData.SecurityGroupId.1", "<sg>"),
    ("LaunchTemplateData.TagSpecification.1.ResourceType", "instance|volume"),
    ("LaunchTemplateData.MetadataOptions.HttpTokens", "required|x"),
    ("LaunchTemplateData.EnclaveOptions.Enabled", "true|false"),
    ("ClientToken", "x|y|z"),
    ("SourceVersion", NUMBER),
    ("VersionDescription", "text|"),
];

const FLEET: (&str, &str) = ("FleetId", "<fleet>");
const SINCE: (&str, &str) = ("StartTime", "2026-01-01T00:00:00Z|yesterday");

const RESERVATION: (&str, &str) = ("CapacityReservationId", "<cr>");

pub const RECIPES: &[Recipe] = &[
    ("CancelCapacityReservation", &[RESERVATION], &[]),
    (
        "CreateCapacityReservation",
        &[
            ("InstanceType", "t3.nano|t3.micro|m5.large|x"),
            ("InstancePlatform", "Linux/UNIX"),
            ("AvailabilityZone", "us-east-1a|us-east-1c|x"),
            ("InstanceCount", "1|2|1000|0"),
        ],
        &[
            ("InstanceMatchCriteria", "open|targeted|x"),
            ("EndDateType", "limited|unlimited"),
            ("EndDate", "2099-01-01T00:00:00Z|2000-01-01T00:00:00Z"),
            ("ClientToken", "x|y|z"),
        ],
    ),
    (
        "DescribeCapacityReservations",
        &[],
        &[("CapacityReservationId.1", "<cr>"), ("Filter.1.Name", "state|tag:a|colour"), FILTER_VALUE, PAGE],
    ),
    ("GetCapacityReservationUsage", &[RESERVATION], &[PAGE]),
    (
        "ModifyCapacityReservation",
        &[RESERVATION],
        &[("InstanceCount", "1|2|3|0"), ("InstanceMatchCriteria", "open|targeted"), ("EndDateType", "unlimited|x")],
    ),
    (
        "ModifyInstanceCapacityReservationAttributes",
        &[("InstanceId", "<i>")],
        &[
            (
                "CapacityReservationSpecification.CapacityReservationPreference",
                "open|none|capacity-reservations-only|x",
            ),
            ("CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId", "<cr>"),
        ],
    ),
    (
        "CreateFleet",
        &[
            ("Type", "instant"),
            ("TargetCapacitySpecification.TotalTargetCapacity", "1|2|3"),
            ("TargetCapacitySpecification.DefaultTargetCapacityType", "on-demand|spot"),
            ("LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName", "web|data|work"),
            ("LaunchTemplateConfigs.1.LaunchTemplateSpecification.Version", NUMBER),
        ],
        &[
            ("LaunchTemplateConfigs.1.Overrides.1.InstanceType", "t3.nano|m5.large|x"),
            ("LaunchTemplateConfigs.1.Overrides.1.SubnetId", "<subnet>"),
            ("LaunchTemplateConfigs.1.Overrides.1.WeightedCapacity", "1|2|0.5|0"),
            ("LaunchTemplateConfigs.1.Overrides.2.AvailabilityZone", "us-east-1a|us-east-1c|x"),
            ("OnDemandOptions.SingleAvailabilityZone", "true|false"),
            ("OnDemandOptions.SingleInstanceType", "true|false"),
            ("OnDemandOptions.AllocationStrategy", "prioritized|lowest-price|x"),
            ("ClientToken", "x|y|z"),
        ],
    ),
    ("DeleteFleets", &[("FleetId.1", "<fleet>"), ("TerminateInstances", "true|false")], &[]),
    ("DescribeFleetHistory", &[FLEET, SINCE], &[("EventType", "instance-change|x"), PAGE]),
    ("DescribeFleetInstances", &[FLEET], &[PAGE]),
    ("DescribeFleets", &[], &[("FleetId.1", "<fleet>"), ("Filter.1.Name", "type|colour"), FILTER_VALUE, PAGE]),
    ("DescribeSpotPriceHistory", &[], &[("InstanceType.1", "t3.micro|x"), PAGE]),
    (
        "GetInstanceTypesFromInstanceRequirements",
        &[
            ("ArchitectureType.1", "x86_64|arm64"),
            ("VirtualizationType.1", "hvm"),
            ("InstanceRequirements.VCpuCount.Min", "1|2|-1"),
            ("InstanceRequirements.MemoryMiB.Min", "1|4096"),
        ],
        &[
            ("InstanceRequirements.AllowedInstanceType.1", "m5*|*"),
            ("InstanceRequirements.BareMetal", "excluded|x"),
            PAGE,
        ],
    ),
    ("CreateLaunchTemplate", &[NAME, TYPE], DATA),
    ("CreateLaunchTemplateVersion", &[NAME, TYPE], DATA),
    ("DeleteLaunchTemplate", &[NAME], &[]),
    ("DeleteLaunchTemplateVersions", &[NAME, ("LaunchTemplateVersion.1", "1|2|3")], &[]),
    (
        "DescribeLaunchTemplateVersions",
        &[NAME],
        &[
            ("LaunchTemplateVersion.1", NUMBER),
            ("MinVersion", "1|2"),
            ("MaxVersion", "1|2|$Latest"),
            ("Filter.1.Name", "image-id|instance-type|is-default-version|colour"),
            FILTER_VALUE,
            PAGE,
        ],
    ),
    (
        "DescribeLaunchTemplates",
        &[],
        &[
            ("LaunchTemplateId.1", "<lt>"),
            ("LaunchTemplateName.1", "web|x"),
            ("Filter.1.Name", "tag:a|colour"),
            FILTER_VALUE,
            PAGE,
        ],
    ),
    ("GetLaunchTemplateData", &[("InstanceId", "<i>")], &[]),
    ("ModifyLaunchTemplate", &[NAME, ("SetDefaultVersion", NUMBER)], &[]),
];

pub const WET: &[&str] = &[];

pub fn story(teller: &mut dyn Teller) {
    let data = format!("LaunchTemplateData.ImageId={IMAGE}&LaunchTemplateData.InstanceType=t3.nano");
    let name = "LaunchTemplateName=told";
    teller.ask("CreateLaunchTemplate", &format!("{name}&{data}"));
    teller.ask("CreateLaunchTemplateVersion", &format!("{name}&{data}&SourceVersion=1"));
    teller.ask("ModifyLaunchTemplate", &format!("{name}&SetDefaultVersion=2"));
    let made = teller.ask("RunInstances", "LaunchTemplate.LaunchTemplateName=told&MinCount=1&MaxCount=1");
    teller.ask("GetLaunchTemplateData", &format!("InstanceId={}", text(&made, "instanceId")));
    teller.ask("DescribeLaunchTemplateVersions", name);
    let spec = "LaunchTemplateConfigs.1.LaunchTemplateSpecification";
    let capacity = "TargetCapacitySpecification";
    let fleet = teller.ask(
        "CreateFleet",
        &format!(
            "Type=instant&{spec}.LaunchTemplateName=told&{spec}.Version=2\
             &{capacity}.TotalTargetCapacity=1&{capacity}.DefaultTargetCapacityType=on-demand"
        ),
    );
    let fleet = text(&fleet, "fleetId");
    teller.ask("DescribeFleets", &format!("FleetId.1={fleet}"));
    teller.ask("DescribeFleetInstances", &format!("FleetId={fleet}"));
    teller.ask("DescribeFleetHistory", &format!("FleetId={fleet}&StartTime=2026-01-01T00%3A00%3A00Z"));
    teller.ask("DeleteFleets", &format!("FleetId.1={fleet}&TerminateInstances=true"));
    teller.ask("DeleteLaunchTemplateVersions", &format!("{name}&LaunchTemplateVersion.1=1"));
    teller.ask("DeleteLaunchTemplate", name);
    reservation(teller);
}

fn reservation(teller: &mut dyn Teller) {
    let ask = "InstanceType=t3.nano&InstancePlatform=Linux%2FUNIX&AvailabilityZone=us-east-1a&InstanceCount=1";
    let made = teller.ask("CreateCapacityReservation", &format!("{ask}&InstanceMatchCriteria=targeted"));
    let reservation = text(&made, "capacityReservationId");
    let target = "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId";
    let launch = format!("ImageId={IMAGE}&InstanceType=t3.nano&MinCount=1&MaxCount=1");
    let made =
        teller.ask("RunInstances", &format!("{launch}&Placement.AvailabilityZone=us-east-1a&{target}={reservation}"));
    let instance = text(&made, "instanceId");
    let named = format!("CapacityReservationId={reservation}");
    teller.ask("GetCapacityReservationUsage", &named);
    teller.ask("ModifyCapacityReservation", &format!("{named}&InstanceCount=1"));
    teller.round();
    teller.ask("StopInstances", &format!("InstanceId.1={instance}"));
    teller.round();
    let without = "CapacityReservationSpecification.CapacityReservationPreference=none";
    teller.ask("ModifyInstanceCapacityReservationAttributes", &format!("InstanceId={instance}&{without}"));
    teller.ask("CancelCapacityReservation", &named);
}
