//! CreateDhcpOptions. Source of the options and their limits: "DHCP option sets in Amazon VPC", Amazon VPC User Guide.

use std::net::IpAddr;

use awan_model::dhcp_options::{AMAZON_DNS, DhcpOptions};
use awan_model::id::DhcpOptionsId;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_dhcp_options::shown;
use crate::actions::ec2::vpc::create_vpc::brief;
use crate::error::{Code, Result, invalid, invalid_value, missing, refuse};
use crate::tagging;

/// More than any account has VPCs.
const OPTIONS_MAX: usize = 200;
/// Of each kind.
const SERVERS_MAX: usize = 4;
/// What an option of DHCP can hold (RFC 2132).
const DOMAIN_MAX: usize = 255;

pub fn create_dhcp_options(
    tx: &mut Tx<Tenant>,
    req: ec2::CreateDhcpOptionsRequest,
) -> Result<ec2::CreateDhcpOptionsResult> {
    let ec2::CreateDhcpOptionsRequest { dhcp_configurations, tag_specifications, dry_run: _ } = req;
    if dhcp_configurations.is_empty() {
        return Err(missing("DhcpConfiguration"));
    }
    let mut options: Vec<(String, Vec<String>)> = Vec::new();
    for ec2::NewDhcpConfiguration { key, values } in dhcp_configurations {
        let key = key.ok_or_else(|| missing("DhcpConfiguration.Key"))?;
        let values = checked(&key, values)?;
        if options.iter().any(|(other, _)| *other == key) {
            return Err(invalid(format!("The DHCP option {key} is given twice.")));
        }
        options.push((key, values));
    }
    if tx.list::<DhcpOptions>().len() >= OPTIONS_MAX {
        let message = "The maximum number of DHCP option sets has been reached.";
        return Err(refuse(Code::ResourceLimitExceeded, message));
    }
    let tags = tagging::specified(&tag_specifications, "dhcp-options", &["dhcp-options"])?;
    let (home, created) = (tx.home().clone(), tx.now());
    let id = DhcpOptionsId::made(tx.new_id(DhcpOptionsId::PREFIX));
    let made = DhcpOptions { home, id, is_default: false, options, created };
    tx.put(made.clone());
    tagging::add(tx, made.id.as_str(), &tags)?;
    Ok(ec2::CreateDhcpOptionsResult { dhcp_options: Some(shown(&made, tags)) })
}

fn checked(key: &str, values: Vec<String>) -> Result<Vec<String>> {
    let wrong = |value: &str| invalid_value(brief(value), key);
    let first = values.first().cloned().ok_or_else(|| missing("DhcpConfiguration.Value"))?;
    let number = |low: u32, high: u32| {
        let fine = values.len() == 1 && first.parse().is_ok_and(|n: u32| (low..=high).contains(&n));
        if fine { Ok(vec![first.clone()]) } else { Err(wrong(&first)) }
    };
    match key {
        "domain-name" => {
            let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ');
            let domain = values.len() == 1 && !first.is_empty() && first.len() <= DOMAIN_MAX && first.chars().all(fine);
            if domain { Ok(vec![first]) } else { Err(wrong(&first)) }
        }
        "domain-name-servers" => servers(key, &values, true),
        "ntp-servers" => servers(key, &values, false),
        "netbios-name-servers" => {
            let found = servers(key, &values, false)?;
            let ipv6 = found.iter().find(|server| server.contains(':'));
            ipv6.map_or_else(|| Ok(found.clone()), |server| Err(wrong(server)))
        }
        "netbios-node-type" => number(1, 8).and_then(|kind| {
            // Broadcast, peer, mixed, hybrid (RFC 2132, 8.7).
            if ["1", "2", "4", "8"].contains(&first.as_str()) { Ok(kind) } else { Err(wrong(&first)) }
        }),
        "ipv6-address-preferred-lease-time" => number(140, 2_147_483_647),
        other => Err(invalid(format!("Value ({}) for parameter name is invalid. Unknown DHCP option", brief(other)))),
    }
}

/// Addresses; several may stand in one value, with commas between them.
fn servers(key: &str, values: &[String], names: bool) -> Result<Vec<String>> {
    let all: Vec<&str> = values.iter().flat_map(|value| value.split(',')).map(str::trim).collect();
    if let Some(wrong) = all.iter().find(|v| !(names && **v == AMAZON_DNS) && v.parse::<IpAddr>().is_err()) {
        return Err(invalid_value(brief(wrong), key));
    }
    if all.len() > SERVERS_MAX {
        return Err(invalid(format!("The DHCP option {key} can have at most {SERVERS_MAX} values.")));
    }
    Ok(all.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_a_guest_could_not_be_told_is_refused() {
        let mut cloud = Cloud::new();
        for (key, value, expected) in [
            ("domain-name", "corp.example", Ok("<value>corp.example</value>")),
            ("domain-name-servers", "192.0.2.1, 192.0.2.2", Ok("<value>192.0.2.2</value>")),
            ("domain-name-servers", "AmazonProvidedDNS", Ok("<value>AmazonProvidedDNS</value>")),
            ("netbios-node-type", "2", Ok("<value>2</value>")),
            ("netbios-node-type", "3", Err("InvalidParameterValue: Value (3) for parameter netbios-node-type")),
            ("ntp-servers", "AmazonProvidedDNS", Err("InvalidParameterValue")),
            ("ntp-servers", "1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4,1.1.1.5", Err("InvalidParameterValue: The DHCP option")),
            ("domain-name", "a\nb", Err("InvalidParameterValue")),
            (
                "wpad",
                "x",
                Err("InvalidParameterValue: Value (wpad) for parameter name is invalid. Unknown DHCP option"),
            ),
        ] {
            let ask = [("DhcpConfiguration.1.Key", key), ("DhcpConfiguration.1.Value.1", value)];
            match (cloud.tenant("acme").call("CreateDhcpOptions", &ask), expected) {
                (Ok(made), Ok(expected)) => assert!(made.contains(expected), "{made}"),
                (Err(refusal), Err(expected)) => assert!(refusal.starts_with(expected), "{refusal}"),
                (answer, _) => panic!("{key} {value}: {answer:?}"),
            }
        }
    }
}
