//! AssociateDhcpOptions: another set of options for a VPC, or none. Guests learn of it when they renew their lease.

use awan_model::dhcp_options::DhcpOptions;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing};

pub fn associate_dhcp_options(tx: &mut Tx<Tenant>, req: ec2::AssociateDhcpOptionsRequest) -> Result<()> {
    let ec2::AssociateDhcpOptionsRequest { dhcp_options_id, vpc_id, dry_run: _ } = req;
    let dhcp_options = match dhcp_options_id.ok_or_else(|| missing("DhcpOptionsId"))?.as_str() {
        "default" => None,
        id => Some(tx.get::<DhcpOptions>(&id.parse()?)?.id.clone()),
    };
    let vpc = tx.get::<Vpc>(&vpc_id.ok_or_else(|| missing("VpcId"))?.parse()?)?;
    tx.put(Vpc { dhcp_options, ..(*vpc).clone() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use awan_model::plan::{DhcpIpv6Plan, DhcpPlan};
    use awan_state::System;

    use crate::plan;
    use crate::testing::Cloud;

    fn told(cloud: &Cloud) -> DhcpPlan {
        let plans = cloud.control.db.read(System, |tx| plan::all(tx, 1));
        plans.values().next().expect("a host").network.vpcs[0].dhcp.clone()
    }

    #[test]
    fn guests_are_told_what_their_vpc_has() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").run();
        let vpc = Cloud::ids(&cloud.tenant("acme").call("DescribeVpcs", &[]).expect("answers"), "vpcId").remove(0);
        assert!(told(&cloud).resolver && told(&cloud).domain_name == Some("ec2.internal".into()));
        let ask = [
            ("DhcpConfiguration.1.Key", "domain-name"),
            ("DhcpConfiguration.1.Value.1", "corp.example"),
            ("DhcpConfiguration.2.Key", "domain-name-servers"),
            ("DhcpConfiguration.2.Value.1", "192.0.2.1, 2001:db8::53"),
            ("DhcpConfiguration.3.Key", "ipv6-address-preferred-lease-time"),
            ("DhcpConfiguration.3.Value.1", "600"),
            ("DhcpConfiguration.4.Key", "ntp-servers"),
            ("DhcpConfiguration.4.Value.1", "2001:db8::123"),
        ];
        let made = cloud.tenant("acme").call("CreateDhcpOptions", &ask).expect("makes");
        let id = Cloud::ids(&made, "dhcpOptionsId").remove(0);
        let mut associate = |id: &str| {
            let ask = [("DhcpOptionsId", id), ("VpcId", vpc.as_str())];
            cloud.tenant("acme").call("AssociateDhcpOptions", &ask)
        };
        associate(&id).expect("associates");
        assert!(associate("dopt-00000000000000001").expect_err("absent").starts_with("InvalidDhcpOptionID.NotFound"));
        assert_eq!(told(&cloud).domain_name, Some("corp.example".into()));
        assert!(!told(&cloud).resolver && told(&cloud).name_servers.len() == 1);
        let ipv6 = DhcpIpv6Plan {
            name_servers: vec!["2001:db8::53".parse().expect("an address")],
            ntp_servers: vec!["2001:db8::123".parse().expect("an address")],
            preferred_s: Some(600),
        };
        assert_eq!((told(&cloud).ipv6, told(&cloud).ntp_servers), (ipv6, Vec::new()));
        let ask = [("DhcpOptionsId", "default"), ("VpcId", vpc.as_str())];
        cloud.tenant("acme").call("AssociateDhcpOptions", &ask).expect("associates none");
        assert_eq!(told(&cloud), DhcpPlan::default());
        let shown = cloud.tenant("acme").call("DescribeVpcs", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "dhcpOptionsId"), ["default"]);
        cloud.tenant("acme").call("DeleteDhcpOptions", &[("DhcpOptionsId", &id)]).expect("is free");
        cloud.audit();
    }
}
