//! RestoreManagedPrefixListVersion: the entries of an earlier version as a new one.

use awan_model::prefix_list::Change;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::lists::{must_be_at, must_fit, own, shown};
use crate::error::{Result, invalid, missing};
use crate::tagging;

pub fn restore_managed_prefix_list_version(
    tx: &mut Tx<Tenant>,
    req: ec2::RestoreManagedPrefixListVersionRequest,
) -> Result<ec2::RestoreManagedPrefixListVersionResult> {
    let ec2::RestoreManagedPrefixListVersionRequest { dry_run: _, prefix_list_id, previous_version, current_version } =
        req;
    let mut list = own(tx, prefix_list_id)?;
    let previous = previous_version.ok_or_else(|| missing("PreviousVersion"))?;
    must_be_at(&list, Some(current_version.ok_or_else(|| missing("CurrentVersion"))?))?;
    let earlier = list.version_of(previous).filter(|_| previous != i64::from(list.version()));
    let entries = earlier.map(|version| version.entries.clone());
    let entries = entries.ok_or_else(|| invalid(format!("The prefix list has no earlier version {previous}")))?;
    must_fit(&entries, list.max_entries)?;
    list.renew(entries, Change::Restore);
    let tags = tagging::shown(&tagging::of(tx, list.id.as_str()));
    let prefix_list = Some(shown(&list, tags));
    tx.put(list);
    Ok(ec2::RestoreManagedPrefixListVersionResult { prefix_list })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_earlier_version_becomes_the_newest() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let ask =
            [("PrefixListName", "a"), ("AddressFamily", "IPv4"), ("MaxEntries", "1"), ("Entry.1.Cidr", "10.0.0.0/8")];
        let id = Cloud::ids(&call("CreateManagedPrefixList", &ask).expect("makes"), "prefixListId").remove(0);
        let list = ("PrefixListId", id.as_str());
        call("ModifyManagedPrefixList", &[list, ("RemoveEntry.1.Cidr", "10.0.0.0/8")]).expect("empties");
        let to = |previous, current| [list, ("PreviousVersion", previous), ("CurrentVersion", current)];
        let refusal = call("RestoreManagedPrefixListVersion", &to("2", "2")).expect_err("is current");
        assert_eq!(refusal, "InvalidParameterValue: The prefix list has no earlier version 2");
        let refusal = call("RestoreManagedPrefixListVersion", &to("1", "1")).expect_err("is at 2");
        assert!(refusal.starts_with("PrefixListVersionMismatch"), "{refusal}");
        let restored = call("RestoreManagedPrefixListVersion", &to("1", "2")).expect("restores");
        assert_eq!(
            (Cloud::ids(&restored, "version"), Cloud::ids(&restored, "state")),
            (vec!["3".into()], vec!["restore-complete".into()])
        );
        let entries = call("GetManagedPrefixListEntries", &[list]).expect("answers");
        assert_eq!(Cloud::ids(&entries, "cidr"), ["10.0.0.0/8"]);
    }
}
