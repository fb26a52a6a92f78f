//! ModifySubnetAttribute: whether guests get a public address, and new interfaces an IPv6 one. What else there is can
//! only be set to what it is.

use awan_model::subnet::Subnet;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, combination, invalid, missing, refuse_if};

pub fn modify_subnet_attribute(tx: &mut Tx<Tenant>, req: ec2::ModifySubnetAttributeRequest) -> Result<()> {
    let ec2::ModifySubnetAttributeRequest {
        assign_ipv6_address_on_creation,
        map_public_ip_on_launch,
        subnet_id,
        map_customer_owned_ip_on_launch,
        customer_owned_ipv4_pool,
        enable_dns64,
        private_dns_hostname_type_on_launch,
        enable_resource_name_dns_a_record_on_launch,
        enable_resource_name_dns_aaaa_record_on_launch,
        enable_lni_at_device_index,
        disable_lni_at_device_index,
    } = req;
    let subnet = tx.get::<Subnet>(&subnet_id.ok_or_else(|| missing("SubnetId"))?.parse()?)?;
    let flag = |v: Option<ec2::AttributeBooleanValue>| v.and_then(|v| v.value);
    let (map, assign) = (flag(map_public_ip_on_launch), flag(assign_ipv6_address_on_creation));
    let mut others = Vec::new();
    for (value, name) in [
        (map_customer_owned_ip_on_launch, "MapCustomerOwnedIpOnLaunch"),
        (enable_dns64, "EnableDns64"),
        (enable_resource_name_dns_a_record_on_launch, "EnableResourceNameDnsARecordOnLaunch"),
        (enable_resource_name_dns_aaaa_record_on_launch, "EnableResourceNameDnsAAAARecordOnLaunch"),
        (disable_lni_at_device_index, "DisableLniAtDeviceIndex"),
    ] {
        let value = flag(value);
        refuse_if(value == Some(true), name)?;
        others.extend(value);
    }
    refuse_if(customer_owned_ipv4_pool.is_some(), "CustomerOwnedIpv4Pool")?;
    refuse_if(enable_lni_at_device_index.is_some(), "EnableLniAtDeviceIndex")?;
    let hostnames = private_dns_hostname_type_on_launch.is_some();
    refuse_if(
        private_dns_hostname_type_on_launch.is_some_and(|kind| kind != "ip-name"),
        "PrivateDnsHostnameTypeOnLaunch",
    )?;
    match usize::from(map.is_some()) + usize::from(assign.is_some()) + others.len() + usize::from(hostnames) {
        0 => return Err(combination("No attributes specified.")),
        1 => {}
        _ => {
            return Err(combination(
                "Fields for multiple attribute types specified; please specify only one attribute.",
            ));
        }
    }
    if assign == Some(true) && subnet.ipv6.is_none() {
        return Err(invalid(format!(
            "Invalid value 'true' for assign-ipv6-address-on-creation. Cannot set assign-ipv6-address-on-creation to \
             true unless the subnet ({}) has an IPv6 CIDR block associated with it.",
            subnet.id
        )));
    }
    let mut changed = (*subnet).clone();
    changed.map_public_ip = map.unwrap_or(changed.map_public_ip);
    changed.assign_ipv6 = assign.unwrap_or(changed.assign_ipv6);
    if changed != *subnet {
        tx.put(changed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn guests_get_public_addresses_where_the_subnet_gives_them() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeSubnets", &[]).expect("answers");
        let subnet = Cloud::ids(&shown, "subnetId").remove(0);
        for (on, expected) in [("false", false), ("true", true)] {
            let ask = [("SubnetId", subnet.as_str()), ("MapPublicIpOnLaunch.Value", on)];
            cloud.tenant("acme").call("ModifySubnetAttribute", &ask).expect("changes");
            let id = cloud.tenant("acme").run_with(&[("SubnetId", &subnet)]).expect("launches").remove(0);
            let shown = cloud.tenant("acme").call("DescribeInstances", &[("InstanceId.1", &id)]).expect("answers");
            assert_eq!(shown.contains("<ipAddress>"), expected, "{shown}");
        }
        for (name, value, code) in [
            ("AssignIpv6AddressOnCreation.Value", "true", "InvalidParameterValue: Invalid value 'true'"),
            ("PrivateDnsHostnameTypeOnLaunch", "resource-name", "UnsupportedOperation"),
        ] {
            let ask = [("SubnetId", subnet.as_str()), (name, value)];
            let refusal = cloud.tenant("acme").call("ModifySubnetAttribute", &ask).expect_err(name);
            assert!(refusal.starts_with(code), "{refusal}");
        }
        let ask = [("SubnetId", subnet.as_str()), ("EnableDns64.Value", "false")];
        cloud.tenant("acme").call("ModifySubnetAttribute", &ask).expect("is so already");
    }
}
