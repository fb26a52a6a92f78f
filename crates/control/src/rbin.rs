//! Service `rbin`: the rules of the recycle bin as requests name them and answers show them.

use std::collections::BTreeMap;
use std::sync::Arc;

use awan_model::recycle_bin::{Kind, LockState, RetentionRule, RuleLock, Scope, TagPattern};
use awan_state::{Millis, Tenant, Tx};
use awan_wire::shape::Timestamp;
use awan_wire::{ec2, rbin};

use crate::error::{Code, Error, Result, invalid, missing, refuse};
use crate::tagging;

/// Source: "Quotas" in "Recover deleted resources with Recycle Bin", EBS User Guide.
pub const RULES_MAX: usize = 250;
const TAGGED_MAX: usize = 50;
/// Source: "CreateRule", Recycle Bin API Reference.
const EXCEPT_MAX: usize = 5;
const RULES_OF_A_TAG_MAX: usize = 5;
const DELAY_DAYS: (i32, i32) = (7, 30);
const DESCRIPTION_MAX: usize = 255;
const ID_LENGTH: usize = 11;

pub fn full(message: impl Into<String>) -> Error {
    refuse(Code::RuleQuotaExceeded, message)
}

/// Refuses what the state of a rule does not allow.
pub fn wrong_state(message: impl Into<String>) -> Error {
    refuse(Code::InvalidRuleState, message)
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect::<String>().escape_debug().to_string()
}

pub fn new_id(tx: &mut Tx<Tenant>) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let letter = |random: u8| char::from(LETTERS[usize::from(random) % LETTERS.len()]);
    tx.random::<ID_LENGTH>().map(letter).iter().collect()
}

pub fn rule(tx: &mut Tx<Tenant>, id: Option<&str>) -> Result<Arc<RetentionRule>> {
    let id = id.unwrap_or_default();
    if id.len() != ID_LENGTH || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(invalid(format!("'{}' is no identifier of a retention rule.", shown(id))));
    }
    Ok(tx.get::<RetentionRule>(&id.to_owned())?)
}

/// One that is not locked, nor was until some days ago.
pub fn changeable(tx: &mut Tx<Tenant>, id: Option<&str>) -> Result<Arc<RetentionRule>> {
    let (rule, now) = (rule(tx, id)?, tx.now());
    match rule.lock_state(now) {
        None | Some(LockState::Unlocked) => Ok(rule),
        Some(state) => {
            let message = format!("The retention rule '{}' is {} and can't be changed.", rule.id, state.as_str());
            Err(wrong_state(message))
        }
    }
}

fn arn(rule: &RetentionRule) -> String {
    let home = &rule.home;
    format!("arn:aws:rbin:{}:{}:rule/{}", home.region(), home.account(), rule.id)
}

pub fn by_arn(tx: &mut Tx<Tenant>, arn: Option<&str>) -> Result<Arc<RetentionRule>> {
    let text = arn.unwrap_or_default();
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", _, "rbin", region, account, name] = parts[..] else {
        return Err(invalid(format!("'{}' is no ARN of a retention rule.", shown(text))));
    };
    let id = name.strip_prefix("rule/");
    let id = id.ok_or_else(|| invalid(format!("'{}' is no ARN of a retention rule.", shown(text))))?;
    if region != tx.home().region() || account != tx.home().account() {
        return Err(refuse(Code::RuleNotFound, format!("The retention rule '{}' does not exist.", shown(text))));
    }
    rule(tx, Some(id))
}

pub fn kind(text: Option<&str>) -> Result<Kind> {
    let text = text.ok_or_else(|| missing("ResourceType"))?;
    let found = Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
    found.ok_or_else(|| invalid(format!("The ResourceType '{}' is not valid.", shown(text))))
}

pub fn days(kind: Kind, period: rbin::RetentionPeriod) -> Result<u32> {
    let rbin::RetentionPeriod { retention_period_value, retention_period_unit } = period;
    in_days(retention_period_unit.as_deref(), "RetentionPeriodUnit")?;
    let (most, value) = (kind.days_max(), retention_period_value.unwrap_or_default());
    let days = u32::try_from(value).ok().filter(|days| (1..=most).contains(days));
    let message = || format!("The retention period of {} is 1 to {most} days, not {value}.", kind.as_str());
    days.ok_or_else(|| invalid(message()))
}

fn in_days(unit: Option<&str>, name: &str) -> Result<()> {
    match unit {
        Some("DAYS") => Ok(()),
        other => Err(invalid(format!("{name} is DAYS, not '{}'.", shown(other.unwrap_or_default())))),
    }
}

pub fn described(text: Option<String>) -> Result<Option<String>> {
    let fine =
        |text: &str| text.chars().count() <= DESCRIPTION_MAX && text.chars().all(|c| c == ' ' || !c.is_whitespace());
    match text {
        Some(text) if !fine(&text) => {
            Err(invalid(format!("A description has at most {DESCRIPTION_MAX} characters, and no white space but ' '.")))
        }
        text => Ok(text),
    }
}

/// Of a rule's tags and those that it leaves out, a request gives one or none.
pub fn scope(tagged: Vec<rbin::ResourceTag>, except: Vec<rbin::ResourceTag>) -> Result<Scope> {
    if tagged.is_empty() {
        return Ok(Scope::Region { except: patterns(except, EXCEPT_MAX, "ExcludeResourceTags")? });
    }
    if !except.is_empty() {
        return Err(invalid("A rule with ResourceTags can't have ExcludeResourceTags."));
    }
    Ok(Scope::Tagged(patterns(tagged, TAGGED_MAX, "ResourceTags")?))
}

pub fn patterns(tags: Vec<rbin::ResourceTag>, most: usize, name: &str) -> Result<Vec<TagPattern>> {
    if tags.len() > most {
        return Err(invalid(format!("{name} has at most {most} members.")));
    }
    let pattern = |rbin::ResourceTag { resource_tag_key, resource_tag_value: value }| {
        let key = resource_tag_key.unwrap_or_default();
        let long = value.as_ref().is_some_and(|value| value.chars().count() > 256);
        if long || !(1..=128).contains(&key.chars().count()) {
            return Err(invalid(format!("{name} has keys of 1 to 128 characters, and values of at most 256.")));
        }
        Ok(TagPattern { key, value })
    };
    tags.into_iter().map(pattern).collect()
}

/// Source: "CreateRule", Recycle Bin API Reference: a tag can be one of five rules' at most.
pub fn few_have_its_tags(tx: &mut Tx<Tenant>, rule: &RetentionRule) -> Result<()> {
    let Scope::Tagged(own) = &rule.scope else { return Ok(()) };
    let others = tx.list::<RetentionRule>();
    let others = others.iter().filter(|other| other.id != rule.id && other.kind == rule.kind);
    let of_others: Vec<_> =
        others.filter_map(|other| if let Scope::Tagged(all) = &other.scope { Some(all) } else { None }).collect();
    match own.iter().find(|tag| of_others.iter().filter(|all| all.contains(tag)).count() >= RULES_OF_A_TAG_MAX) {
        None => Ok(()),
        Some(tag) => {
            Err(full(format!("{RULES_OF_A_TAG_MAX} retention rules have the tag '{}' already.", shown(&tag.key))))
        }
    }
}

/// How many days after it was unlocked a rule can be changed. Only one that keeps everything can be locked.
pub fn delay_days(scope: &Scope, lock: rbin::LockConfiguration) -> Result<u32> {
    let rbin::UnlockDelay { unlock_delay_value, unlock_delay_unit } = lock.unlock_delay.unwrap_or_default();
    in_days(unlock_delay_unit.as_deref(), "UnlockDelayUnit")?;
    let (least, most) = DELAY_DAYS;
    let value = unlock_delay_value.unwrap_or_default();
    if !(least..=most).contains(&value) {
        return Err(invalid(format!("The unlock delay is {least} to {most} days, not {value}.")));
    }
    match scope {
        Scope::Region { except } if except.is_empty() => Ok(value.unsigned_abs()),
        _ => Err(invalid("Only Region-level retention rules without exclusion tags can be locked.")),
    }
}

pub fn tag(tags: &mut BTreeMap<String, String>, more: Vec<rbin::Tag>) -> Result<()> {
    let more: Vec<_> = more.into_iter().map(|rbin::Tag { key, value }| ec2::Tag { key, value }).collect();
    tags.extend(tagging::checked_all(&more)?);
    if tags.len() > tagging::TAGS_MAX {
        return Err(full(format!("A retention rule has at most {} tags.", tagging::TAGS_MAX)));
    }
    Ok(())
}

pub fn tags(rule: &RetentionRule) -> Vec<rbin::Tag> {
    rule.tags.iter().map(|(key, value)| rbin::Tag { key: Some(key.clone()), value: Some(value.clone()) }).collect()
}

/// What answers about a rule have in common.
pub struct View {
    pub identifier: Option<String>,
    pub description: Option<String>,
    pub resource_type: Option<String>,
    pub retention_period: Option<rbin::RetentionPeriod>,
    pub resource_tags: Vec<rbin::ResourceTag>,
    pub exclude_resource_tags: Vec<rbin::ResourceTag>,
    /// It keeps what is deleted from now on.
    pub status: Option<String>,
    pub lock_configuration: Option<rbin::LockConfiguration>,
    pub lock_state: Option<String>,
    pub lock_end_time: Option<Timestamp>,
    pub rule_arn: Option<String>,
}

/// A rule is there, and keeps things, as soon as the request that made or changed it is done: that answers `pending`.
pub const PENDING: &str = "pending";

pub fn view(rule: &RetentionRule, now: Millis) -> View {
    let listed = |all: &[TagPattern]| {
        let tag = |TagPattern { key, value }: &TagPattern| rbin::ResourceTag {
            resource_tag_key: Some(key.clone()),
            resource_tag_value: value.clone(),
        };
        all.iter().map(tag).collect()
    };
    let (resource_tags, exclude_resource_tags) = match &rule.scope {
        Scope::Tagged(all) => (listed(all), Vec::new()),
        Scope::Region { except } => (Vec::new(), listed(except)),
    };
    let state = rule.lock_state(now);
    let ends = rule.lock.as_ref().and_then(RuleLock::ends).filter(|_| state == Some(LockState::PendingUnlock));
    View {
        identifier: Some(rule.id.clone()),
        description: rule.description.clone(),
        resource_type: Some(rule.kind.as_str().into()),
        retention_period: Some(period(rule)),
        resource_tags,
        exclude_resource_tags,
        status: Some("available".into()),
        lock_configuration: rule.lock.as_ref().map(|lock| rbin::LockConfiguration {
            unlock_delay: Some(rbin::UnlockDelay {
                unlock_delay_value: i32::try_from(lock.delay_days).ok(),
                unlock_delay_unit: Some("DAYS".into()),
            }),
        }),
        lock_state: state.map(|state| state.as_str().into()),
        lock_end_time: ends.and_then(|at| i64::try_from(at).ok()).map(Timestamp),
        rule_arn: Some(arn(rule)),
    }
}

fn period(rule: &RetentionRule) -> rbin::RetentionPeriod {
    rbin::RetentionPeriod {
        retention_period_value: i32::try_from(rule.days).ok(),
        retention_period_unit: Some("DAYS".into()),
    }
}
