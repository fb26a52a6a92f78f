//! GetManagedPrefixListEntries: of the current version or of one before it.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::lists::named;
use crate::describe::Page;
use crate::error::{Result, invalid};

pub fn get_managed_prefix_list_entries(
    tx: &mut Tx<Tenant>,
    req: ec2::GetManagedPrefixListEntriesRequest,
) -> Result<ec2::GetManagedPrefixListEntriesResult> {
    let ec2::GetManagedPrefixListEntriesRequest { dry_run: _, prefix_list_id, target_version, max_results, next_token } =
        req;
    let list = named(tx, prefix_list_id)?;
    let page = Page::new(tx, "GetManagedPrefixListEntries", (max_results, next_token.as_deref()), (1, 100), false)?;
    let entries = match target_version {
        None => list.entries(),
        Some(number) => {
            let version = list.version_of(number);
            &version.ok_or_else(|| invalid(format!("The prefix list has no version {number}")))?.entries
        }
    };
    let (kept, next_token) = page.cut(entries.iter().collect(), |entry| entry.cidr.to_string());
    let entry = |entry: &awan_model::prefix_list::Entry| ec2::PrefixListEntry {
        cidr: Some(entry.cidr.to_string()),
        description: entry.description.clone(),
    };
    Ok(ec2::GetManagedPrefixListEntriesResult { entries: kept.into_iter().map(entry).collect(), next_token })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn entries_come_in_pages() {
        let mut cloud = Cloud::new();
        let ask = [
            ("PrefixListName", "a"),
            ("AddressFamily", "IPv4"),
            ("MaxEntries", "9"),
            ("Entry.1.Cidr", "10.0.0.0/8"),
            ("Entry.2.Cidr", "10.1.0.0/16"),
        ];
        let made = cloud.tenant("acme").call("CreateManagedPrefixList", &ask).expect("makes");
        let id = Cloud::ids(&made, "prefixListId").remove(0);
        let mut get = |more: &[(&str, &str)]| {
            let ask: Vec<_> = [("PrefixListId", id.as_str())].into_iter().chain(more.iter().copied()).collect();
            cloud.tenant("acme").call("GetManagedPrefixListEntries", &ask)
        };
        let first = get(&[("MaxResults", "1")]).expect("answers");
        let token = Cloud::ids(&first, "nextToken").remove(0);
        let second = get(&[("MaxResults", "1"), ("NextToken", &token)]).expect("answers");
        let both = [first, second].map(|page| Cloud::ids(&page, "cidr").remove(0));
        assert_eq!(both, ["10.0.0.0/8", "10.1.0.0/16"]);
        let refusal = get(&[("TargetVersion", "2")]).expect_err("there is one");
        assert_eq!(refusal, "InvalidParameterValue: The prefix list has no version 2");
        let of_service = cloud.tenant("acme").call("GetManagedPrefixListEntries", &[("PrefixListId", "pl-63a5400a")]);
        assert!(Cloud::ids(&of_service.expect("answers"), "cidr").is_empty());
    }
}
