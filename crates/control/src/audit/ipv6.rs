//! IPv6: each range is one VPC's, each subnet's lies in its VPC's and upon no other, each address in its subnet's.

use std::collections::{BTreeSet, HashMap};

use awan_model::id::SubnetId;
use awan_model::interface::NetworkInterface;
use awan_model::subnet::Subnet;
use awan_model::vpc::Vpc;
use awan_state::{System, Tx};

pub fn check(tx: &mut Tx<System>, out: &mut Vec<String>) {
    let vpcs: HashMap<_, _> = tx.all::<Vpc>().into_iter().map(|vpc| (vpc.id.clone(), vpc)).collect();
    let mut ranges: Vec<_> = vpcs.values().flat_map(|vpc| &vpc.ipv6).map(|range| range.cidr).collect();
    // In order, a range that overlaps another overlaps its neighbour.
    ranges.sort_unstable();
    for pair in ranges.windows(2).filter(|pair| pair[0].contains(&pair[1])) {
        out.push(format!("IPv6 range {}: two VPCs have it", pair[1]));
    }
    let taken = tx.held(Vpc::BY_IPV6).len();
    if taken != ranges.len() {
        out.push(format!("IPv6 ranges: {taken} are taken, {} are VPCs'", ranges.len()));
    }
    let mut within = HashMap::new();
    let mut subnets = Vec::new();
    for subnet in tx.all::<Subnet>() {
        let Some(cidr) = subnet.ipv6.as_ref().map(|range| range.cidr) else { continue };
        if !vpcs.get(&subnet.vpc).is_some_and(|vpc| vpc.ipv6.iter().any(|range| range.cidr.contains(&cidr))) {
            out.push(format!("{}: {cidr} lies outside its VPC", subnet.id));
        }
        subnets.push((subnet.vpc.clone(), cidr));
        within.insert(subnet.id.clone(), subnet);
    }
    subnets.sort_unstable();
    for pair in subnets.windows(2).filter(|pair| pair[0].0 == pair[1].0 && pair[0].1.contains(&pair[1].1)) {
        out.push(format!("{}: the subnets {} and {} overlap", pair[0].0, pair[0].1, pair[1].1));
    }
    addresses(tx, &within, out);
}

fn addresses(tx: &mut Tx<System>, subnets: &HashMap<SubnetId, std::sync::Arc<Subnet>>, out: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for eni in tx.all::<NetworkInterface>() {
        let range = subnets.get(&eni.subnet).and_then(|subnet| subnet.ipv6.as_ref());
        for ip in &eni.ipv6 {
            if !range.is_some_and(|range| range.is_usable(*ip)) {
                out.push(format!("{}: has the address {ip}, which its subnet has not", eni.id));
            }
            if !seen.insert(*ip) {
                out.push(format!("{}: shares its address {ip}", eni.id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::always;
    use crate::error::Error;
    use crate::testing::Cloud;

    #[test]
    fn what_lies_outside_or_is_held_twice_is_a_difference() {
        let mut cloud = Cloud::new();
        let ((_, subnet), range) = cloud.tenant("acme").ipv6_subnet();
        let ask = [("SubnetId", subnet.as_str()), ("Ipv6AddressCount", "1")];
        for _ in 0..2 {
            cloud.tenant("acme").call("CreateNetworkInterface", &ask).expect("makes");
        }
        cloud.audit();
        let broken = cloud.control.db.transact(System, "test", |tx| {
            for eni in tx.all::<NetworkInterface>() {
                let ipv6 = ["2001:db8::1".parse().map_err(Error::fault)?].into();
                tx.act_for_tenant(&eni.home, |tx| tx.put(NetworkInterface { ipv6, ..(*eni).clone() }));
            }
            for vpc in tx.all::<Vpc>() {
                tx.act_for_tenant(&vpc.home, |tx| tx.put(Vpc { ipv6: Vec::new(), ..(*vpc).clone() }));
            }
            Ok::<_, Error>(())
        });
        // Two interfaces of one subnet cannot have one address, so they are not both changed.
        assert!(cloud.runtime.block_on(broken).is_err());
        let broken = cloud.control.db.transact(System, "test", |tx| {
            for (n, eni) in tx.all::<NetworkInterface>().into_iter().enumerate() {
                let ipv6 = [format!("2001:db8::{n}").parse().map_err(Error::fault)?].into();
                tx.act_for_tenant(&eni.home, |tx| tx.put(NetworkInterface { ipv6, ..(*eni).clone() }));
            }
            for vpc in tx.all::<Vpc>() {
                tx.act_for_tenant(&vpc.home, |tx| tx.put(Vpc { ipv6: Vec::new(), ..(*vpc).clone() }));
            }
            Ok::<_, Error>(())
        });
        cloud.runtime.block_on(broken).expect("breaks");
        let wrong = cloud.control.db.read(System, always);
        assert_eq!(wrong.iter().filter(|w| w.ends_with("which its subnet has not")).count(), 2, "{wrong:?}");
        assert!(wrong.contains(&format!("{subnet}: {range} lies outside its VPC")), "{wrong:?}");
    }
}
