//! DescribeAvailabilityZones.

use awan_model::installation::Installation;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::describe::Filters;
use crate::error::{Result, invalid};

const FILTERS: &[&str] = &[
    "group-long-name",
    "group-name",
    "message",
    "opt-in-status",
    "parent-zone-id",
    "parent-zone-name",
    "region-name",
    "state",
    "zone-id",
    "zone-name",
    "zone-type",
];

/// `us-east-1a` → `use1-az1`: the id that EC2 gives the zone, for names of EC2's form.
pub fn zone_id(zone: &str) -> String {
    let (region, letter) = zone.split_at(zone.len().saturating_sub(1));
    let number = letter.bytes().next().map_or(1, |b| i32::from(b.saturating_sub(b'a')) + 1);
    let parts: Vec<&str> = region.split('-').collect();
    let short = match parts[..] {
        [area, direction, n] => {
            let direction = match direction {
                "northeast" => "ne".to_owned(),
                "northwest" => "nw".to_owned(),
                "southeast" => "se".to_owned(),
                "southwest" => "sw".to_owned(),
                other => other.chars().take(1).collect(),
            };
            format!("{area}{direction}{n}")
        }
        _ => region.replace('-', ""),
    };
    format!("{short}-az{number}")
}

pub fn describe_availability_zones(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeAvailabilityZonesRequest,
) -> Result<ec2::DescribeAvailabilityZonesResult> {
    // All zones are enabled.
    let ec2::DescribeAvailabilityZonesRequest { zone_names, zone_ids, all_availability_zones: _, dry_run: _, filters } =
        req;
    let filters = Filters::new(&filters, FILTERS)?;
    let region = tx.home().region().to_owned();
    let zones = tx.public::<Installation>(&Installation::ID.into()).map(|i| i.zones(&region)).unwrap_or_default();
    let unknown = |name: &str| {
        let shown: String = name.chars().take(64).collect();
        Err(invalid(format!("Invalid availability zone: [{}]", shown.escape_debug())))
    };
    if let Some(name) = zone_names.iter().find(|name| !zones.contains(name)) {
        return unknown(name);
    }
    if let Some(id) = zone_ids.iter().find(|id| !zones.iter().any(|z| zone_id(z) == **id)) {
        return unknown(id);
    }
    let named = |zone: &String| zone_names.contains(zone) || zone_ids.contains(&zone_id(zone));
    let all = zone_names.is_empty() && zone_ids.is_empty();
    let group = format!("{region}-zg-1");
    let long = format!("{region} 1");
    let values = |zone: &str, name: &str| match name {
        "group-name" => vec![group.clone()],
        "group-long-name" => vec![long.clone()],
        "opt-in-status" => vec!["opt-in-not-required".into()],
        "region-name" => vec![region.clone()],
        "state" => vec!["available".into()],
        "zone-id" => vec![zone_id(zone)],
        "zone-name" => vec![zone.to_owned()],
        "zone-type" => vec!["availability-zone".into()],
        _ => Vec::new(),
    };
    let shown = |zone: &String| ec2::AvailabilityZone {
        opt_in_status: Some("opt-in-not-required".into()),
        region_name: Some(region.clone()),
        zone_name: Some(zone.clone()),
        zone_id: Some(zone_id(zone)),
        group_name: Some(group.clone()),
        group_long_name: Some(long.clone()),
        network_border_group: Some(region.clone()),
        zone_type: Some("availability-zone".into()),
        state: Some("available".into()),
        ..Default::default()
    };
    let wanted = zones.iter().filter(|z| (all || named(z)) && filters.match_all(|name| values(z, name)));
    Ok(ec2::DescribeAvailabilityZonesResult { availability_zones: wanted.map(shown).collect() })
}

#[cfg(test)]
mod tests {
    use super::zone_id;
    use crate::testing::Cloud;

    #[test]
    fn zones_have_ec2s_ids() {
        let names = ["us-east-1a", "ap-southeast-3c", "eu-west-2b", "home1a"];
        assert_eq!(names.map(zone_id).join(" "), "use1-az1 apse3-az3 euw2-az2 home1-az1");
    }

    #[test]
    fn the_zones_of_the_region_are_shown() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeAvailabilityZones", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "zoneName"), ["us-east-1a", "us-east-1b", "us-east-1c"]);
    }
}
