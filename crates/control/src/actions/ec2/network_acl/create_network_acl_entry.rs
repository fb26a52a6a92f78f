//! CreateNetworkAclEntry.

use awan_model::network_acl::NetworkAcl;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::entries::{self, Asked};
use crate::error::{Code, Result, missing, refuse};

pub fn create_network_acl_entry(tx: &mut Tx<Tenant>, req: ec2::CreateNetworkAclEntryRequest) -> Result<()> {
    let ec2::CreateNetworkAclEntryRequest {
        dry_run: _,
        network_acl_id,
        rule_number,
        protocol,
        rule_action,
        egress,
        cidr_block,
        ipv6_cidr_block,
        icmp_type_code,
        port_range,
    } = req;
    let acl = tx.get::<NetworkAcl>(&network_acl_id.ok_or_else(|| missing("NetworkAclId"))?.parse()?)?;
    let asked =
        Asked { cidr_block, egress, icmp_type_code, ipv6_cidr_block, port_range, protocol, rule_action, rule_number };
    let entry = asked.entry()?;
    let mut acl = (*acl).clone();
    let (egress, number) = (entry.egress, entry.number);
    if acl.entry(egress, number).is_some() {
        let message = format!("The network acl entry identified by {number} already exists.");
        return Err(refuse(Code::NetworkAclEntryAlreadyExists, message));
    }
    entries::add(&mut acl, entry)?;
    tx.put(acl);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn entries_stand_in_the_order_of_their_numbers() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeNetworkAcls", &[]).expect("answers");
        let acl = Cloud::ids(&shown, "networkAclId").pop().expect("one");
        let mut make = |number: &str, protocol: &str, more: &[(&str, &str)]| {
            let usual = [
                ("NetworkAclId", acl.as_str()),
                ("RuleNumber", number),
                ("Protocol", protocol),
                ("RuleAction", "deny"),
                ("Egress", "false"),
            ];
            let ask: Vec<_> = usual.into_iter().chain(more.iter().copied()).collect();
            cloud.tenant("acme").call("CreateNetworkAclEntry", &ask)
        };
        let net = ("CidrBlock", "192.0.2.7/24");
        make("200", "-1", &[net]).expect("makes");
        make("50", "6", &[net, ("PortRange.From", "22"), ("PortRange.To", "25")]).expect("makes");
        make("60", "icmp", &[net, ("Icmp.Type", "8"), ("Icmp.Code", "-1")]).expect("makes");
        make("70", "58", &[("Ipv6CidrBlock", "2001:db8::/32"), ("Icmp.Type", "-1"), ("Icmp.Code", "-1")])
            .expect("makes");
        for (number, protocol, more, expected) in [
            ("200", "-1", &[net][..], "NetworkAclEntryAlreadyExists: The network acl entry identified by 200 already"),
            ("0", "-1", &[net], "InvalidParameterValue: Value (0) for parameter ruleNumber"),
            ("32767", "-1", &[net], "InvalidParameterValue: Value (32767) for parameter ruleNumber"),
            ("1", "-1", &[], "MissingParameter"),
            ("1", "6", &[net], "MissingParameter: The request must contain the parameter PortRange"),
            ("1", "1", &[net], "MissingParameter: The request must contain the parameter IcmpTypeCode"),
            ("1", "300", &[net], "InvalidParameterValue: Value (300) for parameter protocol"),
            ("1", "6", &[net, ("PortRange.From", "9"), ("PortRange.To", "8")], "InvalidParameterValue: Invalid port"),
        ] {
            let refusal = make(number, protocol, more).expect_err(expected);
            assert!(refusal.starts_with(expected), "{refusal}");
        }
        let shown = cloud.tenant("acme").call("DescribeNetworkAcls", &[]).expect("answers");
        let numbers = Cloud::ids(&shown, "ruleNumber");
        assert_eq!(numbers, ["100", "32767", "50", "60", "70", "100", "200", "32767"]);
        assert!(shown.contains("<cidrBlock>192.0.2.0/24</cidrBlock>"), "{shown}");
        assert!(shown.contains("<portRange><from>22</from><to>25</to></portRange>"), "{shown}");
    }

    #[test]
    fn each_direction_of_each_family_has_room_for_19_beside_the_last() {
        let mut cloud = Cloud::new();
        let vpc = Cloud::ids(&cloud.tenant("acme").call("DescribeVpcs", &[]).expect("answers"), "vpcId").remove(0);
        let made = cloud.tenant("acme").call("CreateNetworkAcl", &[("VpcId", &vpc)]).expect("makes");
        let acl = Cloud::ids(&made, "networkAclId").remove(0);
        let mut put = |action: &str, number: usize, egress: &str, range: (&str, &str)| {
            let number = number.to_string();
            let ask = [
                ("NetworkAclId", acl.as_str()),
                ("RuleNumber", &number),
                ("Protocol", "-1"),
                ("RuleAction", "allow"),
                ("Egress", egress),
                range,
            ];
            cloud.tenant("acme").call(action, &ask)
        };
        let (v4, v6) = (("CidrBlock", "192.0.2.0/24"), ("Ipv6CidrBlock", "2001:db8::/32"));
        let full = "NetworkAclEntryLimitExceeded: The maximum number of network ACL entries has been reached.";
        for (egress, range, from) in [("true", v4, 1), ("true", v6, 100), ("false", v4, 1)] {
            for number in from..from + 19 {
                put("CreateNetworkAclEntry", number, egress, range).expect("has room");
            }
            assert_eq!(put("CreateNetworkAclEntry", 99, egress, range), Err(full.to_owned()));
        }
        put("ReplaceNetworkAclEntry", 7, "true", v4).expect("takes the old one's place");
        assert_eq!(put("ReplaceNetworkAclEntry", 7, "true", v6), Err(full.to_owned()));
    }
}
