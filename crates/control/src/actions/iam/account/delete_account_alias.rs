//! DeleteAccountAlias: the name that the account has.

use awan_model::identity::AccountAlias;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;

pub fn delete_account_alias(tx: &mut Tx<Tenant>, req: iam::DeleteAccountAliasRequest) -> Result<()> {
    let iam::DeleteAccountAliasRequest { account_alias } = req;
    let alias = tx.get::<AccountAlias>(&account_alias.unwrap_or_default().chars().take(63).collect())?;
    tx.remove::<AccountAlias>(&alias.id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_there_is_not_deleted() {
        let refusal = Cloud::new().tenant("acme").iam("DeleteAccountAlias", &[("AccountAlias", "acme")]);
        assert_eq!(refusal.expect_err("none"), "NoSuchEntity: The account alias acme does not exist.");
    }
}
