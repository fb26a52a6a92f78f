//! Peering connections as either side sees them.

use std::sync::Arc;

use awan_model::id::{PeeringId, VpcId};
use awan_model::peering::{Peering, PeeringAnswer, Side, State};
use awan_model::tag::Tags;
use awan_model::vpc::Vpc;
use awan_state::{Home, Missing, Tenant, Tx};
use awan_wire::{ec2, shape};
use ipnet::{IpNet, Ipv4Net};

use crate::error::{Code, Error, Result, missing, refuse};
use crate::network;

/// The question, the answer, and what follows.
pub struct Known {
    pub peering: Arc<Peering>,
    pub answer: Option<Arc<PeeringAnswer>>,
    pub state: State,
}

impl Known {
    fn new(tx: &mut Tx<Tenant>, peering: Arc<Peering>) -> Self {
        let answer = tx.shared::<PeeringAnswer>(&peering.id).ok();
        let state = peering.state(answer.as_deref(), tx.now());
        Self { peering, answer, state }
    }

    pub fn is_asked_by(&self, home: &Home) -> bool {
        self.peering.home == *home
    }

    pub fn is_asked_of(&self, home: &Home) -> bool {
        self.peering.peer == *home
    }

    fn sides(&self) -> impl Iterator<Item = (&Home, &Side)> {
        let asking = (&self.peering.home, &self.peering.side);
        std::iter::once(asking).chain(self.answer.as_ref().map(|a| (&a.home, &a.side)))
    }
}

pub fn named(tx: &mut Tx<Tenant>, id: Option<String>) -> Result<Known> {
    read(tx, &id.ok_or_else(|| missing("VpcPeeringConnectionId"))?.parse()?)
}

pub fn read(tx: &mut Tx<Tenant>, id: &PeeringId) -> Result<Known> {
    let peering = tx.shared::<Peering>(id)?;
    let known = Known::new(tx, peering);
    if is_shown(tx, &known) { Ok(known) } else { Err(Missing::of::<Peering>(id).into()) }
}

/// All that this home asked or is asked.
pub fn all(tx: &mut Tx<Tenant>) -> Vec<Known> {
    let all: Vec<_> = tx.all_shared::<Peering>().into_iter().map(|peering| Known::new(tx, peering)).collect();
    all.into_iter().filter(|known| is_shown(tx, known)).collect()
}

/// A question about a VPC that is not there is no question: nobody can fill another's lists by guessing.
fn is_shown(tx: &mut Tx<Tenant>, known: &Known) -> bool {
    let home = tx.home().clone();
    let meant = known.answer.is_some() || known.is_asked_by(&home) || tx.find::<Vpc>(&known.peering.peer_vpc).is_some();
    meant && known.peering.is_shown_to(&home, known.answer.as_deref(), tx.now())
}

/// Those of a VPC of this home that wait or are active.
pub fn of_vpc(tx: &mut Tx<Tenant>, vpc: &VpcId) -> Vec<Known> {
    let home = tx.home().clone();
    let asked: Vec<_> = tx.list::<Peering>().into_iter().filter(|p| p.side.vpc == *vpc).collect();
    let answered = tx.list::<PeeringAnswer>().into_iter().filter(|a| a.side.vpc == *vpc);
    let answered: Vec<_> = answered.filter_map(|a| tx.shared::<Peering>(&a.id).ok()).collect();
    // Of two VPCs of one home, both records are its own.
    let answered = answered.into_iter().filter(|p| p.home != home || p.peer_vpc == *vpc);
    let all: Vec<_> = asked.into_iter().chain(answered).map(|peering| Known::new(tx, peering)).collect();
    all.into_iter().filter(|known| matches!(known.state, State::PendingAcceptance | State::Active)).collect()
}

/// Whether a route of a VPC through this connection leads anywhere.
pub fn serves(tx: &mut Tx<Tenant>, id: &PeeringId, vpc: &VpcId) -> bool {
    let home = tx.home().clone();
    read(tx, id).is_ok_and(|known| {
        known.state == State::Active && known.sides().any(|(of, side)| *of == home && side.vpc == *vpc)
    })
}

pub fn side(vpc: &Vpc) -> Side {
    Side { vpc: vpc.id.clone(), ranges: ranges(vpc), dns: false }
}

fn ranges(vpc: &Vpc) -> Vec<IpNet> {
    vpc.cidrs().map(IpNet::from).chain(vpc.ipv6.iter().map(|range| range.cidr.into())).collect()
}

pub fn overlap(a: &[IpNet], b: &[IpNet]) -> bool {
    let v4 = |range: &IpNet| if let IpNet::V4(net) = range { Some(*net) } else { None };
    let of = |all: &[IpNet]| all.iter().filter_map(v4).collect::<Vec<Ipv4Net>>();
    let others = of(b);
    of(a).iter().any(|one| others.iter().any(|other| network::overlap(one, other)))
}

/// Lets the peers of a VPC know its ranges, after they changed.
pub fn tell_ranges(tx: &mut Tx<Tenant>, vpc: &Vpc) {
    let told = |side: &Side| Side { ranges: ranges(vpc), ..side.clone() };
    for known in of_vpc(tx, &vpc.id) {
        if known.peering.side.vpc == vpc.id {
            tx.put(Peering { side: told(&known.peering.side), ..(*known.peering).clone() });
        } else if let Some(answer) = known.answer {
            tx.put(PeeringAnswer { side: told(&answer.side), ..(*answer).clone() });
        }
    }
}

/// A range that a peer has is the peer's. Who waits for an answer has shown what ranges it has. Source: "IPv4 CIDR block
/// association restrictions", Amazon VPC User Guide.
pub fn must_be_nobodys(tx: &mut Tx<Tenant>, vpc: &Vpc, cidr: &Ipv4Net) -> Result<()> {
    for known in of_vpc(tx, &vpc.id) {
        let id = &known.peering.id;
        let asking = known.peering.side.vpc == vpc.id;
        if asking && known.state == State::PendingAcceptance {
            let message = format!("The network '{}' takes no more ranges while {id} waits for an answer", vpc.id);
            return Err(refuse(Code::InvalidVpcRange, message));
        }
        let mut others = known.sides().filter(|(_, side)| side.vpc != vpc.id).map(|(_, side)| side);
        if known.state == State::Active && others.any(|side| overlap(&side.ranges, &[(*cidr).into()])) {
            let message = format!("The CIDR '{cidr}' conflicts with a CIDR of the network that {id} leads to");
            return Err(refuse(Code::InvalidVpcRange, message));
        }
    }
    Ok(())
}

/// Forgets what neither side is shown any more. The question goes before the answer: an answered one must not seem
/// to wait again.
pub fn forget_old(tx: &mut Tx<Tenant>) {
    for peering in tx.list::<Peering>() {
        let answer = tx.shared::<PeeringAnswer>(&peering.id).ok();
        let shown = |home| peering.is_shown_to(home, answer.as_deref(), tx.now());
        if !shown(&peering.home) && !shown(&peering.peer) {
            network::remove::<Peering>(tx, &peering.id);
        }
    }
    for answer in tx.list::<PeeringAnswer>() {
        if tx.shared::<Peering>(&answer.id).is_err() {
            tx.remove::<Tags>(&answer.id.to_string());
            tx.remove::<PeeringAnswer>(&answer.id);
        }
    }
}

pub fn no_way(known: &Known, to: &str) -> Error {
    let (id, from) = (&known.peering.id, known.state);
    let message = format!("Invalid state transition for {id}, attempted to transition from {from} to {to}");
    refuse(Code::InvalidStateTransition, message)
}

pub fn not_for(tx: &Tx<Tenant>, what: &str, known: &Known) -> Error {
    let message = format!("User {} cannot {what} peering {}", tx.home().account(), known.peering.id);
    refuse(Code::OperationNotPermitted, message)
}

pub fn shown(known: &Known, tags: Vec<ec2::Tag>) -> ec2::VpcPeeringConnection {
    let Known { peering, answer, state } = known;
    let active = *state == State::Active;
    // Who is asked shows its ranges by its answer.
    let unanswered = ec2::VpcPeeringConnectionVpcInfo {
        owner_id: Some(peering.peer.account().into()),
        region: Some(peering.peer.region().into()),
        vpc_id: Some(peering.peer_vpc.to_string()),
        ..Default::default()
    };
    let accepter = answer.as_ref().map_or(unanswered, |a| info(&a.home, &a.side, active));
    ec2::VpcPeeringConnection {
        accepter_vpc_info: Some(accepter),
        requester_vpc_info: Some(info(&peering.home, &peering.side, active)),
        expiration_time: (*state == State::PendingAcceptance)
            .then(|| shape::Timestamp(peering.expires().try_into().unwrap_or(i64::MAX))),
        status: Some(ec2::VpcPeeringConnectionStateReason {
            code: Some(state.to_string()),
            message: Some(message(known)),
        }),
        tags,
        vpc_peering_connection_id: Some(peering.id.to_string()),
        ..Default::default()
    }
}

fn message(known: &Known) -> String {
    let Known { peering, state, .. } = known;
    let by = if peering.withdrawn.is_some() { &peering.home } else { &peering.peer };
    match state {
        State::PendingAcceptance => format!("Pending Acceptance by {}", peering.peer.account()),
        State::Active => "Active".into(),
        State::Failed => "Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range".into(),
        State::Rejected => format!("Rejected by {}", peering.peer.account()),
        State::Expired => "Expired".into(),
        State::Deleted => format!("Deleted by {}", by.account()),
    }
}

fn info(home: &Home, side: &Side, active: bool) -> ec2::VpcPeeringConnectionVpcInfo {
    let (v4, v6): (Vec<IpNet>, Vec<IpNet>) = side.ranges.iter().copied().partition(|range| range.addr().is_ipv4());
    ec2::VpcPeeringConnectionVpcInfo {
        cidr_block: v4.first().map(ToString::to_string),
        ipv6_cidr_block_set: v6.iter().map(|r| ec2::Ipv6CidrBlock { ipv6_cidr_block: Some(r.to_string()) }).collect(),
        cidr_block_set: v4.iter().map(|r| ec2::CidrBlock { cidr_block: Some(r.to_string()) }).collect(),
        owner_id: Some(home.account().into()),
        peering_options: active.then(|| ec2::VpcPeeringConnectionOptionsDescription {
            allow_dns_resolution_from_remote_vpc: Some(side.dns),
            allow_egress_from_local_classic_link_to_remote_vpc: Some(false),
            allow_egress_from_local_vpc_to_remote_classic_link: Some(false),
            ..Default::default()
        }),
        vpc_id: Some(side.vpc.to_string()),
        region: Some(home.region().into()),
    }
}
