//! Who may become a role: what its trust policy says about one caller.
//!
//! **Invariant:** what is not understood allows nothing. A condition with an unknown operator or key makes an Allow mean
//! nothing, and leaves a Deny as it is.

use awan_model::account::root_arn;
use serde_json::{Map, Value};

use super::document::{Purpose, read, texts};

/// Who asks to become a role, and with what.
pub struct Asker<'a> {
    /// `None`: a service, whose name `service` has.
    pub principal: Option<&'a str>,
    pub service: Option<&'a str>,
    pub account: &'a str,
    pub external_id: Option<&'a str>,
    pub session_name: &'a str,
}

pub fn allows(document: &str, asker: &Asker<'_>) -> bool {
    let Ok(statements) = read(document, Purpose::Trust) else { return false };
    let mut allowed = false;
    for statement in statements.iter().filter(|s| is_about(s, asker)) {
        let holds = condition(statement.get("Condition"), asker);
        match (statement.get("Effect").and_then(Value::as_str), holds) {
            (Some("Deny"), None | Some(true)) => return false,
            (Some("Allow"), Some(true)) => allowed = true,
            _ => {}
        }
    }
    allowed
}

fn is_about(statement: &Map<String, Value>, asker: &Asker<'_>) -> bool {
    let action = |value: &Value| texts(value).iter().any(|pattern| wildcard(&pattern.to_lowercase(), "sts:assumerole"));
    let named = match (statement.get("Action"), statement.get("NotAction")) {
        (Some(actions), _) => action(actions),
        (None, Some(others)) => !action(others),
        (None, None) => false,
    };
    let who = match (statement.get("Principal"), statement.get("NotPrincipal")) {
        (Some(principal), _) => is_one(principal, asker),
        (None, Some(others)) => !is_one(others, asker),
        (None, None) => false,
    };
    named && who
}

fn is_one(principal: &Value, asker: &Asker<'_>) -> bool {
    match principal {
        Value::String(text) => text == "*" && asker.principal.is_some(),
        Value::Object(kinds) => kinds.iter().any(|(kind, who)| match kind.as_str() {
            "AWS" => texts(who).iter().any(|text| is_same(text, asker)),
            "Service" => texts(who).iter().any(|text| Some(text.as_str()) == asker.service),
            _ => false,
        }),
        _ => false,
    }
}

/// The account stands for everybody in it, a role for its sessions.
fn is_same(text: &str, asker: &Asker<'_>) -> bool {
    let Some(principal) = asker.principal else { return false };
    if text == "*" || text == asker.account || text == root_arn(asker.account) || text == principal {
        return true;
    }
    let role = principal.strip_prefix(&format!("arn:aws:sts::{}:assumed-role/", asker.account));
    let role = role.and_then(|rest| rest.split('/').next());
    let named = text.strip_prefix(&format!("arn:aws:iam::{}:role/", asker.account));
    role.is_some() && named.and_then(|path| path.rsplit('/').next()) == role
}

/// `None`: not understood.
fn condition(value: Option<&Value>, asker: &Asker<'_>) -> Option<bool> {
    let Some(operators) = value.and_then(Value::as_object) else { return Some(value.is_none()) };
    let mut all = true;
    for (operator, keys) in operators {
        for (key, wanted) in keys.as_object()? {
            let have = match key.to_lowercase().as_str() {
                "sts:externalid" => asker.external_id,
                "sts:rolesessionname" => Some(asker.session_name),
                "aws:principalarn" => asker.principal,
                "aws:principalaccount" | "aws:sourceaccount" => Some(asker.account),
                _ => return None,
            };
            all &= test(operator, have, &texts(wanted))?;
        }
    }
    Some(all)
}

fn test(operator: &str, have: Option<&str>, wanted: &[String]) -> Option<bool> {
    let is = |equal: fn(&str, &str) -> bool| have.is_some_and(|have| wanted.iter().any(|w| equal(w, have)));
    let optional = operator.strip_suffix("IfExists");
    if optional.is_some() && have.is_none() {
        return Some(true);
    }
    Some(match optional.unwrap_or(operator) {
        "StringEquals" => is(|w, h| w == h),
        "StringEqualsIgnoreCase" => is(str::eq_ignore_ascii_case),
        "StringNotEquals" => !is(|w, h| w == h),
        "StringLike" | "ArnLike" | "ArnEquals" => is(wildcard),
        "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => !is(wildcard),
        "Null" => wanted.iter().all(|w| (w == "true") == have.is_none()),
        _ => return None,
    })
}

/// `*` stands for any text, `?` for one character.
fn wildcard(pattern: &str, text: &str) -> bool {
    let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut i, mut j, mut star) = (0, 0, None);
    while j < t.len() {
        match p.get(i) {
            Some('*') => {
                star = Some((i, j));
                i += 1;
            }
            Some(c) if *c == '?' || *c == t[j] => (i, j) = (i + 1, j + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (i, j) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    p[i..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "123456789012";

    fn trusts(statements: &str, principal: &str, external_id: Option<&str>) -> bool {
        let document = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
        let service = principal.ends_with(".amazonaws.com").then_some(principal);
        let asker = Asker {
            principal: service.is_none().then_some(principal),
            service,
            account: ACCOUNT,
            external_id,
            session_name: "s",
        };
        allows(&document, &asker)
    }

    #[test]
    fn only_what_a_trust_policy_names_is_trusted() {
        let of = |who: &str, more: &str| {
            format!(r#"{{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{who}{more}}}"#)
        };
        let (alice, bob) = ("arn:aws:iam::123456789012:user/a/alice", "arn:aws:iam::123456789012:user/bob");
        let session = "arn:aws:sts::123456789012:assumed-role/web/s";
        let ec2 = "ec2.amazonaws.com";
        for (who, asker, expected) in [
            (r#"{"AWS":"123456789012"}"#, alice, true),
            (r#"{"AWS":"arn:aws:iam::123456789012:root"}"#, session, true),
            (r#"{"AWS":"arn:aws:iam::999999999999:root"}"#, alice, false),
            (r#"{"AWS":"*"}"#, alice, true),
            (r#""*""#, alice, true),
            (r#""*""#, ec2, false),
            (r#"{"AWS":["arn:aws:iam::123456789012:user/a/alice"]}"#, alice, true),
            (r#"{"AWS":["arn:aws:iam::123456789012:user/a/alice"]}"#, bob, false),
            (r#"{"AWS":"arn:aws:iam::123456789012:role/p/web"}"#, session, true),
            (r#"{"AWS":"arn:aws:iam::123456789012:role/p/db"}"#, session, false),
            (r#"{"Service":"ec2.amazonaws.com"}"#, ec2, true),
            (r#"{"Service":"ec2.amazonaws.com"}"#, alice, false),
            (r#"{"Federated":"cognito-identity.amazonaws.com"}"#, alice, false),
        ] {
            assert_eq!(trusts(&of(who, ""), asker, None), expected, "{who} {asker}");
        }
        let all = r#"{"AWS":"123456789012"}"#;
        let if_id = |operator: &str| of(all, &format!(r#","Condition":{{"{operator}":{{"sts:ExternalId":"x"}}}}"#));
        for (operator, id, expected) in [
            ("StringEquals", Some("x"), true),
            ("StringEquals", Some("y"), false),
            ("StringEquals", None, false),
            ("StringEqualsIfExists", None, true),
            ("StringNotEquals", Some("y"), true),
            ("NumericEquals", Some("x"), false),
        ] {
            assert_eq!(trusts(&if_id(operator), alice, id), expected, "{operator} {id:?}");
        }
        let unknown = of(all, r#","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}"#);
        assert!(!trusts(&unknown, alice, None), "a condition that is not understood allows nothing");
        let deny = unknown.replacen("Allow", "Deny", 1);
        assert!(!trusts(&format!("{},{deny}", of(all, "")), alice, None), "and denies all the same");
        let other = of(all, "").replacen("sts:AssumeRole", "sts:TagSession", 1);
        assert!(!trusts(&other, alice, None));
        assert!(trusts(&of(all, "").replacen("sts:AssumeRole", "sts:*", 1), alice, None));
    }
}
