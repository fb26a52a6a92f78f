//! What real packets leave in the logs.

use awan_model::group::{Peer, Traffic};
use awan_model::plan::{FlowLogPlan, RulePlan};

use super::*;
use crate::network::lab::{Lab, bound, interface};
use crate::network::testing::vpc_plan;

const A: &str = "10.0.0.5";
const B: &str = "10.0.0.6";

/// A table lets every datagram to port 7 in, and nothing else.
fn plan() -> VpcPlan {
    let mut plan = vpc_plan();
    let peer = Peer::Ipv4("0.0.0.0/0".parse().expect("a network"));
    plan.groups[0].ingress = vec![RulePlan { traffic: Traffic::Udp { from: 7, to: 7 }, peer }];
    plan.interfaces = vec![interface(1, 1, A), interface(2, 1, B)];
    plan
}

fn log(plan: &VpcPlan) -> FlowLogPlan {
    let fields = "instance-id srcaddr dstaddr dstport protocol packets bytes flow-direction action log-status";
    FlowLogPlan {
        id: "fl-00000000000000001".parse().expect("an id"),
        interfaces: plan.interfaces.iter().map(|i| i.id.clone()).collect(),
        accepted: true,
        rejected: true,
        interval_s: 60,
        fields: fields.split(' ').map(str::to_owned).collect(),
        group: None,
    }
}

fn written(folder: &std::path::Path) -> Vec<String> {
    let logs = folder.join("123456789012/fl-00000000000000001");
    let files = std::fs::read_dir(logs).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut lines: Vec<_> = files
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).expect("reads");
            text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn accepted_and_rejected_packets_of_both_ends_are_told_and_what_the_platform_serves_is_not() {
    let Some(mut lab) = Lab::new(plan()) else { return };
    let tables = |lab: &Lab| lab.vpc(|| netns::feed("nft", &["list", "tables"], "").expect("lists"));
    assert!(!tables(&lab).contains("inet flows"), "without a log there is nothing of it");
    let wanted = log(lab.network());
    lab.network_mut().flow_logs.push(wanted);
    lab.apply();
    let folder = tempfile::tempdir().expect("a folder");
    let logs = FlowLogs::new(folder.path().to_owned());
    logs.begin(&lab.network().id, 600);
    let poll = |lab: &Lab, now| logs.poll(&lab.namespace(), lab.network(), now, &BTreeSet::new()).expect("polls");
    let (a, seven, eight) = (lab.udp(A, 7000), lab.udp(B, 7), lab.guest(B).inside(|| bound(B, 8)));
    (0..3).for_each(|_| lab.reaches(&a, &seven));
    (0..2).for_each(|_| lab.is_lost(&a, &eight));
    lab.guest(A).inside(|| bound(A, 7001).send_to(b"?", "10.0.0.2:53").expect("asks the resolver"));
    poll(&lab, 610);
    // The scrub forgets nothing.
    lab.apply();
    assert_eq!(lab.differences(), Vec::<String>::new());
    lab.reaches(&a, &seven);
    poll(&lab, 660);
    let (one, two) = ("i-00000000000000001 10.0.0.5 10.0.0.6", "i-00000000000000002 10.0.0.5 10.0.0.6");
    // Behind the headers of IP and UDP are 8 bytes.
    let expected = [
        format!("{one} 7 17 4 144 egress ACCEPT OK"),
        format!("{one} 8 17 2 72 egress ACCEPT OK"),
        format!("{two} 7 17 4 144 ingress ACCEPT OK"),
        format!("{two} 8 17 2 72 ingress REJECT OK"),
    ];
    assert_eq!(written(folder.path()), expected);
    lab.network_mut().flow_logs.clear();
    lab.apply();
    assert!(!tables(&lab).contains("inet flows"));
}

#[test]
fn who_sends_to_ever_new_ports_takes_no_more_room_than_there_is_and_nobody_is_said_to_be_rejected_for_it() {
    let mut network = plan();
    network.groups[0].ingress = network.groups[0].egress.clone();
    let wanted = log(&network);
    network.flow_logs.push(wanted);
    let Some(lab) = Lab::new(network) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let logs = FlowLogs::new(folder.path().to_owned());
    logs.begin(&lab.network().id, 600);
    let (a, b) = (lab.udp(A, 7000), lab.udp(B, 60_000));
    for port in 1_000..1_000 + u16::try_from(FLOWS).expect("a number") + 1_000 {
        let _ = a.send_to(b"!", (B, port));
        if port % 64 == 0 {
            // What is sent faster than it is carried is lost before anybody counts it.
            lab.reaches(&a, &b);
        }
    }
    logs.poll(&lab.namespace(), lab.network(), 660, &BTreeSet::new()).expect("polls");
    let lines = written(folder.path());
    let with = |word: &str| lines.iter().filter(|line| line.contains(word)).count();
    let told = lines.iter().filter(|line| line.starts_with("i-00000000000000001") && line.contains("egress ACCEPT"));
    // The kernel makes room for many at once only when it has time for it.
    assert!((FLOWS / 8..=FLOWS).contains(&told.count()), "{} lines", lines.len());
    assert_eq!((with("REJECT"), with("SKIPDATA")), (0, 2));
    lab.reaches(&a, &b);
}
