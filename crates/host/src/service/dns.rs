//! The VPC's resolver: names of its own, and the host's resolvers for all others.

mod forward;
mod names;

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use self::forward::Way;
use super::places::{Place, Places};
use super::tasks::Tasks;
use super::{AFTER_ERROR, Shared, View, current};

const TCP_WITHIN: Duration = Duration::from_secs(10);
/// Questions worked on at once, for each guest and for each VPC.
const AT_ONCE: (usize, usize) = (64, 512);

/// The resolvers of the machine, from resolv.conf(5).
pub fn host_resolvers() -> Vec<SocketAddr> {
    resolvers(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

fn resolvers(text: &str) -> Vec<SocketAddr> {
    let of_line = |line: &str| line.strip_prefix("nameserver")?.trim().parse().ok();
    text.lines().filter_map(of_line).map(|ip: IpAddr| SocketAddr::new(ip, 53)).collect()
}

pub fn places() -> Places {
    Places::new(AT_ONCE.0, AT_ONCE.1)
}

fn place(places: &Places, from: SocketAddr) -> Option<Place> {
    match from.ip() {
        IpAddr::V4(ip) => places.take(u32::from(ip)),
        IpAddr::V6(ip) => places.take(u128::from(ip)),
    }
}

pub async fn serve_udp(socket: UdpSocket, view: Shared, places: Places, tasks: Tasks) {
    let Ok(socket) = tokio::net::UdpSocket::from_std(socket).map(Arc::new) else { return };
    let mut buffer = [0; 1500];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        };
        let Some(place) = place(&places, from) else { continue };
        let (question, socket, view) = (buffer[..length].to_vec(), socket.clone(), current(&view));
        tasks.spawn(async move {
            if let Some(answer) = answer(&view, &question, Way::Udp).await {
                let _ = socket.send_to(&answer, from).await;
            }
            drop(place);
        });
    }
}

pub async fn serve_tcp(socket: TcpListener, view: Shared, places: Places, tasks: Tasks) {
    let Ok(socket) = tokio::net::TcpListener::from_std(socket) else { return };
    loop {
        let Ok((stream, from)) = socket.accept().await else {
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        };
        let Some(place) = place(&places, from) else { continue };
        let view = view.clone();
        tasks.spawn(async move {
            let _ = tokio::time::timeout(TCP_WITHIN, questions(stream, view)).await;
            drop(place);
        });
    }
}

/// One after the other, until the client has no more (RFC 7766).
async fn questions(mut stream: TcpStream, view: Shared) -> std::io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut question = vec![0; usize::from(length)];
        stream.read_exact(&mut question).await?;
        let answer = answer(&current(&view), &question, Way::Tcp).await;
        let Some((answer, length)) = answer.and_then(|a| u16::try_from(a.len()).ok().map(|n| (a, n))) else {
            return Ok(());
        };
        stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await?;
    }
}

/// None for what is no question: an answer to it could begin an endless talk.
async fn answer(view: &View, question: &[u8], way: Way) -> Option<Vec<u8>> {
    let asked = Message::from_vec(question).ok()?;
    if asked.metadata.message_type != MessageType::Query {
        return None;
    }
    if let Some(own) = names::own(view.network()?, view.plan.network.public_pool, &asked) {
        return own.to_vec().ok();
    }
    if let Some(answer) = forward::ask(&view.resolvers, question, way).await {
        return Some(answer);
    }
    let mut failed = names::head(&asked);
    // Where nobody could be asked, nothing but the VPC's names exists.
    failed.metadata.response_code =
        if view.resolvers.is_empty() { ResponseCode::NXDomain } else { ResponseCode::ServFail };
    failed.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::str::FromStr as _;

    use hickory_proto::op::Query;
    use hickory_proto::rr::{Name, RecordType};
    use proptest::prelude::*;
    use tokio::net::UdpSocket;

    use super::*;
    use crate::hypervisor::testing::plan;
    use crate::network::testing::vpc_plan;

    fn view(resolvers: Vec<SocketAddr>) -> View {
        let mut plan = plan(Vec::new());
        plan.network.vpcs.push(vpc_plan());
        let vpc = plan.network.vpcs[0].id.clone();
        View { plan: Arc::new(plan), vpc, taps: BTreeMap::new(), resolvers }
    }

    fn question(name: &str) -> Message {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_str(name).expect("a name"), RecordType::A));
        question
    }

    async fn code(view: &View, question: &Message) -> ResponseCode {
        let answer = answer(view, &question.to_vec().expect("bytes"), Way::Udp).await.expect("an answer");
        let answer = Message::from_vec(&answer).expect("a message");
        assert_eq!((answer.metadata.id, &answer.queries), (question.metadata.id, &question.queries));
        answer.metadata.response_code
    }

    /// Answers one question: first with a wrong number, then rightly.
    async fn resolver(code: ResponseCode) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            let (length, from) = socket.recv_from(&mut buffer).await.expect("a question");
            let asked = Message::from_vec(&buffer[..length]).expect("a message");
            let mut answer = names::head(&asked);
            answer.metadata.id = asked.metadata.id.wrapping_add(1);
            socket.send_to(&answer.to_vec().expect("bytes"), from).await.expect("sent");
            answer.metadata.id = asked.metadata.id;
            answer.metadata.response_code = code;
            socket.send_to(&answer.to_vec().expect("bytes"), from).await.expect("sent");
        });
        address
    }

    #[tokio::test]
    async fn what_is_not_the_vpcs_is_asked_elsewhere_and_only_where_there_is_an_elsewhere() {
        let foreign = question("example.com.");
        assert_eq!(code(&view(vec![]), &foreign).await, ResponseCode::NXDomain);
        let deaf = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a closed port");
        assert_eq!(code(&view(vec![deaf]), &foreign).await, ResponseCode::ServFail);
        let there = resolver(ResponseCode::NotAuth).await;
        assert_eq!(code(&view(vec![deaf, there]), &foreign).await, ResponseCode::NotAuth);
        assert_eq!(code(&view(vec![deaf]), &question("ip-10-0-0-5.ec2.internal.")).await, ResponseCode::NoError);
    }

    #[tokio::test]
    async fn an_answer_is_not_answered() {
        let mut message = question("ip-10-0-0-5.ec2.internal.");
        message.metadata.message_type = MessageType::Response;
        assert_eq!(answer(&view(vec![]), &message.to_vec().expect("bytes"), Way::Udp).await, None);
    }

    #[test]
    fn resolvers_are_read_as_the_machine_reads_them() {
        let text = "# nameserver 192.0.2.9\nsearch example.com\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 \nnameserver x\n";
        assert_eq!(resolvers(text), ["192.0.2.1:53", "[2001:db8::1]:53"].map(|a| a.parse().expect("an address")));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), change in 0_usize..40, to: u8) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let _ = runtime.block_on(answer(&view(vec![]), &bytes, Way::Udp));
            let mut bytes = question("ip-10-0-0-5.ec2.internal.").to_vec().expect("bytes");
            if let Some(byte) = bytes.get_mut(change) {
                *byte = to;
            }
            let _ = runtime.block_on(answer(&view(vec![]), &bytes, Way::Udp));
        }
    }
}
