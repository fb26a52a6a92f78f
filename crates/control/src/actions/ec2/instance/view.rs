//! Instances as EC2 shows them.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use awan_model::group::SecurityGroup;
use awan_model::id::{GroupId, InstanceId};
use awan_model::instance::{Exit, Instance, Placement, Reason, State, VmReport, state};
use awan_model::instance_type::InstanceType;
use awan_model::interface::{NetworkInterface, private_dns};
use awan_model::placement_group::PlacementGroup;
use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;
use awan_wire::shape::Timestamp;

use super::{choices, metadata, modify_instance_maintenance_options};
use crate::actions::ec2::capacity::preference;
use crate::actions::ec2::interface::view::{Mapped, mapped};
use crate::error::{Code, Result, refuse};
use crate::reconcile::ended;
use crate::{disks, identity, tagging};

/// One instance with everything that an answer or a filter asks about.
pub struct Seen {
    pub instance: Arc<Instance>,
    pub report: Option<Arc<VmReport>>,
    pub state: State,
    pub eni: Option<Arc<NetworkInterface>>,
    /// The root first.
    pub volumes: Vec<Arc<Volume>>,
    pub public_ip: Option<Ipv4Addr>,
    /// Where the VPC gives such names.
    pub public_dns: Option<String>,
    /// The primary one first.
    pub interfaces: Vec<Interface>,
    pub tags: std::collections::BTreeMap<String, String>,
    /// The capacity reservation that it runs in.
    pub reservation: Option<String>,
}

pub struct Interface {
    pub eni: Arc<NetworkInterface>,
    /// Of its attachment.
    pub status: &'static str,
    pub addresses: Vec<Mapped>,
}

/// The names of groups, looked up once for an answer.
#[derive(Default)]
pub struct GroupNames(HashMap<GroupId, String>);

impl GroupNames {
    pub fn of(&mut self, tx: &mut Tx<Tenant>, id: &GroupId) -> String {
        let found = self.0.entry(id.clone());
        found.or_insert_with(|| tx.find::<SecurityGroup>(id).map(|g| g.name.clone()).unwrap_or_default()).clone()
    }

    pub fn shown(&mut self, tx: &mut Tx<Tenant>, ids: &[GroupId]) -> Vec<ec2::GroupIdentifier> {
        let shown =
            |id: &GroupId| ec2::GroupIdentifier { group_id: Some(id.to_string()), group_name: Some(self.of(tx, id)) };
        ids.iter().map(shown).collect()
    }
}

/// Instances by their ids; all or the refusal for those that are not there.
pub fn by_ids(tx: &mut Tx<Tenant>, ids: &[String]) -> Result<Vec<Arc<Instance>>> {
    let ids: Vec<InstanceId> = ids.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
    let mut found = Vec::with_capacity(ids.len());
    let mut missing = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for id in ids.into_iter().filter(|id| seen.insert(id.clone())) {
        match tx.find::<Instance>(&id) {
            Some(instance) => found.push(instance),
            None => missing.push(id.to_string()),
        }
    }
    match &missing[..] {
        [] => Ok(found),
        [one] => Err(refuse_missing(format!("The instance ID '{one}' does not exist"))),
        many => Err(refuse_missing(format!("The instance IDs '{}' do not exist", many.join(", ")))),
    }
}

/// The interface of an instance that has one only: which of several is meant, a request cannot say.
pub fn only_interface(tx: &mut Tx<Tenant>, instance: &Instance) -> Result<Arc<NetworkInterface>> {
    let id = &instance.id;
    let of = |eni: &NetworkInterface| eni.attachment.as_ref().is_some_and(|a| a.instance == *id);
    if tx.list::<NetworkInterface>().iter().filter(|eni| of(eni)).count() > 1 {
        let message = format!(
            "There are multiple interfaces attached to instance '{id}'. Please specify an interface ID for the operation instead."
        );
        return Err(refuse(Code::InvalidInstanceId, message));
    }
    Ok(tx.get::<NetworkInterface>(&instance.interface)?)
}

fn refuse_missing(message: String) -> crate::error::Error {
    awan_state::Missing { code: "InvalidInstanceID.NotFound", message }.into()
}

pub fn see(tx: &mut Tx<Tenant>, instance: Arc<Instance>) -> Seen {
    let report = tx.find::<VmReport>(&instance.id);
    let ended = report.as_deref().and_then(|report| ended(&instance, report));
    let instance = ended.map_or(instance, Arc::new);
    let eni = tx.find::<NetworkInterface>(&instance.interface);
    let volumes = disks::attached(tx, &instance);
    let has = |e: &NetworkInterface| e.attachment.as_ref().is_some_and(|a| a.instance == instance.id);
    let held = eni.as_ref().is_some_and(|e| has(e))
        || instance.more_interfaces.iter().any(|id| tx.find::<NetworkInterface>(id).is_some_and(|e| has(&e)))
        || !volumes.is_empty();
    let state = match state(&instance, report.as_deref()) {
        // Whoever waits for its end goes on to delete its group or to use its address again.
        State::Terminated if held => State::ShuttingDown,
        state => state,
    };
    // The place of what has stopped, and the address with it, is about to be given back.
    let on = !matches!(state, State::Stopped | State::Terminated);
    let automatic = tx.find::<Placement>(&instance.id).filter(|_| on).and_then(|p| p.public_ip);
    let interfaces = interfaces(tx, eni.clone(), (&instance, report.as_deref()), automatic);
    let first = interfaces.first().and_then(|seen| seen.addresses.first());
    let public_ip = first.and_then(|mapped| mapped.public_ip);
    let public_dns = first.and_then(|mapped| mapped.public_dns.clone());
    let tags = tagging::of(tx, instance.id.as_str());
    let place = tx.find::<Placement>(&instance.id).filter(|_| on);
    let reservation = place.and_then(|p| p.reservation.as_ref().map(ToString::to_string));
    Seen { state, eni, volumes, public_ip, public_dns, interfaces, tags, reservation, report, instance }
}

/// The interfaces that an instance has, in the order of their device index.
fn interfaces(
    tx: &mut Tx<Tenant>,
    primary: Option<Arc<NetworkInterface>>,
    (instance, report): (&Instance, Option<&VmReport>),
    automatic: Option<Ipv4Addr>,
) -> Vec<Interface> {
    let more = instance.more_interfaces.iter().filter_map(|id| tx.find::<NetworkInterface>(id));
    let all: Vec<_> = primary.into_iter().chain(more).collect();
    let own = |eni: &NetworkInterface| eni.attachment.as_ref().is_some_and(|a| a.instance == instance.id);
    let see = |eni: Arc<NetworkInterface>| {
        let addresses = mapped(tx, &eni, automatic.filter(|_| eni.id == instance.interface));
        let status = eni.attachment_state(instance, report);
        Interface { eni, status, addresses }
    };
    all.into_iter().filter(|eni| own(eni)).map(see).collect()
}

pub fn state_shown(state: State) -> ec2::InstanceState {
    ec2::InstanceState { code: Some(state.code()), name: Some(state.as_str().into()) }
}

pub fn change(id: &InstanceId, before: State, after: State) -> ec2::InstanceStateChange {
    ec2::InstanceStateChange {
        instance_id: Some(id.to_string()),
        previous_state: Some(state_shown(before)),
        current_state: Some(state_shown(after)),
    }
}

pub fn time(millis: awan_state::Millis) -> Option<Timestamp> {
    // EC2 shows whole seconds.
    i64::try_from(millis / 1000 * 1000).ok().map(Timestamp)
}

/// A time as filters compare it: the text that an answer shows.
pub fn text_time(at: awan_state::Millis) -> Option<String> {
    let time = jiff::Timestamp::from_millisecond(time(at)?.0).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string())
}

/// Instances in reservations, as EC2 groups them.
pub fn reservations(tx: &mut Tx<Tenant>, seen: &[Seen]) -> Vec<ec2::Reservation> {
    let mut names = GroupNames::default();
    let mut out: Vec<ec2::Reservation> = Vec::new();
    let mut at: HashMap<&str, usize> = HashMap::new();
    for one in seen {
        let id = one.instance.reservation.as_str();
        let index = *at.entry(id).or_insert_with(|| {
            let (reservation_id, owner_id) = (Some(id.to_owned()), Some(one.instance.home.account().to_owned()));
            out.push(ec2::Reservation { reservation_id, owner_id, ..Default::default() });
            out.len() - 1
        });
        out[index].instances.push(shown(tx, one, &mut names));
    }
    out
}

pub fn shown(tx: &mut Tx<Tenant>, seen: &Seen, names: &mut GroupNames) -> ec2::Instance {
    let Seen { instance: i, state, eni, public_ip, .. } = seen;
    let region = i.home.region();
    let alive = *state != State::Terminated;
    let eni = eni.as_deref().filter(|_| alive);
    let groups = eni.map(|e| names.shown(tx, &e.groups)).unwrap_or_default();
    let public_ip = public_ip.filter(|_| alive);
    ec2::Instance {
        architecture: Some(i.architecture.clone()),
        block_device_mappings: seen.volumes.iter().filter_map(|v| block_device(seen, v)).collect(),
        capacity_reservation_id: seen.reservation.clone(),
        capacity_reservation_specification: Some(preference::shown(&i.options.capacity)),
        client_token: i.client_token.clone(),
        ebs_optimized: Some(i.ebs_optimized),
        ena_support: Some(true),
        hypervisor: Some("xen".into()),
        iam_instance_profile: identity::instance::of(tx, &i.id)
            .filter(|_| alive)
            .map(|a| identity::instance::shown(&a)),
        network_interfaces: if alive { network_interfaces(tx, seen, names) } else { Vec::new() },
        root_device_name: Some(i.root_device.clone()),
        root_device_type: Some("ebs".into()),
        security_groups: groups,
        source_dest_check: eni.map(|e| e.source_dest_check),
        state_reason: reason(seen).map(|r| ec2::StateReason { code: Some(r.code), message: Some(r.message) }),
        tags: tagging::shown(&seen.tags),
        virtualization_type: Some("hvm".into()),
        metadata_options: Some(metadata::shown(i, *state, seen.report.as_deref())),
        platform_details: Some("Linux/UNIX".into()),
        usage_operation: Some("RunInstances".into()),
        usage_operation_update_time: time(i.created),
        current_instance_boot_mode: Some("legacy-bios".into()),
        enclave_options: Some(ec2::EnclaveOptions { enabled: Some(false) }),
        hibernation_options: Some(ec2::HibernationOptions { configured: Some(false) }),
        maintenance_options: Some(modify_instance_maintenance_options::shown(&i.options)),
        cpu_options: tx.public::<InstanceType>(&i.instance_type).map(|kind| choices::cpu(&kind)),
        private_dns_name_options: Some(choices::private_dns()),
        operator: Some(nobody_else()),
        instance_id: Some(i.id.to_string()),
        image_id: Some(i.image.to_string()),
        state: Some(state_shown(*state)),
        private_dns_name: Some(eni.map(|e| private_dns(e.private_ip, region)).unwrap_or_default()),
        public_dns_name: Some(seen.public_dns.clone().unwrap_or_default()),
        state_transition_reason: Some(transition_reason(i, *state)),
        key_name: i.key_name.clone(),
        ami_launch_index: i32::try_from(i.launch_index).ok(),
        instance_type: Some(i.instance_type.clone()),
        launch_time: time(i.launched),
        placement: Some(placement(tx, i)),
        monitoring: Some(ec2::Monitoring {
            state: Some(if i.monitoring { "enabled" } else { "disabled" }.into()),
            ..Default::default()
        }),
        subnet_id: alive.then(|| i.subnet.to_string()),
        vpc_id: alive.then(|| i.vpc.to_string()),
        private_ip_address: eni.map(|e| e.private_ip.to_string()),
        ipv6_address: eni.and_then(|e| e.ipv6.first()).map(ToString::to_string),
        public_ip_address: public_ip.map(|ip| ip.to_string()),
        ..Default::default()
    }
}

fn placement(tx: &mut Tx<Tenant>, i: &Instance) -> ec2::Placement {
    let group = i.options.group.as_ref().and_then(|id| tx.find::<PlacementGroup>(id));
    ec2::Placement {
        availability_zone: Some(i.zone.clone()),
        availability_zone_id: Some(crate::actions::ec2::region::describe_availability_zones::zone_id(&i.zone)),
        group_name: Some(group.as_ref().map(|g| g.name.clone()).unwrap_or_default()),
        group_id: group.as_ref().map(|g| g.id.to_string()),
        partition_number: i.options.partition.filter(|_| group.is_some()).map(i32::from),
        tenancy: Some(tenancy(i).into()),
        ..Default::default()
    }
}

pub fn tenancy(i: &Instance) -> &'static str {
    if i.options.dedicated { "dedicated" } else { "default" }
}

fn block_device(seen: &Seen, volume: &Volume) -> Option<ec2::InstanceBlockDeviceMapping> {
    let attachment = volume.attachment.as_ref()?;
    let ebs = ec2::EbsInstanceBlockDevice {
        attach_time: time(attachment.at),
        delete_on_termination: Some(attachment.delete_on_termination),
        status: Some(volume.attachment_state(&seen.instance, seen.report.as_deref()).into()),
        volume_id: Some(volume.id.to_string()),
        ..Default::default()
    };
    Some(ec2::InstanceBlockDeviceMapping { device_name: Some(attachment.device.clone()), ebs: Some(ebs) })
}

fn network_interfaces(tx: &mut Tx<Tenant>, seen: &Seen, names: &mut GroupNames) -> Vec<ec2::InstanceNetworkInterface> {
    let one = |interface: &Interface| {
        let groups = names.shown(tx, &interface.eni.groups);
        network_interface(interface, groups)
    };
    seen.interfaces.iter().map(one).collect()
}

fn network_interface(seen: &Interface, groups: Vec<ec2::GroupIdentifier>) -> ec2::InstanceNetworkInterface {
    let eni = &seen.eni;
    let (account, region) = (eni.home.account(), eni.home.region());
    let association = |mapped: &Mapped| {
        Some(ec2::InstanceNetworkInterfaceAssociation {
            ip_owner_id: mapped.ip_owner(account),
            public_dns_name: Some(mapped.public_dns.clone().unwrap_or_default()),
            public_ip: Some(mapped.public_ip?.to_string()),
            ..Default::default()
        })
    };
    let attachment = eni.attachment.as_ref().map(|a| ec2::InstanceNetworkInterfaceAttachment {
        attach_time: time(a.at),
        attachment_id: Some(a.id.to_string()),
        delete_on_termination: Some(a.delete_on_termination),
        device_index: i32::try_from(a.device_index).ok(),
        status: Some(seen.status.into()),
        network_card_index: Some(0),
        ..Default::default()
    });
    let address = |mapped: &Mapped| ec2::InstancePrivateIpAddress {
        association: association(mapped),
        primary: Some(mapped.primary),
        private_dns_name: Some(private_dns(mapped.private_ip, region)),
        private_ip_address: Some(mapped.private_ip.to_string()),
    };
    let address6 =
        |ip: &Ipv6Addr| ec2::InstanceIpv6Address { ipv6_address: Some(ip.to_string()), is_primary_ipv6: Some(false) };
    ec2::InstanceNetworkInterface {
        association: seen.addresses.first().and_then(association),
        attachment,
        description: Some(eni.description.clone()),
        ipv6_addresses: eni.ipv6.iter().map(address6).collect(),
        groups,
        mac_address: Some(eni.mac.to_string()),
        network_interface_id: Some(eni.id.to_string()),
        owner_id: Some(account.into()),
        private_dns_name: Some(private_dns(eni.private_ip, region)),
        private_ip_address: Some(eni.private_ip.to_string()),
        private_ip_addresses: seen.addresses.iter().map(address).collect(),
        source_dest_check: Some(eni.source_dest_check),
        status: Some("in-use".into()),
        subnet_id: Some(eni.subnet.to_string()),
        vpc_id: Some(eni.vpc.to_string()),
        interface_type: Some("interface".into()),
        operator: Some(nobody_else()),
        ..Default::default()
    }
}

/// No service of the cloud manages what a tenant made.
pub fn nobody_else() -> ec2::OperatorResponse {
    ec2::OperatorResponse { managed: Some(false), ..Default::default() }
}

/// Why it is not running, for those that are not.
pub fn reason(seen: &Seen) -> Option<Reason> {
    let pending = || Reason { code: "pending".into(), message: "pending".into() };
    match seen.state {
        State::Running => None,
        State::Pending => Some(pending()),
        _ => {
            let failed = seen.report.as_ref().and_then(|r| match &r.exit {
                Some(Exit::Failed(_) | Exit::Crashed(_)) if r.run == seen.instance.run => Some(Reason {
                    code: "Server.InternalError".into(),
                    message: "Server.InternalError: Internal error on launch".into(),
                }),
                _ => None,
            });
            seen.instance.reason.clone().or(failed)
        }
    }
}

/// `User initiated (2026-11-24 12:00:00 GMT)`
pub fn transition_reason(i: &Instance, state: State) -> String {
    let by_user = i.reason.as_ref().is_some_and(|r| r.code == "Client.UserInitiatedShutdown");
    let at = i64::try_from(i.wished).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    match (state, at) {
        (State::Pending | State::Running, _) | (_, None) => String::new(),
        (_, Some(at)) if by_user => format!("User initiated ({})", at.strftime("%Y-%m-%d %H:%M:%S GMT")),
        _ => i.reason.as_ref().map(|r| r.message.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use awan_model::instance::{Exit, Phase, VmReport};
    use awan_state::Host;

    use crate::error::Error;
    use crate::testing::Cloud;

    /// The host has said that it is over; nothing has followed from it yet.
    fn just_over(cloud: &mut Cloud, id: &str) {
        let report = cloud.instance(id).1.expect("was reported");
        let over = VmReport { phase: Phase::Exited, exit: Some(Exit::Asked), ..report };
        let put = |tx: &mut awan_state::Tx<Host>| {
            tx.put(over.clone());
            Ok::<_, Error>(())
        };
        cloud.control.db.transact_blocking(Host("host".into()), "test", put).expect("writes");
    }

    #[test]
    fn what_is_shown_as_over_holds_nothing_any_more() {
        let mut cloud = Cloud::new();
        let (a, b) = (cloud.tenant("acme").run(), cloud.tenant("acme").run());
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &a)]).expect("stops");
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &b)]).expect("terminates");
        just_over(&mut cloud, &a);
        just_over(&mut cloud, &b);
        let shown = |cloud: &mut Cloud, id: &str| {
            cloud.tenant("acme").call("DescribeInstances", &[("InstanceId.1", id)]).expect("answers")
        };
        let stopped = shown(&mut cloud, &a);
        assert!(stopped.contains("<name>stopped</name>") && !stopped.contains("<ipAddress>"), "{stopped}");
        let ending = shown(&mut cloud, &b);
        assert!(ending.contains("<name>shutting-down</name>"), "{ending}");
        cloud.settle();
        let over = shown(&mut cloud, &b);
        assert!(over.contains("<name>terminated</name>") && over.contains("<blockDeviceMapping/>"), "{over}");
    }
}
