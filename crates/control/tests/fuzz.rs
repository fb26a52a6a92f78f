//! Requests made by a grammar that knows the API, and broken on purpose: no answer is ours to blame (5xx), none panics.
//!
//! Replay: `AWAN_FUZZ_SEED=N AWAN_FUZZ_COUNT=M cargo test -p awan-control --test fuzz`.

use std::sync::Arc;

use awan_control::actions::ACTIONS;
use awan_control::operator::{self, Builtin, Credentials};
use awan_control::{Control, Settings, http};
use awan_model::image::Boot;
use awan_state::{Clock as _, Entropy, MemoryStore, Mode, WallClock};
use awan_wire::{names, sigv4};
use axum::body::{Body, to_bytes};
use axum::http::Request;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tower::ServiceExt as _;

const KEYS: [&str; 40] = [
    "InstanceId.1",
    "InstanceId.2",
    "InstanceId",
    "ImageId",
    "MinCount",
    "MaxCount",
    "InstanceType",
    "KeyName",
    "UserData",
    "SubnetId",
    "SecurityGroupId.1",
    "SecurityGroup.1",
    "GroupId",
    "GroupName",
    "GroupDescription",
    "VpcId",
    "Filter.1.Name",
    "Filter.1.Value.1",
    "MaxResults",
    "NextToken",
    "DryRun",
    "ClientToken",
    "AllocationId",
    "PublicIp",
    "AssociationId",
    "IpPermissions.1.IpProtocol",
    "IpPermissions.1.FromPort",
    "IpPermissions.1.ToPort",
    "IpPermissions.1.IpRanges.1.CidrIp",
    "ResourceId.1",
    "Tag.1.Key",
    "Tag.1.Value",
    "TagSpecification.1.ResourceType",
    "TagSpecification.1.Tag.1.Key",
    "BlockDeviceMapping.1.Ebs.VolumeSize",
    "NetworkInterface.1.SubnetId",
    "Attribute",
    "Value",
    "PublicKeyMaterial",
    "Owner.1",
];

const VALUES: [&str; 34] = [
    "",
    "1",
    "0",
    "-1",
    "2147483648",
    "99999999999999999999",
    "1e309",
    "true",
    "false",
    "maybe",
    "tcp",
    "-1.5",
    "0.0.0.0/0",
    "10.0.0.0/33",
    "::/0",
    "i-00000000000000000",
    "i-0123",
    "ami-51a7ed00000000000",
    "sg-00000000000000001",
    "t3.micro",
    "m5.large",
    "default",
    "us-east-1a",
    "instance-state-name",
    "running",
    "*",
    "?",
    "\\",
    "\u{0}",
    "\u{202e}\u{1f4a9}",
    "<a>&amp;]]>",
    "'; DROP TABLE kv; --",
    "../../etc/passwd",
    "aGVsbG8=",
];

struct Fuzz {
    dice: StdRng,
    keys: Credentials,
    /// Ids that answers have shown, to be used again.
    seen: Vec<String>,
}

impl Fuzz {
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.dice.random_range(0..from.len())]
    }

    fn action(&mut self) -> String {
        match self.dice.random_range(0..10) {
            0..7 => ACTIONS[self.dice.random_range(0..ACTIONS.len())].name.to_owned(),
            7..9 => names::EC2[self.dice.random_range(0..names::EC2.len())].0.to_owned(),
            _ => self.pick(&["", "Nothing", "describeinstances", "RunInstances ", "\u{0}", "A.B"]).to_owned(),
        }
    }

    fn value(&mut self) -> String {
        match self.dice.random_range(0..8) {
            0..3 if !self.seen.is_empty() => self.seen[self.dice.random_range(0..self.seen.len())].clone(),
            3 => (0..self.dice.random_range(0..400)).map(|_| char::from(self.dice.random_range(0..128_u8))).collect(),
            _ => self.pick(&VALUES).to_owned(),
        }
    }

    fn body(&mut self) -> String {
        let hex = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
        let mut body = format!("Action={}&Version=2016-11-15", hex(&self.action()));
        for _ in 0..self.dice.random_range(0..7) {
            let mut key = self.pick(&KEYS).to_owned();
            if self.dice.random_bool(0.05) {
                key.push_str(self.pick(&[".1", ".x", "..", ".999999999", ".member.1", ".1.1.1.1.1.1.1.1.1.1.1.1"]));
            }
            let value = self.value();
            body.push_str(&format!("&{key}={}", hex(&value)));
        }
        if self.dice.random_bool(0.03) {
            body.push_str(self.pick(&[
                "&%zz=1",
                "&a=%ff%fe",
                "&=&=&",
                "&Action=Again",
                "%",
                "&InstanceId=1&InstanceId.1=2",
            ]));
        }
        body
    }

    fn request(&mut self) -> Request<Body> {
        let body = self.body();
        let now = i64::try_from(WallClock.now()).expect("a time");
        let shift = if self.dice.random_bool(0.02) { 3_600_000 } else { 0 };
        let stamp =
            jiff::Timestamp::from_millisecond(now + shift).expect("a time").strftime("%Y%m%dT%H%M%SZ").to_string();
        let service = if self.dice.random_bool(0.97) { "ec2" } else { self.pick(&["sts", "iam", "s3", ""]) };
        let region = if self.dice.random_bool(0.98) { "us-east-1" } else { "mars-1" };
        let form = "application/x-www-form-urlencoded".to_owned();
        let headers =
            [("content-type", form), ("host", "awan".into()), ("x-amz-date", stamp)].map(|(n, v)| (n.to_owned(), v));
        let parts = sigv4::Parts { method: "POST", path: "/", query: "", headers: &headers, body: body.as_bytes() };
        let (id, secret) = (self.keys.access_key_id.clone(), self.keys.secret_access_key.clone());
        let line = match self.dice.random_range(0..40) {
            0 => None,
            1 => sigv4::authorization("wrong", &id, region, service, &parts).ok(),
            2 => sigv4::authorization(&secret, "AKIANOBODY", region, service, &parts).ok(),
            3 => Some(self.value().chars().filter(|c| (' '..'~').contains(c)).collect()),
            _ => sigv4::authorization(&secret, &id, region, service, &parts).ok(),
        };
        let mut request = Request::builder().method("POST").uri("/");
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        if let Some(line) = line {
            request = request.header("authorization", line);
        }
        request.body(Body::from(body)).expect("a request")
    }

    fn learn(&mut self, answer: &str) {
        for word in answer.split(['<', '>']).filter(|w| w.len() < 40 && w.contains('-') && !w.contains('/')) {
            if self.seen.len() < 500 {
                self.seen.push(word.to_owned());
            } else if self.dice.random_bool(0.05) {
                let at = self.dice.random_range(0..500);
                word.clone_into(&mut self.seen[at]);
            }
        }
    }
}

async fn cloud() -> (Arc<Control>, Credentials) {
    let control = Control::open(Box::<MemoryStore>::default(), Mode::Inline, Arc::new(WallClock), Entropy::seeded(1))
        .expect("opens");
    let settings = Settings {
        regions: vec!["us-east-1".into()],
        zones_per_region: 3,
        public_pool: "198.18.0.0/16".parse().expect("a network"),
    };
    operator::install(&control.db, &settings).await.expect("installs");
    let image = Builtin {
        name: "awan-tiny-fuzz".into(),
        description: String::new(),
        digest: "51a7ed00000000000000000000000001".into(),
        size_gib: 1,
        boot: Boot::Firmware,
    };
    operator::register_builtin(&control.db, &image).await.expect("registers");
    let keys = operator::create_account(&control.db, "fuzz", None, "test").await.expect("opens an account");
    (control, keys)
}

#[tokio::test]
async fn no_request_is_answered_with_an_error_of_ours() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let seed = number("AWAN_FUZZ_SEED").unwrap_or_else(rand::random::<u64>);
    let count = number("AWAN_FUZZ_COUNT").unwrap_or(100_000);
    let (control, keys) = cloud().await;
    let router = http::router(control);
    let mut fuzz = Fuzz { dice: StdRng::seed_from_u64(seed), keys, seen: Vec::new() };
    let (mut good, mut refused) = (0, 0);
    for n in 0..count {
        let response = router.clone().oneshot(fuzz.request()).await.expect("answers");
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        let text = String::from_utf8(body.to_vec()).expect("UTF-8");
        // No host has joined this cloud, so that it is full is the truth.
        let full = text.contains("<Code>InsufficientInstanceCapacity</Code>");
        assert!(status < 500 || full, "request {n} of seed {seed}: {status} {text}");
        assert!(text.starts_with("<?xml"), "request {n} of seed {seed}: {text}");
        if status == 200 {
            good += 1;
        } else {
            refused += 1;
        }
        fuzz.learn(&text);
    }
    assert!(good > count / 20 && refused > count / 20, "{good} good, {refused} refused: the grammar misses");
}
