//! Starts the parts and keeps them until the end is asked for.

use std::net::TcpListener as StdListener;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use awan_control::{Control, Settings, operator, turn};
use awan_host::keys::MasterKeys;
use awan_host::network::driver::{NetworkConfig, NetworkDriver, Uplink};
use awan_model::account::BUILTIN_ALIAS;
use awan_model::id::HostId;
use awan_state::{Entropy, MemoryStore, Mode, SqliteStore, WallClock};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, Hypervisor, Options, Store};
use crate::{admin, connect, endpoint, images, join, lock, node, rootless};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roles {
    Both,
    Control,
    Host,
}

/// What is done while the program has one thread, and can still enter other namespaces.
pub struct Ready {
    roles: Roles,
    config: Config,
    /// Read before other namespaces are entered, where it may not be found.
    keys: MasterKeys,
    _held: Vec<lock::Held>,
    /// The API's and the metrics'; in this machine's network, wherever the rest goes.
    doors: Option<(StdListener, StdListener)>,
}

pub async fn prepare(roles: Roles, options: Options) -> Result<Ready> {
    let config = options.resolve()?;
    log(config.json_log);
    make_data_dir(&config.data_dir)?;
    let used = match roles {
        Roles::Both => &[lock::CONTROL, lock::HOST][..],
        Roles::Control => &[lock::CONTROL],
        Roles::Host => &[lock::HOST],
    };
    let held = lock::take(&config.data_dir, used).await?;
    let doors = match roles {
        Roles::Host => None,
        Roles::Both | Roles::Control => {
            let api = bind(config.listen, "--listen").await?.into_std()?;
            Some((api, bind(config.metrics_listen, "--metrics-listen").await?.into_std()?))
        }
    };
    let mut ready = Ready { roles, config, keys: MasterKeys::default(), _held: held, doors };
    if ready.is_rootless() {
        let Config { data_dir, images_dir, uplink, .. } = &ready.config;
        if !matches!(uplink, Uplink::Masquerade | Uplink::Closed) {
            bail!("--uplink: an ordinary user's server has no other than masquerade and none");
        }
        rootless::find_programs();
        std::fs::create_dir_all(images_dir).with_context(|| format!("making {}", images_dir.display()))?;
        rootless::must_be_able(&[data_dir, images_dir])?;
        // With this machine's packages, over its network.
        images::ensure_tiny(images_dir, &data_dir.join("cache")).await?;
    } else if ready.config.hypervisor != Hypervisor::Simulated {
        rootless::must_not_be_here(&ready.config.data_dir)?;
    }
    // Who is refused leaves none.
    ready.keys = master_keys(roles, &ready.config);
    Ok(ready)
}

/// Without them all that is not encrypted goes on. A host that joins others has theirs or none.
fn master_keys(roles: Roles, config: &Config) -> MasterKeys {
    let found = match roles {
        Roles::Host => MasterKeys::read(&config.master_key),
        Roles::Both | Roles::Control => MasterKeys::read_or_make(&config.master_key),
    };
    found.unwrap_or_else(|e| {
        tracing::error!(error = format!("{e:#}"), "there is no master key: nothing that is encrypted can be used");
        MasterKeys::default()
    })
}

impl Ready {
    fn is_rootless(&self) -> bool {
        let real = self.config.hypervisor != Hypervisor::Simulated;
        self.roles == Roles::Both && real && rootless::is_ordinary_user()
    }

    /// To be called while the program has one thread.
    pub fn enter(mut self) -> Result<Self> {
        if self.is_rootless() {
            self.config.rootless = Some(rootless::enter(&self.config.data_dir, true)?);
        }
        Ok(self)
    }
}

pub async fn run(ready: Ready) -> Result<()> {
    let Ready { roles, config, keys, _held, doors } = ready;
    match roles {
        Roles::Host => {
            let url = config.join.clone().context("a host needs --join http://ADDR:PORT")?;
            let token = join::read_token(&config.join_token_file)?;
            let name = &config.host_name;
            let host = HostId::new(name).with_context(|| format!("'{name}' is no name for a host"))?;
            let control = join::Control::new(&url, token, join::Who::here(host, &config.data_dir)?)?;
            let started = node::start(&config, name, keys, Arc::new(control.clone()), Some(control.clone())).await?;
            say(&format!("ready {url} host={} hypervisor={}", config.host_name, started.accelerator));
            tokio::select! {
                done = join::run(control, started.peer) => done,
                done = until_told() => done,
            }
        }
        Roles::Both | Roles::Control => {
            let (api, metrics) = doors.context("nobody could ask")?;
            serve(roles, &config, keys, TcpListener::from_std(api)?, TcpListener::from_std(metrics)?).await
        }
    }
}

async fn serve(roles: Roles, config: &Config, keys: MasterKeys, api: TcpListener, metrics: TcpListener) -> Result<()> {
    let control = open(config, keys.names()).await?;
    images::removal::settle(&control, &config.images_dir)?;
    let accelerator = match roles {
        Roles::Both => start_hosts(config, keys, &control).await?,
        Roles::Control | Roles::Host => {
            if config.hypervisor != Hypervisor::Simulated {
                // Hosts get it from here. A machine that cannot build it may have others.
                let built = images::ensure_tiny(&config.images_dir, &config.data_dir.join("cache")).await;
                let _ = built.inspect_err(|e| tracing::error!(error = format!("{e:#}"), "there is no tiny image"));
            }
            register_images(config, &control).await?;
            let listener = bind(config.hosts_listen, "--hosts-listen").await?;
            let token = join::make_token(&config.join_token_file)?;
            tokio::spawn(join::serve(listener, control.clone(), token, config.images_dir.clone()));
            "none".to_owned()
        }
    };
    tokio::spawn(turn::run(control.clone()));
    let orders = admin::listen(&config.data_dir.join("admin.sock"))?;
    let dials = connect::socket(&config.data_dir);
    if config.rootless.is_some() {
        tokio::spawn(connect::serve(admin::listen(&dials)?, config.public_pool));
    } else {
        let _ = std::fs::remove_file(&dials);
    }
    tokio::spawn(admin::serve(orders, control.clone(), config.images_dir.clone()));
    tokio::spawn(images::removal::rounds(control.clone(), config.images_dir.clone()));
    tokio::spawn(serve_metrics(metrics, control.clone()));
    let address = api.local_addr()?;
    let api = axum::serve(api, awan_control::http::router(control)).into_future();
    say(&format!("ready http://{address} region={} hypervisor={accelerator}", config.regions.join(",")));
    tokio::select! {
        done = api => done.context("serving the API"),
        done = until_told() => done,
    }
}

/// One line, for whoever started this. That it cannot be written keeps nobody from being served.
fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}

async fn bind(address: std::net::SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{flag} {address}"))
}

async fn until_told() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    tracing::info!("told to end; instances go on");
    Ok(())
}

fn log(json: bool) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("AWAN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    // It would tell of a line that cannot be written where that line could not be, and panic: on a full disk the first
    // line would end whoever logs it.
    let builder = builder.log_internal_errors(false);
    if json { builder.json().init() } else { builder.init() }
}

fn make_data_dir(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("making {}", path.display()))
}

async fn open(config: &Config, master_keys: Vec<String>) -> Result<Arc<Control>> {
    let store: Box<dyn awan_state::Store> = match &config.store {
        Store::Memory => Box::<MemoryStore>::default(),
        Store::Sqlite(path) => {
            keep_private(path)?;
            Box::new(SqliteStore::open(path).map_err(|e| anyhow::anyhow!("opening {}: {e}", path.display()))?)
        }
    };
    let control = Control::open(store, Mode::Group, Arc::new(WallClock), Entropy::system())?;
    let settings = Settings {
        regions: config.regions.clone(),
        zones_per_region: config.zones,
        public_pool: config.public_pool,
        ipv6_pool: config.ipv6_pool,
        master_keys,
    };
    operator::install(&control.db, &settings).await.map_err(told)?;
    let keys = match (std::env::var("AWAN_ROOT_ACCESS_KEY_ID"), std::env::var("AWAN_ROOT_SECRET_ACCESS_KEY")) {
        (Ok(id), Ok(secret)) => Some((id, secret)),
        _ => None,
    };
    let file = config.data_dir.join("credentials");
    let made = operator::root_account(&control.db, keys).await.map_err(told)?;
    let lost = || operator::root_credentials(&control.db).filter(|_| !file.exists());
    if let Some(made) = made.or_else(lost) {
        let text = format!(
            "[awan]\naws_access_key_id = {}\naws_secret_access_key = {}\nregion = {}\n",
            made.access_key_id, made.secret_access_key, config.regions[0]
        );
        write_secret(&file, &text)?;
    }
    write_secret(&config.data_dir.join("endpoint"), &format!("http://{}\n", config.listen))?;
    Ok(control)
}

/// The store has every account's secrets, and its folder may be one that everybody can enter: an operator made it, or
/// chose another place. SQLite's further files take the mode of the first.
fn keep_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let private = std::fs::Permissions::from_mode(0o600);
    for ending in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        match std::fs::set_permissions(&name, private.clone()) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            done => done.with_context(|| format!("closing {} to others", path.display()))?,
        }
    }
    let made = std::fs::File::options().append(true).create(true).mode(0o600).open(path);
    made.map(drop).with_context(|| format!("making {}", path.display()))
}

pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let private = std::fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o777 == 0o600);
    if private && std::fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
        // A start needs no room on a full disk.
        return Ok(());
    }
    let new = path.with_extension("new");
    let file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&new);
    let written = file.and_then(|mut f| f.write_all(text.as_bytes()).and_then(|()| f.sync_all()));
    written.with_context(|| format!("writing {}", new.display()))?;
    std::fs::rename(&new, path).with_context(|| format!("writing {}", path.display()))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub fn told(e: awan_control::error::Error) -> anyhow::Error {
    anyhow::anyhow!("{e}")
}

/// This machine's name, so that no other joins with it when the roles come apart.
async fn claim(config: &Config, control: &Control) -> Result<()> {
    let name = &config.host_name;
    let host = HostId::new(name).with_context(|| format!("'{name}' is no name for a host"))?;
    let who = join::Who::here(host, &config.data_dir)?;
    if !awan_control::hosts::claim(&control.db, &who.host, &who.identity).await.map_err(told)? {
        bail!("the name {name} belongs to another machine: choose another --host-name");
    }
    Ok(())
}

async fn start_hosts(config: &Config, keys: MasterKeys, control: &Arc<Control>) -> Result<String> {
    let names: Vec<String> = match config.hypervisor {
        Hypervisor::Simulated => (1..=config.sim_hosts.max(1)).map(|n| format!("sim-{n}")).collect(),
        Hypervisor::Real(_) => vec![config.host_name.clone()],
    };
    if config.hypervisor == Hypervisor::Simulated {
        operator::register_builtin(&control.db, &images::simulated()).await.map_err(told)?;
    } else {
        must_be_root()?;
        let network = NetworkConfig { tag: node::tag(&config.data_dir)?, uplink: config.uplink.clone(), outside: None };
        NetworkDriver::must_be_free(config.public_pool, &network)?;
        if let Some(pool) = config.ipv6_pool {
            NetworkDriver::ipv6_must_be_free(pool, &network)?;
        }
        claim(config, control).await?;
        images::ensure_tiny(&config.images_dir, &config.data_dir.join("cache")).await?;
        register_images(config, control).await?;
    }
    let mut accelerator = String::new();
    for name in names {
        let started = node::start(config, &name, keys.clone(), Arc::new(endpoint::Here(control.clone())), None).await?;
        accelerator.clone_from(&started.accelerator);
        tokio::spawn(node::attach(control.clone(), started.host, started.peer));
    }
    Ok(accelerator)
}

async fn register_images(config: &Config, control: &Arc<Control>) -> Result<()> {
    if config.hypervisor == Hypervisor::Simulated {
        operator::register_builtin(&control.db, &images::simulated()).await.map_err(told)?;
        return Ok(());
    }
    for image in images::present(&config.images_dir)? {
        let id = operator::register_builtin(&control.db, &image).await.map_err(told)?;
        tracing::info!(image = %id, name = image.name, owner = BUILTIN_ALIAS, "image");
    }
    Ok(())
}

async fn serve_metrics(listener: TcpListener, control: Arc<Control>) -> Result<()> {
    use axum::extract::State;
    use axum::routing::get;
    let metrics = |State(control): State<Arc<Control>>| async move { control.metrics() };
    // It waits for a flush that is on its way.
    let ready = |State(control): State<Arc<Control>>| async move {
        let looked = tokio::task::spawn_blocking(move || readiness(&control)).await;
        looked.unwrap_or_else(|e| (axum::http::StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")))
    };
    let router = axum::Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(control);
    axum::serve(listener, router).await.context("serving metrics")
}

/// Not ready: nothing new is accepted. The store has no room now, or it failed and is not written to until a restart.
fn readiness(control: &Control) -> (axum::http::StatusCode, String) {
    use axum::http::StatusCode;
    match control.db.failure() {
        None => (StatusCode::OK, "ok\n".into()),
        Some(e) => (StatusCode::SERVICE_UNAVAILABLE, format!("{e}\n")),
    }
}

/// For commands that need the superuser.
pub fn must_be_root() -> Result<()> {
    if nix::unistd::Uid::effective().is_root() {
        Ok(())
    } else {
        bail!("this needs root: networks and control groups are the superuser's. `awan serve` runs guests without it")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn nobody_else_reads_the_store_wherever_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("opens to all");
        let path = folder.path().join("state.db");
        let open = || {
            keep_private(&path).expect("closes to others");
            SqliteStore::open(&path).expect("opens")
        };
        let modes = || {
            let files = std::fs::read_dir(folder.path()).expect("lists").flatten();
            files.map(|f| f.metadata().expect("is there").permissions().mode() & 0o777).collect::<Vec<_>>()
        };
        let store = open();
        assert!(modes().len() > 1 && modes().iter().all(|mode| *mode == 0o600), "{:?}", modes());
        drop(store);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("as older versions made it");
        let _store = open();
        assert!(modes().iter().all(|mode| *mode == 0o600), "{:?}", modes());
    }
}
