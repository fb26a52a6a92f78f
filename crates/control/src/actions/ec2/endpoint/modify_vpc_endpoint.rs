//! ModifyVpcEndpoint.

use awan_model::endpoint::{Endpoint, Way};
use awan_model::id::{EndpointId, GroupId, InterfaceId, SubnetId};
use awan_model::interface::NetworkInterface;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::create_vpc_endpoint::only_ipv4;
use super::endpoints::{self, interface, must_take_names, policy_of, remove_interface};
use crate::error::{Code, Result, combination, invalid, missing, refuse, refuse_if};

pub fn modify_vpc_endpoint(
    tx: &mut Tx<Tenant>,
    req: ec2::ModifyVpcEndpointRequest,
) -> Result<ec2::ModifyVpcEndpointResult> {
    let ec2::ModifyVpcEndpointRequest {
        dry_run: _,
        vpc_endpoint_id,
        reset_policy,
        policy_document,
        add_route_table_ids,
        remove_route_table_ids,
        add_subnet_ids,
        remove_subnet_ids,
        add_security_group_ids,
        remove_security_group_ids,
        ip_address_type,
        dns_options,
        private_dns_enabled,
        subnet_configurations,
    } = req;
    let id = vpc_endpoint_id.ok_or_else(|| missing("VpcEndpointId"))?;
    let mut endpoint = (*tx.get::<Endpoint>(&id.parse()?)?).clone();
    let vpc = (*tx.get::<Vpc>(&endpoint.vpc)?).clone();
    refuse_if(!subnet_configurations.is_empty(), "SubnetConfiguration")?;
    only_ipv4(ip_address_type, dns_options)?;
    let reset = reset_policy == Some(true);
    match policy_document.filter(|text| !text.is_empty()) {
        Some(_) if reset => return Err(combination("Only one of PolicyDocument and ResetPolicy can be specified.")),
        Some(text) => endpoint.policy = Some(policy_of(text)?),
        None if reset => endpoint.policy = None,
        None => {}
    }
    let tables = (add_route_table_ids, remove_route_table_ids);
    let subnets = (add_subnet_ids, remove_subnet_ids);
    let groups = (add_security_group_ids, remove_security_group_ids);
    let change = Change { tables, subnets, groups, private_dns: private_dns_enabled };
    change.of(tx, &mut endpoint, &vpc)?;
    tx.put(endpoint);
    Ok(ec2::ModifyVpcEndpointResult { r#return: Some(true) })
}

/// What to add, and what to remove.
type Pair = (Vec<String>, Vec<String>);

struct Change {
    tables: Pair,
    subnets: Pair,
    groups: Pair,
    private_dns: Option<bool>,
}

impl Change {
    fn of(self, tx: &mut Tx<Tenant>, endpoint: &mut Endpoint, vpc: &Vpc) -> Result<()> {
        let Self { tables, subnets, groups, private_dns } = self;
        let any = |pair: &Pair| !pair.0.is_empty() || !pair.1.is_empty();
        let (id, service) = (endpoint.id.clone(), endpoint.service.clone());
        match &mut endpoint.way {
            Way::Gateway { .. } if any(&subnets) || any(&groups) || private_dns == Some(true) => {
                Err(invalid("Subnets, security groups and private DNS are for interface endpoints."))
            }
            Way::Gateway { tables: own } => {
                let add = endpoints::tables(tx, vpc, &tables.0)?;
                let remove = endpoints::tables(tx, vpc, &tables.1)?;
                own.retain(|table| !remove.contains(table));
                for table in add {
                    must_be_free(tx, &id, &service, &table)?;
                    if !own.contains(&table) {
                        own.push(table);
                    }
                }
                Ok(())
            }
            Way::Interface { .. } if any(&tables) => {
                Err(invalid("Route table IDs are only supported for Gateway type VPC Endpoint."))
            }
            Way::Interface { interfaces, groups: own, private_dns: names } => {
                if private_dns == Some(true) && !*names {
                    must_take_names(tx, vpc, &service, Some(&id))?;
                }
                *names = private_dns.unwrap_or(*names);
                if any(&groups) {
                    regroup(tx, vpc, own, groups)?;
                }
                move_to(tx, vpc, (&id, own), interfaces, subnets)?;
                for (_, eni) in interfaces.iter() {
                    if let Some(eni) = tx.find::<NetworkInterface>(eni).filter(|eni| eni.groups != *own) {
                        tx.put(NetworkInterface { groups: own.clone(), ..(*eni).clone() });
                    }
                }
                Ok(())
            }
        }
    }
}

fn must_be_free(
    tx: &mut Tx<Tenant>,
    id: &EndpointId,
    service: &str,
    table: &awan_model::id::RouteTableId,
) -> Result<()> {
    let others = tx.list::<Endpoint>();
    if others.iter().any(|e| e.id != *id && e.service == service && e.serves(table)) {
        let message = format!("route table {table} already has a route with the service's destination-prefix-list-id");
        return Err(refuse(Code::RouteAlreadyExists, message));
    }
    Ok(())
}

fn regroup(tx: &mut Tx<Tenant>, vpc: &Vpc, own: &mut Vec<GroupId>, (add, remove): Pair) -> Result<()> {
    if !remove.is_empty() {
        let remove = endpoints::groups(tx, vpc, &remove)?;
        own.retain(|group| !remove.contains(group));
    }
    if !add.is_empty() {
        let add = endpoints::groups(tx, vpc, &add)?;
        own.extend(add);
        own.sort();
        own.dedup();
    }
    if own.is_empty() {
        return Err(invalid("An interface endpoint has at least one security group."));
    }
    Ok(())
}

fn move_to(
    tx: &mut Tx<Tenant>,
    vpc: &Vpc,
    (id, groups): (&EndpointId, &[GroupId]),
    interfaces: &mut Vec<(SubnetId, InterfaceId)>,
    (add, remove): Pair,
) -> Result<()> {
    for subnet in endpoints::subnets(tx, vpc, &remove)? {
        if let Some(at) = interfaces.iter().position(|(there, _)| *there == subnet) {
            remove_interface(tx, &interfaces.remove(at).1);
        }
    }
    let there: Vec<_> = interfaces.iter().map(|(subnet, _)| subnet.to_string()).collect();
    // Together they are in one subnet of a zone at most.
    for subnet in endpoints::subnets(tx, vpc, &[&there[..], &add[..]].concat())? {
        if !interfaces.iter().any(|(there, _)| *there == subnet) {
            let eni = interface(tx, id, &subnet, groups)?;
            interfaces.push((subnet, eni));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn tables_policies_subnets_groups_and_names_change() {
        let mut cloud = Cloud::new();
        let one = |made: &str, element: &str| Cloud::ids(made, element).remove(0);
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let subnets = call("DescribeSubnets", &[]).expect("answers");
        let (vpc, subnets) = (one(&subnets, "vpcId"), Cloud::ids(&subnets, "subnetId"));
        let table = one(&call("DescribeRouteTables", &[]).expect("answers"), "routeTableId");
        let group = [("VpcId", vpc.as_str()), ("GroupName", "web"), ("GroupDescription", "d")];
        let group = one(&call("CreateSecurityGroup", &group).expect("makes"), "groupId");
        let [s3, ec2] = [("s3", "Gateway"), ("ec2", "Interface")].map(|(service, kind)| {
            let service = format!("com.amazonaws.us-east-1.{service}");
            let ask = [("VpcId", vpc.as_str()), ("ServiceName", &service), ("VpcEndpointType", kind)];
            one(&call("CreateVpcEndpoint", &ask).expect("makes"), "vpcEndpointId")
        });
        let policy = r#"{"Version":"2012-10-17","Statement":[]}"#;
        for (id, name, value, gone) in [
            (&s3, "AddRouteTableId.1", table.as_str(), false),
            (&s3, "RemoveRouteTableId.1", &table, true),
            (&s3, "PolicyDocument", policy, false),
            (&s3, "ResetPolicy", "true", true),
            (&ec2, "AddSubnetId.1", &subnets[0], false),
            (&ec2, "AddSubnetId.1", &subnets[1], false),
            (&ec2, "AddSecurityGroupId.1", &group, false),
            (&ec2, "RemoveSecurityGroupId.1", &group, true),
            (&ec2, "RemoveSubnetId.1", &subnets[1], true),
            (&ec2, "PrivateDnsEnabled", "false", true),
        ] {
            call("ModifyVpcEndpoint", &[("VpcEndpointId", id.as_str()), (name, value)]).expect(name);
            let shown = call("DescribeVpcEndpoints", &[("VpcEndpointId.1", id)]).expect("answers");
            let what = match name {
                "ResetPolicy" => "2012-10-17",
                "PolicyDocument" => "2012-10-17",
                "PrivateDnsEnabled" => "<dnsName>ec2.us-east-1.amazonaws.com",
                _ => value,
            };
            assert_eq!(!shown.contains(what), gone, "{name}: {shown}");
        }
        let enis = call("DescribeNetworkInterfaces", &[]).expect("answers");
        assert_eq!(Cloud::ids(&enis, "networkInterfaceId").len(), 1);
        for (id, name, value) in [(&s3, "AddSubnetId.1", &subnets[0]), (&ec2, "AddRouteTableId.1", &table)] {
            let refusal = call("ModifyVpcEndpoint", &[("VpcEndpointId", id.as_str()), (name, value)]).expect_err(name);
            assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
        }
        cloud.audit();
    }
}
