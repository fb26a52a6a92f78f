//! REST with JSON: what a request asks for says its method and its path, and its members lie in the path, the query,
//! headers, or a body that is JSON, or bytes as they are.
//!
//! Of a generated [`Field`] of such a service, `query` says where the member lies and `xml` its name there.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::json;
use crate::query::{ReadError, error, shown};
use crate::shape::{Field, Item, Leaf, List, Shape, Slot, Visitor};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub action: &'static str,
    pub method: &'static str,
    /// `/snapshots/{snapshotId}/blocks`
    pub path: &'static str,
    /// Of a success.
    pub status: u16,
}

/// What a request says, wherever it says it. Names of headers are in small letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    pub path: Vec<(String, String)>,
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// The body is bytes as they are, not JSON.
    pub raw: bool,
}

/// The action behind a method and a path, and what the path says.
pub fn route<'r>(routes: &'r [Route], method: &str, path: &str) -> Option<(&'r Route, Vec<(String, String)>)> {
    let of_method = routes.iter().filter(|route| route.method == method);
    let mut found: Vec<_> = of_method.filter_map(|route| Some((route, matched(route.path, path)?))).collect();
    // `/snapshots/completion/{id}` is nearer than what has a name in place of a word.
    found.sort_by_key(|(_, names)| names.len());
    found.into_iter().next()
}

fn matched(pattern: &str, path: &str) -> Option<Vec<(String, String)>> {
    let (mut words, mut said) = (path.split('/'), Vec::new());
    for part in pattern.split('/') {
        let word = words.next()?;
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) if !word.is_empty() => said.push((name.to_owned(), decoded(word)?)),
            Some(_) => return None,
            None if part == word => {}
            None => return None,
        }
    }
    words.next().is_none().then_some(said)
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

/// The pairs of a query, as they are meant.
pub fn query(text: &str) -> Result<Vec<(String, String)>, ReadError> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(&name.replace('+', " "))?, decoded(&value.replace('+', " "))?))
    };
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(pair).collect::<Option<Vec<_>>>();
    pairs.ok_or_else(|| error("SerializationException", "The query is not UTF-8"))
}

/// Reads a request. What it has no member for in its body is refused.
pub fn read<T: Shape + Default>(said: &Said) -> Result<T, ReadError> {
    let mut request = T::default();
    let mut kind = Payload(false);
    request.visit(&mut kind);
    let members = if kind.0 || said.body.is_empty() { serde_json::Map::new() } else { members(&said.body)? };
    let mut reader = Reader { said, body: json::Reader::of(members), failed: None };
    request.visit(&mut reader);
    let Reader { body, failed, .. } = reader;
    failed.map_or_else(|| body.done(), Err)?;
    Ok(request)
}

fn members(body: &[u8]) -> Result<serde_json::Map<String, Value>, ReadError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(error("SerializationException", "The request is not a JSON object")),
        Err(e) => Err(error("SerializationException", format!("Not JSON: {e}"))),
    }
}

/// Whether the body is a member by itself.
struct Payload(bool);

impl Visitor for Payload {
    fn leaf(&mut self, field: &Field, _: &mut dyn Leaf) {
        self.0 |= field.query == "payload";
    }
    fn shape(&mut self, _: &Field, _: &mut dyn Slot) {}
    fn list(&mut self, _: &Field, _: &mut dyn List) {}
}

struct Reader<'s> {
    said: &'s Said,
    body: json::Reader,
    failed: Option<ReadError>,
}

impl Visitor for Reader<'_> {
    fn leaf(&mut self, field: &Field, leaf: &mut dyn Leaf) {
        let said = match field.query {
            "uri" => &self.said.path,
            "querystring" => &self.said.query,
            "header" => &self.said.headers,
            "payload" => {
                leaf.read_raw(&self.said.body);
                return;
            }
            _ => return self.body.leaf(field, leaf),
        };
        let refused = match said.iter().find(|(name, _)| name.eq_ignore_ascii_case(field.xml)) {
            None => field.required.then(|| missing(field)),
            Some((_, text)) => unread(field, text, leaf),
        };
        if let Some(refused) = refused {
            self.failed.get_or_insert(refused);
        }
    }

    fn shape(&mut self, field: &Field, slot: &mut dyn Slot) {
        self.body.shape(field, slot);
    }

    /// In a query its name stands once for each item.
    fn list(&mut self, field: &Field, list: &mut dyn List) {
        if field.query != "querystring" {
            return self.body.list(field, list);
        }
        for (_, text) in self.said.query.iter().filter(|(name, _)| name == field.xml) {
            if let Item::Leaf(leaf) = list.push()
                && let Some(refused) = unread(field, text, leaf)
            {
                self.failed.get_or_insert(refused);
            }
        }
        if field.required && list.is_empty() {
            self.failed.get_or_insert(missing(field));
        }
    }
}

fn missing(field: &Field) -> ReadError {
    error("MissingParameter", format!("The request must contain the parameter {}", field.name))
}

/// Why not, if a text is no value of a member.
fn unread(field: &Field, text: &str, leaf: &mut dyn Leaf) -> Option<ReadError> {
    if leaf.read(text) {
        return None;
    }
    let message = format!("Invalid value '{}' for {}: expected {}", shown(text), field.name, leaf.kind());
    Some(error("InvalidParameterValue", message))
}

/// Writes an answer.
pub fn answer(shape: Option<&mut dyn Shape>) -> Answer {
    let Some(shape) = shape else { return Answer { body: b"{}".to_vec(), ..Answer::default() } };
    let mut writer = Writer { answer: Answer::default(), body: json::Writer::new(true) };
    shape.visit(&mut writer);
    let Writer { mut answer, body } = writer;
    if !answer.raw {
        answer.body = body.done().into_bytes();
    }
    answer
}

struct Writer {
    answer: Answer,
    body: json::Writer,
}

impl Visitor for Writer {
    fn leaf(&mut self, field: &Field, leaf: &mut dyn Leaf) {
        let mut text = String::new();
        match field.query {
            "header" if leaf.write(&mut text) => self.answer.headers.push((field.xml, text)),
            "header" => {}
            "payload" => {
                self.answer.raw = true;
                self.answer.body = leaf.take_raw().unwrap_or_default();
            }
            _ => self.body.leaf(field, leaf),
        }
    }

    fn shape(&mut self, field: &Field, slot: &mut dyn Slot) {
        self.body.shape(field, slot);
    }

    fn list(&mut self, field: &Field, list: &mut dyn List) {
        self.body.list(field, list);
    }
}

/// The body of a refusal; its kind is a header.
pub fn error_body(message: &str, reason: Option<&str>) -> String {
    let mut body = serde_json::json!({ "Message": message });
    if let Some(reason) = reason {
        body["Reason"] = reason.into();
    }
    body.to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ebs, rbin};

    fn routed(method: &str, path: &str) -> Option<(&'static str, String)> {
        let (route, said) = route(&ebs::ROUTES, method, path)?;
        Some((
            route.action,
            said.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "),
        ))
    }

    #[test]
    fn a_method_and_a_path_are_an_action() {
        for (method, path, expected) in [
            ("POST", "/snapshots", Some(("StartSnapshot", ""))),
            ("GET", "/snapshots/s-1/blocks", Some(("ListSnapshotBlocks", "snapshotId=s-1"))),
            ("GET", "/snapshots/s%2D1/blocks/7", Some(("GetSnapshotBlock", "snapshotId=s-1 blockIndex=7"))),
            ("PUT", "/snapshots/s-1/blocks/7", Some(("PutSnapshotBlock", "snapshotId=s-1 blockIndex=7"))),
            ("GET", "/snapshots/s-1/changedblocks", Some(("ListChangedBlocks", "secondSnapshotId=s-1"))),
            ("POST", "/snapshots/completion/s-1", Some(("CompleteSnapshot", "snapshotId=s-1"))),
            ("GET", "/snapshots", None),
            ("DELETE", "/snapshots/s-1/blocks/7", None),
            ("GET", "/snapshots//blocks", None),
            ("GET", "/snapshots/s-1/blocks/7/8", None),
            ("GET", "/snapshots/%ff/blocks", None),
            ("GET", "", None),
        ] {
            assert_eq!(routed(method, path).as_ref().map(|(a, s)| (*a, s.as_str())), expected, "{method} {path}");
        }
    }

    #[test]
    fn members_are_read_from_where_they_lie() {
        let pairs = |all: &[(&str, &str)]| all.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let mut said = Said {
            path: pairs(&[("snapshotId", "snap-1"), ("blockIndex", "7")]),
            query: Vec::new(),
            headers: pairs(&[
                ("x-amz-data-length", "3"),
                ("x-amz-checksum", "sum"),
                ("x-amz-checksum-algorithm", "SHA256"),
            ]),
            body: b"\xff{}".to_vec(),
        };
        let read_put = |said: &Said| read::<ebs::PutSnapshotBlockRequest>(said);
        let put = read_put(&said).expect("reads");
        assert_eq!((put.block_index, put.data_length, put.progress), (Some(7), Some(3), None));
        assert_eq!(put.block_data.expect("is there").0, b"\xff{}");
        said.path[1].1 = "x".into();
        let refused = read_put(&said).expect_err("no number").to_string();
        assert_eq!(refused, "InvalidParameterValue: Invalid value 'x' for BlockIndex: expected an integer");
        said.headers.clear();
        said.path[1].1 = "7".into();
        let refused = read_put(&said).expect_err("none").to_string();
        assert_eq!(refused, "MissingParameter: The request must contain the parameter DataLength");
        let start = |body: &str| read::<ebs::StartSnapshotRequest>(&Said { body: body.into(), ..Said::default() });
        let tags = r#"{"VolumeSize":8,"Tags":[{"Key":"a","Value":"b"}]}"#;
        assert_eq!(start(tags).map(|s| (s.volume_size, s.tags.len())), Ok((Some(8), 1)));
        for (body, code) in [
            ("", "MissingParameter"),
            ("[]", "SerializationException"),
            (r#"{"VolumeSize":1,"X":1}"#, "UnknownParameter"),
        ] {
            assert!(start(body).expect_err(body).to_string().starts_with(code), "{body}");
        }
    }

    #[test]
    fn a_list_in_a_query_has_its_name_once_for_each_item() {
        let said = |query: &str| Said {
            path: vec![("resourceArn".into(), "arn".into())],
            query: super::query(query).expect("reads"),
            ..Said::default()
        };
        let untag = |query: &str| read::<rbin::UntagResourceRequest>(&said(query)).map(|request| request.tag_keys);
        assert_eq!(untag("tagKeys=a%20b&other=c&tagKeys=d"), Ok(vec!["a b".into(), "d".into()]));
        let refused = untag("tagkeys=a").expect_err("none").to_string();
        assert_eq!(refused, "MissingParameter: The request must contain the parameter TagKeys");
    }

    #[test]
    fn members_are_written_to_where_they_belong() {
        let mut got = ebs::GetSnapshotBlockResponse {
            data_length: Some(2),
            block_data: Some(crate::shape::Blob(vec![1, 0xff])),
            checksum: Some("sum".into()),
            checksum_algorithm: None,
        };
        let headers = vec![("x-amz-Data-Length", "2".into()), ("x-amz-Checksum", "sum".into())];
        assert_eq!(answer(Some(&mut got)), Answer { headers, body: vec![1, 0xff], raw: true });
        let mut done = ebs::CompleteSnapshotResponse { status: Some("pending".into()) };
        assert_eq!(answer(Some(&mut done)).body, br#"{"Status":"pending"}"#);
        assert_eq!(answer(None).body, b"{}");
        assert_eq!(error_body("no \"", Some("WHY")), r#"{"Message":"no \"","Reason":"WHY"}"#);
    }

    proptest! {
        #[test]
        fn no_request_makes_it_panic(path in any::<String>(), text in any::<String>(), body in any::<Vec<u8>>()) {
            let _ = route(&ebs::ROUTES, "GET", &path);
            let query = query(&text).unwrap_or_default();
            let said = Said { path: query.clone(), headers: query.clone(), query, body };
            let _ = read::<ebs::StartSnapshotRequest>(&said);
            prop_assert!(read::<ebs::PutSnapshotBlockRequest>(&said).is_err());
        }
    }
}
