//! CreateRouteTable.

use awan_model::route::RouteTable;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_route_tables::shown;
use crate::error::{Code, Error, Result, missing, refuse};
use crate::token::Use;
use crate::{network, tagging};

/// EC2's default quota per VPC.
const TABLES_MAX: usize = 200;

pub fn create_route_table(
    tx: &mut Tx<Tenant>,
    req: ec2::CreateRouteTableRequest,
) -> Result<ec2::CreateRouteTableResult> {
    let others = ec2::CreateRouteTableRequest { client_token: None, dry_run: None, ..req.clone() };
    let ec2::CreateRouteTableRequest { tag_specifications, client_token, dry_run: _, vpc_id } = req;
    let client_token = client_token.filter(|token| !token.is_empty());
    let token = client_token.as_deref().map(|t| Use::new("CreateRouteTable", t, &format!("{others:?}"))).transpose()?;
    if let Some(first) = &token
        && let Some(made) = first.made(tx)?
    {
        return answer(tx, &made, client_token);
    }
    let vpc = tx.get::<Vpc>(&vpc_id.ok_or_else(|| missing("VpcId"))?.parse()?)?;
    if tx.list::<RouteTable>().iter().filter(|t| t.vpc == vpc.id).count() >= TABLES_MAX {
        return Err(refuse(Code::RouteTableLimitExceeded, "The maximum number of route tables has been reached."));
    }
    let tags = tagging::specified(&tag_specifications, "route-table", &["route-table"])?;
    let table = RouteTable { client_token: client_token.clone(), ..network::route_table(tx, &vpc.id) };
    let made = vec![table.id.to_string()];
    tagging::add(tx, table.id.as_str(), &tags)?;
    tx.put(table);
    if let Some(first) = token {
        first.keep(tx, made.clone());
    }
    answer(tx, &made, client_token)
}

fn answer(tx: &mut Tx<Tenant>, made: &[String], client_token: Option<String>) -> Result<ec2::CreateRouteTableResult> {
    let id = made.first().ok_or_else(|| Error::fault("a token that made nothing"))?;
    let table = tx.get::<RouteTable>(&id.parse()?)?;
    let tags = tagging::shown(&tagging::of(tx, id));
    Ok(ec2::CreateRouteTableResult { route_table: Some(shown(tx, &table, tags)), client_token })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_token_makes_one_table_for_as_long_as_that_lives() {
        let mut cloud = Cloud::new();
        let vpc = Cloud::ids(&cloud.tenant("acme").call("DescribeVpcs", &[]).expect("answers"), "vpcId").remove(0);
        let ask = [("VpcId", vpc.as_str()), ("ClientToken", "once")];
        let mut make = || cloud.tenant("acme").call("CreateRouteTable", &ask).expect("makes");
        let first = make();
        assert_eq!(first, make());
        assert_eq!(Cloud::ids(&first, "destinationCidrBlock"), ["172.31.0.0/16"]);
        let id = Cloud::ids(&first, "routeTableId").remove(0);
        cloud.tenant("acme").call("DeleteRouteTable", &[("RouteTableId", &id)]).expect("deletes");
        let second = cloud.tenant("acme").call("CreateRouteTable", &ask).expect("makes another");
        assert_ne!(Cloud::ids(&second, "routeTableId"), [id]);
        let tagged = [ask[0], ask[1], ("TagSpecification.1.ResourceType", "route-table")];
        let refusal = cloud.tenant("acme").call("CreateRouteTable", &tagged).expect_err("other parameters");
        assert!(refusal.starts_with("IdempotentParameterMismatch"), "{refusal}");
    }
}
