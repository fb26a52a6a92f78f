//! AssociateIamInstanceProfile: the metadata service shows the role's credentials from then on.

use awan_model::id::InstanceId;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::associations::{shown, without};
use crate::error::{Result, missing};
use crate::identity::instance;

pub fn associate_iam_instance_profile(
    tx: &mut Tx<Tenant>,
    req: ec2::AssociateIamInstanceProfileRequest,
) -> Result<ec2::AssociateIamInstanceProfileResult> {
    let ec2::AssociateIamInstanceProfileRequest { iam_instance_profile, instance_id } = req;
    let id: InstanceId = instance_id.ok_or_else(|| missing("InstanceId"))?.parse()?;
    without(tx, &id)?;
    let profile = instance::profile(tx, &iam_instance_profile.ok_or_else(|| missing("IamInstanceProfile"))?)?;
    let association = instance::associate(tx, &id, &profile);
    let iam_instance_profile_association = Some(shown(&association, "associating"));
    Ok(ec2::AssociateIamInstanceProfileResult { iam_instance_profile_association })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_instance_has_one_profile_at_a_time() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let mut acme = cloud.tenant("acme");
        for name in ["a", "b"] {
            acme.iam("CreateInstanceProfile", &[("InstanceProfileName", name)]).expect("creates");
        }
        let arn = format!("arn:aws:iam::{}:instance-profile/b", acme.id());
        let by_name = [("InstanceId", id.as_str()), ("IamInstanceProfile.Name", "a")];
        let made = acme.call("AssociateIamInstanceProfile", &by_name).expect("associates");
        let association = Cloud::ids(&made, "associationId").remove(0);
        let told = acme
            .call("DescribeInstances", &[("Filter.1.Name", "iam-instance-profile.arn"), ("Filter.1.Value.1", "*/a")]);
        assert!(told.expect("answers").contains(":instance-profile/a</arn>"));
        let again = acme.call("AssociateIamInstanceProfile", &by_name).expect_err("has one");
        assert_eq!(again, format!("IncorrectState: There is an existing association for instance {id}"));
        let replace = [("AssociationId", association.as_str()), ("IamInstanceProfile.Arn", arn.as_str())];
        let made = acme.call("ReplaceIamInstanceProfileAssociation", &replace).expect("replaces");
        let second = Cloud::ids(&made, "associationId").remove(0);
        assert_ne!(second, association);
        let gone =
            acme.call("DisassociateIamInstanceProfile", &[("AssociationId", &association)]).expect_err("is gone");
        assert!(gone.starts_with("NoSuchAssociation"), "{gone}");
        acme.call("DisassociateIamInstanceProfile", &[("AssociationId", &second)]).expect("disassociates");
        for (name, value, message) in [
            (
                "IamInstanceProfile.Name",
                "c",
                "InvalidParameterValue: Value (c) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name",
            ),
            (
                "IamInstanceProfile.Arn",
                "c",
                "InvalidParameterValue: Value (c) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance Profile ARN",
            ),
        ] {
            let refusal =
                acme.call("AssociateIamInstanceProfile", &[by_name[0], (name, value)]).expect_err("is not there");
            assert_eq!(refusal, message);
            assert_eq!(acme.run_with(&[(name, value)]).expect_err("is not there"), message);
        }
        let both = [by_name[0], by_name[1], ("IamInstanceProfile.Arn", arn.as_str())];
        let refusal = acme.call("AssociateIamInstanceProfile", &both).expect_err("two names");
        assert!(refusal.starts_with("InvalidParameterCombination"), "{refusal}");
        cloud.tenant("other").iam("CreateInstanceProfile", &[("InstanceProfileName", "a")]).expect("creates");
        let foreign = cloud.tenant("other").call("AssociateIamInstanceProfile", &by_name).expect_err("is not theirs");
        assert!(foreign.starts_with("InvalidInstanceID.NotFound"), "{foreign}");
        cloud.audit();
    }
}
