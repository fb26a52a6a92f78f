//! CreateCapacityReservation: hosts keep room for instances of a type, from now on.

use awan_model::capacity::CapacityReservation;
use awan_model::id::CapacityReservationId;
use awan_model::installation::Installation;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::shown;
use crate::actions::ec2::instance::run_instances::instance_kind;
use crate::actions::ec2::region::describe_availability_zones::zone_id;
use crate::actions::ec2::vpc::create_vpc::brief;
use crate::error::{Code, Error, Result, invalid, invalid_value, missing, refuse, refuse_both, refuse_if, unsupported};
use crate::schedule::holds;
use crate::tagging;
use crate::token::Use;

const TOKEN_MAX: usize = 64;
/// Each is looked at by every launch.
const RESERVATIONS_MAX: usize = 1_000;

#[expect(clippy::too_many_lines, reason = "takes eighteen members apart, so that none is forgotten")]
pub fn create_capacity_reservation(
    tx: &mut Tx<Tenant>,
    req: ec2::CreateCapacityReservationRequest,
) -> Result<ec2::CreateCapacityReservationResult> {
    let others = ec2::CreateCapacityReservationRequest { client_token: None, dry_run: None, ..req.clone() };
    let ec2::CreateCapacityReservationRequest {
        client_token,
        instance_type,
        instance_platform,
        availability_zone,
        availability_zone_id,
        tenancy,
        instance_count,
        ebs_optimized,
        ephemeral_storage,
        end_date,
        end_date_type,
        instance_match_criteria,
        tag_specifications,
        dry_run: _,
        outpost_arn,
        placement_group_arn,
        start_date,
        commitment_duration,
        delivery_preference,
    } = req;
    for (there, name) in [
        (outpost_arn.is_some(), "OutpostArn"),
        (placement_group_arn.is_some(), "PlacementGroupArn"),
        (start_date.is_some(), "StartDate"),
        (commitment_duration.is_some(), "CommitmentDuration"),
        (delivery_preference.is_some(), "DeliveryPreference"),
        (tenancy.as_deref() == Some("dedicated"), "Tenancy"),
    ] {
        refuse_if(there, name)?;
    }
    if let Some(other) = tenancy.as_deref().filter(|t| *t != "default") {
        return Err(invalid_value(brief(other), "Tenancy"));
    }
    let token = Use::given("CreateCapacityReservation", client_token.as_deref(), TOKEN_MAX, &format!("{others:?}"))?;
    if let Some(made) = token.as_ref().map(|first| first.made(tx)).transpose()?.flatten() {
        let id = made.first().ok_or_else(|| Error::fault("a token without its reservation"))?;
        let made = tx.get::<CapacityReservation>(&id.parse()?)?;
        return Ok(answer(tx, &made));
    }
    let platform = instance_platform.ok_or_else(|| missing("InstancePlatform"))?;
    if platform != "Linux/UNIX" {
        return Err(unsupported(&format!("InstancePlatform={}", brief(&platform))));
    }
    let kind = instance_kind(tx, &instance_type.ok_or_else(|| missing("InstanceType"))?)?;
    let zone = zone(tx, availability_zone, availability_zone_id)?;
    let tags = tagging::specified(&tag_specifications, "capacity-reservation", &["capacity-reservation"])?;
    if tx.list::<CapacityReservation>().len() >= RESERVATIONS_MAX {
        return Err(refuse(
            Code::ResourceLimitExceeded,
            "The maximum number of capacity reservations has been reached.",
        ));
    }
    let reservation = CapacityReservation {
        home: tx.home().clone(),
        id: CapacityReservationId::made(tx.new_id(CapacityReservationId::PREFIX)),
        instance_type: kind.id.clone(),
        platform,
        zone,
        count: shown::count(instance_count.ok_or_else(|| missing("InstanceCount"))?)?,
        open: shown::is_open(instance_match_criteria.as_deref())?.unwrap_or(true),
        ebs_optimized: ebs_optimized.unwrap_or(false),
        ephemeral_storage: ephemeral_storage.unwrap_or(false),
        end: shown::end(tx, end_date_type.as_deref(), end_date)?,
        cancelled: None,
        token: token.as_ref().map(|t| t.id().to_owned()),
        created: tx.now(),
    };
    tx.put(reservation.clone());
    holds::keep(tx, &reservation, &kind)?;
    tagging::add(tx, reservation.id.as_str(), &tags)?;
    if let Some(first) = token {
        first.keep(tx, vec![reservation.id.to_string()]);
    }
    Ok(answer(tx, &reservation))
}

fn answer(tx: &mut Tx<Tenant>, made: &CapacityReservation) -> ec2::CreateCapacityReservationResult {
    ec2::CreateCapacityReservationResult { capacity_reservation: Some(shown::reservation(tx, made)) }
}

fn zone(tx: &mut Tx<Tenant>, name: Option<String>, id: Option<String>) -> Result<String> {
    refuse_both((name.is_some(), "AvailabilityZone"), (id.is_some(), "AvailabilityZoneId"))?;
    let region = tx.home().region().to_owned();
    let zones = tx.public::<Installation>(&Installation::ID.into()).map(|i| i.zones(&region)).unwrap_or_default();
    let asked = name.as_ref().or(id.as_ref()).cloned().ok_or_else(|| missing("AvailabilityZone"))?;
    let found = zones.into_iter().find(|zone| Some(zone) == name.as_ref() || Some(zone_id(zone)) == id);
    found.ok_or_else(|| invalid(format!("Invalid availability zone: [{}]", brief(&asked))))
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    /// Room for four machines of two vCPUs, and a reservation of so many.
    fn reserved(count: &str, more: &[(&str, &str)]) -> (Cloud, Result<String, String>) {
        let mut cloud = Cloud::with_capacity(8, 1_000_000);
        let mut ask = vec![
            ("InstanceType", "t3.micro"),
            ("InstancePlatform", "Linux/UNIX"),
            ("AvailabilityZone", "us-east-1a"),
            ("InstanceCount", count),
        ];
        ask.extend(more);
        let made = cloud.tenant("acme").call("CreateCapacityReservation", &ask);
        let id = made.map(|made| Cloud::ids(&made, "capacityReservationId").remove(0));
        (cloud, id)
    }

    fn free(cloud: &mut Cloud, id: &str) -> String {
        let ask = [("CapacityReservationId", id)];
        let told = cloud.tenant("acme").call("GetCapacityReservationUsage", &ask).expect("answers");
        Cloud::ids(&told, "availableInstanceCount").remove(0)
    }

    #[test]
    fn what_is_reserved_is_nobody_elses() {
        let (mut cloud, id) = reserved("3", &[]);
        let id = id.expect("there is room");
        let two = [("MinCount", "2"), ("MaxCount", "2"), ("Placement.AvailabilityZone", "us-east-1a")];
        let refusal = cloud.tenant("other").run_with(&two).expect_err("one place is left");
        assert!(refusal.starts_with("InsufficientInstanceCapacity"), "{refusal}");
        let ids = cloud.tenant("acme").run_with(&two).expect("into the reservation");
        assert_eq!(free(&mut cloud, &id), "1");
        let shown = cloud.tenant("acme").call("DescribeInstances", &[("InstanceId.1", &ids[0])]).expect("answers");
        assert!(shown.contains(&format!("<capacityReservationId>{id}</capacityReservationId>")), "{shown}");
        let other = [("InstanceType", "t3.nano"), ("Placement.AvailabilityZone", "us-east-1a")];
        cloud.tenant("acme").run_with(&other).expect("another type takes what is not reserved");
        cloud.tenant("acme").run_with(&other).expect_err("there is no more of that");
        cloud.settle();
        cloud.audit();
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &ids[0])]).expect("stops");
        cloud.settle();
        assert_eq!(free(&mut cloud, &id), "2");
        cloud.tenant("acme").call("StartInstances", &[("InstanceId.1", &ids[0])]).expect("starts");
        assert_eq!(free(&mut cloud, &id), "1");
        cloud.settle();
        cloud.audit();
    }

    #[test]
    fn a_targeted_one_is_for_who_names_it() {
        let (mut cloud, id) = reserved("2", &[("InstanceMatchCriteria", "targeted")]);
        let id = id.expect("there is room");
        cloud.tenant("acme").run_with(&[("Placement.AvailabilityZone", "us-east-1a")]).expect("beside it");
        assert_eq!(free(&mut cloud, &id), "2");
        let target = ("CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId", id.as_str());
        let zone = ("Placement.AvailabilityZone", "us-east-1a");
        cloud.tenant("acme").run_with(&[target, zone, ("MinCount", "2"), ("MaxCount", "2")]).expect("into it");
        assert_eq!(free(&mut cloud, &id), "0");
        let refusal = cloud.tenant("acme").run_with(&[target, zone]).expect_err("is full");
        assert!(refusal.starts_with("ReservationCapacityExceeded"), "{refusal}");
        let refusal = cloud.tenant("other").run_with(&[target, zone]).expect_err("not theirs");
        assert!(refusal.starts_with("InvalidCapacityReservationId.NotFound"), "{refusal}");
        let only = ("CapacityReservationSpecification.CapacityReservationPreference", "capacity-reservations-only");
        let refusal = cloud.tenant("acme").run_with(&[only, zone]).expect_err("no open one");
        assert!(refusal.starts_with("InsufficientInstanceCapacity"), "{refusal}");
        cloud.settle();
        cloud.audit();
    }

    #[test]
    fn it_counts_what_runs_already_and_ends_in_time() {
        let mut cloud = Cloud::with_capacity(4, 1_000_000);
        let zone = ("Placement.AvailabilityZone", "us-east-1a");
        cloud.tenant("acme").run_with(&[zone]).expect("launches");
        let ask = [
            ("InstanceType", "t3.micro"),
            ("InstancePlatform", "Linux/UNIX"),
            ("AvailabilityZoneId", "use1-az1"),
            ("InstanceCount", "2"),
            ("EndDateType", "limited"),
            ("EndDate", "2026-11-25T00:00:00Z"),
        ];
        let made = cloud.tenant("acme").call("CreateCapacityReservation", &ask).expect("one runs, one has room");
        assert_eq!(Cloud::ids(&made, "availableInstanceCount"), ["1"], "{made}");
        let id = Cloud::ids(&made, "capacityReservationId").remove(0);
        cloud.settle();
        cloud.audit();
        cloud.tenant("other").run_with(&[]).expect_err("nothing is left");
        cloud.pass(30 * 24 * 60 * 60 * 1000);
        cloud.settle();
        cloud.audit();
        cloud.tenant("other").run_with(&[]).expect("it has ended");
        let shown = cloud.tenant("acme").call("DescribeCapacityReservations", &[("CapacityReservationId.1", &id)]);
        let refusal = shown.expect_err("long ago");
        assert!(refusal.starts_with("InvalidCapacityReservationId.NotFound"), "{refusal}");
    }

    #[test]
    fn what_cannot_be_reserved_is_refused() {
        for (name, value, code) in [
            ("InstanceCount", "5", "InsufficientInstanceCapacity"),
            ("InstanceCount", "0", "InvalidParameterValue"),
            ("InstancePlatform", "Windows", "UnsupportedOperation"),
            ("InstanceType", "x", "InvalidParameterValue"),
            ("AvailabilityZone", "us-east-1z", "InvalidParameterValue"),
            ("Tenancy", "dedicated", "UnsupportedOperation"),
            ("EndDateType", "limited", "MissingParameter"),
            ("EndDate", "2020-01-01T00:00:00Z", "InvalidParameterValue"),
        ] {
            let mut cloud = Cloud::with_capacity(8, 1_000_000);
            let mut ask = vec![
                ("InstanceType", "t3.micro"),
                ("InstancePlatform", "Linux/UNIX"),
                ("AvailabilityZone", "us-east-1a"),
                ("InstanceCount", "1"),
            ];
            ask.retain(|(other, _)| *other != name);
            ask.push((name, value));
            let refusal = cloud.tenant("acme").call("CreateCapacityReservation", &ask).expect_err(name);
            assert!(refusal.starts_with(code), "{name}: {refusal}");
            cloud.audit();
        }
    }
}
