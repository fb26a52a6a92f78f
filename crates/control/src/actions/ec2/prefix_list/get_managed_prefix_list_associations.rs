//! GetManagedPrefixListAssociations: the security groups and route tables that mean a list.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::lists::{named, users};
use crate::describe::Page;
use crate::error::Result;

pub fn get_managed_prefix_list_associations(
    tx: &mut Tx<Tenant>,
    req: ec2::GetManagedPrefixListAssociationsRequest,
) -> Result<ec2::GetManagedPrefixListAssociationsResult> {
    let ec2::GetManagedPrefixListAssociationsRequest { dry_run: _, prefix_list_id, max_results, next_token } = req;
    let list = named(tx, prefix_list_id)?;
    let token = (max_results, next_token.as_deref());
    let page = Page::new(tx, "GetManagedPrefixListAssociations", token, (5, 255), false)?;
    let (kept, next_token) = page.cut(users(tx, &list.id), Clone::clone);
    let owner = tx.home().account().to_owned();
    let association = |id| ec2::PrefixListAssociation { resource_id: Some(id), resource_owner: Some(owner.clone()) };
    let prefix_list_associations = kept.into_iter().map(association).collect();
    Ok(ec2::GetManagedPrefixListAssociationsResult { prefix_list_associations, next_token })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_list_that_nothing_means_has_no_association() {
        let mut cloud = Cloud::new();
        let ask = [("PrefixListName", "a"), ("AddressFamily", "IPv4"), ("MaxEntries", "1")];
        let made = cloud.tenant("acme").call("CreateManagedPrefixList", &ask).expect("makes");
        let ask = [("PrefixListId", Cloud::ids(&made, "prefixListId").remove(0))];
        let ask = [(ask[0].0, ask[0].1.as_str())];
        let shown = cloud.tenant("acme").call("GetManagedPrefixListAssociations", &ask).expect("answers");
        assert!(Cloud::ids(&shown, "resourceId").is_empty(), "{shown}");
    }
}
