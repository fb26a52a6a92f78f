//! DescribeDhcpOptions.

use awan_model::dhcp_options::DhcpOptions;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

const FILTERS: &[&str] = &["tag:*", "dhcp-options-id", "key", "owner-id", "value"];

pub fn describe_dhcp_options(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeDhcpOptionsRequest,
) -> Result<ec2::DescribeDhcpOptionsResult> {
    let ec2::DescribeDhcpOptionsRequest { dhcp_options_ids, next_token, max_results, dry_run: _, filters } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !dhcp_options_ids.is_empty();
    let page = Page::new(tx, "DescribeDhcpOptions", (max_results, next_token.as_deref()), (5, 1000), named)?;
    let mut found = Vec::new();
    for id in &dhcp_options_ids {
        found.push(tx.get::<DhcpOptions>(&id.parse()?)?);
    }
    if !named {
        found = tx.list::<DhcpOptions>();
    }
    let mut kept = Vec::new();
    for options in found {
        let tags = tagging::of(tx, options.id.as_str());
        let values = |name: &str| match name {
            "dhcp-options-id" => vec![options.id.to_string()],
            "key" => options.options.iter().map(|(key, _)| key.clone()).collect(),
            "owner-id" => vec![options.home.account().into()],
            "value" => options.options.iter().flat_map(|(_, values)| values.clone()).collect(),
            tag => tagging::filter_values(&tags, tag),
        };
        if filters.match_all(values) {
            kept.push((options, tags));
        }
    }
    let (kept, next_token) = page.cut(kept, |(options, _)| options.id.clone());
    let dhcp_options = kept.iter().map(|(options, tags)| shown(options, tagging::shown(tags))).collect();
    Ok(ec2::DescribeDhcpOptionsResult { next_token, dhcp_options })
}

pub fn shown(options: &DhcpOptions, tags: Vec<ec2::Tag>) -> ec2::DhcpOptions {
    let value = |value: &String| ec2::AttributeValue { value: Some(value.clone()) };
    let configuration = |(key, values): &(String, Vec<String>)| ec2::DhcpConfiguration {
        key: Some(key.clone()),
        values: values.iter().map(value).collect(),
    };
    ec2::DhcpOptions {
        owner_id: Some(options.home.account().into()),
        tags,
        dhcp_options_id: Some(options.id.to_string()),
        dhcp_configurations: options.options.iter().map(configuration).collect(),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_options_that_vpcs_begin_with_are_there() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").call("CreateVpc", &[("CidrBlock", "10.7.0.0/16")]).expect("makes");
        let vpcs = cloud.tenant("acme").call("DescribeVpcs", &[]).expect("answers");
        let ask = [
            ("Filter.1.Name", "key"),
            ("Filter.1.Value.1", "domain-name-servers"),
            ("Filter.2.Name", "value"),
            ("Filter.2.Value.1", "AmazonProvidedDNS"),
        ];
        let shown = cloud.tenant("acme").call("DescribeDhcpOptions", &ask).expect("answers");
        let id = Cloud::ids(&shown, "dhcpOptionsId").remove(0);
        assert_eq!(Cloud::ids(&vpcs, "dhcpOptionsId"), [id.clone(), id], "{shown}");
        assert_eq!(Cloud::ids(&shown, "key"), ["domain-name", "domain-name-servers"]);
        assert_eq!(Cloud::ids(&shown, "value"), ["ec2.internal", "AmazonProvidedDNS"]);
    }
}
