//! ListAccountAliases: one or none.

use awan_model::identity::AccountAlias;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity;

pub fn list_account_aliases(
    tx: &mut Tx<Tenant>,
    req: iam::ListAccountAliasesRequest,
) -> Result<iam::ListAccountAliasesResponse> {
    let iam::ListAccountAliasesRequest { marker, max_items } = req;
    let all = tx.list::<AccountAlias>().iter().map(|alias| alias.id.clone()).collect();
    let asked = (marker.as_deref(), max_items);
    let (account_aliases, is_truncated, marker) = identity::page(tx, "ListAccountAliases", asked, all, String::clone)?;
    Ok(iam::ListAccountAliasesResponse { account_aliases, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_new_account_has_none() {
        let told = Cloud::new().tenant("acme").iam("ListAccountAliases", &[]).expect("lists");
        assert_eq!(Cloud::ids(&told, "member").len(), 0);
    }
}
