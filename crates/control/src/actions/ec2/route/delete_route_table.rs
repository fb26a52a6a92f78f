//! DeleteRouteTable. Neither the main table goes nor one that serves a subnet.

use awan_model::route::RouteTable;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, dependency, missing};
use crate::network;

pub fn delete_route_table(tx: &mut Tx<Tenant>, req: ec2::DeleteRouteTableRequest) -> Result<()> {
    let ec2::DeleteRouteTableRequest { dry_run: _, route_table_id } = req;
    let table = tx.get::<RouteTable>(&route_table_id.ok_or_else(|| missing("RouteTableId"))?.parse()?)?;
    if table.main || !table.associations.is_empty() {
        return Err(dependency(format!("The routeTable '{}' has dependencies and cannot be deleted.", table.id)));
    }
    network::remove_table(tx, &table);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_main_table_stays() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeRouteTables", &[]).expect("answers");
        let id = Cloud::ids(&shown, "routeTableId").remove(0);
        let refusal = cloud.tenant("acme").call("DeleteRouteTable", &[("RouteTableId", &id)]).expect_err("is main");
        let expected = format!("DependencyViolation: The routeTable '{id}' has dependencies and cannot be deleted.");
        assert_eq!(refusal, expected);
    }
}
