//! Groups on the other side of a peering connection, in rules. Source: "Update your security groups to reference peer
//! security groups", VPC peering documentation.

use std::collections::HashMap;

use awan_model::group::{Beyond, Peer, Rule, SecurityGroup};
use awan_model::id::{GroupId, PeeringId, VpcId};
use awan_model::peering::State;
use awan_state::{Home, Missing, Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::instance::launch;
use crate::actions::ec2::peering::peerings::{self, Known};
use crate::error::{Error, Result, invalid, missing};

/// Whom a pair of a request means. A group of the same account is there; of another account's, nobody is told whether it
/// is. What a rule of the group names already is found when it is gone, so that the rule can be revoked.
pub fn peer(tx: &mut Tx<Tenant>, group: &SecurityGroup, pair: ec2::UserIdGroupPair) -> Result<Peer> {
    let ec2::UserIdGroupPair {
        description: _,
        user_id,
        group_name,
        group_id,
        vpc_id,
        vpc_peering_connection_id: peering,
        peering_status: _,
    } = pair;
    let account = user_id.unwrap_or_else(|| tx.home().account().to_owned());
    let own = account == tx.home().account();
    let id: GroupId = match (group_id, group_name) {
        (Some(id), _) => id.parse()?,
        (None, Some(name)) if own => launch::by_name(tx, &group.vpc, &name)?,
        (None, Some(name)) => return Err(absent(&name)),
        (None, None) => return Err(missing("UserIdGroupPair.GroupId")),
    };
    let named = group.rules.iter().find(|rule| matches!(&rule.peer, Peer::Beyond(there) if there.group == id));
    if let Some(rule) = named {
        return Ok(rule.peer.clone());
    }
    let home = Home::new(&account, tx.home().region());
    let there = if own { Some(tx.get::<SecurityGroup>(&id)?.vpc.clone()) } else { None };
    if there.as_ref() == Some(&group.vpc) {
        let other = vpc_id.is_some_and(|vpc| vpc != group.vpc.as_str()) || peering.is_some();
        return if other { Err(absent(id.as_str())) } else { Ok(Peer::Group(id)) };
    }
    let known = peerings::of_vpc(tx, &group.vpc);
    let mut fit = known.iter().filter(|known| known.state == State::Active).filter_map(|known| {
        let (of, vpc) = other_end(known, tx.home(), &group.vpc);
        let fits = *of == home
            && there.as_ref().is_none_or(|there| there == vpc)
            && vpc_id.as_ref().is_none_or(|wanted| wanted == vpc.as_str())
            && peering.as_ref().is_none_or(|wanted| wanted == known.peering.id.as_str());
        fits.then(|| (vpc.clone(), known.peering.id.clone()))
    });
    match (fit.next(), fit.next()) {
        (Some((vpc, peering)), None) => Ok(Peer::Beyond(Box::new(Beyond { group: id, account, vpc, peering }))),
        (Some(_), Some(_)) => Err(invalid(format!(
            "The VPC has more than one peering connection with account {account}: VpcPeeringConnectionId says which is meant"
        ))),
        (None, _) => Err(absent(id.as_str())),
    }
}

fn other_end<'k>(known: &'k Known, home: &Home, vpc: &VpcId) -> (&'k Home, &'k VpcId) {
    let peering = &known.peering;
    if peering.home == *home && peering.side.vpc == *vpc {
        (&peering.peer, &peering.peer_vpc)
    } else {
        (&peering.home, &peering.side.vpc)
    }
}

fn absent(id: &str) -> Error {
    let id: String = id.chars().take(255).collect();
    let message = format!("The security group '{}' does not exist", id.escape_debug());
    Missing { code: "InvalidGroup.NotFound", message }.into()
}

/// Refuses a new rule that would be stale at once.
pub fn must_be_there(tx: &mut Tx<Tenant>, peer: &Peer) -> Result<()> {
    match peer {
        Peer::Beyond(beyond) if is_stale(tx, beyond) => Err(absent(beyond.group.as_str())),
        _ => Ok(()),
    }
}

/// Whether the connection is gone, or the group, as far as its owner may know.
pub fn is_stale(tx: &mut Tx<Tenant>, beyond: &Beyond) -> bool {
    let active = peerings::read(tx, &beyond.peering).is_ok_and(|known| known.state == State::Active);
    let own = beyond.account == tx.home().account();
    !active || own && tx.find::<SecurityGroup>(&beyond.group).is_none()
}

/// The states of connections that rules name.
pub type States = HashMap<PeeringId, State>;

pub fn states<'r>(tx: &mut Tx<Tenant>, rules: impl IntoIterator<Item = &'r Rule>) -> States {
    let mut states = States::new();
    for rule in rules {
        if let Peer::Beyond(beyond) = &rule.peer {
            let state = peerings::read(tx, &beyond.peering).map_or(State::Deleted, |known| known.state);
            states.insert(beyond.peering.clone(), state);
        }
    }
    states
}

pub fn pair(beyond: &Beyond, states: &States) -> ec2::UserIdGroupPair {
    ec2::UserIdGroupPair {
        description: None,
        user_id: Some(beyond.account.clone()),
        group_name: None,
        group_id: Some(beyond.group.to_string()),
        vpc_id: Some(beyond.vpc.to_string()),
        vpc_peering_connection_id: Some(beyond.peering.to_string()),
        peering_status: states.get(&beyond.peering).map(ToString::to_string),
    }
}

pub fn referenced(beyond: &Beyond, states: &States) -> ec2::ReferencedSecurityGroup {
    let ec2::UserIdGroupPair { user_id, group_id, vpc_id, vpc_peering_connection_id, peering_status, .. } =
        pair(beyond, states);
    ec2::ReferencedSecurityGroup { user_id, group_id, vpc_id, vpc_peering_connection_id, peering_status }
}

#[cfg(test)]
pub mod tests {
    use awan_model::group::Peer;

    use crate::plan::all;
    use crate::testing::Cloud;

    /// Two VPCs of two accounts, or of one, that are peers, each with a group.
    pub struct Peers {
        pub cloud: Cloud,
        pub vpcs: [String; 2],
        pub groups: [String; 2],
        pub peering: String,
        pub owner: String,
    }

    impl Peers {
        pub fn of(accounts: [&str; 2]) -> Self {
            let mut cloud = Cloud::new();
            let mut vpc = |account: &str, cidr: &str| {
                let made = cloud.tenant(account).call("CreateVpc", &[("CidrBlock", cidr)]).expect("makes");
                let vpc = Cloud::ids(&made, "vpcId").remove(0);
                let ask = [("GroupName", "web"), ("GroupDescription", "d"), ("VpcId", vpc.as_str())];
                let group = cloud.tenant(account).call("CreateSecurityGroup", &ask).expect("makes");
                (vpc, Cloud::ids(&group, "groupId").remove(0), Cloud::ids(&made, "ownerId").remove(0))
            };
            let (here, group, _) = vpc(accounts[0], "10.1.0.0/16");
            let (there, other, owner) = vpc(accounts[1], "10.2.0.0/16");
            let ask = [("VpcId", here.as_str()), ("PeerVpcId", &there), ("PeerOwnerId", &owner)];
            let made = cloud.tenant(accounts[0]).call("CreateVpcPeeringConnection", &ask).expect("asks");
            let peering = Cloud::ids(&made, "vpcPeeringConnectionId").remove(0);
            let accept = [("VpcPeeringConnectionId", peering.as_str())];
            cloud.tenant(accounts[1]).call("AcceptVpcPeeringConnection", &accept).expect("accepts");
            Self { cloud, vpcs: [here, there], groups: [group, other], peering, owner }
        }

        pub fn rule<'r>(group: &'r str, peer: &'r str, port: &'r str) -> [(&'static str, &'r str); 5] {
            [
                ("GroupId", group),
                ("IpPermissions.1.IpProtocol", "tcp"),
                ("IpPermissions.1.FromPort", port),
                ("IpPermissions.1.ToPort", port),
                ("IpPermissions.1.Groups.1.GroupId", peer),
            ]
        }

        pub fn allow(cloud: &mut Cloud, group: &str, peer: &str, port: u16) -> Result<String, String> {
            cloud.tenant("acme").call("AuthorizeSecurityGroupIngress", &Self::rule(group, peer, &port.to_string()))
        }

        /// Launches an instance into a new subnet of a VPC, in a group.
        fn launch(&mut self, account: &str, at: usize) -> String {
            let cidr = ["10.1.1.0/24", "10.2.1.0/24"][at];
            let ask = [("VpcId", self.vpcs[at].as_str()), ("CidrBlock", cidr)];
            let made = self.cloud.tenant(account).call("CreateSubnet", &ask).expect("makes");
            let subnet = Cloud::ids(&made, "subnetId").remove(0);
            let ask = [("SubnetId", subnet.as_str()), ("SecurityGroupId.1", &self.groups[at])];
            self.cloud.tenant(account).run_with(&ask).expect("launches").remove(0)
        }

        /// Whom the plan lets into the first group, by its rules' groups and those who are in them.
        fn let_in(&self) -> Vec<String> {
            let plans = self.cloud.control.db.read(awan_state::System, |tx| all(tx, 1));
            let vpcs = plans.into_values().flat_map(|plan| plan.network.vpcs);
            let vpc = vpcs.into_iter().find(|vpc| vpc.id.as_str() == self.vpcs[0]).expect("its VPC");
            let group = vpc.groups.iter().find(|group| group.id.as_str() == self.groups[0]).expect("its group");
            let named =
                group.ingress.iter().filter_map(|r| if let Peer::Group(id) = &r.peer { Some(id) } else { None });
            let members = named.flat_map(|id| {
                assert!(vpc.groups.iter().any(|group| group.id == *id), "{id} is in no plan");
                vpc.peers.iter().flat_map(|peer| &peer.members).filter(|member| member.groups.contains(id))
            });
            members.map(|member| member.private_ip.to_string()).collect()
        }
    }

    #[test]
    fn members_of_a_peers_group_are_let_in_while_the_connection_is_there() {
        let mut peers = Peers::of(["acme", "other"]);
        peers.launch("acme", 0);
        peers.launch("other", 1);
        let [group, there] = peers.groups.clone();
        let absent = format!("InvalidGroup.NotFound: The security group '{there}' does not exist");
        assert_eq!(Peers::allow(&mut peers.cloud, &group, &there, 22).expect_err("is not its own"), absent);
        let owner = peers.owner.clone();
        let rule = [&Peers::rule(&group, &there, "22")[..], &[("IpPermissions.1.Groups.1.UserId", &owner)]].concat();
        let made = peers.cloud.tenant("acme").call("AuthorizeSecurityGroupIngress", &rule).expect("adds");
        assert!(made.contains(&format!("<userId>{owner}</userId>")), "{made}");
        assert!(made.contains("<peeringStatus>active</peeringStatus>"), "{made}");
        assert_eq!(peers.let_in().len(), 1, "{:?}", peers.let_in());
        assert!(peers.let_in()[0].starts_with("10.2.1."), "{:?}", peers.let_in());
        let gone = [("VpcPeeringConnectionId", peers.peering.as_str())];
        peers.cloud.tenant("other").call("DeleteVpcPeeringConnection", &gone).expect("deletes");
        assert!(peers.let_in().is_empty(), "{:?}", peers.let_in());
        let shown =
            peers.cloud.tenant("acme").call("DescribeSecurityGroups", &[("GroupId.1", &group)]).expect("answers");
        assert!(shown.contains("<peeringStatus>deleted</peeringStatus>"), "{shown}");
        let shown = peers.cloud.tenant("other").call("DescribeSecurityGroups", &[]).expect("answers");
        assert!(!shown.contains(&group), "{shown}");
        peers.cloud.tenant("acme").call("RevokeSecurityGroupIngress", &rule).expect("removes");
        peers.cloud.audit();
    }

    #[test]
    fn groups_of_other_vpcs_of_the_account_are_named_by_their_id_only() {
        let Peers { mut cloud, groups: [group, there], peering, vpcs, .. } = Peers::of(["acme", "acme"]);
        let made = Peers::allow(&mut cloud, &group, &there, 22).expect("adds");
        assert_eq!(Cloud::ids(&made, "vpcPeeringConnectionId"), std::slice::from_ref(&peering));
        let twice = Peers::allow(&mut cloud, &group, &there, 22).expect_err("is there");
        assert!(twice.starts_with("InvalidPermission.Duplicate"), "{twice}");
        let told = cloud.tenant("acme").call("DescribeSecurityGroupReferences", &[("GroupId.1", &there)]);
        let told = told.expect("answers");
        assert_eq!(Cloud::ids(&told, "referencingVpcId"), [vpcs[0].clone()], "{told}");
        let ask = [("GroupName", "alone"), ("GroupDescription", "of the default VPC")];
        let made = cloud.tenant("acme").call("CreateSecurityGroup", &ask).expect("makes");
        let alone = Cloud::ids(&made, "groupId").remove(0);
        let refusal = Peers::allow(&mut cloud, &alone, &there, 22).expect_err("is no peer's");
        assert_eq!(refusal, format!("InvalidGroup.NotFound: The security group '{there}' does not exist"));
        cloud.audit();
    }

    #[test]
    fn public_names_are_told_across_a_connection_that_allows_it() {
        let mut peers = Peers::of(["acme", "other"]);
        peers.launch("acme", 0);
        let instance = peers.launch("other", 1);
        let made = peers.cloud.tenant("other").call("CreateInternetGateway", &[]).expect("makes");
        let gateway = Cloud::ids(&made, "internetGatewayId").remove(0);
        let ask = [("InternetGatewayId", gateway.as_str()), ("VpcId", &peers.vpcs[1])];
        peers.cloud.tenant("other").call("AttachInternetGateway", &ask).expect("attaches");
        peers.cloud.settle();
        let made = peers.cloud.tenant("other").call("AllocateAddress", &[]).expect("allocates");
        let (address, ip) = (Cloud::ids(&made, "allocationId").remove(0), Cloud::ids(&made, "publicIp").remove(0));
        let ask = [("AllocationId", address.as_str()), ("InstanceId", &instance)];
        peers.cloud.tenant("other").call("AssociateAddress", &ask).expect("associates");
        let names = |peers: &Peers| {
            let plans = peers.cloud.control.db.read(awan_state::System, |tx| all(tx, 1));
            let vpcs = plans.into_values().flat_map(|plan| plan.network.vpcs);
            let ours = vpcs.into_iter().filter(|vpc| vpc.id.as_str() == peers.vpcs[0]);
            let members = ours.flat_map(|vpc| vpc.peers).flat_map(|peer| peer.members);
            members.filter_map(|member| member.public_ip).map(|ip| ip.to_string()).collect::<Vec<_>>()
        };
        let option = |cloud: &mut Cloud, account: &str, whose: &str, peering: &str| {
            let key = format!("{whose}PeeringConnectionOptions.AllowDnsResolutionFromRemoteVpc");
            let ask = [("VpcPeeringConnectionId", peering), (key.as_str(), "true")];
            cloud.tenant(account).call("ModifyVpcPeeringConnectionOptions", &ask).expect("allows");
        };
        for (account, vpc) in [("acme", 0), ("other", 1)] {
            let on = [("VpcId", peers.vpcs[vpc].as_str()), ("EnableDnsHostnames.Value", "true")];
            peers.cloud.tenant(account).call("ModifyVpcAttribute", &on).expect("names its guests");
        }
        let peering = peers.peering.clone();
        option(&mut peers.cloud, "acme", "Requester", &peering);
        assert!(names(&peers).is_empty(), "one's own leave says nothing of the other's names");
        option(&mut peers.cloud, "other", "Accepter", &peering);
        assert_eq!(names(&peers), [ip]);
    }
}
