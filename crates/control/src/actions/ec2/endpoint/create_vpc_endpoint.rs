//! CreateVpcEndpoint: addresses and names in a VPC that lead to a service of Awan's own. Behind a gateway endpoint
//! there is nothing: Awan has none of the services that have one.

use awan_model::endpoint::{Endpoint, Way};
use awan_model::id::EndpointId;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::endpoints::{self, SERVICES, interface, must_take_names, no_such_service, policy_of, shown};
use crate::actions::ec2::vpc::create_vpc::brief;
use crate::error::{Code, Error, Result, invalid, invalid_value, missing, refuse, refuse_if};
use crate::tagging;
use crate::token::Use;

/// Source: "Amazon VPC quotas" and "AWS PrivateLink quotas", per VPC and per Region.
const ENDPOINTS_MAX: usize = 50;

pub fn create_vpc_endpoint(
    tx: &mut Tx<Tenant>,
    req: ec2::CreateVpcEndpointRequest,
) -> Result<ec2::CreateVpcEndpointResult> {
    let others = ec2::CreateVpcEndpointRequest { client_token: None, dry_run: None, ..req.clone() };
    let ec2::CreateVpcEndpointRequest {
        dry_run: _,
        vpc_endpoint_type,
        vpc_id,
        service_name,
        policy_document,
        route_table_ids,
        subnet_ids,
        security_group_ids,
        ip_address_type,
        dns_options,
        client_token,
        private_dns_enabled,
        tag_specifications,
        subnet_configurations,
        service_network_arn,
        resource_configuration_arn,
        service_region,
    } = req;
    for (there, name) in [
        (!subnet_configurations.is_empty(), "SubnetConfiguration"),
        (service_network_arn.is_some(), "ServiceNetworkArn"),
        (resource_configuration_arn.is_some(), "ResourceConfigurationArn"),
        (service_region.is_some_and(|region| region != tx.home().region()), "ServiceRegion"),
    ] {
        refuse_if(there, name)?;
    }
    only_ipv4(ip_address_type, dns_options)?;
    let client_token = client_token.filter(|token| !token.is_empty());
    let token = client_token.as_deref();
    let token = token.map(|t| Use::new("CreateVpcEndpoint", t, &format!("{others:?}"))).transpose()?;
    if let Some(first) = &token
        && let Some(made) = first.made(tx)?
    {
        return answer(tx, &made, client_token);
    }
    let vpc = tx.get::<Vpc>(&vpc_id.ok_or_else(|| missing("VpcId"))?.parse()?)?;
    let service = service(tx, service_name, vpc_endpoint_type)?;
    let policy = policy_document.filter(|text| !text.is_empty()).map(policy_of).transpose()?;
    let tags = tagging::specified(&tag_specifications, "vpc-endpoint", &["vpc-endpoint"])?;
    if tx.list::<Endpoint>().len() >= ENDPOINTS_MAX {
        return Err(refuse(Code::VpcEndpointLimitExceeded, "The maximum number of VPC endpoints has been reached."));
    }
    let id = EndpointId::made(tx.new_id(EndpointId::PREFIX));
    let asked = Asked { tables: route_table_ids, subnets: subnet_ids, groups: security_group_ids, private_dns_enabled };
    let way =
        if service.1 { asked.gateway(tx, &vpc, &service.0)? } else { asked.interface(tx, &vpc, &service.0, &id)? };
    let (home, created) = (tx.home().clone(), tx.now());
    let made = vec![id.to_string()];
    tagging::add(tx, id.as_str(), &tags)?;
    let vpc = vpc.id.clone();
    tx.put(Endpoint { home, id, vpc, service: service.0, way, policy, client_token: client_token.clone(), created });
    if let Some(first) = token {
        first.keep(tx, made.clone());
    }
    answer(tx, &made, client_token)
}

fn answer(tx: &mut Tx<Tenant>, made: &[String], client_token: Option<String>) -> Result<ec2::CreateVpcEndpointResult> {
    let id = made.first().ok_or_else(|| Error::fault("a token that made nothing"))?;
    let endpoint = tx.get::<Endpoint>(&id.parse()?)?;
    let tags = tagging::shown(&tagging::of(tx, id));
    Ok(ec2::CreateVpcEndpointResult { vpc_endpoint: Some(shown(tx, &endpoint, tags)), client_token })
}

/// Endpoints have IPv4 addresses only.
pub fn only_ipv4(kind: Option<String>, dns: Option<ec2::DnsOptionsSpecification>) -> Result<()> {
    refuse_if(kind.is_some_and(|kind| kind != "ipv4"), "IpAddressType")?;
    let Some(dns) = dns else { return Ok(()) };
    let ec2::DnsOptionsSpecification {
        dns_record_ip_type,
        private_dns_only_for_inbound_resolver_endpoint,
        private_dns_preference,
        private_dns_specified_domains,
    } = dns;
    for (there, name) in [
        (dns_record_ip_type.is_some_and(|kind| kind != "ipv4"), "DnsRecordIpType"),
        (private_dns_only_for_inbound_resolver_endpoint == Some(true), "PrivateDnsOnlyForInboundResolverEndpoint"),
        (private_dns_preference.is_some(), "PrivateDnsPreference"),
        (!private_dns_specified_domains.is_empty(), "PrivateDnsSpecifiedDomain"),
    ] {
        refuse_if(there, &format!("DnsOptions.{name}"))?;
    }
    Ok(())
}

/// The service's name, and whether it has gateways.
fn service(tx: &mut Tx<Tenant>, name: Option<String>, kind: Option<String>) -> Result<(String, bool)> {
    let name = name.ok_or_else(|| missing("ServiceName"))?;
    let kind = kind.unwrap_or_else(|| "Gateway".into());
    match kind.as_str() {
        "Gateway" | "Interface" => {}
        "GatewayLoadBalancer" | "Resource" | "ServiceNetwork" | "Tunnel" => refuse_if(true, "VpcEndpointType")?,
        other => return Err(invalid_value(brief(other), "VpcEndpointType")),
    }
    let found = SERVICES.iter().find(|s| s.name(tx.home()) == name).ok_or_else(|| no_such_service(&name))?;
    if found.kind() != kind {
        let message = format!("Endpoint type ({kind}) does not match available service types ([{}]).", found.kind());
        return Err(refuse(Code::InvalidParameter, message));
    }
    Ok((name, found.gateway))
}

struct Asked {
    tables: Vec<String>,
    subnets: Vec<String>,
    groups: Vec<String>,
    private_dns_enabled: Option<bool>,
}

impl Asked {
    fn gateway(self, tx: &mut Tx<Tenant>, vpc: &Vpc, service: &str) -> Result<Way> {
        if !self.subnets.is_empty() || !self.groups.is_empty() || self.private_dns_enabled == Some(true) {
            return Err(invalid("Subnets, security groups and private DNS are for interface endpoints."));
        }
        let tables = endpoints::tables(tx, vpc, &self.tables)?;
        for endpoint in tx.list::<Endpoint>().iter().filter(|e| e.service == service) {
            if let Some(table) = tables.iter().find(|table| endpoint.serves(table)) {
                let message =
                    format!("route table {table} already has a route with the service's destination-prefix-list-id");
                return Err(refuse(Code::RouteAlreadyExists, message));
            }
        }
        Ok(Way::Gateway { tables })
    }

    fn interface(self, tx: &mut Tx<Tenant>, vpc: &Vpc, service: &str, id: &EndpointId) -> Result<Way> {
        if !self.tables.is_empty() {
            return Err(invalid("Route table IDs are only supported for Gateway type VPC Endpoint."));
        }
        let private_dns = self.private_dns_enabled.unwrap_or(true);
        if private_dns {
            must_take_names(tx, vpc, service, None)?;
        }
        let groups = endpoints::groups(tx, vpc, &self.groups)?;
        let mut interfaces = Vec::new();
        for subnet in endpoints::subnets(tx, vpc, &self.subnets)? {
            let eni = interface(tx, id, &subnet, &groups)?;
            interfaces.push((subnet, eni));
        }
        Ok(Way::Interface { interfaces, groups, private_dns })
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_gateway_endpoint_is_a_route_of_its_tables() {
        let mut cloud = Cloud::new();
        let one = |made: &str, element: &str| Cloud::ids(made, element).remove(0);
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let vpc = one(&call("CreateVpc", &[("CidrBlock", "10.1.0.0/16")]).expect("makes"), "vpcId");
        let of_vpc = [("VpcId", vpc.as_str())];
        let table = one(&call("CreateRouteTable", &of_vpc).expect("makes"), "routeTableId");
        let ask = [
            ("VpcId", vpc.as_str()),
            ("ServiceName", "com.amazonaws.us-east-1.s3"),
            ("RouteTableId.1", &table),
            ("ClientToken", "once"),
        ];
        let made = call("CreateVpcEndpoint", &ask).expect("makes");
        assert_eq!(call("CreateVpcEndpoint", &ask).expect("the same"), made);
        assert!(made.contains("<state>available</state>") && made.contains("2008-10-17"), "{made}");
        let id = one(&made, "vpcEndpointId");
        let shown = call("DescribeRouteTables", &[("RouteTableId.1", &table)]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "destinationPrefixListId"), ["pl-63a5400a"]);
        assert_eq!(Cloud::ids(&shown, "gatewayId"), ["local", id.as_str()]);
        assert_eq!(Cloud::ids(&shown, "state"), ["active", "active"]);
        let refusal = call("CreateVpcEndpoint", &ask[..3]).expect_err("has that route");
        assert!(refusal.starts_with("RouteAlreadyExists"), "{refusal}");
        call("DeleteRouteTable", &[("RouteTableId", &table)]).expect("serves no subnet");
        let shown = call("DescribeVpcEndpoints", &[("VpcEndpointId.1", &id)]).expect("answers");
        assert!(!shown.contains(&table), "{shown}");
        let refusal = call("DeleteVpc", &of_vpc).expect_err("has an endpoint");
        assert!(refusal.starts_with("DependencyViolation"), "{refusal}");
        call("DeleteVpcEndpoints", &[("VpcEndpointId.1", &id)]).expect("deletes");
        call("DeleteVpc", &of_vpc).expect("is empty");
        cloud.audit();
    }

    #[test]
    fn an_interface_endpoint_has_an_interface_in_each_subnet() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let subnets = call("DescribeSubnets", &[]).expect("answers");
        let (vpc, subnets) = (Cloud::ids(&subnets, "vpcId").remove(0), Cloud::ids(&subnets, "subnetId"));
        let ask = [
            ("VpcId", vpc.as_str()),
            ("ServiceName", "com.amazonaws.us-east-1.ec2"),
            ("VpcEndpointType", "Interface"),
            ("SubnetId.1", &subnets[0]),
            ("SubnetId.2", &subnets[1]),
        ];
        let made = call("CreateVpcEndpoint", &ask).expect("makes");
        assert_eq!(Cloud::ids(&made, "groupName"), ["default"]);
        assert!(made.contains("<dnsName>ec2.us-east-1.amazonaws.com</dnsName>"), "{made}");
        let refusal = call("CreateVpcEndpoint", &ask).expect_err("the names are taken");
        assert!(refusal.starts_with("InvalidParameter: private-dns-enabled cannot be set"), "{refusal}");
        let enis = call("DescribeNetworkInterfaces", &[]).expect("answers");
        let enis = Cloud::ids(&enis, "networkInterfaceId");
        assert_eq!(enis.len(), 2);
        let refusal =
            call("DeleteNetworkInterface", &[("NetworkInterfaceId", &enis[0])]).expect_err("is the endpoint's");
        assert!(refusal.starts_with("OperationNotPermitted"), "{refusal}");
        let refusal = call("DeleteSubnet", &[("SubnetId", &subnets[0])]).expect_err("is served");
        assert!(refusal.starts_with("DependencyViolation"), "{refusal}");
        let eni = ("NetworkInterfaceId", enis[0].as_str());
        for (action, change) in [
            ("ModifyNetworkInterfaceAttribute", ("Description.Value", "mine")),
            ("AssignPrivateIpAddresses", ("SecondaryPrivateIpAddressCount", "1")),
        ] {
            let refusal = call(action, &[eni, change]).expect_err("is the endpoint's");
            assert!(refusal.starts_with("OperationNotPermitted"), "{refusal}");
        }
        let id = Cloud::ids(&made, "vpcEndpointId").remove(0);
        call("DeleteVpcEndpoints", &[("VpcEndpointId.1", &id)]).expect("deletes");
        call("DeleteSubnet", &[("SubnetId", &subnets[0])]).expect("is empty");
        cloud.audit();
    }

    #[test]
    fn what_no_endpoint_can_be_is_refused() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeVpcs", &[]).expect("answers");
        let vpc = Cloud::ids(&shown, "vpcId").remove(0);
        for (name, value, expected) in [
            ("ServiceName", "com.amazonaws.us-east-1.moon", "InvalidServiceName: The Vpc Endpoint Service 'com"),
            ("VpcEndpointType", "Interface", "InvalidParameter: Endpoint type (Interface) does not match"),
            ("VpcEndpointType", "GatewayLoadBalancer", "UnsupportedOperation"),
            ("VpcEndpointType", "Door", "InvalidParameterValue: Value (Door) for parameter VpcEndpointType"),
            ("PolicyDocument", "allow", "InvalidPolicyDocument"),
            ("IpAddressType", "ipv6", "UnsupportedOperation"),
            ("RouteTableId.1", "rtb-00000000000000001", "InvalidRouteTableID.NotFound"),
            ("SubnetId.1", "subnet-00000000000000001", "InvalidParameterValue: Subnets, security groups and"),
        ] {
            let usual = [("VpcId", vpc.as_str()), ("ServiceName", "com.amazonaws.us-east-1.s3")];
            let ask: Vec<_> = usual.into_iter().filter(|(n, _)| *n != name).chain([(name, value)]).collect();
            let refusal = cloud.tenant("acme").call("CreateVpcEndpoint", &ask).expect_err(value);
            assert!(refusal.starts_with(expected), "{refusal}");
        }
    }
}
