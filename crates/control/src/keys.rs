//! Which volumes are encrypted, and what their keys are made of. The keys themselves are made on hosts: nothing here ever
//! has one.

use awan_model::installation::Installation;
use awan_model::key::SealedKey;
use awan_model::volume::EbsDefaults;
use awan_state::{Home, Tenant, Tx};

use crate::actions::ec2::vpc::create_vpc::brief;
use crate::error::{Code, Error, Result, invalid, refuse};

/// The only key that there is: each account has it, in each region.
pub const ALIAS: &str = "alias/aws/ebs";

/// As answers show it.
pub fn shown(home: &Home, encrypted: bool) -> Option<String> {
    encrypted.then(|| format!("arn:aws:kms:{}:{}:{ALIAS}", home.region(), home.account()))
}

/// Whether what a request asks for is to be encrypted: because it says so, or its source is, or its account's volumes are,
/// whatever it says. Source: "How EBS encryption works", EBS User Guide.
pub fn wanted(tx: &mut Tx<Tenant>, asked: Option<bool>, key: Option<&str>, source: bool) -> Result<bool> {
    let defaults = tx.find::<EbsDefaults>(&EbsDefaults::ID.to_owned());
    let encrypted = asked == Some(true) || source || defaults.as_ref().is_some_and(|defaults| defaults.encrypt);
    must_be_known(tx, key, encrypted)?;
    if encrypted {
        let chosen = defaults.and_then(|defaults| defaults.kms_key.clone());
        known(tx, given(key).or(chosen.as_deref()))?;
        master(tx)?;
    }
    Ok(encrypted)
}

fn given(key: Option<&str>) -> Option<&str> {
    key.filter(|key| !key.is_empty())
}

/// Refuses a key that there is not, and one for what is not encrypted.
pub fn must_be_known(tx: &mut Tx<Tenant>, key: Option<&str>, encrypted: bool) -> Result<()> {
    if given(key).is_some() && !encrypted {
        let message = "The parameter KmsKeyId requires the parameter Encrypted to be set.";
        return Err(refuse(Code::InvalidParameterDependency, message));
    }
    known(tx, given(key))
}

fn known(tx: &mut Tx<Tenant>, key: Option<&str>) -> Result<()> {
    match key {
        Some(key) if key != ALIAS && shown(tx.home(), true).as_deref() != Some(key) => {
            let message = format!("The KMS key '{}' does not exist. There is {ALIAS} only.", brief(key));
            Err(invalid(message))
        }
        _ => Ok(()),
    }
}

fn master(tx: &mut Tx<Tenant>) -> Result<String> {
    let installation = tx.public::<Installation>(&Installation::ID.into());
    installation.and_then(|installation| installation.master_key.clone()).ok_or_else(|| {
        let message = "The parameter Encrypted is not supported: this server has no master key (--master-key)";
        refuse(Code::UnsupportedOperation, message)
    })
}

/// What the key of a new volume, or of a copy, is made of.
pub fn new(tx: &mut Tx<Tenant>, of: &impl ToString) -> Result<SealedKey> {
    Ok(SealedKey { master: master(tx)?, of: of.to_string(), seed: tx.random() })
}

/// Refuses to share what is encrypted: who has it could not have its key.
pub fn cannot_be_shared() -> Error {
    refuse(Code::InvalidParameter, "Encrypted snapshots with EBS default key cannot be shared")
}

#[cfg(test)]
mod tests {
    use awan_model::import::Content;
    use awan_model::plan::EncryptionPlan;
    use awan_model::volume::Volume;
    use awan_state::System;

    use crate::plan;
    use crate::testing::Cloud;

    fn planned(cloud: &Cloud, id: &str) -> EncryptionPlan {
        let plans = cloud.control.db.read(System, |tx| plan::all(tx, 1));
        let found = plans.values().flat_map(|plan| &plan.volumes).find(|volume| volume.id.as_str() == id).cloned();
        found.and_then(|volume| volume.encryption).expect("has a key")
    }

    #[test]
    fn every_volume_has_a_key_of_its_own_which_is_there_as_long_as_something_needs_it() {
        let mut cloud = Cloud::new();
        let zone = ("AvailabilityZone", "us-east-1a");
        let ask = [zone, ("Size", "1"), ("Encrypted", "true")];
        let volume = Cloud::ids(&cloud.tenant("acme").call("CreateVolume", &ask).expect("makes"), "volumeId").remove(0);
        // Its host is to keep what it holds.
        let instance = cloud.tenant("acme").run();
        cloud.settle();
        let attach = [("VolumeId", volume.as_str()), ("InstanceId", &instance), ("Device", "/dev/sdf")];
        cloud.tenant("acme").call("AttachVolume", &attach).expect("attaches");
        cloud.settle();
        let made = cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &volume)]).expect("makes");
        assert_eq!(Cloud::ids(&made, "encrypted"), ["true"]);
        let snapshot = Cloud::ids(&made, "snapshotId").remove(0);
        cloud.settle();
        let copy = [("SourceSnapshotId", snapshot.as_str()), ("SourceRegion", "us-east-1")];
        let copied = cloud.tenant("acme").call("CopySnapshot", &copy).expect("copies");
        let copied = Cloud::ids(&copied, "snapshotId").remove(0);
        let filter = [("Owner.1", "self"), ("Filter.1.Name", "encrypted"), ("Filter.1.Value.1", "true")];
        let shown = cloud.tenant("acme").call("DescribeSnapshots", &filter).expect("answers");
        assert_eq!(Cloud::ids(&shown, "snapshotId").len(), 2, "{shown}");
        let ask = [zone, ("SnapshotId", copied.as_str()), ("Encrypted", "false")];
        let made = cloud.tenant("acme").call("CreateVolume", &ask).expect("makes");
        assert_eq!(Cloud::ids(&made, "encrypted"), ["true"], "encryption is not taken off");
        let child = Cloud::ids(&made, "volumeId").remove(0);
        let attach = [("VolumeId", child.as_str()), ("InstanceId", &instance), ("Device", "/dev/sdg")];
        cloud.tenant("acme").call("AttachVolume", &attach).expect("attaches");
        cloud.settle();
        let (old, new) = (planned(&cloud, &volume), planned(&cloud, &child));
        assert_eq!((old.key.of.as_str(), old.key.master.as_str()), (volume.as_str(), "0badcafe"));
        assert!(old.below.is_empty() && old.key.seed != new.key.seed && new.key.of == child);
        assert_eq!(new.below.into_values().collect::<Vec<_>>(), std::slice::from_ref(&old.key));
        cloud.audit();
        // Whatever goes first, the key of a volume is there as long as something needs it, and no longer.
        let named = |cloud: &Cloud| {
            cloud.control.db.read(System, |tx| {
                let kept = tx.all::<Content>().into_iter().filter_map(|content| content.taken()?.key.clone());
                let volumes = tx.all::<Volume>().into_iter().filter_map(|volume| volume.key.clone());
                kept.chain(volumes).filter(|key| *key == old.key).count()
            })
        };
        assert_eq!(named(&cloud), 2, "its own record, and that of what it held");
        for volume in [&volume, &child] {
            let ask = [("VolumeId", volume.as_str()), ("Force", "true")];
            cloud.tenant("acme").call("DetachVolume", &ask).expect("detaches");
            cloud.settle();
            cloud.tenant("acme").call("DeleteVolume", &[("VolumeId", volume)]).expect("deletes");
        }
        for id in [&snapshot, &copied] {
            assert_eq!(named(&cloud), 1);
            cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", id)]).expect("deletes");
            cloud.settle();
        }
        assert_eq!(named(&cloud), 0);
        cloud.audit();
    }
}
