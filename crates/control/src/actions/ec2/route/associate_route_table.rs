//! AssociateRouteTable: a subnet with a table other than the main one.

use awan_model::id::{RouteAssociationId, SubnetId};
use awan_model::route::{Association, RouteTable};
use awan_model::subnet::Subnet;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_route_tables::associated;
use crate::error::{Code, Result, invalid, missing, refuse, refuse_if};

pub fn associate_route_table(
    tx: &mut Tx<Tenant>,
    req: ec2::AssociateRouteTableRequest,
) -> Result<ec2::AssociateRouteTableResult> {
    let ec2::AssociateRouteTableRequest { gateway_id, public_ipv4_pool, dry_run: _, subnet_id, route_table_id } = req;
    refuse_if(gateway_id.is_some(), "GatewayId")?;
    refuse_if(public_ipv4_pool.is_some(), "PublicIpv4Pool")?;
    let table = tx.get::<RouteTable>(&route_table_id.ok_or_else(|| missing("RouteTableId"))?.parse()?)?;
    let subnet = tx.get::<Subnet>(&subnet_id.ok_or_else(|| missing("SubnetId"))?.parse()?)?;
    let answer = |id: &RouteAssociationId| ec2::AssociateRouteTableResult {
        association_id: Some(id.to_string()),
        association_state: associated(),
    };
    if subnet.vpc != table.vpc {
        let (table, subnet) = (&table.id, &subnet.id);
        return Err(invalid(format!("route table {table} and subnet {subnet} belong to different networks")));
    }
    if let Some(there) = table.associations.iter().find(|a| a.subnet == subnet.id) {
        return Ok(answer(&there.id));
    }
    if tx.lookup(RouteTable::BY_SUBNET, subnet.id.as_str()).is_some() {
        let message =
            format!("the specified association for route table {} conflicts with an existing association", table.id);
        return Err(refuse(Code::AlreadyAssociated, message));
    }
    let id = add(tx, &table, &subnet.id);
    Ok(answer(&id))
}

pub fn add(tx: &mut Tx<Tenant>, table: &RouteTable, subnet: &SubnetId) -> RouteAssociationId {
    let id = RouteAssociationId::made(tx.new_id(RouteAssociationId::PREFIX));
    let mut changed = table.clone();
    changed.associations.push(Association { id: id.clone(), subnet: subnet.clone() });
    tx.put(changed);
    id
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_subnet_has_one_table_of_its_own_which_stays_as_long() {
        let mut cloud = Cloud::new();
        let one = |made: &str, element: &str| Cloud::ids(made, element).remove(0);
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let subnets = call("DescribeSubnets", &[]).expect("answers");
        let (vpc, subnet) = (one(&subnets, "vpcId"), one(&subnets, "subnetId"));
        let mut make = |vpc: &str| one(&call("CreateRouteTable", &[("VpcId", vpc)]).expect("makes"), "routeTableId");
        let (a, b) = (make(&vpc), make(&vpc));
        let pair = |table| [("RouteTableId", table), ("SubnetId", subnet.as_str())];
        let first = call("AssociateRouteTable", &pair(&a)).expect("associates");
        assert_eq!(call("AssociateRouteTable", &pair(&a)).expect("the same"), first);
        let conflict = call("AssociateRouteTable", &pair(&b)).expect_err("has one");
        assert!(conflict.starts_with("Resource.AlreadyAssociated: the specified association for"), "{conflict}");
        let held = call("DeleteRouteTable", &[("RouteTableId", &a)]).expect_err("serves a subnet");
        assert!(held.starts_with("DependencyViolation"), "{held}");
        let other = one(&call("CreateVpc", &[("CidrBlock", "10.7.0.0/16")]).expect("makes"), "vpcId");
        let elsewhere = one(&call("CreateRouteTable", &[("VpcId", &other)]).expect("makes"), "routeTableId");
        let foreign = call("AssociateRouteTable", &pair(&elsewhere)).expect_err("another VPC");
        assert!(foreign.ends_with("belong to different networks"), "{foreign}");
        call("DeleteSubnet", &[("SubnetId", &subnet)]).expect("takes the association with it");
        call("DeleteRouteTable", &[("RouteTableId", &a)]).expect("serves none");
        cloud.audit();
    }
}
