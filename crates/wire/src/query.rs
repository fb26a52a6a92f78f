//! Reads requests: `a=b&c.1.d=e` into a tree, and the tree into a typed request.
//!
//! **Invariants.** Limits hold before memory is used. Every parameter is read by its action or refused by name.

use std::collections::BTreeMap;

use crate::shape::{Field, Item, Leaf, List, Shape, Slot, Visitor};

const PARAMETERS_MAX: usize = 10_000;
const DEPTH_MAX: usize = 12;
const LIST_MAX: usize = 1_000;

/// What is wrong with a request, with EC2's code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ReadError {
    pub code: &'static str,
    pub message: String,
}

pub(crate) fn error(code: &'static str, message: impl Into<String>) -> ReadError {
    ReadError { code, message: message.into() }
}

/// What a message quotes of a request: not too much, and nothing that a terminal obeys.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect::<String>().replace("\\'", "'").replace("\\\"", "\"")
}

fn malformed(message: &str) -> ReadError {
    error("MalformedQueryString", message)
}

/// The two ways in which services write lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `InstanceId.1`
    Ec2,
    /// `Tags.member.1`
    AwsQuery,
}

#[derive(Debug, Default)]
struct Node {
    value: Option<String>,
    /// Counts the values, so that a reader can note which of them it has read.
    number: usize,
    children: BTreeMap<String, Node>,
}

/// The parameters of a request.
#[derive(Debug, Default)]
pub struct Params {
    root: Node,
    count: usize,
}

/// Names that belong to the protocol or to the signature, not to the action.
const NOT_THE_ACTIONS: [&str; 6] =
    ["Action", "Version", "AWSAccessKeyId", "Signature", "SignatureMethod", "SignatureVersion"];

impl Params {
    /// Parses `application/x-www-form-urlencoded` text; several pieces (query string, body) become one request.
    pub fn parse(pieces: &[&[u8]]) -> Result<Self, ReadError> {
        let mut params = Self::default();
        for piece in pieces {
            for pair in piece.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
                let (key, value) = match pair.iter().position(|b| *b == b'=') {
                    Some(at) => (&pair[..at], &pair[at + 1..]),
                    None => (pair, &[][..]),
                };
                params.insert(&decode(key)?, decode(value)?)?;
            }
        }
        Ok(params)
    }

    fn insert(&mut self, key: &str, value: String) -> Result<(), ReadError> {
        if key.starts_with("X-Amz-") {
            return Ok(());
        }
        let mut node = &mut self.root;
        for (depth, part) in key.split('.').enumerate() {
            if depth >= DEPTH_MAX || part.len() > 256 {
                return Err(malformed("A parameter name is nested too deeply"));
            }
            node = node.children.entry(part.to_owned()).or_default();
        }
        if node.value.replace(value).is_some() {
            return Err(malformed("A parameter is given more than once"));
        }
        node.number = self.count;
        self.count += 1;
        if self.count > PARAMETERS_MAX {
            return Err(malformed("The request has too many parameters"));
        }
        Ok(())
    }

    /// The value of a parameter without dots in its name: `Action`, `Version`, `DryRun`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.root.children.get(name)?.value.as_deref()
    }

    pub fn is_empty(&self) -> bool {
        self.root.children.is_empty()
    }

    /// The request of an action. What it has no member for is refused.
    pub fn read<T: Shape + Default>(&self, dialect: Dialect) -> Result<T, ReadError> {
        let mut request = T::default();
        let read = vec![false; self.count];
        let mut reader = Reader { node: &self.root, path: String::new(), dialect, read, failed: None };
        request.visit(&mut reader);
        if let Some(failed) = reader.failed {
            return Err(failed);
        }
        for name in NOT_THE_ACTIONS {
            if let Some(node) = self.root.children.get(name) {
                reader.note(node);
            }
        }
        unread(&self.root, "", &reader.read).map_or(Ok(request), |name| Err(unknown(&name)))
    }
}

fn unknown(name: &str) -> ReadError {
    error("UnknownParameter", format!("The parameter {} is not recognized", shown(name)))
}

fn unread(node: &Node, path: &str, read: &[bool]) -> Option<String> {
    if node.value.is_some() && !read[node.number] {
        return Some(path.to_owned());
    }
    node.children.iter().find_map(|(name, child)| {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        unread(child, &path, read)
    })
}

/// A list's index: `7`, but neither `07`, which would be a second name for the same member, nor `+7`.
fn index(key: &str) -> Option<u32> {
    let plain = key.bytes().all(|b| b.is_ascii_digit()) && (key == "0" || !key.starts_with('0'));
    key.parse().ok().filter(|_| plain)
}

fn decode(text: &[u8]) -> Result<String, ReadError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
                match (digit(rest.next()), digit(rest.next())) {
                    (Some(high), Some(low)) => u8::try_from(high * 16 + low).unwrap_or_default(),
                    _ => return Err(malformed("The query string contains a malformed escape")),
                }
            }
            other => other,
        });
    }
    let text = String::from_utf8(out).map_err(|_| malformed("The query string is not UTF-8"))?;
    if text.chars().any(is_unspeakable) {
        return Err(malformed("The query string contains a character that no answer can contain"));
    }
    Ok(text)
}

/// What XML 1.0 has no way to write: whoever was told of it would be told of something else.
fn is_unspeakable(c: char) -> bool {
    matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}')
}

struct Reader<'p> {
    node: &'p Node,
    path: String,
    dialect: Dialect,
    /// By the numbers of values.
    read: Vec<bool>,
    failed: Option<ReadError>,
}

impl<'p> Reader<'p> {
    fn note(&mut self, node: &Node) {
        if node.value.is_some() {
            self.read[node.number] = true;
        }
    }

    fn fail(&mut self, failed: ReadError) {
        self.failed.get_or_insert(failed);
    }

    fn name(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    fn missing(&mut self, field: &Field) {
        let name = self.name(field.query);
        self.fail(error("MissingParameter", format!("The request must contain the parameter {name}")));
    }

    fn text(&mut self, node: &'p Node, name: &str, leaf: &mut dyn Leaf) {
        let Some(text) = node.value.as_deref() else {
            self.fail(error("InvalidParameterValue", format!("The parameter {name} takes one value")));
            return;
        };
        self.note(node);
        if !leaf.read(text) {
            let message = format!("Invalid value '{}' for {name}: expected {}", shown(text), leaf.kind());
            self.fail(error("InvalidParameterValue", message));
        }
    }

    fn enter(&mut self, node: &'p Node, path: String, shape: &mut dyn Shape) {
        let (outer, outer_path) = (self.node, std::mem::replace(&mut self.path, path));
        self.node = node;
        shape.visit(self);
        self.node = outer;
        self.path = outer_path;
    }

    /// The members of a list, in the order of their numbers. Gaps are fine.
    fn members(&mut self, node: &'p Node, name: &str) -> Vec<(u32, &'p Node)> {
        let node = match (self.dialect, node.children.get("member")) {
            (Dialect::AwsQuery, Some(member)) if node.children.len() == 1 => member,
            _ => node,
        };
        let mut members = Vec::with_capacity(node.children.len().min(LIST_MAX));
        for (key, child) in &node.children {
            match index(key) {
                Some(number) => members.push((number, child)),
                None => {
                    self.fail(unknown(&format!("{name}.{key}")));
                    return Vec::new();
                }
            }
        }
        if members.len() > LIST_MAX {
            let message = format!("The list {name} has more than {LIST_MAX} members");
            self.fail(error("InvalidParameterValue", message));
            return Vec::new();
        }
        members.sort_by_key(|(number, _)| *number);
        members
    }
}

impl Visitor for Reader<'_> {
    fn leaf(&mut self, field: &Field, leaf: &mut dyn Leaf) {
        match self.node.children.get(field.query) {
            Some(node) => {
                let name = self.name(field.query);
                self.text(node, &name, leaf);
            }
            None if field.required => self.missing(field),
            None => {}
        }
    }

    fn shape(&mut self, field: &Field, slot: &mut dyn Slot) {
        match self.node.children.get(field.query) {
            Some(node) if node.value.is_none() => {
                let path = self.name(field.query);
                self.enter(node, path, slot.fill());
            }
            Some(_) => {
                let message = format!("The parameter {} is a structure", self.name(field.query));
                self.fail(error("InvalidParameterValue", message));
            }
            None if field.required => self.missing(field),
            None => {}
        }
    }

    fn list(&mut self, field: &Field, list: &mut dyn List) {
        let Some(node) = self.node.children.get(field.query) else {
            if field.required {
                self.missing(field);
            }
            return;
        };
        let name = self.name(field.query);
        if node.value.is_some() {
            if !node.value.as_deref().is_some_and(str::is_empty) {
                self.fail(error("InvalidParameterValue", format!("The parameter {name} is a list: {name}.1, …")));
            }
            self.note(node);
        }
        let members = self.members(node, &name);
        if members.is_empty() && field.required {
            self.missing(field);
        }
        for (number, child) in members {
            let path = format!("{name}.{number}");
            match list.push() {
                Item::Leaf(leaf) => self.text(child, &path, leaf),
                Item::Shape(shape) if child.value.is_none() => self.enter(child, path, shape),
                Item::Shape(_) => {
                    self.fail(error("InvalidParameterValue", format!("The parameter {path} is a structure")));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ec2::{AuthorizeSecurityGroupIngressRequest, DescribeInstancesRequest, Filter, RunInstancesRequest};

    fn read<T: Shape + Default>(text: &str) -> Result<T, ReadError> {
        Params::parse(&[text.as_bytes()])?.read(Dialect::Ec2)
    }

    fn refused(text: &str) -> String {
        read::<RunInstancesRequest>(text).expect_err(text).to_string()
    }

    #[test]
    fn a_request_as_clients_write_it_is_read_whole() {
        let text = "Action=DescribeInstances&Version=2016-11-15&Filter.2.Name=tag%3AName&Filter.2.Value.10=z&Filter.2.Value.9=a+b\
                    &Filter.1.Name=vpc-id&Filter.1.Value.1=%C3%A9&MaxResults=5&DryRun=false&InstanceId.7=i-7";
        let filter = |name: &str, values: &[&str]| Filter {
            name: Some(name.into()),
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        };
        let expected = DescribeInstancesRequest {
            instance_ids: vec!["i-7".into()],
            dry_run: Some(false),
            filters: vec![filter("vpc-id", &["é"]), filter("tag:Name", &["a b", "z"])],
            max_results: Some(5),
            ..Default::default()
        };
        assert_eq!(read(text), Ok(expected));
    }

    #[test]
    fn nested_structures_and_lists_of_them_are_read() {
        let text = "GroupId=sg-1&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=-1&IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0%2F8\
                    &IpPermissions.1.Groups.1.GroupId=sg-2";
        let request: AuthorizeSecurityGroupIngressRequest = read(text).expect("reads");
        let permission = &request.ip_permissions[0];
        assert_eq!(permission.from_port, Some(-1));
        assert_eq!(permission.ip_ranges[0].cidr_ip.as_deref(), Some("10.0.0.0/8"));
        assert_eq!(permission.user_id_group_pairs[0].group_id.as_deref(), Some("sg-2"));
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let min_max = "MinCount=1&MaxCount=1&";
        for (text, expected) in [
            ("MinCount=1", "MissingParameter: The request must contain the parameter MaxCount"),
            ("MinCount=x&MaxCount=1", "InvalidParameterValue: Invalid value 'x' for MinCount: expected an integer"),
            (
                "MinCount=2147483648&MaxCount=1",
                "InvalidParameterValue: Invalid value '2147483648' for MinCount: expected an integer",
            ),
            ("Nonsense=1", "UnknownParameter: The parameter Nonsense is not recognized"),
            ("Placement.X%0A=1", "UnknownParameter: The parameter Placement.X\\n is not recognized"),
            ("Placement=1", "InvalidParameterValue: The parameter Placement is a structure"),
            ("ImageId.1=x", "InvalidParameterValue: The parameter ImageId takes one value"),
            ("ImageId=a&ImageId.1=x", "UnknownParameter: The parameter ImageId.1 is not recognized"),
            (
                "SecurityGroupId=x",
                "InvalidParameterValue: The parameter SecurityGroupId is a list: SecurityGroupId.1, …",
            ),
            ("SecurityGroupId.a=x", "UnknownParameter: The parameter SecurityGroupId.a is not recognized"),
            ("SecurityGroupId.01=x", "UnknownParameter: The parameter SecurityGroupId.01 is not recognized"),
            (
                "SecurityGroupId.99999999999=x",
                "UnknownParameter: The parameter SecurityGroupId.99999999999 is not recognized",
            ),
            ("SecurityGroupId.member.1=x", "UnknownParameter: The parameter SecurityGroupId.member is not recognized"),
            ("EbsOptimized=yes", "InvalidParameterValue: Invalid value 'yes' for EbsOptimized: expected true or false"),
            ("ImageId=a&ImageId=b", "MalformedQueryString: A parameter is given more than once"),
            ("ImageId=%4", "MalformedQueryString: The query string contains a malformed escape"),
            ("ImageId=%+1", "MalformedQueryString: The query string contains a malformed escape"),
            ("ImageId=%ff", "MalformedQueryString: The query string is not UTF-8"),
            ("ImageId=a%00b", "MalformedQueryString: The query string contains a character that no answer can contain"),
        ] {
            let text = if text.starts_with("MinCount") { text.to_owned() } else { format!("{min_max}{text}") };
            assert_eq!(refused(&text), expected, "{text}");
        }
    }

    #[test]
    fn limits_hold() {
        let fewer = (1..PARAMETERS_MAX).map(|i| format!("a{i}=&")).collect::<String>();
        assert!(refused(&fewer).contains("must contain"));
        assert!(refused(&"a.".repeat(DEPTH_MAX)).contains("nested too deeply"));
        assert!(refused(&"a.".repeat(500_000)).contains("nested too deeply"));
        let many =
            |n: usize| (1..=n).map(|i| format!("SecurityGroupId.{i}=x&")).collect::<String>() + "MinCount=1&MaxCount=1";
        assert_eq!(read::<RunInstancesRequest>(&many(LIST_MAX)).map(|r| r.security_group_ids.len()), Ok(LIST_MAX));
        assert!(refused(&many(LIST_MAX + 1)).contains("more than 1000 members"));
        assert!(refused(&many(PARAMETERS_MAX)).contains("too many parameters"));
    }

    #[test]
    fn aws_query_lists_have_members() {
        let text = "InstanceIds.member.2=b&InstanceIds.member.1=a";
        let params = Params::parse(&[text.as_bytes()]).expect("parses");
        #[derive(Default)]
        struct Request(Vec<String>);
        impl Shape for Request {
            fn visit(&mut self, v: &mut dyn Visitor) {
                let field = Field::new("InstanceIds", "InstanceIds", "InstanceIds").list("member");
                v.list(&field, &mut crate::shape::Leaves(&mut self.0));
            }
        }
        assert_eq!(params.read::<Request>(Dialect::AwsQuery).map(|r| r.0), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert!(params.read::<Request>(Dialect::Ec2).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_the_same_bytes_give_the_same_answer(bytes in any::<Vec<u8>>()) {
            let read = || Params::parse(&[&bytes])?.read::<RunInstancesRequest>(Dialect::Ec2);
            prop_assert_eq!(read(), read());
        }

        #[test]
        fn no_query_made_of_its_own_words_makes_it_panic(
            pairs in proptest::collection::vec(
                (
                    "(MinCount|ImageId|BlockDeviceMapping|TagSpecification|NetworkInterface|Monitoring|Placement)(\\.(1|2|0|member|Ebs|Tag|Key|Enabled|99999999999)){0,6}",
                    "[0-9a-z%+.é-]{0,8}|true|",
                ),
                0..12,
            ),
        ) {
            let text = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("&");
            prop_assert_eq!(read::<RunInstancesRequest>(&text), read(&text));
        }

        #[test]
        fn any_text_arrives_as_it_was_sent(text in any::<String>()) {
            let encoded = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC);
            let params = Params::parse(&[format!("Value={encoded}").as_bytes()]).expect("well-formed");
            prop_assert_eq!(params.value("Value"), Some(text.as_str()));
        }
    }
}
