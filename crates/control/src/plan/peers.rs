//! The active peering connections of a VPC.

use awan_model::id::VpcId;
use awan_model::peering::{Peering, PeeringAnswer, State};
use awan_model::plan::PeerPlan;
use awan_model::vpc::Vpc;
use awan_state::{Home, System, Tx};

pub fn of(tx: &mut Tx<System>, home: &Home, vpc: &VpcId) -> Vec<PeerPlan> {
    let mut found = Vec::new();
    for peering in tx.all::<Peering>() {
        let asked = peering.home == *home && peering.side.vpc == *vpc;
        if !asked && (peering.peer != *home || peering.peer_vpc != *vpc) {
            continue;
        }
        let answer = tx.find_in::<PeeringAnswer>(&peering.peer, &peering.id);
        if peering.state(answer.as_deref(), tx.now()) != State::Active {
            continue;
        }
        let (there, other) =
            if asked { (&peering.peer, &peering.peer_vpc) } else { (&peering.home, &peering.side.vpc) };
        if let Some(other) = tx.find_in::<Vpc>(there, other) {
            let ranges = other.cidrs().collect();
            found.push(PeerPlan { id: peering.id.clone(), vpc: other.id.clone(), ranges, asked });
        }
    }
    found
}
