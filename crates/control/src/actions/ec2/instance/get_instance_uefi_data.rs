//! GetInstanceUefiData: what firmware keeps between boots. No machine boots by UEFI yet, so no instance has any.

use awan_model::instance::Instance;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, missing, refuse};

pub fn get_instance_uefi_data(
    tx: &mut Tx<Tenant>,
    req: ec2::GetInstanceUefiDataRequest,
) -> Result<ec2::GetInstanceUefiDataResult> {
    let ec2::GetInstanceUefiDataRequest { instance_id, dry_run: _ } = req;
    let id = instance_id.ok_or_else(|| missing("InstanceId"))?.parse()?;
    let instance = tx.get::<Instance>(&id)?;
    let message = format!("The instance '{}' does not boot by UEFI, so it has no UEFI variables.", instance.id);
    Err(refuse(Code::UnsupportedOperation, message))
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_instance_that_boots_otherwise_has_no_uefi_data_and_an_image_is_no_instance() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let mut asked = |who: &str, id: &str| {
            cloud.tenant(who).call("GetInstanceUefiData", &[("InstanceId", id)]).expect_err("has none")
        };
        let told = "does not boot by UEFI, so it has no UEFI variables.";
        assert_eq!(asked("acme", &id), format!("UnsupportedOperation: The instance '{id}' {told}"));
        assert_eq!(asked("other", &id), format!("InvalidInstanceID.NotFound: The instance ID '{id}' does not exist"));
        let image = asked("acme", "ami-0123456789abcdef0");
        assert!(image.starts_with("InvalidInstanceID.Malformed"), "{image}");
    }
}
