//! The recycle bin: rules that say what is kept when it is deleted, and what is in it.
//!
//! **Invariant:** what is in the bin is nowhere else. Its whole record lies in one of another kind, so that whoever looks for
//! a snapshot cannot find one that was deleted.

use std::collections::BTreeMap;

use awan_state::{Home, Millis, Record, Ref, Tenant};
use serde::{Deserialize, Serialize};

use crate::image::Image;
use crate::record;
use crate::snapshot::Snapshot;
use crate::volume::Volume;

const DAY_MS: Millis = 24 * 60 * 60 * 1000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionRule {
    pub home: Home,
    /// Eleven letters and digits.
    pub id: String,
    pub kind: Kind,
    pub days: u32,
    pub description: Option<String>,
    pub scope: Scope,
    /// `None`: it was never locked.
    pub lock: Option<RuleLock>,
    /// Its own.
    pub tags: BTreeMap<String, String>,
    pub created: Millis,
}
record!(RetentionRule, "retention-rule", String, Tenant, "RULE_NOT_FOUND", "The retention rule '{}' does not exist.");

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Images,
    Snapshots,
    Volumes,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Images, Self::Snapshots, Self::Volumes];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Images => "EC2_IMAGE",
            Self::Snapshots => "EBS_SNAPSHOT",
            Self::Volumes => "EBS_VOLUME",
        }
    }

    /// Source: "Create a Recycle Bin retention rule", EBS User Guide.
    pub fn days_max(self) -> u32 {
        match self {
            Self::Images | Self::Snapshots => 365,
            Self::Volumes => 7,
        }
    }
}

/// Which of its kind a rule keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// What has one of these tags.
    Tagged(Vec<TagPattern>),
    /// All that the account has in the region, but what has one of these.
    Region { except: Vec<TagPattern> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagPattern {
    pub key: String,
    /// `None`: any.
    pub value: Option<String>,
}

impl TagPattern {
    fn is_in(&self, tags: &BTreeMap<String, String>) -> bool {
        tags.get(&self.key).is_some_and(|found| self.value.as_ref().is_none_or(|value| value == found))
    }
}

/// A rule that is locked can be neither changed nor deleted, nor for some days after it was unlocked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleLock {
    pub delay_days: u32,
    /// When it was; `None`: it is locked.
    pub unlocked: Option<Millis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockState {
    Locked,
    PendingUnlock,
    Unlocked,
}

impl LockState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::PendingUnlock => "pending_unlock",
            Self::Unlocked => "unlocked",
        }
    }
}

impl RuleLock {
    /// When the delay is over.
    pub fn ends(&self) -> Option<Millis> {
        Some(self.unlocked?.saturating_add(Millis::from(self.delay_days) * DAY_MS))
    }

    pub fn state(&self, now: Millis) -> LockState {
        match self.ends() {
            None => LockState::Locked,
            Some(end) if now < end => LockState::PendingUnlock,
            Some(_) => LockState::Unlocked,
        }
    }
}

impl RetentionRule {
    pub fn keeps(&self, kind: Kind, tags: &BTreeMap<String, String>) -> bool {
        self.kind == kind
            && match &self.scope {
                Scope::Tagged(patterns) => patterns.iter().any(|pattern| pattern.is_in(tags)),
                Scope::Region { except } => !except.iter().any(|pattern| pattern.is_in(tags)),
            }
    }

    /// How long it keeps what is deleted now.
    pub fn until(&self, now: Millis) -> Millis {
        now.saturating_add(Millis::from(self.days) * DAY_MS)
    }

    pub fn lock_state(&self, now: Millis) -> Option<LockState> {
        self.lock.as_ref().map(|lock| lock.state(now))
    }
}

/// Something that was deleted and can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binned<R> {
    /// As it was, and whom it was shared with.
    pub what: R,
    pub entered: Millis,
    /// When it is deleted for good.
    pub leaves: Millis,
}

/// What can be in the bin.
pub trait Recyclable: Record<Writer = Tenant> {
    const RULES: Kind;
    const BINNED: &'static str;
    /// The error code when it is not in the bin, and the message with `{}` for the id.
    const ABSENT_THERE: (&'static str, &'static str);
}

impl<R: Recyclable> Record for Binned<R> {
    const KIND: &'static str = R::BINNED;
    const ABSENT: (&'static str, &'static str) = R::ABSENT_THERE;
    type Id = R::Id;
    type Writer = Tenant;

    fn at(&self) -> Ref<Self> {
        let Ref { home, id } = self.what.at();
        Ref { home, id }
    }
}

macro_rules! recyclable {
    ($type:ty, $rules:ident, $kind:literal, $code:literal, $message:literal) => {
        impl Recyclable for $type {
            const RULES: Kind = Kind::$rules;
            const BINNED: &'static str = $kind;
            const ABSENT_THERE: (&'static str, &'static str) = ($code, $message);
        }
    };
}
recyclable!(
    Snapshot,
    Snapshots,
    "binned-snapshot",
    "InvalidSnapshot.NotFound",
    "The snapshot '{}' is not in the Recycle Bin."
);
recyclable!(Image, Images, "binned-image", "InvalidAMIID.NotFound", "The image '{}' is not in the Recycle Bin.");
recyclable!(Volume, Volumes, "binned-volume", "InvalidVolume.NotFound", "The volume '{}' is not in the Recycle Bin.");

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(scope: Scope) -> RetentionRule {
        RetentionRule {
            home: Home::new("a", "r"),
            id: "0123456789a".into(),
            kind: Kind::Snapshots,
            days: 7,
            description: None,
            scope,
            lock: None,
            tags: BTreeMap::new(),
            created: 0,
        }
    }

    #[test]
    fn a_rule_keeps_what_its_tags_say() {
        let pattern = |key: &str, value: Option<&str>| TagPattern { key: key.into(), value: value.map(Into::into) };
        let patterns = vec![pattern("a", Some("1")), pattern("b", None)];
        let (some, all) = (rule(Scope::Tagged(patterns.clone())), rule(Scope::Region { except: patterns }));
        let tags = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        for (pairs, matches) in [
            (&[][..], false),
            (&[("a", "1")], true),
            (&[("a", "2")], false),
            (&[("a", "2"), ("b", "")], true),
            (&[("A", "1")], false),
        ] {
            let tags = tags(pairs);
            assert_eq!(some.keeps(Kind::Snapshots, &tags), matches, "{pairs:?}");
            assert_eq!(all.keeps(Kind::Snapshots, &tags), !matches, "{pairs:?}");
            assert!(!some.keeps(Kind::Images, &tags) && !all.keeps(Kind::Images, &tags));
        }
        assert_eq!(some.until(1), 7 * DAY_MS + 1);
    }

    #[test]
    fn a_lock_opens_some_days_after_it_was_unlocked() {
        let lock = |unlocked| RuleLock { delay_days: 7, unlocked };
        let end = 7 * DAY_MS + 5;
        assert_eq!((lock(None).state(u64::MAX), lock(None).ends()), (LockState::Locked, None));
        assert_eq!(lock(Some(5)).ends(), Some(end));
        assert_eq!(lock(Some(5)).state(end - 1), LockState::PendingUnlock);
        assert_eq!(lock(Some(5)).state(end), LockState::Unlocked);
    }
}
