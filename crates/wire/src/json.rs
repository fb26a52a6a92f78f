//! The same shapes as JSON: members under the names that SDKs use, what is absent left out. For the console, where
//! times are text, and for services that speak awsJson, where they are seconds.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::query::{ReadError, error, shown};
use crate::shape::{Field, Item, Leaf, List, Shape, Slot, Visitor};

/// Writes a request or an answer.
pub fn write(shape: &mut dyn Shape) -> String {
    written(shape, false)
}

/// Writes an answer as awsJson 1.1 has it.
pub fn answer(shape: Option<&mut dyn Shape>) -> String {
    shape.map_or_else(|| "{}".to_owned(), |shape| written(shape, true))
}

pub fn answer_error(code: &str, message: &str) -> String {
    let mut out = String::from("{\"__type\":");
    quote(code, &mut out);
    out.push_str(",\"message\":");
    quote(message, &mut out);
    out.push('}');
    out
}

fn written(shape: &mut dyn Shape, seconds: bool) -> String {
    let mut writer = Writer::new(seconds);
    shape.visit(&mut writer);
    writer.done()
}

/// Reads a request. What it has no member for is refused.
pub fn read<T: Shape + Default>(text: &str) -> Result<T, ReadError> {
    let value: Value =
        serde_json::from_str(text).map_err(|e| error("SerializationException", format!("Not JSON: {e}")))?;
    let Value::Object(members) = value else {
        return Err(error("SerializationException", "The request is not a JSON object"));
    };
    let mut request = T::default();
    let mut reader = Reader::of(members);
    request.visit(&mut reader);
    reader.done()?;
    Ok(request)
}

pub(crate) struct Writer {
    out: String,
    /// Scratch for values that are quoted.
    text: String,
    /// Times are numbers.
    seconds: bool,
}

impl Writer {
    pub(crate) fn new(seconds: bool) -> Self {
        Self { out: String::from("{"), text: String::new(), seconds }
    }

    pub(crate) fn done(mut self) -> String {
        self.out.push('}');
        self.out
    }

    /// Opens a member, and tells where, so that it can be taken back.
    fn key(&mut self, name: &str) -> usize {
        let start = self.out.len();
        self.separate();
        quote(name, &mut self.out);
        self.out.push(':');
        start
    }

    fn separate(&mut self) {
        if !self.out.ends_with(['{', '[']) {
            self.out.push(',');
        }
    }

    fn value(&mut self, leaf: &dyn Leaf) -> bool {
        if let Some(at) = leaf.instant().filter(|_| self.seconds) {
            return write!(self.out, "{}.{:03}", at.div_euclid(1000), at.rem_euclid(1000)).is_ok();
        }
        if leaf.bare() {
            return leaf.write(&mut self.out);
        }
        self.text.clear();
        let there = leaf.write(&mut self.text);
        if there {
            quote(&self.text, &mut self.out);
        }
        there
    }

    fn nested(&mut self, shape: &mut dyn Shape) {
        self.out.push('{');
        shape.visit(self);
        self.out.push('}');
    }
}

impl Visitor for Writer {
    fn leaf(&mut self, field: &Field, leaf: &mut dyn Leaf) {
        let start = self.key(field.name);
        if !self.value(leaf) {
            self.out.truncate(start);
        }
    }

    fn shape(&mut self, field: &Field, slot: &mut dyn Slot) {
        if let Some(shape) = slot.get() {
            self.key(field.name);
            self.nested(shape);
        }
    }

    fn list(&mut self, field: &Field, list: &mut dyn List) {
        self.key(field.name);
        self.out.push('[');
        for index in 0..list.len() {
            self.separate();
            match list.at(index) {
                Item::Leaf(leaf) => {
                    if !self.value(leaf) {
                        self.out.push_str("null");
                    }
                }
                Item::Shape(shape) => self.nested(shape),
            }
        }
        self.out.push(']');
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[plain..at]);
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            _ => {
                out.push_str("\\u00");
                out.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
            }
        }
        plain = at + 1;
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

pub(crate) struct Reader {
    /// Members of the object at hand that nobody took yet.
    members: Map<String, Value>,
    path: String,
    failed: Option<ReadError>,
}

impl Reader {
    pub(crate) fn of(members: Map<String, Value>) -> Self {
        Self { members, path: String::new(), failed: None }
    }

    /// Whether all was read, and nothing is left that nobody took.
    pub(crate) fn done(mut self) -> Result<(), ReadError> {
        self.nothing_is_left();
        self.failed.map_or(Ok(()), Err)
    }

    fn fail(&mut self, code: &'static str, message: String) {
        self.failed.get_or_insert(ReadError { code, message });
    }

    fn name(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn take(&mut self, field: &Field) -> Option<Value> {
        let value = self.members.remove(field.name).filter(|value| !value.is_null());
        if value.is_none() && field.required {
            let name = self.name(field.name);
            self.fail("MissingParameter", format!("The request must contain the parameter {name}"));
        }
        value
    }

    fn text(&mut self, value: &Value, name: &str, leaf: &mut dyn Leaf) {
        let good = match value {
            Value::String(text) => !leaf.bare() && leaf.read(text),
            Value::Number(_) | Value::Bool(_) | Value::Object(_) => leaf.bare() && leaf.read(&value.to_string()),
            Value::Null | Value::Array(_) => false,
        };
        if !good {
            let message = format!("Invalid value '{}' for {name}: expected {}", shown(&value.to_string()), leaf.kind());
            self.fail("InvalidParameterValue", message);
        }
    }

    fn object(&mut self, value: Value, path: String, shape: &mut dyn Shape) {
        let Value::Object(members) = value else {
            self.fail("InvalidParameterValue", format!("The parameter {path} is a structure"));
            return;
        };
        let outer = std::mem::replace(&mut self.members, members);
        let outer_path = std::mem::replace(&mut self.path, path);
        self.enter_shape(shape);
        self.members = outer;
        self.path = outer_path;
    }

    fn enter_shape(&mut self, shape: &mut dyn Shape) {
        shape.visit(self);
        self.nothing_is_left();
    }

    fn nothing_is_left(&mut self) {
        if let Some(name) = self.members.keys().next() {
            let name = self.name(name);
            self.fail("UnknownParameter", format!("The parameter {} is not recognized", shown(&name)));
        }
    }
}

impl Visitor for Reader {
    fn leaf(&mut self, field: &Field, leaf: &mut dyn Leaf) {
        if let Some(value) = self.take(field) {
            let name = self.name(field.name);
            self.text(&value, &name, leaf);
        }
    }

    fn shape(&mut self, field: &Field, slot: &mut dyn Slot) {
        if let Some(value) = self.take(field) {
            let path = self.name(field.name);
            self.object(value, path, slot.fill());
        }
    }

    fn list(&mut self, field: &Field, list: &mut dyn List) {
        let name = self.name(field.name);
        let values = match self.take(field) {
            None => return,
            Some(Value::Array(values)) => values,
            Some(_) => return self.fail("InvalidParameterValue", format!("The parameter {name} is a list")),
        };
        for (index, value) in values.into_iter().enumerate() {
            let path = format!("{name}[{index}]");
            match list.push() {
                Item::Leaf(leaf) => self.text(&value, &path, leaf),
                Item::Shape(shape) => self.object(value, path, shape),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ec2::{RunInstancesRequest, StartInstancesRequest, Tag, TagSpecification};

    #[test]
    fn a_request_survives_the_way_there_and_back() {
        let tag = Tag { key: Some("a\"\\\n\u{1}é".into()), value: Some(String::new()) };
        let mut request = RunInstancesRequest {
            max_count: Some(2),
            min_count: Some(-1),
            dry_run: Some(true),
            image_id: Some("ami-1".into()),
            security_group_ids: vec!["sg-1".into(), "sg-2".into()],
            tag_specifications: vec![TagSpecification { resource_type: None, tags: vec![tag] }],
            ..Default::default()
        };
        let text = write(&mut request);
        assert_eq!(read::<RunInstancesRequest>(&text), Ok(request));
    }

    #[test]
    fn aws_json_counts_seconds() {
        let time = Some(crate::shape::Timestamp(1_795_464_037_065));
        let mut shape = crate::ec2::KeyPairInfo { create_time: time, ..Default::default() };
        assert_eq!(answer(Some(&mut shape)), r#"{"Tags":[],"CreateTime":1795464037.065}"#);
        assert_eq!(write(&mut shape), r#"{"Tags":[],"CreateTime":"2026-11-23T20:00:37.065Z"}"#);
        assert_eq!(answer(None), "{}");
        assert_eq!(answer_error("X", "a\"b"), r#"{"__type":"X","message":"a\"b"}"#);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let refused = |text| read::<StartInstancesRequest>(text).expect_err(text).to_string();
        for (text, expected) in [
            ("{", "SerializationException: Not JSON: EOF while parsing an object at line 1 column 1"),
            ("{}", "MissingParameter: The request must contain the parameter InstanceIds"),
            (r#"{"InstanceIds":"i-1"}"#, "InvalidParameterValue: The parameter InstanceIds is a list"),
            (r#"{"InstanceIds":[1]}"#, "InvalidParameterValue: Invalid value '1' for InstanceIds[0]: expected text"),
            (r#"{"InstanceIds":[],"X":1}"#, "UnknownParameter: The parameter X is not recognized"),
            (
                r#"{"InstanceIds":[],"DryRun":"yes"}"#,
                r#"InvalidParameterValue: Invalid value '"yes"' for DryRun: expected true or false"#,
            ),
        ] {
            assert_eq!(refused(text), expected);
        }
    }
    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            prop_assert!(read::<RunInstancesRequest>(&text).is_err());
        }

        #[test]
        fn no_object_made_of_its_own_words_makes_it_panic(
            members in proptest::collection::vec(
                (
                    "MinCount|ImageId|TagSpecifications|Placement|SecurityGroupIds|Monitoring|Other",
                    "[0-9]{1,20}|true|null|-1e3|\"[a-zé\u{1}]{0,3}\"|\\[\\[1\\]\\]|\\{\"Tags\":\\[1\\]\\}|\\[\\{\"Tags\":\\[\\{\\}\\]\\}\\]",
                ),
                0..6,
            ),
        ) {
            let members: Vec<_> = members.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
            let text = format!("{{{}}}", members.join(","));
            prop_assert_eq!(read::<RunInstancesRequest>(&text), read(&text));
        }
    }
}
