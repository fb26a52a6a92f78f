//! CreateEgressOnlyInternetGateway. It is attached from the beginning.

use awan_model::egress_only::EgressOnlyGateway;
use awan_model::id::EgressOnlyGatewayId;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_egress_only_internet_gateways::shown;
use crate::error::{Code, Error, Result, missing, refuse};
use crate::tagging;
use crate::token::Use;

/// As many as VPCs.
const GATEWAYS_MAX: usize = 100;
const KIND: &str = "egress-only-internet-gateway";

pub fn create_egress_only_internet_gateway(
    tx: &mut Tx<Tenant>,
    req: ec2::CreateEgressOnlyInternetGatewayRequest,
) -> Result<ec2::CreateEgressOnlyInternetGatewayResult> {
    let others = ec2::CreateEgressOnlyInternetGatewayRequest { client_token: None, dry_run: None, ..req.clone() };
    let ec2::CreateEgressOnlyInternetGatewayRequest { client_token, dry_run: _, vpc_id, tag_specifications } = req;
    let client_token = client_token.filter(|token| !token.is_empty());
    let token = client_token.as_deref();
    let token = token.map(|t| Use::new("CreateEgressOnlyInternetGateway", t, &format!("{others:?}"))).transpose()?;
    if let Some(first) = &token
        && let Some(made) = first.made(tx)?
    {
        return answer(tx, &made, client_token);
    }
    let vpc = tx.get::<Vpc>(&vpc_id.ok_or_else(|| missing("VpcId"))?.parse()?)?.id.clone();
    if tx.list::<EgressOnlyGateway>().len() >= GATEWAYS_MAX {
        let message = "The maximum number of egress-only internet gateways has been reached.";
        return Err(refuse(Code::InternetGatewayLimitExceeded, message));
    }
    let tags = tagging::specified(&tag_specifications, KIND, &[KIND])?;
    let (home, created) = (tx.home().clone(), tx.now());
    let id = EgressOnlyGatewayId::made(tx.new_id(EgressOnlyGatewayId::PREFIX));
    let made = vec![id.to_string()];
    tagging::add(tx, id.as_str(), &tags)?;
    tx.put(EgressOnlyGateway { home, id, vpc, client_token: client_token.clone(), created });
    if let Some(first) = token {
        first.keep(tx, made.clone());
    }
    answer(tx, &made, client_token)
}

fn answer(
    tx: &mut Tx<Tenant>,
    made: &[String],
    client_token: Option<String>,
) -> Result<ec2::CreateEgressOnlyInternetGatewayResult> {
    let id = made.first().ok_or_else(|| Error::fault("a token that made nothing"))?;
    let gateway = tx.get::<EgressOnlyGateway>(&id.parse()?)?;
    let tags = tagging::shown(&tagging::of(tx, id));
    let egress_only_internet_gateway = Some(shown(&gateway, tags));
    Ok(ec2::CreateEgressOnlyInternetGatewayResult { client_token, egress_only_internet_gateway })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_gateway_holds_its_vpc_until_it_is_deleted() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let vpc = Cloud::ids(&call("CreateVpc", &[("CidrBlock", "10.1.0.0/16")]).expect("makes"), "vpcId").remove(0);
        let ask = [("VpcId", vpc.as_str()), ("ClientToken", "once")];
        let made = call("CreateEgressOnlyInternetGateway", &ask).expect("makes");
        assert_eq!(call("CreateEgressOnlyInternetGateway", &ask).expect("the same"), made);
        assert_eq!(
            (Cloud::ids(&made, "state"), Cloud::ids(&made, "vpcId")),
            (vec!["attached".into()], vec![vpc.clone()])
        );
        let refusal = call("DeleteVpc", &[("VpcId", &vpc)]).expect_err("has a gateway");
        assert!(refusal.starts_with("DependencyViolation"), "{refusal}");
        let id = Cloud::ids(&made, "egressOnlyInternetGatewayId").remove(0);
        let this = [("EgressOnlyInternetGatewayId", id.as_str())];
        let gone = call("DeleteEgressOnlyInternetGateway", &this).expect("deletes");
        assert_eq!(Cloud::ids(&gone, "returnCode"), ["true"]);
        call("DeleteVpc", &[("VpcId", &vpc)]).expect("is free");
        cloud.audit();
    }
}
