//! EnableEbsEncryptionByDefault: volumes that are made from then on are encrypted, whatever the request says.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::defaults;
use crate::error::Result;

pub fn enable_ebs_encryption_by_default(
    tx: &mut Tx<Tenant>,
    req: ec2::EnableEbsEncryptionByDefaultRequest,
) -> Result<ec2::EnableEbsEncryptionByDefaultResult> {
    let ec2::EnableEbsEncryptionByDefaultRequest { dry_run: _ } = req;
    let encrypt = defaults::change(tx, |defaults| defaults.encrypt = true).encrypt;
    Ok(ec2::EnableEbsEncryptionByDefaultResult { ebs_encryption_by_default: Some(encrypt) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn new_volumes_are_encrypted_whatever_the_request_says_and_what_cannot_be_is_refused() {
        let mut cloud = Cloud::new();
        let plain = cloud.tenant("acme").volume("us-east-1a");
        let of_plain = cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &plain)]).expect("makes");
        let of_plain = Cloud::ids(&of_plain, "snapshotId").remove(0);
        let told = cloud.tenant("acme").call("EnableEbsEncryptionByDefault", &[]).expect("enables");
        assert_eq!(Cloud::ids(&told, "ebsEncryptionByDefault"), ["true"]);
        let encrypted = |cloud: &mut Cloud, action: &str, ask: &[(&str, &str)]| {
            let said = cloud.tenant("acme").call(action, ask).expect(action);
            Cloud::ids(&said, "encrypted")
        };
        let make = [("AvailabilityZone", "us-east-1a"), ("Size", "1")];
        assert_eq!(encrypted(&mut cloud, "CreateVolume", &make), ["true"]);
        for more in [("Encrypted", "false"), ("SnapshotId", &of_plain)] {
            assert_eq!(encrypted(&mut cloud, "CreateVolume", &[make[0], make[1], more]), ["true"], "{more:?}");
        }
        let (device, size) =
            (("BlockDeviceMapping.1.DeviceName", "/dev/sdf"), ("BlockDeviceMapping.1.Ebs.VolumeSize", "2"));
        let id = cloud.tenant("acme").run_with(&[device, size]).expect("launches").remove(0);
        let of_it = [("Filter.1.Name", "attachment.instance-id"), ("Filter.1.Value.1", id.as_str())];
        assert_eq!(encrypted(&mut cloud, "DescribeVolumes", &of_it), ["true", "true"], "its root, and another");
        let all = [("Filter.1.Name", "encrypted"), ("Filter.1.Value.1", "false")];
        let shown = cloud.tenant("acme").call("DescribeVolumes", &all).expect("answers");
        assert_eq!(Cloud::ids(&shown, "volumeId").iter().filter(|id| **id == plain).count(), 1, "{shown}");
        // A copy of what is plain is written anew.
        let builtin = cloud.builtin_snapshot();
        let ask = [("SourceSnapshotId", builtin.as_str()), ("SourceRegion", "us-east-1")];
        let copy = cloud.tenant("acme").call("CopySnapshot", &ask).expect("copies");
        let copy = Cloud::ids(&copy, "snapshotId").remove(0);
        let shown = cloud.tenant("acme").call("DescribeSnapshots", &[("SnapshotId.1", &copy)]).expect("answers");
        assert_eq!(
            (Cloud::ids(&shown, "encrypted"), Cloud::ids(&shown, "status")),
            (vec!["true".to_owned()], vec!["pending".to_owned()])
        );
        let ask = [("DiskContainer.Url", "http://x/disk"), ("DiskContainer.Format", "RAW")];
        let made = cloud.tenant("acme").call("ImportSnapshot", &ask).expect("imports");
        assert_eq!(Cloud::ids(&made, "encrypted"), ["true"]);
        cloud.settle();
        cloud.audit();
        let made = cloud.tenant("other").call("CreateVolume", &make).expect("it is the account's own");
        assert_eq!(Cloud::ids(&made, "encrypted"), ["false"]);
        let told = cloud.tenant("acme").call("DisableEbsEncryptionByDefault", &[]).expect("disables");
        assert_eq!(Cloud::ids(&told, "ebsEncryptionByDefault"), ["false"]);
        assert_eq!(encrypted(&mut cloud, "CreateVolume", &make), ["false"]);
        // A key that there is not is looked for when something is to be encrypted.
        cloud.tenant("acme").call("ModifyEbsDefaultKmsKeyId", &[("KmsKeyId", "alias/mine")]).expect("is kept");
        let ask = [make[0], make[1], ("Encrypted", "true")];
        let refusal = cloud.tenant("acme").call("CreateVolume", &ask).expect_err("there is no such key");
        assert_eq!(
            refusal,
            "InvalidParameterValue: The KMS key 'alias/mine' does not exist. There is alias/aws/ebs only."
        );
    }
}
