//! DescribeSpotPriceHistory: there is no spot capacity and no price list in an installation, so no price has a history.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::describe::{Filters, Page};
use crate::error::{Result, refuse_both};

const FILTERS: &[&str] =
    &["availability-zone", "availability-zone-id", "instance-type", "product-description", "spot-price", "timestamp"];

pub fn describe_spot_price_history(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeSpotPriceHistoryRequest,
) -> Result<ec2::DescribeSpotPriceHistoryResult> {
    let ec2::DescribeSpotPriceHistoryRequest {
        availability_zone_id,
        dry_run: _,
        // All that follow narrow down what is empty.
        start_time: _,
        end_time: _,
        instance_types: _,
        product_descriptions: _,
        filters,
        availability_zone,
        max_results,
        next_token,
    } = req;
    refuse_both(
        (availability_zone.is_some(), "AvailabilityZone"),
        (availability_zone_id.is_some(), "AvailabilityZoneId"),
    )?;
    Filters::new(&filters, FILTERS)?;
    Page::new(tx, "DescribeSpotPriceHistory", (max_results, next_token.as_deref()), (1, 1000), false)?;
    Ok(ec2::DescribeSpotPriceHistoryResult { next_token: Some(String::new()), spot_price_history: Vec::new() })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn without_prices_there_is_no_history_of_them() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeSpotPriceHistory", &[("InstanceType.1", "t3.micro")]);
        assert!(shown.expect("answers").contains("<spotPriceHistorySet/>"));
        let wrong = [("Filter.1.Name", "colour"), ("Filter.1.Value.1", "x")];
        assert!(cloud.tenant("acme").call("DescribeSpotPriceHistory", &wrong).is_err());
    }
}
