//! CreateManagedPrefixList. It is there at once: no list is ever in progress.

use awan_model::id::PrefixListId;
use awan_model::prefix_list::{Change, Family, PrefixList, Version};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::lists::{added, lost, max_of, must_fit, name_of, shown};
use crate::actions::ec2::vpc::create_vpc::brief;
use crate::error::{Code, Result, invalid_value, missing, refuse};
use crate::tagging;
use crate::token::Use;

/// Source: "Amazon VPC quotas", prefix lists per Region.
const LISTS_MAX: usize = 100;

pub fn create_managed_prefix_list(
    tx: &mut Tx<Tenant>,
    req: ec2::CreateManagedPrefixListRequest,
) -> Result<ec2::CreateManagedPrefixListResult> {
    let others = ec2::CreateManagedPrefixListRequest { client_token: None, dry_run: None, ..req.clone() };
    let ec2::CreateManagedPrefixListRequest {
        dry_run: _,
        prefix_list_name,
        entries,
        max_entries,
        tag_specifications,
        address_family,
        client_token,
    } = req;
    let client_token = client_token.filter(|token| !token.is_empty());
    let token = client_token.as_deref();
    let token = token.map(|t| Use::new("CreateManagedPrefixList", t, &format!("{others:?}"))).transpose()?;
    if let Some(first) = &token
        && let Some(made) = first.made(tx)?
    {
        return answer(tx, &made);
    }
    let name = name_of(&prefix_list_name.ok_or_else(|| missing("PrefixListName"))?)?;
    let max_entries = max_of(max_entries.ok_or_else(|| missing("MaxEntries"))?)?;
    let family = match address_family.as_deref().ok_or_else(|| missing("AddressFamily"))? {
        "IPv4" => Family::Ipv4,
        "IPv6" => Family::Ipv6,
        other => return Err(invalid_value(brief(other), "AddressFamily")),
    };
    let entries = added(entries, family)?;
    must_fit(&entries, max_entries)?;
    let tags = tagging::specified(&tag_specifications, "prefix-list", &["prefix-list"])?;
    if tx.list::<PrefixList>().len() >= LISTS_MAX {
        return Err(refuse(Code::ResourceLimitExceeded, "The maximum number of prefix lists has been reached."));
    }
    let (home, created) = (tx.home().clone(), tx.now());
    let id = PrefixListId::made(tx.new_id(PrefixListId::PREFIX));
    let versions = vec![Version { number: 1, entries }];
    tagging::add(tx, id.as_str(), &tags)?;
    let made = vec![id.to_string()];
    tx.put(PrefixList { home, id, name, family, max_entries, versions, change: Change::Create, client_token, created });
    if let Some(first) = token {
        first.keep(tx, made.clone());
    }
    answer(tx, &made)
}

fn answer(tx: &mut Tx<Tenant>, made: &[String]) -> Result<ec2::CreateManagedPrefixListResult> {
    let id = made.first().ok_or_else(lost)?;
    let list = tx.get::<PrefixList>(&id.parse()?)?;
    let tags = tagging::shown(&tagging::of(tx, id));
    Ok(ec2::CreateManagedPrefixListResult { prefix_list: Some(shown(&list, tags)) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_list_has_the_entries_it_was_made_with() {
        let mut cloud = Cloud::new();
        let ask = [
            ("PrefixListName", "offices"),
            ("AddressFamily", "IPv4"),
            ("MaxEntries", "2"),
            ("Entry.1.Cidr", "10.1.2.3/16"),
            ("Entry.1.Description", "north"),
            ("Entry.2.Cidr", "192.0.2.0/24"),
            ("ClientToken", "once"),
            ("TagSpecification.1.ResourceType", "prefix-list"),
            ("TagSpecification.1.Tag.1.Key", "a"),
            ("TagSpecification.1.Tag.1.Value", "b"),
        ];
        let made = cloud.tenant("acme").call("CreateManagedPrefixList", &ask).expect("makes");
        assert_eq!(cloud.tenant("acme").call("CreateManagedPrefixList", &ask).expect("the same"), made);
        assert_eq!(Cloud::ids(&made, "state"), ["create-complete"]);
        assert_eq!((Cloud::ids(&made, "version"), Cloud::ids(&made, "value")), (vec!["1".into()], vec!["b".into()]));
        let id = Cloud::ids(&made, "prefixListId").remove(0);
        let entries =
            cloud.tenant("acme").call("GetManagedPrefixListEntries", &[("PrefixListId", &id)]).expect("answers");
        assert_eq!(Cloud::ids(&entries, "cidr"), ["10.1.0.0/16", "192.0.2.0/24"]);
        assert_eq!(Cloud::ids(&entries, "description"), ["north"]);
        cloud.audit();
    }

    #[test]
    fn what_a_list_cannot_have_is_refused() {
        let mut cloud = Cloud::new();
        for (name, value, expected) in [
            ("PrefixListName", "com.amazonaws.mine", "InvalidParameterValue"),
            ("AddressFamily", "IPX", "InvalidParameterValue: Value (IPX) for parameter AddressFamily is invalid."),
            ("MaxEntries", "0", "InvalidParameterValue"),
            ("MaxEntries", "1001", "InvalidParameterValue"),
            ("Entry.1.Cidr", "2001:db8::/32", "InvalidParameterValue: The CIDR block '2001:db8::/32' is not valid"),
            ("Entry.2.Cidr", "192.0.2.0/24", "PrefixListMaxEntriesExceeded: You've reached the maximum number"),
            ("Entry.2.Cidr", "10.0.0.1/8", "InvalidParameterValue: The request contains the entry 10.0.0.0/8 more"),
        ] {
            let usual = [
                ("PrefixListName", "a"),
                ("AddressFamily", "IPv4"),
                ("MaxEntries", "1"),
                ("Entry.1.Cidr", "10.0.0.0/8"),
            ];
            let ask: Vec<_> = usual.into_iter().filter(|(n, _)| *n != name).chain([(name, value)]).collect();
            let refusal = cloud.tenant("acme").call("CreateManagedPrefixList", &ask).expect_err(value);
            assert!(refusal.starts_with(expected), "{refusal}");
        }
    }
}
