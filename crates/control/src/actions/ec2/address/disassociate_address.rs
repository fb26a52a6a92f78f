//! DisassociateAddress.

use awan_model::address::Address;
use awan_model::id::AssociationId;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::associate_address::must_be_movable;
use super::describe_addresses::by_ip;
use crate::error::{Code, Result, missing, refuse, refuse_both};

pub fn disassociate_address(tx: &mut Tx<Tenant>, req: ec2::DisassociateAddressRequest) -> Result<()> {
    let ec2::DisassociateAddressRequest { association_id, public_ip, dry_run: _ } = req;
    refuse_both((association_id.is_some(), "AssociationId"), (public_ip.is_some(), "PublicIp"))?;
    let address = match (association_id, public_ip) {
        (Some(id), _) => {
            let id: AssociationId = id.parse()?;
            let found =
                tx.lookup(Address::BY_ASSOCIATION, id.as_str()).and_then(|a| tx.find::<Address>(&a.parse().ok()?));
            let message = format!("The association ID '{id}' does not exist");
            found.ok_or_else(|| refuse(Code::InvalidAssociationIdNotFound, message))?
        }
        (None, Some(ip)) => by_ip(tx, &ip)?,
        (None, None) => return Err(missing("AssociationId")),
    };
    must_be_movable(tx, &address)?;
    tx.put(Address { association: None, ..(*address).clone() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_association_that_is_not_there_is_refused() {
        let mut cloud = Cloud::new();
        let refusal =
            cloud.tenant("acme").call("DisassociateAddress", &[("AssociationId", "eipassoc-00000000000000000")]);
        let expected = "InvalidAssociationID.NotFound: The association ID 'eipassoc-00000000000000000' does not exist";
        assert_eq!(refusal.expect_err("absent"), expected);
    }

    #[test]
    fn of_two_names_for_one_address_none_is_ignored() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").call("AllocateAddress", &[]).expect("allocates");
        let (id, ip) = (Cloud::ids(&made, "allocationId").remove(0), Cloud::ids(&made, "publicIp").remove(0));
        for (action, name) in [
            ("AssociateAddress", "AllocationId"),
            ("DisassociateAddress", "AssociationId"),
            ("ReleaseAddress", "AllocationId"),
        ] {
            let refusal = cloud.tenant("acme").call(action, &[(name, &id), ("PublicIp", &ip)]).expect_err(action);
            assert!(refusal.starts_with("InvalidParameterCombination"), "{refusal}");
        }
    }
}
