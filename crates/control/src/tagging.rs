//! Tags: on creation, in answers, in filters; and which resource an id names.

use std::collections::BTreeMap;

use awan_model::address::Address;
use awan_model::capacity::CapacityReservation;
use awan_model::dhcp_options::DhcpOptions;
use awan_model::egress_only::EgressOnlyGateway;
use awan_model::endpoint::Endpoint;
use awan_model::export::ExportTask;
use awan_model::fleet::Fleet;
use awan_model::flow_log::FlowLog;
use awan_model::gateway::InternetGateway;
use awan_model::group::SecurityGroup;
use awan_model::image::Image;
use awan_model::import::ImportTask;
use awan_model::instance::Instance;
use awan_model::interface::NetworkInterface;
use awan_model::key_pair::KeyPair;
use awan_model::launch_template::LaunchTemplate;
use awan_model::nat::NatGateway;
use awan_model::network_acl::NetworkAcl;
use awan_model::placement_group::PlacementGroup;
use awan_model::prefix_list::PrefixList;
use awan_model::recycle_bin::Recyclable;
use awan_model::route::RouteTable;
use awan_model::snapshot::Snapshot;
use awan_model::subnet::Subnet;
use awan_model::tag::Tags;
use awan_model::volume::Volume;
use awan_model::vpc::Vpc;
use awan_state::{Record, Shareable, Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::peering::peerings as peering;
use crate::error::{Code, Error, Result, invalid, refuse};
use crate::recycle_bin;

/// EC2's limits, from "Tag restrictions".
pub const TAGS_MAX: usize = 50;
const KEY_MAX: usize = 128;
const VALUE_MAX: usize = 256;

/// The kind of resource that an id names, as filters and tag specifications call it.
pub fn kind_of(id: &str) -> Option<&'static str> {
    let kinds = [
        ("i-", "instance"),
        ("vol-", "volume"),
        ("snap-", "snapshot"),
        ("eni-", "network-interface"),
        ("ami-", "image"),
        ("import-snap-", "import-snapshot-task"),
        ("import-ami-", "import-image-task"),
        ("export-ami-", "export-image-task"),
        ("sg-", "security-group"),
        ("sgr-", "security-group-rule"),
        ("subnet-", "subnet"),
        ("vpc-", "vpc"),
        ("igw-", "internet-gateway"),
        ("rtb-", "route-table"),
        ("key-", "key-pair"),
        ("eipalloc-", "elastic-ip"),
        ("pl-", "prefix-list"),
        ("lt-", "launch-template"),
        ("pg-", "placement-group"),
        ("fleet-", "fleet"),
        ("pcx-", "vpc-peering-connection"),
        ("vpce-", "vpc-endpoint"),
        ("eigw-", "egress-only-internet-gateway"),
        ("fl-", "vpc-flow-log"),
        ("cr-", "capacity-reservation"),
        ("acl-", "network-acl"),
        ("dopt-", "dhcp-options"),
        ("nat-", "natgateway"),
    ];
    kinds.iter().find(|(prefix, _)| id.starts_with(prefix)).map(|(_, kind)| *kind)
}

/// Refuses an id of something that this home has not.
pub fn must_exist(tx: &mut Tx<Tenant>, id: &str) -> Result<()> {
    fn there<R: Record>(tx: &mut Tx<Tenant>, id: &str) -> Result<()>
    where
        R::Id: std::str::FromStr<Err = awan_model::id::Malformed>,
    {
        tx.get::<R>(&id.parse()?)?;
        Ok(())
    }
    match kind_of(id) {
        Some("instance") => there::<Instance>(tx, id),
        Some("volume") => {
            let id = id.parse()?;
            if recycle_bin::find::<Volume>(tx, &id).is_err() {
                tx.get::<Volume>(&id)?;
            }
            Ok(())
        }
        // Who may use another's can tag it, for itself alone. Source: "Tag your Amazon EC2 resources".
        Some("snapshot") => shared_or_binned::<Snapshot>(tx, id),
        Some("network-interface") => there::<NetworkInterface>(tx, id),
        Some("image") => shared_or_binned::<Image>(tx, id),
        Some("security-group") => there::<SecurityGroup>(tx, id),
        Some("security-group-rule") => rule(tx, id),
        Some("subnet") => there::<Subnet>(tx, id),
        Some("vpc") => there::<Vpc>(tx, id),
        Some("internet-gateway") => there::<InternetGateway>(tx, id),
        Some("route-table") => there::<RouteTable>(tx, id),
        Some("key-pair") => there::<KeyPair>(tx, id),
        Some("network-acl") => there::<NetworkAcl>(tx, id),
        Some("dhcp-options") => there::<DhcpOptions>(tx, id),
        Some("natgateway") => there::<NatGateway>(tx, id),
        Some("placement-group") => there::<PlacementGroup>(tx, id),
        Some("elastic-ip") => there::<Address>(tx, id),
        Some("prefix-list") => there::<PrefixList>(tx, id),
        Some("capacity-reservation") => there::<CapacityReservation>(tx, id),
        Some("fleet") => {
            tx.get::<Fleet>(&id.to_owned())?;
            Ok(())
        }
        Some("import-snapshot-task" | "import-image-task") => {
            tx.get::<ImportTask>(&id.to_owned())?;
            Ok(())
        }
        Some("export-image-task") => there::<ExportTask>(tx, id),
        Some("launch-template") => there::<LaunchTemplate>(tx, id),
        Some("vpc-peering-connection") => peering::read(tx, &id.parse()?).map(drop),
        Some("egress-only-internet-gateway") => there::<EgressOnlyGateway>(tx, id),
        Some("vpc-endpoint") => there::<Endpoint>(tx, id),
        Some("vpc-flow-log") => there::<FlowLog>(tx, id),
        _ => Err(no_such_id(id)),
    }
}

/// What is in the recycle bin can be tagged by its owner.
fn shared_or_binned<R>(tx: &mut Tx<Tenant>, id: &str) -> Result<()>
where
    R: Shareable + Recyclable,
    R::Id: std::str::FromStr<Err = awan_model::id::Malformed>,
{
    let id = id.parse()?;
    if recycle_bin::find::<R>(tx, &id).is_err() {
        tx.shared::<R>(&id)?;
    }
    Ok(())
}

fn rule(tx: &mut Tx<Tenant>, id: &str) -> Result<()> {
    if tx.lookup(SecurityGroup::BY_RULE, id).is_some() { Ok(()) } else { Err(no_such_id(id)) }
}

fn no_such_id(id: &str) -> Error {
    let shown: String = id.chars().take(100).collect();
    refuse(Code::InvalidResourceId, format!("The ID '{}' is not valid", shown.escape_debug()))
}

/// Adds tags to a resource, replacing those with the same key.
pub fn add(tx: &mut Tx<Tenant>, id: &str, tags: &[ec2::Tag]) -> Result<()> {
    if tags.is_empty() {
        return Ok(());
    }
    let mut all = tx.find::<Tags>(&id.to_owned()).map(|t| t.tags.clone()).unwrap_or_default();
    for (key, value) in checked_all(tags)? {
        all.insert(key, value);
    }
    if all.keys().filter(|key| !is_reserved(key)).count() > TAGS_MAX {
        return Err(refuse(
            Code::TagLimitExceeded,
            format!("The maximum number of tags for a resource is {TAGS_MAX}."),
        ));
    }
    let home = tx.home().clone();
    tx.put(Tags { home, id: id.to_owned(), tags: all });
    Ok(())
}

/// The tags of one request: no key twice.
pub fn checked_all(tags: &[ec2::Tag]) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for tag in tags {
        let (key, value) = checked(tag)?;
        if all.contains_key(&key) {
            return Err(invalid(format!("Duplicate tag key '{}' specified.", key.escape_debug())));
        }
        all.insert(key, value);
    }
    Ok(all)
}

fn checked(tag: &ec2::Tag) -> Result<(String, String)> {
    let key = tag.key.clone().unwrap_or_default();
    let value = tag.value.clone().unwrap_or_default();
    if key.is_empty() || key.chars().count() > KEY_MAX {
        return Err(invalid(format!("Tag keys have 1 to {KEY_MAX} characters")));
    }
    if value.chars().count() > VALUE_MAX {
        return Err(invalid(format!("Tag values have at most {VALUE_MAX} characters")));
    }
    if is_reserved(&key) {
        return Err(reserved());
    }
    Ok((key, value))
}

/// Tags that the cloud itself gives: no tenant can set or delete them, and they do not count.
pub fn is_reserved(key: &str) -> bool {
    key.get(..4).is_some_and(|p| p.eq_ignore_ascii_case("aws:"))
}

pub fn reserved() -> Error {
    invalid("Tag keys starting with 'aws:' are reserved for internal use")
}

pub fn add_reserved(tx: &mut Tx<Tenant>, id: &str, tags: BTreeMap<String, String>) {
    let (home, mut all) = (tx.home().clone(), of(tx, id));
    all.extend(tags);
    tx.put(Tags { home, id: id.to_owned(), tags: all });
}

pub fn remove_reserved(tx: &mut Tx<Tenant>, id: &str, key: &str) {
    let (home, mut tags) = (tx.home().clone(), of(tx, id));
    tags.remove(key);
    if tags.is_empty() {
        tx.remove::<Tags>(&id.to_owned());
    } else {
        tx.put(Tags { home, id: id.to_owned(), tags });
    }
}

/// The tags that a create action gives to one kind of resource, among the kinds that it makes.
pub fn specified(specs: &[ec2::TagSpecification], kind: &str, kinds: &[&str]) -> Result<Vec<ec2::Tag>> {
    let mut tags = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for spec in specs {
        let resource =
            spec.resource_type.as_deref().ok_or_else(|| invalid("A tag specification needs a ResourceType"))?;
        if !kinds.contains(&resource) {
            let shown: String = resource.chars().take(64).collect();
            let shown = shown.escape_debug();
            return Err(invalid(format!("'{shown}' is not a valid taggable resource type for this operation.")));
        }
        if !seen.insert(resource) {
            return Err(invalid(format!("Tag specification resource type {resource} is given twice")));
        }
        if resource == kind {
            let said = |tag: &ec2::Tag| ec2::Tag { value: Some(tag.value.clone().unwrap_or_default()), ..tag.clone() };
            tags.extend(spec.tags.iter().map(said));
        }
    }
    checked_all(&tags)?;
    Ok(tags)
}

pub fn of(tx: &mut Tx<Tenant>, id: &str) -> BTreeMap<String, String> {
    tx.find::<Tags>(&id.to_owned()).map(|t| t.tags.clone()).unwrap_or_default()
}

pub fn shown(tags: &BTreeMap<String, String>) -> Vec<ec2::Tag> {
    tags.iter().map(|(k, v)| ec2::Tag { key: Some(k.clone()), value: Some(v.clone()) }).collect()
}

/// What the filters `tag:KEY`, `tag-key` and `tag-value` compare with.
pub fn filter_values(tags: &BTreeMap<String, String>, filter: &str) -> Vec<String> {
    match filter {
        "tag-key" => tags.keys().cloned().collect(),
        "tag-value" => tags.values().cloned().collect(),
        _ => filter.strip_prefix("tag:").and_then(|key| tags.get(key)).cloned().into_iter().collect(),
    }
}
