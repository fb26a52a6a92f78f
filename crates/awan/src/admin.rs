//! The operator's commands, and the socket on which the server hears them.
//!
//! **Invariant:** whoever may open the socket file is the operator; the file's mode is the lock.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use awan_control::error::{Error, invalid};
use awan_control::{Control, audit, operator, traffic, why};
use awan_model::id::{HostId, ImageId};
use awan_model::instance_type::InstanceType;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use clap::{Args, Subcommand};
use http_body_util::Full;
use hyper::Request;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};

use crate::images::known::{self, Known};
use crate::images::{self, bring, removal};
use crate::{client, config};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The data directory of the running server
    #[arg(long, env = "AWAN_DATA_DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// Answers as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Accounts
    #[command(subcommand)]
    Account(Account),
    /// Hosts
    #[command(subcommand)]
    Host(Host),
    /// Instance types of your own
    #[command(subcommand)]
    InstanceType(Type),
    /// Images that everybody sees
    #[command(subcommand)]
    Image(Image),
    /// Compares records with what is on the hosts; exit status 1 if they differ
    Audit,
    /// Bytes and packets of every interface, as its guest sees them
    Traffic,
    /// Why is it so: everything about one id
    Why { id: String },
}

#[derive(Debug, Subcommand)]
enum Account {
    /// Opens an account
    Create {
        name: String,
        /// Twelve digits
        #[arg(long)]
        id: Option<String>,
    },
    List,
    /// Closes an account
    Delete {
        id: String,
        /// Terminates and deletes all that it owns
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Host {
    List,
    /// Drops a host that is gone for good and had nothing; its name is free again
    Forget {
        name: String,
    },
}

#[derive(Debug, Subcommand)]
enum Type {
    /// Adds or replaces a type, like `ci.small`
    Put {
        name: String,
        #[arg(long)]
        vcpus: u32,
        #[arg(long)]
        memory_mib: u64,
    },
}

#[derive(Debug, Subcommand)]
enum Image {
    /// Brings a distribution's cloud image here, and compares it with the digest that is published beside it
    Pull {
        /// One of those that `known` lists
        name: String,
        /// A URL that stands for the publisher's server: http://ADDR/ or https://ADDR/
        #[arg(long)]
        mirror: Option<String>,
    },
    /// Lists what can be pulled
    Known,
    /// Builds an image of Debian of Debian's own packages; takes minutes
    Build {
        /// debian-12 or debian-13
        name: String,
    },
    /// Takes an image away that was brought or built here: nobody sees it any more. Its files go when nothing begins as it
    Remove { id: String },
    /// Brings the disk of an operating system here
    Import {
        /// A file, or a URL of http: or https:
        from: String,
        #[arg(long)]
        name: String,
        /// raw, qcow2, vhd, vhdx or vmdk [default: how the name ends]
        #[arg(long)]
        format: Option<String>,
        #[arg(long, default_value = "")]
        description: String,
        /// SHA-256 or SHA-512 of the file, in hexadecimal
        #[arg(long)]
        digest: Option<String>,
    },
}

/// What goes over the socket.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    AccountCreate {
        name: String,
        id: Option<String>,
    },
    AccountList,
    AccountDelete {
        id: String,
        force: bool,
    },
    HostList,
    HostForget {
        name: String,
    },
    TypePut {
        name: String,
        vcpus: u32,
        memory_mib: u64,
    },
    /// Where an image of this name is to lie.
    ImageFolder {
        name: String,
    },
    /// Shows it to nobody any more.
    ImageRemove {
        id: ImageId,
    },
    /// Shows everybody an image that lies there.
    ImageShow {
        id: ImageId,
    },
    Audit,
    Traffic,
    Why {
        id: String,
    },
}

pub fn listen(path: &Path) -> Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("listening on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Who obeys.
struct Server {
    control: Arc<Control>,
    images: PathBuf,
}

pub async fn serve(listener: UnixListener, control: Arc<Control>, images: PathBuf) -> Result<()> {
    let router = axum::Router::new().route("/order", post(obey)).with_state(Arc::new(Server { control, images }));
    axum::serve(listener, router).await.context("serving the operator")
}

async fn obey(State(server): State<Arc<Server>>, Json(order): Json<Order>) -> (StatusCode, Json<Value>) {
    match done(&server, order).await {
        Ok(value) => (StatusCode::OK, Json(value)),
        Err(e) => (StatusCode::BAD_REQUEST, Json(json!({ "error": e.to_string() }))),
    }
}

async fn done(Server { control, images }: &Server, order: Order) -> Result<Value, Error> {
    let cause = format!("operator {}", control.request_id());
    let shown = |value: serde_json::Result<Value>| value.map_err(Error::fault);
    match order {
        Order::AccountCreate { name, id } => {
            shown(serde_json::to_value(operator::create_account(&control.db, &name, id, &cause).await?))
        }
        Order::AccountList => shown(serde_json::to_value(operator::accounts(&control.db))),
        Order::AccountDelete { id, force } => {
            let deleted = operator::delete_account(&control.db, &id, force, &cause).await?;
            Ok(json!({ "Deleted": deleted }))
        }
        Order::HostForget { name } => {
            let host = HostId::new(&name)
                .ok_or_else(|| invalid(format!("'{}' is no name for a host", name.escape_debug())))?;
            operator::forget_host(&control.db, &host, &cause).await?;
            Ok(json!({}))
        }
        Order::HostList => shown(serde_json::to_value(operator::hosts(&control.db))),
        Order::TypePut { name, vcpus, memory_mib } => {
            operator::put_instance_type(&control.db, own_type(name, vcpus, memory_mib), &cause).await?;
            Ok(json!({}))
        }
        Order::ImageFolder { name } => {
            operator::must_be_image_name(&name)?;
            Ok(json!({ "Folder": images }))
        }
        Order::ImageRemove { id } => {
            operator::remove_image(&control.db, &id, &cause).await?;
            if let Err(e) = removal::remove_unused(control, images).await {
                tracing::error!(error = format!("{e:#}"), "images that are removed are looked at again");
            }
            Ok(json!({ "ImageId": id }))
        }
        Order::ImageShow { id } => {
            let _turn = removal::TURN.lock().await;
            let image = images::read(&images.join(id.as_str())).map_err(|e| invalid(format!("{e:#}")))?;
            let id = operator::show_image(&control.db, &image).await?;
            Ok(json!({ "ImageId": id, "Name": image.name }))
        }
        Order::Audit => Ok(json!({ "differences": audit::all(control).await? })),
        Order::Traffic => shown(serde_json::to_value(traffic::all(control).await?)),
        Order::Why { id } => why::why(&control.db, &id),
    }
}

fn own_type(name: String, vcpus: u32, memory_mib: u64) -> InstanceType {
    InstanceType {
        home: awan_model::Home::installation(),
        id: name,
        vcpus,
        threads_per_core: 1,
        memory_mib,
        burstable: false,
        max_interfaces: 2,
        addresses_per_interface: 4,
        network_performance: "Moderate".into(),
        baseline_mbps: 100,
        clock_mhz: 2500,
        free_tier: false,
        local_disk_gib: 0,
    }
}

async fn order(data_dir: &Path, order: &Order) -> Result<Value> {
    let socket = data_dir.join("admin.sock");
    let stream = UnixStream::connect(&socket).await;
    let stream =
        stream.with_context(|| format!("no server answers at {}: is `awan serve` running?", socket.display()))?;
    let request = Request::builder()
        .method("POST")
        .uri("/order")
        .header("host", "awan")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(serde_json::to_vec(order)?)))?;
    let (status, body) = client::send(stream, request).await?;
    let value: Value = serde_json::from_slice(&body).context("reading the server's answer")?;
    if status != 200 {
        bail!("{}", value["error"].as_str().unwrap_or("the server refused"));
    }
    Ok(value)
}

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let data_dir = arguments.data_dir.unwrap_or_else(config::default_data_dir);
    let (what, until_deleted) = match arguments.command {
        Command::Image(command) => {
            show(&image(&data_dir, command).await?, arguments.json)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Account(Account::Create { name, id }) => (Order::AccountCreate { name, id }, false),
        Command::Account(Account::List) => (Order::AccountList, false),
        Command::Account(Account::Delete { id, force }) => (Order::AccountDelete { id, force }, true),
        Command::Host(Host::List) => (Order::HostList, false),
        Command::Host(Host::Forget { name }) => (Order::HostForget { name }, false),
        Command::InstanceType(Type::Put { name, vcpus, memory_mib }) => {
            (Order::TypePut { name, vcpus, memory_mib }, false)
        }
        Command::Audit => (Order::Audit, false),
        Command::Traffic => (Order::Traffic, false),
        Command::Why { id } => (Order::Why { id }, false),
    };
    let mut value = order(&data_dir, &what).await?;
    for _ in 0..DELETE_ROUNDS {
        if !until_deleted || value["Deleted"] == json!(true) {
            break;
        }
        tokio::time::sleep(DELETE_ROUND).await;
        value = order(&data_dir, &what).await?;
    }
    if until_deleted && value["Deleted"] != json!(true) {
        bail!("its instances do not end; the account stays closed");
    }
    show(&value, arguments.json)?;
    let differs = value["differences"].as_array().is_some_and(|d| !d.is_empty());
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn image(data_dir: &Path, command: Image) -> Result<Value> {
    let folder = async |name: &str| {
        let told = order(data_dir, &Order::ImageFolder { name: name.to_owned() }).await?;
        Ok::<_, anyhow::Error>(PathBuf::from(told["Folder"].as_str().context("the server names no folder")?))
    };
    let wanted = match command {
        Image::Remove { id } => {
            let id = id.parse().map_err(|_| anyhow::anyhow!("'{}' is no id of an image", id.escape_debug()))?;
            return order(data_dir, &Order::ImageRemove { id }).await;
        }
        Image::Build { name } => {
            let release = name.strip_prefix("debian-").filter(|release| ["12", "13"].contains(release));
            let release = release.context("what can be built is debian-12 and debian-13")?;
            let images = folder(&name).await?;
            let made = images::build_debian(release, &images).await?;
            return shown(data_dir, &images, made).await;
        }
        Image::Known => {
            let one = |known: &Known| json!({ "Name": known.name, "Description": known.about });
            return Ok(known::ALL.iter().map(one).collect());
        }
        Image::Pull { name, mirror } => bring::published(&name, mirror.as_deref()).await?,
        Image::Import { from, name, format, description, digest } => {
            if digest.as_ref().is_some_and(|digest| !known::is_digest(digest)) {
                bail!("--digest is SHA-256 or SHA-512, in hexadecimal");
            }
            let (digest, format) = (digest.map(|d| d.to_lowercase()), bring::format(&from, format.as_deref())?);
            bring::Wanted { from, format, name, description, digest }
        }
    };
    let folder = folder(&wanted.name).await?;
    let last = std::sync::Mutex::new(String::new());
    let told = |what: &str, percent: u8| {
        let now = format!("{what} {} %", percent / 10 * 10);
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *last != now {
            progress(&now);
            *last = now;
        }
    };
    let made = bring::bring(wanted, &folder, told).await?;
    shown(data_dir, &folder, made).await
}

/// What is refused is not left behind: the next start of the server would show it.
async fn shown(data_dir: &Path, images: &Path, (id, is_new): (ImageId, bool)) -> Result<Value> {
    let shown = order(data_dir, &Order::ImageShow { id: id.clone() }).await;
    if shown.is_err() && is_new {
        let _ = std::fs::remove_dir_all(images.join(id.as_str()));
    }
    shown
}

#[expect(clippy::print_stderr, reason = "how far a command is")]
fn progress(now: &str) {
    eprintln!("{now}");
}

const DELETE_ROUND: std::time::Duration = std::time::Duration::from_millis(250);
const DELETE_ROUNDS: u32 = 400;

#[expect(clippy::print_stdout, reason = "a command's answer")]
fn show(value: &Value, as_json: bool) -> Result<()> {
    if as_json {
        println!("{}", serde_json::to_string(value)?);
        return Ok(());
    }
    match value {
        Value::Array(rows) => rows.iter().for_each(|row| println!("{}", line(row))),
        Value::Object(fields) if fields.contains_key("differences") => {
            let differences = fields["differences"].as_array().cloned().unwrap_or_default();
            differences.iter().for_each(|d| println!("{}", d.as_str().unwrap_or_default()));
            println!("{} differences", differences.len());
        }
        other => println!("{}", serde_json::to_string_pretty(other)?),
    }
    Ok(())
}

/// A row's values, those of an inner object too.
fn line(row: &Value) -> String {
    match row {
        Value::Object(fields) => {
            let shown = |(key, value): (&String, &Value)| match value {
                Value::Object(_) => line(value),
                Value::String(text) => format!("{key}={text}"),
                other => format!("{key}={other}"),
            };
            fields.iter().map(shown).collect::<Vec<_>>().join("  ")
        }
        other => other.to_string(),
    }
}
