//! DescribeVpcEndpointServices: the services that endpoints can lead to.

use awan_model::installation::Installation;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::endpoints::{SERVICES, no_such_service};
use crate::actions::ec2::region::describe_availability_zones::zone_id;
use crate::describe::{Filters, Page};
use crate::error::Result;

const FILTERS: &[&str] =
    &["tag:*", "owner", "service-name", "service-region", "service-type", "supported-ip-address-types"];

pub fn describe_vpc_endpoint_services(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeVpcEndpointServicesRequest,
) -> Result<ec2::DescribeVpcEndpointServicesResult> {
    let ec2::DescribeVpcEndpointServicesRequest {
        dry_run: _,
        service_names,
        filters,
        max_results,
        next_token,
        service_regions,
    } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    // More are asked for than EC2 gives: it gives what it can.
    let token = (max_results.map(|n| n.min(1000)), next_token.as_deref());
    let page = Page::new(tx, "DescribeVpcEndpointServices", token, (1, 1000), false)?;
    let mut all = details(tx);
    for name in &service_names {
        if !all.iter().any(|service| service.service_name.as_ref() == Some(name)) {
            return Err(no_such_service(name));
        }
    }
    all.retain(|service| {
        let named = service.service_name.as_ref().is_some_and(|name| service_names.contains(name));
        let here = service.service_region.as_ref().is_some_and(|region| service_regions.contains(region));
        let values = |name: &str| match name {
            "owner" => service.owner.iter().cloned().collect(),
            "service-name" => service.service_name.iter().cloned().collect(),
            "service-region" => service.service_region.iter().cloned().collect(),
            "service-type" => service.service_type.iter().filter_map(|t| t.service_type.clone()).collect(),
            "supported-ip-address-types" => service.supported_ip_address_types.clone(),
            // Services have no tags.
            _ => Vec::new(),
        };
        (service_names.is_empty() || named) && (service_regions.is_empty() || here) && filters.match_all(values)
    });
    let (service_details, next_token) = page.cut(all, |service| service.service_name.clone().unwrap_or_default());
    let service_names = service_details.iter().filter_map(|service| service.service_name.clone()).collect();
    Ok(ec2::DescribeVpcEndpointServicesResult { service_names, service_details, next_token })
}

fn details(tx: &mut Tx<Tenant>) -> Vec<ec2::ServiceDetail> {
    let home = tx.home().clone();
    let installation = tx.public::<Installation>(&Installation::ID.into());
    let zones = installation.map(|i| i.zones(home.region())).unwrap_or_default();
    let detail = |(n, service): (usize, &super::endpoints::Service)| {
        let dns = service.dns_name(&home);
        let private = (!service.gateway).then(|| dns.clone());
        ec2::ServiceDetail {
            service_name: Some(service.name(&home)),
            service_id: Some(format!("vpce-svc-{n:08x}")),
            service_type: vec![ec2::ServiceTypeDetail { service_type: Some(service.kind().into()) }],
            service_region: Some(home.region().into()),
            availability_zone_ids: zones.iter().map(|zone| zone_id(zone)).collect(),
            availability_zones: zones.clone(),
            owner: Some("amazon".into()),
            base_endpoint_dns_names: vec![dns],
            private_dns_name: private.clone(),
            private_dns_names: private
                .into_iter()
                .map(|name| ec2::PrivateDnsDetails { private_dns_name: Some(name) })
                .collect(),
            vpc_endpoint_policy_supported: Some(true),
            acceptance_required: Some(false),
            manages_vpc_endpoints: Some(false),
            supported_ip_address_types: vec!["ipv4".into()],
            ..Default::default()
        }
    };
    SERVICES.iter().enumerate().map(detail).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn services_are_found_by_name_and_kind() {
        let mut cloud = Cloud::new();
        let mut call = |ask: &[(&str, &str)]| cloud.tenant("acme").call("DescribeVpcEndpointServices", ask);
        let shown = call(&[("Filter.1.Name", "service-type"), ("Filter.1.Value.1", "Gateway")]).expect("answers");
        assert_eq!(
            Cloud::ids(&shown, "serviceName"),
            ["com.amazonaws.us-east-1.dynamodb", "com.amazonaws.us-east-1.s3"]
        );
        let shown = call(&[("ServiceName.1", "com.amazonaws.us-east-1.sts")]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "serviceType"), ["Interface"]);
        let refusal = call(&[("ServiceName.1", "x")]).expect_err("none");
        assert_eq!(refusal, "InvalidServiceName: The Vpc Endpoint Service 'x' does not exist");
        let nothing = call(&[("ServiceRegion.1", "mars-1")]).expect("answers");
        assert!(Cloud::ids(&nothing, "serviceName").is_empty(), "{nothing}");
    }
}
