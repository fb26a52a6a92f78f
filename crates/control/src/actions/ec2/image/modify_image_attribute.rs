//! ModifyImageAttribute: who else may launch an image, and what it says of itself.

use awan_model::image::Image;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::snapshot::create_snapshot::described;
use crate::error::{Code, Result, combination, invalid_value, missing, refuse, refuse_if};
use crate::keys;
use crate::sharing::{self, Change};

pub fn modify_image_attribute(tx: &mut Tx<Tenant>, req: ec2::ModifyImageAttributeRequest) -> Result<()> {
    let ec2::ModifyImageAttributeRequest {
        attribute,
        description,
        image_id,
        launch_permission,
        operation_type,
        product_codes,
        user_groups,
        user_ids,
        value,
        organization_arns,
        organizational_unit_arns,
        imds_support,
        dry_run: _,
    } = req;
    refuse_if(!product_codes.is_empty(), "ProductCode")?;
    refuse_if(!organization_arns.is_empty() || !organizational_unit_arns.is_empty(), "OrganizationArn")?;
    let id = image_id.ok_or_else(|| missing("ImageId"))?.parse()?;
    let mut image = (*sharing::own::<Image>(tx, &id, "image")?).clone();
    let flat = Change::flat(operation_type.as_deref(), user_ids, user_groups)?;
    let change = flat.and(nested(launch_permission)?);
    let named = attribute.as_deref();
    let of = |name: &str| value.clone().filter(|_| named == Some(name));
    let text = description.and_then(|d| d.value).or_else(|| of("description"));
    let imds = imds_support.and_then(|i| i.value).or_else(|| of("imdsSupport"));
    match named {
        None | Some("description" | "imdsSupport" | "launchPermission") => {}
        Some(other) => {
            return Err(invalid_value(other.chars().take(32).collect::<String>().escape_debug(), "attribute"));
        }
    }
    match (text, imds, change.is_empty()) {
        (Some(text), None, true) => image.description = described(Some(text))?,
        (None, Some(imds), true) if imds == "v2.0" => image.details.imds_v2 = true,
        (None, Some(other), true) => {
            return Err(invalid_value(other.chars().take(32).collect::<String>().escape_debug(), "imdsSupport"));
        }
        (None, None, false) => share(tx, &mut image, change)?,
        (None, None, true) => return Err(missing("Attribute")),
        _ => return Err(combination("Only one attribute can be modified at a time")),
    }
    tx.put(image);
    Ok(())
}

fn nested(permission: Option<ec2::LaunchPermissionModifications>) -> Result<Change> {
    let ec2::LaunchPermissionModifications { add, remove } = permission.unwrap_or_default();
    let one = |permission: ec2::LaunchPermission| {
        let ec2::LaunchPermission { organization_arn, organizational_unit_arn, user_id, group } = permission;
        refuse_if(organization_arn.is_some() || organizational_unit_arn.is_some(), "LaunchPermission.OrganizationArn")?;
        sharing::who(user_id, group)
    };
    let listed = |list: Vec<_>| list.into_iter().map(one).collect::<Result<Vec<_>>>();
    Ok(Change { add: listed(add)?, remove: listed(remove)? })
}

fn share(tx: &mut Tx<Tenant>, image: &mut Image, change: Change) -> Result<()> {
    if image.details.disabled && !change.add.is_empty() {
        let message = format!("The image '{}' is disabled and cannot be shared.", image.id);
        return Err(refuse(Code::OperationNotPermitted, message));
    }
    if change.makes_public() && !sharing::access(tx).images {
        let message = "You can't publicly share this image because block public access for AMIs is enabled for this \
                       account and Region.";
        return Err(refuse(Code::OperationNotPermitted, message));
    }
    if image.is_encrypted() && !change.add.is_empty() {
        return Err(keys::cannot_be_shared());
    }
    change.apply(&mut image.public, &mut image.details.shared_with)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    fn modify(cloud: &mut Cloud, who: &str, image: &str, more: &[(&str, &str)]) -> Result<String, String> {
        let ask: Vec<_> = [("ImageId", image)].into_iter().chain(more.iter().copied()).collect();
        cloud.tenant(who).call("ModifyImageAttribute", &ask)
    }

    #[test]
    fn a_shared_image_is_launched_by_those_it_is_shared_with_and_by_nobody_else() {
        let mut cloud = Cloud::new();
        let (_, image) = cloud.image_of("acme");
        let other = cloud.tenant("other").account();
        let launch = [("ImageId", image.as_str())];
        let gone = format!("InvalidAMIID.NotFound: The image id '[{image}]' does not exist");
        assert_eq!(cloud.tenant("other").run_with(&launch).expect_err("is private"), gone);
        modify(&mut cloud, "acme", &image, &[("LaunchPermission.Add.1.UserId", &other)]).expect("shares");
        let id = cloud.tenant("other").run_with(&launch).expect("launches").remove(0);
        assert_eq!(cloud.tenant("third").run_with(&launch).expect_err("is not theirs"), gone);
        let shown = |cloud: &mut Cloud, who: &str, ask: &[(&str, &str)]| {
            Cloud::ids(&cloud.tenant(who).call("DescribeImages", ask).expect("answers"), "imageId")
        };
        assert_eq!(shown(&mut cloud, "other", &[("ExecutableBy.1", "self")]), std::slice::from_ref(&image));
        assert_eq!(shown(&mut cloud, "acme", &[("ExecutableBy.1", &other)]), std::slice::from_ref(&image));
        assert!(shown(&mut cloud, "third", &[("ExecutableBy.1", &other)]).is_empty());
        let refusal = modify(&mut cloud, "other", &image, &[("Description.Value", "x")]).expect_err("not the owner");
        assert_eq!(refusal, format!("AuthFailure: Not authorized for image:{image}"));
        modify(&mut cloud, "acme", &image, &[("LaunchPermission.Remove.1.UserId", &other)]).expect("takes it back");
        assert_eq!(cloud.tenant("other").run_with(&launch).expect_err("is private again"), gone);
        cloud.settle();
        assert_eq!(cloud.state("other", &id), "running");
        cloud.audit();
    }

    #[test]
    fn an_image_is_public_where_its_account_lets_it() {
        let mut cloud = Cloud::new();
        let (_, image) = cloud.image_of("acme");
        let all = [("Attribute", "launchPermission"), ("OperationType", "add"), ("UserGroup.1", "all")];
        let refusal = modify(&mut cloud, "acme", &image, &all).expect_err("is blocked at first");
        assert!(refusal.starts_with("OperationNotPermitted"), "{refusal}");
        cloud.tenant("acme").call("DisableImageBlockPublicAccess", &[]).expect("lets it");
        modify(&mut cloud, "acme", &image, &all).expect("is public");
        cloud.tenant("other").run_with(&[("ImageId", &image)]).expect("launches");
        let reset = [("ImageId", image.as_str()), ("Attribute", "launchPermission")];
        cloud.tenant("acme").call("ResetImageAttribute", &reset).expect("resets");
        assert!(cloud.tenant("other").run_with(&[("ImageId", &image)]).is_err());
        for (more, code) in [
            (vec![("Description.Value", "x"), ("ImdsSupport.Value", "v2.0")], "InvalidParameterCombination"),
            (vec![("LaunchPermission.Add.1.UserId", "x")], "InvalidAMIAttributeItemValue"),
            (vec![("LaunchPermission.Add.1.OrganizationArn", "arn:x")], "UnsupportedOperation"),
            (vec![("ImdsSupport.Value", "v1")], "InvalidParameterValue"),
            (vec![("Attribute", "colour")], "InvalidParameterValue"),
            (vec![], "MissingParameter"),
        ] {
            let refusal = modify(&mut cloud, "acme", &image, &more).expect_err(code);
            assert!(refusal.starts_with(code), "{refusal}");
        }
        modify(&mut cloud, "acme", &image, &[("Attribute", "description"), ("Value", "told")]).expect("describes");
        let ask = [("Filter.1.Name", "description"), ("Filter.1.Value.1", "told")];
        let shown = cloud.tenant("acme").call("DescribeImages", &ask).expect("answers");
        assert_eq!(Cloud::ids(&shown, "imageId"), [image]);
    }
}
