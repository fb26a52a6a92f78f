//! Snapshot to plans: everything that each host must be. Pure, and computed whole each time (constant work).

mod acl;
mod endpoints;
mod network;
mod peers;
mod ways;

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use awan_model::account::BUILTIN_ACCOUNT;
use awan_model::export::ExportTask;
use awan_model::host::HostRecord;
use awan_model::id::{HostId, ImageId, VpcId};
use awan_model::image::{Boot, Image};
use awan_model::import::{Content, ContentReport, ImportPhase};
use awan_model::installation::Installation;
use awan_model::instance::{Detach, Instance, Placement, Wish};
use awan_model::instance_type::InstanceType;
use awan_model::interface::NetworkInterface;
use awan_model::plan::{
    ContentPlan, DiskPlan, EncryptionPlan, ExportPlan, HostPlan, LayerPlan, Metadata, NetworkPlan, PROTOCOL, VmPlan,
    VolumePlan,
};
use awan_model::recycle_bin::Binned;
use awan_model::tag::Tags;
use awan_model::volume::{Volume, VolumePlacement};
use awan_state::{Home, Ref, Revision, System, Tx};

use self::network::Network;
use crate::imports;

/// The plans of all hosts.
pub fn all(tx: &mut Tx<System>, revision: Revision) -> BTreeMap<HostId, HostPlan> {
    let Some(installation) = tx.find_in::<Installation>(&Home::installation(), &Installation::ID.into()) else {
        return BTreeMap::new();
    };
    let images: Vec<ImageId> =
        tx.all_in::<Image>(&Home::new(BUILTIN_ACCOUNT, "_")).iter().map(|image| image.id.clone()).collect();
    let empty = |host: &HostId| (host.clone(), empty(&installation, host, &images, revision));
    let mut plans: BTreeMap<HostId, HostPlan> = tx.all::<HostRecord>().iter().map(|host| empty(&host.id)).collect();
    let mut vpcs: BTreeMap<(HostId, VpcId), Vec<Placed>> = BTreeMap::new();
    for place in tx.all::<Placement>() {
        let Some(plan) = plans.get_mut(&place.host) else { continue };
        let Some(instance) = tx.find_in::<Instance>(&place.home, &place.id) else { continue };
        let enis = interfaces(tx, &instance);
        plan.vms.extend(vm(tx, &instance, &place, &enis));
        let kind = tx.find_in::<InstanceType>(&Home::installation(), &instance.instance_type);
        let bandwidth_mbps = kind.and_then(|kind| kind.peak_mbps());
        for eni in enis {
            let public_ip = place.public_ip.filter(|_| eni.id == instance.interface);
            vpcs.entry((place.host.clone(), eni.vpc.clone())).or_default().push(Placed {
                public_ip,
                eni,
                bandwidth_mbps,
            });
        }
    }
    let mut networks: HashMap<VpcId, Option<Network>> = HashMap::new();
    for ((host, vpc), placed) in vpcs {
        let network = networks.entry(vpc.clone()).or_insert_with(|| Network::read(tx, &placed[0].eni.home, &vpc));
        if let (Some(network), Some(plan)) = (network, plans.get_mut(&host)) {
            plan.network.vpcs.push(network.on_host(&placed));
        }
    }
    volumes(tx, &mut plans);
    for content in tx.all::<Content>() {
        let Some(plan) = plans.get_mut(&content.host) else { continue };
        let Content { home, id, host: _, size_gib, bytes: _, merging, source } = (*content).clone();
        let kept = is_kept(tx, &content);
        plan.contents.push(ContentPlan { home, id, source, kept, size_gib, merge: merging.merge });
    }
    // Hosts begin with what was asked for first, whosever it is.
    let mut exports = tx.all::<ExportTask>();
    exports.retain(|task| task.is_planned());
    exports.sort_by_key(|task| task.created);
    for task in exports {
        if let Some(plan) = plans.get_mut(&task.host) {
            plan.exports.push(export(&task));
        }
    }
    plans
}

fn export(task: &ExportTask) -> ExportPlan {
    ExportPlan {
        home: task.home.clone(),
        id: task.id.clone(),
        of: task.bytes.clone(),
        size_gib: task.size_gib,
        format: task.format,
        bucket: task.bucket.clone(),
        prefix: task.prefix.clone(),
        cancelled: !task.is_active(),
    }
}

/// Whether its host has said that it has these bytes.
fn is_kept(tx: &mut Tx<System>, content: &Content) -> bool {
    let report = tx.find_in::<ContentReport>(&content.home, &content.id);
    let of_it = report.filter(|report| report.host == content.host);
    // What is lost was there.
    of_it.is_some_and(|r| matches!(r.phase, ImportPhase::Kept { .. } | ImportPhase::Failed { .. }))
}

struct Placed {
    /// The automatic one.
    public_ip: Option<Ipv4Addr>,
    eni: Arc<NetworkInterface>,
    bandwidth_mbps: Option<u32>,
}

/// The interfaces of an instance in the order of their device index. One that is to go keeps its network until it has gone.
fn interfaces(tx: &mut Tx<System>, instance: &Instance) -> Vec<Arc<NetworkInterface>> {
    let ids = std::iter::once(&instance.interface).chain(&instance.more_interfaces);
    let found: Vec<_> = ids.filter_map(|id| tx.find_in::<NetworkInterface>(&instance.home, id)).collect();
    found.into_iter().filter(|eni| eni.is_attached_to(&instance.id)).collect()
}

fn empty(installation: &Installation, host: &HostId, images: &[ImageId], revision: Revision) -> HostPlan {
    HostPlan {
        protocol: PROTOCOL,
        store: installation.store.clone(),
        revision,
        host: host.clone(),
        vms: Vec::new(),
        volumes: Vec::new(),
        consoles: Vec::new(),
        contents: Vec::new(),
        exports: Vec::new(),
        images: Some(images.to_vec()),
        network: NetworkPlan {
            vpcs: Vec::new(),
            public_pool: Some(installation.public_pool),
            ipv6_pool: installation.ipv6_pool,
        },
    }
}

fn volumes(tx: &mut Tx<System>, plans: &mut BTreeMap<HostId, HostPlan>) {
    for place in tx.all::<VolumePlacement>() {
        let Some(plan) = plans.get_mut(&place.host) else { continue };
        let Some(volume) = kept(tx, &place) else { continue };
        let instance = volume.attachment.as_ref().and_then(|a| tx.find_in::<Instance>(&volume.home, &a.instance));
        if let Some(instance) = instance.filter(|i| i.root_volume == volume.id && i.wish != Wish::Gone) {
            plan.consoles.push(instance.id.clone());
        }
        let (image, layers) = layers(tx, &volume);
        plan.volumes.push(VolumePlan {
            home: volume.home.clone(),
            id: volume.id.clone(),
            size_gib: volume.size_gib,
            limits: volume.shape().limits(),
            encryption: encryption(tx, &volume, image.as_ref()),
            image,
            layers,
        });
    }
}

/// What is in the recycle bin keeps its files.
fn kept(tx: &mut Tx<System>, place: &VolumePlacement) -> Option<Arc<Volume>> {
    let there = tx.find_in::<Volume>(&place.home, &place.id);
    there.or_else(|| Some(Arc::new(tx.find_in::<Binned<Volume>>(&place.home, &place.id)?.what.clone())))
}

/// What its host needs to make the keys of a volume's files. Nothing below a volume that is not encrypted is.
fn encryption(tx: &mut Tx<System>, volume: &Volume, image: Option<&ImageId>) -> Option<EncryptionPlan> {
    let key = volume.key.clone()?;
    let (mut below, mut next) = (BTreeMap::new(), image.cloned());
    while let Some(content) = next.take().and_then(|id| tx.find_by::<Content>(Content::INDEX, id.as_str())) {
        below.extend(content.key().map(|key| (content.id.clone(), key.clone())));
        next = content.below().cloned();
    }
    Some(EncryptionPlan { key, below })
}

/// What a volume began as, and what was kept of it since.
fn layers(tx: &mut Tx<System>, volume: &Volume) -> (Option<ImageId>, Vec<LayerPlan>) {
    let (mut below, mut layers) = (volume.image.clone(), Vec::new());
    while let Some(content) = below.as_ref().and_then(|id| tx.find_by::<Content>(Content::INDEX, id.as_str())) {
        let Some(taken) = content.taken().filter(|taken| taken.volume == volume.id) else { break };
        let kept = is_kept(tx, &content);
        layers.push(LayerPlan {
            id: content.id.clone(),
            generation: taken.generation,
            kept,
            volume_gib: Some(taken.volume_gib),
        });
        below.clone_from(&taken.below);
    }
    layers.reverse();
    (below, layers)
}

fn vm(
    tx: &mut Tx<System>,
    instance: &Instance,
    place: &Placement,
    interfaces: &[Arc<NetworkInterface>],
) -> Option<VmPlan> {
    // What it was launched from may be deregistered; what its root began as is not.
    let root = tx.find_in::<Volume>(&instance.home, &instance.root_volume);
    let image = root.and_then(|root| imports::bottom(tx, root.image.as_ref()?));
    let began_as = image.as_ref().and_then(|image| tx.find_by::<Image>("image", image.as_str()));
    let boot = began_as.map_or(Boot::Firmware, |image| image.boot.clone());
    let volumes = attached(tx, instance);
    let kind = tx.find_in::<InstanceType>(&Home::installation(), &instance.instance_type);
    Some(VmPlan {
        home: instance.home.clone(),
        id: instance.id.clone(),
        wish: if place.run == instance.run { instance.wish } else { return None },
        run: place.run,
        reboots: instance.reboots,
        force: instance.force,
        instance_type: instance.instance_type.clone(),
        vcpus: place.vcpus,
        memory_mib: place.memory_mib,
        boot,
        image: image.unwrap_or_else(|| instance.image.clone()),
        disks: volumes.iter().filter_map(|v| disk(v)).collect(),
        yank: volumes.iter().filter(|v| is_forced(v)).map(|v| v.id.clone()).collect(),
        device_changes: instance.device_changes,
        interfaces: interfaces.iter().filter(|eni| leaving(eni).is_none()).map(|eni| eni.id.clone()).collect(),
        unplug: interfaces.iter().filter(|e| leaving(e).is_some_and(|d| d.force)).map(|e| e.id.clone()).collect(),
        interfaces_max: kind.map_or(0, |kind| kind.max_interfaces),
        metadata: metadata(tx, instance),
    })
}

fn attached(tx: &mut Tx<System>, instance: &Instance) -> Vec<Arc<Volume>> {
    let all = std::iter::once(&instance.root_volume).chain(&instance.data_volumes);
    let found: Vec<_> = all.filter_map(|id| tx.find_in::<Volume>(&instance.home, id)).collect();
    found.into_iter().filter(|volume| volume.is_attached_to(&instance.id)).collect()
}

/// What is to go is in no plan.
fn disk(volume: &Volume) -> Option<DiskPlan> {
    let attachment = volume.attachment.as_ref().filter(|a| a.detach.is_none())?;
    Some(DiskPlan { volume: volume.id.clone(), device: attachment.device.clone() })
}

fn is_forced(volume: &Volume) -> bool {
    volume.attachment.as_ref().and_then(|a| a.detach).is_some_and(|detach| detach.force)
}

fn leaving(eni: &NetworkInterface) -> Option<Detach> {
    eni.attachment.as_ref().and_then(|a| a.detach)
}

fn metadata(tx: &mut Tx<System>, instance: &Instance) -> Metadata {
    let tags = if instance.metadata.tags {
        tx.find_at(&Ref::<Tags>::new(&instance.home, &instance.id.to_string()))
            .map(|t| t.tags.clone())
            .unwrap_or_default()
    } else {
        BTreeMap::new()
    };
    Metadata {
        image: instance.image.clone(),
        options: instance.metadata.clone(),
        account: instance.home.account().to_owned(),
        region: instance.home.region().to_owned(),
        zone: instance.zone.clone(),
        reservation: instance.reservation.clone(),
        launch_index: instance.launch_index,
        architecture: instance.architecture.clone(),
        key_name: instance.key_name.clone(),
        public_key: instance.public_key.clone(),
        user_data: instance.user_data.clone(),
        tags,
        launched: instance.launched,
        root_device: instance.root_device.clone(),
        profile: crate::identity::instance::planned(tx, instance),
    }
}
