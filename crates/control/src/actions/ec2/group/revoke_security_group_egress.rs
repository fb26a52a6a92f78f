//! RevokeSecurityGroupEgress.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::rules::{self, Flat};
use crate::error::Result;

pub fn revoke_security_group_egress(
    tx: &mut Tx<Tenant>,
    req: ec2::RevokeSecurityGroupEgressRequest,
) -> Result<ec2::RevokeSecurityGroupEgressResult> {
    let ec2::RevokeSecurityGroupEgressRequest {
        cidr_ip: cidr,
        from_port,
        group_id,
        ip_permissions,
        ip_protocol: protocol,
        source_security_group_name: source_group_name,
        source_security_group_owner_id: source_group_owner,
        to_port,
        security_group_rule_ids,
        dry_run: _,
    } = req;
    let group = rules::group(tx, group_id, None)?;
    let flat = Flat { protocol, from_port, to_port, cidr, source_group_name, source_group_owner };
    let by_ids_only = !security_group_rule_ids.is_empty() && ip_permissions.is_empty();
    let drafts = if by_ids_only { Vec::new() } else { rules::drafts(tx, &group, ip_permissions, flat)? };
    let revoked = rules::revoke(tx, group, true, &security_group_rule_ids, drafts)?;
    Ok(ec2::RevokeSecurityGroupEgressResult {
        r#return: Some(true),
        unknown_ip_permissions: Vec::new(),
        revoked_security_group_rules: revoked,
    })
}
