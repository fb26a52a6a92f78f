//! Peering connections of VPCs, also of two accounts: who asks writes a [`Peering`], who is asked a [`PeeringAnswer`], and
//! the state follows from both. Neither can write what is the other's; each lets the other see its own.
//!
//! ```text
//! Peering ── no answer ──► pending-acceptance ──► expired (7 days)
//!    │         Accepted ──► active      Rejected ──► rejected      Failed ──► failed
//!    └─ withdrawn, or answered Ended ──► deleted
//! ```

use std::fmt;

use awan_state::{Home, Index, Millis, Shareable};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::id::{PeeringId, VpcId};
use crate::record;

const HOUR: Millis = 60 * 60 * 1000;
/// Source: "VPC peering connection lifecycle".
const UNANSWERED_MS: Millis = 7 * 24 * HOUR;
/// For who ended it, and for the other.
const VISIBLE_MS: (Millis, Millis) = (2 * HOUR, 2 * 24 * HOUR);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peering {
    pub home: Home,
    pub id: PeeringId,
    pub side: Side,
    /// Whose VPC the other one is to be, and which.
    pub peer: Home,
    pub peer_vpc: VpcId,
    /// Could not be from the beginning.
    pub failed: bool,
    pub withdrawn: Option<Millis>,
    pub created: Millis,
}
record!(
    Peering,
    "peering",
    PeeringId,
    Tenant,
    "InvalidVpcPeeringConnectionID.NotFound",
    "The vpcPeeringConnection ID '{}' does not exist",
    |peering| vec![Index { name: Peering::INDEX, value: peering.id.to_string(), everywhere: true }]
);

impl Shareable for Peering {
    const INDEX: &'static str = "peering";

    fn visible_to(&self, home: &Home) -> bool {
        self.home == *home || self.peer == *home
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeeringAnswer {
    pub home: Home,
    pub id: PeeringId,
    pub side: Side,
    /// Who is answered.
    pub asked_by: Home,
    pub verdict: Verdict,
    pub at: Millis,
}
record!(
    PeeringAnswer,
    "peering-answer",
    PeeringId,
    Tenant,
    "InvalidVpcPeeringConnectionID.NotFound",
    "The vpcPeeringConnection ID '{}' does not exist",
    |answer| vec![Index { name: PeeringAnswer::INDEX, value: answer.id.to_string(), everywhere: true }]
);

impl Shareable for PeeringAnswer {
    const INDEX: &'static str = "peering-answer";

    fn visible_to(&self, home: &Home) -> bool {
        self.home == *home || self.asked_by == *home
    }
}

/// One of the two VPCs, as its owner lets the other know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    pub vpc: VpcId,
    /// The first is the VPC's primary range.
    pub ranges: Vec<IpNet>,
    /// Public names of this VPC's guests are private addresses to the other's.
    pub dns: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    Accepted,
    Rejected,
    /// Accepted, but it cannot be.
    Failed,
    /// Was accepted once.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    PendingAcceptance,
    Active,
    Failed,
    Rejected,
    Expired,
    Deleted,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PendingAcceptance => "pending-acceptance",
            Self::Active => "active",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Deleted => "deleted",
        })
    }
}

impl Peering {
    pub fn expires(&self) -> Millis {
        self.created + UNANSWERED_MS
    }

    pub fn state(&self, answer: Option<&PeeringAnswer>, now: Millis) -> State {
        match (self.withdrawn, answer.map(|a| a.verdict)) {
            (Some(_), _) | (None, Some(Verdict::Ended)) => State::Deleted,
            (None, Some(Verdict::Accepted)) => State::Active,
            (None, Some(Verdict::Rejected)) => State::Rejected,
            (None, Some(Verdict::Failed)) => State::Failed,
            (None, None) if self.failed => State::Failed,
            (None, None) if now >= self.expires() => State::Expired,
            (None, None) => State::PendingAcceptance,
        }
    }

    /// EC2 shows what is over for a while.
    pub fn is_shown_to(&self, home: &Home, answer: Option<&PeeringAnswer>, now: Millis) -> bool {
        let state = self.state(answer, now);
        let (ended, by) = match state {
            State::PendingAcceptance | State::Active => return true,
            State::Expired => (self.expires(), None),
            State::Failed if answer.is_none() => (self.created, Some(&self.home)),
            _ => match (self.withdrawn, answer) {
                (Some(at), _) => (at, Some(&self.home)),
                (None, Some(answer)) => (answer.at, Some(&answer.home)),
                (None, None) => (self.created, None),
            },
        };
        let visible = if by == Some(home) { VISIBLE_MS.0 } else { VISIBLE_MS.1 };
        now < ended + visible
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Peering {
        let vpc = |n: u8| VpcId::made(format!("vpc-{n:017}"));
        Peering {
            home: Home::new("1", "r"),
            id: PeeringId::made("pcx-00000000000000001".into()),
            side: Side { vpc: vpc(1), ranges: Vec::new(), dns: false },
            peer: Home::new("2", "r"),
            peer_vpc: vpc(2),
            failed: false,
            withdrawn: None,
            created: 0,
        }
    }

    fn answered(verdict: Verdict, at: Millis) -> PeeringAnswer {
        let Peering { id, side, home, peer, .. } = asked();
        PeeringAnswer { home: peer, id, side, asked_by: home, verdict, at }
    }

    #[test]
    fn the_state_follows_from_the_question_and_the_answer() {
        let (question, accepted) = (asked(), answered(Verdict::Accepted, 5));
        let withdrawn = Peering { withdrawn: Some(9), ..asked() };
        let failed = Peering { failed: true, ..asked() };
        for (peering, answer, now, expected) in [
            (&question, None, 0, State::PendingAcceptance),
            (&question, None, UNANSWERED_MS, State::Expired),
            (&question, Some(&accepted), UNANSWERED_MS, State::Active),
            (&question, Some(&answered(Verdict::Rejected, 5)), 9, State::Rejected),
            (&question, Some(&answered(Verdict::Failed, 5)), 9, State::Failed),
            (&question, Some(&answered(Verdict::Ended, 5)), 9, State::Deleted),
            (&withdrawn, Some(&accepted), 9, State::Deleted),
            (&withdrawn, None, 9, State::Deleted),
            (&failed, None, UNANSWERED_MS, State::Failed),
        ] {
            assert_eq!(peering.state(answer, now), expected);
        }
    }

    #[test]
    fn what_is_over_is_shown_longer_to_who_did_not_end_it() {
        let (question, ended) = (asked(), answered(Verdict::Ended, 0));
        for (home, hours, expected) in
            [("1", 1, true), ("1", 47, true), ("1", 48, false), ("2", 1, true), ("2", 2, false)]
        {
            let shown = question.is_shown_to(&Home::new(home, "r"), Some(&ended), hours * HOUR);
            assert_eq!(shown, expected, "{home} after {hours} hours");
        }
        assert!(question.is_shown_to(&Home::new("2", "r"), None, UNANSWERED_MS + 47 * HOUR));
        assert!(!question.is_shown_to(&Home::new("2", "r"), None, UNANSWERED_MS + 48 * HOUR));
        assert!(!question.visible_to(&Home::new("3", "r")) && !ended.visible_to(&Home::new("3", "r")));
    }
}
