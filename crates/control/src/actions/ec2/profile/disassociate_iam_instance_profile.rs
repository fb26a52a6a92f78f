//! DisassociateIamInstanceProfile: credentials that the instance already has end by themselves.

use awan_model::id::ProfileAssociationId;
use awan_model::profile::ProfileAssociation;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::associations::shown;
use crate::error::{Result, missing};

pub fn disassociate_iam_instance_profile(
    tx: &mut Tx<Tenant>,
    req: ec2::DisassociateIamInstanceProfileRequest,
) -> Result<ec2::DisassociateIamInstanceProfileResult> {
    let ec2::DisassociateIamInstanceProfileRequest { association_id } = req;
    let id: ProfileAssociationId = association_id.ok_or_else(|| missing("AssociationId"))?.parse()?;
    let association = tx.get::<ProfileAssociation>(&id)?;
    tx.remove::<ProfileAssociation>(&id);
    let iam_instance_profile_association = Some(shown(&association, "disassociating"));
    Ok(ec2::DisassociateIamInstanceProfileResult { iam_instance_profile_association })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_foreign_association_is_as_good_as_none() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").iam("CreateInstanceProfile", &[("InstanceProfileName", "p")]).expect("creates");
        cloud.tenant("acme").run_with(&[("IamInstanceProfile.Name", "p")]).expect("launches");
        let told = cloud.tenant("acme").call("DescribeIamInstanceProfileAssociations", &[]).expect("answers");
        let id = Cloud::ids(&told, "associationId").remove(0);
        let ask = [("AssociationId", id.as_str())];
        let foreign = cloud.tenant("other").call("DisassociateIamInstanceProfile", &ask).expect_err("is not theirs");
        assert_eq!(foreign, format!("NoSuchAssociation: An invalid association-id of '{id}' was given"));
        cloud.tenant("acme").call("DisassociateIamInstanceProfile", &ask).expect("disassociates");
        assert_eq!(cloud.tenant("acme").call("DisassociateIamInstanceProfile", &ask), Err(foreign));
    }
}
