//! DescribeNetworkInterfaceAttribute.

use awan_model::instance::Instance;
use awan_model::interface::NetworkInterface;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::view;
use crate::actions::ec2::instance::view::GroupNames;
use crate::error::{Result, invalid_value, missing};

pub fn describe_network_interface_attribute(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeNetworkInterfaceAttributeRequest,
) -> Result<ec2::DescribeNetworkInterfaceAttributeResult> {
    let ec2::DescribeNetworkInterfaceAttributeRequest { dry_run: _, network_interface_id, attribute } = req;
    let id = network_interface_id.ok_or_else(|| missing("NetworkInterfaceId"))?;
    let attribute = attribute.ok_or_else(|| missing("Attribute"))?;
    let eni = tx.get::<NetworkInterface>(&id.parse()?)?;
    let mut answer =
        ec2::DescribeNetworkInterfaceAttributeResult { network_interface_id: Some(id), ..Default::default() };
    match attribute.as_str() {
        "attachment" => {
            let status = view::attachment_status(tx, &eni);
            answer.attachment = view::attachment(&eni, status);
        }
        "description" => answer.description = Some(ec2::AttributeValue { value: Some(eni.description.clone()) }),
        "groupSet" => answer.groups = GroupNames::default().shown(tx, &eni.groups),
        "sourceDestCheck" => {
            answer.source_dest_check = Some(ec2::AttributeBooleanValue { value: Some(eni.source_dest_check) });
        }
        "associatePublicIpAddress" => answer.associate_public_ip_address = Some(wants_public_ip(tx, &eni)),
        other => {
            let shown: String = other.chars().take(64).collect();
            return Err(invalid_value(shown.escape_debug(), "attribute"));
        }
    }
    Ok(answer)
}

/// The instance gets a public address whenever it starts.
fn wants_public_ip(tx: &mut Tx<Tenant>, eni: &NetworkInterface) -> bool {
    let instance = eni.attachment.as_ref().and_then(|a| tx.find::<Instance>(&a.instance));
    instance.is_some_and(|i| i.interface == eni.id && i.wants_public_ip)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn each_attribute_is_told_by_its_name() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").run();
        let shown = cloud.tenant("acme").call("DescribeNetworkInterfaces", &[]).expect("answers");
        let eni = Cloud::ids(&shown, "networkInterfaceId").remove(0);
        let ask = |cloud: &mut Cloud, account: &str, attribute: &str| {
            let ask = [("NetworkInterfaceId", eni.as_str()), ("Attribute", attribute)];
            cloud.tenant(account).call("DescribeNetworkInterfaceAttribute", &ask)
        };
        for (attribute, part) in [
            ("attachment", "<deviceIndex>0</deviceIndex>"),
            ("description", "<description>"),
            ("groupSet", "<groupName>default</groupName>"),
            ("sourceDestCheck", "<sourceDestCheck><value>true</value></sourceDestCheck>"),
            ("associatePublicIpAddress", "<associatePublicIpAddress>true</associatePublicIpAddress>"),
        ] {
            let told = ask(&mut cloud, "acme", attribute).expect(attribute);
            assert!(told.contains(part), "{told}");
            let foreign = ask(&mut cloud, "other", attribute).expect_err("foreign");
            assert!(foreign.starts_with("InvalidNetworkInterfaceID.NotFound"), "{foreign}");
        }
        let refusal = ask(&mut cloud, "acme", "colour").expect_err("no attribute");
        assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
    }
}
