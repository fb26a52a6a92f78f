//! Fleets as answers show them.

use awan_model::fleet::{Failed, Fleet, Launched};
use awan_model::instance::{Instance, State, VmReport, state};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;
use awan_wire::json;

use crate::actions::ec2::instance::view::time;
use crate::actions::ec2::region::describe_availability_zones::zone_id;
use crate::error::{Code, Result, refuse};
use crate::tagging;

const LIFECYCLE: &str = "on-demand";

pub fn created(fleet: &Fleet) -> Result<ec2::CreateFleetResult> {
    let instance = |l: &Launched| {
        Ok(ec2::CreateFleetInstance {
            launch_template_and_overrides: Some(json::read(&l.chosen)?),
            lifecycle: Some(LIFECYCLE.into()),
            instance_ids: l.instances.iter().map(ToString::to_string).collect(),
            instance_type: Some(l.instance_type.clone()),
            platform: None,
            availability_zone_id: Some(zone_id(&l.zone)),
            availability_zone: Some(l.zone.clone()),
            subnet_id: Some(l.subnet.clone()),
        })
    };
    let error = |f: &Failed| {
        Ok(ec2::CreateFleetError {
            launch_template_and_overrides: Some(json::read(&f.chosen)?),
            lifecycle: Some(LIFECYCLE.into()),
            error_code: Some(f.code.clone()),
            error_message: Some(f.message.clone()),
        })
    };
    Ok(ec2::CreateFleetResult {
        fleet_id: Some(fleet.id.clone()),
        errors: fleet.failed.iter().map(error).collect::<Result<_>>()?,
        instances: fleet.launched.iter().map(instance).collect::<Result<_>>()?,
    })
}

pub fn described(tx: &mut Tx<Tenant>, fleet: &Fleet) -> Result<ec2::FleetData> {
    let instance = |l: &Launched| {
        Ok(ec2::DescribeFleetsInstances {
            launch_template_and_overrides: Some(json::read(&l.chosen)?),
            lifecycle: Some(LIFECYCLE.into()),
            instance_ids: l.instances.iter().map(ToString::to_string).collect(),
            instance_type: Some(l.instance_type.clone()),
            platform: None,
        })
    };
    let error = |f: &Failed| {
        Ok(ec2::DescribeFleetError {
            launch_template_and_overrides: Some(json::read(&f.chosen)?),
            lifecycle: Some(LIFECYCLE.into()),
            error_code: Some(f.code.clone()),
            error_message: Some(f.message.clone()),
        })
    };
    let tags = tagging::of(tx, &fleet.id);
    Ok(ec2::FleetData {
        activity_status: Some(ACTIVITY.into()),
        create_time: time(fleet.created),
        fleet_id: Some(fleet.id.clone()),
        fleet_state: Some(state_of(tx, fleet).into()),
        client_token: fleet.client_token.clone(),
        fulfilled_capacity: Some(fleet.units()),
        fulfilled_on_demand_capacity: Some(fleet.units()),
        terminate_instances_with_expiration: Some(false),
        replace_unhealthy_instances: Some(false),
        tags: tagging::shown(&tags),
        errors: fleet.failed.iter().map(error).collect::<Result<_>>()?,
        instances: fleet.launched.iter().map(instance).collect::<Result<_>>()?,
        ..json::read(&fleet.asked)?
    })
}

/// The only one that an instant fleet has: all that it would ever launch, it has launched.
pub const ACTIVITY: &str = "fulfilled";

pub fn state_of(tx: &mut Tx<Tenant>, fleet: &Fleet) -> &'static str {
    match fleet.deleted {
        None => "active",
        Some(_) if running(tx, fleet).is_empty() => "deleted",
        Some(_) => "deleted_terminating",
    }
}

/// Its instances that are not terminated.
pub fn running(tx: &mut Tx<Tenant>, fleet: &Fleet) -> Vec<std::sync::Arc<Instance>> {
    let mut found = Vec::new();
    for instance in fleet.instances().filter_map(|id| tx.find::<Instance>(id)).collect::<Vec<_>>() {
        let report = tx.find::<VmReport>(&instance.id);
        if state(&instance, report.as_deref()) != State::Terminated {
            found.push(instance);
        }
    }
    found
}

/// A fleet by an id that has the form of one.
pub fn fleet(tx: &mut Tx<Tenant>, id: &str) -> Result<std::sync::Arc<Fleet>> {
    if !is_id(id) {
        let shown = crate::actions::ec2::vpc::create_vpc::brief(id);
        return Err(refuse(Code::InvalidFleetIdMalformed, format!("The fleet ID '{shown}' is malformed")));
    }
    Ok(tx.get::<Fleet>(&id.to_owned())?)
}

pub fn is_id(id: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    id.strip_prefix(Fleet::PREFIX).is_some_and(|rest| {
        let parts: Vec<&str> = rest.split('-').collect();
        parts.iter().map(|p| p.len()).eq(lengths) && parts.iter().all(|p| hex(p))
    })
}
