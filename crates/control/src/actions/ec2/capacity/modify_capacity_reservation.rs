//! ModifyCapacityReservation: more or fewer machines, another end, for whom it is.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::shown;
use crate::actions::ec2::instance::run_instances::instance_kind;
use crate::error::{Code, Result, missing, refuse, refuse_if};
use crate::schedule::holds;

pub fn modify_capacity_reservation(
    tx: &mut Tx<Tenant>,
    req: ec2::ModifyCapacityReservationRequest,
) -> Result<ec2::ModifyCapacityReservationResult> {
    let ec2::ModifyCapacityReservationRequest {
        capacity_reservation_id,
        instance_count,
        end_date,
        end_date_type,
        // Reserved by EC2; they mean nothing there either.
        accept: _,
        dry_run: _,
        additional_info: _,
        instance_match_criteria,
        accept_modification_terms,
        start_date,
        quote_id,
    } = req;
    refuse_if(accept_modification_terms == Some(true), "AcceptModificationTerms")?;
    refuse_if(start_date.is_some(), "StartDate")?;
    refuse_if(quote_id.is_some(), "QuoteId")?;
    let mut changed = shown::active(tx, &capacity_reservation_id.ok_or_else(|| missing("CapacityReservationId"))?)?;
    if let Some(n) = instance_count {
        changed.count = shown::count(n)?;
    }
    if end_date.is_some() || end_date_type.is_some() {
        changed.end = shown::end(tx, end_date_type.as_deref(), end_date)?;
    }
    if let Some(open) = shown::is_open(instance_match_criteria.as_deref())?.filter(|open| *open != changed.open) {
        if holds::in_use(tx, &changed.id) > 0 {
            let message = format!("The capacity reservation '{}' is in use: its eligibility cannot change", changed.id);
            return Err(refuse(Code::InvalidCapacityReservationState, message));
        }
        changed.open = open;
    }
    let kind = instance_kind(tx, &changed.instance_type)?;
    tx.put(changed.clone());
    holds::keep(tx, &changed, &kind)?;
    Ok(ec2::ModifyCapacityReservationResult { r#return: Some(true), ..Default::default() })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_reservation_grows_into_what_is_free_and_shrinks_to_what_is_used() {
        let mut cloud = Cloud::with_capacity(8, 1_000_000);
        let ask = [
            ("InstanceType", "t3.micro"),
            ("InstancePlatform", "Linux/UNIX"),
            ("AvailabilityZone", "us-east-1a"),
            ("InstanceCount", "1"),
        ];
        let made = cloud.tenant("acme").call("CreateCapacityReservation", &ask).expect("makes");
        let id = Cloud::ids(&made, "capacityReservationId").remove(0);
        let modify = |cloud: &mut Cloud, name: &str, value: &str| {
            let ask = [("CapacityReservationId", id.as_str()), (name, value)];
            cloud.tenant("acme").call("ModifyCapacityReservation", &ask).map(drop)
        };
        modify(&mut cloud, "InstanceCount", "4").expect("there is room");
        let refusal = modify(&mut cloud, "InstanceCount", "5").expect_err("there is no more");
        assert!(refusal.starts_with("InsufficientInstanceCapacity"), "{refusal}");
        let two = [("MinCount", "2"), ("MaxCount", "2"), ("Placement.AvailabilityZone", "us-east-1a")];
        cloud.tenant("other").run_with(&two).expect_err("all of it is reserved");
        cloud.tenant("acme").run_with(&two).expect("into it");
        let refusal = modify(&mut cloud, "InstanceCount", "1").expect_err("two are in use");
        assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
        let refusal = modify(&mut cloud, "InstanceMatchCriteria", "targeted").expect_err("in use");
        assert!(refusal.starts_with("InvalidCapacityReservationState"), "{refusal}");
        modify(&mut cloud, "InstanceCount", "2").expect("what is idle goes");
        cloud.tenant("other").run_with(&two).expect("and is free for others");
        modify(&mut cloud, "EndDate", "2027-01-01T00:00:00Z").expect("ends later");
        modify(&mut cloud, "EndDateType", "unlimited").expect("or never");
        cloud.settle();
        cloud.audit();
    }
}
