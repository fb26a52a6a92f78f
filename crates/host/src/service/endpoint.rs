//! VPC endpoints: what guests send to an endpoint's address goes to this cloud's API as it is, and the answer comes
//! back.
//!
//! Who may connect is the rules' to say, before anything gets here.
//!
//! **Invariants.** A connection leads to the API and to nothing else: its other end is no address that anybody could
//! choose. A guest that opens many, or says nothing, keeps no other from the API. An endpoint that is gone has ended
//! its connections.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use awan_model::Home;
use awan_model::id::EndpointId;
use awan_model::plan::VpcPlan;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::AFTER_ERROR;
use super::places::Places;
use super::tasks::{Group, Tasks};
use crate::driver::Fut;

/// HTTP's and HTTPS's.
const PORTS: [u16; 2] = [80, 443];
/// Connections at once, for each guest and for each VPC.
const AT_ONCE: (usize, usize) = (64, 512);
const DIAL_WITHIN: Duration = Duration::from_secs(5);
/// A connection ends on which nothing was said for so long.
const IDLE: Duration = Duration::from_secs(60);
const PIECE: usize = 16 * 1024;

/// The endpoint that a connection comes through.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Door {
    pub home: Home,
    pub endpoint: EndpointId,
}

pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A host's way to this cloud's API.
pub trait Api: Debug + Send + Sync {
    fn dial<'a>(&'a self, door: &'a Door) -> Fut<'a, Result<Box<dyn Duplex>>>;
}

/// Those of one VPC.
pub(super) struct Endpoints {
    places: Places,
    served: BTreeMap<(Door, Ipv4Addr), Group>,
}

impl Endpoints {
    pub fn new() -> Self {
        Self { places: Places::new(AT_ONCE.0, AT_ONCE.1), served: BTreeMap::new() }
    }

    /// Serves those of a plan, and no others. `path`: the VPC's namespace.
    pub fn update(&mut self, network: &VpcPlan, path: &str, runtime: &Handle, api: &Arc<dyn Api>) -> Result<()> {
        let wanted = network.endpoints.iter().flat_map(|endpoint| {
            let door = Door { home: network.home.clone(), endpoint: endpoint.id.clone() };
            endpoint.interfaces.iter().map(move |i| (door.clone(), i.private_ip))
        });
        let wanted: Vec<_> = wanted.collect();
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.served).into_iter().partition(|(at, group)| wanted.contains(at) && group.whole());
        self.served = kept;
        gone.into_values().for_each(Group::end);
        for at in wanted {
            if !self.served.contains_key(&at) {
                let listeners = crate::network::netns::inside(path, || open(at.1))?;
                let group = self.serve(listeners, &at.0, runtime, api);
                self.served.insert(at, group);
            }
        }
        Ok(())
    }

    fn serve(&self, listeners: Vec<TcpListener>, door: &Door, runtime: &Handle, api: &Arc<dyn Api>) -> Group {
        let (tasks, mut group) = Tasks::new(runtime.clone());
        for listener in listeners {
            let work = listen(listener, door.clone(), api.clone(), self.places.clone(), tasks.clone());
            group.keep(tasks.spawn(work));
        }
        group
    }

    pub fn end(self) {
        self.served.into_values().for_each(Group::end);
    }
}

fn open(ip: Ipv4Addr) -> Result<Vec<TcpListener>> {
    let listener = |port: &u16| {
        let listener = TcpListener::bind((ip, *port)).with_context(|| format!("serving an endpoint at {ip}:{port}"))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    PORTS.iter().map(listener).collect()
}

async fn listen(listener: TcpListener, door: Door, api: Arc<dyn Api>, places: Places, tasks: Tasks) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    loop {
        let Ok((guest, from)) = listener.accept().await else {
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        };
        let IpAddr::V4(from) = from.ip() else { continue };
        let Some(place) = places.take(u32::from(from)) else { continue };
        let (door, api) = (door.clone(), api.clone());
        tasks.spawn(async move {
            match timeout(DIAL_WITHIN, api.dial(&door)).await {
                Ok(Ok(api)) => drop(join(guest, api).await),
                Ok(Err(e)) => tracing::warn!(endpoint = %door.endpoint, error = format!("{e:#}"), "the API is away"),
                Err(_) => tracing::warn!(endpoint = %door.endpoint, "the API does not answer"),
            }
            drop(place);
        });
    }
}

/// Until both sides have said all, or one of them is silent for too long.
async fn join(guest: impl Duplex, api: impl Duplex) -> io::Result<()> {
    let (from_guest, to_guest) = tokio::io::split(guest);
    let (from_api, to_api) = tokio::io::split(api);
    tokio::try_join!(carry(from_guest, to_api), carry(from_api, to_guest)).map(drop)
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = timeout(IDLE, from.read(&mut piece)).await??;
        if length == 0 {
            return to.shutdown().await;
        }
        timeout(IDLE, to.write_all(&piece[..length])).await??;
        to.flush().await?;
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Says through which endpoint somebody came, and then what they say.
    #[derive(Debug)]
    pub struct Echo;

    impl Api for Echo {
        fn dial<'a>(&'a self, door: &'a Door) -> Fut<'a, Result<Box<dyn Duplex>>> {
            Box::pin(async {
                let (near, far) = tokio::io::duplex(PIECE);
                let (mut from, mut to) = tokio::io::split(far);
                to.write_all(format!("{}\n", door.endpoint).as_bytes()).await?;
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                    let _ = to.shutdown().await;
                });
                Ok(Box::new(near) as Box<dyn Duplex>)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_one_side_says_the_other_hears_until_the_end() {
        let (guest, near) = tokio::io::duplex(64);
        let (far, mut api) = tokio::io::duplex(64);
        let joined = tokio::spawn(join(near, far));
        let (mut from, mut to) = tokio::io::split(guest);
        to.write_all(b"a question").await.expect("sends");
        to.shutdown().await.expect("has no more");
        let mut heard = String::new();
        api.read_to_string(&mut heard).await.expect("hears");
        assert_eq!(heard, "a question");
        let answering = tokio::spawn(async move { api.write_all(&[7; 100_000]).await });
        let mut answer = Vec::new();
        from.read_to_end(&mut answer).await.expect("hears");
        answering.await.expect("ends").expect("answers");
        assert_eq!(answer, [7; 100_000]);
        joined.await.expect("ends").expect("well");
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_cut_off() {
        let (mut guest, near) = tokio::io::duplex(64);
        let (far, _api) = tokio::io::duplex(64);
        let joined = join(near, far).await;
        assert_eq!(joined.expect_err("it is silent").kind(), io::ErrorKind::TimedOut);
        assert_eq!(guest.read(&mut [0; 1]).await.expect("is told"), 0);
    }
}
