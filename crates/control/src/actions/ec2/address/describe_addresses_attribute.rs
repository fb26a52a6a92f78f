//! DescribeAddressesAttribute: the names of addresses, of those that are named or of those that have one.

use awan_model::address::Address;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::describe::Page;
use crate::error::{Result, invalid_value};

pub fn describe_addresses_attribute(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeAddressesAttributeRequest,
) -> Result<ec2::DescribeAddressesAttributeResult> {
    let ec2::DescribeAddressesAttributeRequest { allocation_ids, attribute, next_token, max_results, dry_run: _ } = req;
    if let Some(attribute) = &attribute {
        must_be_known(attribute)?;
    }
    let token = (max_results, next_token.as_deref());
    let page = Page::new(tx, "DescribeAddressesAttribute", token, (1, 1000), false)?;
    let mut found = Vec::new();
    for id in &allocation_ids {
        found.push(tx.get::<Address>(&id.parse()?)?);
    }
    if allocation_ids.is_empty() {
        found = tx.list::<Address>();
        found.retain(|address| address.ptr_record.is_some());
    }
    let (kept, next_token) = page.cut(found, |address| address.id.clone());
    Ok(ec2::DescribeAddressesAttributeResult {
        addresses: kept.iter().map(|address| shown(address)).collect(),
        next_token,
    })
}

/// EC2 knows one.
pub fn must_be_known(attribute: &str) -> Result<()> {
    if attribute == "domain-name" {
        return Ok(());
    }
    let shown: String = attribute.chars().take(64).collect();
    Err(invalid_value(shown.escape_debug(), "attribute"))
}

pub fn shown(address: &Address) -> ec2::AddressAttribute {
    ec2::AddressAttribute {
        public_ip: Some(address.public_ip.to_string()),
        allocation_id: Some(address.id.to_string()),
        ptr_record: address.ptr_record.clone(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_address_without_a_name_is_shown_when_it_is_asked_for() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").call("AllocateAddress", &[]).expect("allocates");
        let id = Cloud::ids(&made, "allocationId").remove(0);
        let mut ask = |ask: &[(&str, &str)]| cloud.tenant("acme").call("DescribeAddressesAttribute", ask);
        assert!(Cloud::ids(&ask(&[]).expect("answers"), "allocationId").is_empty());
        assert_eq!(Cloud::ids(&ask(&[("AllocationId.1", &id)]).expect("answers"), "allocationId"), [id]);
        assert!(ask(&[("Attribute", "colour")]).expect_err("unknown").starts_with("InvalidParameterValue"));
    }
}
