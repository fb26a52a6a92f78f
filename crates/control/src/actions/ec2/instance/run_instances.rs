//! RunInstances: from a request to records of instances, their volumes, interfaces and places. All or nothing.

use std::sync::Arc;

use awan_model::id::{InstanceId, ReservationId};
use awan_model::identity::InstanceProfile;
use awan_model::image::Image;
use awan_model::instance::{Instance, MetadataOptions, ShutdownBehavior, Wish};
use awan_model::instance_type::InstanceType;
use awan_model::key_pair::KeyPair;
use awan_model::options::Options;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::disks::{self, Disks};
use super::launch;
use super::launch_network::{self, Network};
use super::placing::{self, Placing};
use super::view;
use super::{choices, metadata};
use crate::actions::ec2::capacity::preference;
use crate::actions::ec2::image::devices::launchable;
use crate::actions::ec2::template::applied;
use crate::error::{Code, Error, Result, invalid, invalid_value, missing, refuse, refuse_if};
use crate::identity;
use crate::schedule::Room;
use crate::tagging;
use crate::token::Use;

const COUNT_MAX: u32 = 1_000;
const USER_DATA_MAX: usize = 16 * 1024;
const DEFAULT_TYPE: &str = "t3.micro";

/// A request that was read, checked and found possible.
struct Launch {
    image: Arc<Image>,
    kind: Arc<InstanceType>,
    network: Network,
    disks: Disks,
    key: Option<Arc<KeyPair>>,
    user_data: Option<Vec<u8>>,
    metadata: MetadataOptions,
    shutdown: ShutdownBehavior,
    termination_protection: bool,
    stop_protection: bool,
    ebs_optimized: bool,
    monitoring: bool,
    placing: Placing,
    options: Options,
    profile: Option<InstanceProfile>,
    client_token: Option<String>,
    tags: [Vec<ec2::Tag>; 3],
}

pub fn run_instances(tx: &mut Tx<Tenant>, req: ec2::RunInstancesRequest) -> Result<ec2::Reservation> {
    let token = client_token(&req)?;
    if let Some(first) = &token
        && let Some(made) = first.made(tx)?
    {
        return replay(tx, &made);
    }
    let (least, most) = counts(&req)?;
    let (req, origin) = applied::whole(tx, req)?;
    let (mut launch, room) = read(tx, req, most)?;
    let ids = create(tx, &mut launch, room, least, most)?;
    if let Some(template) = origin {
        ids.iter().for_each(|id| template.mark(tx, id.as_str()));
    }
    if let Some(first) = token {
        first.keep(tx, ids.iter().map(ToString::to_string).collect());
    }
    let made = ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    answer(tx, &made)
}

fn client_token(req: &ec2::RunInstancesRequest) -> Result<Option<Use>> {
    let Some(token) = req.client_token.as_deref().filter(|t| !t.is_empty()) else { return Ok(None) };
    let others = ec2::RunInstancesRequest { client_token: None, dry_run: None, ..req.clone() };
    Use::new("RunInstances", token, &format!("{others:?}")).map(Some)
}

fn replay(tx: &mut Tx<Tenant>, made: &[String]) -> Result<ec2::Reservation> {
    let living = made.iter().filter_map(|id| tx.find::<Instance>(&id.parse().ok()?)).any(|i| i.wish != Wish::Gone);
    if living {
        return answer(tx, made);
    }
    let message = "The instances of the request with this client token have been terminated.";
    Err(refuse(Code::IdempotentInstanceTerminated, message))
}

fn answer(tx: &mut Tx<Tenant>, made: &[String]) -> Result<ec2::Reservation> {
    let mut seen = Vec::with_capacity(made.len());
    for id in made {
        // Of those that a token made, some may be gone.
        if let Some(instance) = tx.find::<Instance>(&id.parse()?) {
            seen.push(view::see(tx, instance));
        }
    }
    view::reservations(tx, &seen).into_iter().next().ok_or_else(|| Error::fault("a launch made nothing"))
}

fn counts(req: &ec2::RunInstancesRequest) -> Result<(u32, u32)> {
    let count = |value: Option<i32>, name: &str| {
        let value = value.ok_or_else(|| missing(name))?;
        u32::try_from(value).ok().filter(|n| *n > 0).ok_or_else(|| invalid_value(value, name))
    };
    let (least, most) = (count(req.min_count, "MinCount")?, count(req.max_count, "MaxCount")?);
    if least > most {
        return Err(invalid("MinCount must not be larger than MaxCount"));
    }
    if most > COUNT_MAX {
        let message = format!("You have requested more instances ({most}) than a request may have ({COUNT_MAX}).");
        return Err(refuse(Code::InstanceLimitExceeded, message));
    }
    Ok((least, most))
}

#[expect(clippy::too_many_lines, reason = "takes forty members apart, so that none is forgotten")]
fn read(tx: &mut Tx<Tenant>, req: ec2::RunInstancesRequest, most: u32) -> Result<(Launch, Room)> {
    let ec2::RunInstancesRequest {
        block_device_mappings,
        image_id,
        instance_type,
        ipv6_address_count,
        ipv6_addresses,
        kernel_id,
        key_name,
        max_count: _,
        min_count: _,
        monitoring,
        placement,
        ramdisk_id,
        security_group_ids,
        security_groups,
        subnet_id,
        user_data,
        elastic_gpu_specification,
        elastic_inference_accelerators,
        tag_specifications,
        // What it said is in the other members by now.
        launch_template: _,
        instance_market_options,
        credit_specification: credits,
        cpu_options: cpu,
        capacity_reservation_specification,
        hibernation_options,
        license_specifications,
        metadata_options,
        enclave_options,
        private_dns_name_options: private_dns,
        maintenance_options: maintenance,
        disable_api_stop,
        enable_primary_ipv6,
        network_performance_options,
        operator,
        secondary_interfaces,
        dry_run: _,
        disable_api_termination,
        instance_initiated_shutdown_behavior,
        private_ip_address,
        client_token,
        // Reserved by EC2; it has no meaning there either.
        additional_info: _,
        network_interfaces,
        iam_instance_profile,
        ebs_optimized,
    } = req;
    for (there, name) in [
        (kernel_id.is_some(), "KernelId"),
        (ramdisk_id.is_some(), "RamdiskId"),
        (!elastic_gpu_specification.is_empty(), "ElasticGpuSpecification"),
        (!elastic_inference_accelerators.is_empty(), "ElasticInferenceAccelerator"),
        (instance_market_options.is_some(), "InstanceMarketOptions"),
        (hibernation_options.is_some_and(|h| h.configured == Some(true)), "HibernationOptions"),
        (!license_specifications.is_empty(), "LicenseSpecification"),
        (enclave_options.is_some_and(|e| e.enabled == Some(true)), "EnclaveOptions"),
        (enable_primary_ipv6 == Some(true), "EnablePrimaryIpv6"),
        (network_performance_options.is_some(), "NetworkPerformanceOptions"),
        (operator.is_some(), "Operator"),
        (!secondary_interfaces.is_empty(), "SecondaryInterface"),
    ] {
        refuse_if(there, name)?;
    }
    let image = tx.shared::<Image>(&image_id.ok_or_else(|| missing("ImageId"))?.parse()?)?;
    launchable(tx, &image)?;
    let kind = instance_kind(tx, instance_type.as_deref().unwrap_or(DEFAULT_TYPE))?;
    let mut placing = placing::placing(tx, placement, &kind)?;
    placing.capacity = preference::chosen(tx, capacity_reservation_specification)?;
    let zone = placing.zone.clone();
    let chosen = choices::Asked { credits, cpu, private_dns, maintenance };
    let asked = launch::Asked {
        subnet_id,
        security_group_ids,
        security_groups,
        private_ip_address,
        ipv6_addresses,
        ipv6_address_count,
        network_interfaces,
        zone,
    };
    let disks = disks::disks(tx, &image, block_device_mappings)?;
    let room = Room::count(tx);
    let (home, rule) = (tx.home().clone(), placing.rule(tx));
    let fits = |zone: &str| room.fits(&home, Some(zone), &kind, disks.size_gib(), &rule).min(most.into());
    let network = launch_network::network(tx, asked, most, fits)?;
    network.must_fit(&kind)?;
    let placing = placing.within(tx, &network.subnet.vpc, &kind)?;
    let kinds = ["instance", "volume", "network-interface"];
    let tags = kinds.map(|kind| tagging::specified(&tag_specifications, kind, &kinds));
    let [instance_tags, volume_tags, interface_tags] = tags;
    let launch = Launch {
        disks,
        key: key_name.map(|name| key(tx, &name)).transpose()?,
        // Terraform's templates without user data have an empty text.
        user_data: user_data.filter(|text| !text.is_empty()).map(|text| decode_user_data(&text)).transpose()?,
        metadata: metadata::of_launch(tx, metadata_options)?,
        shutdown: shutdown_behavior(instance_initiated_shutdown_behavior.as_deref())?,
        termination_protection: disable_api_termination.unwrap_or(false),
        stop_protection: disable_api_stop.unwrap_or(false),
        ebs_optimized: ebs_optimized.unwrap_or(false),
        monitoring: monitoring.and_then(|m| m.enabled).unwrap_or(false),
        options: choices::options(tx, chosen, &kind, &placing)?,
        placing,
        profile: iam_instance_profile.map(|asked| identity::instance::profile(tx, &asked)).transpose()?,
        client_token,
        tags: [instance_tags?, volume_tags?, interface_tags?],
        image,
        kind,
        network,
    };
    Ok((launch, room))
}

pub fn instance_kind(tx: &mut Tx<Tenant>, name: &str) -> Result<Arc<InstanceType>> {
    let shown: String = name.chars().take(64).collect();
    tx.public::<InstanceType>(&name.to_owned())
        .ok_or_else(|| invalid(format!("Invalid value '{}' for InstanceType.", shown.escape_debug())))
}

fn key(tx: &mut Tx<Tenant>, name: &str) -> Result<Arc<KeyPair>> {
    let found = tx.lookup(KeyPair::BY_NAME, name).and_then(|id| tx.find::<KeyPair>(&id.parse().ok()?));
    let shown: String = name.chars().take(255).collect();
    found.ok_or_else(|| {
        refuse(Code::InvalidKeyPairNotFound, format!("The key pair '{}' does not exist", shown.escape_debug()))
    })
}

pub fn decode_user_data(text: &str) -> Result<Vec<u8>> {
    let bytes = BASE64_STANDARD.decode(text.trim());
    let bytes = bytes.map_err(|_| refuse(Code::InvalidUserDataMalformed, "Invalid BASE64 encoding of user data."))?;
    checked_user_data(bytes)
}

pub fn checked_user_data(bytes: Vec<u8>) -> Result<Vec<u8>> {
    if bytes.len() > USER_DATA_MAX {
        return Err(invalid("User data is limited to 16384 bytes"));
    }
    Ok(bytes)
}

pub fn shutdown_behavior(text: Option<&str>) -> Result<ShutdownBehavior> {
    match text {
        None | Some("stop") => Ok(ShutdownBehavior::Stop),
        Some("terminate") => Ok(ShutdownBehavior::Terminate),
        Some(other) => Err(invalid_value(other.escape_debug(), "instanceInitiatedShutdownBehavior")),
    }
}

/// As many as fit, but at least `least`: their records, in one transaction.
fn create(tx: &mut Tx<Tenant>, launch: &mut Launch, mut room: Room, least: u32, most: u32) -> Result<Vec<InstanceId>> {
    let zone = &launch.network.subnet.zone;
    let rule = launch.placing.rule(tx);
    let fits = room.fits(tx.home(), Some(zone), &launch.kind, launch.disks.size_gib(), &rule);
    let fitting = u32::try_from(fits).unwrap_or(most).min(most);
    if fitting < least {
        return Err(rule.full(&launch.kind.id, zone));
    }
    let mut found = Vec::new();
    while found.len() < fitting as usize {
        match launch.network.addresses(tx) {
            Ok(addresses) => found.push(addresses),
            // As many as there are addresses for, if that is enough.
            Err(_) if found.len() >= least as usize => break,
            Err(e) => return Err(e),
        }
    }
    let reservation = ReservationId::made(tx.new_id(ReservationId::PREFIX));
    let mut ids = Vec::new();
    for (index, addresses) in (0..).zip(found) {
        let instance = one(tx, launch, &reservation, index, addresses)?;
        room.place(tx, &instance, &launch.kind)?;
        ids.push(instance.id);
    }
    Ok(ids)
}

fn one(
    tx: &mut Tx<Tenant>,
    launch: &Launch,
    reservation: &ReservationId,
    launch_index: u32,
    addresses: launch_network::Addresses,
) -> Result<Instance> {
    let (home, now) = (tx.home().clone(), tx.now());
    let id = InstanceId::made(tx.new_id(InstanceId::PREFIX));
    let [instance_tags, volume_tags, interface_tags] = &launch.tags;
    let mut more_interfaces = launch.network.attach(tx, &id, addresses, interface_tags)?;
    let interface = more_interfaces.remove(0);
    let Launch { image, kind, network, key, disks, .. } = launch;
    let zone = &network.subnet.zone;
    let root_volume = disks::volume(tx, &disks.root, &id, zone)?;
    let data_volumes = disks.more.iter().map(|disk| disks::volume(tx, disk, &id, zone)).collect::<Result<Vec<_>>>()?;
    let instance = Instance {
        home,
        id: id.clone(),
        reservation: reservation.clone(),
        launch_index,
        client_token: launch.client_token.clone(),
        wish: Wish::On,
        run: 1,
        reboots: 0,
        force: false,
        reason: None,
        wished: now,
        instance_type: kind.id.clone(),
        image: image.id.clone(),
        architecture: image.architecture.clone(),
        root_device: image.root_device.clone(),
        key_name: key.as_ref().map(|k| k.name.clone()),
        public_key: key.as_ref().map(|k| k.public_key.clone()),
        user_data: launch.user_data.clone(),
        zone: network.subnet.zone.clone(),
        vpc: network.subnet.vpc.clone(),
        subnet: network.subnet.id.clone(),
        interface,
        more_interfaces,
        wants_public_ip: network.public_ip,
        root_volume: root_volume.clone(),
        data_volumes: data_volumes.clone(),
        device_changes: 0,
        shutdown: launch.shutdown,
        metadata: launch.metadata.clone(),
        termination_protection: launch.termination_protection,
        stop_protection: launch.stop_protection,
        ebs_optimized: launch.ebs_optimized,
        monitoring: launch.monitoring,
        options: launch.options.clone(),
        launched: now,
        created: now,
    };
    tx.put(instance.clone());
    if let Some(profile) = &launch.profile {
        identity::instance::associate(tx, &id, profile);
    }
    for (id, tags) in [(id.as_str(), instance_tags), (root_volume.as_str(), volume_tags)] {
        tagging::add(tx, id, tags)?;
    }
    for id in &data_volumes {
        tagging::add(tx, id.as_str(), volume_tags)?;
    }
    Ok(instance)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use crate::testing::{Cloud, check};

    #[test]
    fn a_launch_becomes_running_when_its_host_says_so() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").launch();
        assert_eq!(cloud.state("acme", &id), "pending");
        cloud.settle();
        assert_eq!(cloud.state("acme", &id), "running");
        cloud.audit();
    }

    #[test]
    fn the_same_token_launches_once() {
        let mut cloud = Cloud::new();
        let launch = [("MinCount", "2"), ("MaxCount", "2"), ("ClientToken", "once")];
        let first = cloud.tenant("acme").run_with(&launch).expect("launches");
        let second = cloud.tenant("acme").run_with(&launch).expect("answers again");
        assert_eq!(first, second);
        assert_eq!(cloud.tenant("acme").instances().len(), 2);
        let other = [("MinCount", "1"), ("MaxCount", "2"), ("ClientToken", "once")];
        let refusal = cloud.tenant("acme").run_with(&other).expect_err("another request");
        check(
            &refusal,
            expect![[
                r#"IdempotentParameterMismatch: The request uses the same client token as a previous, but non-identical request."#
            ]],
        );
        assert!(cloud.tenant("other").run_with(&launch).is_ok(), "tokens are the account's own");
    }

    #[test]
    fn what_does_not_fit_leaves_nothing() {
        let mut cloud = Cloud::with_capacity(4, 65_536);
        let refusal = cloud.tenant("acme").run_with(&[("MinCount", "3"), ("MaxCount", "3")]).expect_err("no room");
        assert!(refusal.starts_with("InsufficientInstanceCapacity"), "{refusal}");
        assert!(cloud.tenant("acme").instances().is_empty());
        assert_eq!(cloud.tenant("acme").run_with(&[("MinCount", "1"), ("MaxCount", "3")]).expect("two fit").len(), 2);
        cloud.audit();
    }

    #[test]
    fn wrong_parameters_are_refused_by_name() {
        let mut cloud = Cloud::new();
        for (name, value, code) in [
            ("ImageId", "ami-00000000000000000", "InvalidAMIID.NotFound"),
            ("ImageId", "image", "InvalidAMIID.Malformed"),
            ("InstanceType", "t9.giant", "InvalidParameterValue"),
            ("KeyName", "none", "InvalidKeyPair.NotFound"),
            ("SecurityGroupId.1", "sg-00000000000000000", "InvalidGroup.NotFound"),
            ("SubnetId", "subnet-00000000000000000", "InvalidSubnetID.NotFound"),
            ("PrivateIpAddress", "10.0.0.1", "InvalidParameterValue"),
            ("UserData", "%%%", "InvalidUserData.Malformed"),
            ("MaxCount", "0", "InvalidParameterValue"),
            ("BlockDeviceMapping.1.DeviceName", "/dev/sdz", "MissingParameter"),
            ("NoSuchThing", "1", "UnknownParameter"),
        ] {
            let refusal = cloud.tenant("acme").run_with(&[(name, value)]).expect_err(name);
            assert!(refusal.starts_with(code), "{name}={value}: {refusal}");
        }
        assert!(cloud.tenant("acme").instances().is_empty());
    }
    #[test]
    fn without_a_zone_a_launch_goes_where_there_is_room() {
        let mut cloud = Cloud::with_capacity(0, 0);
        cloud.join("in-b", "us-east-1b", 6);
        cloud.join("in-c", "us-east-1c", 4);
        let zone = |cloud: &mut Cloud, more: &[(&str, &str)]| {
            let ids = cloud.tenant("acme").run_with(more)?;
            Ok::<_, String>(cloud.instance(&ids[0]).0.zone)
        };
        // A t3.micro has two vCPUs.
        assert_eq!(zone(&mut cloud, &[]).as_deref(), Ok("us-east-1b"));
        assert_eq!(zone(&mut cloud, &[("MinCount", "2"), ("MaxCount", "2")]).as_deref(), Ok("us-east-1b"));
        assert_eq!(zone(&mut cloud, &[]).as_deref(), Ok("us-east-1c"));
        let named = [("Placement.AvailabilityZone", "us-east-1b")];
        let refusal = zone(&mut cloud, &named).expect_err("the zone that was named is full");
        assert!(refusal.starts_with("InsufficientInstanceCapacity"), "{refusal}");
    }
}
