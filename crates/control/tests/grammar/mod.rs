//! What a request of each action looks like, and how it can be broken.

mod bin;
mod ebs;
mod exports;
mod identity;
mod images;
mod imports;
mod instances;
mod interfaces;
mod logs;
mod network;
mod peers;
mod rest;
mod templates;
mod volumes;

use std::collections::BTreeMap;

use awan_control::actions::ACTIONS;
use awan_control::dispatch::{Action, Service};
use awan_wire::names;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const IMAGE: &str = "ami-51a7ed00000000000";
const SEEN_MAX: usize = 40;

/// What stands here before actions of CloudWatch Logs: other services have some of the same names.
const OF_LOGS: &str = "logs:";

/// The name of an action that no other service's has.
pub fn name(action: &Action) -> String {
    let service = if action.service == Service::Logs { OF_LOGS } else { "" };
    format!("{service}{}", action.name)
}

fn service(of: &str) -> Option<Service> {
    ACTIONS.iter().find(|action| name(action) == of).map(|action| action.service)
}

/// A request before it is signed.
pub struct Call {
    pub service: &'static str,
    /// What is asked, of a service that is told so in a header and takes JSON.
    pub target: Option<String>,
    pub rest: Option<Rest>,
    pub body: String,
}

/// What a request of REST says beside its body.
pub struct Rest {
    pub method: &'static str,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
}

impl Call {
    pub fn form(service: &'static str, body: String) -> Self {
        Self { service, target: None, rest: None, body }
    }

    pub fn json(action: &str, body: String) -> Self {
        match action.strip_prefix(OF_LOGS) {
            Some(action) => Self { target: Some(format!("Logs_20140328.{action}")), ..Self::form("logs", body) },
            None => Self { target: Some(format!("AmazonSSM.{action}")), ..Self::form("ssm", body) },
        }
    }

    /// An action of any service, with its parameters as that service takes them.
    pub fn of(action: &str, parameters: &str) -> Self {
        let form = |service| Self::form(service, format!("Action={action}&{parameters}"));
        match service(action) {
            Some(Service::Logs | Service::Ssm) => Self::json(action, parameters.to_owned()),
            Some(service @ (Service::Ebs | Service::Rbin)) => {
                let pairs = parameters.split('&').filter_map(|pair| pair.split_once('='));
                rest::call(service, action, &pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect::<Vec<_>>())
            }
            Some(Service::Iam) => form("iam"),
            Some(Service::Sts) => form("sts"),
            Some(Service::Ec2) | None => form("ec2"),
        }
    }
}

/// Parameters as a JSON object. What looks like a list, a number or a truth is one.
fn object(parameters: &[(String, String)]) -> String {
    let bare = |text: &str| {
        let json = serde_json::from_str::<serde_json::Value>(text);
        json.is_ok_and(|value| !value.is_string() && !value.is_null())
    };
    let member = |(key, value): &(String, String)| {
        let value = if bare(value) { value.clone() } else { serde_json::Value::from(value.as_str()).to_string() };
        format!("{}:{value}", serde_json::Value::from(key.as_str()))
    };
    format!("{{{}}}", parameters.iter().map(member).collect::<Vec<_>>().join(","))
}

/// Parameters of an action: those that it needs, then those that it may have. A value is one of several, parted by `|`;
/// `<i>` is an id that an answer has shown.
pub type Recipe = (&'static str, &'static [(&'static str, &'static str)], &'static [(&'static str, &'static str)]);

const FILTER: (&str, &str) = ("Filter.1.Name", "tag:a|vpc-id|instance-state-name|group-id|state|colour");
const FILTER_VALUE: (&str, &str) = ("Filter.1.Value.1", "*|running|<vpc>|<sg>|a?|available");
const PAGE: (&str, &str) = ("MaxResults", "5|100|1|1000|1001|-1");
const GROUP: (&str, &str) = ("GroupId", "<sg>");
const PROTOCOL: (&str, &str) = ("IpPermissions.1.IpProtocol", "tcp|udp|-1|icmp");
const FROM: (&str, &str) = ("IpPermissions.1.FromPort", "22|80|-1");
const TO: (&str, &str) = ("IpPermissions.1.ToPort", "22|80|-1");
const CIDR: (&str, &str) = ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8|0.0.0.0/0|192.0.2.7/32");
const DESCRIPTION: (&str, &str) = ("IpPermissions.1.IpRanges.1.Description", "from home|");

/// Sends the requests of a story: things that others made may be in the way, so each step may be refused.
pub trait Teller {
    /// The answer, whatever it is.
    fn ask(&mut self, action: &str, parameters: &str) -> String;
    /// The hosts do what their plans say.
    fn round(&mut self);
}

/// What needs several things in a row, which chance brings together too seldom.
pub const STORIES: &[fn(&mut dyn Teller)] = &[
    // Wants the default VPC empty.
    network::story,
    bin::story,
    ebs::story,
    exports::story,
    identity::story,
    images::story,
    imports::story,
    instances::story,
    interfaces::story,
    logs::story,
    peers::story,
    templates::story,
    volumes::story,
];

/// Recipes and actions without a `DryRun`, by areas.
const AREAS: &[(&[Recipe], &[&str])] = &[
    (RECIPES, &["ModifySubnetAttribute", "ModifyVpcAttribute"]),
    (bin::RECIPES, &[]),
    (ebs::RECIPES, &[]),
    (exports::RECIPES, exports::WET),
    (identity::RECIPES, identity::WET),
    (images::RECIPES, images::WET),
    (imports::RECIPES, &[]),
    (instances::RECIPES, instances::WET),
    (interfaces::RECIPES, interfaces::WET),
    (logs::RECIPES, &[]),
    (network::RECIPES, network::WET),
    (peers::RECIPES, peers::WET),
    (templates::RECIPES, templates::WET),
    (volumes::RECIPES, volumes::WET),
];

fn recipes() -> impl Iterator<Item = &'static Recipe> {
    AREAS.iter().flat_map(|(recipes, _)| recipes.iter())
}

/// The text of an element's first occurrence.
pub fn text(answer: &str, element: &str) -> String {
    let rest = answer.split(&format!("<{element}>")).nth(1);
    rest.and_then(|rest| rest.split('<').next()).unwrap_or_default().to_owned()
}

const RECIPES: &[Recipe] = &[
    ("AllocateAddress", &[], &[("Domain", "vpc|standard"), ("Address", "198.18.7.7|10.0.0.1")]),
    (
        "AssociateAddress",
        &[("AllocationId", "<eipalloc>"), ("InstanceId", "<i>")],
        &[("AllowReassociation", "true|false")],
    ),
    ("AssociateRouteTable", &[TABLE, ("SubnetId", "<subnet>")], &[]),
    ("AttachInternetGateway", &[GATEWAY, ("VpcId", "<vpc>")], &[]),
    ("AuthorizeSecurityGroupEgress", &[GROUP, PROTOCOL, FROM, TO, CIDR], &[DESCRIPTION]),
    ("AuthorizeSecurityGroupIngress", &[GROUP, PROTOCOL, FROM, TO, CIDR], &[DESCRIPTION]),
    ("CreateInternetGateway", &[], &[("TagSpecification.1.ResourceType", "internet-gateway|instance")]),
    ("CreateKeyPair", &[("KeyName", "a|b|c|d|e|f"), ("KeyType", "ed25519")], &[("KeyFormat", "pem|ppk")]),
    ("CreateRoute", &[TABLE, DESTINATION, ("GatewayId", "<igw>")], &[("NatGatewayId", "nat-00000000000000001")]),
    ("CreateRouteTable", &[("VpcId", "<vpc>")], &[("ClientToken", "x|y|z")]),
    (
        "CreateSecurityGroup",
        &[("GroupName", "web|db|a|b|c|default"), ("GroupDescription", "text")],
        &[("VpcId", "<vpc>"), ("TagSpecification.1.ResourceType", "security-group|instance")],
    ),
    (
        "CreateSubnet",
        &[("VpcId", "<vpc>"), ("CidrBlock", SUBNETS)],
        &[
            ("AvailabilityZone", "us-east-1a|us-east-1z"),
            ("AvailabilityZoneId", "use1-az2|x"),
            ("Ipv6CidrBlock", "2001:db8:a00:100::/64|::/0|x"),
        ],
    ),
    (
        "CreateTags",
        &[("ResourceId.1", "<i>|<vol>|<sg>|<eni>|<key>|<sgr>"), ("Tag.1.Key", "a|b"), ("Tag.1.Value", "1|")],
        &[],
    ),
    (
        "CreateVpc",
        &[("CidrBlock", "172.31.0.0/16|10.0.0.0/16|10.0.0.0/8")],
        &[
            ("InstanceTenancy", "default|dedicated"),
            ("AmazonProvidedIpv6CidrBlock", "true|false"),
            ("Ipv6CidrBlockNetworkBorderGroup", "us-east-1|x"),
        ],
    ),
    ("DeleteInternetGateway", &[GATEWAY], &[]),
    ("DeleteKeyPair", &[("KeyName", "a|b|c|d|e|f")], &[]),
    ("DeleteNetworkInterface", &[("NetworkInterfaceId", "<eni>")], &[]),
    ("DeleteRoute", &[TABLE, DESTINATION], &[]),
    ("DeleteRouteTable", &[TABLE], &[]),
    ("DeleteSecurityGroup", &[GROUP], &[]),
    ("DeleteSubnet", &[("SubnetId", "<subnet>")], &[]),
    ("DeleteTags", &[("ResourceId.1", "<i>|<vol>|<sg>|<eni>|<key>")], &[("Tag.1.Key", "a|b"), ("Tag.1.Value", "1|")]),
    ("DeleteVolume", &[("VolumeId", "<vol>")], &[]),
    ("DeleteVpc", &[("VpcId", "<vpc>")], &[]),
    ("DescribeAccountAttributes", &[], &[("AttributeName.1", "default-vpc|max-instances|x")]),
    ("DescribeAddresses", &[], &[("AllocationId.1", "<eipalloc>"), ("PublicIp.1", "198.18.7.7")]),
    ("DescribeAvailabilityZones", &[], &[("ZoneName.1", "us-east-1a|us-east-1z")]),
    ("DescribeImages", &[], &[("Owner.1", "self|amazon|x"), ("ImageId.1", "<ami>"), FILTER, FILTER_VALUE, PAGE]),
    (
        "DescribeInstanceAttribute",
        &[("InstanceId", "<i>"), ("Attribute", "instanceType|userData|groupSet|blockDeviceMapping|x")],
        &[],
    ),
    (
        "DescribeInstanceStatus",
        &[],
        &[("InstanceId.1", "<i>"), ("IncludeAllInstances", "true"), FILTER, FILTER_VALUE, PAGE],
    ),
    ("DescribeInstanceTypeOfferings", &[], &[("LocationType", "region|availability-zone|x"), PAGE]),
    ("DescribeInstanceTypes", &[], &[("InstanceType.1", "t3.micro|x"), PAGE]),
    ("DescribeInstances", &[], &[("InstanceId.1", "<i>"), FILTER, FILTER_VALUE, PAGE]),
    ("DescribeInternetGateways", &[], &[("InternetGatewayId.1", "<igw>"), FILTER, FILTER_VALUE, PAGE]),
    ("DescribeKeyPairs", &[], &[("KeyName.1", "a|b"), ("KeyPairId.1", "<key>")]),
    ("DescribeNetworkInterfaces", &[], &[("NetworkInterfaceId.1", "<eni>"), FILTER, FILTER_VALUE, PAGE]),
    ("DescribeRegions", &[], &[("RegionName.1", "us-east-1|mars-1")]),
    ("DescribeRouteTables", &[], &[("RouteTableId.1", "<rtb>"), FILTER, FILTER_VALUE, PAGE]),
    ("DescribeSecurityGroupRules", &[], &[("SecurityGroupRuleId.1", "<sgr>"), FILTER, FILTER_VALUE, PAGE]),
    ("DescribeSecurityGroups", &[], &[GROUP_1, ("GroupName.1", "default|web"), FILTER, FILTER_VALUE, PAGE]),
    ("DescribeSubnets", &[], &[("SubnetId.1", "<subnet>"), FILTER, FILTER_VALUE, PAGE]),
    ("DescribeTags", &[], &[FILTER, FILTER_VALUE, PAGE]),
    ("DescribeVolumes", &[], &[("VolumeId.1", "<vol>"), FILTER, FILTER_VALUE, PAGE]),
    (
        "DescribeVpcAttribute",
        &[("VpcId", "<vpc>"), ("Attribute", "enableDnsSupport|enableDnsHostnames|enableNetworkAddressUsageMetrics|x")],
        &[],
    ),
    ("DescribeVpcs", &[], &[("VpcId.1", "<vpc>"), FILTER, FILTER_VALUE, PAGE]),
    ("DetachInternetGateway", &[GATEWAY, ("VpcId", "<vpc>")], &[]),
    ("DisassociateAddress", &[("AssociationId", "<eipassoc>")], &[("PublicIp", "198.18.7.7")]),
    ("DisassociateRouteTable", &[("AssociationId", "<rtbassoc>")], &[]),
    ("GetCallerIdentity", &[], &[]),
    ("GetConsoleOutput", &[("InstanceId", "<i>")], &[("Latest", "true")]),
    (
        "ImportKeyPair",
        &[
            ("KeyName", "a|b|c|d|e|f"),
            (
                "PublicKeyMaterial",
                "c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSUpPRkMzQjFoZVFFNUpVYVBkd2ZCYU5MUFU5ZndJSFdGdlJ0aWk2UEhJNW8=|aGVsbG8=",
            ),
        ],
        &[],
    ),
    (
        "ModifyInstanceAttribute",
        &[("InstanceId", "<i>")],
        &[
            ("InstanceType.Value", "t3.small|m5.large|x"),
            ("DisableApiTermination.Value", "true|false"),
            ("DisableApiStop.Value", "false"),
            ("GroupId.1", "<sg>"),
            ("SourceDestCheck.Value", "true|false"),
            ("UserData.Value", "aGVsbG8="),
            ("InstanceInitiatedShutdownBehavior.Value", "stop|terminate|x"),
        ],
    ),
    (
        "ModifySubnetAttribute",
        &[("SubnetId", "<subnet>"), ("MapPublicIpOnLaunch.Value", "true|false|x")],
        &[("EnableDns64.Value", "false|true"), ("AssignIpv6AddressOnCreation.Value", "true|false")],
    ),
    (
        "ModifyVpcAttribute",
        &[("VpcId", "<vpc>")],
        &[("EnableDnsSupport.Value", "true|false"), ("EnableDnsHostnames.Value", "true|false|x")],
    ),
    ("RebootInstances", &[("InstanceId.1", "<i>")], &[("InstanceId.2", "<i>")]),
    ("ReleaseAddress", &[("AllocationId", "<eipalloc>")], &[]),
    ("ReplaceRoute", &[TABLE, DESTINATION, ("GatewayId", "<igw>|local")], &[]),
    ("ReplaceRouteTableAssociation", &[("AssociationId", "<rtbassoc>"), TABLE], &[]),
    ("RevokeSecurityGroupEgress", &[GROUP, PROTOCOL, FROM, TO, CIDR], &[]),
    ("RevokeSecurityGroupIngress", &[GROUP, PROTOCOL, FROM, TO, CIDR], &[]),
    (
        "RunInstances",
        &[("ImageId", IMAGE), ("MinCount", "1"), ("MaxCount", "1|2|3")],
        &[
            ("InstanceType", "t3.micro|t3.nano|m5.large"),
            ("KeyName", "a|b"),
            ("SecurityGroupId.1", "<sg>"),
            ("SubnetId", "<subnet>"),
            ("UserData", "aGVsbG8="),
            ("ClientToken", "x|y|z"),
            ("Ipv6AddressCount", "0|1|-1"),
            ("BlockDeviceMapping.1.DeviceName", "/dev/xvda|/dev/sdf"),
            ("BlockDeviceMapping.1.Ebs.VolumeSize", "8|0"),
            ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true|false"),
            ("BlockDeviceMapping.1.Ebs.SnapshotId", "<snap>"),
            ("NetworkInterface.1.DeviceIndex", "0"),
            ("NetworkInterface.1.DeleteOnTermination", "false"),
            ("TagSpecification.1.ResourceType", "instance|volume"),
            ("TagSpecification.1.Tag.1.Key", "a"),
            ("MetadataOptions.HttpTokens", "optional|required"),
            ("Placement.AvailabilityZone", "us-east-1a|us-east-1c"),
        ],
    ),
    ("StartInstances", &[("InstanceId.1", "<i>")], &[("InstanceId.2", "<i>")]),
    ("StopInstances", &[("InstanceId.1", "<i>")], &[("InstanceId.2", "<i>"), ("Force", "true")]),
    ("TerminateInstances", &[("InstanceId.1", "<i>")], &[("InstanceId.2", "<i>"), ("Force", "true")]),
];
const TABLE: (&str, &str) = ("RouteTableId", "<rtb>");
const GATEWAY: (&str, &str) = ("InternetGatewayId", "<igw>");
const DESTINATION: (&str, &str) = ("DestinationCidrBlock", "0.0.0.0/0|172.31.0.0/16|8.8.8.0/24");
const SUBNETS: &str = "172.31.0.0/20|172.31.16.0/20|172.31.128.0/24|10.0.0.0/24|10.0.1.0/28|10.0.0.0/29";
const GROUP_1: (&str, &str) = ("GroupId.1", "<sg>");

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
    IMAGE,
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

pub struct Grammar {
    pub dice: StdRng,
    /// Ids that answers have shown, by their prefix, to be used again.
    seen: BTreeMap<String, Vec<String>>,
}

pub fn hex(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

impl Grammar {
    pub fn new(seed: u64) -> Self {
        for action in ACTIONS {
            let name = name(action);
            assert!(recipes().any(|(known, ..)| *known == name), "{name} has no recipe");
        }
        Self { dice: StdRng::seed_from_u64(seed), seen: BTreeMap::new() }
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.dice.random_range(0..from.len())]
    }

    /// The name of an action, and a request of it: as it should be, broken a little, or nonsense.
    pub fn call(&mut self) -> (String, Call) {
        let mut action = name(&ACTIONS[self.dice.random_range(0..ACTIONS.len())]);
        let mut parameters = Vec::new();
        let kind = self.dice.random_range(0..10);
        if kind < 9 {
            parameters = self.as_it_should_be(&action);
        }
        match kind {
            0..5 => {}
            5..9 => self.break_some(&mut parameters),
            _ => {
                action = self.other_action();
                (0..self.dice.random_range(0..7)).for_each(|_| self.break_some(&mut parameters));
            }
        }
        let of = service(&action).unwrap_or(Service::Ec2);
        let service = match of {
            _ if self.dice.random_bool(0.01) => self.pick(&["sts", "iam", "s3", "", "ec2"]).to_owned(),
            Service::Ebs | Service::Rbin => "rest".into(),
            Service::Ec2 => "ec2".into(),
            Service::Sts => "sts".into(),
            Service::Iam => "iam".into(),
            Service::Logs | Service::Ssm => "json".into(),
        };
        if service == "json" {
            return (action.clone(), Call::json(&action, object(&parameters)));
        }
        if service == "rest" {
            return (action.clone(), rest::call(of, &action, &parameters));
        }
        let service = ["ec2", "sts", "iam", "s3"].into_iter().find(|s| *s == service).unwrap_or_default();
        let mut body = format!("Action={}&Version=2016-11-15", hex(&action));
        for (key, value) in parameters {
            body.push_str(&format!("&{key}={}", hex(&value)));
        }
        if self.dice.random_bool(0.02) {
            let wrong =
                ["&%zz=1", "&a=%ff%fe", "&=&=&", "&Action=Again", "%", "&InstanceId=1&InstanceId.1=2", "&A=\u{1}"];
            body.push_str(self.pick(&wrong));
        }
        (action, Call::form(service, body))
    }

    pub fn is_dry_runnable(&mut self, action: &str, call: &Call) -> bool {
        let wet = AREAS.iter().any(|(_, wet)| wet.contains(&action));
        let known = !wet && service(action) == Some(Service::Ec2);
        known && call.service == "ec2" && !call.body.contains("DryRun") && self.dice.random_bool(0.2)
    }

    fn other_action(&mut self) -> String {
        if self.dice.random_bool(0.7) {
            names::EC2[self.dice.random_range(0..names::EC2.len())].0.to_owned()
        } else {
            self.pick(&["", "Nothing", "describeinstances", "RunInstances ", "\u{0}", "A.B"]).to_owned()
        }
    }

    fn as_it_should_be(&mut self, action: &str) -> Vec<(String, String)> {
        let Some((_, needed, possible)) = recipes().find(|(name, ..)| *name == action) else { return Vec::new() };
        let mut out: Vec<_> = needed.iter().map(|(key, value)| ((*key).to_owned(), self.one_of(value))).collect();
        if !possible.is_empty() && self.dice.random_bool(0.6) {
            for _ in 0..self.dice.random_range(1..3) {
                let (key, value) = possible[self.dice.random_range(0..possible.len())];
                if out.iter().all(|(old, _)| old != key) {
                    out.push((key.to_owned(), self.one_of(value)));
                }
            }
        }
        out
    }

    fn one_of(&mut self, values: &str) -> String {
        let values: Vec<_> = values.split('|').collect();
        let value = self.pick(&values);
        let Some(prefix) = value.strip_prefix('<').and_then(|v| v.strip_suffix('>')) else { return value.to_owned() };
        match self.seen.get(&format!("{prefix}-")).filter(|ids| !ids.is_empty()) {
            // The newest are the likeliest to be there still.
            Some(ids) => ids
                [ids.len() - 1 - self.dice.random_range(0..ids.len()).min(self.dice.random_range(0..ids.len()))]
            .clone(),
            None => format!("{prefix}-00000000000000000"),
        }
    }

    /// Any value.
    pub fn value(&mut self) -> String {
        match self.dice.random_range(0..8) {
            0..3 if !self.seen.is_empty() => {
                let all: Vec<_> = self.seen.values().flatten().cloned().collect();
                all[self.dice.random_range(0..all.len())].clone()
            }
            3 => (0..self.dice.random_range(0..400)).map(|_| char::from(self.dice.random_range(0..128_u8))).collect(),
            _ => self.pick(&VALUES).to_owned(),
        }
    }

    fn any_key(&mut self) -> String {
        let count = recipes().count();
        let Some((_, needed, possible)) = recipes().nth(self.dice.random_range(0..count)) else { return String::new() };
        let all: Vec<_> = needed.iter().chain(*possible).map(|(key, _)| *key).collect();
        let key = if all.is_empty() { "NextToken" } else { self.pick(&all) };
        let more = if self.dice.random_bool(0.1) {
            self.pick(&[".1", ".x", "..", ".999999999", ".member.1", ".1.1.1.1.1.1.1.1.1.1.1.1"])
        } else {
            ""
        };
        format!("{key}{more}")
    }

    /// One mistake more.
    fn break_some(&mut self, parameters: &mut Vec<(String, String)>) {
        let value = self.value();
        let at = self.dice.random_range(0..parameters.len().max(1));
        match self.dice.random_range(0..4) {
            0 if !parameters.is_empty() => drop(parameters.remove(at)),
            1 if !parameters.is_empty() => parameters[at].1 = value,
            2 if !parameters.is_empty() => parameters.push((self.any_key(), parameters[at].1.clone())),
            _ => parameters.push((self.any_key(), value)),
        }
    }

    pub fn forget(&mut self, prefix: &str) {
        self.seen.remove(prefix);
    }

    pub fn learn(&mut self, answer: &str) {
        for (member, kind) in [("Identifier", "rule-"), ("RuleArn", "rulearn-")] {
            let after = answer.split(&format!("\"{member}\":\"")).skip(1).map(str::to_owned).collect::<Vec<_>>();
            for value in after.iter().filter_map(|rest| rest.split('"').next()) {
                let all = self.seen.entry(kind.into()).or_default();
                all.push(value.to_owned());
                let old = all.len().saturating_sub(SEEN_MAX);
                all.drain(..old);
            }
        }
        for word in answer.split(['<', '>']) {
            let id = word.rsplit_once('-').filter(|(_, digits)| digits.len() == 17 && !word.contains([' ', ':', '/']));
            let Some((kind, _)) = id else { continue };
            let ids = self.seen.entry(format!("{kind}-")).or_default();
            ids.retain(|old| old != word);
            ids.push(word.to_owned());
            if ids.len() > SEEN_MAX {
                ids.remove(0);
            }
        }
    }
}
