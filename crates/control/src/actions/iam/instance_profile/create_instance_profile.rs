//! CreateInstanceProfile: what gives an instance a role.

use awan_model::identity::InstanceProfile;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, shown};

pub fn create_instance_profile(
    tx: &mut Tx<Tenant>,
    req: iam::CreateInstanceProfileRequest,
) -> Result<iam::CreateInstanceProfileResponse> {
    let iam::CreateInstanceProfileRequest { instance_profile_name, path, tags } = req;
    let named = (instance_profile_name, "instanceProfileName", 128);
    let (id, about) = identity::new::<InstanceProfile>(tx, named, path, &tags)?;
    let profile = InstanceProfile { home: tx.home().clone(), id, about, role: None };
    let answer = shown::profile(tx, &profile);
    tx.put(profile);
    Ok(iam::CreateInstanceProfileResponse { instance_profile: Some(answer) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_profile_has_one_name() {
        let mut cloud = Cloud::new();
        let ask = [("InstanceProfileName", "p"), ("Path", "/a/")];
        let made = cloud.tenant("acme").iam("CreateInstanceProfile", &ask).expect("creates");
        assert!(Cloud::ids(&made, "InstanceProfileId")[0].starts_with("AIPA"), "{made}");
        assert!(Cloud::ids(&made, "Arn")[0].ends_with(":instance-profile/a/p"), "{made}");
        let refusal = cloud.tenant("acme").iam("CreateInstanceProfile", &ask).expect_err("is there");
        assert_eq!(refusal, "EntityAlreadyExists: Instance Profile p already exists.");
    }
}
