"""What connects VPCs and names ranges."""

from . import COUNT, named, under

LIST = "PrefixListId AddressFamily State PrefixListArn PrefixListName MaxEntries Version OwnerId"


def new_list(home, **more):
    asked = {"PrefixListName": "canary-ranges", "AddressFamily": "IPv4", "MaxEntries": 9, "Entries": [{"Cidr": "10.0.0.0/8", "Description": "canary"}]}
    return home.ec2.create_managed_prefix_list(**asked, TagSpecifications=named("prefix-list"), **more)["PrefixList"]["PrefixListId"]


def old_list(home):
    id = new_list(home)
    home.ec2.modify_managed_prefix_list(PrefixListId=id, CurrentVersion=1, AddEntries=[{"Cidr": "192.0.2.0/24"}])
    return id


CALLS = {
    "CreateManagedPrefixList": lambda h: {
        "PrefixListName": f"list-{next(COUNT)}",
        "AddressFamily": "IPv6",
        "MaxEntries": 5,
        "Entries": [{"Cidr": "2001:db8::/32"}],
        "TagSpecifications": named("prefix-list"),
    },
    "DeleteManagedPrefixList": lambda h: {"PrefixListId": new_list(h)},
    "DescribeManagedPrefixLists": lambda h: {"PrefixListIds": [h.prefix_list]},
    "DescribePrefixLists": lambda h: {},
    "GetManagedPrefixListAssociations": lambda h: {"PrefixListId": h.prefix_list},
    "GetManagedPrefixListEntries": lambda h: {"PrefixListId": h.prefix_list},
    "ModifyManagedPrefixList": lambda h: {"PrefixListId": new_list(h), "CurrentVersion": 1, "AddEntries": [{"Cidr": "192.0.2.0/24"}]},
    "RestoreManagedPrefixListVersion": lambda h: {"PrefixListId": old_list(h), "PreviousVersion": 1, "CurrentVersion": 2},
}

READS = {
    "CreateManagedPrefixList": under("PrefixList", LIST + " Tags.Key"),
    "DeleteManagedPrefixList": under("PrefixList", LIST),
    "DescribeManagedPrefixLists": under("PrefixLists", LIST + " Tags.Key"),
    "DescribePrefixLists": under("PrefixLists", "PrefixListId PrefixListName"),
    "GetManagedPrefixListAssociations": "",
    "GetManagedPrefixListEntries": under("Entries", "Cidr Description"),
    "ModifyManagedPrefixList": under("PrefixList", LIST),
    "RestoreManagedPrefixListVersion": under("PrefixList", LIST),
}

MADE = {"prefix_list": new_list}

NAMES = {"prefix_list": ["PrefixListId", "PrefixListIds"]}

TAGGED = ["prefix_list"]


def FILTERS(home):
    yield "DescribeManagedPrefixLists", "prefix-list-id", [home.prefix_list]
    yield "DescribeManagedPrefixLists", "owner-id", [home.tenant.id]
