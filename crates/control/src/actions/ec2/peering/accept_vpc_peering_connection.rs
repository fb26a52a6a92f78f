//! AcceptVpcPeeringConnection.

use awan_model::peering::{PeeringAnswer, State, Verdict};
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::peerings::{self, Known, named, no_way, not_for, of_vpc, overlap, shown, side};
use crate::error::{Code, Result, refuse};
use crate::tagging;

/// Source: "Amazon VPC quotas", active VPC peering connections per VPC.
const ACTIVE_MAX: usize = 50;

pub fn accept_vpc_peering_connection(
    tx: &mut Tx<Tenant>,
    req: ec2::AcceptVpcPeeringConnectionRequest,
) -> Result<ec2::AcceptVpcPeeringConnectionResult> {
    let ec2::AcceptVpcPeeringConnectionRequest { dry_run: _, vpc_peering_connection_id } = req;
    let known = named(tx, vpc_peering_connection_id)?;
    let vpc = asked_vpc(tx, &known, "accept", "active")?;
    peerings::forget_old(tx);
    if of_vpc(tx, &vpc.id).iter().filter(|k| k.state == State::Active).count() >= ACTIVE_MAX {
        let message = "The maximum number of active VPC peering connections per VPC has been reached.";
        return Err(refuse(Code::VpcPeeringConnectionsPerVpcLimitExceeded, message));
    }
    // Only who owns both can know earlier that they overlap.
    let fails = overlap(&known.peering.side.ranges, &side(&vpc).ranges);
    answer(tx, &known, &vpc, if fails { Verdict::Failed } else { Verdict::Accepted });
    let id = known.peering.id.clone();
    let known = peerings::read(tx, &id)?;
    let tags = tagging::shown(&tagging::of(tx, id.as_str()));
    Ok(ec2::AcceptVpcPeeringConnectionResult { vpc_peering_connection: Some(shown(&known, tags)) })
}

/// The VPC that is asked for, if this home is asked and has not answered.
pub fn asked_vpc(tx: &mut Tx<Tenant>, known: &Known, what: &str, to: &str) -> Result<Vpc> {
    if !known.is_asked_of(tx.home()) {
        return Err(not_for(tx, what, known));
    }
    if known.state != State::PendingAcceptance {
        return Err(no_way(known, to));
    }
    Ok((*tx.get::<Vpc>(&known.peering.peer_vpc)?).clone())
}

pub fn answer(tx: &mut Tx<Tenant>, known: &Known, vpc: &Vpc, verdict: Verdict) {
    let (home, at, asked_by) = (tx.home().clone(), tx.now(), known.peering.home.clone());
    tx.put(PeeringAnswer { home, id: known.peering.id.clone(), side: side(vpc), asked_by, verdict, at });
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    fn vpc(cloud: &mut Cloud, account: &str, cidr: &str) -> (String, String) {
        let made = cloud.tenant(account).call("CreateVpc", &[("CidrBlock", cidr)]).expect("makes");
        (Cloud::ids(&made, "vpcId").remove(0), Cloud::ids(&made, "ownerId").remove(0))
    }

    fn asked(cloud: &mut Cloud, from: &str, (to, owner): &(String, String)) -> String {
        let ask = [("VpcId", from), ("PeerVpcId", to), ("PeerOwnerId", owner)];
        let made = cloud.tenant("acme").call("CreateVpcPeeringConnection", &ask).expect("asks");
        Cloud::ids(&made, "vpcPeeringConnectionId").remove(0)
    }

    fn code(cloud: &mut Cloud, account: &str, id: &str) -> String {
        let shown = cloud.tenant(account).call("DescribeVpcPeeringConnections", &[("VpcPeeringConnectionId.1", id)]);
        shown.map_or_else(|refusal| refusal, |shown| Cloud::ids(&shown, "code").remove(0))
    }

    #[test]
    fn two_accounts_peer_and_a_third_sees_nothing_of_it() {
        let mut cloud = Cloud::new();
        let (a, _) = vpc(&mut cloud, "acme", "10.1.0.0/16");
        let other = vpc(&mut cloud, "other", "10.2.0.0/16");
        let id = asked(&mut cloud, &a, &other);
        let this = [("VpcPeeringConnectionId", id.as_str())];
        let absent =
            format!("InvalidVpcPeeringConnectionID.NotFound: The vpcPeeringConnection ID '{id}' does not exist");
        for action in ["AcceptVpcPeeringConnection", "RejectVpcPeeringConnection", "DeleteVpcPeeringConnection"] {
            assert_eq!(cloud.tenant("third").call(action, &this).expect_err("not its own"), absent);
        }
        let refusal = cloud.tenant("acme").call("AcceptVpcPeeringConnection", &this).expect_err("asked itself");
        assert!(refusal.starts_with("OperationNotPermitted: User"), "{refusal}");
        let refusal = cloud.tenant("other").call("DeleteVpcPeeringConnection", &this).expect_err("is to answer");
        assert!(refusal.starts_with("InvalidStateTransition"), "{refusal}");
        for account in ["acme", "other"] {
            assert_eq!(code(&mut cloud, account, &id), "pending-acceptance");
        }
        let active = cloud.tenant("other").call("AcceptVpcPeeringConnection", &this).expect("accepts");
        assert_eq!(Cloud::ids(&active, "code"), ["active"]);
        for account in ["acme", "other"] {
            assert_eq!(code(&mut cloud, account, &id), "active");
        }
        assert_eq!(code(&mut cloud, "third", &id), absent);
        for (account, vpc) in [("acme", &a), ("other", &other.0)] {
            let refusal = cloud.tenant(account).call("DeleteVpc", &[("VpcId", vpc)]).expect_err("is peered");
            assert!(refusal.starts_with("DependencyViolation"), "{refusal}");
        }
        cloud.tenant("other").call("DeleteVpcPeeringConnection", &this).expect("ends it");
        for account in ["acme", "other"] {
            assert_eq!(code(&mut cloud, account, &id), "deleted");
        }
        cloud.tenant("acme").call("DeleteVpc", &[("VpcId", &a)]).expect("is free");
        cloud.audit();
    }

    #[test]
    fn what_overlaps_fails_when_it_is_accepted_by_another_account() {
        let mut cloud = Cloud::new();
        let (a, _) = vpc(&mut cloud, "acme", "10.1.0.0/16");
        let other = vpc(&mut cloud, "other", "10.1.0.0/16");
        let id = asked(&mut cloud, &a, &other);
        let failed = cloud.tenant("other").call("AcceptVpcPeeringConnection", &[("VpcPeeringConnectionId", &id)]);
        assert_eq!(Cloud::ids(&failed.expect("answers"), "code"), ["failed"]);
        assert_eq!(code(&mut cloud, "acme", &id), "failed");
    }

    #[test]
    fn a_question_about_no_vpc_of_ours_is_not_shown_and_one_without_answer_expires() {
        let mut cloud = Cloud::new();
        let (a, _) = vpc(&mut cloud, "acme", "10.1.0.0/16");
        let other = vpc(&mut cloud, "other", "10.2.0.0/16");
        let nowhere = asked(&mut cloud, &a, &("vpc-00000000000000001".into(), other.1.clone()));
        let id = asked(&mut cloud, &a, &other);
        assert!(code(&mut cloud, "other", &nowhere).starts_with("InvalidVpcPeeringConnectionID.NotFound"));
        let day = 24 * 60 * 60 * 1000;
        cloud.pass(7 * day);
        for account in ["acme", "other"] {
            assert_eq!(code(&mut cloud, account, &id), "expired");
        }
        let refusal = cloud.tenant("other").call("AcceptVpcPeeringConnection", &[("VpcPeeringConnectionId", &id)]);
        assert!(refusal.expect_err("too late").starts_with("InvalidStateTransition"));
        cloud.pass(2 * day);
        for account in ["acme", "other"] {
            assert!(code(&mut cloud, account, &id).starts_with("InvalidVpcPeeringConnectionID.NotFound"));
        }
        asked(&mut cloud, &a, &other);
        cloud.audit();
    }
}
