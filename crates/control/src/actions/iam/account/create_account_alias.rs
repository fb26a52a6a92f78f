//! CreateAccountAlias: another name of the account; it takes the place of the old one.

use awan_model::identity::AccountAlias;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity;

pub fn create_account_alias(tx: &mut Tx<Tenant>, req: iam::CreateAccountAliasRequest) -> Result<()> {
    let iam::CreateAccountAliasRequest { account_alias } = req;
    let id = account_alias.unwrap_or_default();
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ends = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
    let bytes = id.as_bytes();
    let long = (3..=63).contains(&id.len());
    if !long || !id.bytes().all(fine) || !ends(bytes.first()) || !ends(bytes.last()) || id.contains("--") {
        return Err(identity::invalid(
            "An alias has 3 to 63 lower-case letters, digits and single hyphens between them.",
        ));
    }
    for old in tx.list::<AccountAlias>() {
        tx.remove::<AccountAlias>(&old.id);
    }
    tx.put(AccountAlias { home: tx.home().clone(), id });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_account_has_one() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        for alias in ["acme", "acme-2"] {
            acme.iam("CreateAccountAlias", &[("AccountAlias", alias)]).expect("creates");
        }
        let told = acme.iam("ListAccountAliases", &[]).expect("lists");
        assert_eq!(Cloud::ids(&told, "member"), ["acme-2"]);
        for alias in ["a", "Acme", "-acme", "a--b"] {
            let refusal = acme.iam("CreateAccountAlias", &[("AccountAlias", alias)]).expect_err(alias);
            assert!(refusal.starts_with("ValidationError"), "{refusal}");
        }
        assert!(acme.iam("DeleteAccountAlias", &[("AccountAlias", "acme")]).is_err());
        acme.iam("DeleteAccountAlias", &[("AccountAlias", "acme-2")]).expect("deletes");
    }
}
