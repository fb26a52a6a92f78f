//! ModifyManagedPrefixList: other entries, which make a new version; or another size; or another name.

use awan_model::prefix_list::{Change, PrefixList};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::lists::{added, max_of, must_be_at, must_fit, name_of, own, removed, shown};
use crate::error::{Code, Result, combination, invalid, refuse, refuse_if};
use crate::tagging;

pub fn modify_managed_prefix_list(
    tx: &mut Tx<Tenant>,
    req: ec2::ModifyManagedPrefixListRequest,
) -> Result<ec2::ModifyManagedPrefixListResult> {
    let ec2::ModifyManagedPrefixListRequest {
        dry_run: _,
        prefix_list_id,
        current_version,
        prefix_list_name,
        add_entries,
        remove_entries,
        max_entries,
        ipam_prefix_list_resolver_sync_enabled,
    } = req;
    let mut list = own(tx, prefix_list_id)?;
    refuse_if(ipam_prefix_list_resolver_sync_enabled == Some(true), "IpamPrefixListResolverSyncEnabled")?;
    must_be_at(&list, current_version)?;
    let entries = !add_entries.is_empty() || !remove_entries.is_empty();
    if entries && max_entries.is_some() {
        let message = "You cannot modify the entries and the maximum entries for the prefix list in the same request.";
        return Err(combination(message));
    }
    if !entries && max_entries.is_none() && prefix_list_name.is_none() {
        return Err(combination("No modification is specified: give a name, entries or a size."));
    }
    if let Some(name) = prefix_list_name {
        list.name = name_of(&name)?;
        list.change = Change::Modify;
    }
    if let Some(max) = max_entries {
        list.max_entries = max_of(max)?;
        must_fit(list.entries(), list.max_entries)?;
        list.change = Change::Modify;
    }
    if entries {
        change(&mut list, add_entries, remove_entries)?;
    }
    let tags = tagging::shown(&tagging::of(tx, list.id.as_str()));
    let prefix_list = Some(shown(&list, tags));
    tx.put(list);
    Ok(ec2::ModifyManagedPrefixListResult { prefix_list })
}

fn change(
    list: &mut PrefixList,
    add: Vec<ec2::AddPrefixListEntry>,
    remove: Vec<ec2::RemovePrefixListEntry>,
) -> Result<()> {
    let (add, remove) = (added(add, list.family)?, removed(remove, list.family)?);
    if let Some(both) = add.iter().find(|entry| remove.contains(&entry.cidr)) {
        let cidr = both.cidr;
        return Err(invalid(format!(
            "Request cannot contain Cidr {cidr} in both AddPrefixListEntries and RemovePrefixListEntries"
        )));
    }
    let mut entries = list.entries().to_vec();
    for cidr in remove {
        let at = entries.iter().position(|e| e.cidr == cidr).ok_or_else(|| {
            refuse(Code::InvalidPrefixListModification, format!("The prefix list has no entry {cidr}"))
        })?;
        entries.remove(at);
    }
    for new in add {
        // EC2 takes an entry that is there already as one with another description.
        match entries.iter_mut().find(|e| e.cidr == new.cidr) {
            Some(there) => there.description = new.description,
            None => entries.push(new),
        }
    }
    must_fit(&entries, list.max_entries)?;
    list.renew(entries, Change::Modify);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn each_change_of_the_entries_is_a_version() {
        let mut cloud = Cloud::new();
        let ask =
            [("PrefixListName", "a"), ("AddressFamily", "IPv4"), ("MaxEntries", "1"), ("Entry.1.Cidr", "10.0.0.0/8")];
        let made = cloud.tenant("acme").call("CreateManagedPrefixList", &ask).expect("makes");
        let id = Cloud::ids(&made, "prefixListId").remove(0);
        let mut modify = |more: &[(&str, &str)]| {
            let ask: Vec<_> = [("PrefixListId", id.as_str())].into_iter().chain(more.iter().copied()).collect();
            cloud.tenant("acme").call("ModifyManagedPrefixList", &ask)
        };
        let full = modify(&[("AddEntry.1.Cidr", "10.9.0.0/16")]).expect_err("has one");
        assert!(
            full.starts_with("PrefixListMaxEntriesExceeded: You've reached the maximum number of entries"),
            "{full}"
        );
        let named = modify(&[("PrefixListName", "b"), ("MaxEntries", "2")]).expect("has room");
        assert_eq!(
            (Cloud::ids(&named, "version"), Cloud::ids(&named, "maxEntries")),
            (vec!["1".into()], vec!["2".into()])
        );
        let add = [("AddEntry.1.Cidr", "10.9.0.0/16"), ("CurrentVersion", "1")];
        let changed = modify(&add).expect("adds");
        assert_eq!(
            (Cloud::ids(&changed, "version"), Cloud::ids(&changed, "state")),
            (vec!["2".into()], vec!["modify-complete".into()])
        );
        let late = modify(&add).expect_err("is at 2");
        assert!(
            late.starts_with("PrefixListVersionMismatch: The prefix list has the incorrect version number"),
            "{late}"
        );
        for (ask, expected) in [
            (
                &[("RemoveEntry.1.Cidr", "10.8.0.0/16")][..],
                "InvalidPrefixListModification: The prefix list has no entry",
            ),
            (
                &[("RemoveEntry.1.Cidr", "10.0.0.0/8"), ("AddEntry.1.Cidr", "10.0.0.0/8")],
                "InvalidParameterValue: Request cannot contain Cidr 10.0.0.0/8 in both AddPrefixListEntries and",
            ),
            (&[("RemoveEntry.1.Cidr", "10.0.0.0/8"), ("MaxEntries", "5")], "InvalidParameterCombination"),
            (&[("MaxEntries", "1")], "PrefixListMaxEntriesExceeded"),
            (&[("CurrentVersion", "2")], "InvalidParameterCombination: No modification"),
        ] {
            let refusal = modify(ask).expect_err(expected);
            assert!(refusal.starts_with(expected), "{refusal}");
        }
        modify(&[("RemoveEntry.1.Cidr", "10.0.0.0/8"), ("CurrentVersion", "2")]).expect("removes");
        let mut entries = |version: &str| {
            let ask = [("PrefixListId", id.as_str()), ("TargetVersion", version)];
            let shown = cloud.tenant("acme").call("GetManagedPrefixListEntries", &ask).expect("answers");
            Cloud::ids(&shown, "cidr")
        };
        assert_eq!(["1", "2", "3"].map(|v| entries(v).len()), [1, 2, 1]);
        let ask = [("PrefixListId", "pl-63a5400a"), ("PrefixListName", "mine")];
        let refusal = cloud.tenant("acme").call("ModifyManagedPrefixList", &ask).expect_err("is nobody's");
        assert!(refusal.starts_with("OperationNotPermitted"), "{refusal}");
    }
}
