//! ReplaceIamInstanceProfileAssociation: another profile, without a moment without one.

use awan_model::id::ProfileAssociationId;
use awan_model::profile::ProfileAssociation;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::associations::shown;
use crate::error::{Result, missing};
use crate::identity::instance;

pub fn replace_iam_instance_profile_association(
    tx: &mut Tx<Tenant>,
    req: ec2::ReplaceIamInstanceProfileAssociationRequest,
) -> Result<ec2::ReplaceIamInstanceProfileAssociationResult> {
    let ec2::ReplaceIamInstanceProfileAssociationRequest { iam_instance_profile, association_id } = req;
    let id: ProfileAssociationId = association_id.ok_or_else(|| missing("AssociationId"))?.parse()?;
    let old = tx.get::<ProfileAssociation>(&id)?;
    let profile = instance::profile(tx, &iam_instance_profile.ok_or_else(|| missing("IamInstanceProfile"))?)?;
    tx.remove::<ProfileAssociation>(&id);
    let association = instance::associate(tx, &old.instance, &profile);
    let iam_instance_profile_association = Some(shown(&association, "associating"));
    Ok(ec2::ReplaceIamInstanceProfileAssociationResult { iam_instance_profile_association })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_there_replaces_nothing() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").iam("CreateInstanceProfile", &[("InstanceProfileName", "p")]).expect("creates");
        cloud.tenant("acme").run_with(&[("IamInstanceProfile.Name", "p")]).expect("launches");
        let told = cloud.tenant("acme").call("DescribeIamInstanceProfileAssociations", &[]).expect("answers");
        let id = Cloud::ids(&told, "associationId").remove(0);
        let ask = [("AssociationId", id.as_str()), ("IamInstanceProfile.Name", "q")];
        let refusal = cloud.tenant("acme").call("ReplaceIamInstanceProfileAssociation", &ask).expect_err("no q");
        assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
        let told = cloud.tenant("acme").call("DescribeIamInstanceProfileAssociations", &[]).expect("answers");
        assert_eq!(Cloud::ids(&told, "associationId"), [id]);
    }
}
