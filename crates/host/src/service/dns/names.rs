//! The names that a VPC's resolver knows by itself: those of the VPC's members, and no other tenant's.

use std::net::Ipv4Addr;

use awan_model::interface::{private_dns, public_dns};
use awan_model::plan::{Member, VpcPlan};
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::PTR;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use ipnet::Ipv4Net;

use crate::service::METADATA;

const TTL_S: u32 = 60;
/// What passes any link whole.
const UDP_PAYLOAD: u16 = 1232;

#[derive(Debug, PartialEq, Eq)]
enum Known {
    Addresses(Vec<Ipv4Addr>),
    Host(String),
    /// It exists and has no records.
    Folder,
    Nothing,
    Elsewhere,
}

pub fn head(asked: &Message) -> Message {
    let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
    answer.metadata.recursion_desired = asked.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    for query in &asked.queries {
        answer.add_query(query.clone());
    }
    // Who speaks EDNS is to be answered in it (RFC 6891, 6.1.1).
    if asked.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD).set_version(0);
        answer.set_edns(edns);
    }
    answer
}

/// The answer to a question about the VPC itself; none: it is about something else.
pub fn own(network: &VpcPlan, pool: Option<Ipv4Net>, asked: &Message) -> Option<Message> {
    let mut answer = head(asked);
    match records(network, pool, asked) {
        Ok(records) => {
            for record in records? {
                answer.add_answer(record);
            }
        }
        Err(code) => answer.metadata.response_code = code,
    }
    Some(answer)
}

fn records(network: &VpcPlan, pool: Option<Ipv4Net>, asked: &Message) -> Result<Option<Vec<Record>>, ResponseCode> {
    if asked.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    let [query] = asked.queries.as_slice() else { return Err(ResponseCode::FormErr) };
    if !network.dns_support || query.query_class() != DNSClass::IN {
        return Err(ResponseCode::Refused);
    }
    let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let (kind, all) = match known(network, pool, &name) {
        Known::Elsewhere => return Ok(None),
        Known::Nothing => return Err(ResponseCode::NXDomain),
        Known::Folder => return Ok(Some(Vec::new())),
        Known::Addresses(all) => (RecordType::A, all.into_iter().map(|ip| RData::A(ip.into())).collect()),
        Known::Host(host) => {
            let host = Name::from_ascii(format!("{host}.")).map_err(|_| ResponseCode::ServFail)?;
            (RecordType::PTR, vec![RData::PTR(PTR(host))])
        }
    };
    let fits = |query: &Query| query.query_type() == kind || query.query_type() == RecordType::ANY;
    let record = |data| Record::from_rdata(query.name().clone(), TTL_S, data);
    Ok(Some(if fits(query) { all.into_iter().map(record).collect() } else { Vec::new() }))
}

fn known(network: &VpcPlan, pool: Option<Ipv4Net>, name: &str) -> Known {
    if let Some(all) = network.endpoints.iter().find_map(|endpoint| endpoint.names.get(name)) {
        return Known::Addresses(all.clone());
    }
    // An endpoint's own names are nobody's outside.
    if label(name, &format!("{}.vpce.amazonaws.com", network.region)).is_some() {
        return Known::Nothing;
    }
    let domain = domain(&private_dns(Ipv4Addr::LOCALHOST, &network.region));
    if let Some(label) = label(name, &domain) {
        return private(network, label);
    }
    // Of other regions too, so that nobody outside is asked for them.
    if label(name, "compute.internal").is_some() {
        return Known::Nothing;
    }
    if let Some(label) = label(name, &self::domain(&public_dns(Ipv4Addr::LOCALHOST, &network.region))) {
        return public(network, pool, label);
    }
    name.strip_suffix(".in-addr.arpa").map_or(Known::Elsewhere, |labels| reverse(network, &domain, labels))
}

fn domain(host: &str) -> String {
    host.split_once('.').map_or(String::new(), |(_, domain)| domain.to_owned())
}

/// What stands before a domain: nothing, if it is the domain.
fn label<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    let before = name.strip_suffix(domain)?;
    if before.is_empty() { Some("") } else { before.strip_suffix('.') }
}

/// `ip-10-0-0-5`, with its prefix.
fn address_in(label: &str, prefix: &str) -> Option<Ipv4Addr> {
    label.strip_prefix(prefix)?.replace('-', ".").parse().ok()
}

fn private(network: &VpcPlan, label: &str) -> Known {
    match label {
        "" => Known::Folder,
        "instance-data" => Known::Addresses(vec![METADATA]),
        _ => match address_in(label, "ip-") {
            Some(ip) if member(network, |m| m.private_ip == ip).is_some() => Known::Addresses(vec![ip]),
            _ => Known::Nothing,
        },
    }
}

/// Inside its VPC, and where its peers were allowed it, a public name means the private address. Whether an address of another is in use is not told.
fn public(network: &VpcPlan, pool: Option<Ipv4Net>, label: &str) -> Known {
    let Some(ip) = address_in(label, "ec2-") else { return Known::Elsewhere };
    let beyond = || network.peers.iter().flat_map(|peer| &peer.members).find(|m| m.public_ip == Some(ip));
    match member(network, |m| network.dns_hostnames && m.public_ip == Some(ip)).or_else(beyond) {
        Some(member) => Known::Addresses(vec![member.private_ip]),
        None if pool.is_some_and(|pool| pool.contains(&ip)) => Known::Addresses(vec![ip]),
        None => Known::Elsewhere,
    }
}

fn reverse(network: &VpcPlan, domain: &str, labels: &str) -> Known {
    let labels: Vec<&str> = labels.split('.').rev().collect();
    let Ok(ip) = labels.join(".").parse::<Ipv4Addr>() else { return Known::Elsewhere };
    if ip == METADATA {
        Known::Host(format!("instance-data.{domain}"))
    } else if member(network, |m| m.private_ip == ip).is_some() {
        Known::Host(private_dns(ip, &network.region))
    } else if member(network, |m| network.dns_hostnames && m.public_ip == Some(ip)).is_some() {
        Known::Host(public_dns(ip, &network.region))
    } else if network.cidrs().any(|cidr| cidr.contains(&ip)) || ip.is_private() || ip.is_link_local() {
        // The host's own network is none of the guests' business.
        Known::Nothing
    } else {
        Known::Elsewhere
    }
}

fn member(network: &VpcPlan, is: impl Fn(&Member) -> bool) -> Option<&Member> {
    network.members.iter().find(|m| is(m))
}

#[cfg(test)]
mod tests {
    use awan_model::plan::EndpointPlan;
    use expect_test::expect;

    use super::*;
    use crate::network::testing::vpc_plan;

    fn question(name: &str, kind: RecordType) -> Message {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        question
    }

    fn said(network: &VpcPlan, question: &Message) -> String {
        let pool = Some("198.18.0.0/24".parse().expect("a network"));
        let Some(answer) = own(network, pool, question) else { return "elsewhere".into() };
        let texts = answer.answers.iter().map(|r| r.data.to_string());
        format!("{:?} {}", answer.metadata.response_code, texts.collect::<Vec<_>>().join(" ")).trim_end().into()
    }

    fn ask(network: &VpcPlan, questions: &[(&str, RecordType)]) -> String {
        let line =
            |(name, kind): &(&str, RecordType)| format!("{name} {kind}: {}", said(network, &question(name, *kind)));
        questions.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_vpcs_names_are_known_and_others_are_somebody_elses() {
        use RecordType::{A, AAAA, ANY, PTR};
        let answers = ask(
            &vpc_plan(),
            &[
                ("ip-10-0-0-5.ec2.internal.", A),
                ("IP-10-0-0-5.EC2.Internal.", A),
                ("ip-10-0-0-5.ec2.internal.", AAAA),
                ("ip-10-0-0-5.ec2.internal.", ANY),
                ("ip-10-0-0-6.ec2.internal.", A),
                ("x.ip-10-0-0-5.ec2.internal.", A),
                ("ip-10-0-0-05.ec2.internal.", A),
                ("ec2.internal.", A),
                ("notec2.internal.", A),
                ("ip-10-0-0-5.eu-west-1.compute.internal.", A),
                ("instance-data.ec2.internal.", A),
                ("ec2-198-18-0-3.compute-1.amazonaws.com.", A),
                ("ec2-198-18-0-9.compute-1.amazonaws.com.", A),
                ("ec2-203-0-113-9.compute-1.amazonaws.com.", A),
                ("5.0.0.10.in-addr.arpa.", PTR),
                ("6.0.0.10.in-addr.arpa.", PTR),
                ("3.0.18.198.in-addr.arpa.", PTR),
                ("1.1.168.192.in-addr.arpa.", PTR),
                ("254.169.254.169.in-addr.arpa.", PTR),
                ("8.8.8.8.in-addr.arpa.", PTR),
                ("example.com.", A),
                (".", A),
            ],
        );
        expect![[r#"
            ip-10-0-0-5.ec2.internal. A: NoError 10.0.0.5
            IP-10-0-0-5.EC2.Internal. A: NoError 10.0.0.5
            ip-10-0-0-5.ec2.internal. AAAA: NoError
            ip-10-0-0-5.ec2.internal. ANY: NoError 10.0.0.5
            ip-10-0-0-6.ec2.internal. A: NXDomain
            x.ip-10-0-0-5.ec2.internal. A: NXDomain
            ip-10-0-0-05.ec2.internal. A: NXDomain
            ec2.internal. A: NoError
            notec2.internal. A: elsewhere
            ip-10-0-0-5.eu-west-1.compute.internal. A: NXDomain
            instance-data.ec2.internal. A: NoError 169.254.169.254
            ec2-198-18-0-3.compute-1.amazonaws.com. A: NoError 10.0.0.5
            ec2-198-18-0-9.compute-1.amazonaws.com. A: NoError 198.18.0.9
            ec2-203-0-113-9.compute-1.amazonaws.com. A: elsewhere
            5.0.0.10.in-addr.arpa. PTR: NoError ip-10-0-0-5.ec2.internal.
            6.0.0.10.in-addr.arpa. PTR: NXDomain
            3.0.18.198.in-addr.arpa. PTR: NoError ec2-198-18-0-3.compute-1.amazonaws.com.
            1.1.168.192.in-addr.arpa. PTR: NXDomain
            254.169.254.169.in-addr.arpa. PTR: NoError instance-data.ec2.internal.
            8.8.8.8.in-addr.arpa. PTR: elsewhere
            example.com. A: elsewhere
            . A: elsewhere"#]]
        .assert_eq(&answers);
    }

    #[test]
    fn an_endpoints_names_mean_its_addresses_here_and_nothing_elsewhere() {
        use RecordType::{A, AAAA};
        let mut network = vpc_plan();
        let own = "vpce-00000000000000001.ec2.us-east-1.vpce.amazonaws.com";
        let ips: Vec<Ipv4Addr> = ["10.0.0.9", "10.0.1.9"].map(|ip| ip.parse().expect("an address")).into();
        let names = [own, "ec2.us-east-1.amazonaws.com"].map(|name| (name.to_owned(), ips.clone()));
        let id = "vpce-00000000000000001".parse().expect("an id");
        network.endpoints = vec![EndpointPlan { id, interfaces: Vec::new(), names: names.into() }];
        let asked = [(own, A), ("EC2.us-east-1.amazonaws.com.", A), ("ec2.us-east-1.amazonaws.com", AAAA)];
        let (others, there) = ([("sts.us-east-1.amazonaws.com", A), ("x.us-east-1.vpce.amazonaws.com", A)], &network);
        expect![[r#"
            vpce-00000000000000001.ec2.us-east-1.vpce.amazonaws.com A: NoError 10.0.0.9 10.0.1.9
            EC2.us-east-1.amazonaws.com. A: NoError 10.0.0.9 10.0.1.9
            ec2.us-east-1.amazonaws.com AAAA: NoError
            sts.us-east-1.amazonaws.com A: elsewhere
            x.us-east-1.vpce.amazonaws.com A: NXDomain"#]]
        .assert_eq(&ask(there, &[&asked[..], &others].concat()));
        assert_eq!(ask(&vpc_plan(), &asked[..1]), format!("{own} A: NXDomain"));
    }

    #[test]
    fn where_names_are_off_they_are_off() {
        let mut network = vpc_plan();
        network.dns_hostnames = false;
        let public = question("ec2-198-18-0-3.compute-1.amazonaws.com.", RecordType::A);
        assert_eq!(said(&network, &public), "NoError 198.18.0.3");
        network.dns_support = false;
        assert_eq!(said(&network, &public), "Refused");
        assert_eq!(said(&network, &question("example.com.", RecordType::A)), "Refused");
    }

    #[test]
    fn what_is_no_plain_question_is_refused() {
        let network = vpc_plan();
        let mut chaos = question("ip-10-0-0-5.ec2.internal.", RecordType::A);
        chaos.queries[0].set_query_class(DNSClass::CH);
        assert_eq!(said(&network, &chaos), "Refused");
        let mut update = question("ip-10-0-0-5.ec2.internal.", RecordType::A);
        update.metadata.op_code = OpCode::Update;
        assert_eq!(said(&network, &update), "NotImp");
        let mut two = question("ip-10-0-0-5.ec2.internal.", RecordType::A);
        two.add_query(two.queries[0].clone());
        assert_eq!(said(&network, &two), "FormErr");
        assert_eq!(said(&network, &Message::query()), "FormErr");
    }

    #[test]
    fn edns_is_answered_in_edns() {
        let mut asked = question("ip-10-0-0-5.ec2.internal.", RecordType::A);
        assert_eq!(head(&asked).edns, None);
        asked.set_edns(Edns::new());
        assert_eq!(head(&asked).edns.map(|e| e.max_payload()), Some(UDP_PAYLOAD));
    }
}
