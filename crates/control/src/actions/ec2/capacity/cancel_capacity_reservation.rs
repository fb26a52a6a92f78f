//! CancelCapacityReservation: its room is anybody's; instances that are in it run on.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::shown;
use crate::error::{Result, missing, refuse_if};
use crate::schedule::holds;

pub fn cancel_capacity_reservation(
    tx: &mut Tx<Tenant>,
    req: ec2::CancelCapacityReservationRequest,
) -> Result<ec2::CancelCapacityReservationResult> {
    let ec2::CancelCapacityReservationRequest {
        capacity_reservation_id,
        dry_run: _,
        apply_cancellation_charges,
        quote_id,
    } = req;
    refuse_if(apply_cancellation_charges.is_some(), "ApplyCancellationCharges")?;
    refuse_if(quote_id.is_some(), "QuoteId")?;
    let id = capacity_reservation_id.ok_or_else(|| missing("CapacityReservationId"))?;
    let mut reservation = shown::active(tx, &id)?;
    reservation.cancelled = Some(tx.now());
    holds::release(tx, &reservation.id);
    tx.put(reservation);
    Ok(ec2::CancelCapacityReservationResult { r#return: Some(true) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_was_reserved_is_free_and_what_runs_in_it_runs_on() {
        let mut cloud = Cloud::with_capacity(4, 1_000_000);
        let ask = [
            ("InstanceType", "t3.micro"),
            ("InstancePlatform", "Linux/UNIX"),
            ("AvailabilityZone", "us-east-1a"),
            ("InstanceCount", "2"),
        ];
        let made = cloud.tenant("acme").call("CreateCapacityReservation", &ask).expect("makes");
        let id = Cloud::ids(&made, "capacityReservationId").remove(0);
        let zone = ("Placement.AvailabilityZone", "us-east-1a");
        let inside = cloud.tenant("acme").run_with(&[zone]).expect("launches").remove(0);
        let which = [("CapacityReservationId", id.as_str())];
        assert!(cloud.tenant("other").call("CancelCapacityReservation", &which).is_err(), "not theirs");
        cloud.tenant("acme").call("CancelCapacityReservation", &which).expect("cancels");
        cloud.settle();
        assert_eq!(cloud.state("acme", &inside), "running");
        cloud.tenant("other").run_with(&[zone]).expect("its room is free");
        let refusal = cloud.tenant("acme").call("CancelCapacityReservation", &which).expect_err("once only");
        assert!(refusal.starts_with("InvalidCapacityReservationState"), "{refusal}");
        cloud.settle();
        cloud.audit();
    }
}
