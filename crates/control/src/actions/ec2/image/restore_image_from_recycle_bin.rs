//! RestoreImageFromRecycleBin: its snapshots must be there before.

use awan_model::image::{Details, Image};
use awan_model::snapshot::{Phase, Snapshot};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::devices::not_named_yet;
use crate::error::{Code, Result, missing, refuse};
use crate::{recycle_bin, sharing};

pub fn restore_image_from_recycle_bin(
    tx: &mut Tx<Tenant>,
    req: ec2::RestoreImageFromRecycleBinRequest,
) -> Result<ec2::RestoreImageFromRecycleBinResult> {
    let ec2::RestoreImageFromRecycleBinRequest { image_id, dry_run: _ } = req;
    let id = image_id.ok_or_else(|| missing("ImageId"))?.parse()?;
    let binned = recycle_bin::find::<Image>(tx, &id)?;
    let image = &binned.what;
    for snapshot in image.snapshots() {
        let Ok(found) = sharing::of_image::<Snapshot>(tx, snapshot) else {
            let message = format!("The snapshot '{snapshot}' of the image '{id}' does not exist. Restore it before.");
            return Err(refuse(Code::InvalidSnapshotNotFound, message));
        };
        if found.phase != Phase::Completed {
            let phase = found.phase.as_str();
            let message = format!("The snapshot '{snapshot}' of the image '{id}' is {phase}, not completed.");
            return Err(refuse(Code::IncorrectState, message));
        }
    }
    not_named_yet(tx, &image.name)?;
    let details = Details { phase: Phase::Completed, ..image.details.clone() };
    recycle_bin::restore(tx, Image { details, ..image.clone() });
    Ok(ec2::RestoreImageFromRecycleBinResult { r#return: Some(true) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    fn call(cloud: &mut Cloud, action: &str, name: &str, value: &str) -> Result<String, String> {
        cloud.tenant("acme").call(action, &[(name, value)])
    }

    /// An image of a machine, and its snapshot.
    fn image(cloud: &mut Cloud, name: &str) -> (String, String) {
        let instance = cloud.tenant("acme").run();
        cloud.settle();
        let ask = [("InstanceId", instance.as_str()), ("Name", name), ("NoReboot", "true")];
        let made = cloud.tenant("acme").call("CreateImage", &ask).expect("makes");
        let image = Cloud::ids(&made, "imageId").remove(0);
        let shown = call(cloud, "DescribeImages", "ImageId.1", &image).expect("shows");
        (image, Cloud::ids(&shown, "snapshotId").remove(0))
    }

    #[test]
    fn an_image_comes_back_after_its_snapshots_with_all_that_it_had() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").keep("EC2_IMAGE", 7, "");
        cloud.tenant("acme").keep("EBS_SNAPSHOT", 7, "");
        let (image, snapshot) = image(&mut cloud, "one");
        cloud.settle();
        let other = cloud.tenant("other").account();
        let share = [("ImageId", image.as_str()), ("LaunchPermission.Add.1.UserId", &other)];
        cloud.tenant("acme").call("ModifyImageAttribute", &share).expect("shares");
        let tag = [("ResourceId.1", image.as_str()), ("Tag.1.Key", "a"), ("Tag.1.Value", "1")];
        cloud.tenant("acme").call("CreateTags", &tag).expect("tags");
        let shown = |cloud: &mut Cloud, who: &str| {
            let told = cloud.tenant(who).call("DescribeImages", &[("ImageId.1", &image)])?;
            Ok::<_, String>(told.split_once("<imagesSet>").map(|(_, rest)| rest.to_owned()))
        };
        let before = shown(&mut cloud, "acme");
        let both = [("ImageId", image.as_str()), ("DeleteAssociatedSnapshots", "true")];
        let gone = cloud.tenant("acme").call("DeregisterImage", &both).expect("goes");
        assert_eq!(Cloud::ids(&gone, "returnCode"), ["success"]);
        cloud.settle();
        cloud.audit();
        for who in ["acme", "other"] {
            assert!(shown(&mut cloud, who).expect_err("is in the bin").starts_with("InvalidAMIID.NotFound"));
            let refusal = cloud.tenant(who).run_with(&[("ImageId", &image)]).expect_err("is in the bin");
            assert!(refusal.starts_with("InvalidAMIID.NotFound"), "{refusal}");
        }
        assert!(
            cloud.tenant("acme").call("ModifyImageAttribute", &share).expect_err("is in the bin").contains("NotFound")
        );
        assert!(cloud.tenant("acme").call("DeregisterImage", &both).expect_err("is in the bin").contains("NotFound"));
        let more = [("ResourceId.1", image.as_str()), ("Tag.1.Key", "a"), ("Tag.1.Value", "1")];
        cloud.tenant("acme").call("CreateTags", &more).expect("can be tagged");
        let restore = |cloud: &mut Cloud| call(cloud, "RestoreImageFromRecycleBin", "ImageId", &image);
        let refusal = restore(&mut cloud).expect_err("without its snapshot");
        assert!(refusal.starts_with(&format!("InvalidSnapshot.NotFound: The snapshot '{snapshot}'")), "{refusal}");
        call(&mut cloud, "RestoreSnapshotFromRecycleBin", "SnapshotId", &snapshot).expect("restores");
        restore(&mut cloud).expect("restores");
        assert_eq!(shown(&mut cloud, "acme"), before, "its tags too");
        cloud.tenant("other").run_with(&[("ImageId", &image)]).expect("launches");
        assert!(restore(&mut cloud).expect_err("is there").contains("NotFound"));
        let refusal = call(&mut cloud, "DeleteSnapshot", "SnapshotId", &snapshot).expect_err("is in use again");
        assert!(refusal.starts_with("InvalidSnapshot.InUse"), "{refusal}");
        cloud.settle();
        cloud.audit();
    }

    #[test]
    fn an_image_whose_snapshots_are_gone_never_comes_back_and_keeps_no_bytes() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").keep("EC2_IMAGE", 7, "");
        let (image, snapshot) = image(&mut cloud, "one");
        cloud.settle();
        call(&mut cloud, "DeregisterImage", "ImageId", &image).expect("goes");
        call(&mut cloud, "DeleteSnapshot", "SnapshotId", &snapshot).expect("an image in the bin does not hold it");
        let instances = cloud.tenant("acme").instances();
        for id in instances {
            call(&mut cloud, "TerminateInstances", "InstanceId.1", &id).expect("terminates");
        }
        cloud.settle();
        assert_eq!(cloud.contents(), 0);
        let refusal = call(&mut cloud, "RestoreImageFromRecycleBin", "ImageId", &image).expect_err("has nothing");
        assert!(refusal.starts_with("InvalidSnapshot.NotFound"), "{refusal}");
        cloud.pass(7 * 24 * 60 * 60 * 1000);
        cloud.settle();
        let told = call(&mut cloud, "ListImagesInRecycleBin", "MaxResults", "5").expect("lists");
        assert!(Cloud::ids(&told, "imageId").is_empty(), "{told}");
        cloud.audit();
    }

    #[test]
    fn an_image_comes_back_when_it_could_be_made() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").keep("EC2_IMAGE", 7, "");
        let (image_id, snapshot) = image(&mut cloud, "one");
        call(&mut cloud, "DeregisterImage", "ImageId", &image_id).expect("goes");
        let refusal = call(&mut cloud, "RestoreImageFromRecycleBin", "ImageId", &image_id).expect_err("pending");
        assert!(refusal.starts_with(&format!("IncorrectState: The snapshot '{snapshot}'")), "{refusal}");
        cloud.settle();
        let (again, _) = image(&mut cloud, "one");
        let refusal = call(&mut cloud, "RestoreImageFromRecycleBin", "ImageId", &image_id).expect_err("has its name");
        assert!(refusal.starts_with("InvalidAMIName.Duplicate"), "{refusal}");
        call(&mut cloud, "DeregisterImage", "ImageId", &again).expect("goes");
        call(&mut cloud, "RestoreImageFromRecycleBin", "ImageId", &image_id).expect("restores");
        let shown = call(&mut cloud, "DescribeImages", "ImageId.1", &image_id).expect("shows");
        assert_eq!(Cloud::ids(&shown, "imageState"), ["available"], "it was pending when it went");
        cloud.settle();
        cloud.audit();
    }
}
