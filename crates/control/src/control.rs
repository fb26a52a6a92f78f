//! One control process: its store, its hosts, and what it counts.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use awan_state::{Clock, Db, Entropy, Mode, Store, StoreError};
use ipnet::{Ipv4Net, Ipv6Net};

use crate::actions::ACTIONS;
use crate::hosts::Hosts;
use crate::journal;

/// What the operator chose when the server was started.
#[derive(Debug, Clone)]
pub struct Settings {
    pub regions: Vec<String>,
    pub zones_per_region: u8,
    pub public_pool: Ipv4Net,
    /// `None`: the one that there is, or one that is made up at the first start.
    pub ipv6_pool: Option<Ipv6Net>,
    /// The names of the master keys that there are; hosts make keys of new volumes with the first.
    pub master_keys: Vec<String>,
}

pub struct Control {
    pub db: Arc<Db>,
    pub hosts: Hosts,
    counters: Mutex<BTreeMap<(String, String), u64>>,
}

/// To be found without a look at each: every request is counted.
static NAMES: LazyLock<HashSet<&str>> = LazyLock::new(|| ACTIONS.iter().map(|action| action.name).collect());

impl Control {
    pub fn open(
        store: Box<dyn Store>,
        mode: Mode,
        clock: Arc<dyn Clock>,
        entropy: Arc<Entropy>,
    ) -> Result<Arc<Self>, StoreError> {
        let db = Arc::new(Db::open(store, mode, clock, entropy, journal::record)?);
        Ok(Arc::new(Self { db, hosts: Hosts::default(), counters: Mutex::default() }))
    }

    /// A UUID of version 4, as EC2's request ids are.
    pub fn request_id(&self) -> String {
        let mut b: [u8; 16] = self.db.entropy().bytes();
        b[6] = (b[6] & 0x0f) | 0x40;
        b[8] = (b[8] & 0x3f) | 0x80;
        let mut out = String::with_capacity(36);
        for (i, byte) in b.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                out.push('-');
            }
            let _ = write!(out, "{byte:02x}");
        }
        out
    }

    pub fn count(&self, action: &str, code: &str) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        // Names come from clients: only those of the table are kept apart.
        let action = if NAMES.contains(action) { action } else { "other" };
        *counters.entry((action.to_owned(), code.to_owned())).or_default() += 1;
    }

    /// Prometheus' text form.
    pub fn metrics(&self) -> String {
        let mut out = String::from("# TYPE awan_requests_total counter\n");
        for ((action, code), count) in &*self.counters.lock().unwrap_or_else(PoisonError::into_inner) {
            let code = if code.is_empty() { "OK" } else { code };
            let _ = writeln!(out, "awan_requests_total{{action=\"{action}\",code=\"{code}\"}} {count}");
        }
        let _ =
            writeln!(out, "# TYPE awan_store_revision gauge\nawan_store_revision {}", self.db.snapshot().revision());
        let refusing = u8::from(self.db.is_refusing());
        let _ = writeln!(out, "# TYPE awan_store_refusing gauge\nawan_store_refusing {refusing}");
        let _ = writeln!(out, "# TYPE awan_hosts_connected gauge\nawan_hosts_connected {}", self.hosts.connected());
        out
    }
}
