//! What a generated type offers: one visit over its members. Reading a query, writing XML and both ways of JSON are
//! visitors, written once.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The names of one member on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// As SDKs and JSON call it.
    pub name: &'static str,
    pub query: &'static str,
    pub xml: &'static str,
    /// The element around each member of a list.
    pub item: &'static str,
    pub required: bool,
}

impl Field {
    pub const fn new(name: &'static str, query: &'static str, xml: &'static str) -> Self {
        Self { name, query, xml, item: "", required: false }
    }

    #[must_use]
    pub const fn list(mut self, item: &'static str) -> Self {
        self.item = item;
        self
    }

    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

pub trait Shape: Send {
    fn visit(&mut self, v: &mut dyn Visitor);
}

/// An action without an answer of its own.
impl Shape for () {
    fn visit(&mut self, _: &mut dyn Visitor) {}
}

pub trait Visitor {
    fn leaf(&mut self, field: &Field, leaf: &mut dyn Leaf);
    fn shape(&mut self, field: &Field, slot: &mut dyn Slot);
    fn list(&mut self, field: &Field, list: &mut dyn List);
}

/// A member that is text on the wire.
pub trait Leaf {
    /// False: the text is no value of this type.
    fn read(&mut self, text: &str) -> bool;
    /// False: there is no value. What is written may need escaping.
    fn write(&self, out: &mut String) -> bool;
    fn kind(&self) -> &'static str;
    /// True: JSON writes it without quotes.
    fn bare(&self) -> bool {
        false
    }
    /// A time: JSON of AWS's protocols counts seconds. Here in milliseconds since 1970.
    fn instant(&self) -> Option<i64> {
        None
    }
    /// Bytes that lie on the wire as they are. False: this is no bytes.
    fn read_raw(&mut self, _: &[u8]) -> bool {
        false
    }
    fn take_raw(&mut self) -> Option<Vec<u8>> {
        None
    }
}

/// A member that is a structure, or absent.
pub trait Slot {
    fn get(&mut self) -> Option<&mut dyn Shape>;
    fn fill(&mut self) -> &mut dyn Shape;
}

pub enum Item<'i> {
    Leaf(&'i mut dyn Leaf),
    Shape(&'i mut dyn Shape),
}

pub trait List {
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn at(&mut self, index: usize) -> Item<'_>;
    fn push(&mut self) -> Item<'_>;
}

/// Milliseconds since 1970-01-01T00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timestamp(pub i64);

/// Bytes; base64 on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

/// Texts by texts. Only JSON has a form for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map(pub BTreeMap<String, String>);

macro_rules! parsed {
    ($($type:ty, $kind:literal;)*) => { $(
        impl Leaf for $type {
            fn read(&mut self, text: &str) -> bool {
                text.parse().map(|value| *self = value).is_ok()
            }
            fn write(&self, out: &mut String) -> bool {
                write!(out, "{self}").is_ok()
            }
            fn kind(&self) -> &'static str {
                $kind
            }
            fn bare(&self) -> bool {
                true
            }
        }
    )* };
}
parsed! { i32, "an integer"; i64, "an integer"; }

impl Leaf for f64 {
    fn read(&mut self, text: &str) -> bool {
        let value = text.parse().ok().filter(|value: &Self| value.is_finite());
        value.map(|value| *self = value).is_some()
    }
    fn write(&self, out: &mut String) -> bool {
        self.is_finite() && write!(out, "{self}").is_ok()
    }
    fn kind(&self) -> &'static str {
        "a number"
    }
    fn bare(&self) -> bool {
        true
    }
}

impl Leaf for String {
    fn read(&mut self, text: &str) -> bool {
        text.clone_into(self);
        true
    }
    fn write(&self, out: &mut String) -> bool {
        out.push_str(self);
        true
    }
    fn kind(&self) -> &'static str {
        "text"
    }
}

impl Leaf for bool {
    fn read(&mut self, text: &str) -> bool {
        let value = if text.eq_ignore_ascii_case("true") || text == "1" {
            true
        } else if text.eq_ignore_ascii_case("false") || text == "0" {
            false
        } else {
            return false;
        };
        *self = value;
        true
    }
    fn write(&self, out: &mut String) -> bool {
        out.push_str(if *self { "true" } else { "false" });
        true
    }
    fn kind(&self) -> &'static str {
        "true or false"
    }
    fn bare(&self) -> bool {
        true
    }
}

impl Leaf for Timestamp {
    fn read(&mut self, text: &str) -> bool {
        // Without an offset, and even without a time of day, it is UTC.
        let utc = || {
            let civil = text.parse::<jiff::civil::DateTime>().ok().filter(|_| !text.contains('['))?;
            jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()
        };
        let time = text.parse::<jiff::Timestamp>().ok().or_else(utc);
        time.map(|time| self.0 = time.as_millisecond()).is_some()
    }
    fn write(&self, out: &mut String) -> bool {
        let Ok(time) = jiff::Timestamp::from_millisecond(self.0) else { return false };
        write!(out, "{}", time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ")).is_ok()
    }
    fn kind(&self) -> &'static str {
        "a time such as 2026-11-23T20:00:37Z"
    }
    fn instant(&self) -> Option<i64> {
        Some(self.0)
    }
}

impl Leaf for Blob {
    fn read(&mut self, text: &str) -> bool {
        BASE64_STANDARD.decode(text).map(|bytes| self.0 = bytes).is_ok()
    }
    fn write(&self, out: &mut String) -> bool {
        BASE64_STANDARD.encode_string(&self.0, out);
        true
    }
    fn kind(&self) -> &'static str {
        "base64 text"
    }
    fn read_raw(&mut self, bytes: &[u8]) -> bool {
        self.0 = bytes.to_vec();
        true
    }
    fn take_raw(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.0))
    }
}

impl Leaf for Map {
    fn read(&mut self, text: &str) -> bool {
        serde_json::from_str(text).map(|map| self.0 = map).is_ok()
    }
    fn write(&self, out: &mut String) -> bool {
        serde_json::to_string(&self.0).map(|text| out.push_str(&text)).is_ok()
    }
    fn kind(&self) -> &'static str {
        "an object of texts"
    }
    fn bare(&self) -> bool {
        true
    }
}

impl<T: Leaf + Default> Leaf for Option<T> {
    fn read(&mut self, text: &str) -> bool {
        self.get_or_insert_default().read(text)
    }
    fn write(&self, out: &mut String) -> bool {
        self.as_ref().is_some_and(|value| value.write(out))
    }
    fn kind(&self) -> &'static str {
        T::default().kind()
    }
    fn bare(&self) -> bool {
        T::default().bare()
    }
    fn instant(&self) -> Option<i64> {
        self.as_ref().and_then(Leaf::instant)
    }
    fn read_raw(&mut self, bytes: &[u8]) -> bool {
        self.get_or_insert_default().read_raw(bytes)
    }
    fn take_raw(&mut self) -> Option<Vec<u8>> {
        self.as_mut().and_then(Leaf::take_raw)
    }
}

impl<T: Shape + Default> Slot for Option<T> {
    fn get(&mut self) -> Option<&mut dyn Shape> {
        self.as_mut().map(|shape| shape as &mut dyn Shape)
    }
    fn fill(&mut self) -> &mut dyn Shape {
        self.get_or_insert_default()
    }
}

/// A list of structures.
pub struct Shapes<'l, T>(pub &'l mut Vec<T>);

impl<T: Shape + Default> List for Shapes<'_, T> {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn at(&mut self, index: usize) -> Item<'_> {
        Item::Shape(&mut self.0[index])
    }
    fn push(&mut self) -> Item<'_> {
        self.0.push(T::default());
        let last = self.0.len() - 1;
        self.at(last)
    }
}

/// A list of texts, numbers, ….
pub struct Leaves<'l, T>(pub &'l mut Vec<T>);

impl<T: Leaf + Default> List for Leaves<'_, T> {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn at(&mut self, index: usize) -> Item<'_> {
        Item::Leaf(&mut self.0[index])
    }
    fn push(&mut self) -> Item<'_> {
        self.0.push(T::default());
        let last = self.0.len() - 1;
        self.at(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written after reading `text`.
    fn through<T: Leaf + Default>(text: &str) -> Option<String> {
        let (mut leaf, mut out) = (T::default(), String::new());
        (leaf.read(text) && leaf.write(&mut out)).then_some(out)
    }

    #[test]
    fn times_are_read_as_clients_write_them_and_written_as_ec2_does() {
        for (text, expected) in [
            ("2026-11-23T20:00:37.165Z", Some("2026-11-23T20:00:37.165Z")),
            ("2026-11-23T20:00:37Z", Some("2026-11-23T20:00:37.000Z")),
            ("2026-11-23T21:00:37+01:00", Some("2026-11-23T20:00:37.000Z")),
            ("2026-11-23T20:00:37", Some("2026-11-23T20:00:37.000Z")),
            ("2026-11-23", Some("2026-11-23T00:00:00.000Z")),
            ("2026-11-31", None),
            ("2026-11-23T20:00:37[Europe/Berlin]", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(through::<Timestamp>(text).as_deref(), expected, "{text}");
        }
        let mut out = String::new();
        assert!(!Timestamp(i64::MAX).write(&mut out), "a time beyond the calendar is left out");
    }

    #[test]
    fn numbers_are_exact_or_refused() {
        let i32s = ["-2147483648", "2147483647", "2147483648", "1e3", "0x10", " 5", "5 ", "", "1.0"];
        assert_eq!(i32s.map(through::<i32>).iter().flatten().count(), 2);
        assert_eq!(through::<i64>("9223372036854775807").as_deref(), Some("9223372036854775807"));
        assert_eq!(["0.25", "1e309", "NaN", "inf"].map(through::<f64>), [Some("0.25".into()), None, None, None]);
        assert_eq!(["TRUE", "0", "yes"].map(through::<bool>), [Some("true".into()), Some("false".into()), None]);
        assert_eq!(["aGk=", "aGk", "*"].map(through::<Blob>), [Some("aGk=".into()), None, None]);
    }
}
