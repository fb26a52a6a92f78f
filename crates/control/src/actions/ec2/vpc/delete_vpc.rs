//! DeleteVpc. What a VPC was made with goes with it; whatever else is in it holds it.

use awan_model::egress_only::EgressOnlyGateway;
use awan_model::endpoint::Endpoint;
use awan_model::group::SecurityGroup;
use awan_model::id::VpcId;
use awan_model::interface::NetworkInterface;
use awan_model::network_acl::NetworkAcl;
use awan_model::route::RouteTable;
use awan_model::subnet::Subnet;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::peering::peerings;
use crate::error::{Result, dependency, missing};
use crate::network;

pub fn delete_vpc(tx: &mut Tx<Tenant>, req: ec2::DeleteVpcRequest) -> Result<()> {
    let ec2::DeleteVpcRequest { vpc_id, dry_run: _ } = req;
    let id = tx.get::<Vpc>(&vpc_id.ok_or_else(|| missing("VpcId"))?.parse()?)?.id.clone();
    if is_used(tx, &id) {
        return Err(dependency(format!("The vpc '{id}' has dependencies and cannot be deleted.")));
    }
    for group in tx.list::<SecurityGroup>().iter().filter(|g| g.vpc == id) {
        network::remove_group(tx, group);
    }
    for table in tx.list::<RouteTable>().iter().filter(|t| t.vpc == id) {
        network::remove_table(tx, table);
    }
    for acl in tx.list::<NetworkAcl>().iter().filter(|a| a.vpc == id) {
        network::remove_acl(tx, acl);
    }
    network::remove::<Vpc>(tx, &id);
    Ok(())
}

fn is_used(tx: &mut Tx<Tenant>, id: &VpcId) -> bool {
    tx.list::<Subnet>().iter().any(|s| s.vpc == *id)
        || tx.list::<NetworkInterface>().iter().any(|e| e.vpc == *id)
        || network::gateway_of(tx, id).is_some()
        || tx.list::<SecurityGroup>().iter().any(|g| g.vpc == *id && g.name != SecurityGroup::DEFAULT)
        || tx.list::<NetworkAcl>().iter().any(|a| a.vpc == *id && !a.is_default)
        || tx.list::<RouteTable>().iter().any(|t| t.vpc == *id && !t.main)
        || tx.list::<EgressOnlyGateway>().iter().any(|g| g.vpc == *id)
        || tx.list::<Endpoint>().iter().any(|e| e.vpc == *id)
        || !peerings::of_vpc(tx, id).is_empty()
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_vpc_stays_while_anything_is_in_it_and_leaves_nothing() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").call("CreateVpc", &[("CidrBlock", "10.7.0.0/16")]).expect("makes");
        let vpc = Cloud::ids(&made, "vpcId").remove(0);
        let gateway = cloud.tenant("acme").call("CreateInternetGateway", &[]).expect("makes");
        let gateway = Cloud::ids(&gateway, "internetGatewayId").remove(0);
        let both = [("InternetGatewayId", gateway.as_str()), ("VpcId", vpc.as_str())];
        let in_vpc = [("VpcId", vpc.as_str())];
        let subnet = [in_vpc[0], ("CidrBlock", "10.7.0.0/24")];
        let group = [in_vpc[0], ("GroupName", "web"), ("GroupDescription", "d")];
        for (make, ask, element, undo, name) in [
            ("CreateSubnet", &subnet[..], "subnetId", "DeleteSubnet", "SubnetId"),
            ("CreateRouteTable", &in_vpc[..], "routeTableId", "DeleteRouteTable", "RouteTableId"),
            ("CreateNetworkAcl", &in_vpc[..], "networkAclId", "DeleteNetworkAcl", "NetworkAclId"),
            ("CreateSecurityGroup", &group[..], "groupId", "DeleteSecurityGroup", "GroupId"),
        ] {
            let made = cloud.tenant("acme").call(make, ask).expect(make);
            let id = Cloud::ids(&made, element).remove(0);
            let refusal = cloud.tenant("acme").call("DeleteVpc", &in_vpc).expect_err(make);
            let message = format!("DependencyViolation: The vpc '{vpc}' has dependencies and cannot be deleted.");
            assert_eq!(refusal, message);
            cloud.tenant("acme").call(undo, &[(name, &id)]).expect(undo);
        }
        cloud.tenant("acme").call("AttachInternetGateway", &both).expect("attaches");
        cloud.tenant("acme").call("DeleteVpc", &in_vpc).expect_err("has a gateway");
        cloud.tenant("acme").call("DetachInternetGateway", &both).expect("detaches");
        cloud.tenant("acme").call("DeleteVpc", &in_vpc).expect("is empty");
        for list in ["DescribeVpcs", "DescribeSecurityGroups", "DescribeRouteTables", "DescribeNetworkAcls"] {
            let shown = cloud.tenant("acme").call(list, &[]).expect("answers");
            assert!(!shown.contains(&vpc), "{shown}");
        }
        let refusal = cloud.tenant("acme").call("DeleteVpc", &in_vpc).expect_err("gone");
        assert_eq!(refusal, format!("InvalidVpcID.NotFound: The vpc ID '{vpc}' does not exist"));
        cloud.audit();
    }
}
