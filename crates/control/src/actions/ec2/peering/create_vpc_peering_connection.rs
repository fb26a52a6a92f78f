//! CreateVpcPeeringConnection: asks the owner of another VPC, who may be another account or in another region.

use awan_model::id::{PeeringId, VpcId};
use awan_model::installation::Installation;
use awan_model::peering::{Peering, State};
use awan_model::vpc::Vpc;
use awan_state::{Home, Tenant, Tx};
use awan_wire::ec2;

use super::peerings::{self, Known, of_vpc, overlap, shown, side};
use crate::actions::ec2::vpc::create_vpc::brief;
use crate::error::{Code, Result, invalid, invalid_value, missing, refuse, refuse_if};
use crate::tagging;

/// Source: "Amazon VPC quotas", outstanding VPC peering connection requests.
const WAITING_MAX: usize = 25;

pub fn create_vpc_peering_connection(
    tx: &mut Tx<Tenant>,
    req: ec2::CreateVpcPeeringConnectionRequest,
) -> Result<ec2::CreateVpcPeeringConnectionResult> {
    let ec2::CreateVpcPeeringConnectionRequest {
        peer_region,
        tag_specifications,
        requester_peering_connection_options,
        dry_run: _,
        vpc_id,
        peer_vpc_id,
        peer_owner_id,
    } = req;
    if let Some(ec2::CreatePeeringConnectionOptionsRequest { allow_multipath_resilience, multipath_resilience_mode }) =
        requester_peering_connection_options
    {
        refuse_if(
            allow_multipath_resilience == Some(true) || multipath_resilience_mode.is_some(),
            "RequesterPeeringConnectionOptions.AllowMultipathResilience",
        )?;
    }
    let vpc = tx.get::<Vpc>(&vpc_id.ok_or_else(|| missing("VpcId"))?.parse()?)?;
    let peer_vpc: VpcId = peer_vpc_id.ok_or_else(|| missing("PeerVpcId"))?.parse()?;
    let peer = peer(tx, peer_owner_id, peer_region)?;
    if peer_vpc == vpc.id {
        return Err(invalid(format!("The VPC '{peer_vpc}' cannot be peered with itself")));
    }
    let tags = tagging::specified(&tag_specifications, "vpc-peering-connection", &["vpc-peering-connection"])?;
    peerings::forget_old(tx);
    must_be_new(tx, &vpc, &peer_vpc)?;
    let side = side(&vpc);
    let failed = peer == *tx.home() && overlap(&side.ranges, &peerings::side(&*tx.get::<Vpc>(&peer_vpc)?).ranges);
    let (home, created) = (tx.home().clone(), tx.now());
    let id = PeeringId::made(tx.new_id(PeeringId::PREFIX));
    tx.put(Peering { home, id: id.clone(), side, peer, peer_vpc, failed, withdrawn: None, created });
    tagging::add(tx, id.as_str(), &tags)?;
    let known = peerings::read(tx, &id)?;
    Ok(ec2::CreateVpcPeeringConnectionResult { vpc_peering_connection: Some(shown(&known, tags)) })
}

fn peer(tx: &mut Tx<Tenant>, account: Option<String>, region: Option<String>) -> Result<Home> {
    let account = account.unwrap_or_else(|| tx.home().account().to_owned());
    if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid_value(brief(&account), "peerOwnerId"));
    }
    let region = region.unwrap_or_else(|| tx.home().region().to_owned());
    let regions = tx.public::<Installation>(&Installation::ID.into()).map(|i| i.regions.clone()).unwrap_or_default();
    if !regions.contains(&region) {
        return Err(invalid_value(brief(&region), "peerRegion"));
    }
    Ok(Home::new(&account, &region))
}

fn must_be_new(tx: &mut Tx<Tenant>, vpc: &Vpc, peer_vpc: &VpcId) -> Result<()> {
    let there = of_vpc(tx, &vpc.id);
    let other = tx.find::<Vpc>(peer_vpc).map(|_| of_vpc(tx, peer_vpc)).unwrap_or_default();
    let joins = |k: &Known| {
        let ends = [&k.peering.side.vpc, &k.peering.peer_vpc];
        ends.contains(&&vpc.id) && ends.contains(&peer_vpc)
    };
    if there.iter().chain(&other).any(joins) {
        let message = format!("A VPC peering connection between {} and {peer_vpc} already exists", vpc.id);
        return Err(refuse(Code::VpcPeeringConnectionAlreadyExists, message));
    }
    if there.iter().filter(|k| k.state == State::PendingAcceptance).count() >= WAITING_MAX {
        let message = "The maximum number of outstanding VPC peering connection requests has been reached.";
        return Err(refuse(Code::OutstandingVpcPeeringConnectionLimitExceeded, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    fn vpc(cloud: &mut Cloud, account: &str, cidr: &str) -> String {
        let made = cloud.tenant(account).call("CreateVpc", &[("CidrBlock", cidr)]).expect("makes");
        Cloud::ids(&made, "vpcId").remove(0)
    }

    #[test]
    fn a_question_waits_for_its_answer_and_is_asked_once() {
        let mut cloud = Cloud::new();
        let (a, b) = (vpc(&mut cloud, "acme", "10.1.0.0/16"), vpc(&mut cloud, "acme", "10.2.0.0/16"));
        let ask = [
            ("VpcId", a.as_str()),
            ("PeerVpcId", &b),
            ("TagSpecification.1.ResourceType", "vpc-peering-connection"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", "bridge"),
        ];
        let made = cloud.tenant("acme").call("CreateVpcPeeringConnection", &ask).expect("asks");
        assert_eq!(Cloud::ids(&made, "code"), ["pending-acceptance"]);
        assert!(
            made.contains("<value>bridge</value>") && made.contains("<cidrBlock>10.1.0.0/16</cidrBlock>"),
            "{made}"
        );
        for ask in [[("VpcId", a.as_str()), ("PeerVpcId", &b)], [("VpcId", b.as_str()), ("PeerVpcId", &a)]] {
            let refusal = cloud.tenant("acme").call("CreateVpcPeeringConnection", &ask).expect_err("is asked already");
            assert!(refusal.starts_with("VpcPeeringConnectionAlreadyExists"), "{refusal}");
        }
        cloud.audit();
    }

    #[test]
    fn vpcs_whose_ranges_overlap_are_not_peered() {
        let mut cloud = Cloud::new();
        let (a, b) = (vpc(&mut cloud, "acme", "10.1.0.0/16"), vpc(&mut cloud, "acme", "10.1.128.0/20"));
        let ask = [("VpcId", a.as_str()), ("PeerVpcId", b.as_str())];
        let made = cloud.tenant("acme").call("CreateVpcPeeringConnection", &ask).expect("asks");
        assert_eq!(Cloud::ids(&made, "code"), ["failed"]);
        let id = Cloud::ids(&made, "vpcPeeringConnectionId").remove(0);
        let refusal = cloud.tenant("acme").call("AcceptVpcPeeringConnection", &[("VpcPeeringConnectionId", &id)]);
        let refusal = refusal.expect_err("failed");
        assert!(
            refusal.starts_with(&format!("InvalidStateTransition: Invalid state transition for {id}")),
            "{refusal}"
        );
        for (name, value, expected) in [
            ("PeerVpcId", a.as_str(), "InvalidParameterValue: The VPC"),
            ("PeerVpcId", "vpc-00000000000000001", "InvalidVpcID.NotFound"),
            ("PeerOwnerId", "me", "InvalidParameterValue: Value (me) for parameter peerOwnerId is invalid."),
            ("PeerRegion", "mars-1", "InvalidParameterValue: Value (mars-1) for parameter peerRegion is invalid."),
        ] {
            let ask: Vec<_> = ask.into_iter().filter(|(n, _)| *n != name).chain([(name, value)]).collect();
            let refusal = cloud.tenant("acme").call("CreateVpcPeeringConnection", &ask).expect_err(value);
            assert!(refusal.starts_with(expected), "{refusal}");
        }
    }
}
