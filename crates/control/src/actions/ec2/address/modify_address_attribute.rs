//! ModifyAddressAttribute: the name that an address is to have in reverse lookups.
//!
//! Record only: nobody outside asks this cloud for the names of addresses, so the record is all there is of it.

use awan_model::address::Address;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_addresses_attribute::shown;
use crate::error::{Result, invalid_value, missing};

pub fn modify_address_attribute(
    tx: &mut Tx<Tenant>,
    req: ec2::ModifyAddressAttributeRequest,
) -> Result<ec2::ModifyAddressAttributeResult> {
    let ec2::ModifyAddressAttributeRequest { allocation_id, domain_name, dry_run: _ } = req;
    let id = allocation_id.ok_or_else(|| missing("AllocationId"))?;
    let address = tx.get::<Address>(&id.parse()?)?;
    let name = checked(&domain_name.ok_or_else(|| missing("DomainName"))?)?;
    let changed = Address { ptr_record: Some(name), ..(*address).clone() };
    let address = Some(shown(&changed));
    tx.put(changed);
    Ok(ec2::ModifyAddressAttributeResult { address })
}

/// A host name (RFC 1123) with the dot at its end that EC2 shows.
fn checked(name: &str) -> Result<String> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let label =
        |l: &str| !l.is_empty() && l.len() <= 63 && l.chars().all(fine) && !l.starts_with('-') && !l.ends_with('-');
    if bare.len() > 253 || !bare.contains('.') || !bare.split('.').all(label) {
        let shown: String = name.chars().take(255).collect();
        return Err(invalid_value(shown.escape_debug(), "domainName"));
    }
    Ok(format!("{}.", bare.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_address_has_a_name_until_it_is_reset() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").call("AllocateAddress", &[]).expect("allocates");
        let id = Cloud::ids(&made, "allocationId").remove(0);
        let mut call = |account: &str, action: &str, ask: &[(&str, &str)]| cloud.tenant(account).call(action, ask);
        let name = [("AllocationId", id.as_str()), ("DomainName", "Mail.example.com")];
        let foreign = call("other", "ModifyAddressAttribute", &name).expect_err("foreign");
        assert_eq!(foreign, format!("InvalidAllocationID.NotFound: The allocation ID '{id}' does not exist"));
        let changed = call("acme", "ModifyAddressAttribute", &name).expect("changes");
        assert_eq!(Cloud::ids(&changed, "ptrRecord"), ["mail.example.com."]);
        let ask = [("Attribute", "domain-name")];
        let shown = call("acme", "DescribeAddressesAttribute", &ask).expect("answers");
        assert_eq!(Cloud::ids(&shown, "ptrRecord"), ["mail.example.com."], "{shown}");
        let named = [("AllocationId.1", id.as_str())];
        let foreign = call("other", "DescribeAddressesAttribute", &named).expect_err("foreign");
        assert!(foreign.starts_with("InvalidAllocationID.NotFound"), "{foreign}");
        for bad in ["", "host", "a..b", "-a.b", "a b.c"] {
            let ask = [("AllocationId", id.as_str()), ("DomainName", bad)];
            let refusal = call("acme", "ModifyAddressAttribute", &ask).expect_err(bad);
            assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
        }
        let reset = [("AllocationId", id.as_str()), ("Attribute", "domain-name")];
        let foreign = call("other", "ResetAddressAttribute", &reset).expect_err("foreign");
        assert!(foreign.starts_with("InvalidAllocationID.NotFound"), "{foreign}");
        call("acme", "ResetAddressAttribute", &reset).expect("resets");
        let shown = call("acme", "DescribeAddressesAttribute", &named).expect("answers");
        assert!(Cloud::ids(&shown, "ptrRecord").is_empty() && shown.contains(&id), "{shown}");
    }
}
