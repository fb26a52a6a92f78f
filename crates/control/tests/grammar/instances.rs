//! Requests about instances: their options, their places.

use super::{FILTER, FILTER_VALUE, IMAGE, PAGE, Recipe, Teller, text};

const ID: (&str, &str) = ("InstanceId", "<i>");
const IDS: (&str, &str) = ("InstanceId.1", "<i>");
const FAMILY: (&str, &str) = ("InstanceFamily", "t2|t3|m5|x");
const NAME: (&str, &str) = ("GroupName", "near|far|parts|x");

pub const RECIPES: &[Recipe] = &[
    (
        "CreatePlacementGroup",
        &[NAME, ("Strategy", "cluster|spread|partition")],
        &[
            ("PartitionCount", "1|7|8|-1"),
            ("SpreadLevel", "rack|host|x"),
            ("TagSpecification.1.ResourceType", "placement-group|instance"),
        ],
    ),
    ("DeletePlacementGroup", &[NAME], &[]),
    ("DescribePlacementGroups", &[], &[("GroupName.1", "near|far|x"), ("GroupId.1", "<pg>"), FILTER, FILTER_VALUE]),
    ("GetInstanceMetadataDefaults", &[], &[]),
    (
        "ModifyInstanceMetadataDefaults",
        &[("HttpTokens", "optional|required|no-preference")],
        &[
            ("HttpPutResponseHopLimit", "-1|0|1|64|65"),
            ("HttpEndpoint", "enabled|disabled|no-preference|x"),
            ("InstanceMetadataTags", "enabled|disabled|no-preference"),
            ("HttpTokensEnforced", "disabled|no-preference|disabled|enabled"),
        ],
    ),
    (
        "ModifyInstanceMetadataOptions",
        &[ID, ("HttpTokens", "optional|required")],
        &[
            ("HttpPutResponseHopLimit", "1|64|65"),
            ("HttpEndpoint", "enabled|disabled|x"),
            ("InstanceMetadataTags", "enabled|disabled"),
            ("HttpProtocolIpv6", "disabled|enabled"),
        ],
    ),
    (
        "ModifyInstancePlacement",
        &[ID],
        &[NAME, ("GroupId", "<pg>"), ("PartitionNumber", "1|2|9"), ("Tenancy", "default|dedicated|host|x")],
    ),
    ("MonitorInstances", &[IDS], &[("MetricCategoryId.1", "x")]),
    ("UnmonitorInstances", &[IDS], &[]),
    ("ResetInstanceAttribute", &[ID, ("Attribute", "sourceDestCheck|kernel|userData")], &[]),
    (
        "DescribeInstanceCreditSpecifications",
        &[],
        &[IDS, ("Filter.1.Name", "instance-id|x"), ("Filter.1.Value.1", "*|<i>"), PAGE],
    ),
    (
        "ModifyInstanceCreditSpecification",
        &[
            ("InstanceCreditSpecification.1.InstanceId", "<i>"),
            ("InstanceCreditSpecification.1.CpuCredits", "standard|unlimited|x"),
        ],
        &[("ClientToken", "x")],
    ),
    ("GetDefaultCreditSpecification", &[FAMILY], &[]),
    ("ModifyDefaultCreditSpecification", &[FAMILY, ("CpuCredits", "standard|unlimited|x")], &[]),
    (
        "ModifyInstanceMaintenanceOptions",
        &[ID, ("AutoRecovery", "default|disabled|x")],
        &[("RebootMigration", "default|disabled|x")],
    ),
    ("GetPasswordData", &[ID], &[]),
    ("SendDiagnosticInterrupt", &[ID], &[]),
    ("GetConsoleScreenshot", &[ID], &[("WakeUp", "true|false|x")]),
    ("GetInstanceUefiData", &[("InstanceId", "<i>|<ami>")], &[]),
    ("GetSerialConsoleAccessStatus", &[], &[]),
    ("EnableSerialConsoleAccess", &[], &[]),
    ("DisableSerialConsoleAccess", &[], &[]),
];

pub const WET: &[&str] = &["ModifyInstancePlacement"];

pub fn story(teller: &mut dyn Teller) {
    for (name, strategy) in [("near", "cluster"), ("far", "spread"), ("parts", "partition")] {
        teller.ask("CreatePlacementGroup", &format!("GroupName={name}&Strategy={strategy}"));
    }
    let placed = format!("ImageId={IMAGE}&MinCount=1&MaxCount=1&Placement.GroupName=parts");
    let id = text(&teller.ask("RunInstances", &placed), "instanceId");
    teller.round();
    teller.ask("StopInstances", &format!("InstanceId.1={id}"));
    teller.round();
    teller.ask("ModifyInstancePlacement", &format!("InstanceId={id}&GroupName=&Tenancy=dedicated"));
    teller.ask("StartInstances", &format!("InstanceId.1={id}"));
    teller.ask("DeletePlacementGroup", "GroupName=parts");
    teller.round();
    teller.ask("ModifyInstanceMetadataOptions", &format!("InstanceId={id}&HttpTokens=optional"));
    teller.round();
    teller.ask("SendDiagnosticInterrupt", &format!("InstanceId={id}"));
    teller.ask("GetConsoleScreenshot", &format!("InstanceId={id}"));
    teller.ask("TerminateInstances", &format!("InstanceId.1={id}"));
}
