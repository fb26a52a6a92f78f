//! Brings a file from where a tenant says it is.
//!
//! **Invariants.** What a tenant names is never a place of this machine or of a private network, unless the operator permits
//! that place: addresses are looked at after names are resolved, what was looked at is what is connected
//! to, and each redirection is looked at anew. A source can neither fill the disk nor take for ever.

use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::header::{HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use nix::sys::statvfs::{Statvfs, fstatvfs, statvfs};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const REDIRECTIONS: usize = 5;
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// Between two parts of what is sent.
const SILENT_FOR: Duration = Duration::from_secs(30);
/// Of bytes, on the whole.
const LEAST_A_SECOND: u64 = 32 << 10;
const FETCHED_WITHIN: Duration = Duration::from_secs(4 * 60 * 60);
/// The disk is looked at again after so many bytes.
const LOOK_AFTER: u64 = 64 << 20;
/// So much of the disk is never taken.
const KEPT_FREE: u64 = 1 << 30;

/// What an operator permits.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// URLs that begin so may be at any address; each ends with a slash.
    pub permitted: Vec<String>,
    /// Where files may be taken from with `file:`.
    pub folder: Option<PathBuf>,
    /// The largest file that is fetched.
    pub bytes_max: u64,
}

/// Opens what a URL names, once it is here: a file of the operator's, or what was fetched into `place`.
pub async fn fetch(url: &str, rules: &Rules, place: &Path, told: impl Fn(u8) + Send) -> Result<File> {
    if let Some(path) = url.strip_prefix("file://") {
        return local(path, rules.folder.as_deref());
    }
    timeout(FETCHED_WITHIN, download(url, rules, place, told)).await.context("it took too long")??;
    File::open(place).context("reading what was fetched")
}

/// A file below the operator's folder, whatever links lead there.
fn local(path: &str, folder: Option<&Path>) -> Result<File> {
    const NONE: &str = "there is no such file that may be imported";
    let folder = folder.context("file: is not permitted here")?;
    let folder = folder.canonicalize().context(NONE)?;
    let path = Path::new(path).canonicalize().context(NONE)?;
    ensure!(path.starts_with(&folder) && path.is_file(), NONE);
    File::open(path).context(NONE)
}

async fn download(url: &str, rules: &Rules, place: &Path, told: impl Fn(u8) + Send) -> Result<()> {
    let mut url = url.to_owned();
    for _ in 0..=REDIRECTIONS {
        let response = ask(&url, rules).await?;
        let status = response.status().as_u16();
        match status {
            200 => return receive(response.into_body(), rules.bytes_max, place, told).await,
            301 | 302 | 303 | 307 | 308 => {
                let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
                let to = elsewhere(&url, to.context("it leads nowhere")?)?;
                // Who asked for proof gets no less.
                ensure!(
                    !url.starts_with("https:") || to.starts_with("https:"),
                    "it leads to where nobody proves who it is"
                );
                url = to;
            }
            _ => bail!("the server answered {status}"),
        }
    }
    bail!("it leads elsewhere again and again")
}

/// Where a redirection leads: a whole URL, or a path of the same server.
fn elsewhere(from: &str, to: &str) -> Result<String> {
    if to.starts_with('/') && !to.starts_with("//") {
        let uri: Uri = from.parse().context("this is no URL")?;
        let scheme = uri.scheme_str().context("this is no URL")?;
        return Ok(format!("{scheme}://{}{to}", uri.authority().context("this is no URL")?));
    }
    Ok(to.to_owned())
}

async fn ask(url: &str, rules: &Rules) -> Result<Response<Incoming>> {
    let uri: Uri = url.parse().context("this is no URL")?;
    let is_sealed = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => bail!("only http: and https: are understood"),
    };
    let authority = uri.authority().context("this is no URL")?.clone();
    ensure!(!authority.as_str().contains('@'), "a URL with a password is not understood");
    let port = authority.port_u16().unwrap_or(if is_sealed { 443 } else { 80 });
    let stream = connect(authority.host(), port, is_permitted(url, rules)).await?;
    if is_sealed {
        return ask_over(sealed(stream, authority.host()).await?, &uri, authority.as_str()).await;
    }
    ask_over(stream, &uri, authority.as_str()).await
}

/// Who answers proves to be who was asked, to one of those that this machine trusts.
async fn sealed(stream: TcpStream, host: &str) -> Result<TlsStream<TcpStream>> {
    let config = tokio::task::spawn_blocking(trust).await.context("the work ended early")??;
    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(name).context("this is no URL")?;
    let sealed = timeout(CONNECTED_WITHIN, TlsConnector::from(config).connect(name, stream)).await;
    sealed.context("the server does not answer")?.context("the server does not prove to be who it is")
}

fn trust() -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    ensure!(!roots.is_empty(), "this host trusts nobody: it has no certificates (ca-certificates)");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

async fn ask_over(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    uri: &Uri,
    host: &str,
) -> Result<Response<Incoming>> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, "awan-import")
        .body(Empty::<Bytes>::new())
        .context("this is no URL")?;
    let asked = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends when what it brings is not wanted any more.
        tokio::spawn(connection);
        sender.send_request(request).await
    };
    timeout(SILENT_FOR, asked).await.context("the server does not answer")?.context("the server speaks no HTTP")
}

/// A way up could lead out of what is permitted.
fn is_permitted(url: &str, rules: &Rules) -> bool {
    let plain = !url.contains("/.") && !url.contains('\\') && !url.to_ascii_lowercase().contains("%2e");
    plain && rules.permitted.iter().any(|prefix| url.starts_with(prefix))
}

async fn connect(host: &str, port: u16, anywhere: bool) -> Result<TcpStream> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = timeout(CONNECTED_WITHIN, tokio::net::lookup_host((host, port))).await;
    let found: Vec<SocketAddr> = found.context("its name is not found")?.context("its name is not found")?.collect();
    ensure!(
        anywhere || found.iter().all(|at| is_public(at.ip()) && !is_own(at.ip())),
        "its address may not be reached from here"
    );
    let mut last = None;
    for at in found {
        match timeout(CONNECTED_WITHIN, TcpStream::connect(at)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(e)) => last = Some(e),
            Err(_) => {}
        }
    }
    match last {
        Some(e) => Err(e).context("the server is not reached"),
        None => bail!("the server is not reached"),
    }
}

/// Whether an address is somebody's on the internet. Source: IANA's special-purpose address registries.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let benchmarks = a == 198 && (b == 18 || b == 19);
    let protocols = (a, b, c) == (192, 0, 0) || (a, b, c) == (192, 88, 99);
    let odd = ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_documentation();
    !(odd || shared || benchmarks || protocols || a == 0 || a >= 224)
}

/// Whether this machine has an address: nobody else's can be bound.
fn is_own(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// Of the only range that is given to anybody, without what leads into another.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    let protocols = a == 0x2001 && b < 0x200;
    let documentation = (a, b) == (0x2001, 0xdb8) || (a == 0x3fff && b < 0x1000);
    let through_v4 = a == 0x2002;
    (0x2000..0x4000).contains(&a) && !protocols && !documentation && !through_v4
}

async fn receive(mut body: Incoming, most: u64, place: &Path, told: impl Fn(u8) + Send) -> Result<()> {
    use hyper::body::Body as _;
    let expected = body.size_hint().exact();
    ensure!(expected.is_none_or(|length| length <= most), "the file is larger than {most} bytes");
    has_room(place, expected.unwrap_or(0))?;
    let mut file = File::create(place)?;
    let (mut got, mut looked, began) = (0_u64, 0, Instant::now());
    while let Some(frame) = timeout(SILENT_FOR, body.frame()).await.context("the server went silent")? {
        let frame = frame.context("the file ended too early")?;
        let Some(bytes) = frame.data_ref() else { continue };
        got += bytes.len() as u64;
        ensure!(got <= most, "the file is larger than {most} bytes");
        // Who drips keeps others waiting.
        let due = began.elapsed().saturating_sub(SILENT_FOR).as_secs() * LEAST_A_SECOND;
        ensure!(got >= due, "the server is too slow");
        if got - looked > LOOK_AFTER {
            has_room(place, 0)?;
            looked = got;
        }
        file.write_all(bytes)?;
        told(expected.map_or(0, |all| u8::try_from(got * 100 / all.max(1)).unwrap_or(100)));
    }
    ensure!(expected.is_none_or(|length| length == got), "the file ended too early");
    Ok(())
}

/// The disk that a file or folder is on has room, after so many bytes more.
pub fn has_room(place: &Path, bytes: u64) -> Result<()> {
    let folder = place.parent().unwrap_or(place);
    is_enough(&statvfs(folder).context("looking at the disk")?, bytes)
}

/// The same of the one that a file lies on.
pub fn leaves_room(file: &File, bytes: u64) -> Result<()> {
    is_enough(&fstatvfs(file).context("looking at the disk")?, bytes)
}

fn is_enough(disk: &Statvfs, bytes: u64) -> Result<()> {
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    if free.saturating_sub(bytes) < KEPT_FREE {
        return Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn an_address_of_this_machine_is_known_as_its_own() {
        assert!(is_own("127.0.0.1".parse().expect("an address")));
        assert!(!is_own("192.0.2.1".parse().expect("an address")));
    }

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        let no = "0.0.0.0 10.0.0.1 100.64.0.1 127.0.0.1 127.9.9.9 169.254.169.254 172.16.0.1 192.0.0.8 192.168.1.1 192.0.2.1 \
                  198.18.0.4 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 ::ffff:127.0.0.1 \
                  ::ffff:8.8.8.8 fe80::1 fc00::1 fd00:ec2::254 ff02::1 64:ff9b::7f00:1 2001::1 2001:db8::1 2002:7f00:1::";
        let yes = "8.8.8.8 1.1.1.1 172.32.0.1 100.128.0.1 198.20.0.1 2606:4700::1111 2a00:1450::1";
        for (addresses, expected) in [(no, false), (yes, true)] {
            for ip in addresses.split_whitespace() {
                assert_eq!(is_public(ip.parse().expect(ip)), expected, "{ip}");
            }
        }
    }

    /// Answers everybody with this, and counts them.
    async fn server(answer: impl Fn(&str) -> String + Send + 'static) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let port = listener.local_addr().expect("has an address").port();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let path = String::from_utf8_lossy(&head[..read]).split(' ').nth(1).unwrap_or_default().to_owned();
                let _ = stream.write_all(answer(&path).as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        (port, asked)
    }

    async fn tried(url: &str, rules: &Rules) -> Result<String, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut text = String::new();
        let file = fetch(url, rules, &folder.path().join("source"), |_| {}).await.map_err(|e| e.to_string());
        file?.read_to_string(&mut text).expect("reads");
        Ok(text)
    }

    #[tokio::test]
    async fn a_place_of_this_machine_is_reached_only_where_the_operator_permits_it() {
        let (port, asked) = server(|_| "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".into()).await;
        let rules = |permitted: &[String]| Rules { permitted: permitted.to_vec(), folder: None, bytes_max: 100 };
        let refused = Err("its address may not be reached from here".to_owned());
        for host in ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0"] {
            assert_eq!(tried(&format!("http://{host}:{port}/a"), &rules(&[])).await, refused, "{host}");
        }
        let base = format!("http://127.0.0.1:{port}/images/");
        let permitted = rules(std::slice::from_ref(&base));
        for path in ["../a", "%2e%2e/a", "x/./../../a"] {
            assert_eq!(tried(&format!("{base}{path}"), &permitted).await, refused, "{path}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0, "nobody was asked");
        assert_eq!(tried(&format!("{base}a"), &permitted).await, Ok("hi".into()));
        for (url, why) in [
            ("gopher://127.0.0.1/".to_owned(), "only http: and https: are understood"),
            ("file:///etc/passwd".into(), "file: is not permitted here"),
            (format!("http://x@127.0.0.1:{port}/"), "a URL with a password is not understood"),
        ] {
            assert_eq!(tried(&url, &permitted).await, Err(why.into()), "{url}");
        }
    }

    #[tokio::test]
    async fn a_redirection_is_looked_at_as_the_first_place_was() {
        let (inner, asked) = server(|_| "HTTP/1.1 200 OK\r\n\r\nsecret".into()).await;
        let (port, _) = server(move |path| match path {
            "/p/inside" => format!("HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:{inner}/\r\n\r\n"),
            "/p/round" => "HTTP/1.1 302 F\r\nLocation: /p/round\r\n\r\n".into(),
            "/p/near" => "HTTP/1.1 301 M\r\nLocation: /p/end\r\n\r\n".into(),
            "/p/end" => "HTTP/1.1 200 OK\r\n\r\nend".into(),
            "/p/short" => "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nend".into(),
            "/p/long" => format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(101)),
            "/p/announced" => "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n".into(),
            _ => "HTTP/1.1 404 Not Found\r\n\r\n".into(),
        })
        .await;
        let base = format!("http://127.0.0.1:{port}/p/");
        let rules = Rules { permitted: vec![base.clone()], folder: None, bytes_max: 100 };
        for (path, expected) in [
            ("inside", Err("its address may not be reached from here")),
            ("round", Err("it leads elsewhere again and again")),
            ("near", Ok("end")),
            ("short", Err("the file ended too early")),
            ("long", Err("the file is larger than 100 bytes")),
            ("announced", Err("the file is larger than 100 bytes")),
            ("absent", Err("the server answered 404")),
        ] {
            let told = tried(&format!("{base}{path}"), &rules).await;
            assert_eq!(told.as_deref().map_err(String::as_str), expected, "{path}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0, "what is inside was not asked");
    }

    #[tokio::test]
    async fn a_file_is_taken_only_from_the_operators_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = folder.path().join("images");
        std::fs::create_dir(&own).expect("makes");
        std::fs::write(own.join("a"), "mine").expect("writes");
        std::fs::write(folder.path().join("b"), "secret").expect("writes");
        std::os::unix::fs::symlink(folder.path().join("b"), own.join("link")).expect("links");
        let rules = Rules { permitted: Vec::new(), folder: Some(own.clone()), bytes_max: 100 };
        let url = |name: &str| format!("file://{}/{name}", own.display());
        assert_eq!(tried(&url("a"), &rules).await, Ok("mine".into()));
        for name in ["link", "../b", "none", ""] {
            let why = "there is no such file that may be imported".to_owned();
            assert_eq!(tried(&url(name), &rules).await, Err(why), "{name}");
        }
    }
}
