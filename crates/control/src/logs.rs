//! CloudWatch Logs, as far as flow logs need it: groups that a tenant names, and the streams and events that hosts have
//! of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use awan_model::id::LogGroupId;
use awan_model::log_group::{LogGroup, Pattern, position_at};
use awan_state::{Home, Millis, Tenant, Tx};
use awan_wire::shape::Map;

use crate::describe::Seal;
use crate::error::{Code, Error, Result, refuse};

/// Fewer than EC2's million: each is a record.
const GROUPS_MAX: usize = 1_000;
const NAME_MAX: usize = 512;
const TAGS_MAX: usize = 50;
const PATTERN_MAX: usize = 1_024;
const DAY_MS: Millis = 24 * 60 * 60 * 1_000;

pub fn invalid(message: impl Into<String>) -> Error {
    refuse(Code::InvalidParameterException, message)
}

pub fn no_such_group() -> Error {
    refuse(Code::ResourceNotFoundException, "The specified log group does not exist.")
}

pub fn no_such_stream() -> Error {
    refuse(Code::ResourceNotFoundException, "The specified log stream does not exist.")
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect::<String>().escape_debug().to_string()
}

/// Source: "CreateLogGroup", API reference.
pub fn is_name(name: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/' | b'#');
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(fine) && !name.starts_with("aws/")
}

pub fn is_stream_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.chars().count()) && !name.contains([':', '*'])
}

pub fn arn(home: &Home, name: &str) -> String {
    format!("arn:aws:logs:{}:{}:log-group:{name}", home.region(), home.account())
}

/// The name in an ARN of this home's.
pub fn named<'a>(home: &Home, arn_of: &'a str) -> Option<&'a str> {
    arn_of.strip_prefix(&arn(home, "")).filter(|name| is_name(name))
}

pub fn create(tx: &mut Tx<Tenant>, name: &str, tags: BTreeMap<String, String>) -> Result<()> {
    let id = LogGroup::key(name);
    if tx.find::<LogGroup>(&id).is_some() {
        return Err(refuse(Code::ResourceAlreadyExistsException, "The specified log group already exists"));
    }
    if tx.list::<LogGroup>().len() >= GROUPS_MAX {
        return Err(refuse(Code::LimitExceededException, "Resource limit exceeded."));
    }
    let (home, created, events) = (tx.home().clone(), tx.now(), LogGroupId::made(tx.new_id(LogGroupId::PREFIX)));
    tx.put(LogGroup { home, id, name: name.to_owned(), events, retention_days: None, tags, created });
    Ok(())
}

pub fn by_name(tx: &mut Tx<Tenant>, name: &str) -> Result<Arc<LogGroup>> {
    if !is_name(name) {
        return Err(invalid(format!("Value '{}' at 'logGroupName' failed to satisfy constraint.", shown(name))));
    }
    tx.find::<LogGroup>(&LogGroup::key(name)).ok_or_else(no_such_group)
}

/// By a name, or an identifier that may be a name or an ARN: exactly one of them.
pub fn find(tx: &mut Tx<Tenant>, name: Option<&str>, identifier: Option<&str>) -> Result<Arc<LogGroup>> {
    match (name, identifier) {
        (Some(name), None) => by_name(tx, name),
        (None, Some(identifier)) if identifier.starts_with("arn:") => by_arn(tx, identifier),
        (None, Some(identifier)) => by_name(tx, identifier),
        _ => Err(invalid("Exactly one of logGroupName and logGroupIdentifier must be specified.")),
    }
}

/// What is another account's or region's is not there.
pub fn by_arn(tx: &mut Tx<Tenant>, arn: &str) -> Result<Arc<LogGroup>> {
    let parts: Vec<_> = arn.splitn(7, ':').collect();
    let ["arn", _, "logs", _, _, "log-group", name] = parts[..] else {
        return Err(invalid(format!("'{}' is no ARN of a log group.", shown(arn))));
    };
    if !is_name(name) {
        return Err(invalid(format!("'{}' is no ARN of a log group.", shown(arn))));
    }
    let own = named(tx.home(), arn).map(LogGroup::key);
    own.and_then(|id| tx.find::<LogGroup>(&id)).ok_or_else(no_such_group)
}

/// A group to be read, and the seal of its tokens: those of another group, or an older one of its name, are not taken.
pub fn open(
    tx: &mut Tx<Tenant>,
    action: &str,
    (name, identifier): (Option<&str>, Option<&str>),
) -> Result<(Arc<LogGroup>, Seal)> {
    let group = find(tx, name, identifier)?;
    let seal = Seal::new(tx, &format!("{action} {}", group.events));
    Ok((group, seal))
}

pub fn opened(seal: &Seal, token: Option<&str>) -> Result<Option<String>> {
    let open = |token| seal.open(token).map_err(|_| invalid("The specified nextToken is invalid."));
    token.map(open).transpose()
}

/// The positions between which a request wants events; what is older than the group keeps it is not shown.
pub fn range(group: &LogGroup, from: Option<i64>, until: Option<i64>, now: Millis) -> Result<(String, String)> {
    let time = |time: i64| Millis::try_from(time).map_err(|_| invalid("Times are not negative."));
    let from = from.map(time).transpose()?.unwrap_or(0);
    let until = until.map(time).transpose()?.unwrap_or(Millis::MAX);
    if from > until {
        return Err(invalid("The startTime is after the endTime."));
    }
    let kept = group.retention_days.map_or(0, |days| now.saturating_sub(Millis::from(days) * DAY_MS));
    Ok((position_at(from.max(kept)), position_at(until)))
}

pub fn limit(asked: Option<i32>, most: i32) -> Result<usize> {
    let limit = asked.unwrap_or(most);
    let good = usize::try_from(limit).ok().filter(|_| (1..=most).contains(&limit));
    good.ok_or_else(|| invalid(format!("Value '{limit}' at 'limit' failed to satisfy constraint: 1 to {most}.")))
}

/// Words and phrases. Source: "Filter pattern syntax", unstructured log events; its other kinds of pattern are refused.
pub fn pattern(text: &str) -> Result<Pattern> {
    let unsupported =
        || invalid("Patterns are made of words and of phrases in double quotes, after - or ? or neither.");
    if text.chars().count() > PATTERN_MAX {
        return Err(invalid(format!("A filterPattern has at most {PATTERN_MAX} characters.")));
    }
    let mut pattern = Pattern::default();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (terms, marked) = if let Some(after) = rest.strip_prefix('-') {
            (&mut pattern.none, after)
        } else if let Some(after) = rest.strip_prefix('?') {
            (&mut pattern.any, after)
        } else {
            (&mut pattern.all, rest)
        };
        let (term, after) = match marked.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or_else(unsupported)?,
            None => marked.split_at(marked.find(char::is_whitespace).unwrap_or(marked.len())),
        };
        let word = term.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let ends = after.is_empty() || after.starts_with(char::is_whitespace);
        if term.is_empty() || !(word || marked.starts_with('"')) || !ends {
            return Err(unsupported());
        }
        terms.push(term.to_owned());
        rest = after.trim_start();
    }
    let others = pattern.all.len() + pattern.none.len();
    if !pattern.any.is_empty() && others > 0 {
        return Err(invalid("Terms after ? cannot be combined with others."));
    }
    Ok(pattern)
}

/// Tags of one request, added to those that are there.
pub fn tag(tags: &mut BTreeMap<String, String>, more: Map) -> Result<()> {
    for (key, value) in more.0 {
        let fine = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c));
        if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 || !fine(&key) || !fine(&value) {
            return Err(invalid(format!("The tag '{}' is not valid.", shown(&key))));
        }
        if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
            return Err(invalid("Tag keys that begin with aws: are reserved."));
        }
        tags.insert(key, value);
    }
    if tags.len() > TAGS_MAX {
        return Err(refuse(Code::TooManyTagsException, "A resource can have no more than 50 tags."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_of_words_and_phrases_and_nothing_else() {
        let told = |text: &str| pattern(text).map(|p| format!("{:?} {:?} {:?}", p.all, p.any, p.none));
        for (text, expected) in [
            ("", "[] [] []"),
            ("REJECT", r#"["REJECT"] [] []"#),
            ("  REJECT   22 ", r#"["REJECT", "22"] [] []"#),
            (r#""10.0.0.5" -ACCEPT"#, r#"["10.0.0.5"] [] ["ACCEPT"]"#),
            (r#"-"10.0.0.5 22" OK"#, r#"["OK"] [] ["10.0.0.5 22"]"#),
            (r#"?a ?"b c""#, r#"[] ["a", "b c"] []"#),
        ] {
            assert_eq!(told(text).expect(text), expected, "{text}");
        }
        for text in [
            "[version, account]",
            "{ $.a = 1 }",
            "%a%",
            "10.0.0.5",
            "\"open",
            "\"\"",
            "a\"b\"",
            "\"a\"b",
            "\"a\"\"b\"",
            "é",
            "-",
            "?",
            "--a",
            "?a b",
            "?a -b",
            "a*",
            "w=1",
            "\u{1}",
        ] {
            let refusal = told(text).expect_err(text);
            assert_eq!(refusal.code(), "InvalidParameterException", "{text}");
        }
        assert!(told(&"a".repeat(PATTERN_MAX)).is_ok() && told(&"a".repeat(PATTERN_MAX + 1)).is_err());
    }
}
