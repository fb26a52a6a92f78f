//! GetInstanceProfile: with its role.

use awan_model::identity::InstanceProfile;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{get, shown};

pub fn get_instance_profile(
    tx: &mut Tx<Tenant>,
    req: iam::GetInstanceProfileRequest,
) -> Result<iam::GetInstanceProfileResponse> {
    let iam::GetInstanceProfileRequest { instance_profile_name } = req;
    let profile: InstanceProfile = get(tx, &instance_profile_name.unwrap_or_default())?;
    Ok(iam::GetInstanceProfileResponse { instance_profile: Some(shown::profile(tx, &profile)) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn nobody_elses() {
        let mut cloud = Cloud::new();
        let ask = [("InstanceProfileName", "p")];
        cloud.tenant("acme").iam("CreateInstanceProfile", &ask).expect("creates");
        cloud.tenant("acme").iam("GetInstanceProfile", &ask).expect("is there");
        let foreign = cloud.tenant("other").iam("GetInstanceProfile", &ask).expect_err("is not theirs");
        assert_eq!(foreign, "NoSuchEntity: Instance Profile p cannot be found.");
    }
}
