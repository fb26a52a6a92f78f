//! ModifyVolume. A volume of a running instance grows, and is held to other limits, while it is in use.
//!
//! EC2's pause of hours between modifications has no reason here.

use awan_model::instance::{Instance, State, VmReport, state};
use awan_model::volume::{Modification, Shape, Volume};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::shape::{Asked, shape};
use super::view;
use crate::error::{Code, Result, invalid, missing, refuse, refuse_if};
use crate::schedule;

pub fn modify_volume(tx: &mut Tx<Tenant>, req: ec2::ModifyVolumeRequest) -> Result<ec2::ModifyVolumeResult> {
    let ec2::ModifyVolumeRequest { dry_run: _, volume_id, size, volume_type, iops, throughput, multi_attach_enabled } =
        req;
    refuse_if(multi_attach_enabled == Some(true), "MultiAttachEnabled")?;
    let volume = tx.get::<Volume>(&volume_id.ok_or_else(|| missing("VolumeId"))?.parse()?)?;
    if volume.modification.as_ref().is_some_and(|m| m.ended.is_none()) {
        let message = format!("Volume {} is already being modified.", volume.id);
        return Err(refuse(Code::IncorrectModificationState, message));
    }
    let from = volume.shape();
    let to = wanted(&from, volume_type, size, Asked { iops, throughput })?;
    if to.size_gib < from.size_gib {
        return Err(invalid("New size cannot be smaller than existing size"));
    }
    schedule::grow(tx, &volume, to.size_gib)?;
    let began = tx.now();
    let same = to.size_gib == from.size_gib && to.limits() == from.limits();
    let ended = (same || !is_open(tx, &volume)).then_some(began);
    let modified = Volume {
        size_gib: to.size_gib,
        kind: to.kind.clone(),
        iops: to.iops,
        throughput: to.throughput,
        modification: Some(Modification { from, to, began, ended }),
        ..(*volume).clone()
    };
    tx.put(modified.clone());
    Ok(ec2::ModifyVolumeResult { volume_modification: view::modification(&modified) })
}

/// What a request does not name stays, unless another type has no such thing.
fn wanted(from: &Shape, kind: Option<String>, size: Option<i32>, asked: Asked) -> Result<Shape> {
    let kind = kind.unwrap_or_else(|| from.kind.clone());
    let same = kind == from.kind;
    let size = size.or(view::number(Some(from.size_gib))).unwrap_or_default();
    let provisioned = matches!(kind.as_str(), "gp3" | "io1" | "io2");
    let kept = if same { view::number(from.iops) } else { Some(3_000) };
    let iops = asked.iops.or(kept.filter(|_| provisioned));
    let throughput = asked.throughput.or(view::number(from.throughput).filter(|_| same));
    shape(&kind, size, Asked { iops, throughput })
}

/// A machine may have it open. What is opened later grows before.
fn is_open(tx: &mut Tx<Tenant>, volume: &Volume) -> bool {
    let Some(id) = volume.attachment.as_ref().map(|a| &a.instance) else { return false };
    let Some(instance) = tx.find::<Instance>(id) else { return false };
    let report = tx.find::<VmReport>(id);
    !matches!(state(&instance, report.as_deref()), State::Stopped | State::Terminated)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_volume_in_use_is_modified_when_its_host_says_that_it_has_grown() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let root = cloud.instance(&instance).0.root_volume.to_string();
        let grow = [("VolumeId", root.as_str()), ("Size", "5"), ("VolumeType", "io2"), ("Iops", "400")];
        let told = cloud.tenant("acme").call("ModifyVolume", &grow).expect("modifies");
        let shown = ["modificationState", "originalSize", "targetSize", "originalVolumeType", "targetVolumeType"];
        let of = |xml: &str| shown.map(|name| Cloud::ids(xml, name).pop().unwrap_or_default()).join(" ");
        assert_eq!(of(&told), "modifying 1 5 gp3 io2");
        let refusal = cloud.tenant("acme").call("ModifyVolume", &grow).expect_err("is under way");
        assert!(refusal.starts_with("IncorrectModificationState"), "{refusal}");
        cloud.settle();
        let told = cloud.tenant("acme").call("DescribeVolumesModifications", &[]).expect("answers");
        assert_eq!(of(&told), "completed 1 5 gp3 io2");
        let smaller = [("VolumeId", root.as_str()), ("Size", "4")];
        let refusal = cloud.tenant("acme").call("ModifyVolume", &smaller).expect_err("never shrinks");
        assert_eq!(refusal, "InvalidParameterValue: New size cannot be smaller than existing size");
        cloud.audit();
    }

    #[test]
    fn a_volume_that_nobody_uses_is_modified_at_once() {
        let mut cloud = Cloud::new();
        let volume = cloud.tenant("acme").volume("us-east-1a");
        let ask = [("VolumeId", volume.as_str()), ("VolumeType", "gp3"), ("Throughput", "250")];
        let told = cloud.tenant("acme").call("ModifyVolume", &ask).expect("modifies");
        assert_eq!(Cloud::ids(&told, "modificationState"), ["completed"]);
        let shown = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        assert_eq!(
            (Cloud::ids(&shown, "iops"), Cloud::ids(&shown, "throughput")),
            (vec!["3000".into()], vec!["250".into()])
        );
        cloud.audit();
    }
}
