//! What somebody changes by hand in a VPC's namespace, or at the edge, is as it was after the next look.

use awan_model::plan::{NatPlan, VpcPlan, Way};

use super::lab::{Lab, interface};
use super::testing::vpc_plan;
use super::{edge, netns};

/// Both families; the second subnet is led to a NAT gateway in the first.
fn network() -> VpcPlan {
    let mut plan = vpc_plan();
    plan.ipv6 = vec!["2001:db8:a00:100::/56".parse().expect("a network")];
    plan.subnets[0].ipv6 = "2001:db8:a00:101::/64".parse().ok();
    let mut second = plan.subnets[0].clone();
    second.id = "subnet-00000000000000002".parse().expect("an id");
    second.cidr = "10.0.1.0/24".parse().expect("a network");
    second.ipv6 = "2001:db8:a00:102::/64".parse().ok();
    let id: awan_model::id::NatGatewayId = "nat-00000000000000001".parse().expect("an id");
    second.ways[0].way = Way::Nat(id.clone());
    let (private_ip, public_ip) = ("10.0.0.9".parse().expect("an address"), "198.18.0.9".parse().ok());
    plan.nats.push(NatPlan { id, subnet: plan.subnets[0].id.clone(), private_ip, public_ip });
    plan.subnets.push(second);
    let (mut a, mut b) = (interface(1, 1, "10.0.0.5"), interface(2, 2, "10.0.1.5"));
    a.public_ip = "198.18.0.3".parse().ok();
    a.ipv6 = vec!["2001:db8:a00:101::a".parse().expect("an address")];
    b.ipv6 = vec!["2001:db8:a00:102::b".parse().expect("an address")];
    plan.interfaces = vec![a, b];
    plan
}

/// All that decides where packets go, without what the kernel counts.
fn shown() -> Vec<String> {
    let shown = [
        "nft -s list ruleset",
        "ip rule show",
        "ip -6 rule show",
        "ip route show table all",
        "ip -6 route show table all",
        "ip -o addr show dev lo",
        "ip -o link show",
        "ip neigh show nud permanent",
        "ip -6 neigh show nud permanent",
        "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv6.conf.all.disable_ipv6",
    ];
    let lines = shown.iter().flat_map(|command| {
        let mut words = command.split(' ');
        let program = words.next().expect("a program");
        let said = netns::feed(program, &words.collect::<Vec<_>>(), "").expect(command);
        // Who asked for a neighbour lately comes and goes.
        let lines = said.lines().filter(|line| !line.contains("limit rate over 10/second burst 50 packets"));
        let mut lines: Vec<String> = lines.map(|line| format!("{command}: {}", line.trim_end())).collect();
        // Elements of sets and neighbours are told in an order of the kernel's own.
        lines.sort();
        lines
    });
    lines.collect()
}

const IN_A_VPC: [&str; 24] = [
    "nft delete table inet vpc",
    "nft flush chain inet vpc guest_in",
    "nft insert rule inet vpc c_input accept",
    "nft add table inet vpc { chain open { type filter hook forward priority -30; accept; }; }",
    "nft delete table arp vpc",
    "ip route del default",
    "ip route replace blackhole default",
    "ip route del 10.0.0.5",
    "ip route del blackhole 10.0.0.0/16",
    "ip -6 route del 2001:db8:a00:101::a",
    "ip -6 route del blackhole 2001:db8:a00:100::/56",
    "ip rule del pref 100",
    "ip rule del pref 32766",
    "ip -6 rule del pref 100",
    "ip -6 rule del pref 201",
    "ip addr del 169.254.169.254/32 dev lo",
    "ip -6 addr del fd00:ec2::254/128 dev lo",
    "ip link set igw down",
    "ip link set tap00000a000005 down",
    "ip neigh del 169.254.241.1 dev igw",
    "ip neigh del 10.0.0.5 dev tap00000a000005",
    "ip -6 neigh del 2001:db8:a00:101::a dev tap00000a000005",
    "sysctl -w net.ipv4.ip_forward=0",
    "sysctl -w net.ipv6.conf.all.forwarding=0",
];

const AT_THE_EDGE: [&str; 10] = [
    "nft delete table inet edge",
    "nft flush chain inet edge c_forward",
    "nft insert rule inet edge c_forward accept",
    "nft delete table inet guard",
    "ip route del 198.18.0.3",
    "ip -6 route del 2001:db8:a00:101::a",
    "ip neigh del 169.254.241.2 dev LINK",
    "ip link set LINK down",
    "ip link set up0 down",
    "sysctl -w net.ipv4.ip_forward=0",
];

#[test]
fn what_is_changed_by_hand_is_as_it_was_after_the_next_look() {
    let Some(lab) = Lab::new(network()) else { return };
    // The plan is in force twice: what only the second look makes is no difference.
    lab.apply();
    let vpc = lab.namespace();
    let edge = format!("{}-edge", vpc.rsplit_once('-').expect("a tag").0);
    let link = edge::link_name(&lab.network().id);
    for (namespace, changes) in [(&vpc, IN_A_VPC.as_slice()), (&edge, &AT_THE_EDGE)] {
        let inside = |work: &(dyn Fn() + Sync)| {
            let done = netns::inside(namespace, || {
                work();
                Ok(shown())
            });
            done.expect("a namespace")
        };
        let before = inside(&|| ());
        for change in changes.iter().map(|change| change.replace("LINK", &link)) {
            let changed = inside(&|| {
                let words: Vec<&str> = change.split(' ').collect();
                netns::feed(words[0], &words[1..], "").unwrap_or_else(|e| panic!("{change}: {e:#}"));
            });
            assert_ne!(changed, before, "{change} changes something");
            lab.apply();
            let after = inside(&|| ());
            let gone: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
            let new: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
            assert!(gone.is_empty() && new.is_empty(), "{change}: gone {gone:#?}, new {new:#?}");
        }
    }
}
