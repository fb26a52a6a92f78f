//! DisassociateRouteTable: back to the main table.

use std::sync::Arc;

use awan_model::id::{RouteAssociationId, RouteTableId, SubnetId};
use awan_model::route::RouteTable;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, invalid, missing, refuse};

pub fn disassociate_route_table(tx: &mut Tx<Tenant>, req: ec2::DisassociateRouteTableRequest) -> Result<()> {
    let ec2::DisassociateRouteTableRequest { dry_run: _, association_id } = req;
    let id: RouteAssociationId = association_id.ok_or_else(|| missing("AssociationId"))?.parse()?;
    let (table, subnet) = of(tx, &id)?;
    if subnet.is_none() {
        return Err(invalid(format!("cannot disassociate the main route table association {id}")));
    }
    let mut changed = (*table).clone();
    changed.associations.retain(|a| a.id != id);
    tx.put(changed);
    Ok(())
}

/// The table and, but for the main association, the subnet of an association.
pub fn of(tx: &mut Tx<Tenant>, id: &RouteAssociationId) -> Result<(Arc<RouteTable>, Option<SubnetId>)> {
    let holder = tx.lookup(RouteTable::BY_ASSOCIATION, id.as_str());
    if let Some(table) = holder.and_then(|table| tx.find::<RouteTable>(&table.parse().ok()?)) {
        let subnet = table.associations.iter().find(|a| a.id == *id).map(|a| a.subnet.clone());
        return Ok((table, subnet));
    }
    let named = format!("{}-{}", RouteTableId::PREFIX, id.digits());
    let main = named.parse().ok().and_then(|table| tx.find::<RouteTable>(&table)).filter(|table| table.main);
    let message = format!("The association ID '{id}' does not exist");
    main.map(|table| (table, None)).ok_or_else(|| refuse(Code::InvalidAssociationIdNotFound, message))
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_subnet_goes_back_to_the_main_table() {
        let mut cloud = Cloud::new();
        let one = |made: &str, element: &str| Cloud::ids(made, element).remove(0);
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let main = one(&call("DescribeRouteTables", &[]).expect("answers"), "routeTableAssociationId");
        let refusal = call("DisassociateRouteTable", &[("AssociationId", &main)]).expect_err("is main");
        let expected = format!("InvalidParameterValue: cannot disassociate the main route table association {main}");
        assert_eq!(refusal, expected);
        let subnets = call("DescribeSubnets", &[]).expect("answers");
        let (vpc, subnet) = (one(&subnets, "vpcId"), one(&subnets, "subnetId"));
        let table = one(&call("CreateRouteTable", &[("VpcId", &vpc)]).expect("makes"), "routeTableId");
        let pair = [("RouteTableId", table.as_str()), ("SubnetId", subnet.as_str())];
        let id = one(&call("AssociateRouteTable", &pair).expect("associates"), "associationId");
        call("DisassociateRouteTable", &[("AssociationId", &id)]).expect("disassociates");
        let refusal = call("DisassociateRouteTable", &[("AssociationId", &id)]).expect_err("gone");
        assert_eq!(refusal, format!("InvalidAssociationID.NotFound: The association ID '{id}' does not exist"));
        cloud.audit();
    }
}
