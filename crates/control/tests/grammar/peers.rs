//! Requests about what connects VPCs and names ranges.

use super::{FILTER_VALUE, PAGE, Recipe, Teller, text};

const LIST: (&str, &str) = ("PrefixListId", "<pl>|pl-63a5400a");
const VERSION: (&str, &str) = ("CurrentVersion", "1|2|3");

pub const RECIPES: &[Recipe] = &[
    (
        "CreateManagedPrefixList",
        &[("PrefixListName", "a|b|com.amazonaws.c"), ("AddressFamily", "IPv4|IPv6"), ("MaxEntries", "1|2|9|1001")],
        &[
            ("Entry.1.Cidr", "10.0.0.0/8|2001:db8::/32"),
            ("ClientToken", "x|y|z"),
            ("TagSpecification.1.ResourceType", "prefix-list|instance"),
        ],
    ),
    ("DeleteManagedPrefixList", &[LIST], &[]),
    (
        "DescribeManagedPrefixLists",
        &[],
        &[("PrefixListId.1", "<pl>"), ("Filter.1.Name", "tag:a|owner-id|prefix-list-name|colour"), FILTER_VALUE, PAGE],
    ),
    ("DescribePrefixLists", &[], &[("PrefixListId.1", "<pl>|pl-63a5400a"), PAGE]),
    ("GetManagedPrefixListAssociations", &[LIST], &[PAGE]),
    ("GetManagedPrefixListEntries", &[LIST], &[("TargetVersion", "1|2|-1"), PAGE]),
    (
        "ModifyManagedPrefixList",
        &[LIST],
        &[
            VERSION,
            ("AddEntry.1.Cidr", "10.0.0.0/8|192.0.2.0/24|x"),
            ("RemoveEntry.1.Cidr", "10.0.0.0/8|192.0.2.0/24"),
            ("MaxEntries", "1|2|9"),
            ("PrefixListName", "c|"),
        ],
    ),
    ("RestoreManagedPrefixListVersion", &[LIST, VERSION, ("PreviousVersion", "1|2")], &[]),
];

pub const WET: &[&str] = &[];

pub fn story(teller: &mut dyn Teller) {
    let entry = "&Entry.1.Cidr=10.0.0.0%2F8";
    let made =
        teller.ask("CreateManagedPrefixList", &format!("PrefixListName=told&AddressFamily=IPv4&MaxEntries=3{entry}"));
    let list = format!("PrefixListId={}", text(&made, "prefixListId"));
    teller.ask("ModifyManagedPrefixList", &format!("{list}&CurrentVersion=1&AddEntry.1.Cidr=192.0.2.0%2F24"));
    teller.ask("RestoreManagedPrefixListVersion", &format!("{list}&CurrentVersion=2&PreviousVersion=1"));
    teller.ask("GetManagedPrefixListEntries", &format!("{list}&TargetVersion=2"));
    teller.ask("GetManagedPrefixListAssociations", &list);
    teller.ask("DeleteManagedPrefixList", &list);
}
