//! The ways in which a fleet may launch: each launch template with each of its overrides, and with each instance type
//! that an override's requirements find.

use awan_model::instance_type::InstanceType;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;
use awan_wire::json;
use serde_json::{Value, json};

use crate::actions::ec2::instance_type::requirements;
use crate::actions::ec2::template::applied::{self, Origin};
use crate::actions::ec2::template::data::{self, Data};
use crate::error::{Error, Result, combination, invalid, invalid_value};

/// One way to launch.
pub struct Candidate {
    /// The launch template and the override, as answers show them.
    pub chosen: String,
    /// A whole request, but for its counts.
    pub data: Data,
    pub origin: Origin,
    pub kind: String,
    /// The size of the type, in place of a price: per unit, what is smaller is cheaper.
    pub size: f64,
    pub units: f64,
    pub priority: Option<f64>,
    /// `None`: any zone with a default subnet.
    pub zone: Option<String>,
}

/// A template and override from which nothing can be launched, and why.
pub type Unfit = (String, Error);

/// How the units of a fleet are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Weight,
    Vcpus,
    MemoryMib,
}

pub fn all(
    tx: &mut Tx<Tenant>,
    configs: &[ec2::FleetLaunchTemplateConfigRequest],
    unit: Unit,
) -> Result<(Vec<Candidate>, Vec<Unfit>)> {
    let (mut candidates, mut unfit) = (Vec::new(), Vec::new());
    for config in configs {
        let spec = config.launch_template_specification.clone().unwrap_or_default();
        let none = [ec2::FleetLaunchTemplateOverridesRequest::default()];
        let overrides = if config.overrides.is_empty() { &none[..] } else { &config.overrides };
        for over in overrides {
            match of_override(tx, &spec, over, unit) {
                Ok(found) => candidates.extend(found),
                Err(fault @ Error::Fault(_)) => return Err(fault),
                Err(refusal) => unfit.push((chosen(&spec, over, None)?, refusal)),
            }
        }
    }
    Ok((candidates, unfit))
}

/// As answers show it: without what EC2 does not show of a request.
fn chosen(
    spec: &ec2::FleetLaunchTemplateSpecificationRequest,
    over: &ec2::FleetLaunchTemplateOverridesRequest,
    kind: Option<&str>,
) -> Result<String> {
    let mut value = json!({ "LaunchTemplateSpecification": data::of(&mut spec.clone())?, "Overrides": data::of(&mut over.clone())? });
    if let Some(kind) = kind {
        value["Overrides"]["InstanceType"] = kind.into();
    }
    shorten(&mut value);
    Ok(value.to_string())
}

/// Takes from a launch template config what only requests have.
pub fn shorten(config: &mut Value) {
    if let Some(spec) = config.get_mut("LaunchTemplateSpecification").and_then(Value::as_object_mut) {
        spec.remove("LaunchTemplateSpecificationUserData");
    }
    let overrides = match config.get_mut("Overrides") {
        Some(Value::Array(many)) => many.iter_mut().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    };
    for over in overrides.into_iter().filter_map(Value::as_object_mut) {
        for name in ["IamInstanceProfile", "KeyName", "MetadataOptions"] {
            over.remove(name);
        }
        if let Some(placement) = over.get_mut("Placement").and_then(Value::as_object_mut) {
            placement.retain(|name, _| name == "GroupName");
        }
    }
}

fn of_override(
    tx: &mut Tx<Tenant>,
    spec: &ec2::FleetLaunchTemplateSpecificationRequest,
    over: &ec2::FleetLaunchTemplateOverridesRequest,
    unit: Unit,
) -> Result<Vec<Candidate>> {
    let ec2::FleetLaunchTemplateSpecificationRequest {
        launch_template_id,
        launch_template_name,
        version,
        launch_template_specification_user_data,
    } = spec.clone();
    if over.instance_type.is_some() && over.instance_requirements.is_some() {
        return Err(combination("InstanceType and InstanceRequirements may not be specified together"));
    }
    let named = ec2::LaunchTemplateSpecification { launch_template_id, launch_template_name, version };
    let (mut under, origin) = applied::behind(tx, named)?;
    lay(&mut under, over)?;
    if let Some(text) = launch_template_specification_user_data {
        under.insert("UserData".into(), text.into());
    }
    if let Some(image) = under.get("ImageId").and_then(Value::as_str) {
        let image = crate::actions::ec2::template::alias::resolved(tx, image)?;
        under.insert("ImageId".into(), image.into());
    }
    let asked = match (&over.instance_requirements, under.remove("InstanceRequirements")) {
        (Some(asked), _) => Some(asked.clone()),
        (None, Some(asked)) => Some(json::read(&asked.to_string())?),
        (None, None) => None,
    };
    let kinds = match asked {
        Some(asked) => requirements::matching(tx, &asked)?,
        None => {
            let named = under.get("InstanceType").and_then(Value::as_str).unwrap_or("t3.micro").to_owned();
            vec![crate::actions::ec2::instance::run_instances::instance_kind(tx, &named)?]
        }
    };
    if kinds.is_empty() {
        return Err(invalid("No instance type matches the given instance requirements"));
    }
    kinds.into_iter().map(|kind| candidate(spec, over, &under, origin.clone(), &kind, unit)).collect()
}

fn candidate(
    spec: &ec2::FleetLaunchTemplateSpecificationRequest,
    over: &ec2::FleetLaunchTemplateOverridesRequest,
    under: &Data,
    origin: Origin,
    kind: &InstanceType,
    unit: Unit,
) -> Result<Candidate> {
    let mut data = under.clone();
    data.insert("InstanceType".into(), kind.id.clone().into());
    let memory = f64::from(u32::try_from(kind.memory_mib).unwrap_or(u32::MAX));
    let units = match unit {
        Unit::Weight => over.weighted_capacity.unwrap_or(1.0),
        Unit::Vcpus => f64::from(kind.vcpus),
        Unit::MemoryMib => memory,
    };
    if units <= 0.0 {
        return Err(invalid_value(units, "WeightedCapacity"));
    }
    let zone = data.get("Placement").and_then(|p| p.get("AvailabilityZone")).and_then(Value::as_str);
    Ok(Candidate {
        chosen: chosen(spec, over, Some(&kind.id))?,
        zone: zone.map(str::to_owned),
        data,
        origin,
        kind: kind.id.clone(),
        size: (f64::from(kind.vcpus) + memory / 4096.0) / units,
        units,
        priority: over.priority,
    })
}

/// Lays an override over a template's data. A subnet goes to the first interface, where the template has one.
fn lay(under: &mut Data, over: &ec2::FleetLaunchTemplateOverridesRequest) -> Result<()> {
    let mut over = data::of(&mut over.clone())?;
    // Units, priorities and the price of spot capacity are the fleet's own; requirements become types.
    for name in ["MaxPrice", "WeightedCapacity", "Priority", "InstanceRequirements"] {
        over.remove(name);
    }
    for name in ["AvailabilityZone", "AvailabilityZoneId"] {
        if let Some(zone) = over.remove(name) {
            over.entry("Placement").or_insert_with(|| json!({}))[name] = zone;
        }
    }
    let subnet = over.remove("SubnetId");
    data::overlay(under, over);
    let Some(subnet) = subnet else { return Ok(()) };
    if subnet.as_str().is_some_and(|id| id.contains(',')) {
        return Err(invalid("A fleet of type instant can have only one subnet ID in an override"));
    }
    match under.get_mut("NetworkInterfaces").and_then(Value::as_array_mut) {
        Some(interfaces) => {
            let first = |i: &&mut Value| i.get("DeviceIndex").and_then(Value::as_i64).unwrap_or(0) == 0;
            if let Some(interface) = interfaces.iter_mut().find(first) {
                interface["SubnetId"] = subnet;
            }
        }
        None => {
            under.insert("SubnetId".into(), subnet);
        }
    }
    Ok(())
}
