//! ResetAddressAttribute: an address has its usual name again.

use awan_model::address::Address;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_addresses_attribute::{must_be_known, shown};
use crate::error::{Result, missing};

pub fn reset_address_attribute(
    tx: &mut Tx<Tenant>,
    req: ec2::ResetAddressAttributeRequest,
) -> Result<ec2::ResetAddressAttributeResult> {
    let ec2::ResetAddressAttributeRequest { allocation_id, attribute, dry_run: _ } = req;
    let id = allocation_id.ok_or_else(|| missing("AllocationId"))?;
    must_be_known(&attribute.ok_or_else(|| missing("Attribute"))?)?;
    let address = tx.get::<Address>(&id.parse()?)?;
    let changed = Address { ptr_record: None, ..(*address).clone() };
    let address = Some(shown(&changed));
    tx.put(changed);
    Ok(ec2::ResetAddressAttributeResult { address })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn only_a_known_attribute_is_reset() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").call("AllocateAddress", &[]).expect("allocates");
        let id = Cloud::ids(&made, "allocationId").remove(0);
        let mut reset = |attribute: &str| {
            let ask = [("AllocationId", id.as_str()), ("Attribute", attribute)];
            cloud.tenant("acme").call("ResetAddressAttribute", &ask)
        };
        assert!(reset("colour").expect_err("unknown").starts_with("InvalidParameterValue"));
        reset("domain-name").expect("resets");
    }
}
