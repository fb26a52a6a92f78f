//! DescribePrefixLists: those of the region's services only, as EC2 does it; DescribeManagedPrefixLists shows all.

use awan_model::prefix_list::PrefixList;
use awan_state::{Missing, Tenant, Tx};
use awan_wire::ec2;

use crate::describe::{Filters, Page};
use crate::error::Result;

const FILTERS: &[&str] = &["prefix-list-id", "prefix-list-name"];

pub fn describe_prefix_lists(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribePrefixListsRequest,
) -> Result<ec2::DescribePrefixListsResult> {
    let ec2::DescribePrefixListsRequest { dry_run: _, filters, max_results, next_token, prefix_list_ids } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !prefix_list_ids.is_empty();
    let page = Page::new(tx, "DescribePrefixLists", (max_results, next_token.as_deref()), (5, 1000), named)?;
    let all = PrefixList::of_services(tx.home());
    let mut found = Vec::new();
    for id in &prefix_list_ids {
        let id = id.parse()?;
        found.push(all.iter().find(|list| list.id == id).ok_or_else(|| Missing::of::<PrefixList>(&id))?);
    }
    if !named {
        found.extend(&all);
    }
    found.retain(|list| {
        filters.match_all(|name| match name {
            "prefix-list-id" => vec![list.id.to_string()],
            _ => vec![list.name.clone()],
        })
    });
    let (kept, next_token) = page.cut(found, |list| list.id.clone());
    let shown = |list: &PrefixList| ec2::PrefixList {
        cidrs: list.entries().iter().map(|entry| entry.cidr.to_string()).collect(),
        prefix_list_id: Some(list.id.to_string()),
        prefix_list_name: Some(list.name.clone()),
    };
    Ok(ec2::DescribePrefixListsResult { next_token, prefix_lists: kept.into_iter().map(shown).collect() })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn services_have_lists_by_their_names() {
        let mut cloud = Cloud::new();
        let ask = [("Filter.1.Name", "prefix-list-name"), ("Filter.1.Value.1", "com.amazonaws.us-east-1.s3")];
        let shown = cloud.tenant("acme").call("DescribePrefixLists", &ask).expect("answers");
        assert_eq!(Cloud::ids(&shown, "prefixListId"), ["pl-63a5400a"]);
        let ask = [("PrefixListId.1", "pl-00000000000000001")];
        let refusal = cloud.tenant("acme").call("DescribePrefixLists", &ask).expect_err("none");
        assert!(refusal.starts_with("InvalidPrefixListID.NotFound"), "{refusal}");
    }
}
