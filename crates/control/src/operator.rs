//! What the operator does: the installation, accounts, built-in images and types.

use std::collections::BTreeSet;
use std::sync::Arc;

use awan_model::account::{AccessKey, Account, BUILTIN_ACCOUNT};
use awan_model::address::{Address, ReleasedAddress};
use awan_model::export::{ExportReport, ExportTask};
use awan_model::gateway::InternetGateway;
use awan_model::group::SecurityGroup;
use awan_model::host::{HostLiveness, HostOwner, HostRecord};
use awan_model::id::{HostId, ImageId, SnapshotId};
use awan_model::image::{Boot, Details, Image, PublicAccess};
use awan_model::import::ImportTask;
use awan_model::installation::Installation;
use awan_model::instance::{Instance, Placement, State, VmReport, Wish, state};
use awan_model::instance_type::{self, InstanceType};
use awan_model::log_group::LogGroup;
use awan_model::recycle_bin::Binned;
use awan_model::route::RouteTable;
use awan_model::snapshot::{Bytes, Phase, Snapshot};
use awan_model::subnet::Subnet;
use awan_model::volume::{Volume, VolumePlacement};
use awan_model::vpc::Vpc;
use awan_state::{Db, Home, Millis, Missing, Operator, Record as _, Ref, System, Tx};

use crate::actions::ec2::image::devices::must_be_name;
use crate::control::Settings;
use crate::error::{Code, Error, Result, invalid, refuse};
use crate::{imports, kept, network, recycle_bin};

/// What somebody needs to call the API.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Credentials {
    pub account_id: String,
    pub access_key_id: String,
    pub secret_access_key: String,
}

/// The one that keys of new volumes are made of. A file that lacks the one before has been lost, or is another's: what it had
/// is to come back, and nothing is made of what would go then.
fn master_key(settings: &Settings, old: Option<String>) -> Option<String> {
    match old {
        Some(before) if !settings.master_keys.contains(&before) => {
            tracing::error!(name = before, "the master key that volumes were made with is not in its file");
            Some(before)
        }
        _ => settings.master_keys.first().cloned(),
    }
}

/// Writes what the settings say; at the first start also names the store.
pub async fn install(db: &Db, settings: &Settings) -> Result<Arc<Installation>> {
    db.transact(Operator, "start", |tx| {
        let home = Home::installation();
        let old = tx.find_in::<Installation>(&home, &Installation::ID.into());
        let store = old.as_ref().map_or_else(|| tx.new_id("store"), |o| o.store.clone());
        let seal = old.as_ref().map_or_else(|| tx.random(), |o| o.seal);
        let ipv6_pool = settings.ipv6_pool.or(old.as_ref().and_then(|o| o.ipv6_pool));
        let ipv6_pool = Some(ipv6_pool.unwrap_or_else(|| network::ipv6::own_pool(tx.random())));
        let new = Installation {
            home,
            id: Installation::ID.into(),
            store,
            regions: settings.regions.clone(),
            zones_per_region: settings.zones_per_region,
            public_pool: settings.public_pool,
            ipv6_pool,
            master_key: master_key(settings, old.as_ref().and_then(|old| old.master_key.clone())),
            seal,
        };
        if old.as_deref() != Some(&new) {
            tx.put(new.clone());
        }
        for kind in instance_type::builtin() {
            if tx.find_at(&kind.at()).is_none() {
                tx.put(kind);
            }
        }
        for account in tx.all::<Account>() {
            default_networks(tx, &account.id, &new, old.as_deref())?;
        }
        tx.as_system(kept::recount);
        Ok(Arc::new(new))
    })
    .await
}

/// The operator's own account, if there is none yet. `keys`: those to use instead of new ones.
pub async fn root_account(db: &Db, keys: Option<(String, String)>) -> Result<Option<Credentials>> {
    db.transact(Operator, "start", |tx| {
        if !tx.all::<Account>().is_empty() {
            return Ok(None);
        }
        open_account(tx, "root", None, keys.clone()).map(Some)
    })
    .await
}

/// The keys of the account that was opened first, which is the operator's: for a file of them that was not written any
/// more, or is gone.
pub fn root_credentials(db: &Db) -> Option<Credentials> {
    db.read(Operator, |tx| {
        let root = tx.all::<Account>().into_iter().min_by_key(|a| (a.created, a.id.clone()))?;
        let keys = tx.all::<AccessKey>().into_iter().filter(|k| k.account == root.id);
        let key = keys.min_by_key(|k| (k.created, k.id.clone()))?;
        let (access_key_id, secret_access_key) = (key.id.clone(), key.secret.clone());
        Some(Credentials { account_id: root.id.clone(), access_key_id, secret_access_key })
    })
}

pub async fn create_account(db: &Db, name: &str, id: Option<String>, cause: &str) -> Result<Credentials> {
    db.transact(Operator, cause, |tx| open_account(tx, name, id.clone(), None)).await
}

fn open_account(
    tx: &mut Tx<Operator>,
    name: &str,
    id: Option<String>,
    keys: Option<(String, String)>,
) -> Result<Credentials> {
    if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
        return Err(invalid("An account's name has 1 to 64 characters"));
    }
    let home = Home::installation();
    let id = match id {
        Some(id) if Account::is_id(&id) && id != BUILTIN_ACCOUNT => id,
        Some(id) => return Err(invalid(format!("'{}' is no account id: twelve digits", id.escape_debug()))),
        None => new_account_id(tx),
    };
    if tx.find_in::<Account>(&home, &id).is_some() {
        return Err(invalid(format!("The account {id} exists")));
    }
    let created = tx.now();
    let (access_key_id, secret_access_key) = keys.unwrap_or_else(|| new_keys(tx));
    tx.put(Account { home: home.clone(), id: id.clone(), name: name.to_owned(), created, closing: false });
    let (key, secret) = (access_key_id.clone(), secret_access_key.clone());
    tx.put(AccessKey { home: home.clone(), id: key, secret, account: id.clone(), created });
    let installation = tx.find_in::<Installation>(&home, &Installation::ID.into());
    let installation = installation.ok_or_else(|| Error::fault("the installation has no record"))?;
    default_networks(tx, &id, &installation, None)?;
    Ok(Credentials { account_id: id, access_key_id, secret_access_key })
}

fn new_account_id(tx: &mut Tx<Operator>) -> String {
    format!("{:012}", u64::from_be_bytes(tx.random()) % 899_999_999_999 + 100_000_000_000)
}

fn new_keys(tx: &mut Tx<Operator>) -> (String, String) {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let id: String = tx.random::<16>().iter().map(|b| char::from(LETTERS[usize::from(b % 32)])).collect();
    let secret = base64::Engine::encode(&base64::prelude::BASE64_STANDARD_NO_PAD, tx.random::<30>());
    (format!("AKIA{id}"), secret)
}

/// In each region: a default VPC with a subnet in each zone, its group, its way to the internet. What an account had
/// `before` and its owner deleted stays away.
fn default_networks(
    tx: &mut Tx<Operator>,
    account: &str,
    installation: &Installation,
    before: Option<&Installation>,
) -> Result<()> {
    for region in &installation.regions {
        let home = Home::new(account, region);
        let old = before.filter(|b| b.regions.contains(region)).map(|b| b.zones(region));
        let mut zones = installation.zones(region);
        zones.retain(|zone| old.as_ref().is_none_or(|old| !old.contains(zone)));
        let vpcs = tx.all_in::<Vpc>(&home);
        if vpcs.is_empty() && old.is_none() {
            tx.act_for_tenant(&home, |tx| network::default_vpc(tx, &zones)).map(drop)?;
        } else if let Some(vpc) = vpcs.iter().find(|v| v.is_default) {
            tx.act_for_tenant(&home, |tx| network::default_subnets(tx, vpc, &zones))?;
        }
        tx.act_for_tenant(&home, network::complete);
    }
    Ok(())
}

/// An image that comes with Awan. The digest of its content names it, so that each version has its own id.
#[derive(Debug, Clone)]
pub struct Builtin {
    pub name: String,
    pub description: String,
    /// Hexadecimal, at least 17 digits.
    pub digest: String,
    pub size_gib: u32,
    pub boot: Boot,
}

impl Builtin {
    pub fn id(&self) -> ImageId {
        ImageId::made(format!("ami-{}", &self.digest[..17]))
    }
}

pub async fn register_builtin(db: &Db, image: &Builtin) -> Result<ImageId> {
    db.transact(Operator, "start", |tx| {
        register(tx, image);
        Ok::<_, Error>(())
    })
    .await?;
    Ok(image.id())
}

fn register(tx: &mut Tx<Operator>, image: &Builtin) {
    let (home, id) = (builtin_home(), image.id());
    let snapshot = SnapshotId::made(format!("snap-{}", id.digits()));
    if tx.find_in::<Snapshot>(&home, &snapshot).is_none() {
        let record = builtin_snapshot(&home, &snapshot, image, tx.now());
        tx.act_for_tenant(&home, |tx| tx.put(record));
    }
    if tx.find_in::<Image>(&home, &id).is_some() {
        return;
    }
    let created = tx.now();
    let record = Image {
        home: home.clone(),
        id,
        name: image.name.clone(),
        description: image.description.clone(),
        public: true,
        architecture: "x86_64".into(),
        size_gib: image.size_gib,
        root_device: "/dev/xvda".into(),
        snapshot,
        boot: image.boot.clone(),
        created,
        details: Details::default(),
    };
    tx.act_for_tenant(&home, |tx| tx.put(record));
}

pub fn must_be_image_name(name: &str) -> Result<()> {
    must_be_name(name)
}

/// Shows everybody an image that the operator brought here. Unlike those that come with Awan, no two have the same name.
pub async fn show_image(db: &Db, image: &Builtin) -> Result<ImageId> {
    must_be_name(&image.name)?;
    let id = image.id();
    db.transact(Operator, "show image", |tx| {
        let mut others = tx.all_in::<Image>(&builtin_home());
        // The name of one that was taken away is free.
        others.retain(|other| other.name == image.name && other.id != id && !other.details.removed);
        if let Some(other) = others.first() {
            let message = format!("AMI name {} is already in use by AMI {}", image.name, other.id);
            return Err(refuse(Code::InvalidAmiNameDuplicate, message));
        }
        register(tx, image);
        set_removed(tx, &id, false);
        Ok(())
    })
    .await?;
    Ok(id)
}

fn builtin_home() -> Home {
    Home::new(BUILTIN_ACCOUNT, "_")
}

/// Nobody sees it any more, or everybody again. False: it is so, or there is none.
fn set_removed(tx: &mut Tx<Operator>, id: &ImageId, removed: bool) -> bool {
    let home = builtin_home();
    let Some(image) = tx.find_in::<Image>(&home, id).filter(|image| image.details.removed != removed) else {
        return false;
    };
    let snapshot = tx.find_in::<Snapshot>(&home, &image.snapshot);
    tx.act_for_tenant(&home, |tx| {
        let details = Details { removed, ..image.details.clone() };
        tx.put(Image { details, ..(*image).clone() });
        if let Some(snapshot) = snapshot {
            tx.put(Snapshot { public: !removed, ..(*snapshot).clone() });
        }
    });
    true
}

/// Takes away an image that the operator brought here: nobody sees it any more, what begins as it goes on.
pub async fn remove_image(db: &Db, id: &ImageId, cause: &str) -> Result<()> {
    db.transact(Operator, cause, |tx| {
        let image = tx.find_in::<Image>(&builtin_home(), id);
        if image.is_some_and(|image| image.boot != Boot::Firmware || image.name.starts_with("awan-tiny-")) {
            let message = format!("The image '{id}' comes with Awan, which would bring it again.");
            return Err(refuse(Code::OperationNotPermitted, message));
        }
        if set_removed(tx, id, true) { Ok(()) } else { Err(Missing::of::<Image>(id).into()) }
    })
    .await
}

/// Images that were taken away and that nothing begins as any more.
pub fn unused_images(db: &Db) -> Vec<ImageId> {
    db.read(System, |tx| {
        let removed: Vec<_> = tx.all::<Image>().into_iter().filter(|image| image.details.removed).collect();
        if removed.is_empty() {
            return Vec::new();
        }
        let used = imports::used(tx);
        removed.iter().map(|image| image.id.clone()).filter(|id| !used.contains(id)).collect()
    })
}

/// Whether there is an image of this name, seen or not.
pub fn knows_image(db: &Db, id: &ImageId) -> bool {
    db.read(Operator, |tx| tx.find_in::<Image>(&builtin_home(), id)).is_some()
}

/// Forgets an image that was taken away. False: something begins as it, or it has come again.
pub async fn forget_image(db: &Db, id: &ImageId) -> Result<bool> {
    db.transact(System, "forget image", |tx| {
        let home = builtin_home();
        let Some(image) = tx.find_in::<Image>(&home, id) else { return Ok::<_, Error>(true) };
        if !image.details.removed || imports::used(tx).contains(id) {
            return Ok(false);
        }
        tx.act_for_tenant(&home, |tx| {
            tx.remove::<Snapshot>(&image.snapshot);
            tx.remove::<Image>(id);
        });
        Ok(true)
    })
    .await
}

/// What its volumes are made of, as EC2 shows it of public images.
fn builtin_snapshot(home: &Home, id: &SnapshotId, image: &Builtin, started: Millis) -> Snapshot {
    Snapshot {
        home: home.clone(),
        id: id.clone(),
        volume: None,
        size_gib: image.size_gib,
        description: image.description.clone(),
        bytes: Bytes::Image(image.id()),
        phase: Phase::Completed,
        encrypted: false,
        copy_of: None,
        public: true,
        blocked: false,
        shared_with: BTreeSet::new(),
        lock: None,
        started,
        upload: None,
    }
}

/// Takes no new request, ends what runs. What is left goes when the last instance is gone: ask again until it says so.
pub async fn delete_account(db: &Db, id: &str, force: bool, cause: &str) -> Result<bool> {
    db.transact(Operator, cause, |tx| close_account(tx, id, force)).await
}

fn close_account(tx: &mut Tx<Operator>, id: &str, force: bool) -> Result<bool> {
    let home = Home::installation();
    let account = tx.find_in::<Account>(&home, &id.to_owned());
    let account = account.ok_or_else(|| invalid(format!("The account '{}' does not exist", id.escape_debug())))?;
    let installation = tx.find_in::<Installation>(&home, &Installation::ID.into());
    let regions = installation.map(|i| i.regions.clone()).unwrap_or_default();
    let homes: Vec<_> = regions.iter().map(|region| Home::new(id, region)).collect();
    let mut living = 0;
    for home in &homes {
        living += end_instances(tx, home, force)?;
    }
    if living > 0 {
        if !account.closing {
            tx.put(Account { closing: true, ..(*account).clone() });
        }
        return Ok(false);
    }
    for home in &homes {
        erase(tx, home);
        erase_tasks(tx, home);
        tx.act_for_tenant(home, recycle_bin::erase);
    }
    erase_identities(tx, &Home::everywhere(id));
    for key in tx.all::<AccessKey>().iter().filter(|k| k.account == id) {
        tx.remove(&key.at());
    }
    tx.remove(&account.at());
    Ok(true)
}

fn end_instances(tx: &mut Tx<Operator>, home: &Home, force: bool) -> Result<usize> {
    let mut living = 0;
    for instance in tx.all_in::<Instance>(home) {
        let report = tx.find_at(&Ref::<VmReport>::new(home, &instance.id));
        if state(&instance, report.as_deref()) == State::Terminated {
            continue;
        }
        if !force {
            return Err(refuse(Code::DependencyViolation, "The account has instances; use --force to terminate them."));
        }
        living += 1;
        if instance.wish != Wish::Gone {
            let gone = Instance { wish: Wish::Gone, force: true, wished: tx.now(), ..(*instance).clone() };
            tx.act_for_tenant(home, |tx| tx.put(gone));
        }
    }
    Ok(living)
}

/// Users, roles and whatever else all regions of an account share.
fn erase_identities(tx: &mut Tx<Operator>, home: &Home) {
    use awan_model::identity::{AccountAlias, Group, InstanceProfile, ManagedPolicy, Role, User, UserKey};
    tx.act_for_tenant(home, |tx| {
        macro_rules! all {
            ($($record:ty),*) => { $(for record in tx.list::<$record>() { tx.remove::<$record>(&record.id); })* };
        }
        all!(User, UserKey, Group, Role, ManagedPolicy, InstanceProfile, AccountAlias);
    });
}

/// Removes every record of a home. Its instances are over.
fn erase(tx: &mut Tx<Operator>, home: &Home) {
    use awan_model::dhcp_options::DhcpOptions;
    use awan_model::egress_only::EgressOnlyGateway;
    use awan_model::endpoint::Endpoint;
    use awan_model::flow_log::FlowLog;
    use awan_model::instance::Placement;
    use awan_model::interface::NetworkInterface;
    use awan_model::key_pair::KeyPair;
    use awan_model::nat::NatGateway;
    use awan_model::network_acl::NetworkAcl;
    use awan_model::options::AccountOptions;
    use awan_model::parameter::Parameter;
    use awan_model::peering::{Peering, PeeringAnswer};
    use awan_model::placement_group::PlacementGroup;
    use awan_model::prefix_list::PrefixList;
    use awan_model::profile::{ProfileAssociation, ProfileSession};
    use awan_model::tag::Tags;
    use awan_model::token::ClientToken;
    use awan_model::volume::{EbsDefaults, Volume};
    tx.as_system(|tx| {
        // Of runs that are declared over, and not yet given back.
        for place in tx.all_in::<Placement>(home) {
            tx.remove(&place.at());
        }
        for place in tx.all_in::<VolumePlacement>(home) {
            tx.remove(&place.at());
        }
        for session in tx.all_in::<ProfileSession>(home) {
            tx.remove(&session.at());
        }
        for report in tx.all_in::<VmReport>(home) {
            tx.forget(&report.at());
        }
    });
    tx.act_for_tenant(home, |tx| {
        macro_rules! all {
            ($($record:ty),*) => { $(for record in tx.list::<$record>() { tx.remove::<$record>(&record.id); })* };
        }
        all!(
            Instance,
            NetworkInterface,
            Volume,
            EbsDefaults,
            Address,
            ReleasedAddress,
            SecurityGroup,
            RouteTable,
            InternetGateway,
            PrefixList,
            EgressOnlyGateway,
            Endpoint,
            FlowLog,
            LogGroup,
            Peering,
            PeeringAnswer,
            NetworkAcl,
            NatGateway,
            DhcpOptions,
            Subnet,
            Vpc,
            KeyPair,
            Tags,
            ClientToken,
            Parameter,
            ProfileAssociation,
            PlacementGroup,
            AccountOptions,
            Snapshot,
            PublicAccess,
            Image
        );
    });
}

/// What was on its way here, or to elsewhere; what was brought goes when nobody asks for it.
fn erase_tasks(tx: &mut Tx<Operator>, home: &Home) {
    tx.as_system(|tx| {
        for report in tx.all_in::<ExportReport>(home) {
            tx.forget(&report.at());
        }
    });
    tx.act_for_tenant(home, |tx| {
        for task in tx.list::<ImportTask>() {
            tx.remove::<ImportTask>(&task.id);
        }
        for task in tx.list::<ExportTask>() {
            tx.remove::<ExportTask>(&task.id);
        }
    });
}

/// Adds or replaces an instance type of the operator's own.
pub async fn put_instance_type(db: &Db, kind: InstanceType, cause: &str) -> Result<()> {
    let fine = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let named = kind.id.split_once('.').is_some_and(|(family, size)| fine(family) && fine(size)) && kind.id.len() <= 32;
    if !named || kind.vcpus == 0 || kind.memory_mib < 64 {
        return Err(invalid("An instance type has a name like 'ci.small', at least 1 vCPU and at least 64 MiB"));
    }
    db.transact(Operator, cause, |tx| {
        tx.put(kind.clone());
        Ok(())
    })
    .await
}

/// A host as the operator sees it.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostView {
    pub host: HostRecord,
    pub alive: bool,
    pub instances: usize,
}

pub fn hosts(db: &Db) -> Vec<HostView> {
    db.read(Operator, |tx| {
        let places = tx.all::<Placement>();
        let of = |host: Arc<HostRecord>, tx: &mut Tx<Operator>| {
            let alive = tx.find_at(&Ref::<HostLiveness>::new(&host.home, &host.id)).is_none_or(|l| l.alive);
            let instances = places.iter().filter(|p| p.host == host.id).count();
            HostView { host: (*host).clone(), alive, instances }
        };
        let hosts = tx.all::<HostRecord>();
        hosts.into_iter().map(|host| of(host, tx)).collect()
    })
}

/// Drops a host that is gone for good, and with it who has its name. One that may come back with guests or disks stays.
pub async fn forget_host(db: &Db, id: &HostId, cause: &str) -> Result<()> {
    db.transact(Operator, cause, |tx| forget(tx, id)).await
}

fn forget(tx: &mut Tx<Operator>, id: &HostId) -> Result<()> {
    let home = Home::installation();
    let (record, owner) = (Ref::<HostRecord>::new(&home, id), Ref::<HostOwner>::new(&home, id));
    let liveness = Ref::<HostLiveness>::new(&home, id);
    if tx.find_at(&record).is_none() && tx.find_at(&owner).is_none() {
        return Err(invalid(format!("The host '{id}' does not exist")));
    }
    if tx.find_at(&record).is_some() && tx.find_at(&liveness).is_none_or(|l| l.alive) {
        return Err(refuse(Code::DependencyViolation, format!("The host '{id}' is there; end it first.")));
    }
    let instances = tx.all::<Placement>().iter().filter(|p| p.host == *id).count();
    let volumes: Vec<_> = tx.all::<VolumePlacement>().into_iter().filter(|p| p.host == *id).collect();
    if instances + volumes.len() > 0 {
        // Of these nobody else sees why the host stays.
        let bin = volumes.iter().filter(|p| tx.find_in::<Binned<Volume>>(&p.home, &p.id).is_some()).count();
        let volumes = volumes.len();
        let message =
            format!("The host '{id}' has {instances} instances and {volumes} volumes ({bin} in the recycle bin).");
        return Err(refuse(Code::DependencyViolation, message));
    }
    tx.as_system(|tx| {
        tx.forget(&record);
        tx.forget(&owner);
        tx.remove(&liveness);
    });
    Ok(())
}

pub fn accounts(db: &Db) -> Vec<Account> {
    db.read(Operator, |tx| tx.all::<Account>().iter().map(|a| (**a).clone()).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use awan_model::instance::Exit;
    use awan_state::System;

    use super::*;
    use crate::actions::ec2::export::export_image;
    use crate::hosts;
    use crate::testing::Cloud;

    #[test]
    fn an_image_that_is_taken_away_is_seen_by_nobody_and_stays_while_something_begins_as_it() {
        let mut cloud = Cloud::new();
        let db = cloud.control.db.clone();
        let brought = Builtin {
            name: "brought".into(),
            description: String::new(),
            digest: "fedcba9876543210fedcba9876543210".into(),
            size_gib: 1,
            boot: Boot::Firmware,
        };
        let id = cloud.runtime.block_on(show_image(&db, &brought)).expect("shows");
        let ask = [("ImageId", id.as_str())];
        let instance = cloud.tenant("acme").run_with(&ask).expect("launches").remove(0);
        cloud.settle();
        let remove = |cloud: &Cloud| cloud.runtime.block_on(remove_image(&db, &id, "test")).map_err(|e| e.to_string());
        let forget = |cloud: &Cloud| cloud.runtime.block_on(forget_image(&db, &id)).expect("answers");
        assert!(!forget(&cloud), "it is seen");
        remove(&cloud).expect("takes it away");
        let absent = format!("InvalidAMIID.NotFound: The image id '[{id}]' does not exist");
        assert_eq!((remove(&cloud), cloud.tenant("acme").run_with(&ask).map(drop)), (Err(absent.clone()), Err(absent)));
        let shown = cloud.tenant("acme").call("DescribeSnapshots", &[]).expect("answers");
        assert!(!shown.contains(&id.as_str()[4..]), "its snapshot is not seen either: {shown}");
        let planned = |cloud: &Cloud| {
            let plans = cloud.control.db.read(System, |tx| crate::plan::all(tx, 0));
            plans.into_values().next().and_then(|plan| plan.images).expect("says it").contains(&id)
        };
        assert_eq!((unused_images(&db), forget(&cloud), planned(&cloud)), (vec![], false, true));
        cloud.audit();
        // Brought again, it is as it was.
        cloud.runtime.block_on(show_image(&db, &brought)).expect("shows");
        cloud.tenant("acme").call("DescribeImages", &[("ImageId.1", id.as_str())]).expect("is there");
        remove(&cloud).expect("takes it away");
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("ends");
        cloud.settle();
        assert_eq!((unused_images(&db), forget(&cloud), planned(&cloud)), (vec![id.clone()], true, false));
        assert!(!knows_image(&db, &id));
        a_device_holds_it(&mut cloud, &brought);
        let tiny = cloud.image_of("acme").0.parse().expect("an id");
        let refusal = cloud.runtime.block_on(remove_image(&db, &tiny, "test")).expect_err("would come again");
        assert!(refusal.to_string().starts_with("OperationNotPermitted"), "{refusal}");
        cloud.audit();
    }

    /// An image whose root is another disk, and a device of it of the snapshot that came with this one.
    fn a_device_holds_it(cloud: &mut Cloud, brought: &Builtin) {
        let db = cloud.control.db.clone();
        let id = cloud.runtime.block_on(show_image(&db, brought)).expect("shows");
        let container = [("DiskContainer.Format", "raw"), ("DiskContainer.Url", "http://192.0.2.1/disk")];
        cloud.tenant("acme").call("ImportSnapshot", &container).expect("begins");
        cloud.settle();
        let (root, device) = (cloud.snapshots("acme").remove(0), format!("snap-{}", id.digits()));
        let ask = [
            ("Name", "of two"),
            ("VirtualizationType", "hvm"),
            ("Architecture", "x86_64"),
            ("RootDeviceName", "/dev/sda1"),
            ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
            ("BlockDeviceMapping.1.Ebs.SnapshotId", root.as_str()),
            ("BlockDeviceMapping.2.DeviceName", "/dev/sdf"),
            ("BlockDeviceMapping.2.Ebs.SnapshotId", device.as_str()),
        ];
        let made = cloud.tenant("acme").call("RegisterImage", &ask).expect("registers");
        let image = Cloud::ids(&made, "imageId").remove(0);
        cloud.runtime.block_on(remove_image(&db, &id, "test")).expect("takes it away");
        assert_eq!(unused_images(&db), []);
        assert!(!cloud.runtime.block_on(forget_image(&db, &id)).expect("answers"), "a device is of it");
        cloud.tenant("acme").run_with(&[("ImageId", &image)]).expect("launches");
        cloud.settle();
        cloud.audit();
        // Its name is free for another.
        let other = Builtin { digest: "0000003210fedcba98765432100000ff".into(), ..brought.clone() };
        cloud.runtime.block_on(show_image(&db, &other)).expect("shows");
        let third = Builtin { digest: "1111113210fedcba98765432100000ff".into(), ..brought.clone() };
        let refusal = cloud.runtime.block_on(show_image(&db, &third)).expect_err("is taken").to_string();
        assert!(refusal.starts_with("InvalidAMIName.Duplicate"), "{refusal}");
        assert!(!knows_image(&db, &third.id()), "what is refused changes nothing");
    }

    #[test]
    fn a_master_key_that_is_not_in_its_file_any_more_is_followed_by_no_other() {
        let settings = |names: &[&str]| Settings {
            regions: Vec::new(),
            zones_per_region: 1,
            public_pool: "198.18.0.0/16".parse().expect("a network"),
            ipv6_pool: None,
            master_keys: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let of = |old: Option<&str>, names: &[&str]| master_key(&settings(names), old.map(str::to_owned));
        assert_eq!(of(None, &["a", "b"]).as_deref(), Some("a"));
        assert_eq!(of(Some("b"), &["a", "b"]).as_deref(), Some("a"), "changed on purpose");
        assert_eq!(of(Some("b"), &["a"]).as_deref(), Some("b"), "made anew because the file was gone");
        assert_eq!(of(Some("b"), &[]).as_deref(), Some("b"));
        assert_eq!(of(None, &[]), None);
    }

    #[test]
    fn a_default_subnet_that_its_owner_deleted_stays_away_and_a_new_zone_gets_one() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeSubnets", &[]).expect("answers");
        let first = Cloud::ids(&shown, "subnetId").remove(0);
        cloud.tenant("acme").call("DeleteSubnet", &[("SubnetId", &first)]).expect("deletes");
        for (zones_per_region, expected) in [(3, 2), (4, 3)] {
            let public_pool = "198.18.0.0/16".parse().expect("a network");
            let regions = vec!["us-east-1".into()];
            let settings =
                Settings { regions, zones_per_region, public_pool, ipv6_pool: None, master_keys: Vec::new() };
            cloud.runtime.block_on(install(&cloud.control.db, &settings)).expect("starts again");
            let shown = cloud.tenant("acme").call("DescribeSubnets", &[]).expect("answers");
            assert_eq!(Cloud::ids(&shown, "subnetId").len(), expected, "{shown}");
        }
        cloud.audit();
    }

    #[test]
    fn the_operators_keys_can_be_written_down_again() {
        let mut cloud = Cloud::new();
        assert!(root_credentials(&cloud.control.db).is_none());
        let made = cloud.runtime.block_on(root_account(&cloud.control.db, None)).expect("opens").expect("is the first");
        cloud.pass(1);
        cloud.tenant("acme");
        let again = cloud.runtime.block_on(root_account(&cloud.control.db, None)).expect("looks");
        assert!(again.is_none(), "once only");
        let known = root_credentials(&cloud.control.db).expect("is there");
        assert_eq!(
            (known.account_id, known.access_key_id, known.secret_access_key),
            (made.account_id, made.access_key_id, made.secret_access_key)
        );
    }

    #[test]
    fn only_a_host_that_is_away_and_empty_is_forgotten() {
        let mut cloud = Cloud::new();
        let (id, host) = (cloud.tenant("acme").run(), HostId::new("host").expect("a name"));
        assert!(cloud.claim("host", "1"));
        let forget = |cloud: &Cloud| {
            let done = cloud.control.db.transact_blocking(Operator, "test", |tx| forget(tx, &host));
            done.map_err(|e| e.message())
        };
        assert_eq!(forget(&cloud), Err("The host 'host' is there; end it first.".into()));
        let away = hosts::Heard { hosts: HashMap::new(), long_enough: true };
        cloud.control.db.transact_blocking(System, "test", |tx| hosts::note_liveness(tx, &away)).expect("notes");
        assert_eq!(forget(&cloud), Err("The host 'host' has 1 instances and 1 volumes (0 in the recycle bin).".into()));
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
        cloud.declare_over(&id, Exit::Asked);
        crate::turn::turn(&cloud.control, None).expect("turns");
        assert_eq!(forget(&cloud), Ok(()));
        assert_eq!(forget(&cloud), Err("The host 'host' does not exist".into()));
        assert!(cloud.claim("host", "2"), "its name is free");
    }

    #[test]
    fn a_zone_that_is_added_later_has_a_default_subnet_too() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").run();
        let public_pool = "198.18.0.0/16".parse().expect("a network");
        let regions = vec!["us-east-1".into()];
        let settings = Settings { regions, zones_per_region: 4, public_pool, ipv6_pool: None, master_keys: Vec::new() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        for _ in 0..2 {
            runtime.block_on(install(&cloud.control.db, &settings)).expect("installs");
        }
        let shown = cloud.tenant("acme").call("DescribeSubnets", &[]).expect("answers");
        let mut zones = Cloud::ids(&shown, "availabilityZone");
        zones.sort();
        assert_eq!(zones, ["us-east-1a", "us-east-1b", "us-east-1c", "us-east-1d"]);
        cloud.tenant("acme").run_with(&[("Placement.AvailabilityZone", "us-east-1d")]).expect("launches there");
    }

    #[test]
    fn a_deleted_account_leaves_no_place_behind_even_before_a_turn() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        cloud.tenant("acme").call("AllocateAddress", &[]).expect("allocates");
        cloud.tenant("acme").keep("EBS_SNAPSHOT", 7, "");
        let volume = cloud.tenant("acme").volume("us-east-1a");
        let made = cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &volume)]).expect("makes");
        let snapshot = Cloud::ids(&made, "snapshotId").remove(0);
        cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", &snapshot)]).expect("is in the recycle bin");
        let told = cloud.answering(|_| awan_model::report::Answer::Done);
        let image = export_image::tests::image(&mut cloud);
        export_image::tests::begin(&mut cloud, &image, &[]).expect("begins");
        told.abort();
        cloud.report_export(&awan_model::export::ExportPhase::Writing { percent: 10 });
        let ask = [("DiskContainer.Url", "http://x/y"), ("DiskContainer.Format", "RAW")];
        cloud.tenant("acme").call("ImportSnapshot", &ask).expect("begins");
        cloud.report_content(&awan_model::import::ImportPhase::Fetching { percent: 10 });
        let account = cloud.instance(&id).0.home.account().to_owned();
        let delete = |cloud: &Cloud| {
            cloud.control.db.transact_blocking(Operator, "test", |tx| close_account(tx, &account, true))
        };
        assert!(!delete(&cloud).expect("begins"), "an instance lives");
        cloud.declare_over(&id, Exit::Asked);
        assert!(delete(&cloud).expect("ends"));
        assert_eq!(cloud.counts(), (0, 0), "places, volumes");
        let kept = |kind: &str| cloud.control.db.snapshot().keys(kind).count();
        assert_eq!(["binned-snapshot/", "retention-rule/"].map(kept), [0, 0]);
        assert_eq!(["import-task/", "export-task/", "export-report/"].map(kept), [0; 3]);
        crate::turn::turn(&cloud.control, None).expect("a turn");
        assert_eq!(["content/", "content-report/"].map(kept), [0; 2]);
        cloud.audit();
    }
}
