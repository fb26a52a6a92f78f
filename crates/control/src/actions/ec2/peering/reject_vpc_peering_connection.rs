//! RejectVpcPeeringConnection.

use awan_model::peering::Verdict;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::accept_vpc_peering_connection::{answer, asked_vpc};
use super::peerings::named;
use crate::error::Result;

pub fn reject_vpc_peering_connection(
    tx: &mut Tx<Tenant>,
    req: ec2::RejectVpcPeeringConnectionRequest,
) -> Result<ec2::RejectVpcPeeringConnectionResult> {
    let ec2::RejectVpcPeeringConnectionRequest { dry_run: _, vpc_peering_connection_id } = req;
    let known = named(tx, vpc_peering_connection_id)?;
    let vpc = asked_vpc(tx, &known, "reject", "rejected")?;
    answer(tx, &known, &vpc, Verdict::Rejected);
    Ok(ec2::RejectVpcPeeringConnectionResult { r#return: Some(true) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_rejected_question_can_be_asked_again() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let mut vpc = |cidr| Cloud::ids(&call("CreateVpc", &[("CidrBlock", cidr)]).expect("makes"), "vpcId").remove(0);
        let (a, b) = (vpc("10.1.0.0/16"), vpc("10.2.0.0/16"));
        let ask = [("VpcId", a.as_str()), ("PeerVpcId", b.as_str())];
        let made = call("CreateVpcPeeringConnection", &ask).expect("asks");
        let id = Cloud::ids(&made, "vpcPeeringConnectionId").remove(0);
        let this = [("VpcPeeringConnectionId", id.as_str())];
        call("RejectVpcPeeringConnection", &this).expect("rejects");
        for action in ["RejectVpcPeeringConnection", "AcceptVpcPeeringConnection", "DeleteVpcPeeringConnection"] {
            let refusal = call(action, &this).expect_err("is rejected");
            let begin = format!(
                "InvalidStateTransition: Invalid state transition for {id}, attempted to transition from rejected to"
            );
            assert!(refusal.starts_with(&begin), "{refusal}");
        }
        call("CreateVpcPeeringConnection", &ask).expect("asks again");
    }
}
