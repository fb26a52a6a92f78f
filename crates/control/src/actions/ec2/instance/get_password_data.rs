//! GetPasswordData: no guest here sends a password, so there is none; EC2 says that by an empty one.

use awan_model::instance::Instance;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::view;
use crate::error::{Result, missing};

pub fn get_password_data(tx: &mut Tx<Tenant>, req: ec2::GetPasswordDataRequest) -> Result<ec2::GetPasswordDataResult> {
    let ec2::GetPasswordDataRequest { instance_id, dry_run: _ } = req;
    let instance = tx.get::<Instance>(&instance_id.ok_or_else(|| missing("InstanceId"))?.parse()?)?;
    Ok(ec2::GetPasswordDataResult {
        instance_id: Some(instance.id.to_string()),
        timestamp: view::time(instance.launched),
        password_data: Some(String::new()),
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn linux_has_no_password() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let ask = [("InstanceId", id.as_str())];
        let answer = cloud.tenant("acme").call("GetPasswordData", &ask).expect("answers");
        assert!(answer.contains("<passwordData></passwordData>") && answer.contains("<timestamp>"), "{answer}");
        let refusal = cloud.tenant("other").call("GetPasswordData", &ask).expect_err("foreign");
        assert!(refusal.starts_with("InvalidInstanceID.NotFound"), "{refusal}");
    }
}
