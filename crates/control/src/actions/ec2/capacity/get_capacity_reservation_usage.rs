//! GetCapacityReservationUsage. Reservations are not shared between accounts, so the owner is the only user.

use awan_model::capacity::CapacityReservation;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::shown;
use crate::describe::Page;
use crate::error::{Result, missing};

pub fn get_capacity_reservation_usage(
    tx: &mut Tx<Tenant>,
    req: ec2::GetCapacityReservationUsageRequest,
) -> Result<ec2::GetCapacityReservationUsageResult> {
    let ec2::GetCapacityReservationUsageRequest { capacity_reservation_id, next_token, max_results, dry_run: _ } = req;
    let asked = (max_results, next_token.as_deref());
    let page = Page::new(tx, "GetCapacityReservationUsage", asked, (1, 1000), false)?;
    let id = capacity_reservation_id.ok_or_else(|| missing("CapacityReservationId"))?;
    let reservation = tx.get::<CapacityReservation>(&id.parse()?)?;
    let (total, free, used) = shown::counts(tx, &reservation);
    let int = |n: u32| i32::try_from(n).ok();
    let usage =
        ec2::InstanceUsage { account_id: Some(reservation.home.account().into()), used_instance_count: int(used) };
    let usages = if used > 0 { vec![usage] } else { Vec::new() };
    let (instance_usages, next_token) = page.cut(usages, |usage| usage.account_id.clone().unwrap_or_default());
    Ok(ec2::GetCapacityReservationUsageResult {
        next_token,
        capacity_reservation_id: Some(reservation.id.to_string()),
        instance_type: Some(reservation.instance_type.clone()),
        total_instance_count: int(total),
        available_instance_count: int(free),
        state: Some(reservation.state(tx.now()).into()),
        instance_usages,
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_usage_of_nobodys_reservation_is_not_told() {
        let mut cloud = Cloud::new();
        let ask = [("CapacityReservationId", "cr-00000000000000000")];
        let refusal = cloud.tenant("acme").call("GetCapacityReservationUsage", &ask).expect_err("not there");
        assert!(refusal.starts_with("InvalidCapacityReservationId.NotFound"), "{refusal}");
    }
}
