//! Policy documents: the grammar of the policy language, and their way over the wire. Source: "Grammar of the IAM JSON
//! policy language", IAM User Guide.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::error::{Code, Error, Result, refuse};

/// What a document is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// What somebody may do.
    Permission,
    /// Who may become a role.
    Trust,
}

/// Refuses a document that is none, or is too long without its white space.
pub fn check(document: &str, purpose: Purpose, most: usize, quota: &str) -> Result<()> {
    if document.chars().filter(|c| !c.is_whitespace()).count() > most {
        return Err(super::over_quota(quota, most));
    }
    read(document, purpose).map(drop)
}

/// The statements of a document.
pub fn read(document: &str, purpose: Purpose) -> Result<Vec<Map<String, Value>>> {
    let Ok(Value::Object(top)) = serde_json::from_str(document) else {
        return Err(malformed("Syntax errors in policy."));
    };
    for (name, value) in &top {
        match (name.as_str(), value) {
            ("Version", Value::String(version)) if matches!(version.as_str(), "2012-10-17" | "2008-10-17") => {}
            ("Id", Value::String(_)) | ("Statement", _) => {}
            _ => return Err(malformed(format!("Syntax error at the element {}.", shown(name)))),
        }
    }
    let statements = match top.get("Statement") {
        Some(Value::Array(statements)) if !statements.is_empty() => statements.clone(),
        Some(one @ Value::Object(_)) => vec![one.clone()],
        _ => return Err(malformed("Syntax errors in policy: a policy has at least one statement.")),
    };
    let mut read = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    for statement in statements {
        let Value::Object(statement) = statement else { return Err(malformed("A statement is an object.")) };
        check_statement(&statement, purpose)?;
        let id = statement.get("Sid").and_then(Value::as_str).filter(|id| !id.is_empty());
        if id.is_some_and(|id| !ids.insert(id.to_owned())) {
            return Err(malformed("Statement IDs (SID) in a single policy must be unique."));
        }
        read.push(statement);
    }
    Ok(read)
}

fn check_statement(statement: &Map<String, Value>, purpose: Purpose) -> Result<()> {
    let has = |name: &str| statement.contains_key(name);
    for (name, value) in statement {
        check_element(name, value)?;
    }
    if !has("Effect") {
        return Err(malformed("Missing required field Effect."));
    }
    if has("Action") == has("NotAction") {
        return Err(malformed("Policy statement must contain actions."));
    }
    match purpose {
        Purpose::Permission if has("Principal") || has("NotPrincipal") => {
            Err(malformed("Policy document should not specify a principal."))
        }
        Purpose::Permission if has("Resource") == has("NotResource") => {
            Err(malformed("Policy statement must contain resources."))
        }
        Purpose::Trust if has("Resource") || has("NotResource") => Err(malformed("Has prohibited field Resource.")),
        Purpose::Trust if has("Principal") == has("NotPrincipal") => {
            Err(malformed("Missing required field Principal."))
        }
        Purpose::Permission | Purpose::Trust => Ok(()),
    }
}

fn check_element(name: &str, value: &Value) -> Result<()> {
    let good = match name {
        "Sid" => value.as_str().is_some_and(|id| id.bytes().all(|b| b.is_ascii_alphanumeric())),
        "Effect" => matches!(value.as_str(), Some("Allow" | "Deny")),
        "Action" | "NotAction" => {
            if !all(value, is_action) {
                return Err(malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."));
            }
            true
        }
        "Resource" | "NotResource" => {
            let arn = |text: &str| text == "*" || (text.starts_with("arn:") && text.matches(':').count() >= 5);
            if let Some(text) = texts(value).into_iter().find(|text| !arn(text)) {
                return Err(malformed(format!("Resource {} must be in ARN format or \"*\".", shown(&text))));
            }
            all(value, |_| true)
        }
        "Principal" | "NotPrincipal" => is_principal(value),
        "Condition" => is_condition(value),
        _ => false,
    };
    if good { Ok(()) } else { Err(malformed(format!("Syntax error at the element {}.", shown(name)))) }
}

/// `*` or `service:pattern`.
fn is_action(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'*' | b'?' | b'_');
    let vendor = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let parts = text.split_once(':');
    text == "*"
        || parts.is_some_and(|(v, a)| !v.is_empty() && v.bytes().all(vendor) && !a.is_empty() && a.bytes().all(word))
}

fn is_principal(value: &Value) -> bool {
    match value {
        Value::String(text) => text == "*",
        Value::Object(kinds) => kinds.iter().all(|(kind, who)| match kind.as_str() {
            "AWS" => all(who, |w| w == "*" || w.starts_with("arn:aws:") || awan_model::account::Account::is_id(w)),
            "Service" | "Federated" | "CanonicalUser" => all(who, |w| !w.is_empty()),
            _ => false,
        }),
        _ => false,
    }
}

fn is_condition(value: &Value) -> bool {
    let plain = |v: &Value| matches!(v, Value::String(_) | Value::Bool(_) | Value::Number(_));
    let values = |v: &Value| plain(v) || v.as_array().is_some_and(|many| many.iter().all(plain));
    let operator = |v: &Value| v.as_object().is_some_and(|keys| keys.values().all(values));
    value.as_object().is_some_and(|operators| operators.values().all(operator))
}

/// One text or a list of at least one, each of which is good.
fn all(value: &Value, good: impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => good(text),
        Value::Array(many) => !many.is_empty() && many.iter().all(|v| v.as_str().is_some_and(&good)),
        _ => false,
    }
}

/// One text or a list of them.
pub fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(many) => many.iter().flat_map(texts).collect(),
        Value::String(text) => vec![text.clone()],
        Value::Bool(_) | Value::Number(_) => vec![value.to_string()],
        Value::Null | Value::Object(_) => Vec::new(),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(128).collect::<String>().escape_debug().to_string()
}

fn malformed(message: impl Into<String>) -> Error {
    refuse(Code::MalformedPolicyDocument, message)
}

/// As IAM's answers carry documents: percent-encoded after RFC 3986.
pub fn encoded(document: &str) -> String {
    document.bytes().fold(String::with_capacity(document.len() * 2), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_kept() {
        let statement = |s: &str| format!(r#"{{"Version":"2012-10-17","Statement":[{s}]}}"#);
        let fine = r#"{"Effect":"Allow","Action":["ec2:Describe*","iam:*"],"Resource":"*"}"#;
        let trust = r#"{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ec2.amazonaws.com"}}"#;
        assert!(read(&statement(fine), Purpose::Permission).is_ok());
        assert!(read(&statement(trust), Purpose::Trust).is_ok());
        assert!(read(&statement(trust), Purpose::Permission).is_err());
        assert!(read(&statement(fine), Purpose::Trust).is_err());
        let one = format!(r#"{{"Statement":{fine}}}"#);
        assert!(read(&one, Purpose::Permission).is_ok(), "a single statement needs no list");
        for (from, to) in [
            ("Allow", "Maybe"),
            ("ec2:Describe*", "Describe"),
            (r#""*"}"#, r#""mine"}"#),
            ("Resource", "Resources"),
            ("Effect", "effect"),
            (r#""Resource":"*""#, r#""Resource":"*","NotResource":"*""#),
            (r#""Resource":"*""#, r#""Resource":"*","Condition":{"StringEquals":"x"}"#),
            (r#""Resource":"*""#, r#""Resource":"*","Sid":"a b""#),
            (r#","Resource":"*""#, ""),
            ("}", ""),
        ] {
            let broken = statement(&fine.replacen(from, to, 1));
            let refusal = read(&broken, Purpose::Permission).expect_err(&broken);
            assert_eq!(refusal.code(), "MalformedPolicyDocument");
        }
        for document in ["", "[]", "null", "{}", r#"{"Statement":[]}"#, r#"{"Version":"2020-01-01","Statement":[]}"#] {
            assert!(read(document, Purpose::Permission).is_err(), "{document}");
        }
        let refusal = check(&statement(fine), Purpose::Permission, 20, "PolicySize").expect_err("is long");
        assert_eq!(refusal.to_string(), "LimitExceeded: Cannot exceed quota for PolicySize: 20");
    }

    #[test]
    fn documents_survive_the_way_to_the_client() {
        assert_eq!(encoded("{\"a\": \"é+~\"}"), "%7B%22a%22%3A%20%22%C3%A9%2B~%22%7D");
    }
}
