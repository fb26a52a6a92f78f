//! Capacity reservations as answers show them.

use awan_model::capacity::CapacityReservation;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;
use awan_wire::shape::Timestamp;

use crate::actions::ec2::instance::view::time;
use crate::actions::ec2::region::describe_availability_zones::zone_id;
use crate::error::{Code, Error, Result, refuse};
use crate::schedule::holds;
use crate::tagging;

/// Total and free machines. What has ended keeps nothing.
pub fn counts(tx: &mut Tx<Tenant>, reservation: &CapacityReservation) -> (u32, u32, u32) {
    let used = holds::in_use(tx, &reservation.id);
    let ended = reservation.ended(tx.now()).is_some();
    let free = if ended { 0 } else { reservation.count.saturating_sub(used) };
    (reservation.count, free, used)
}

pub fn reservation(tx: &mut Tx<Tenant>, r: &CapacityReservation) -> ec2::CapacityReservation {
    let (total, free, used) = counts(tx, r);
    let int = |n: u32| i32::try_from(n).ok();
    let (account, region) = (r.home.account(), r.home.region());
    let allocation =
        ec2::CapacityAllocation { allocation_type: Some("used".into()), count: int(used), ..Default::default() };
    ec2::CapacityReservation {
        capacity_reservation_id: Some(r.id.to_string()),
        owner_id: Some(account.into()),
        capacity_reservation_arn: Some(format!("arn:aws:ec2:{region}:{account}:capacity-reservation/{}", r.id)),
        availability_zone_id: Some(zone_id(&r.zone)),
        instance_type: Some(r.instance_type.clone()),
        instance_platform: Some(r.platform.clone()),
        availability_zone: Some(r.zone.clone()),
        tenancy: Some("default".into()),
        total_instance_count: int(total),
        available_instance_count: int(free),
        ebs_optimized: Some(r.ebs_optimized),
        ephemeral_storage: Some(r.ephemeral_storage),
        state: Some(r.state(tx.now()).into()),
        start_date: time(r.created),
        end_date: r.end.and_then(time),
        end_date_type: Some(if r.end.is_some() { "limited" } else { "unlimited" }.into()),
        instance_match_criteria: Some(if r.open { "open" } else { "targeted" }.into()),
        create_date: time(r.created),
        tags: tagging::shown(&tagging::of(tx, r.id.as_str())),
        capacity_allocations: (used > 0).then_some(allocation).into_iter().collect(),
        reservation_type: Some("default".into()),
        ..Default::default()
    }
}

/// A reservation that can be changed.
pub fn active(tx: &mut Tx<Tenant>, id: &str) -> Result<CapacityReservation> {
    let found = tx.get::<CapacityReservation>(&id.parse()?)?;
    match found.ended(tx.now()) {
        None => Ok((*found).clone()),
        Some(_) => Err(not_active(&found, found.state(tx.now()))),
    }
}

fn not_active(reservation: &CapacityReservation, state: &str) -> Error {
    let message = format!("The capacity reservation '{}' is not active: it is {state}", reservation.id);
    refuse(Code::InvalidCapacityReservationState, message)
}

/// When a reservation ends, from `EndDateType` and `EndDate`.
pub fn end(tx: &Tx<Tenant>, kind: Option<&str>, date: Option<Timestamp>) -> Result<Option<awan_state::Millis>> {
    use crate::actions::ec2::vpc::create_vpc::brief;
    use crate::error::{combination, invalid, invalid_value, missing};
    match (kind, date) {
        (None | Some("unlimited"), None) => Ok(None),
        (Some("unlimited"), Some(_)) => Err(combination("EndDate cannot be used with an EndDateType of unlimited")),
        (Some("limited"), None) => Err(missing("EndDate")),
        // EC2 takes a date for what it is; the type then follows from it.
        (None | Some("limited"), Some(at)) => {
            let at = u64::try_from(at.0).ok().filter(|at| *at > tx.now());
            at.map(Some).ok_or_else(|| invalid("The end date of a capacity reservation must lie in the future"))
        }
        (Some(other), _) => Err(invalid_value(brief(other), "EndDateType")),
    }
}

pub fn is_open(text: Option<&str>) -> Result<Option<bool>> {
    match text {
        None => Ok(None),
        Some("open") => Ok(Some(true)),
        Some("targeted") => Ok(Some(false)),
        Some(other) => {
            let shown = crate::actions::ec2::vpc::create_vpc::brief(other);
            Err(crate::error::invalid_value(shown, "InstanceMatchCriteria"))
        }
    }
}

/// Source: CreateCapacityReservation, EC2 API reference.
pub fn count(n: i32) -> Result<u32> {
    let count = u32::try_from(n).ok().filter(|n| (1..=1_000).contains(n));
    count.ok_or_else(|| crate::error::invalid_value(n, "InstanceCount"))
}
