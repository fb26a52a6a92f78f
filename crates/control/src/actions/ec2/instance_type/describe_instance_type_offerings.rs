//! DescribeInstanceTypeOfferings: every type is offered in every zone.

use awan_model::installation::Installation;
use awan_model::instance_type::InstanceType;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::region::describe_availability_zones::zone_id;
use crate::describe::{Filters, Page};
use crate::error::{Result, invalid_value};

pub fn describe_instance_type_offerings(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeInstanceTypeOfferingsRequest,
) -> Result<ec2::DescribeInstanceTypeOfferingsResult> {
    let ec2::DescribeInstanceTypeOfferingsRequest { dry_run: _, location_type, filters, max_results, next_token } = req;
    let filters = Filters::new(&filters, &["location", "instance-type"])?;
    let page = Page::new(tx, "DescribeInstanceTypeOfferings", (max_results, next_token.as_deref()), (5, 1000), false)?;
    let region = tx.home().region().to_owned();
    let zones = tx.public::<Installation>(&Installation::ID.into()).map(|i| i.zones(&region)).unwrap_or_default();
    let location_type = location_type.unwrap_or_else(|| "region".into());
    let locations = match location_type.as_str() {
        "region" => vec![region],
        "availability-zone" => zones,
        "availability-zone-id" => zones.iter().map(|z| zone_id(z)).collect(),
        other => return Err(invalid_value(other.chars().take(64).collect::<String>().escape_debug(), "locationType")),
    };
    let mut offerings = Vec::new();
    for kind in tx.all_public::<InstanceType>() {
        for location in &locations {
            let values = |name: &str| vec![if name == "location" { location.clone() } else { kind.id.clone() }];
            if filters.match_all(values) {
                offerings.push((kind.id.clone(), location.clone()));
            }
        }
    }
    let (offerings, next_token) = page.cut(offerings, |(kind, location)| format!("{kind} {location}"));
    let shown = |(kind, location): (String, String)| ec2::InstanceTypeOffering {
        instance_type: Some(kind),
        location_type: Some(location_type.clone()),
        location: Some(location),
    };
    let instance_type_offerings = offerings.into_iter().map(shown).collect();
    Ok(ec2::DescribeInstanceTypeOfferingsResult { instance_type_offerings, next_token })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn each_zone_offers_each_type() {
        let mut cloud = Cloud::new();
        let ask = [
            ("LocationType", "availability-zone"),
            ("Filter.1.Name", "instance-type"),
            ("Filter.1.Value.1", "t3.micro"),
        ];
        let shown = cloud.tenant("acme").call("DescribeInstanceTypeOfferings", &ask).expect("answers");
        assert_eq!(Cloud::ids(&shown, "location"), ["us-east-1a", "us-east-1b", "us-east-1c"]);
    }
}
