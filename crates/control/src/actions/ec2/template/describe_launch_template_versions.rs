//! DescribeLaunchTemplateVersions: of one template, or the latest and default ones of all.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use awan_model::id::LaunchTemplateId;
use awan_model::launch_template::{LaunchTemplate, LaunchTemplateVersion};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::{data, named};
use crate::actions::ec2::instance::view::text_time;
use crate::describe::{Filters, Page};
use crate::error::{Result, combination, invalid, missing, refuse_both};

const FILTERS: &[&str] = &[
    "create-time",
    "ebs-optimized",
    "host-resource-group-arn",
    "http-endpoint",
    "http-protocol-ipv4",
    "http-tokens",
    "iam-instance-profile",
    "image-id",
    "instance-type",
    "is-default-version",
    "kernel-id",
    "license-configuration-arn",
    "network-card-index",
    "ram-disk-id",
];

/// Templates in the order of their ids, versions from the newest on.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place(LaunchTemplateId, Reverse<u64>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:020}", self.0, u64::MAX - self.1.0)
    }
}

pub fn describe_launch_template_versions(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeLaunchTemplateVersionsRequest,
) -> Result<ec2::DescribeLaunchTemplateVersionsResult> {
    // No service manages templates here, so there are none to leave out.
    let ec2::DescribeLaunchTemplateVersionsRequest {
        dry_run: _,
        launch_template_id,
        launch_template_name,
        versions,
        min_version,
        max_version,
        next_token,
        max_results,
        filters,
        resolve_alias,
        include_managed_resources: _,
    } = req;
    refuse_both((!versions.is_empty(), "LaunchTemplateVersion"), (min_version.is_some(), "MinVersion"))?;
    refuse_both((!versions.is_empty(), "LaunchTemplateVersion"), (max_version.is_some(), "MaxVersion"))?;
    let filters = Filters::new(&filters, FILTERS)?;
    let asked = (max_results, next_token.as_deref());
    let page = Page::new(tx, "DescribeLaunchTemplateVersions", asked, (1, 200), false)?;
    let found = if launch_template_id.is_none() && launch_template_name.is_none() {
        if min_version.is_some() || max_version.is_some() {
            return Err(combination("MinVersion and MaxVersion need the launch template to which they belong"));
        }
        of_all(tx, &versions)?
    } else {
        let template = named::template(tx, launch_template_id.as_deref(), launch_template_name.as_deref())?;
        of_one(&template, &versions, min_version.as_deref(), max_version.as_deref())?
            .into_iter()
            .map(|number| (template.clone(), number))
            .collect()
    };
    let mut kept = Vec::new();
    for (template, number) in found {
        let version = named::version(tx, &template, number)?;
        let given = data::request(&version.data)?;
        if filters.match_all(|name| value(&template, &version, &given, name)) {
            kept.push((template, version));
        }
    }
    let (kept, next_token) = page.cut(kept, |(template, version)| Place(template.id.clone(), Reverse(version.number)));
    let shown = kept.iter().map(|(t, v)| named::version_shown(tx, t, v, resolve_alias == Some(true)));
    Ok(ec2::DescribeLaunchTemplateVersionsResult {
        launch_template_versions: shown.collect::<Result<_>>()?,
        next_token,
    })
}

/// Across templates only `$Latest` and `$Default` mean something.
fn of_all(tx: &mut Tx<Tenant>, versions: &[String]) -> Result<Vec<(Arc<LaunchTemplate>, u64)>> {
    if versions.is_empty() {
        return Err(missing("LaunchTemplateId"));
    }
    if let Some(other) = versions.iter().find(|v| !["$Latest", "$Default"].contains(&v.as_str())) {
        let shown = crate::actions::ec2::vpc::create_vpc::brief(other);
        return Err(invalid(format!("Without a launch template, the version is $Latest or $Default, not '{shown}'")));
    }
    let mut found = Vec::new();
    for template in tx.list::<LaunchTemplate>() {
        let mut numbers = versions.iter().map(|v| named::number(&template, Some(v))).collect::<Result<Vec<_>>>()?;
        numbers.sort_unstable();
        numbers.dedup();
        found.extend(numbers.into_iter().map(|number| (template.clone(), number)));
    }
    Ok(found)
}

fn of_one(template: &LaunchTemplate, versions: &[String], min: Option<&str>, max: Option<&str>) -> Result<Vec<u64>> {
    if versions.is_empty() {
        let min = min.map(|text| bound(template, text)).transpose()?.unwrap_or(0);
        let max = max.map(|text| bound(template, text)).transpose()?.unwrap_or(u64::MAX);
        return Ok(template.versions.iter().copied().filter(|n| (min..=max).contains(n)).collect());
    }
    let mut numbers = versions.iter().map(|v| named::number(template, Some(v))).collect::<Result<Vec<_>>>()?;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

fn bound(template: &LaunchTemplate, text: &str) -> Result<u64> {
    if text.starts_with('$') { named::number(template, Some(text)) } else { named::parse_number(text) }
}

fn value(
    template: &LaunchTemplate,
    version: &LaunchTemplateVersion,
    given: &ec2::RequestLaunchTemplateData,
    name: &str,
) -> Vec<String> {
    let metadata = given.metadata_options.as_ref();
    let flag = |on: Option<bool>| on.map(|on| on.to_string());
    let one = match name {
        "create-time" => text_time(version.created),
        "ebs-optimized" => flag(given.ebs_optimized),
        "host-resource-group-arn" => given.placement.as_ref().and_then(|p| p.host_resource_group_arn.clone()),
        // What a template does not say, EC2 says in its place: the endpoint is there, by IPv4.
        "http-endpoint" | "http-protocol-ipv4" => metadata.and_then(|m| m.http_endpoint.clone()),
        "http-tokens" => metadata.and_then(|m| m.http_tokens.clone()),
        "iam-instance-profile" => given.iam_instance_profile.as_ref().and_then(|p| p.arn.clone()),
        "image-id" => given.image_id.clone(),
        "instance-type" => given.instance_type.clone(),
        "is-default-version" => Some((version.number == template.default_version).to_string()),
        "kernel-id" => given.kernel_id.clone(),
        "ram-disk-id" => given.ram_disk_id.clone(),
        "license-configuration-arn" => {
            return given.license_specifications.iter().filter_map(|l| l.license_configuration_arn.clone()).collect();
        }
        _ => {
            let cards = given.network_interfaces.iter().filter_map(|i| i.network_card_index);
            return cards.map(|index| index.to_string()).collect();
        }
    };
    one.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    fn numbers(cloud: &mut Cloud, ask: &[(&str, &str)]) -> Result<Vec<String>, String> {
        cloud.tenant("acme").call("DescribeLaunchTemplateVersions", ask).map(|x| Cloud::ids(&x, "versionNumber"))
    }

    #[test]
    fn what_was_not_given_is_not_shown() {
        let mut cloud = Cloud::new();
        let ask = [("LaunchTemplateName", "web"), ("LaunchTemplateData.InstanceType", "t3.nano")];
        cloud.tenant("acme").call("CreateLaunchTemplate", &ask).expect("makes");
        let shown = cloud.tenant("acme").call("DescribeLaunchTemplateVersions", &ask[..1]).expect("answers");
        let data = "<launchTemplateData><instanceType>t3.nano</instanceType></launchTemplateData>";
        assert!(shown.contains(data), "{shown}");
    }

    #[test]
    fn versions_are_found_by_number_range_and_name() {
        let mut cloud = Cloud::new();
        for name in ["web", "data"] {
            let ask = [("LaunchTemplateName", name), ("LaunchTemplateData.InstanceType", "t3.nano")];
            cloud.tenant("acme").call("CreateLaunchTemplate", &ask).expect("makes");
        }
        for kind in ["t3.micro", "t3.small"] {
            let ask = [("LaunchTemplateName", "web"), ("LaunchTemplateData.InstanceType", kind)];
            cloud.tenant("acme").call("CreateLaunchTemplateVersion", &ask).expect("makes");
        }
        let web = ("LaunchTemplateName", "web");
        let mut ask = |ask: &[(&str, &str)]| numbers(&mut cloud, ask);
        assert_eq!(ask(&[web]).expect("all"), ["3", "2", "1"]);
        assert_eq!(ask(&[web, ("LaunchTemplateVersion.1", "$Latest")]).expect("one"), ["3"]);
        let two = [web, ("LaunchTemplateVersion.1", "$Default"), ("LaunchTemplateVersion.2", "2")];
        assert_eq!(ask(&two).expect("two"), ["2", "1"]);
        assert_eq!(ask(&[web, ("MinVersion", "2")]).expect("two"), ["3", "2"]);
        assert_eq!(ask(&[web, ("MaxVersion", "1")]).expect("one"), ["1"]);
        let filter = [web, ("Filter.1.Name", "instance-type"), ("Filter.1.Value.1", "t3.micro")];
        assert_eq!(ask(&filter).expect("one"), ["2"]);
        assert_eq!(ask(&[("LaunchTemplateVersion.1", "$Latest")]).expect("of each").len(), 2);
        for (parameters, code) in [
            (&[][..], "MissingParameter"),
            (&[("LaunchTemplateVersion.1", "1")], "InvalidParameterValue"),
            (&[web, ("LaunchTemplateVersion.1", "7")], "InvalidLaunchTemplateId.VersionNotFound"),
            (&[web, ("LaunchTemplateId", "lt-00000000000000000")], "InvalidParameterCombination"),
        ] {
            let refusal = ask(parameters).expect_err(code);
            assert!(refusal.starts_with(code), "{refusal}");
        }
        let shown = cloud.tenant("acme").call("DescribeLaunchTemplateVersions", &[web, ("MaxResults", "2")]);
        let token = Cloud::ids(&shown.expect("answers"), "nextToken").remove(0);
        assert_eq!(numbers(&mut cloud, &[web, ("NextToken", &token)]).expect("the rest"), ["1"]);
    }
}
