//! DescribeManagedPrefixLists: a home's own, and those of the region's services.

use awan_model::prefix_list::PrefixList;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::lists::{owner, shown, usable};
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

const FILTERS: &[&str] = &["tag:*", "owner-id", "prefix-list-id", "prefix-list-name"];

pub fn describe_managed_prefix_lists(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeManagedPrefixListsRequest,
) -> Result<ec2::DescribeManagedPrefixListsResult> {
    let ec2::DescribeManagedPrefixListsRequest { dry_run: _, filters, max_results, next_token, prefix_list_ids } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !prefix_list_ids.is_empty();
    let page = Page::new(tx, "DescribeManagedPrefixLists", (max_results, next_token.as_deref()), (1, 100), named)?;
    let mut found = Vec::new();
    for id in &prefix_list_ids {
        found.push(usable(tx, &id.parse()?)?);
    }
    if !named {
        found.extend(PrefixList::of_services(tx.home()));
        found.extend(tx.list::<PrefixList>().iter().map(|list| (**list).clone()));
    }
    let mut kept = Vec::new();
    for list in found {
        let tags = tagging::of(tx, list.id.as_str());
        let values = |name: &str| match name {
            "owner-id" => vec![owner(&list).to_owned()],
            "prefix-list-id" => vec![list.id.to_string()],
            "prefix-list-name" => vec![list.name.clone()],
            tag => tagging::filter_values(&tags, tag),
        };
        if filters.match_all(values) {
            kept.push((list, tags));
        }
    }
    let (kept, next_token) = page.cut(kept, |(list, _)| list.id.clone());
    let prefix_lists = kept.iter().map(|(list, tags)| shown(list, tagging::shown(tags))).collect();
    Ok(ec2::DescribeManagedPrefixListsResult { next_token, prefix_lists })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn own_lists_stand_beside_those_of_services() {
        let mut cloud = Cloud::new();
        let ask = [("PrefixListName", "offices"), ("AddressFamily", "IPv6"), ("MaxEntries", "2")];
        let made = cloud.tenant("acme").call("CreateManagedPrefixList", &ask).expect("makes");
        let id = Cloud::ids(&made, "prefixListId").remove(0);
        let all = cloud.tenant("acme").call("DescribeManagedPrefixLists", &[]).expect("answers");
        assert_eq!(Cloud::ids(&all, "prefixListName").len(), 3);
        let ask = [("Filter.1.Name", "owner-id"), ("Filter.1.Value.1", "AWS")];
        let managed = cloud.tenant("acme").call("DescribeManagedPrefixLists", &ask).expect("answers");
        assert_eq!(Cloud::ids(&managed, "prefixListId"), ["pl-02cd2c6b", "pl-63a5400a"]);
        let expected = format!("InvalidPrefixListID.NotFound: The prefix list ID '{id}' does not exist");
        for (action, ask) in [
            ("DescribeManagedPrefixLists", &[("PrefixListId.1", id.as_str())][..]),
            ("GetManagedPrefixListEntries", &[("PrefixListId", &id)]),
            ("GetManagedPrefixListAssociations", &[("PrefixListId", &id)]),
            ("ModifyManagedPrefixList", &[("PrefixListId", &id), ("PrefixListName", "mine")]),
            (
                "RestoreManagedPrefixListVersion",
                &[("PrefixListId", &id), ("PreviousVersion", "1"), ("CurrentVersion", "1")],
            ),
            ("DeleteManagedPrefixList", &[("PrefixListId", &id)]),
        ] {
            assert_eq!(cloud.tenant("other").call(action, ask).expect_err("is acme's"), expected);
        }
        let ask = [("Filter.1.Name", "prefix-list-id"), ("Filter.1.Value.1", id.as_str())];
        let nothing = cloud.tenant("other").call("DescribeManagedPrefixLists", &ask).expect("answers");
        assert!(!nothing.contains(&id), "{nothing}");
    }
}
