//! Requests about interfaces.

use super::{Recipe, Teller, text};

const ENI: (&str, &str) = ("NetworkInterfaceId", "<eni>");
const PRIVATE: &str = "172.31.0.77|172.31.0.78|172.31.16.9|10.0.0.1|x";

const IPV6: &str = "2001:db8:a00:100::7|::1|10.0.0.1|x";

pub const RECIPES: &[Recipe] = &[
    (
        "AssignIpv6Addresses",
        &[ENI],
        &[("Ipv6AddressCount", "1|2|60|-1"), ("Ipv6Addresses.1", IPV6), ("Ipv6PrefixCount", "0|1")],
    ),
    ("UnassignIpv6Addresses", &[ENI, ("Ipv6Addresses.1", IPV6)], &[("Ipv6Addresses.2", IPV6)]),
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
            ("Ipv6AddressCount", "0|1|60|-1"),
            ("Ipv6Addresses.1.Ipv6Address", IPV6),
            ("SecurityGroupId.1", "<sg>"),
            ("ClientToken", "x|y|z"),
            ("InterfaceType", "interface|efa"),
            ("TagSpecification.1.ResourceType", "network-interface|instance"),
        ],
    ),
    (
        "DescribeAddressesAttribute",
        &[],
        &[("AllocationId.1", "<eipalloc>"), ("Attribute", "domain-name|x"), ("MaxResults", "1|0|1001")],
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
    ("DescribeSecurityGroupReferences", &[("GroupId.1", "<sg>")], &[("GroupId.2", "<sg>")]),
    ("DescribeStaleSecurityGroups", &[("VpcId", "<vpc>")], &[("MaxResults", "5|1|256")]),
    (
        "GetSecurityGroupsForVpc",
        &[("VpcId", "<vpc>")],
        &[("Filter.1.Name", "group-id|group-name|colour"), ("Filter.1.Value.1", "<sg>|*"), ("MaxResults", "5|1001")],
    ),
    (
        "ModifyAddressAttribute",
        &[("AllocationId", "<eipalloc>"), ("DomainName", "mail.example.com|host|-a.b|a.example.com.")],
        &[],
    ),
    (
        "ModifySecurityGroupRules",
        &[("GroupId", "<sg>"), ("SecurityGroupRule.1.SecurityGroupRuleId", "<sgr>")],
        &[
            ("SecurityGroupRule.1.SecurityGroupRule.IpProtocol", "tcp|udp|-1|icmp|47"),
            ("SecurityGroupRule.1.SecurityGroupRule.FromPort", "22|80|-1"),
            ("SecurityGroupRule.1.SecurityGroupRule.ToPort", "22|80|-1"),
            ("SecurityGroupRule.1.SecurityGroupRule.CidrIpv4", "10.0.0.0/8|192.0.2.7/32"),
            ("SecurityGroupRule.1.SecurityGroupRule.CidrIpv6", "2001:db8::/32|::/0"),
            ("SecurityGroupRule.1.SecurityGroupRule.PrefixListId", "<pl>"),
            ("SecurityGroupRule.1.SecurityGroupRule.ReferencedGroupId", "<sg>"),
            ("SecurityGroupRule.1.SecurityGroupRule.Description", "from home|"),
        ],
    ),
    ("ResetAddressAttribute", &[("AllocationId", "<eipalloc>"), ("Attribute", "domain-name|x")], &[]),
    ("ResetNetworkInterfaceAttribute", &[ENI, ("SourceDestCheck", "true|x")], &[]),
    ("UnassignPrivateIpAddresses", &[ENI, ("PrivateIpAddress.1", PRIVATE)], &[("PrivateIpAddress.2", PRIVATE)]),
    (
        "UpdateSecurityGroupRuleDescriptionsEgress",
        &[("GroupId", "<sg>"), ("SecurityGroupRuleDescription.1.SecurityGroupRuleId", "<sgr>")],
        &[("SecurityGroupRuleDescription.1.Description", "from home|")],
    ),
    (
        "UpdateSecurityGroupRuleDescriptionsIngress",
        &[("GroupId", "<sg>"), ("SecurityGroupRuleDescription.1.SecurityGroupRuleId", "<sgr>")],
        &[("SecurityGroupRuleDescription.1.Description", "from home|")],
    ),
];

pub const WET: &[&str] =
    &["AssignIpv6Addresses", "AssignPrivateIpAddresses", "UnassignIpv6Addresses", "UnassignPrivateIpAddresses"];

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
    rules(teller);
}

fn rules(teller: &mut dyn Teller) {
    let made = teller.ask("CreateSecurityGroup", "GroupName=story&GroupDescription=text");
    let group = text(&made, "groupId");
    for side in ["Ingress", "Egress"] {
        let rule = "IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=7&IpPermissions.1.ToPort=7";
        let rule = format!("GroupId={group}&{rule}&IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0/8");
        let added = teller.ask(&format!("AuthorizeSecurityGroup{side}"), &rule);
        let id = text(&added, "securityGroupRuleId");
        let described = format!("GroupId={group}&SecurityGroupRuleDescription.1.SecurityGroupRuleId={id}");
        teller.ask(&format!("UpdateSecurityGroupRuleDescriptions{side}"), &described);
        let other = "SecurityGroupRule.1.SecurityGroupRule.IpProtocol=-1&SecurityGroupRule.1.SecurityGroupRule.CidrIpv4=10.0.0.0/8";
        let change = format!("GroupId={group}&SecurityGroupRule.1.SecurityGroupRuleId={id}&{other}");
        teller.ask("ModifySecurityGroupRules", &change);
        teller.ask(&format!("RevokeSecurityGroup{side}"), &format!("GroupId={group}&SecurityGroupRuleId.1={id}"));
    }
    teller.ask("DeleteSecurityGroup", &format!("GroupId={group}"));
}
