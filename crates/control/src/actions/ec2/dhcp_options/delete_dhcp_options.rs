//! DeleteDhcpOptions.

use awan_model::dhcp_options::DhcpOptions;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, dependency, missing};
use crate::network;

pub fn delete_dhcp_options(tx: &mut Tx<Tenant>, req: ec2::DeleteDhcpOptionsRequest) -> Result<()> {
    let ec2::DeleteDhcpOptionsRequest { dhcp_options_id, dry_run: _ } = req;
    let id = dhcp_options_id.ok_or_else(|| missing("DhcpOptionsId"))?.parse()?;
    tx.get::<DhcpOptions>(&id)?;
    if tx.list::<Vpc>().iter().any(|vpc| vpc.dhcp_options.as_ref() == Some(&id)) {
        return Err(dependency(format!("The dhcpOptions '{id}' has dependencies and cannot be deleted.")));
    }
    network::remove::<DhcpOptions>(tx, &id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn options_that_a_vpc_has_stay() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeDhcpOptions", &[]).expect("answers");
        let id = Cloud::ids(&shown, "dhcpOptionsId").remove(0);
        let ask = [("DhcpOptionsId", id.as_str())];
        let refusal = cloud.tenant("acme").call("DeleteDhcpOptions", &ask).expect_err("in use");
        let expected = format!("DependencyViolation: The dhcpOptions '{id}' has dependencies and cannot be deleted.");
        assert_eq!(refusal, expected);
        let refusal = cloud.tenant("other").call("DeleteDhcpOptions", &ask).expect_err("foreign");
        assert_eq!(refusal, format!("InvalidDhcpOptionID.NotFound: The dhcpOption ID '{id}' does not exist"));
    }
}
