//! How this process finds its store and its hardware. Flags and `AWAN_…` variables override `awan.toml`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Deserialize;

use crate::rootless::Inside;

const OVERCOMMIT: u32 = 32;

macro_rules! options {
    ($($(#[$doc:meta])* $field:ident: $type:ty, $env:literal;)*) => {
        /// What can be said on the command line, in the environment, and in the file.
        #[derive(Debug, Clone, Default, Args, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
        pub struct Options {
            /// A file with these options as keys [default: DIR/awan.toml]
            #[arg(long, env = "AWAN_CONFIG")]
            #[serde(skip)]
            pub config: Option<PathBuf>,
            $($(#[$doc])* #[arg(long, env = $env)] pub $field: Option<$type>,)*
            /// A region to serve; may be given several times [default: us-east-1]
            #[arg(long, env = "AWAN_REGION", value_delimiter = ',')]
            pub region: Vec<String>,
            /// Disks may be imported from URLs that begin so, wherever they lead: http://ADDR/PATH/; several times. Others
            /// only from public addresses
            #[arg(long, env = "AWAN_IMPORT_FROM", value_delimiter = ',')]
            pub import_from: Vec<String>,
        }

        impl Options {
            /// These, and for what they leave open, those.
            fn or(self, file: Self) -> Self {
                let region = if self.region.is_empty() { file.region } else { self.region };
                let import_from = if self.import_from.is_empty() { file.import_from } else { self.import_from };
                Self { config: self.config, region, import_from, $($field: self.$field.or(file.$field),)* }
            }
        }
    };
}

options! {
    /// Everything Awan keeps [default: /var/lib/awan, else ~/.local/share/awan]
    data_dir: PathBuf, "AWAN_DATA_DIR";
    /// The API endpoint [default: 127.0.0.1:8773]
    listen: SocketAddr, "AWAN_LISTEN";
    /// /metrics, /healthz, /readyz [default: 127.0.0.1:8774]
    metrics_listen: SocketAddr, "AWAN_METRICS_LISTEN";
    /// Where hosts join (awan control) [default: 127.0.0.1:8775]
    hosts_listen: SocketAddr, "AWAN_HOSTS_LISTEN";
    /// Availability zones a region shows [default: 3]
    zones: u8, "AWAN_ZONES";
    /// auto, kvm, tcg or simulated [default: auto]
    hypervisor: String, "AWAN_HYPERVISOR";
    /// For simulated: hosts [default: 1]
    sim_hosts: u32, "AWAN_SIM_HOSTS";
    /// For simulated: how long a boot takes, in milliseconds [default: 20]
    sim_boot_ms: u64, "AWAN_SIM_BOOT_MS";
    /// sqlite:PATH or memory [default: sqlite:DIR/state.db]
    store: String, "AWAN_STORE";
    /// Pool of elastic and public addresses [default: 198.18.0.0/16]
    public_cidr: String, "AWAN_PUBLIC_CIDR";
    /// How public addresses reach the world: masquerade, routed, proxy:INTERFACE or none [default: masquerade]
    uplink: String, "AWAN_UPLINK";
    /// Pool of the IPv6 ranges of VPCs [default: a private /40, made up once]
    public_ipv6_cidr: String, "AWAN_PUBLIC_IPV6_CIDR";
    /// text or json [default: text]
    log_format: String, "AWAN_LOG_FORMAT";
    /// Images of this host [default: DIR/images]
    images_dir: PathBuf, "AWAN_IMAGES_DIR";
    /// The master keys of encrypted volumes, which is made if it is not there; keep a copy elsewhere [default: DIR-master.key]
    master_key: PathBuf, "AWAN_MASTER_KEY";
    /// A folder that disks may be imported from as file:///DIR/NAME [default: none]
    import_dir: PathBuf, "AWAN_IMPORT_DIR";
    /// A folder that images are exported to, as DIR/ACCOUNT/BUCKET/PREFIX...: folders that you make are the buckets [default:
    /// none]
    export_dir: PathBuf, "AWAN_EXPORT_DIR";
    /// The largest file that is imported, in GiB [default: 64]
    import_gib: u64, "AWAN_IMPORT_GIB";
    /// The control plane that a host joins: http://ADDR:PORT (awan host)
    join: String, "AWAN_JOIN";
    /// The file that holds the token hosts join with [default: DIR/join-token]
    join_token_file: PathBuf, "AWAN_JOIN_TOKEN_FILE";
    /// This host's name [default: the machine's]
    host_name: String, "AWAN_HOST_NAME";
    /// The availability zone that this host stands in; * for all [default: *]
    host_zone: String, "AWAN_HOST_ZONE";
    /// Virtual CPUs offered for each core [default: 32]
    cpu_overcommit: u32, "AWAN_CPU_OVERCOMMIT";
    /// Seconds that a guest may take to power off [default: 30]
    shutdown_grace: u64, "AWAN_SHUTDOWN_GRACE";
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    Memory,
    Sqlite(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hypervisor {
    Real(awan_host::hypervisor::probe::Wanted),
    Simulated,
}

/// The options with their defaults.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub metrics_listen: SocketAddr,
    pub hosts_listen: SocketAddr,
    pub regions: Vec<String>,
    pub zones: u8,
    pub hypervisor: Hypervisor,
    pub sim_hosts: u32,
    pub sim_boot: Duration,
    pub store: Store,
    pub public_pool: ipnet::Ipv4Net,
    pub uplink: awan_host::network::driver::Uplink,
    pub ipv6_pool: Option<ipnet::Ipv6Net>,
    pub json_log: bool,
    pub images_dir: PathBuf,
    pub master_key: PathBuf,
    pub import: awan_host::import::fetch::Rules,
    pub export_dir: Option<PathBuf>,
    pub join: Option<String>,
    pub join_token_file: PathBuf,
    pub host_name: String,
    pub host_zone: String,
    pub cpu_overcommit: u32,
    pub shutdown_grace: Duration,
    /// Present where this is an ordinary user's server, in namespaces of its own.
    pub rootless: Option<Inside>,
}

pub fn default_data_dir() -> PathBuf {
    let root = nix::unistd::Uid::effective().is_root();
    match std::env::var_os("HOME").filter(|_| !root) {
        Some(home) => Path::new(&home).join(".local/share/awan"),
        None => PathBuf::from("/var/lib/awan"),
    }
}

/// Beside the data directory: who gets hold of that has no key.
pub fn default_master_key(data_dir: &Path) -> PathBuf {
    let mut name = data_dir.file_name().unwrap_or("awan".as_ref()).to_owned();
    name.push("-master.key");
    data_dir.with_file_name(name)
}

impl Options {
    pub fn resolve(self) -> Result<Config> {
        let data_dir = std::path::absolute(self.data_dir.clone().unwrap_or_else(default_data_dir))?;
        let path = self.config.clone().unwrap_or_else(|| data_dir.join("awan.toml"));
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).with_context(|| format!("reading {}", path.display()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && self.config.is_none() => Self::default(),
            Err(e) => return Err(e).with_context(|| format!("reading {}", path.display())),
        };
        self.or(file).with_defaults(data_dir)
    }

    fn with_defaults(self, data_dir: PathBuf) -> Result<Config> {
        let address =
            |given: Option<SocketAddr>, port| given.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)));
        let regions = if self.region.is_empty() { vec!["us-east-1".to_owned()] } else { self.region };
        for region in &regions {
            let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if region.is_empty() || region.len() > 32 || !region.bytes().all(fine) {
                bail!("'{region}' is no name for a region: lower case letters, digits and hyphens");
            }
        }
        let zones = self.zones.unwrap_or(3);
        if !(1..=16).contains(&zones) {
            bail!("a region has 1 to 16 zones");
        }
        let pool: ipnet::Ipv4Net =
            self.public_cidr.as_deref().unwrap_or("198.18.0.0/16").parse().context("--public-cidr")?;
        Ok(Config {
            listen: address(self.listen, 8773),
            metrics_listen: address(self.metrics_listen, 8774),
            hosts_listen: address(self.hosts_listen, 8775),
            regions,
            zones,
            hypervisor: hypervisor(self.hypervisor.as_deref().unwrap_or("auto"))?,
            sim_hosts: self.sim_hosts.unwrap_or(1),
            sim_boot: Duration::from_millis(self.sim_boot_ms.unwrap_or(20)),
            store: store(self.store.as_deref(), &data_dir)?,
            public_pool: pool.trunc(),
            uplink: self.uplink.as_deref().unwrap_or("masquerade").parse().context("--uplink")?,
            ipv6_pool: self.public_ipv6_cidr.as_deref().map(ipv6_pool).transpose()?,
            json_log: self.log_format.as_deref() == Some("json"),
            images_dir: std::path::absolute(self.images_dir.unwrap_or_else(|| data_dir.join("images")))?,
            master_key: std::path::absolute(self.master_key.unwrap_or_else(|| default_master_key(&data_dir)))?,
            import: import(self.import_from, self.import_dir, self.import_gib)?,
            export_dir: self.export_dir.map(std::path::absolute).transpose()?,
            join: self.join,
            join_token_file: self.join_token_file.unwrap_or_else(|| data_dir.join("join-token")),
            host_name: self.host_name.unwrap_or_else(machine_name),
            host_zone: self.host_zone.unwrap_or_else(|| "*".into()),
            cpu_overcommit: self.cpu_overcommit.unwrap_or(OVERCOMMIT).max(1),
            shutdown_grace: Duration::from_secs(self.shutdown_grace.unwrap_or(30)),
            rootless: None,
            data_dir,
        })
    }
}

fn import(
    permitted: Vec<String>,
    folder: Option<PathBuf>,
    gib: Option<u64>,
) -> Result<awan_host::import::fetch::Rules> {
    // Without the slash, one address would stand for all that begin so.
    let is_whole = |url: &str| ["http://", "https://"].iter().any(|s| url.starts_with(s)) && url.ends_with('/');
    if let Some(wrong) = permitted.iter().find(|url| !is_whole(url)) {
        bail!("--import-from {wrong}: it is http://ADDR/ or http://ADDR/PATH/, or the same with https:");
    }
    let folder = folder.map(std::path::absolute).transpose()?;
    Ok(awan_host::import::fetch::Rules { permitted, folder, bytes_max: gib.unwrap_or(64).saturating_mul(1 << 30) })
}

/// Each VPC gets a /56 of it; the first one is the routers' own.
fn ipv6_pool(text: &str) -> Result<ipnet::Ipv6Net> {
    let pool: ipnet::Ipv6Net = text.parse().context("--public-ipv6-cidr")?;
    let within = |net: &str| net.parse::<ipnet::Ipv6Net>().is_ok_and(|net| net.contains(&pool));
    let services =
        "fd00:ec2::/32".parse::<ipnet::Ipv6Net>().is_ok_and(|net| net.contains(&pool) || pool.contains(&net));
    if !(16..=52).contains(&pool.prefix_len()) || !(within("2000::/3") || within("fc00::/7")) || services {
        bail!(
            "--public-ipv6-cidr {pool}: it is a network of 2000::/3 or fc00::/7, from /16 to /52, and not fd00:ec2::/32"
        );
    }
    Ok(pool.trunc())
}

fn hypervisor(name: &str) -> Result<Hypervisor> {
    use awan_host::hypervisor::probe::Wanted;
    match name {
        "auto" => Ok(Hypervisor::Real(Wanted::Auto)),
        "kvm" => Ok(Hypervisor::Real(Wanted::Kvm)),
        "tcg" => Ok(Hypervisor::Real(Wanted::Tcg)),
        "simulated" => Ok(Hypervisor::Simulated),
        other => bail!("--hypervisor {other}: it is auto, kvm, tcg or simulated"),
    }
}

fn store(name: Option<&str>, data_dir: &Path) -> Result<Store> {
    match name.map(|n| n.split_once(':').unwrap_or((n, ""))) {
        None => Ok(Store::Sqlite(data_dir.join("state.db"))),
        Some(("memory", "")) => Ok(Store::Memory),
        Some(("sqlite", path)) if !path.is_empty() => Ok(Store::Sqlite(std::path::absolute(path)?)),
        Some(("etcd", _)) => bail!("--store etcd: is not there yet"),
        Some(_) => bail!("--store: it is sqlite:PATH or memory"),
    }
}

fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let fine: String = name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
    if fine.is_empty() { "host".into() } else { fine }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_overrides_the_file() {
        let file: Options =
            toml::from_str("listen = \"127.0.0.1:1\"\nzones = 2\nregion = [\"eu-west-1\"]").expect("reads");
        let line = Options { zones: Some(5), ..Options::default() };
        let config = line.or(file).with_defaults("/x".into()).expect("resolves");
        assert_eq!((config.listen.port(), config.zones, config.regions), (1, 5, vec!["eu-west-1".to_owned()]));
        assert_eq!(config.store, Store::Sqlite("/x/state.db".into()));
        assert_eq!(config.master_key, Path::new("/x-master.key"));
    }

    #[test]
    fn what_is_permitted_to_be_imported_ends_where_a_name_ends() {
        let from = |url: &str| import(vec![url.into()], None, None).is_ok();
        assert!(from("http://10.0.0.5/") && from("https://images.test/a/") && from("http://10.0.0.5:81/images/"));
        assert!(!from("http://10.0.0.5") && !from("10.0.0.5/") && !from("file:///images/"));
    }

    #[test]
    fn a_key_that_nobody_knows_is_refused() {
        assert!(toml::from_str::<Options>("lisen = \"127.0.0.1:1\"").is_err());
    }
}
