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

pub const RECIPES: &[Recipe] = &[
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
    teller.ask("DeleteLaunchTemplateVersions", &format!("{name}&LaunchTemplateVersion.1=1"));
    teller.ask("DeleteLaunchTemplate", name);
}
