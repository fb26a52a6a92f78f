//! CreateFleet of type instant: launches at once what it can, and tells what it could not.
//!
//! Other types would go on for as long as they live; they are refused, and so is spot capacity, which nobody sells here.
//! There are no prices: of types, the smallest per unit counts as the cheapest.

use awan_model::fleet::{Failed, Fleet, Launched};
use awan_model::id::InstanceId;
use awan_model::instance::Instance;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;
use serde_json::{Value, json};

use super::candidate::{self, Candidate, Unit};
use super::shown;
use crate::actions::ec2::instance::run_instances::run_instances;
use crate::actions::ec2::template::data;
use crate::actions::ec2::vpc::create_vpc::brief;
use crate::error::{Error, Refusal, Result, combination, invalid, invalid_value, missing, refuse_if, unsupported};
use crate::tagging;
use crate::token::Use;

/// Source: "EC2 Fleet and Spot Fleet quotas", EC2 User Guide; and CreateFleet, EC2 API reference.
const UNITS_MAX: i32 = 10_000;
const CONFIGS_MAX: usize = 50;
const TOKEN_MAX: usize = 64;
/// RunInstances' own.
const INSTANCES_MAX: u32 = 1_000;
const KINDS: [&str; 4] = ["fleet", "instance", "volume", "network-interface"];

pub fn create_fleet(tx: &mut Tx<Tenant>, req: ec2::CreateFleetRequest) -> Result<ec2::CreateFleetResult> {
    let others = ec2::CreateFleetRequest { client_token: None, dry_run: None, ..req.clone() };
    let token = Use::given("CreateFleet", req.client_token.as_deref(), TOKEN_MAX, &format!("{others:?}"))?;
    if let Some(made) = token.as_ref().map(|first| first.made(tx)).transpose()?.flatten() {
        let id = made.into_iter().next().ok_or_else(|| Error::fault("a token without its fleet"))?;
        let fleet = tx.get::<Fleet>(&id)?;
        return shown::created(&fleet);
    }
    let wanted = read(&req)?;
    let (mut candidates, unfit) = candidate::all(tx, &req.launch_template_configs, wanted.unit)?;
    sort(&mut candidates, wanted.prioritized);
    let mut failed = unfit.into_iter().map(|(chosen, e)| failure(chosen, e)).collect::<Result<Vec<_>>>()?;
    let id = new_id(tx);
    let groups = groups(tx, candidates, &wanted);
    let launched = launch(tx, &id, &wanted, &groups, &mut failed)?;
    let fleet = Fleet {
        home: tx.home().clone(),
        id: id.clone(),
        asked: asked(&req, &wanted)?,
        target_units: wanted.target,
        launched,
        failed,
        client_token: req.client_token.filter(|t| !t.is_empty()),
        deleted: None,
        created: tx.now(),
    };
    tx.put(fleet.clone());
    tagging::add(tx, &id, &tagging::specified(&wanted.tags, "fleet", &KINDS)?)?;
    if let Some(first) = token {
        first.keep(tx, vec![id]);
    }
    shown::created(&fleet)
}

/// What a request asks for, found possible.
struct Wanted {
    target: u32,
    unit: Unit,
    prioritized: bool,
    single_type: bool,
    single_zone: bool,
    least: f64,
    tags: Vec<ec2::TagSpecification>,
}

fn read(req: &ec2::CreateFleetRequest) -> Result<Wanted> {
    let ec2::CreateFleetRequest {
        dry_run: _,
        client_token: _,
        // Says how spot capacity would be chosen, of which there is none.
        spot_options: _,
        on_demand_options,
        reserved_capacity_options,
        // For fleets of type maintain.
        excess_capacity_termination_policy: _,
        launch_template_configs,
        target_capacity_specification,
        terminate_instances_with_expiration,
        r#type,
        valid_from,
        valid_until,
        replace_unhealthy_instances,
        tag_specifications,
        context,
    } = req;
    match r#type.as_deref() {
        Some("instant") => {}
        None | Some("maintain" | "request") => return Err(unsupported("Type other than instant")),
        Some(other) => return Err(invalid_value(brief(other), "Type")),
    }
    for (there, name) in [
        (reserved_capacity_options.is_some(), "ReservedCapacityOptions"),
        (*terminate_instances_with_expiration == Some(true), "TerminateInstancesWithExpiration"),
        (valid_from.is_some(), "ValidFrom"),
        (valid_until.is_some(), "ValidUntil"),
        (*replace_unhealthy_instances == Some(true), "ReplaceUnhealthyInstances"),
        (context.is_some(), "Context"),
    ] {
        refuse_if(there, name)?;
    }
    if launch_template_configs.is_empty() {
        return Err(missing("LaunchTemplateConfigs"));
    }
    if launch_template_configs.len() > CONFIGS_MAX {
        return Err(invalid(format!("A fleet has at most {CONFIGS_MAX} launch template configurations")));
    }
    for config in launch_template_configs {
        let spec = config.launch_template_specification.as_ref();
        spec.and_then(|s| s.version.as_deref()).ok_or_else(|| missing("LaunchTemplateSpecification.Version"))?;
    }
    let capacity = target_capacity_specification.as_ref().ok_or_else(|| missing("TargetCapacitySpecification"))?;
    let (target, unit) = target(capacity)?;
    tagging::specified(tag_specifications, "fleet", &KINDS)?;
    options(
        on_demand_options.as_ref(),
        Wanted {
            target,
            unit,
            prioritized: false,
            single_type: false,
            single_zone: false,
            least: 0.0,
            tags: tag_specifications.clone(),
        },
    )
}

fn options(options: Option<&ec2::OnDemandOptionsRequest>, wanted: Wanted) -> Result<Wanted> {
    let ec2::OnDemandOptionsRequest {
        allocation_strategy,
        capacity_reservation_options,
        single_instance_type,
        single_availability_zone,
        min_target_capacity,
        max_total_price,
    } = options.cloned().unwrap_or_default();
    refuse_if(capacity_reservation_options.is_some(), "OnDemandOptions.CapacityReservationOptions")?;
    // There are no prices to add up.
    refuse_if(max_total_price.is_some(), "OnDemandOptions.MaxTotalPrice")?;
    let prioritized = match allocation_strategy.as_deref() {
        None | Some("lowest-price" | "lowestPrice") => false,
        Some("prioritized") => true,
        Some(other) => return Err(invalid_value(brief(other), "OnDemandOptions.AllocationStrategy")),
    };
    let (single_type, single_zone) = (single_instance_type == Some(true), single_availability_zone == Some(true));
    // Terraform sends 0 for what was not said.
    let min_target_capacity = min_target_capacity.filter(|n| *n != 0);
    if min_target_capacity.is_some() && !single_type && !single_zone {
        return Err(combination("MinTargetCapacity needs SingleInstanceType or SingleAvailabilityZone"));
    }
    let least = match min_target_capacity {
        None => 0.0,
        Some(n) if n > 0 && u32::try_from(n).is_ok_and(|n| n <= wanted.target) => f64::from(n),
        Some(n) => return Err(invalid_value(n, "MinTargetCapacity")),
    };
    Ok(Wanted { prioritized, single_type, single_zone, least, ..wanted })
}

/// The on-demand units, and what a unit is.
fn target(capacity: &ec2::TargetCapacitySpecificationRequest) -> Result<(u32, Unit)> {
    let ec2::TargetCapacitySpecificationRequest {
        total_target_capacity,
        on_demand_target_capacity,
        spot_target_capacity,
        default_target_capacity_type,
        target_capacity_unit_type,
    } = capacity;
    let total = total_target_capacity.ok_or_else(|| missing("TargetCapacitySpecification.TotalTargetCapacity"))?;
    let (on_demand, spot) = (on_demand_target_capacity.unwrap_or(0), spot_target_capacity.unwrap_or(0));
    if !(1..=UNITS_MAX).contains(&total) || on_demand < 0 || spot < 0 || on_demand.saturating_add(spot) > total {
        return Err(invalid_value(total, "TargetCapacitySpecification.TotalTargetCapacity"));
    }
    let rest = total - on_demand - spot;
    let on_demand = match default_target_capacity_type.as_deref() {
        Some("on-demand") => on_demand + rest,
        Some("spot") | None if rest == 0 => on_demand,
        Some("spot") => return Err(unsupported("DefaultTargetCapacityType=spot")),
        None => return Err(unsupported("TargetCapacitySpecification without DefaultTargetCapacityType=on-demand")),
        Some(other @ ("capacity-block" | "reserved-capacity")) => {
            return Err(unsupported(&format!("DefaultTargetCapacityType={other}")));
        }
        Some(other) => return Err(invalid_value(brief(other), "DefaultTargetCapacityType")),
    };
    refuse_if(spot > 0, "TargetCapacitySpecification.SpotTargetCapacity")?;
    let unit = match target_capacity_unit_type.as_deref() {
        None | Some("units") => Unit::Weight,
        Some("vcpu") => Unit::Vcpus,
        Some("memory-mib") => Unit::MemoryMib,
        Some(other) => return Err(invalid_value(brief(other), "TargetCapacityUnitType")),
    };
    Ok((u32::try_from(on_demand).unwrap_or_default(), unit))
}

fn sort(candidates: &mut [Candidate], prioritized: bool) {
    if prioritized {
        // What has no priority comes last.
        candidates.sort_by(|a, b| a.priority.unwrap_or(f64::MAX).total_cmp(&b.priority.unwrap_or(f64::MAX)));
    } else {
        candidates.sort_by(|a, b| a.size.total_cmp(&b.size).then(a.units.total_cmp(&b.units)));
    }
}

/// The candidates that may be launched together; each group could be the whole fleet.
fn groups(tx: &mut Tx<Tenant>, candidates: Vec<Candidate>, wanted: &Wanted) -> Vec<Vec<Candidate>> {
    let mut single = candidates;
    if wanted.single_zone {
        single = single.into_iter().flat_map(|candidate| in_each_zone(tx, candidate)).collect();
    }
    let mut groups: Vec<Vec<Candidate>> = Vec::new();
    for candidate in single {
        let alike = |other: &Candidate| {
            (!wanted.single_type || other.kind == candidate.kind)
                && (!wanted.single_zone || other.zone == candidate.zone)
        };
        match groups.iter_mut().find(|group| group.first().is_some_and(alike)) {
            Some(group) => group.push(candidate),
            None => groups.push(vec![candidate]),
        }
    }
    groups
}

/// A candidate that may be anywhere, once for each place.
fn in_each_zone(tx: &mut Tx<Tenant>, candidate: Candidate) -> Vec<Candidate> {
    use awan_model::subnet::Subnet;
    let subnet = candidate.data.get("SubnetId").and_then(Value::as_str);
    let subnet = subnet.or_else(|| candidate.data.get("NetworkInterfaces")?.get(0)?.get("SubnetId")?.as_str());
    if let Some(subnet) = subnet {
        let found = subnet.parse().ok().and_then(|id| tx.find::<Subnet>(&id));
        return vec![Candidate { zone: found.map(|s| s.zone.clone()).or(candidate.zone.clone()), ..candidate }];
    }
    if candidate.zone.is_some() {
        return vec![candidate];
    }
    let mut zones: Vec<_> = tx.list::<Subnet>().iter().filter(|s| s.default_for_zone).map(|s| s.zone.clone()).collect();
    zones.sort_unstable();
    let of_zone = |zone: String| {
        let mut data = candidate.data.clone();
        data.entry("Placement").or_insert_with(|| json!({}))["AvailabilityZone"] = zone.clone().into();
        let (chosen, origin, kind) = (candidate.chosen.clone(), candidate.origin.clone(), candidate.kind.clone());
        Candidate { chosen, origin, kind, data, zone: Some(zone), ..candidate }
    };
    zones.into_iter().map(of_zone).collect()
}

/// The first group that fills the fleet; else the one that fills the most of it, if that is enough.
fn launch(
    tx: &mut Tx<Tenant>,
    id: &str,
    wanted: &Wanted,
    groups: &[Vec<Candidate>],
    failed: &mut Vec<Failed>,
) -> Result<Vec<Launched>> {
    let target = f64::from(wanted.target);
    let units = |launched: &[Launched]| launched.iter().map(|l| l.units).sum::<f64>();
    if let [group] = groups {
        return tx
            .attempt(|tx| {
                let launched = fill(tx, id, wanted, group, failed)?;
                if units(&launched) < wanted.least { Err(None) } else { Ok(launched) }
            })
            .or_else(|e: Option<Error>| e.map_or(Ok(Vec::new()), Err));
    }
    let mut best: Option<(f64, &Vec<Candidate>)> = None;
    for group in groups {
        let tried = tx.attempt(|tx| {
            let launched = fill(tx, id, wanted, group, failed).map_err(Err)?;
            if units(&launched) < target { Err(Ok(units(&launched))) } else { Ok(launched) }
        });
        match tried {
            Ok(launched) => return Ok(launched),
            Err(Err(fault)) => return Err(fault),
            Err(Ok(some)) if some > 0.0 && some >= wanted.least && best.is_none_or(|(most, _)| some > most) => {
                best = Some((some, group));
            }
            Err(Ok(_)) => {}
        }
    }
    // It did so a moment ago, and nothing has changed since.
    best.map_or(Ok(Vec::new()), |(_, group)| fill(tx, id, wanted, group, &mut Vec::new()))
}

fn fill(
    tx: &mut Tx<Tenant>,
    id: &str,
    wanted: &Wanted,
    group: &[Candidate],
    failed: &mut Vec<Failed>,
) -> Result<Vec<Launched>> {
    let mut left = f64::from(wanted.target);
    let mut launched = Vec::new();
    for candidate in group {
        if left <= 0.0 {
            break;
        }
        let most = whole((left / candidate.units).ceil()).min(INSTANCES_MAX);
        match tx.attempt(|tx| run(tx, id, wanted, candidate, most)) {
            Ok(some) => {
                let count = u32::try_from(some.instances.len()).unwrap_or(most);
                left -= some.units;
                launched.push(some);
                if count < most {
                    let short =
                        crate::schedule::no_capacity(&candidate.kind, candidate.zone.as_deref().unwrap_or("any"));
                    failed.push(failure(candidate.chosen.clone(), short)?);
                }
            }
            Err(e) => failed.push(failure(candidate.chosen.clone(), e)?),
        }
    }
    Ok(launched)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a limit of a few thousand")]
fn whole(count: f64) -> u32 {
    count.clamp(0.0, f64::from(INSTANCES_MAX)) as u32
}

fn failure(chosen: String, e: Error) -> Result<Failed> {
    match e {
        Error::Refusal(Refusal { code, message }) => Ok(Failed { chosen, code: code.to_owned(), message }),
        fault @ Error::Fault(_) => Err(fault),
    }
}

/// As many instances as fit of one candidate, but at least one.
fn run(tx: &mut Tx<Tenant>, id: &str, wanted: &Wanted, candidate: &Candidate, most: u32) -> Result<Launched> {
    let mut data = candidate.data.clone();
    let mut specs = ec2::CreateFleetRequest { tag_specifications: wanted.tags.clone(), ..Default::default() };
    specs.tag_specifications.retain(|spec| spec.resource_type.as_deref() != Some("fleet"));
    let tags = data::of(&mut specs)?;
    data::overlay(&mut data, tags);
    data.insert("MinCount".into(), 1.into());
    data.insert("MaxCount".into(), most.into());
    let made = run_instances(tx, data::launch(data)?)?;
    let ids = made.instances.iter().filter_map(|i| i.instance_id.as_deref()?.parse::<InstanceId>().ok());
    let instances: Vec<InstanceId> = ids.collect();
    for instance in &instances {
        candidate.origin.mark(tx, instance.as_str());
        let tag = [("aws:ec2:fleet-id".to_owned(), id.to_owned())];
        tagging::add_reserved(tx, instance.as_str(), tag.into());
    }
    let first = instances.first().ok_or_else(|| Error::fault("a launch made nothing"))?;
    let first = tx.get::<Instance>(first)?;
    let count = f64::from(u32::try_from(instances.len()).unwrap_or(u32::MAX));
    Ok(Launched {
        chosen: candidate.chosen.clone(),
        instances,
        instance_type: first.instance_type.clone(),
        zone: first.zone.clone(),
        subnet: first.subnet.to_string(),
        units: count * candidate.units,
    })
}

/// `fleet-` and a random UUID, as EC2's are.
fn new_id(tx: &mut Tx<Tenant>) -> String {
    let n = u128::from_be_bytes(tx.random());
    let n = n & !(0xf000 << 64 | 0xc000 << 48) | 0x4000 << 64 | 0x8000 << 48;
    let text = format!("{n:032x}");
    let (a, b, c, d, e) = (&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]);
    format!("{}{a}-{b}-{c}-{d}-{e}", Fleet::PREFIX)
}

/// The request as DescribeFleets shows it.
fn asked(req: &ec2::CreateFleetRequest, wanted: &Wanted) -> Result<String> {
    let mut asked = data::of(&mut req.clone())?;
    for name in ["ClientToken", "DryRun", "TagSpecifications"] {
        asked.remove(name);
    }
    if let Some(configs) = asked.get_mut("LaunchTemplateConfigs").and_then(Value::as_array_mut) {
        configs.iter_mut().for_each(candidate::shorten);
    }
    if let Some(capacity) = asked.get_mut("TargetCapacitySpecification") {
        capacity["OnDemandTargetCapacity"] = wanted.target.into();
        capacity["SpotTargetCapacity"] = 0.into();
        capacity["DefaultTargetCapacityType"] = "on-demand".into();
    }
    let strategy = if wanted.prioritized { "prioritized" } else { "lowest-price" };
    asked.entry("OnDemandOptions").or_insert_with(|| json!({}))["AllocationStrategy"] = strategy.into();
    Ok(Value::Object(asked).to_string())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    fn cloud(vcpus: u32) -> Cloud {
        let mut cloud = Cloud::with_capacity(0, 0);
        cloud.join("in-a", "us-east-1a", vcpus);
        cloud.join("in-b", "us-east-1b", vcpus + 4);
        let image = {
            let shown = cloud.tenant("acme").call("DescribeImages", &[("Owner.1", "amazon")]).expect("answers");
            Cloud::ids(&shown, "imageId").remove(0)
        };
        let ask = [("LaunchTemplateName", "web"), ("LaunchTemplateData.ImageId", image.as_str())];
        cloud.tenant("acme").call("CreateLaunchTemplate", &ask).expect("makes");
        cloud
    }

    fn fleet(cloud: &mut Cloud, total: &str, more: &[(&str, &str)]) -> Result<String, String> {
        let mut ask = vec![
            ("Type", "instant"),
            ("TargetCapacitySpecification.TotalTargetCapacity", total),
            ("TargetCapacitySpecification.DefaultTargetCapacityType", "on-demand"),
            ("LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName", "web"),
            ("LaunchTemplateConfigs.1.LaunchTemplateSpecification.Version", "$Latest"),
        ];
        ask.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
        ask.extend(more);
        cloud.tenant("acme").call("CreateFleet", &ask)
    }

    const OVER: &str = "LaunchTemplateConfigs.1.Overrides";

    fn over(n: u32, name: &str) -> String {
        format!("{OVER}.{n}.{name}")
    }

    #[test]
    fn a_fleet_launches_what_its_template_and_overrides_say() {
        let mut cloud = cloud(8);
        let (a, b) = (over(1, "InstanceType"), over(2, "InstanceType"));
        let more = [
            (a.as_str(), "m5.large"),
            (b.as_str(), "t3.nano"),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "fleet"),
            ("TagSpecification.1.Tag.1.Value", "yes"),
            ("ClientToken", "once"),
        ];
        let made = fleet(&mut cloud, "2", &more).expect("launches");
        assert_eq!(Cloud::ids(&made, "instanceType"), ["t3.nano", "t3.nano"], "override, then instances: {made}");
        assert_eq!(fleet(&mut cloud, "2", &more).expect("answers again"), made);
        let ids = cloud.tenant("acme").instances();
        assert_eq!(ids.len(), 2);
        let shown = cloud.tenant("acme").call("DescribeTags", &[]).expect("answers");
        for key in ["aws:ec2:fleet-id", "aws:ec2launchtemplate:id", "fleet"] {
            assert_eq!(Cloud::ids(&shown, "key").iter().filter(|k| *k == key).count(), 2, "{key}");
        }
        cloud.settle();
        cloud.audit();
    }

    #[test]
    fn priorities_and_weights_decide_and_what_is_full_is_told() {
        let mut cloud = cloud(4);
        let names =
            [over(1, "InstanceType"), over(1, "WeightedCapacity"), over(1, "Priority"), over(1, "AvailabilityZone")];
        let others = [over(2, "InstanceType"), over(2, "Priority")];
        let more = [
            (names[0].as_str(), "m5.large"),
            (names[1].as_str(), "2"),
            (names[2].as_str(), "1"),
            (names[3].as_str(), "us-east-1a"),
            (others[0].as_str(), "t3.micro"),
            (others[1].as_str(), "2"),
            ("OnDemandOptions.AllocationStrategy", "prioritized"),
            ("OnDemandOptions.MinTargetCapacity", "0"),
        ];
        // Two of the first fit in its zone, which is 4 units; one of the second makes the rest.
        let made = fleet(&mut cloud, "5", &more).expect("launches");
        assert_eq!(cloud.tenant("acme").instances().len(), 3, "{made}");
        assert!(made.contains("<errorCode>InsufficientInstanceCapacity</errorCode>"), "{made}");
        let id = Cloud::ids(&made, "fleetId").remove(0);
        let shown = cloud.tenant("acme").call("DescribeFleets", &[("FleetId.1", &id)]).expect("answers");
        assert!(shown.contains("<fulfilledCapacity>5</fulfilledCapacity>"), "{shown}");
    }

    #[test]
    fn a_fleet_of_one_zone_is_whole_or_enough_or_nothing() {
        let mut cloud = cloud(2);
        let single = ("OnDemandOptions.SingleAvailabilityZone", "true");
        // Two vCPUs each: one fits in the first zone, three in the second.
        let made = fleet(&mut cloud, "4", &[single, ("OnDemandOptions.MinTargetCapacity", "4")]).expect("answers");
        assert!(Cloud::ids(&made, "instanceType").iter().all(|kind| kind == "t3.micro"));
        assert!(cloud.tenant("acme").instances().is_empty(), "{made}");
        fleet(&mut cloud, "4", &[single, ("OnDemandOptions.MinTargetCapacity", "2")]).expect("launches");
        let ids = cloud.tenant("acme").instances();
        assert_eq!(ids.len(), 3);
        assert!(ids.iter().all(|id| cloud.instance(id).0.zone == "us-east-1b"));
    }

    #[test]
    fn requirements_choose_types() {
        let mut cloud = cloud(16);
        let names = [over(1, "InstanceRequirements.VCpuCount.Min"), over(1, "InstanceRequirements.MemoryMiB.Min")];
        let more = [
            (names[0].as_str(), "4"),
            (names[1].as_str(), "1"),
            ("TargetCapacitySpecification.TargetCapacityUnitType", "vcpu"),
        ];
        let made = fleet(&mut cloud, "8", &more).expect("launches");
        let ids = cloud.tenant("acme").instances();
        assert_eq!(ids.len(), 2, "{made}");
        assert!(ids.iter().all(|id| cloud.instance(id).0.instance_type == "c5.xlarge"));
    }

    #[test]
    fn what_would_not_be_what_it_says_is_refused() {
        let mut cloud = cloud(2);
        for (name, value, code) in [
            ("Type", "maintain", "UnsupportedOperation"),
            ("TargetCapacitySpecification.DefaultTargetCapacityType", "spot", "UnsupportedOperation"),
            ("TargetCapacitySpecification.SpotTargetCapacity", "1", "UnsupportedOperation"),
            ("OnDemandOptions.MaxTotalPrice", "1", "UnsupportedOperation"),
            ("OnDemandOptions.MinTargetCapacity", "1", "InvalidParameterCombination"),
            ("TargetCapacitySpecification.TotalTargetCapacity", "0", "InvalidParameterValue"),
        ] {
            let refusal = fleet(&mut cloud, "1", &[(name, value)]).expect_err(name);
            assert!(refusal.starts_with(code), "{name}: {refusal}");
        }
        let none = ("LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName", "none");
        let made = fleet(&mut cloud, "1", &[none]).expect("tells");
        assert!(made.contains("<errorCode>InvalidLaunchTemplateName.NotFoundException</errorCode>"), "{made}");
        assert!(cloud.tenant("acme").instances().is_empty());
    }
}
