//! For users who have no AWS tools yet: the same API underneath.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use awan_wire::sigv4;
use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::Request;

use crate::{client, config};

#[derive(Debug, Args)]
pub struct Where {
    /// The data directory whose credentials and endpoint are used
    #[arg(long, env = "AWAN_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Launch {
    #[command(flatten)]
    place: Where,
    /// The image [default: the newest tiny one]
    #[arg(long)]
    image: Option<String>,
    #[arg(long = "type", default_value = "t3.micro")]
    kind: String,
    /// The name of a key pair
    #[arg(long)]
    key: Option<String>,
    /// A file with user data
    #[arg(long)]
    user_data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Ssh {
    #[command(flatten)]
    place: Where,
    /// The instance
    instance: String,
    /// A private key file
    #[arg(long, short)]
    identity: Option<PathBuf>,
    #[arg(long, default_value = "root")]
    user: String,
    /// What to run there
    #[arg(last = true)]
    command: Vec<String>,
}

struct Access {
    key: String,
    secret: String,
    region: String,
    endpoint: String,
}

impl Where {
    fn access(&self) -> Result<Access> {
        let data_dir = self.data_dir.clone().unwrap_or_else(config::default_data_dir);
        let file = data_dir.join("credentials");
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let get = |name: &str| {
            let found = text.lines().find_map(|l| l.split_once('=').filter(|(k, _)| k.trim() == name));
            found.map(|(_, v)| v.trim().to_owned()).with_context(|| format!("{} has no {name}", file.display()))
        };
        let endpoint = std::fs::read_to_string(data_dir.join("endpoint")).context("reading the endpoint")?;
        Ok(Access {
            key: get("aws_access_key_id")?,
            secret: get("aws_secret_access_key")?,
            region: get("region")?,
            endpoint: endpoint.trim().to_owned(),
        })
    }
}

#[expect(clippy::print_stdout, reason = "a command's answer")]
pub fn env(place: &Where) -> Result<()> {
    let Access { key, secret, region, endpoint } = place.access()?;
    println!(
        "export AWS_ACCESS_KEY_ID={key} AWS_SECRET_ACCESS_KEY={secret} AWS_ENDPOINT_URL={endpoint} AWS_REGION={region} AWS_DEFAULT_REGION={region}"
    );
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a command's answer")]
pub async fn launch(launch: Launch) -> Result<()> {
    let access = launch.place.access()?;
    let image = match launch.image {
        Some(image) => image,
        None => newest_tiny(&access).await?,
    };
    let mut ask =
        vec![("ImageId", image), ("InstanceType", launch.kind), ("MinCount", "1".into()), ("MaxCount", "1".into())];
    ask.extend(launch.key.map(|key| ("KeyName", key)));
    if let Some(path) = launch.user_data {
        let data = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        ask.push(("UserData", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, data)));
    }
    let answer = call(&access, "RunInstances", &ask).await?;
    println!("{}", element(&answer, "instanceId").context("the answer names no instance")?);
    Ok(())
}

async fn newest_tiny(access: &Access) -> Result<String> {
    let ask = [
        ("Owner.1", "amazon".to_owned()),
        ("Filter.1.Name", "name".into()),
        ("Filter.1.Value.1", "awan-tiny-*".into()),
    ];
    let answer = call(access, "DescribeImages", &ask).await?;
    element(&answer, "imageId").context("there is no tiny image")
}

pub async fn ssh(ssh: Ssh) -> Result<()> {
    use std::os::unix::process::CommandExt as _;
    let access = ssh.place.access()?;
    let answer = call(&access, "DescribeInstances", &[("InstanceId.1", ssh.instance.clone())]).await?;
    let address = element(&answer, "ipAddress").with_context(|| format!("{} has no public address", ssh.instance))?;
    let mut command = std::process::Command::new("ssh");
    command.args(["-o", "StrictHostKeyChecking=accept-new", "-o"]);
    command.arg(format!("UserKnownHostsFile={}", known_hosts(&ssh.place)?.display()));
    if let Some(identity) = ssh.identity {
        command.arg("-i").arg(identity);
    }
    command.arg(format!("{}@{address}", ssh.user)).args(ssh.command);
    Err(command.exec()).context("starting ssh")
}

fn known_hosts(place: &Where) -> Result<PathBuf> {
    let data_dir = place.data_dir.clone().unwrap_or_else(config::default_data_dir);
    Ok(Path::new(&data_dir).join("known_hosts"))
}

/// One signed request.
async fn call(access: &Access, action: &str, parameters: &[(&str, String)]) -> Result<String> {
    let hex = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
    let mut body = format!("Action={action}&Version=2016-11-15");
    for (name, value) in parameters {
        body.push_str(&format!("&{name}={}", hex(value)));
    }
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let host = client::authority(&access.endpoint)?.to_owned();
    let form = "application/x-www-form-urlencoded".to_owned();
    let headers = [("content-type", form), ("host", host), ("x-amz-date", now)].map(|(n, v)| (n.to_owned(), v));
    let parts = sigv4::Parts { method: "POST", path: "/", query: "", headers: &headers, body: body.as_bytes() };
    let line = sigv4::authorization(&access.secret, &access.key, &access.region, "ec2", &parts)?;
    let mut request = Request::builder().method("POST").uri("/").header("authorization", line);
    for (name, value) in &headers {
        request = request.header(name, value);
    }
    let stream = client::tcp(&access.endpoint).await?;
    let (status, answer) = client::send(stream, request.body(Full::new(Bytes::from(body)))?).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    if status != 200 {
        let part = |name| element(&answer, name).unwrap_or_default();
        bail!("{}: {}", part("Code"), part("Message"));
    }
    Ok(answer)
}

/// The text of the first element of a name.
fn element(xml: &str, name: &str) -> Option<String> {
    let rest = xml.split(&format!("<{name}>")).nth(1)?;
    rest.split(&format!("</{name}>")).next().map(str::to_owned)
}
