//! DeleteManagedPrefixList. A list stays while a rule or a route means it.

use awan_model::prefix_list::PrefixList;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::lists::{own, shown, users};
use crate::error::{Result, dependency};
use crate::{network, tagging, token};

pub fn delete_managed_prefix_list(
    tx: &mut Tx<Tenant>,
    req: ec2::DeleteManagedPrefixListRequest,
) -> Result<ec2::DeleteManagedPrefixListResult> {
    let ec2::DeleteManagedPrefixListRequest { dry_run: _, prefix_list_id } = req;
    let list = own(tx, prefix_list_id)?;
    if let Some(user) = users(tx, &list.id).first() {
        let id = &list.id;
        return Err(dependency(format!("The prefix list '{id}' is in use by {user} and cannot be deleted.")));
    }
    let tags = tagging::shown(&tagging::of(tx, list.id.as_str()));
    token::forget(tx, "CreateManagedPrefixList", list.client_token.as_deref());
    network::remove::<PrefixList>(tx, &list.id);
    let gone = ec2::ManagedPrefixList { state: Some("delete-complete".into()), ..shown(&list, tags) };
    Ok(ec2::DeleteManagedPrefixListResult { prefix_list: Some(gone) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_deleted_list_is_gone_and_its_token_makes_another() {
        let mut cloud = Cloud::new();
        let ask = [("PrefixListName", "a"), ("AddressFamily", "IPv4"), ("MaxEntries", "1"), ("ClientToken", "once")];
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let id = Cloud::ids(&call("CreateManagedPrefixList", &ask).expect("makes"), "prefixListId").remove(0);
        let gone = call("DeleteManagedPrefixList", &[("PrefixListId", &id)]).expect("deletes");
        assert_eq!(Cloud::ids(&gone, "state"), ["delete-complete"]);
        let refusal = call("DeleteManagedPrefixList", &[("PrefixListId", &id)]).expect_err("gone");
        assert_eq!(refusal, format!("InvalidPrefixListID.NotFound: The prefix list ID '{id}' does not exist"));
        let another = call("CreateManagedPrefixList", &ask).expect("makes");
        assert_ne!(Cloud::ids(&another, "prefixListId"), [id]);
        cloud.audit();
    }
}
