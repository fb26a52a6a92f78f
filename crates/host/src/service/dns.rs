//! The VPC's resolver: names of its own, and the host's resolvers for all others.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use awan_model::interface::{private_dns, public_dns};
use awan_model::plan::VpcPlan;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::PTR;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use super::{Shared, View, current};

const TTL_S: u32 = 60;
const FORWARD_WITHIN: Duration = Duration::from_secs(3);
const TCP_WITHIN: Duration = Duration::from_secs(5);
/// Questions worked on at once, for each VPC.
const AT_ONCE: usize = 64;

/// The resolvers of the machine, from resolv.conf(5).
pub fn host_resolvers() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let of_line = |line: &str| line.strip_prefix("nameserver").and_then(|rest| rest.trim().parse().ok());
    text.lines().filter_map(of_line).map(|ip: std::net::IpAddr| SocketAddr::new(ip, 53)).collect()
}

pub async fn serve_udp(socket: UdpSocket, view: Shared) {
    let Ok(socket) = tokio::net::UdpSocket::from_std(socket) else { return };
    let (socket, limit) = (Arc::new(socket), Arc::new(Semaphore::new(AT_ONCE)));
    let mut buffer = [0; 1500];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let Ok(place) = limit.clone().try_acquire_owned() else { continue };
        let (question, socket, view) = (buffer[..length].to_vec(), socket.clone(), current(&view));
        tokio::spawn(async move {
            if let Some(answer) = answer(&view, &question).await {
                let _ = socket.send_to(&answer, from).await;
            }
            drop(place);
        });
    }
}

pub async fn serve_tcp(socket: TcpListener, view: Shared) {
    let Ok(socket) = tokio::net::TcpListener::from_std(socket) else { return };
    let limit = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok((mut stream, _)) = socket.accept().await else { continue };
        let Ok(place) = limit.clone().try_acquire_owned() else { continue };
        let view = current(&view);
        tokio::spawn(async move {
            let one = async {
                let length = stream.read_u16().await?;
                let mut question = vec![0; usize::from(length)];
                stream.read_exact(&mut question).await?;
                let answer = answer(&view, &question).await.unwrap_or_default();
                stream.write_u16(u16::try_from(answer.len()).unwrap_or(0)).await?;
                stream.write_all(&answer).await
            };
            let _ = tokio::time::timeout(TCP_WITHIN, one).await;
            drop(place);
        });
    }
}

async fn answer(view: &View, question: &[u8]) -> Option<Vec<u8>> {
    let asked = Message::from_vec(question).ok()?;
    let network = view.network()?;
    if let Some(own) = own(network, &asked) {
        return own.to_vec().ok();
    }
    forward(&view.resolvers, question).await.or_else(|| {
        let mut failed = head(&asked);
        failed.metadata.response_code =
            if view.resolvers.is_empty() { ResponseCode::NXDomain } else { ResponseCode::ServFail };
        failed.to_vec().ok()
    })
}

fn head(asked: &Message) -> Message {
    let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
    answer.metadata.recursion_desired = asked.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    for query in &asked.queries {
        answer.add_query(query.clone());
    }
    answer
}

/// The answer to a question about the VPC itself; none: it is about something else.
pub fn own(network: &VpcPlan, asked: &Message) -> Option<Message> {
    let query = asked.queries.first()?;
    let name = query.name().to_string().trim_end_matches('.').to_ascii_lowercase();
    let mut answer = head(asked);
    if !network.dns_support {
        answer.metadata.response_code = ResponseCode::Refused;
        return Some(answer);
    }
    if let Some(ip) = address(network, &name) {
        if query.query_type() == RecordType::A {
            answer.add_answer(Record::from_rdata(query.name().clone(), TTL_S, RData::A(ip.into())));
        }
        return Some(answer);
    }
    if let Some(host) = reverse(network, &name) {
        if let (RecordType::PTR, Ok(host)) = (query.query_type(), Name::from_ascii(format!("{host}."))) {
            answer.add_answer(Record::from_rdata(query.name().clone(), TTL_S, RData::PTR(PTR(host))));
        }
        return Some(answer);
    }
    let internal = domain(network);
    if name.ends_with(&internal) || name.ends_with(".compute.internal") {
        answer.metadata.response_code = ResponseCode::NXDomain;
        return Some(answer);
    }
    None
}

/// `.ec2.internal`
fn domain(network: &VpcPlan) -> String {
    let any = private_dns(Ipv4Addr::LOCALHOST, &network.region);
    any.split_once('.').map_or(String::new(), |(_, rest)| format!(".{rest}"))
}

fn address(network: &VpcPlan, name: &str) -> Option<Ipv4Addr> {
    if name == format!("instance-data{}", domain(network)) {
        return Some(Ipv4Addr::new(169, 254, 169, 254));
    }
    let of = |m: &&awan_model::plan::Member| {
        let public = m.public_ip.filter(|_| network.dns_hostnames).map(|ip| public_dns(ip, &network.region));
        private_dns(m.private_ip, &network.region) == name || public.as_deref() == Some(name)
    };
    network.members.iter().find(of).map(|m| m.private_ip)
}

fn reverse(network: &VpcPlan, name: &str) -> Option<String> {
    let digits: Vec<&str> = name.strip_suffix(".in-addr.arpa")?.split('.').rev().collect();
    let ip: Ipv4Addr = digits.join(".").parse().ok()?;
    network.members.iter().find(|m| m.private_ip == ip).map(|m| private_dns(m.private_ip, &network.region))
}

async fn forward(resolvers: &[SocketAddr], question: &[u8]) -> Option<Vec<u8>> {
    for resolver in resolvers.iter().take(3) {
        let one = async {
            let any: SocketAddr = if resolver.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
            let socket = tokio::net::UdpSocket::bind(any).await.ok()?;
            socket.connect(resolver).await.ok()?;
            socket.send(question).await.ok()?;
            let mut answer = vec![0; 4096];
            let length = socket.recv(&mut answer).await.ok()?;
            answer.truncate(length);
            (answer.get(..2) == question.get(..2)).then_some(answer)
        };
        if let Ok(Some(answer)) = tokio::time::timeout(FORWARD_WITHIN, one).await {
            return Some(answer);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Query;

    use super::*;
    use crate::network::testing::vpc_plan;

    fn ask(name: &str, kind: RecordType) -> Option<Vec<String>> {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        let answer = own(&vpc_plan(), &question)?;
        let texts = answer.answers.iter().map(|r| r.data.to_string());
        Some(
            texts
                .chain(
                    (answer.metadata.response_code != ResponseCode::NoError)
                        .then(|| format!("{:?}", answer.metadata.response_code)),
                )
                .collect(),
        )
    }

    #[test]
    fn the_vpcs_names_are_known_and_others_are_somebody_elses() {
        assert_eq!(ask("ip-10-0-0-5.ec2.internal.", RecordType::A), Some(vec!["10.0.0.5".into()]));
        assert_eq!(ask("ip-10-0-0-6.ec2.internal.", RecordType::A), Some(vec!["NXDomain".into()]));
        assert_eq!(ask("ec2-198-18-0-3.compute-1.amazonaws.com.", RecordType::A), Some(vec!["10.0.0.5".into()]));
        assert_eq!(ask("5.0.0.10.in-addr.arpa.", RecordType::PTR), Some(vec!["ip-10-0-0-5.ec2.internal.".into()]));
        assert_eq!(ask("ip-10-0-0-5.ec2.internal.", RecordType::AAAA), Some(vec![]));
        assert_eq!(ask("example.com.", RecordType::A), None);
    }
}
