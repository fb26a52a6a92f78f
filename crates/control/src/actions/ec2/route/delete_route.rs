//! DeleteRoute.

use awan_model::route::RouteTable;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::create_route::destination_of;
use crate::error::{Code, Result, invalid, missing, refuse, refuse_if};

pub fn delete_route(tx: &mut Tx<Tenant>, req: ec2::DeleteRouteRequest) -> Result<()> {
    let ec2::DeleteRouteRequest {
        destination_prefix_list_id,
        dry_run: _,
        route_table_id,
        destination_cidr_block,
        destination_ipv6_cidr_block,
    } = req;
    refuse_if(destination_prefix_list_id.is_some(), "DestinationPrefixListId")?;
    refuse_if(destination_ipv6_cidr_block.is_some(), "DestinationIpv6CidrBlock")?;
    let table = tx.get::<RouteTable>(&route_table_id.ok_or_else(|| missing("RouteTableId"))?.parse()?)?;
    let destination = destination_of(destination_cidr_block)?;
    let id = &table.id;
    if tx.get::<Vpc>(&table.vpc)?.cidr == destination {
        return Err(invalid(format!("cannot remove local route {destination} in route table {id}")));
    }
    let mut changed = (*table).clone();
    changed.routes.retain(|r| r.destination != destination);
    if changed.routes.len() == table.routes.len() {
        let message = format!("no route with destination-cidr-block {destination} in route table {id}");
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
