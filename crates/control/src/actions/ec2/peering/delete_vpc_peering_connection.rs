//! DeleteVpcPeeringConnection: either side ends what is active, who asked takes back what waits. Routes stay and lead nowhere.

use awan_model::peering::{Peering, PeeringAnswer, State, Verdict};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::peerings::{named, no_way};
use crate::error::Result;

pub fn delete_vpc_peering_connection(
    tx: &mut Tx<Tenant>,
    req: ec2::DeleteVpcPeeringConnectionRequest,
) -> Result<ec2::DeleteVpcPeeringConnectionResult> {
    let ec2::DeleteVpcPeeringConnectionRequest { dry_run: _, vpc_peering_connection_id } = req;
    let known = named(tx, vpc_peering_connection_id)?;
    let (mine, at) = (known.is_asked_by(tx.home()), tx.now());
    match (known.state, &known.answer) {
        (State::PendingAcceptance | State::Active, _) if mine => {
            tx.put(Peering { withdrawn: Some(at), ..(*known.peering).clone() });
        }
        (State::Active, Some(answer)) => {
            tx.put(PeeringAnswer { verdict: Verdict::Ended, at, ..(**answer).clone() });
        }
        _ => return Err(no_way(&known, "deleting")),
    }
    Ok(ec2::DeleteVpcPeeringConnectionResult { r#return: Some(true) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_deleted_connection_is_shown_for_two_hours_and_not_deleted_again() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let mut vpc = |cidr| Cloud::ids(&call("CreateVpc", &[("CidrBlock", cidr)]).expect("makes"), "vpcId").remove(0);
        let (a, b) = (vpc("10.1.0.0/16"), vpc("10.2.0.0/16"));
        let made = call("CreateVpcPeeringConnection", &[("VpcId", &a), ("PeerVpcId", &b)]).expect("asks");
        let id = Cloud::ids(&made, "vpcPeeringConnectionId").remove(0);
        let this = [("VpcPeeringConnectionId", id.as_str())];
        call("AcceptVpcPeeringConnection", &this).expect("accepts");
        call("DeleteVpcPeeringConnection", &this).expect("deletes");
        let refusal = call("DeleteVpcPeeringConnection", &this).expect_err("twice");
        assert_eq!(
            refusal,
            format!(
                "InvalidStateTransition: Invalid state transition for {id}, attempted to transition from deleted to deleting"
            )
        );
        let deleted = [("Filter.1.Name", "status-code"), ("Filter.1.Value.1", "deleted")];
        let shown = call("DescribeVpcPeeringConnections", &deleted).expect("answers");
        assert_eq!(Cloud::ids(&shown, "vpcPeeringConnectionId"), [id.as_str()]);
        for vpc in [&a, &b] {
            call("DeleteVpc", &[("VpcId", vpc)]).expect("is free");
        }
        cloud.pass(2 * 60 * 60 * 1000);
        let refusal = cloud.tenant("acme").call("DeleteVpcPeeringConnection", &this).expect_err("gone");
        assert!(refusal.starts_with("InvalidVpcPeeringConnectionID.NotFound"), "{refusal}");
        cloud.audit();
    }
}
