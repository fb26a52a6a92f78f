//! DescribeCapacityReservations. One that ended is shown for an hour.

use awan_model::capacity::CapacityReservation;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::shown;
use crate::actions::ec2::instance::view::text_time;
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

const FILTERS: &[&str] = &[
    "tag:*",
    "availability-zone",
    "capacity-reservation-fleet-id",
    "end-date",
    "end-date-type",
    "instance-match-criteria",
    "instance-platform",
    "instance-type",
    "outpost-arn",
    "owner-id",
    "placement-group-arn",
    "start-date",
    "state",
    "tenancy",
];

pub fn describe_capacity_reservations(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeCapacityReservationsRequest,
) -> Result<ec2::DescribeCapacityReservationsResult> {
    let ec2::DescribeCapacityReservationsRequest {
        capacity_reservation_ids,
        next_token,
        max_results,
        filters,
        dry_run: _,
    } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !capacity_reservation_ids.is_empty();
    let asked = (max_results, next_token.as_deref());
    let page = Page::new(tx, "DescribeCapacityReservations", asked, (1, 1000), named)?;
    let mut found = Vec::new();
    for id in &capacity_reservation_ids {
        found.push(tx.get::<CapacityReservation>(&id.parse()?)?);
    }
    if !named {
        found = page.candidates::<CapacityReservation>(tx, !filters.is_empty());
    }
    let now = tx.now();
    let mut kept = Vec::new();
    for r in found {
        let tags = tagging::of(tx, r.id.as_str());
        let values = |name: &str| match name {
            "availability-zone" => vec![r.zone.clone()],
            "end-date" => r.end.and_then(text_time).into_iter().collect(),
            "end-date-type" => vec![if r.end.is_some() { "limited" } else { "unlimited" }.into()],
            "instance-match-criteria" => vec![if r.open { "open" } else { "targeted" }.into()],
            "instance-platform" => vec![r.platform.clone()],
            "instance-type" => vec![r.instance_type.clone()],
            "owner-id" => vec![r.home.account().into()],
            "start-date" => text_time(r.created).into_iter().collect(),
            "state" => vec![r.state(now).into()],
            "tenancy" => vec!["default".into()],
            // Of what there is not: fleets of reservations, Outposts, reservations in a placement group.
            "capacity-reservation-fleet-id" | "outpost-arn" | "placement-group-arn" => Vec::new(),
            tag => tagging::filter_values(&tags, tag),
        };
        if filters.match_all(values) {
            kept.push(r);
        }
    }
    let (mut kept, next_token) = page.cut(kept, |r| r.id.clone());
    kept.dedup();
    let capacity_reservations = kept.iter().map(|r| shown::reservation(tx, r)).collect();
    Ok(ec2::DescribeCapacityReservationsResult { next_token, capacity_reservations })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn reservations_are_found_by_filters() {
        let mut cloud = Cloud::new();
        for kind in ["t3.micro", "m5.large"] {
            let ask = [
                ("InstanceType", kind),
                ("InstancePlatform", "Linux/UNIX"),
                ("AvailabilityZone", "us-east-1a"),
                ("InstanceCount", "1"),
            ];
            cloud.tenant("acme").call("CreateCapacityReservation", &ask).expect("makes");
        }
        let mut ask = |who: &str, name: &str, value: &str| {
            let ask = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
            let shown = cloud.tenant(who).call("DescribeCapacityReservations", &ask).expect("answers");
            Cloud::ids(&shown, "instanceType")
        };
        assert_eq!(ask("acme", "instance-type", "m5.*"), ["m5.large"]);
        assert_eq!(ask("acme", "state", "active").len(), 2);
        assert!(ask("acme", "state", "cancelled").is_empty());
        assert!(ask("other", "state", "active").is_empty());
    }
}
