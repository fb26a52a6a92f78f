//! AllocateAddress.

use std::net::Ipv4Addr;

use awan_model::address::{Address, ReleasedAddress};
use awan_model::id::AllocationId;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_addresses::malformed;
use crate::error::{Code, Result, invalid_value, refuse, refuse_if};
use crate::{schedule, tagging};

/// EC2's default quota is 5; a private cloud's pool is its owner's to fill.
pub const ADDRESSES_MAX: usize = 1_000;

pub fn allocate_address(tx: &mut Tx<Tenant>, req: ec2::AllocateAddressRequest) -> Result<ec2::AllocateAddressResult> {
    let ec2::AllocateAddressRequest {
        domain,
        address,
        public_ipv4_pool,
        network_border_group,
        customer_owned_ipv4_pool,
        tag_specifications,
        ipam_pool_id,
        dry_run: _,
    } = req;
    refuse_if(customer_owned_ipv4_pool.is_some(), "CustomerOwnedIpv4Pool")?;
    refuse_if(ipam_pool_id.is_some(), "IpamPoolId")?;
    refuse_if(public_ipv4_pool.is_some_and(|p| p != "amazon"), "PublicIpv4Pool")?;
    let shown = |text: &str| text.chars().take(64).collect::<String>().escape_debug().to_string();
    if let Some(domain) = domain.filter(|d| d != "vpc") {
        return Err(invalid_value(shown(&domain), "domain"));
    }
    if let Some(group) = network_border_group.filter(|g| g != tx.home().region()) {
        return Err(invalid_value(shown(&group), "networkBorderGroup"));
    }
    let wanted = address.map(|text| recovered(tx, &text)).transpose()?;
    let tags = tagging::specified(&tag_specifications, "elastic-ip", &["elastic-ip"])?;
    if tx.list::<Address>().len() >= ADDRESSES_MAX {
        return Err(refuse(Code::AddressLimitExceeded, "The maximum number of addresses has been reached."));
    }
    let public_ip = schedule::public_address(tx, wanted)?;
    let (home, created) = (tx.home().clone(), tx.now());
    if tx.find::<ReleasedAddress>(&public_ip.to_string()).is_some() {
        tx.remove::<ReleasedAddress>(&public_ip.to_string());
    }
    let id = AllocationId::made(tx.new_id(AllocationId::PREFIX));
    let region = home.region().to_owned();
    tx.put(Address { home, id: id.clone(), public_ip, association: None, ptr_record: None, created });
    tagging::add(tx, id.as_str(), &tags)?;
    Ok(ec2::AllocateAddressResult {
        allocation_id: Some(id.to_string()),
        public_ipv4_pool: Some("amazon".into()),
        network_border_group: Some(region),
        domain: Some("vpc".into()),
        public_ip: Some(public_ip.to_string()),
        ..Default::default()
    })
}

/// An address that the account released. Of all others it learns nothing, not even who has them.
fn recovered(tx: &mut Tx<Tenant>, text: &str) -> Result<Ipv4Addr> {
    let ip: Ipv4Addr = text.parse().map_err(|_| malformed(text))?;
    tx.get::<ReleasedAddress>(&ip.to_string())?;
    Ok(ip)
}

#[cfg(test)]
mod tests {
    use awan_model::address::ReleasedAddress;
    use awan_state::{Home, Operator};

    use crate::error::Error;
    use crate::testing::Cloud;

    fn ask(cloud: &mut Cloud, account: &str, ip: &str) -> Result<Vec<String>, String> {
        let made = cloud.tenant(account).call("AllocateAddress", &[("Address", ip)])?;
        Ok(Cloud::ids(&made, "publicIp"))
    }

    fn release(cloud: &mut Cloud, account: &str, ip: &str) {
        cloud.tenant(account).call("ReleaseAddress", &[("PublicIp", ip)]).expect("releases");
    }

    /// As if an account had had it once.
    fn had(cloud: &mut Cloud, account: &str, ip: &str) {
        let home = Home::new(cloud.tenant(account).id(), "us-east-1");
        let known = ReleasedAddress { home: home.clone(), id: ip.into(), released: 1 };
        let put = |tx: &mut awan_state::Tx<Operator>| -> Result<(), Error> {
            tx.act_for_tenant(&home, |tx| tx.put(known.clone()));
            Ok(())
        };
        cloud.control.db.transact_blocking(Operator, "test", put).expect("is kept");
    }

    fn not_available(ip: &str) -> Result<Vec<String>, String> {
        Err(format!("InvalidAddress.NotFound: The Elastic IP address '{ip}' does not exist or is not available."))
    }

    #[test]
    fn who_released_an_address_recovers_it_and_nobody_else() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").call("AllocateAddress", &[]).expect("allocates");
        let ip = Cloud::ids(&made, "publicIp").remove(0);
        // In use, and free: nobody is told which.
        for other in [&ip, "198.18.0.77"] {
            for account in ["acme", "other"] {
                assert_eq!(ask(&mut cloud, account, other), not_available(other));
            }
        }
        release(&mut cloud, "acme", &ip);
        assert_eq!(ask(&mut cloud, "other", &ip), not_available(&ip));
        assert_eq!(ask(&mut cloud, "acme", &ip), Ok(vec![ip.clone()]));
        assert_eq!(ask(&mut cloud, "acme", &ip), not_available(&ip));
        let refusal = ask(&mut cloud, "acme", "foo").expect_err("none");
        assert_eq!(refusal, "InvalidAddress.Malformed: The address 'foo' is not an IPv4 address.");
        cloud.audit();
    }

    #[test]
    fn an_address_is_recovered_only_while_nobody_else_has_it() {
        let mut cloud = Cloud::new();
        let ip = "198.18.0.77";
        had(&mut cloud, "acme", ip);
        had(&mut cloud, "other", ip);
        assert_eq!(ask(&mut cloud, "other", ip), Ok(vec![ip.into()]));
        assert_eq!(ask(&mut cloud, "acme", ip), not_available(ip));
        release(&mut cloud, "other", ip);
        assert_eq!(ask(&mut cloud, "acme", ip), Ok(vec![ip.into()]));
    }

    #[test]
    fn what_is_no_guests_address_now_is_not_recovered() {
        let mut cloud = Cloud::new();
        for ip in ["198.18.0.2", "198.18.255.255", "203.0.113.1"] {
            had(&mut cloud, "acme", ip);
            assert_eq!(ask(&mut cloud, "acme", ip), not_available(ip));
        }
        for ip in ["198.18.0.3", "198.18.255.254"] {
            had(&mut cloud, "acme", ip);
            assert_eq!(ask(&mut cloud, "acme", ip), Ok(vec![ip.into()]));
        }
    }

    #[test]
    fn the_latest_released_addresses_are_remembered() {
        let mut cloud = Cloud::new();
        let mut all = Vec::new();
        for _ in 0..=ReleasedAddress::KEPT {
            let made = cloud.tenant("acme").call("AllocateAddress", &[]).expect("allocates");
            all.push(Cloud::ids(&made, "publicIp").remove(0));
        }
        for ip in &all {
            cloud.pass(1);
            release(&mut cloud, "acme", ip);
        }
        assert_eq!(ask(&mut cloud, "acme", &all[0]), not_available(&all[0]));
        for ip in &all[1..] {
            assert_eq!(ask(&mut cloud, "acme", ip), Ok(vec![ip.clone()]));
        }
    }

    #[test]
    fn no_address_is_given_twice() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").run();
        let mut all = std::collections::BTreeSet::new();
        for account in ["acme", "other", "acme"] {
            let made = cloud.tenant(account).call("AllocateAddress", &[]).expect("allocates");
            assert!(all.insert(Cloud::ids(&made, "publicIp").remove(0)), "{made}");
        }
        cloud.audit();
    }
}
