//! IPv6 of VPCs: the installation's pool, of which each range is one VPC's, and what a first range brings with it.
//!
//! Source of the pool that is made up: RFC 4193. Its random part keeps two installations apart, on one machine or on
//! networks that are joined later; a fixed one could not.

use awan_model::group::{Peer, Rule, SecurityGroup, Traffic};
use awan_model::id::{RuleId, VpcCidrAssociationId, VpcId};
use awan_model::installation::Installation;
use awan_model::network_acl::{Entry, NetworkAcl};
use awan_model::route::{Destination, RouteTable};
use awan_model::vpc::{Ipv6Range, Vpc};
use awan_state::{Tenant, Tx};
use ipnet::{Ipv4Net, Ipv6Net};

use crate::error::{Code, Error, Result, refuse};

/// EC2's quota.
const RANGES_MAX: usize = 5;
const POOL_LENGTH: u8 = 40;

/// A private pool that nobody else is likely to have.
pub fn own_pool(random: [u8; 4]) -> Ipv6Net {
    let [a, b, c, d] = random;
    // fd00:ec2::/32 is EC2's own, for services beside guests.
    let a = if [a, b, c] == [0, 0x0e, 0xc2] { 1 } else { a };
    let first = [0xfd, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    Ipv6Net::new_assert(first.into(), POOL_LENGTH)
}

/// One more range for a VPC.
pub fn add_range(tx: &mut Tx<Tenant>, vpc: &Vpc) -> Result<(Vpc, Ipv6Range)> {
    if vpc.ipv6.len() >= RANGES_MAX {
        let message = format!("This network '{}' has met its maximum number of allowed CIDRs: {RANGES_MAX}", vpc.id);
        return Err(refuse(Code::CidrLimitExceeded, message));
    }
    let cidr = free_range(tx, &vpc.id)?;
    let id = VpcCidrAssociationId::made(tx.new_id(VpcCidrAssociationId::PREFIX));
    let range = Ipv6Range { id, cidr };
    let mut changed = vpc.clone();
    changed.ipv6.push(range.clone());
    tx.put(changed.clone());
    if vpc.ipv6.is_empty() {
        open_groups(tx, &vpc.id);
        open_default_acl(tx, &vpc.id);
    }
    Ok((changed, range))
}

/// From anywhere in the pool and once around. The first range is the routers' own.
fn free_range(tx: &mut Tx<Tenant>, vpc: &VpcId) -> Result<Ipv6Net> {
    let pool = tx.public::<Installation>(&Installation::ID.into()).and_then(|i| i.ipv6_pool);
    let pool = pool.ok_or_else(|| Error::fault("the installation has no pool of IPv6 ranges"))?;
    let tables = tx.list::<RouteTable>();
    let routes: Vec<_> = tables.iter().filter(|t| t.vpc == *vpc).flat_map(|t| &t.routes).collect();
    // The local route of a range may not hide another route: one to a range that another VPC had before, say.
    let hides = |range: &Ipv6Net| {
        routes.iter().any(|route| matches!(&route.destination, Destination::Ipv6(net) if range.contains(net)))
    };
    let count = 1_u128 << Vpc::IPV6_LENGTH.saturating_sub(pool.prefix_len());
    let last = count.saturating_sub(1).max(1);
    let from = u128::from(u64::from_be_bytes(tx.random())) % last;
    for n in (0..last).map(|n| 1 + (from + n) % last).take_while(|n| *n < count) {
        let first = u128::from(pool.network()) | (n << (128 - u32::from(Vpc::IPV6_LENGTH)));
        let range = Ipv6Net::new_assert(first.into(), Vpc::IPV6_LENGTH);
        let taken = tx.as_system(|tx| tx.lookup_everywhere(Vpc::BY_IPV6, &range.to_string()).is_some());
        if !taken && !hides(&range) {
            return Ok(range);
        }
    }
    Err(refuse(Code::InsufficientAddressCapacity, "Not enough available addresses to satisfy your request."))
}

/// Rules that let everything out, as each group has them at first.
pub fn let_out(tx: &mut Tx<Tenant>, ipv6: bool) -> Vec<Rule> {
    let peers = [Some(Peer::Ipv4(Ipv4Net::default())), ipv6.then(|| Peer::Ipv6(Ipv6Net::default()))];
    let mut rule = |peer| {
        let id = RuleId::made(tx.new_id(RuleId::PREFIX));
        Rule { id, egress: true, traffic: Traffic::All, peer, description: None }
    };
    peers.into_iter().flatten().map(&mut rule).collect()
}

/// Groups whose outbound rules nobody changed let out the other family too. Source: "Security groups for your VPC",
/// Amazon VPC User Guide.
fn open_groups(tx: &mut Tx<Tenant>, vpc: &VpcId) {
    for group in tx.list::<SecurityGroup>().iter().filter(|group| group.vpc == *vpc) {
        let out: Vec<_> = group.rules.iter().filter(|rule| rule.egress).collect();
        let untouched = matches!(&out[..], [Rule { traffic: Traffic::All, peer: Peer::Ipv4(net), .. }]
            if net.prefix_len() == 0);
        if untouched {
            let mut opened = (**group).clone();
            opened.rules.extend(let_out(tx, true).pop());
            tx.put(opened);
        }
    }
}

/// Source: "Default network ACL", Amazon VPC User Guide.
fn open_default_acl(tx: &mut Tx<Tenant>, vpc: &VpcId) {
    let found = tx.list::<NetworkAcl>().into_iter().find(|acl| acl.is_default && acl.vpc == *vpc);
    let Some(acl) = found else { return };
    let mut opened = (*acl).clone();
    for egress in [false, true] {
        let side: Vec<_> = acl.entries.iter().filter(|e| e.egress == egress).collect();
        if side == [&Entry::all(egress)] {
            opened.add(Entry::all_ipv6(egress));
        }
    }
    tx.put(opened);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Cloud;

    #[test]
    fn a_pool_that_is_made_up_is_private_and_not_that_of_ec2() {
        for (random, expected) in
            [([0x12, 0x34, 0x56, 0x78], "fd12:3456:7800::/40"), ([0, 0x0e, 0xc2, 7], "fd01:ec2:700::/40")]
        {
            assert_eq!(own_pool(random).to_string(), expected);
        }
    }

    #[test]
    fn a_range_that_was_given_back_is_anothers_and_none_is_given_twice() {
        let mut cloud = Cloud::new();
        // Of this pool three ranges can be given.
        let of = |pool: &str| crate::control::Settings {
            regions: vec!["us-east-1".into()],
            zones_per_region: 3,
            public_pool: "198.18.0.0/16".parse().expect("a network"),
            ipv6_pool: pool.parse().ok(),
            master_keys: Vec::new(),
        };
        let install = |cloud: &Cloud, pool: &str| {
            cloud.runtime.block_on(crate::operator::install(&cloud.control.db, &of(pool))).expect("starts").ipv6_pool
        };
        install(&cloud, "2001:db8::/54");
        let kept = install(&cloud, "");
        assert_eq!(kept, "2001:db8::/54".parse().ok(), "where nothing is said, it stays");
        let make = |cloud: &mut Cloud, account: &str| {
            let ask = [("CidrBlock", "10.0.0.0/16"), ("AmazonProvidedIpv6CidrBlock", "true")];
            cloud.tenant(account).call("CreateVpc", &ask)
        };
        let mut ranges = Vec::new();
        for account in ["acme", "other", "acme"] {
            ranges.extend(Cloud::ids(&make(&mut cloud, account).expect("makes"), "ipv6CidrBlock"));
        }
        ranges.sort();
        assert_eq!(ranges, ["2001:db8:0:100::/56", "2001:db8:0:200::/56", "2001:db8:0:300::/56"]);
        let refusal = make(&mut cloud, "acme").expect_err("none is left");
        assert!(refusal.starts_with("InsufficientAddressCapacity"), "{refusal}");
        cloud.audit();
        let shown = cloud
            .tenant("other")
            .call("DescribeVpcs", &[("Filter.1.Name", "is-default"), ("Filter.1.Value.1", "false")]);
        let vpc = Cloud::ids(&shown.expect("answers"), "vpcId").remove(0);
        cloud.tenant("other").call("DeleteVpc", &[("VpcId", &vpc)]).expect("deletes");
        make(&mut cloud, "acme").expect("it is free");
        cloud.audit();
    }
}
