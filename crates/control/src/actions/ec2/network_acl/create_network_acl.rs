//! CreateNetworkAcl. A new one denies everything and serves nobody.

use awan_model::network_acl::NetworkAcl;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_network_acls::shown;
use crate::error::{Code, Error, Result, missing, refuse};
use crate::token::Use;
use crate::{network, tagging};

/// EC2's default quota per VPC.
const ACLS_MAX: usize = 200;

pub fn create_network_acl(
    tx: &mut Tx<Tenant>,
    req: ec2::CreateNetworkAclRequest,
) -> Result<ec2::CreateNetworkAclResult> {
    let others = ec2::CreateNetworkAclRequest { client_token: None, dry_run: None, ..req.clone() };
    let ec2::CreateNetworkAclRequest { tag_specifications, client_token, dry_run: _, vpc_id } = req;
    let client_token = client_token.filter(|token| !token.is_empty());
    let token = client_token.as_deref().map(|t| Use::new("CreateNetworkAcl", t, &format!("{others:?}"))).transpose()?;
    if let Some(first) = &token
        && let Some(made) = first.made(tx)?
    {
        return answer(tx, &made, client_token);
    }
    let vpc = tx.get::<Vpc>(&vpc_id.ok_or_else(|| missing("VpcId"))?.parse()?)?;
    if tx.list::<NetworkAcl>().iter().filter(|acl| acl.vpc == vpc.id).count() >= ACLS_MAX {
        return Err(refuse(Code::NetworkAclLimitExceeded, "The maximum number of network ACLs has been reached."));
    }
    let tags = tagging::specified(&tag_specifications, "network-acl", &["network-acl"])?;
    let acl = NetworkAcl { client_token: client_token.clone(), ..network::acl(tx, &vpc.id) };
    let made = vec![acl.id.to_string()];
    tagging::add(tx, acl.id.as_str(), &tags)?;
    tx.put(acl);
    if let Some(first) = token {
        first.keep(tx, made.clone());
    }
    answer(tx, &made, client_token)
}

fn answer(tx: &mut Tx<Tenant>, made: &[String], client_token: Option<String>) -> Result<ec2::CreateNetworkAclResult> {
    let id = made.first().ok_or_else(|| Error::fault("a token that made nothing"))?;
    let acl = tx.get::<NetworkAcl>(&id.parse()?)?;
    let tags = tagging::shown(&tagging::of(tx, id));
    Ok(ec2::CreateNetworkAclResult { network_acl: Some(shown(tx, &acl, tags)), client_token })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_new_acl_denies_all_and_is_made_once_for_a_token() {
        let mut cloud = Cloud::new();
        let vpc = Cloud::ids(&cloud.tenant("acme").call("DescribeVpcs", &[]).expect("answers"), "vpcId").remove(0);
        let ask = [("VpcId", vpc.as_str()), ("ClientToken", "once")];
        let first = cloud.tenant("acme").call("CreateNetworkAcl", &ask).expect("makes");
        assert_eq!(Cloud::ids(&first, "ruleNumber"), ["32767", "32767"]);
        assert_eq!(Cloud::ids(&first, "ruleAction"), ["deny", "deny"]);
        assert_eq!(Cloud::ids(&first, "default"), ["false"]);
        assert_eq!(cloud.tenant("acme").call("CreateNetworkAcl", &ask).expect("the same"), first);
        let id = Cloud::ids(&first, "networkAclId").remove(0);
        cloud.tenant("acme").call("DeleteNetworkAcl", &[("NetworkAclId", &id)]).expect("deletes");
        let again = cloud.tenant("acme").call("CreateNetworkAcl", &ask).expect("makes another");
        assert_ne!(Cloud::ids(&again, "networkAclId").remove(0), id);
        let refusal = cloud.tenant("other").call("CreateNetworkAcl", &ask).expect_err("foreign");
        assert_eq!(refusal, format!("InvalidVpcID.NotFound: The vpc ID '{vpc}' does not exist"));
        cloud.audit();
    }
}
