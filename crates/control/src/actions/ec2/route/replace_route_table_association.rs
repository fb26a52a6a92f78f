//! ReplaceRouteTableAssociation: another table for a subnet, or another main table for the VPC.

use awan_model::id::RouteAssociationId;
use awan_model::route::RouteTable;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::associate_route_table::add;
use super::describe_route_tables::associated;
use super::disassociate_route_table::of;
use crate::error::{Error, Result, invalid, missing};

pub fn replace_route_table_association(
    tx: &mut Tx<Tenant>,
    req: ec2::ReplaceRouteTableAssociationRequest,
) -> Result<ec2::ReplaceRouteTableAssociationResult> {
    let ec2::ReplaceRouteTableAssociationRequest { dry_run: _, association_id, route_table_id } = req;
    let id: RouteAssociationId = association_id.ok_or_else(|| missing("AssociationId"))?.parse()?;
    let (old, subnet) = of(tx, &id)?;
    let new = tx.get::<RouteTable>(&route_table_id.ok_or_else(|| missing("RouteTableId"))?.parse()?)?;
    if old.vpc != new.vpc {
        return Err(invalid(format!("route table {} and route table {} belong to different networks", new.id, old.id)));
    }
    let new_id = if old.id == new.id {
        id
    } else if let Some(subnet) = subnet {
        let mut left = (*old).clone();
        left.associations.retain(|a| a.id != id);
        tx.put(left);
        add(tx, &new, &subnet)
    } else {
        tx.put(RouteTable { main: false, ..(*old).clone() });
        let main = RouteTable { main: true, ..(*new).clone() };
        let id = main.main_association().ok_or_else(|| Error::fault("a main table is associated"))?;
        tx.put(main);
        id
    };
    Ok(ec2::ReplaceRouteTableAssociationResult {
        new_association_id: Some(new_id.to_string()),
        association_state: associated(),
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn subnets_and_vpcs_move_to_another_table() {
        let mut cloud = Cloud::new();
        let one = |made: &str, element: &str| Cloud::ids(made, element).remove(0);
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let tables = call("DescribeRouteTables", &[]).expect("answers");
        let (old, main) = (one(&tables, "routeTableId"), one(&tables, "routeTableAssociationId"));
        let subnets = call("DescribeSubnets", &[]).expect("answers");
        let (vpc, subnet) = (one(&subnets, "vpcId"), one(&subnets, "subnetId"));
        let new = one(&call("CreateRouteTable", &[("VpcId", &vpc)]).expect("makes"), "routeTableId");
        let pair = [("RouteTableId", old.as_str()), ("SubnetId", subnet.as_str())];
        let own = one(&call("AssociateRouteTable", &pair).expect("associates"), "associationId");
        let to_new = |id| [("AssociationId", id), ("RouteTableId", new.as_str())];
        for id in [&own, &main] {
            let made = call("ReplaceRouteTableAssociation", &to_new(id)).expect("replaces");
            assert_ne!(one(&made, "newAssociationId"), *id);
            let refusal = call("ReplaceRouteTableAssociation", &to_new(id)).expect_err("is no more");
            assert!(refusal.starts_with("InvalidAssociationID.NotFound"), "{refusal}");
        }
        let shown = call("DescribeRouteTables", &[("RouteTableId.1", &new)]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "main"), ["true", "false"]);
        call("DeleteRouteTable", &[("RouteTableId", &old)]).expect("is not the main one any more");
        call("DeleteRouteTable", &[("RouteTableId", &new)]).expect_err("is the main one now");
        cloud.audit();
    }
}
