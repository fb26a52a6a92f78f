//! For users who have no AWS tools yet: the same API underneath. What can be named twice is the same when asked twice.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use awan_wire::sigv4;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::Request;

use crate::{client, config, connect};

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
    /// The instance's tag Name
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Args)]
pub struct Ssh {
    #[command(flatten)]
    place: Where,
    /// The instance: its id or its tag Name
    instance: String,
    /// A private key file [default: DIR/keys/NAME.pem of the instance's key pair, if it is there]
    #[arg(long, short)]
    identity: Option<PathBuf>,
    #[arg(long, default_value = "root")]
    user: String,
    /// What to run there
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Connect {
    #[command(flatten)]
    place: Where,
    /// The instance: its id, its tag Name, or its public address
    instance: String,
    port: u16,
}

#[derive(Debug, Args)]
pub struct Forward {
    #[command(flatten)]
    place: Where,
    /// The instance: its id, its tag Name, or its public address
    instance: String,
    port: u16,
    /// Where to listen [default: a free port of 127.0.0.1]
    #[arg(long, default_value = "127.0.0.1:0", hide_default_value = true)]
    listen: std::net::SocketAddr,
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    place: Where,
    /// Only instances with this tag Name
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Args)]
pub struct Instances {
    #[command(flatten)]
    place: Where,
    /// The instances: their ids or their tags Name
    #[arg(required = true)]
    instances: Vec<String>,
}

#[derive(Debug, Args)]
pub struct One {
    #[command(flatten)]
    place: Where,
    /// The instance: its id or its tag Name
    instance: String,
}

#[derive(Debug, Args)]
pub struct Key {
    #[command(flatten)]
    place: Where,
    /// The key pair's name
    name: String,
    /// The private key; made where there is none [default: DIR/keys/NAME.pem]
    #[arg(long)]
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Open {
    #[command(flatten)]
    place: Where,
    port: u16,
    /// Who may connect
    #[arg(long, default_value = "0.0.0.0/0")]
    from: ipnet::Ipv4Net,
}

struct Access {
    key: String,
    secret: String,
    region: String,
    endpoint: String,
}

/// What the commands here need to know of an instance.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    id: String,
    state: String,
    kind: String,
    address: Option<String>,
    key: Option<String>,
    name: Option<String>,
}

impl Where {
    fn folder(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(config::default_data_dir)
    }

    fn access(&self) -> Result<Access> {
        let file = self.folder().join("credentials");
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("reading {} (another one: --data-dir, AWAN_DATA_DIR)", file.display()))?;
        let get = |name: &str| {
            let found = text.lines().find_map(|l| l.split_once('=').filter(|(k, _)| k.trim() == name));
            found.map(|(_, v)| v.trim().to_owned()).with_context(|| format!("{} has no {name}", file.display()))
        };
        let endpoint = std::fs::read_to_string(self.folder().join("endpoint")).context("reading the endpoint")?;
        Ok(Access {
            key: get("aws_access_key_id")?,
            secret: get("aws_secret_access_key")?,
            region: get("region")?,
            endpoint: endpoint.trim().to_owned(),
        })
    }

    fn key_file(&self, name: &str) -> Result<PathBuf> {
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            bail!("'{name}' names no file: say --file");
        }
        Ok(self.folder().join("keys").join(format!("{name}.pem")))
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
        ask.push(("UserData", BASE64_STANDARD.encode(data)));
    }
    if let Some(name) = launch.name {
        ask.push(("TagSpecification.1.ResourceType", "instance".into()));
        ask.push(("TagSpecification.1.Tag.1.Key", "Name".into()));
        ask.push(("TagSpecification.1.Tag.1.Value", name));
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
    let seen = find(&ssh.place.access()?, &ssh.instance).await?;
    let Seen { id, state, kind: _, address, key, name: _ } = seen;
    let address = address.with_context(|| format!("{id} is {state} and has no public address"))?;
    let kept = key.and_then(|key| ssh.place.key_file(&key).ok()).filter(|file| file.exists());
    let mut command = Command::new("ssh");
    // Addresses go from one instance to another; an instance's host key is its own.
    command.args(["-o", "StrictHostKeyChecking=accept-new", "-o"]).arg(format!("HostKeyAlias={id}"));
    command.args(["-o", "CheckHostIP=no", "-o", "HashKnownHosts=no", "-o"]);
    command.arg(format!("UserKnownHostsFile={}", ssh.place.folder().join("known_hosts").display()));
    if connect::socket(&ssh.place.folder()).exists() {
        command.arg("-o").arg(format!("ProxyCommand={}", proxy_command(&ssh.place.folder())?));
    }
    if let Some(identity) = ssh.identity.or(kept) {
        command.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(identity);
    }
    command.arg(format!("{}@{address}", ssh.user)).args(ssh.command);
    Err(command.exec()).context("starting ssh")
}

/// What ssh has its shell run, to speak to a guest through the server. `%` is ssh's.
fn proxy_command(folder: &Path) -> Result<String> {
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', "'\\''").replace('%', "%%"));
    let program = std::env::current_exe().context("finding this program")?;
    let folder = std::path::absolute(folder)?;
    Ok(format!("{} connect --data-dir {} %h %p", quoted(&program), quoted(&folder)))
}

/// A guest's end, by an address or by what is looked up.
async fn end_of(place: &Where, instance: &str, port: u16) -> Result<SocketAddrV4> {
    if let Ok(address) = instance.parse() {
        return Ok(SocketAddrV4::new(address, port));
    }
    let seen = find(&place.access()?, instance).await?;
    let address = seen.address.with_context(|| format!("{} is {} and has no public address", seen.id, seen.state))?;
    Ok(SocketAddrV4::new(address.parse()?, port))
}

pub async fn connect(connect: Connect) -> Result<()> {
    let to = end_of(&connect.place, &connect.instance, connect.port).await?;
    connect::with_stdio(&connect.place.folder(), to).await
}

#[expect(clippy::print_stdout, reason = "a command's answer")]
pub async fn forward(forward: Forward) -> Result<()> {
    let to = end_of(&forward.place, &forward.instance, forward.port).await?;
    let listener = tokio::net::TcpListener::bind(forward.listen).await;
    let listener = listener.with_context(|| format!("--listen {}", forward.listen))?;
    println!("{} leads to {to}", listener.local_addr()?);
    connect::forward(&forward.place.folder(), listener, to).await
}

#[expect(clippy::print_stdout, reason = "a command's answer")]
pub async fn list(list: List) -> Result<()> {
    let mut ask = Vec::new();
    if let Some(name) = list.name {
        ask.extend([("Filter.1.Name", "tag:Name".to_owned()), ("Filter.1.Value.1", name)]);
    }
    for Seen { id, state, kind, address, key: _, name } in see(&list.place.access()?, &ask).await? {
        let or = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        println!("{id}  {state:<13}  {kind:<11}  {:<15}  {}", or(address), or(name));
    }
    Ok(())
}

/// An action on each of some instances.
#[expect(clippy::print_stdout, reason = "a command's answer")]
pub async fn each(action: &str, these: &Instances) -> Result<()> {
    let access = these.place.access()?;
    let mut ids = Vec::new();
    for instance in &these.instances {
        ids.push(find(&access, instance).await?.id);
    }
    let names: Vec<String> = (1..=ids.len()).map(|n| format!("InstanceId.{n}")).collect();
    let ask: Vec<(&str, String)> = names.iter().map(String::as_str).zip(ids.iter().cloned()).collect();
    let answer = call(&access, action, &ask).await?;
    for change in instances(&answer) {
        let state = change.split("<currentState>").nth(1).and_then(|now| element(now, "name"));
        println!("{}  {}", element(change, "instanceId").unwrap_or_default(), state.unwrap_or_default());
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a command's answer")]
pub async fn console(one: &One) -> Result<()> {
    let access = one.place.access()?;
    let id = find(&access, &one.instance).await?.id;
    let answer = call(&access, "GetConsoleOutput", &[("InstanceId", id), ("Latest", "true".into())]).await?;
    let output = BASE64_STANDARD.decode(element(&answer, "output").unwrap_or_default())?;
    println!("{}", String::from_utf8_lossy(&output));
    Ok(())
}

/// The private key is made here and never leaves; only its public half goes over the API.
#[expect(clippy::print_stdout, reason = "a command's answer")]
pub async fn key(key: Key) -> Result<()> {
    let access = key.place.access()?;
    let file = match key.file {
        Some(file) => file,
        None => key.place.key_file(&key.name)?,
    };
    if !file.exists() {
        make_key(&file, &key.name)?;
    }
    let public = ssh_keygen(&[Path::new("-y"), Path::new("-P"), Path::new(""), Path::new("-f"), &file])?;
    let ask = [("KeyName", key.name.clone()), ("PublicKeyMaterial", BASE64_STANDARD.encode(&public))];
    if let Err(e) = call(&access, "ImportKeyPair", &ask).await {
        let ask = [("KeyName.1", key.name.clone()), ("IncludePublicKey", "true".into())];
        let there = call(&access, "DescribeKeyPairs", &ask).await.ok().and_then(|a| element(&a, "publicKey"));
        match there {
            None => return Err(e),
            Some(there) if same_key(&there, &public) => {}
            Some(_) => bail!("there is a key pair '{}' with another key than {}", key.name, file.display()),
        }
    }
    println!("{}", file.display());
    Ok(())
}

fn make_key(file: &Path, name: &str) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    if let Some(folder) = file.parent().filter(|f| !f.as_os_str().is_empty()) {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.with_context(|| format!("making {}", folder.display()))?;
    }
    let [quiet, kind, none] = ["-q", "-ted25519", "-N"].map(Path::new);
    ssh_keygen(&[quiet, kind, none, Path::new(""), Path::new("-C"), Path::new(name), Path::new("-f"), file]).map(drop)
}

fn ssh_keygen(arguments: &[&Path]) -> Result<String> {
    let output = Command::new("ssh-keygen").args(arguments).stdin(Stdio::null()).output();
    let output = output.context("starting ssh-keygen (of the package openssh-client)")?;
    if !output.status.success() {
        bail!("ssh-keygen: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Kind and key, whatever the comment behind them is.
fn same_key(a: &str, b: &str) -> bool {
    a.split_whitespace().take(2).eq(b.split_whitespace().take(2))
}

pub async fn open(open: Open) -> Result<()> {
    let port = open.port.to_string();
    let ask = [
        ("GroupName", "default".to_owned()),
        ("IpPermissions.1.IpProtocol", "tcp".into()),
        ("IpPermissions.1.FromPort", port.clone()),
        ("IpPermissions.1.ToPort", port),
        ("IpPermissions.1.IpRanges.1.CidrIp", open.from.to_string()),
    ];
    match call(&open.place.access()?, "AuthorizeSecurityGroupIngress", &ask).await {
        Err(e) if !e.to_string().starts_with("InvalidPermission.Duplicate:") => Err(e),
        _ => Ok(()),
    }
}

/// An instance by its id, or the one that lives and has this tag Name.
async fn find(access: &Access, instance: &str) -> Result<Seen> {
    let ask = if instance.starts_with("i-") {
        vec![("InstanceId.1", instance.to_owned())]
    } else {
        vec![("Filter.1.Name", "tag:Name".to_owned()), ("Filter.1.Value.1", instance.to_owned())]
    };
    let mut found = see(access, &ask).await?;
    if !instance.starts_with("i-") {
        found.retain(|seen| !matches!(seen.state.as_str(), "shutting-down" | "terminated"));
    }
    match found.len() {
        0 => bail!("no instance is named '{instance}'"),
        1 => Ok(found.remove(0)),
        n => bail!("{n} instances are named '{instance}': say which by its id"),
    }
}

async fn see(access: &Access, ask: &[(&str, String)]) -> Result<Vec<Seen>> {
    let answer = call(access, "DescribeInstances", ask).await?;
    Ok(instances(&answer).into_iter().map(seen).collect())
}

/// The items of all `instancesSet`s. Items have sets with items of their own, and their parts come in any order.
fn instances(xml: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for set in xml.split("<instancesSet>").skip(1) {
        let set = set.split("</instancesSet>").next().unwrap_or(set);
        let (mut depth, mut start) = (0, 0);
        for (at, tag) in set.match_indices("item>") {
            match set.as_bytes()[..at].last() {
                Some(b'<') => {
                    if depth == 0 {
                        start = at + tag.len();
                    }
                    depth += 1;
                }
                Some(b'/') => {
                    depth -= 1;
                    if depth == 0 {
                        found.extend(set.get(start..at - "</".len()));
                    }
                }
                _ => {}
            }
        }
    }
    found
}

fn seen(xml: &str) -> Seen {
    let state = xml.split("<instanceState>").nth(1).and_then(|state| element(state, "name"));
    Seen {
        id: element(xml, "instanceId").unwrap_or_default(),
        state: state.unwrap_or_default(),
        kind: element(xml, "instanceType").unwrap_or_default(),
        address: element(xml, "ipAddress"),
        key: element(xml, "keyName"),
        name: xml.split("<key>Name</key>").nth(1).and_then(|rest| element(rest, "value")),
    }
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
    let text = rest.split(&format!("</{name}>")).next()?;
    let plain = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&amp;", "&")];
    Some(plain.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_read_one_by_one() {
        let xml = "<reservationSet><item><instancesSet><item><tagSet><item><key>Name</key><value>a &amp; b</value></item>\
            </tagSet><instanceState><code>16</code><name>running</name></instanceState><instanceId>i-1</instanceId>\
            <keyName>k</keyName><instanceType>t3.nano</instanceType><ipAddress>198.18.0.9</ipAddress></item><item>\
            <instanceId>i-3</instanceId></item></instancesSet></item><item><instancesSet><item><instanceType>t3.micro\
            </instanceType><instanceState><code>80</code><name>stopped</name></instanceState><instanceId>i-2</instanceId>\
            </item></instancesSet></item></reservationSet>";
        let all: Vec<Seen> = instances(xml).into_iter().map(seen).collect();
        let first = Seen {
            id: "i-1".into(),
            state: "running".into(),
            kind: "t3.nano".into(),
            address: Some("198.18.0.9".into()),
            key: Some("k".into()),
            name: Some("a & b".into()),
        };
        let other = |id: &str, state: &str, kind: &str| {
            let (id, state, kind) = (id.to_owned(), state.to_owned(), kind.to_owned());
            Seen { id, state, kind, address: None, key: None, name: None }
        };
        assert_eq!(all, [first, other("i-3", "", ""), other("i-2", "stopped", "t3.micro")]);
    }

    #[test]
    fn a_folder_may_have_any_name() {
        let command = proxy_command(Path::new("/it's 100% ours")).expect("a program");
        assert!(command.ends_with(" connect --data-dir '/it'\\''s 100%% ours' %h %p"), "{command}");
    }

    #[test]
    fn a_comment_is_no_part_of_a_key() {
        assert!(same_key("ssh-ed25519 AAAA here", "ssh-ed25519 AAAA"));
        assert!(!same_key("ssh-ed25519 AAAA", "ssh-ed25519 BBBB"));
    }
}
