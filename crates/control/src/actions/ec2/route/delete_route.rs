//! DeleteRoute.

use awan_model::route::RouteTable;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::target::{Where, is_local, member_of};
use crate::error::{Code, Result, invalid, missing, refuse};

pub fn delete_route(tx: &mut Tx<Tenant>, req: ec2::DeleteRouteRequest) -> Result<()> {
    let ec2::DeleteRouteRequest {
        destination_prefix_list_id,
        dry_run: _,
        route_table_id,
        destination_cidr_block,
        destination_ipv6_cidr_block,
    } = req;
    let begin = Where { destination_cidr_block, destination_ipv6_cidr_block, destination_prefix_list_id };
    let table = tx.get::<RouteTable>(&route_table_id.ok_or_else(|| missing("RouteTableId"))?.parse()?)?;
    let destination = begin.destination()?;
    let id = &table.id;
    if is_local(&*tx.get::<Vpc>(&table.vpc)?, &destination) {
        return Err(invalid(format!("cannot remove local route {destination} in route table {id}")));
    }
    let mut changed = (*table).clone();
    changed.routes.retain(|r| r.destination != destination);
    if changed.routes.len() == table.routes.len() {
        let message = format!("no route with {} {destination} in route table {id}", member_of(&destination));
        return Err(refuse(Code::InvalidRouteNotFound, message));
    }
    tx.put(changed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_local_route_stays() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeRouteTables", &[]).expect("answers");
        let table = Cloud::ids(&shown, "routeTableId").remove(0);
        let mut delete = |destination| {
            let ask = [("RouteTableId", table.as_str()), ("DestinationCidrBlock", destination)];
            cloud.tenant("acme").call("DeleteRoute", &ask)
        };
        delete("0.0.0.0/0").expect("deletes");
        let gone =
            format!("InvalidRoute.NotFound: no route with destination-cidr-block 0.0.0.0/0 in route table {table}");
        assert_eq!(delete("0.0.0.0/0").expect_err("gone"), gone);
        let local = format!("InvalidParameterValue: cannot remove local route 172.31.0.0/16 in route table {table}");
        assert_eq!(delete("172.31.0.0/16").expect_err("local"), local);
    }
}
