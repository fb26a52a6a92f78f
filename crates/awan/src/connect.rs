//! Connections to guests by their public addresses, for a machine that has no way to those: where an ordinary user's
//! server keeps them in namespaces of its own, it dials for who asks at a socket file.
//!
//! One connection each: `ADDRESS:PORT` and a line feed; the answer `ok` and a line feed, or what went wrong; then bytes
//! in both directions.
//!
//! **Invariant:** whoever may open the socket file is the operator; the file's mode is the lock.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ipnet::Ipv4Net;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, copy,
    copy_bidirectional,
};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

const DIAL_WITHIN: Duration = Duration::from_secs(10);
const AFTER_ERROR: Duration = Duration::from_millis(50);
const LINE_MAX: u64 = 256;
const AT_ONCE: usize = 1024;

pub fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("connect.sock")
}

/// Dials addresses of a pool, and no others.
pub async fn serve(listener: UnixListener, pool: Ipv4Net) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    while let Ok(place) = places.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        };
        tokio::spawn(async move {
            let _ = join(BufReader::new(stream), pool).await;
            drop(place);
        });
    }
}

async fn join(mut asker: BufReader<UnixStream>, pool: Ipv4Net) -> Result<()> {
    let wanted = timeout(DIAL_WITHIN, line(&mut asker)).await??;
    match dial(&wanted, pool).await {
        Ok(mut guest) => {
            asker.write_all(b"ok\n").await?;
            copy_bidirectional(&mut asker, &mut guest).await?;
        }
        Err(e) => asker.write_all(format!("{e:#}\n").as_bytes()).await?,
    }
    Ok(())
}

async fn dial(wanted: &str, pool: Ipv4Net) -> Result<TcpStream> {
    let address: SocketAddrV4 = wanted.parse().with_context(|| format!("'{wanted}' is no ADDRESS:PORT"))?;
    if !pool.contains(address.ip()) {
        bail!("{} is no public address of an instance: they are in {pool}", address.ip());
    }
    let dialled = timeout(DIAL_WITHIN, TcpStream::connect(address)).await;
    dialled.with_context(|| format!("{address} does not answer"))?.with_context(|| format!("connecting to {address}"))
}

async fn line<S: AsyncRead + Unpin>(from: &mut BufReader<S>) -> Result<String> {
    let mut line = String::new();
    from.take(LINE_MAX).read_line(&mut line).await?;
    let whole = line.strip_suffix('\n').context("the other side said nothing")?;
    Ok(whole.to_owned())
}

/// Bytes to a guest and from it.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Through the server, where it dials; else by this machine's own network.
async fn reach(data_dir: &Path, to: SocketAddrV4) -> Result<Box<dyn Stream>> {
    let socket = socket(data_dir);
    if !socket.exists() {
        let stream = timeout(DIAL_WITHIN, TcpStream::connect(to)).await;
        let stream = stream.with_context(|| format!("{to} does not answer"))?;
        return Ok(Box::new(stream.with_context(|| format!("connecting to {to}"))?));
    }
    let stream = UnixStream::connect(&socket).await;
    let stream =
        stream.with_context(|| format!("no server answers at {}: is `awan serve` running?", socket.display()))?;
    let mut stream = BufReader::new(stream);
    stream.write_all(format!("{to}\n").as_bytes()).await?;
    let said = line(&mut stream).await?;
    if said == "ok" { Ok(Box::new(stream)) } else { bail!("{said}") }
}

/// This process's input and output become the connection. Over when the guest ends it.
pub async fn with_stdio(data_dir: &Path, to: SocketAddrV4) -> Result<()> {
    let (mut from_guest, mut to_guest) = tokio::io::split(reach(data_dir, to).await?);
    let sent = async {
        let _ = copy(&mut tokio::io::stdin(), &mut to_guest).await;
        let _ = to_guest.shutdown().await;
        std::future::pending::<()>().await;
    };
    let mut out = tokio::io::stdout();
    tokio::select! {
        received = copy(&mut from_guest, &mut out) => { received?; }
        () = sent => {}
    }
    out.flush().await.context("writing what the guest said")
}

/// Each connection to the listener becomes one to the guest, until this program is told to end.
pub async fn forward(data_dir: &Path, listener: TcpListener, to: SocketAddrV4) -> Result<()> {
    loop {
        let (mut stream, from) = listener.accept().await.context("accepting a connection")?;
        let data_dir = data_dir.to_owned();
        tokio::spawn(async move {
            match reach(&data_dir, to).await {
                Ok(mut guest) => {
                    let _ = copy_bidirectional(&mut stream, &mut guest).await;
                }
                Err(e) => complain(&format!("{from}: {e:#}")),
            }
        });
    }
}

#[expect(clippy::print_stderr, reason = "a command's words")]
fn complain(what: &str) {
    eprintln!("awan: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_addresses_of_the_pool_are_dialled() {
        let folder = tempfile::tempdir().expect("a folder");
        let guest = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let std::net::SocketAddr::V4(at) = guest.local_addr().expect("an address") else { panic!("IPv4") };
        let echo = async move {
            let (mut stream, _) = guest.accept().await.expect("a connection");
            let mut heard = [0; 4];
            stream.read_exact(&mut heard).await.expect("bytes");
            stream.write_all(&heard).await.expect("sends");
        };
        let echo = tokio::spawn(echo);
        let mut direct = reach(folder.path(), at).await.expect("no server dials for it");
        direct.write_all(b"here").await.expect("sends");
        let mut heard = Vec::new();
        direct.read_to_end(&mut heard).await.expect("hears");
        assert_eq!(heard, b"here");
        echo.await.expect("ends");

        let listener = UnixListener::bind(socket(folder.path())).expect("listens");
        tokio::spawn(serve(listener, "198.18.0.0/16".parse().expect("a network")));
        let refusal = reach(folder.path(), at).await.err().expect("refuses").to_string();
        assert_eq!(refusal, "127.0.0.1 is no public address of an instance: they are in 198.18.0.0/16");
    }

    #[tokio::test]
    async fn what_a_guest_says_goes_through_the_server() {
        let folder = tempfile::tempdir().expect("a folder");
        let guest = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let std::net::SocketAddr::V4(at) = guest.local_addr().expect("an address") else { panic!("IPv4") };
        let listener = UnixListener::bind(socket(folder.path())).expect("listens");
        tokio::spawn(serve(listener, "127.0.0.0/8".parse().expect("a network")));
        let door = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = door.local_addr().expect("an address");
        let data_dir = folder.path().to_owned();
        tokio::spawn(async move { forward(&data_dir, door, at).await });
        let mut asker = TcpStream::connect(port).await.expect("connects");
        asker.write_all(b"hello").await.expect("sends");
        asker.shutdown().await.expect("has said all");
        let (mut stream, _) = guest.accept().await.expect("a connection");
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.expect("hears all");
        stream.write_all(heard.to_uppercase().as_bytes()).await.expect("answers");
        drop(stream);
        let mut answer = String::new();
        asker.read_to_string(&mut answer).await.expect("hears all");
        assert_eq!(answer, "HELLO");
    }
}
