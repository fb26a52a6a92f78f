//! CreateVpc. A new VPC has its main route table and its default group, and no way out.

use std::net::Ipv4Addr;

use awan_model::installation::Installation;
use awan_model::vpc::{Tenancy, Vpc};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;
use ipnet::Ipv4Net;

use super::describe_vpcs::shown;
use crate::error::{Code, Result, combination, invalid, invalid_value, missing, refuse, refuse_if};
use crate::{network, tagging};

/// EC2 begins with 5 and gives 100 when asked.
const VPCS_MAX: usize = 100;
/// Where no guest can have an address: this network, loopback, link local, multicast and what is reserved.
const NOT_FOR_GUESTS: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

pub fn create_vpc(tx: &mut Tx<Tenant>, req: ec2::CreateVpcRequest) -> Result<ec2::CreateVpcResult> {
    let ec2::CreateVpcRequest {
        cidr_block,
        ipv6_pool,
        ipv6_cidr_block,
        ipv4_ipam_pool_id,
        ipv4_netmask_length,
        ipv6_ipam_pool_id,
        ipv6_netmask_length,
        ipv6_cidr_block_network_border_group,
        vpc_encryption_control,
        tag_specifications,
        dry_run: _,
        instance_tenancy,
        amazon_provided_ipv6_cidr_block,
    } = req;
    for (there, name) in [
        (ipv6_pool.is_some(), "Ipv6Pool"),
        (ipv6_cidr_block.is_some(), "Ipv6CidrBlock"),
        (ipv4_ipam_pool_id.is_some(), "Ipv4IpamPoolId"),
        (ipv4_netmask_length.is_some(), "Ipv4NetmaskLength"),
        (ipv6_ipam_pool_id.is_some(), "Ipv6IpamPoolId"),
        (ipv6_netmask_length.is_some(), "Ipv6NetmaskLength"),
        (vpc_encryption_control.is_some(), "VpcEncryptionControl"),
    ] {
        refuse_if(there, name)?;
    }
    let ipv6 = wants_ipv6(tx, amazon_provided_ipv6_cidr_block, ipv6_cidr_block_network_border_group)?;
    let tenancy = match instance_tenancy.as_deref() {
        None | Some("default") => Tenancy::Shared,
        Some("dedicated") => Tenancy::Dedicated,
        Some(other) => return Err(invalid_value(brief(other), "instanceTenancy")),
    };
    let cidr = network_of(&cidr_block.ok_or_else(|| missing("CidrBlock"))?, "cidrBlock")?;
    must_be_for_guests(tx, &cidr)?;
    must_have_room(tx)?;
    let tags = tagging::specified(&tag_specifications, "vpc", &["vpc"])?;
    let mut vpc = network::vpc(tx, cidr, false, tenancy, Vec::new());
    if ipv6 {
        vpc = network::ipv6::add_range(tx, &vpc)?.0;
    }
    tagging::add(tx, vpc.id.as_str(), &tags)?;
    let mut told = shown(&vpc, tags);
    for range in &mut told.ipv6_cidr_block_association_set {
        // It is there when the next request looks.
        range.ipv6_cidr_block_state =
            Some(ec2::VpcCidrBlockState { state: Some("associating".into()), status_message: None });
    }
    Ok(ec2::CreateVpcResult { vpc: Some(told) })
}

/// A region is one network border group of its own name.
pub fn wants_ipv6(tx: &mut Tx<Tenant>, asked: Option<bool>, border_group: Option<String>) -> Result<bool> {
    let asked = asked == Some(true);
    match border_group {
        Some(_) if !asked => Err(combination(
            "The parameter Ipv6CidrBlockNetworkBorderGroup needs the parameter AmazonProvidedIpv6CidrBlock",
        )),
        Some(group) if group != tx.home().region() => {
            Err(invalid_value(brief(&group), "ipv6CidrBlockNetworkBorderGroup"))
        }
        _ => Ok(asked),
    }
}

pub fn must_have_room(tx: &mut Tx<Tenant>) -> Result<()> {
    if tx.list::<Vpc>().len() >= VPCS_MAX {
        return Err(refuse(Code::VpcLimitExceeded, "The maximum number of VPCs has been reached."));
    }
    Ok(())
}

/// Refuses what can be no range of a VPC.
pub fn must_be_for_guests(tx: &mut Tx<Tenant>, cidr: &Ipv4Net) -> Result<()> {
    let pool = tx.public::<Installation>(&Installation::ID.into()).map(|i| i.public_pool);
    let reserved = NOT_FOR_GUESTS.into_iter().filter_map(|(ip, length)| Ipv4Net::new(ip, length).ok()).chain(pool);
    if !(16..=28).contains(&cidr.prefix_len()) || reserved.into_iter().any(|r| network::overlap(&r, cidr)) {
        return Err(refuse(Code::InvalidVpcRange, format!("The CIDR '{cidr}' is invalid.")));
    }
    Ok(())
}

/// A network in its canonical form: EC2 takes `10.0.0.7/16` for `10.0.0.0/16`.
pub fn network_of(text: &str, parameter: &str) -> Result<Ipv4Net> {
    let network = text.parse::<Ipv4Net>().map_err(|_| {
        let shown = brief(text);
        invalid(format!("Value ({shown}) for parameter {parameter} is invalid. This is not a valid CIDR block."))
    })?;
    Ok(network.trunc())
}

pub fn brief(text: &str) -> String {
    text.chars().take(64).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_new_vpc_has_its_group_and_its_table_and_its_guests_their_addresses() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").call("CreateVpc", &[("CidrBlock", "10.7.0.9/16")]).expect("makes");
        assert!(made.contains("<cidrBlock>10.7.0.0/16</cidrBlock>"), "{made}");
        let vpc = Cloud::ids(&made, "vpcId").remove(0);
        let of_vpc = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.as_str())];
        let groups = cloud.tenant("acme").call("DescribeSecurityGroups", &of_vpc).expect("answers");
        assert_eq!(Cloud::ids(&groups, "groupName")[0], "default");
        let ask = [("VpcId", vpc.as_str()), ("CidrBlock", "10.7.1.0/24"), ("AvailabilityZone", "us-east-1b")];
        let subnet = cloud.tenant("acme").call("CreateSubnet", &ask).expect("makes");
        let subnet = Cloud::ids(&subnet, "subnetId").remove(0);
        let ids = cloud.tenant("acme").run_with(&[("SubnetId", &subnet)]).expect("launches");
        cloud.settle();
        assert_eq!(cloud.state("acme", &ids[0]), "running");
        let shown = cloud.tenant("acme").call("DescribeInstances", &[("InstanceId.1", &ids[0])]).expect("answers");
        assert!(shown.contains("<privateIpAddress>10.7.1.") && shown.contains(&vpc), "{shown}");
        assert!(!shown.contains("<ipAddress>"), "a subnet of one's own gives no public address: {shown}");
        cloud.audit();
    }

    #[test]
    fn a_range_that_no_vpc_can_have_is_refused() {
        let mut cloud = Cloud::new();
        for (cidr, code) in [
            ("10.0.0.0/15", "InvalidVpc.Range"),
            ("10.0.0.0/29", "InvalidVpc.Range"),
            ("169.254.0.0/16", "InvalidVpc.Range"),
            ("198.18.4.0/24", "InvalidVpc.Range"),
            ("10.0.0.0", "InvalidParameterValue"),
            ("x", "InvalidParameterValue"),
        ] {
            let refusal = cloud.tenant("acme").call("CreateVpc", &[("CidrBlock", cidr)]).expect_err(cidr);
            assert!(refusal.starts_with(code), "{cidr}: {refusal}");
        }
        let ipv6 = ("AmazonProvidedIpv6CidrBlock", "true");
        for (more, code) in [
            (&[ipv6, ("Ipv6CidrBlockNetworkBorderGroup", "mars")][..], "InvalidParameterValue: Value (mars)"),
            (&[("Ipv6CidrBlockNetworkBorderGroup", "us-east-1")], "InvalidParameterCombination"),
            (&[("Ipv6Pool", "mine"), ("Ipv6CidrBlock", "2001:db8::/56")], "UnsupportedOperation"),
        ] {
            let ask = [&[("CidrBlock", "10.0.0.0/16")], more].concat();
            let refusal = cloud.tenant("acme").call("CreateVpc", &ask).expect_err(code);
            assert!(refusal.starts_with(code), "{refusal}");
        }
    }

    #[test]
    fn a_vpc_with_ipv6_has_a_range_a_route_and_rules_for_it() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask).expect(action);
        let ask = [
            ("CidrBlock", "10.7.0.0/16"),
            ("AmazonProvidedIpv6CidrBlock", "true"),
            ("Ipv6CidrBlockNetworkBorderGroup", "us-east-1"),
        ];
        let made = call("CreateVpc", &ask);
        let range = Cloud::ids(&made, "ipv6CidrBlock").remove(0);
        assert!(range.starts_with("2001:db8:a") && range.ends_with("00::/56"), "{made}");
        for part in ["<ipv6Pool>Amazon</ipv6Pool>", "<networkBorderGroup>us-east-1</networkBorderGroup>"] {
            assert!(made.contains(part), "{part}: {made}");
        }
        let vpc = Cloud::ids(&made, "vpcId").remove(0);
        let of_vpc = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.as_str())];
        let tables = call("DescribeRouteTables", &of_vpc);
        assert_eq!(Cloud::ids(&tables, "destinationIpv6CidrBlock"), [range.as_str()]);
        assert_eq!(Cloud::ids(&tables, "gatewayId"), ["local", "local"]);
        let shown = call("DescribeNetworkAcls", &of_vpc);
        let numbers = ["100", "101", "32767", "32768"].map(str::to_owned);
        assert_eq!(Cloud::ids(&shown, "ruleNumber"), [numbers.clone(), numbers].concat());
        let ask = [("VpcId", vpc.as_str()), ("GroupName", "web"), ("GroupDescription", "d")];
        call("CreateSecurityGroup", &ask);
        let groups = call("DescribeSecurityGroups", &of_vpc);
        assert_eq!(Cloud::ids(&groups, "cidrIpv6"), ["::/0", "::/0"], "{groups}");
        for (name, value, found) in [
            ("ipv6-cidr-block-association.ipv6-cidr-block", range.as_str(), 1),
            ("ipv6-cidr-block-association.ipv6-pool", "Amazon", 1),
            ("ipv6-cidr-block-association.state", "associated", 1),
            ("ipv6-cidr-block-association.state", "associating", 0),
        ] {
            let shown = call("DescribeVpcs", &[("Filter.1.Name", name), ("Filter.1.Value.1", value)]);
            assert_eq!(Cloud::ids(&shown, "dhcpOptionsId").len(), found, "{name}: {shown}");
        }
        cloud.audit();
    }
}
