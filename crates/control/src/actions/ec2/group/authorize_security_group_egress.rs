//! AuthorizeSecurityGroupEgress.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::rules::{self, Flat};
use crate::error::Result;

pub fn authorize_security_group_egress(
    tx: &mut Tx<Tenant>,
    req: ec2::AuthorizeSecurityGroupEgressRequest,
) -> Result<ec2::AuthorizeSecurityGroupEgressResult> {
    let ec2::AuthorizeSecurityGroupEgressRequest {
        cidr_ip: cidr,
        from_port,
        group_id,
        ip_permissions,
        ip_protocol: protocol,
        source_security_group_name: source_group_name,
        source_security_group_owner_id: source_group_owner,
        to_port,
        tag_specifications,
        dry_run: _,
    } = req;
    let group = rules::group(tx, group_id, None)?;
    let flat = Flat { protocol, from_port, to_port, cidr, source_group_name, source_group_owner };
    let drafts = rules::drafts(tx, &group, ip_permissions, flat)?;
    let security_group_rules = rules::authorize(tx, group, true, drafts, &tag_specifications)?;
    Ok(ec2::AuthorizeSecurityGroupEgressResult { r#return: Some(true), security_group_rules })
}
