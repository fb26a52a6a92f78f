//! DescribeRegions.

use awan_model::installation::Installation;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::describe::Filters;
use crate::error::{Result, invalid};

const OPT_IN: &str = "opt-in-not-required";

pub fn describe_regions(tx: &mut Tx<Tenant>, req: ec2::DescribeRegionsRequest) -> Result<ec2::DescribeRegionsResult> {
    // All regions are enabled.
    let ec2::DescribeRegionsRequest { region_names, all_regions: _, dry_run: _, filters } = req;
    let filters = Filters::new(&filters, &["endpoint", "opt-in-status", "region-name"])?;
    let regions = tx.public::<Installation>(&Installation::ID.into()).map(|i| i.regions.clone()).unwrap_or_default();
    if let Some(unknown) = region_names.iter().find(|name| !regions.contains(name)) {
        let shown: String = unknown.chars().take(64).collect();
        return Err(invalid(format!("Invalid region: [{}]", shown.escape_debug())));
    }
    let endpoint = |region: &str| format!("ec2.{region}.amazonaws.com");
    let wanted = |region: &&String| {
        let named = region_names.is_empty() || region_names.contains(region);
        named
            && filters.match_all(|name| {
                vec![match name {
                    "endpoint" => endpoint(region),
                    "opt-in-status" => OPT_IN.into(),
                    _ => (*region).clone(),
                }]
            })
    };
    let shown = |region: &String| ec2::Region {
        opt_in_status: Some(OPT_IN.into()),
        region_name: Some(region.clone()),
        endpoint: Some(endpoint(region)),
        ..Default::default()
    };
    Ok(ec2::DescribeRegionsResult { regions: regions.iter().filter(wanted).map(shown).collect() })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_served_regions_are_shown() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeRegions", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "regionName"), ["us-east-1"]);
    }
}
