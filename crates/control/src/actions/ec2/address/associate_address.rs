//! AssociateAddress.

use std::net::Ipv4Addr;

use awan_model::address::{Address, Association};
use awan_model::id::AssociationId;
use awan_model::instance::{Instance, State, VmReport, state};
use awan_model::interface::NetworkInterface;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_addresses::by_ip;
use crate::actions::ec2::instance::view::only_interface;
use crate::actions::ec2::interface::view::elastic;
use crate::error::{Code, Error, Result, invalid, missing, refuse, refuse_both};
use crate::network;

pub fn associate_address(
    tx: &mut Tx<Tenant>,
    req: ec2::AssociateAddressRequest,
) -> Result<ec2::AssociateAddressResult> {
    let ec2::AssociateAddressRequest {
        allocation_id,
        instance_id,
        public_ip,
        dry_run: _,
        network_interface_id,
        private_ip_address,
        allow_reassociation,
    } = req;
    refuse_both((allocation_id.is_some(), "AllocationId"), (public_ip.is_some(), "PublicIp"))?;
    refuse_both((network_interface_id.is_some(), "NetworkInterfaceId"), (instance_id.is_some(), "InstanceId"))?;
    let address = match (allocation_id, public_ip) {
        (Some(id), _) => tx.get::<Address>(&id.parse()?)?,
        (None, Some(ip)) => by_ip(tx, &ip)?,
        (None, None) => return Err(missing("AllocationId")),
    };
    let eni = match (network_interface_id, instance_id) {
        (Some(id), _) => tx.get::<NetworkInterface>(&id.parse()?)?,
        (None, Some(id)) => {
            let instance = tx.get::<Instance>(&id.parse()?)?;
            must_live(tx, &instance)?;
            only_interface(tx, &instance)?
        }
        (None, None) => return Err(missing("InstanceId")),
    };
    network::must_be_ones_own(&eni)?;
    let own = |text: &String| eni.addresses().find(|ip| ip.to_string() == *text);
    let private_ip = match &private_ip_address {
        Some(text) => own(text).ok_or_else(|| not_its_own(&eni, text))?,
        None => eni.private_ip,
    };
    let same = |a: &Association| a.interface == eni.id && a.private_ip == private_ip;
    must_be_movable(tx, &address)?;
    if let Some(held) = &address.association {
        if same(held) {
            return Ok(ec2::AssociateAddressResult { association_id: Some(held.id.to_string()) });
        }
        if allow_reassociation == Some(false) {
            let message = format!("resource {} is already associated with associate-id {}", address.id, held.id);
            return Err(refuse(Code::AlreadyAssociated, message));
        }
    }
    if network::gateway_of(tx, &eni.vpc).is_none() {
        let message = format!("Network {} is not attached to any internet gateway", eni.vpc);
        return Err(refuse(Code::GatewayNotAttached, message));
    }
    free(tx, &eni, private_ip, allow_reassociation != Some(false))?;
    let id = AssociationId::made(tx.new_id(AssociationId::PREFIX));
    let association = Association { id: id.clone(), interface: eni.id.clone(), private_ip, at: tx.now() };
    tx.put(Address { association: Some(association), ..(*address).clone() });
    Ok(ec2::AssociateAddressResult { association_id: Some(id.to_string()) })
}

/// A NAT gateway keeps its address.
pub fn must_be_movable(tx: &mut Tx<Tenant>, address: &Address) -> Result<()> {
    let held = address.association.as_ref().and_then(|held| tx.find::<NetworkInterface>(&held.interface));
    held.map_or(Ok(()), |eni| network::must_be_ones_own(&eni))
}

fn must_live(tx: &mut Tx<Tenant>, instance: &Instance) -> Result<()> {
    let report = tx.find::<VmReport>(&instance.id);
    let now = state(instance, report.as_deref());
    if now == State::Pending {
        // Terraform tries again on this wording.
        let message = format!("The pending instance '{}' is not in a valid state for this operation.", instance.id);
        return Err(refuse(Code::InvalidInstanceId, message));
    }
    if matches!(now, State::Terminated | State::ShuttingDown) {
        let message = format!("The instance '{}' is {now}; an address cannot be associated with it.", instance.id);
        return Err(refuse(Code::InvalidInstanceId, message));
    }
    Ok(())
}

fn not_its_own(eni: &NetworkInterface, text: &str) -> Error {
    let shown: String = text.chars().take(64).collect();
    invalid(format!("The private address {} is not one of the interface {}", shown.escape_debug(), eni.id))
}

/// A private address has one elastic address; an older one gives way, if it may.
fn free(tx: &mut Tx<Tenant>, eni: &NetworkInterface, private_ip: Ipv4Addr, may: bool) -> Result<()> {
    match elastic(tx, eni, private_ip) {
        Some(_) if !may => {
            let message = format!("resource {} is already associated with an address", eni.id);
            Err(refuse(Code::AlreadyAssociated, message))
        }
        Some(older) => {
            tx.put(Address { association: None, ..(*older).clone() });
            Ok(())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_elastic_address_replaces_the_automatic_one_and_moves() {
        let mut cloud = Cloud::new();
        let (a, b) = (cloud.tenant("acme").run(), cloud.tenant("acme").run());
        let made = cloud.tenant("acme").call("AllocateAddress", &[]).expect("allocates");
        let (id, ip) = (Cloud::ids(&made, "allocationId").remove(0), Cloud::ids(&made, "publicIp").remove(0));
        for instance in [&a, &b] {
            let ask = [("AllocationId", id.as_str()), ("InstanceId", instance.as_str())];
            cloud.tenant("acme").call("AssociateAddress", &ask).expect("associates");
            let shown = cloud.tenant("acme").call("DescribeInstances", &[("InstanceId.1", instance)]).expect("answers");
            assert!(shown.contains(&format!("<ipAddress>{ip}</ipAddress>")), "{shown}");
        }
        let refusal = cloud.tenant("acme").call("ReleaseAddress", &[("AllocationId", &id)]).expect_err("in use");
        assert!(refusal.starts_with("InvalidIPAddress.InUse"), "{refusal}");
        cloud.audit();
    }

    #[test]
    fn a_network_without_a_way_out_has_no_public_addresses() {
        let mut cloud = Cloud::new();
        let one = |made: &str, element: &str| Cloud::ids(made, element).remove(0);
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask).expect(action);
        let vpc = one(&call("CreateVpc", &[("CidrBlock", "10.7.0.0/16")]), "vpcId");
        let subnet = one(&call("CreateSubnet", &[("VpcId", &vpc), ("CidrBlock", "10.7.0.0/24")]), "subnetId");
        let address = one(&call("AllocateAddress", &[]), "allocationId");
        let instance = cloud.tenant("acme").run_with(&[("SubnetId", &subnet)]).expect("launches").remove(0);
        let ask = [("AllocationId", address.as_str()), ("InstanceId", instance.as_str())];
        let refusal = cloud.tenant("acme").call("AssociateAddress", &ask).expect_err("waits");
        assert!(refusal.starts_with("InvalidInstanceID: The pending instance"), "{refusal}");
        cloud.settle();
        let refusal = cloud.tenant("acme").call("AssociateAddress", &ask).expect_err("no gateway");
        assert_eq!(refusal, format!("Gateway.NotAttached: Network {vpc} is not attached to any internet gateway"));
    }
}
