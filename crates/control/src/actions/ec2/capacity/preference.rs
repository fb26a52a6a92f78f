//! `CapacityReservationSpecification`: in which capacity reservations an instance may run.

use awan_model::capacity::{CapacityReservation, Preference};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::vpc::create_vpc::brief;
use crate::error::{Result, combination, invalid_value, refuse_both, refuse_if};

/// What a request chose; any open one that matches, where it says nothing.
pub fn chosen(tx: &mut Tx<Tenant>, asked: Option<ec2::CapacityReservationSpecification>) -> Result<Preference> {
    let ec2::CapacityReservationSpecification { capacity_reservation_preference, capacity_reservation_target } =
        asked.unwrap_or_default();
    let target = match capacity_reservation_target {
        None => None,
        Some(target) => {
            let ec2::CapacityReservationTarget { capacity_reservation_id, capacity_reservation_resource_group_arn } =
                target;
            let name = "CapacityReservationTarget.CapacityReservationResourceGroupArn";
            refuse_if(capacity_reservation_resource_group_arn.is_some(), name)?;
            capacity_reservation_id
        }
    };
    let preference = match capacity_reservation_preference.as_deref() {
        None => None,
        Some("open") => Some(Preference::Open),
        Some("none") => Some(Preference::Without),
        Some("capacity-reservations-only") => Some(Preference::Only),
        Some(other) => return Err(invalid_value(brief(other), "CapacityReservationPreference")),
    };
    match (preference, target) {
        (preference, None) => Ok(preference.unwrap_or_default()),
        // A target is the only place in any case.
        (None | Some(Preference::Only), Some(id)) => {
            Ok(Preference::Target(tx.get::<CapacityReservation>(&id.parse()?)?.id.clone()))
        }
        (Some(_), Some(_)) => {
            refuse_both((true, "CapacityReservationTarget"), (true, "CapacityReservationPreference"))?;
            Err(combination("A target is no preference"))
        }
    }
}

pub fn shown(preference: &Preference) -> ec2::CapacityReservationSpecificationResponse {
    let (name, target) = match preference {
        Preference::Open => (Some("open"), None),
        Preference::Without => (Some("none"), None),
        Preference::Only => (Some("capacity-reservations-only"), None),
        Preference::Target(id) => (None, Some(id.to_string())),
    };
    ec2::CapacityReservationSpecificationResponse {
        capacity_reservation_preference: name.map(Into::into),
        capacity_reservation_target: target.map(|id| ec2::CapacityReservationTargetResponse {
            capacity_reservation_id: Some(id),
            capacity_reservation_resource_group_arn: None,
        }),
    }
}
