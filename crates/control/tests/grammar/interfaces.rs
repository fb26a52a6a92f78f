//! Requests about interfaces.

use super::{Recipe, Teller, text};

const ENI: (&str, &str) = ("NetworkInterfaceId", "<eni>");
const PRIVATE: &str = "172.31.0.77|172.31.0.78|172.31.16.9|10.0.0.1|x";

pub const RECIPES: &[Recipe] = &[
    (
        "AssignPrivateIpAddresses",
        &[ENI],
        &[
            ("SecondaryPrivateIpAddressCount", "1|2|60|-1"),
            ("PrivateIpAddress.1", PRIVATE),
            ("AllowReassignment", "true|false"),
        ],
    ),
    (
        "AttachNetworkInterface",
        &[ENI, ("InstanceId", "<i>"), ("DeviceIndex", "1|2|0|-1")],
        &[("NetworkCardIndex", "0|1")],
    ),
    (
        "CreateNetworkInterface",
        &[("SubnetId", "<subnet>")],
        &[
            ("Description", "text|"),
            ("PrivateIpAddress", PRIVATE),
            ("PrivateIpAddresses.1.PrivateIpAddress", PRIVATE),
            ("PrivateIpAddresses.1.Primary", "true|false"),
            ("SecondaryPrivateIpAddressCount", "1|3|60|-1"),
            ("SecurityGroupId.1", "<sg>"),
            ("ClientToken", "x|y|z"),
            ("InterfaceType", "interface|efa"),
            ("TagSpecification.1.ResourceType", "network-interface|instance"),
        ],
    ),
    (
        "DescribeNetworkInterfaceAttribute",
        &[ENI, ("Attribute", "attachment|description|groupSet|sourceDestCheck|associatePublicIpAddress|x")],
        &[],
    ),
    ("DetachNetworkInterface", &[("AttachmentId", "<eni-attach>")], &[("Force", "true|false")]),
    (
        "ModifyNetworkInterfaceAttribute",
        &[ENI],
        &[
            ("Description.Value", "text|"),
            ("SourceDestCheck.Value", "true|false"),
            ("SecurityGroupId.1", "<sg>"),
            ("Attachment.AttachmentId", "<eni-attach>"),
            ("Attachment.DeleteOnTermination", "true|false"),
        ],
    ),
    ("ResetNetworkInterfaceAttribute", &[ENI, ("SourceDestCheck", "true|x")], &[]),
    ("UnassignPrivateIpAddresses", &[ENI, ("PrivateIpAddress.1", PRIVATE)], &[("PrivateIpAddress.2", PRIVATE)]),
];

pub const WET: &[&str] = &["AssignPrivateIpAddresses", "UnassignPrivateIpAddresses"];

pub fn story(teller: &mut dyn Teller) {
    let ran = teller.ask("RunInstances", "ImageId=ami-51a7ed00000000000&MinCount=1&MaxCount=1");
    let (instance, subnet) = (text(&ran, "instanceId"), text(&ran, "subnetId"));
    teller.round();
    let made = teller.ask("CreateNetworkInterface", &format!("SubnetId={subnet}"));
    let eni = text(&made, "networkInterfaceId");
    let assigned =
        teller.ask("AssignPrivateIpAddresses", &format!("NetworkInterfaceId={eni}&SecondaryPrivateIpAddressCount=1"));
    let ip = text(&assigned, "privateIpAddress");
    let attach = format!("NetworkInterfaceId={eni}&InstanceId={instance}&DeviceIndex=1");
    let attachment = text(&teller.ask("AttachNetworkInterface", &attach), "attachmentId");
    teller.round();
    let keep = format!("NetworkInterfaceId={eni}&Attachment.AttachmentId={attachment}");
    teller.ask("ModifyNetworkInterfaceAttribute", &format!("{keep}&Attachment.DeleteOnTermination=true"));
    teller.ask("UnassignPrivateIpAddresses", &format!("NetworkInterfaceId={eni}&PrivateIpAddress.1={ip}"));
    teller.ask("DetachNetworkInterface", &format!("AttachmentId={attachment}"));
    teller.round();
    teller.ask("DeleteNetworkInterface", &format!("NetworkInterfaceId={eni}"));
}
