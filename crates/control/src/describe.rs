//! What all `Describe…` actions share: ids or filters, then a page.
//!
//! **Invariants.** An unknown filter is refused. Items come in the order of their ids, and a page token names the last
//! id shown, so pages neither repeat nor miss what stays while others come and go.

use std::fmt::Display;
use std::sync::Arc;

use awan_model::installation::Installation;
use awan_state::{Record, Tenant, Tx};
use awan_wire::ec2;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::error::{Code, Result, combination, invalid, refuse};

const FILTERS_MAX: usize = 50;
const VALUES_MAX: usize = 200;
/// Nothing that is compared with a filter is longer.
const VALUE_CHARS_MAX: usize = 1_024;

/// Filters that were checked against the names that an action knows.
pub struct Filters<'f>(Vec<(&'f str, Vec<Vec<Token>>)>);

impl<'f> Filters<'f> {
    /// `known` may hold `tag:*`, which stands for `tag:KEY`, `tag-key` and `tag-value`.
    pub fn new(filters: &'f [ec2::Filter], known: &[&str]) -> Result<Self> {
        if filters.len() > FILTERS_MAX {
            return Err(invalid(format!("A request can have at most {FILTERS_MAX} filters")));
        }
        let mut checked = Vec::with_capacity(filters.len());
        for filter in filters {
            let name = filter.name.as_deref().ok_or_else(|| invalid("A filter has no name"))?;
            let tags =
                known.contains(&"tag:*") && (name.starts_with("tag:") || name == "tag-key" || name == "tag-value");
            if !tags && !known.contains(&name) {
                let shown: String = name.chars().take(100).collect();
                return Err(invalid(format!("The filter '{}' is invalid", shown.escape_debug())));
            }
            if filter.values.is_empty() {
                return Err(invalid(format!("The filter '{name}' has no value")));
            }
            if filter.values.len() > VALUES_MAX {
                let message = format!("The filter '{name}' has more than {VALUES_MAX} values");
                return Err(refuse(Code::FilterLimitExceeded, message));
            }
            if filter.values.iter().any(|value| value.chars().nth(VALUE_CHARS_MAX).is_some()) {
                return Err(invalid(format!(
                    "A value of the filter '{name}' has more than {VALUE_CHARS_MAX} characters"
                )));
            }
            checked.push((name, filter.values.iter().map(|value| tokens(value)).collect()));
        }
        Ok(Self(checked))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if each filter finds one of its values among those that `values` gives for its name.
    pub fn match_all(&self, mut values: impl FnMut(&str) -> Vec<String>) -> bool {
        self.0.iter().all(|(name, patterns)| {
            let values = values(name);
            patterns.iter().any(|pattern| values.iter().any(|value| matches(pattern, value)))
        })
    }
}

/// `*` stands for any text, `?` for one character, a backslash takes the next character as it is. Linear in practice:
/// only the last star is ever gone back to.
fn matches(pattern: &[Token], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(Token::Star) => {
                star = Some((p, t));
                p += 1;
            }
            Some(Token::One) => (p, t) = (p + 1, t + 1),
            Some(Token::Exactly(c)) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|token| matches!(token, Token::Star))
}

/// Whether a text is what a pattern with `*` and `?` says.
pub fn wildcard(pattern: &str, text: &str) -> bool {
    matches(&tokens(pattern), text)
}

enum Token {
    Star,
    One,
    Exactly(char),
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '*' => Token::Star,
            '?' => Token::One,
            '\\' => Token::Exactly(chars.next().unwrap_or('\\')),
            other => Token::Exactly(other),
        });
    }
    out
}

/// `MaxResults` and `NextToken`.
pub struct Page {
    limit: usize,
    after: Option<String>,
    seal: Seal,
}

/// Makes tokens that nobody else can make, and that are good for one purpose only.
pub struct Seal {
    key: [u8; 32],
    scope: String,
}

impl Page {
    /// `bounds`: the smallest and largest `MaxResults` of the action. `ids`: the request names what it wants.
    pub fn new(
        tx: &mut Tx<Tenant>,
        action: &str,
        (max_results, next_token): (Option<i32>, Option<&str>),
        bounds: (i32, i32),
        ids: bool,
    ) -> Result<Self> {
        if ids && max_results.is_some() {
            return Err(combination("The parameter MaxResults cannot be used with a list of ids in the request"));
        }
        let limit = match max_results {
            None => usize::MAX,
            Some(n) if (bounds.0..=bounds.1).contains(&n) => usize::try_from(n).unwrap_or(usize::MAX),
            Some(n) => {
                let (low, high) = bounds;
                return Err(invalid(format!(
                    "Value ( {n} ) for parameter maxResults is invalid. Expecting a value between {low} and {high}."
                )));
            }
        };
        let seal = Seal::new(tx, action);
        let after = next_token.filter(|t| !t.is_empty()).map(|token| seal.open(token)).transpose()?;
        Ok(Self { limit, after, seal })
    }

    /// The records that this page is cut from: those after the last one shown, and no more than it needs unless
    /// some are to be `filtered` out.
    pub fn candidates<R: Record>(&self, tx: &mut Tx<Tenant>, filtered: bool) -> Vec<Arc<R>> {
        let most = if filtered { usize::MAX } else { self.limit.saturating_add(1) };
        tx.list_after(self.after.as_deref().unwrap_or_default(), most)
    }

    /// The items of this page, and the token of the next. What a request names twice is shown once.
    pub fn cut<T, K: Display + Ord>(&self, mut items: Vec<T>, id: impl Fn(&T) -> K) -> (Vec<T>, Option<String>) {
        items.sort_by_key(|item| id(item));
        items.dedup_by_key(|item| id(item));
        if let Some(after) = &self.after {
            items.retain(|item| id(item).to_string() > *after);
        }
        if items.len() <= self.limit {
            return (items, None);
        }
        items.truncate(self.limit);
        let next = items.last().map(|last| self.seal.close(&id(last).to_string()));
        (items, next)
    }
}

impl Seal {
    /// `purpose`: the action, and what else the tokens belong to.
    pub fn new(tx: &mut Tx<Tenant>, purpose: &str) -> Self {
        let key = tx.public::<Installation>(&Installation::ID.into()).map(|i| i.seal).unwrap_or_default();
        Self { key, scope: format!("{purpose} {}", tx.home()) }
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(self.scope.as_bytes());
        mac.update(b"\n");
        mac.update(text.as_bytes());
        mac
    }

    pub fn close(&self, last: &str) -> String {
        let mut bytes = self.mac(last).finalize().into_bytes()[..16].to_vec();
        bytes.extend(last.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    pub fn open(&self, token: &str) -> Result<String> {
        let wrong = || refuse(Code::InvalidNextToken, "The token is not valid.");
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
        let (mac, last) = bytes.split_at_checked(16).ok_or_else(wrong)?;
        let last = String::from_utf8(last.to_vec()).map_err(|_| wrong())?;
        self.mac(&last).verify_truncated_left(mac).map_err(|_| wrong())?;
        Ok(last)
    }
}

/// A token in plain base64, for services that have it so.
pub fn plain_token(token: &str) -> String {
    token.replace('-', "+").replace('_', "/")
}

pub fn unplain_token(token: &str) -> String {
    token.replace('+', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_ec2s_do() {
        for (pattern, text, expected) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*c", "abbbc", true),
            ("*", "", true),
            ("?", "", false),
            ("a?c", "abc", true),
            (r"a\*c", "abc", false),
            (r"a\*c", "a*c", true),
            ("*a*b", "xxaxxb", true),
            ("*a*b", "xxaxxbc", false),
        ] {
            assert_eq!(wildcard(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_value_that_nothing_could_match_is_refused() {
        let filter = |n: usize| [ec2::Filter { name: Some("key".into()), values: vec!["a".repeat(n)] }];
        assert!(Filters::new(&filter(VALUE_CHARS_MAX), &["key"]).is_ok());
        assert!(Filters::new(&filter(VALUE_CHARS_MAX + 1), &["key"]).is_err());
    }

    #[test]
    fn a_page_token_is_good_for_its_action_and_account_only() {
        let mut cloud = crate::testing::Cloud::new();
        for account in ["acme", "other"] {
            cloud.tenant(account).run_with(&[("MinCount", "6"), ("MaxCount", "6")]).expect("launches");
        }
        let first = cloud.tenant("acme").call("DescribeInstances", &[("MaxResults", "5")]).expect("answers");
        let token = crate::testing::Cloud::ids(&first, "nextToken").remove(0);
        let changed = token.replace(&token[..1], if token.starts_with('A') { "B" } else { "A" });
        for (account, action, token) in [
            ("other", "DescribeInstances", token.as_str()),
            ("acme", "DescribeInstanceStatus", token.as_str()),
            ("acme", "DescribeInstances", changed.as_str()),
            ("acme", "DescribeInstances", "AAAA"),
            ("acme", "DescribeInstances", "é"),
        ] {
            let refusal = cloud.tenant(account).call(action, &[("NextToken", token)]).expect_err(action);
            assert!(refusal.starts_with("InvalidNextToken"), "{refusal}");
        }
        assert!(cloud.tenant("acme").call("DescribeInstances", &[("NextToken", &token)]).is_ok());
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        assert!(!wildcard(&"*a".repeat(100), &"a".repeat(99)));
    }
}
