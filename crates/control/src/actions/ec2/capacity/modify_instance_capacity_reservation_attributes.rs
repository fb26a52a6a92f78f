//! ModifyInstanceCapacityReservationAttributes: in which reservations a stopped instance will run.

use awan_model::instance::{Instance, State, VmReport, state};
use awan_model::options::Options;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::preference;
use crate::error::{Code, Result, missing, refuse};

pub fn modify_instance_capacity_reservation_attributes(
    tx: &mut Tx<Tenant>,
    req: ec2::ModifyInstanceCapacityReservationAttributesRequest,
) -> Result<ec2::ModifyInstanceCapacityReservationAttributesResult> {
    let ec2::ModifyInstanceCapacityReservationAttributesRequest {
        instance_id,
        capacity_reservation_specification,
        dry_run: _,
    } = req;
    let id = instance_id.ok_or_else(|| missing("InstanceId"))?;
    let asked = capacity_reservation_specification.ok_or_else(|| missing("CapacityReservationSpecification"))?;
    let instance = tx.get::<Instance>(&id.parse()?)?;
    let report = tx.find::<VmReport>(&instance.id);
    let now = state(&instance, report.as_deref());
    if now != State::Stopped {
        let message = format!("The instance '{id}' is {now}: its capacity reservation can change when it is stopped");
        return Err(refuse(Code::IncorrectInstanceState, message));
    }
    let capacity = preference::chosen(tx, Some(asked))?;
    let options = Options { capacity, ..instance.options.clone() };
    tx.put(Instance { options, ..(*instance).clone() });
    Ok(ec2::ModifyInstanceCapacityReservationAttributesResult { r#return: Some(true) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_stopped_instance_can_be_sent_into_a_reservation() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let zone = cloud.instance(&id).0.zone;
        let ask = [
            ("InstanceType", "t3.micro"),
            ("InstancePlatform", "Linux/UNIX"),
            ("AvailabilityZone", zone.as_str()),
            ("InstanceCount", "1"),
            ("InstanceMatchCriteria", "targeted"),
        ];
        let made = cloud.tenant("acme").call("CreateCapacityReservation", &ask).expect("makes");
        let reservation = Cloud::ids(&made, "capacityReservationId").remove(0);
        let target = "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId";
        let ask = [("InstanceId", id.as_str()), (target, reservation.as_str())];
        let action = "ModifyInstanceCapacityReservationAttributes";
        let refusal = cloud.tenant("acme").call(action, &ask).expect_err("it runs");
        assert!(refusal.starts_with("IncorrectInstanceState"), "{refusal}");
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &id)]).expect("stops");
        cloud.settle();
        cloud.tenant("acme").call(action, &ask).expect("modifies");
        cloud.tenant("acme").call("StartInstances", &[("InstanceId.1", &id)]).expect("starts");
        let told = cloud
            .tenant("acme")
            .call("GetCapacityReservationUsage", &[("CapacityReservationId", &reservation)])
            .expect("answers");
        assert_eq!(Cloud::ids(&told, "usedInstanceCount"), ["1"]);
        cloud.settle();
        cloud.audit();
    }
}
