//! Network ACLs for hosts: those that serve subnets.

use std::sync::Arc;

use awan_model::id::{NetworkAclId, SubnetId, VpcId};
use awan_model::network_acl::{Entry, NetworkAcl};
use awan_model::plan::{AclEntryPlan, AclPlan};
use awan_state::{Home, System, Tx};

pub fn in_vpc(tx: &mut Tx<System>, home: &Home, vpc: &VpcId) -> Vec<Arc<NetworkAcl>> {
    let mut all = tx.all_in::<NetworkAcl>(home);
    all.retain(|acl| acl.vpc == *vpc && !acl.associations.is_empty());
    all
}

/// The one that serves a subnet.
pub fn of(acls: &[Arc<NetworkAcl>], subnet: &SubnetId) -> Option<NetworkAclId> {
    acls.iter().find(|acl| acl.associations.iter().any(|a| a.subnet == *subnet)).map(|acl| acl.id.clone())
}

pub fn plans(acls: &[Arc<NetworkAcl>]) -> Vec<AclPlan> {
    let plan = |acl: &Arc<NetworkAcl>| {
        let side = |egress: bool| acl.entries.iter().filter(|e| e.egress == egress).map(entry).collect();
        AclPlan { id: acl.id.clone(), ingress: side(false), egress: side(true) }
    };
    acls.iter().map(plan).collect()
}

fn entry(&Entry { number, egress: _, allow, peer, traffic }: &Entry) -> AclEntryPlan {
    AclEntryPlan { number, allow, traffic, peer }
}

#[cfg(test)]
mod tests {
    use awan_model::group::Traffic;
    use awan_model::network_acl::Peer;
    use ipnet::Ipv4Net;

    use super::*;
    use crate::plan::all;
    use crate::testing::Cloud;

    #[test]
    fn a_subnet_names_the_acl_that_serves_it_and_others_are_in_no_plan() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask).expect(action);
        let one = |made: &str, element: &str| Cloud::ids(made, element).remove(0);
        let shown = call("DescribeNetworkAcls", &[]);
        let [default, vpc, subnet] = ["networkAclId", "vpcId", "subnetId"].map(|element| one(&shown, element));
        let [own, idle] = [(); 2].map(|()| one(&call("CreateNetworkAcl", &[("VpcId", &vpc)]), "networkAclId"));
        for (number, protocol) in [("20", "47"), ("10", "-1")] {
            let ask = [
                ("NetworkAclId", own.as_str()),
                ("RuleNumber", number),
                ("Protocol", protocol),
                ("RuleAction", if number == "10" { "deny" } else { "allow" }),
                ("Egress", "true"),
                ("CidrBlock", "192.0.2.0/24"),
            ];
            call("CreateNetworkAclEntry", &ask);
        }
        let association = one(&shown, "networkAclAssociationId");
        call("ReplaceNetworkAclAssociation", &[("AssociationId", &association), ("NetworkAclId", &own)]);

        let plans = cloud.control.db.read(System, |tx| all(tx, 1));
        let vpc = &plans.values().next().expect("a host").network.vpcs[0];
        let acl = |id: &str| vpc.acls.iter().find(|acl| acl.id.as_str() == id).cloned();
        for planned in &vpc.subnets {
            let expected = if planned.id.as_str() == subnet { &own } else { &default };
            assert_eq!(planned.acl.as_ref().map(NetworkAclId::as_str), Some(expected.as_str()));
        }
        assert_eq!(acl(&idle), None);
        let peer = Peer::Ipv4("192.0.2.0/24".parse().expect("a network"));
        let entry = |number, allow, traffic, peer| AclEntryPlan { number, allow, traffic, peer };
        let egress = vec![entry(10, false, Traffic::All, peer), entry(20, true, Traffic::Protocol(47), peer)];
        assert_eq!(acl(&own), Some(AclPlan { id: own.parse().expect("an id"), ingress: Vec::new(), egress }));
        let all = vec![entry(100, true, Traffic::All, Peer::Ipv4(Ipv4Net::default()))];
        let expected = AclPlan { id: default.parse().expect("an id"), ingress: all.clone(), egress: all };
        assert_eq!(acl(&default), Some(expected));
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("terminates");
        cloud.audit();
    }
}
