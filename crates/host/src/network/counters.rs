//! What taps have counted: the kernel does, from the moment that it made them, whoever of this program lives meanwhile.

use std::collections::HashMap;

use anyhow::Result;
use awan_model::plan::VpcPlan;
use awan_model::report::TrafficSeen;
use awan_model::traffic::Counters;
use serde_json::Value;

use super::netns;
use super::render::tap_name;

/// Those of a VPC's interfaces.
pub fn of(name: &str, plan: &VpcPlan) -> Result<Vec<TrafficSeen>> {
    let links = netns::inside(name, || netns::ip_json(&["-stats", "link", "show"]))?;
    let links: HashMap<_, _> = links.iter().filter_map(|link| Some((link["ifname"].as_str()?, link))).collect();
    let seen = plan.interfaces.iter().filter_map(|interface| {
        let link = links.get(tap_name(&interface.id).as_str())?;
        let (home, id, tap) = (plan.home.clone(), interface.id.clone(), link["ifalias"].as_str()?.to_owned());
        Some(TrafficSeen { home, id, tap, counters: counted(link)? })
    });
    Ok(seen.collect())
}

/// A name that no other tap ever has: those of interfaces come again, and so do indexes.
pub fn new_name() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// What a tap received is what its guest sent.
fn counted(link: &Value) -> Option<Counters> {
    let count = |way: &str, what: &str| link["stats64"][way][what].as_u64();
    Some(Counters {
        packets_in: count("tx", "packets")?,
        bytes_in: count("tx", "bytes")?,
        packets_out: count("rx", "packets")?,
        bytes_out: count("rx", "bytes")?,
    })
}

#[cfg(test)]
mod tests {
    use crate::network::lab::{Lab, interface};
    use crate::network::testing::vpc_plan;

    #[test]
    fn what_guests_send_and_receive_is_counted_for_as_long_as_their_taps_are_there() {
        let (a, b) = ("10.0.0.5", "10.0.0.6");
        let mut plan = vpc_plan();
        plan.groups[0].ingress = plan.groups[0].egress.clone();
        plan.interfaces = vec![interface(1, 1, a), interface(2, 1, b)];
        let Some(lab) = Lab::new(plan) else { return };
        let (sender, receiver) = (lab.udp(a, 7000), lab.udp(b, 7));
        let send = || (0..100).for_each(|_| lab.reaches(&sender, &receiver));
        let [before_a, before_b] = [0, 1].map(|n| lab.traffic()[n].clone());
        send();
        lab.apply();
        let [after_a, after_b] = [0, 1].map(|n| lab.traffic()[n].clone());
        // Each carries 8 bytes behind the headers of Ethernet, IP and UDP; ARP and the like come besides.
        let (packets, bytes) = (100, 100 * (14 + 20 + 8 + 8));
        let out = after_a.counters.packets_out - before_a.counters.packets_out;
        let sent = after_a.counters.bytes_out - before_a.counters.bytes_out;
        assert!((packets..packets + 20).contains(&out) && (bytes..bytes + 2_000).contains(&sent), "{out} {sent}");
        let into = after_b.counters.packets_in - before_b.counters.packets_in;
        let received = after_b.counters.bytes_in - before_b.counters.bytes_in;
        assert!((packets..packets + 20).contains(&into) && (bytes..bytes + 2_000).contains(&received));
        assert!(after_b.counters.packets_out < before_b.counters.packets_out + 20, "it has hardly spoken");
        assert_eq!((&before_a.tap, &before_b.tap), (&after_a.tap, &after_b.tap));
        assert_ne!(after_a.tap, after_b.tap);
    }
}
