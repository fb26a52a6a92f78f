//! AuthorizeSecurityGroupIngress.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::rules::{self, Flat};
use crate::error::Result;

pub fn authorize_security_group_ingress(
    tx: &mut Tx<Tenant>,
    req: ec2::AuthorizeSecurityGroupIngressRequest,
) -> Result<ec2::AuthorizeSecurityGroupIngressResult> {
    let ec2::AuthorizeSecurityGroupIngressRequest {
        cidr_ip: cidr,
        from_port,
        group_id,
        group_name,
        ip_permissions,
        ip_protocol: protocol,
        source_security_group_name: source_group_name,
        source_security_group_owner_id: source_group_owner,
        to_port,
        tag_specifications,
        dry_run: _,
    } = req;
    let group = rules::group(tx, group_id, group_name)?;
    let flat = Flat { protocol, from_port, to_port, cidr, source_group_name, source_group_owner };
    let drafts = rules::drafts(tx, &group, ip_permissions, flat)?;
    let security_group_rules = rules::authorize(tx, group, false, drafts, &tag_specifications)?;
    Ok(ec2::AuthorizeSecurityGroupIngressResult { r#return: Some(true), security_group_rules })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_rule_is_there_once_and_goes_as_it_came() {
        let mut cloud = Cloud::new();
        let groups = cloud.tenant("acme").call("DescribeSecurityGroups", &[]).expect("answers");
        let id = Cloud::ids(&groups, "groupId").remove(0);
        let ssh = [
            ("GroupId", id.as_str()),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "22"),
            ("IpPermissions.1.ToPort", "22"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "203.0.113.7/24"),
        ];
        let made = cloud.tenant("acme").call("AuthorizeSecurityGroupIngress", &ssh).expect("adds");
        assert_eq!(Cloud::ids(&made, "cidrIpv4"), ["203.0.113.0/24"], "the network, not the address");
        let refusal = cloud.tenant("acme").call("AuthorizeSecurityGroupIngress", &ssh).expect_err("twice");
        assert_eq!(
            refusal,
            "InvalidPermission.Duplicate: the specified rule \"peer: 203.0.113.0/24, TCP, from port: 22, to port: 22, ALLOW\" already exists"
        );
        cloud.tenant("acme").call("RevokeSecurityGroupIngress", &ssh).expect("removes");
        let told = cloud.tenant("acme").call("RevokeSecurityGroupIngress", &ssh).expect("is the default VPC's");
        assert!(told.contains("<unknownIpPermissionSet><item>") && !told.contains("securityGroupRuleId"), "{told}");
        let made = cloud.tenant("acme").call("CreateVpc", &[("CidrBlock", "10.9.0.0/16")]).expect("makes");
        let ask = [("GroupName", "g"), ("GroupDescription", "d"), ("VpcId", &Cloud::ids(&made, "vpcId")[0])];
        let made = cloud.tenant("acme").call("CreateSecurityGroup", &ask).expect("makes");
        let elsewhere = Cloud::ids(&made, "groupId").remove(0);
        let mut rule = ssh;
        rule[0].1 = &elsewhere;
        let refusal = cloud.tenant("acme").call("RevokeSecurityGroupIngress", &rule).expect_err("gone");
        assert_eq!(refusal, "InvalidPermission.NotFound: The specified rule does not exist in this security group.");
    }

    #[test]
    fn nonsense_is_refused_and_changes_nothing() {
        let mut cloud = Cloud::new();
        let groups = cloud.tenant("acme").call("DescribeSecurityGroups", &[]).expect("answers");
        let id = Cloud::ids(&groups, "groupId").remove(0);
        for (protocol, from, to, cidr, code) in [
            ("tcp", "22", "21", "0.0.0.0/0", "InvalidParameterValue"),
            ("tcp", "-2", "21", "0.0.0.0/0", "InvalidParameterValue"),
            ("tcp", "1", "70000", "0.0.0.0/0", "InvalidParameterValue"),
            ("tcp", "22", "22", "0.0.0.0/33", "InvalidParameterValue"),
            ("tcp", "22", "22", "::/0", "InvalidParameterValue"),
            ("xyz", "22", "22", "0.0.0.0/0", "InvalidParameterValue"),
            ("icmp", "-1", "3", "0.0.0.0/0", "InvalidParameterValue"),
        ] {
            let ask = [
                ("GroupId", id.as_str()),
                ("IpProtocol", protocol),
                ("FromPort", from),
                ("ToPort", to),
                ("CidrIp", cidr),
            ];
            let refusal = cloud.tenant("acme").call("AuthorizeSecurityGroupIngress", &ask).expect_err(protocol);
            assert!(refusal.starts_with(code), "{ask:?}: {refusal}");
        }
        let after = cloud.tenant("acme").call("DescribeSecurityGroups", &[]).expect("answers");
        assert_eq!(groups.len(), after.len());
    }
    #[test]
    fn a_request_has_no_rule_twice_and_a_group_no_more_than_sixty() {
        let mut cloud = Cloud::new();
        let group = cloud.tenant("acme").default_group();
        let ranges = |cidrs: &[String]| {
            let range = |(n, cidr): (usize, &String)| (format!("IpPermissions.1.IpRanges.{n}.CidrIp"), cidr.clone());
            cidrs.iter().enumerate().map(range).collect::<Vec<_>>()
        };
        let mut authorize = |cidrs: &[String]| {
            let ranges = ranges(cidrs);
            let mut ask = vec![("GroupId", group.as_str()), ("IpPermissions.1.IpProtocol", "-1")];
            ask.extend(ranges.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            cloud.tenant("acme").call("AuthorizeSecurityGroupIngress", &ask).map(|x| Cloud::ids(&x, "cidrIpv4").len())
        };
        let twice = authorize(&["10.0.0.0/8".into(), "10.1.2.3/8".into()]).expect_err("the same network");
        assert_eq!(twice, "InvalidParameterValue: The same permission must not appear multiple times");
        // The default group has one rule already.
        let some: Vec<_> = (0..60).map(|n| format!("10.{n}.0.0/16")).collect();
        let refusal = authorize(&some).expect_err("61");
        assert!(refusal.starts_with("RulesPerSecurityGroupLimitExceeded"), "{refusal}");
        assert_eq!(authorize(&some[1..]), Ok(59));
    }
}
