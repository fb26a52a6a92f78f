//! Asking other resolvers, from the agent's own namespace. The number of a question is made anew, so that a guest
//! cannot know which answer would be believed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// For each resolver: three of them take no longer than clients wait.
const WITHIN: Duration = Duration::from_secs(2);
const RESOLVERS_MAX: usize = 3;

/// How a question came, and so how long its answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Udp,
    Tcp,
}

pub async fn ask(resolvers: &[SocketAddr], question: &[u8], way: Way) -> Option<Vec<u8>> {
    let number: [u8; 2] = rand::random();
    let mut renumbered = question.to_vec();
    renumbered.get_mut(..2)?.copy_from_slice(&number);
    for resolver in resolvers.iter().take(RESOLVERS_MAX) {
        let one = async {
            match by_udp(*resolver, &renumbered).await {
                Ok(cut) if way == Way::Tcp && is_cut(&cut) => by_tcp(*resolver, &renumbered).await,
                other => other,
            }
        };
        if let Ok(Ok(mut answer)) = tokio::time::timeout(WITHIN, one).await {
            answer[..2].copy_from_slice(&question[..2]);
            return Some(answer);
        }
    }
    None
}

async fn by_udp(resolver: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = if resolver.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut answer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut answer).await?;
        if answers(&answer[..length], question) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn by_tcp(resolver: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    if answers(&answer, question) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// A whole header, the number of the question, and the mark of an answer (RFC 1035, 4.1.1).
fn answers(answer: &[u8], question: &[u8]) -> bool {
    answer.len() >= 12 && answer[..2] == question[..2] && answer[2] & 0x80 != 0
}

fn is_cut(answer: &[u8]) -> bool {
    answer[2] & 0x02 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_too_long_for_udp_is_fetched_by_tcp_for_those_who_came_by_tcp() {
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = tcp.local_addr().expect("an address");
        let udp = UdpSocket::bind(address).await.expect("the same port");
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            loop {
                let (_, from) = udp.recv_from(&mut buffer).await.expect("a question");
                udp.send_to(&[buffer[0], buffer[1], 0x82, 0, 0, 0, 0, 0, 0, 0, 0, 0], from).await.expect("sent");
            }
        });
        tokio::spawn(async move {
            let (mut stream, _) = tcp.accept().await.expect("a connection");
            let mut question = [0; 14];
            stream.read_exact(&mut question).await.expect("a question");
            let answer = [&[0, 13, question[2], question[3], 0x80][..], &[7; 10]].concat();
            stream.write_all(&answer).await.expect("sent");
        });
        let question = [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let cut = ask(&[address], &question, Way::Udp).await.expect("an answer");
        assert_eq!(cut, [1, 2, 0x82, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let whole = ask(&[address], &question, Way::Tcp).await.expect("an answer");
        assert_eq!(whole, [1, 2, 0x80, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]);
    }
}
