//! Volumes, and on which host their bytes lie.

use awan_state::{Home, Index, Millis};
use serde::{Deserialize, Serialize};

use crate::id::{HostId, ImageId, InstanceId, SnapshotId, VolumeId};
use crate::instance::{Detach, Instance, State, VmReport, state};
use crate::key::SealedKey;
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub home: Home,
    pub id: VolumeId,
    pub zone: String,
    pub size_gib: u32,
    /// `gp3`, …
    pub kind: String,
    /// Provisioned, or what the kind gives for the size.
    #[serde(default)]
    pub iops: Option<u32>,
    /// In MiB/s.
    #[serde(default)]
    pub throughput: Option<u32>,
    /// What it begins as, or what it held when a snapshot was last made of it.
    pub image: Option<ImageId>,
    /// How often that was.
    #[serde(default)]
    pub generation: u32,
    pub snapshot: Option<SnapshotId>,
    pub attachment: Option<VolumeAttachment>,
    /// The last one.
    #[serde(default)]
    pub modification: Option<Modification>,
    #[serde(default)]
    pub auto_enable_io: bool,
    #[serde(default)]
    pub client_token: Option<String>,
    /// `None`: it is not encrypted. It is made with the volume, and never changes.
    #[serde(default)]
    pub key: Option<SealedKey>,
    pub created: Millis,
}
record!(Volume, "volume", VolumeId, Tenant, "InvalidVolume.NotFound", "The volume '{}' does not exist.", |volume| {
    volume
        .attachment
        .iter()
        .map(|a| Index { name: Volume::BY_DEVICE, value: format!("{}:{}", a.instance, a.device), everywhere: false })
        .collect()
});

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeAttachment {
    pub instance: InstanceId,
    /// The name that the tenant gave: `/dev/sdf`.
    pub device: String,
    pub delete_on_termination: bool,
    pub at: Millis,
    /// It is to end, and its host has not yet said that it has.
    #[serde(default)]
    pub detach: Option<Detach>,
}

/// What a tenant asked a volume to become, which it is meant to be from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modification {
    pub from: Shape,
    pub to: Shape,
    pub began: Millis,
    /// When the host had done it; at once where nothing had to be done.
    pub ended: Option<Millis>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    pub size_gib: u32,
    pub kind: String,
    pub iops: Option<u32>,
    pub throughput: Option<u32>,
}

/// What a volume can do each second at most; by default all that its host can. Source: "Amazon EBS volume types", EBS user guide.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Operations.
    pub iops: Option<Rate>,
    /// Bytes.
    pub throughput: Option<Rate>,
    /// In bytes: a larger operation counts as several.
    pub operation: u64,
}

/// Per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    pub always: u64,
    pub burst: Option<Burst>,
}

/// What was not used before allows more for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burst {
    pub rate: u64,
    pub seconds: u64,
}

const MIB: u64 = 1 << 20;

impl Rate {
    fn always(always: u64) -> Self {
        Self { always, burst: None }
    }

    /// So much credit lets it be faster.
    fn bursting(always: u64, rate: u64, credit: u64) -> Self {
        let burst = Burst { rate, seconds: (credit / rate.max(1)).max(1) };
        Self { always, burst: Some(burst).filter(|_| rate > always) }
    }
}

impl Shape {
    pub fn limits(&self) -> Limits {
        let (gib, iops) = (u64::from(self.size_gib), self.iops.map(u64::from));
        let always = |iops: Option<u64>, mib: u64| Limits {
            iops: iops.map(Rate::always),
            throughput: Some(Rate::always(mib * MIB)),
            operation: MIB / 4,
        };
        // Rates and credit of those on spinning disks go by their size.
        let spinning = |base: u64, burst: u64, most: [u64; 2]| {
            let rate = |per_tib: u64, most: u64| (per_tib * MIB * gib / 1024).min(most * MIB);
            let throughput = Rate::bursting(rate(base, most[0]), rate(burst, most[1]), gib << 30);
            Limits { iops: None, throughput: Some(throughput), operation: MIB }
        };
        match self.kind.as_str() {
            "gp3" => always(iops, u64::from(self.throughput.unwrap_or(125))),
            "gp2" => {
                let rate = Rate::bursting(iops.unwrap_or(100), 3_000, 5_400_000);
                Limits { iops: Some(rate), ..always(None, if gib > 170 { 250 } else { 128 }) }
            }
            "io1" => {
                let n = iops.unwrap_or(0);
                always(iops, (n / 4).min(500).max(n / 64).min(1_000))
            }
            "io2" => always(iops, (iops.unwrap_or(0) / 4).min(4_000)),
            "st1" => spinning(40, 250, [500, 500]),
            "sc1" => spinning(12, 80, [192, 250]),
            _ => always(Some(200), 90),
        }
    }
}

/// As many snapshots can be made of one volume: QEMU's names of what is open have room for this number.
pub const GENERATION_MAX: u32 = 999_999;

impl Volume {
    pub const BY_DEVICE: &'static str = "device";

    pub fn state(&self) -> &'static str {
        if self.attachment.is_some() { "in-use" } else { "available" }
    }

    pub fn shape(&self) -> Shape {
        let Self { size_gib, kind, iops, throughput, .. } = self;
        Shape { size_gib: *size_gib, kind: kind.clone(), iops: *iops, throughput: *throughput }
    }

    pub fn is_attached_to(&self, instance: &InstanceId) -> bool {
        self.attachment.as_ref().is_some_and(|a| a.instance == *instance)
    }

    /// The state of its attachment to an instance: of a machine that is on, what its host says of the current run.
    pub fn attachment_state(&self, instance: &Instance, report: Option<&VmReport>) -> &'static str {
        if self.attachment.as_ref().is_some_and(|a| a.detach.is_some()) {
            return "detaching";
        }
        let there = report.filter(|r| r.run == instance.run).is_some_and(|r| r.has_disk(&self.id));
        match state(instance, report) {
            State::Pending | State::Running if !there => "attaching",
            _ => "attached",
        }
    }
}

/// The host that holds a volume's bytes; written when it is first placed, kept until the volume is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumePlacement {
    pub home: Home,
    pub id: VolumeId,
    pub host: HostId,
    pub size_gib: u32,
}
record!(
    VolumePlacement,
    "volume-placement",
    VolumeId,
    System,
    "InternalError",
    "The volume '{}' lies on no host",
    |place| vec![Index { name: "volume-on", value: format!("{}/{}", place.host, place.id), everywhere: true }]
);

/// What an account's volumes of one region are to be like unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EbsDefaults {
    pub home: Home,
    pub id: String,
    pub encrypt: bool,
    pub kms_key: Option<String>,
}
record!(EbsDefaults, "ebs-defaults", String, Tenant, "InternalError", "The account has no defaults '{}'");

impl EbsDefaults {
    /// There is one of each home.
    pub const ID: &'static str = "ebs";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_the_limits_that_ec2_gives_it() {
        let of = |kind: &str, size_gib, iops, throughput| {
            let Limits { iops, throughput, operation } =
                Shape { size_gib, kind: kind.into(), iops, throughput }.limits();
            let shown = |rate: Option<Rate>, unit: u64| match rate {
                None => "-".to_owned(),
                Some(Rate { always, burst: None }) => (always / unit).to_string(),
                Some(Rate { always, burst: Some(b) }) => {
                    format!("{} ({} for {} s)", always / unit, b.rate / unit, b.seconds)
                }
            };
            format!("{}, {} MiB/s, {} KiB", shown(iops, 1), shown(throughput, MIB), operation / 1024)
        };
        assert_eq!(of("gp3", 8, Some(3_000), Some(125)), "3000, 125 MiB/s, 256 KiB");
        assert_eq!(of("gp2", 8, Some(100), None), "100 (3000 for 1800 s), 128 MiB/s, 256 KiB");
        assert_eq!(of("gp2", 2_000, Some(6_000), None), "6000, 250 MiB/s, 256 KiB");
        assert_eq!(of("io1", 8, Some(100), None), "100, 25 MiB/s, 256 KiB");
        assert_eq!(of("io1", 1_000, Some(20_000), None), "20000, 500 MiB/s, 256 KiB");
        assert_eq!(of("io1", 2_000, Some(64_000), None), "64000, 1000 MiB/s, 256 KiB");
        assert_eq!(of("io2", 64, Some(64_000), None), "64000, 4000 MiB/s, 256 KiB");
        assert_eq!(of("st1", 1_024, None, None), "-, 40 (250 for 4194 s) MiB/s, 1024 KiB");
        assert_eq!(of("st1", 16_384, None, None), "-, 500 MiB/s, 1024 KiB");
        assert_eq!(of("sc1", 512, None, None), "-, 6 (40 for 13107 s) MiB/s, 1024 KiB");
        assert_eq!(of("standard", 8, None, None), "200, 90 MiB/s, 256 KiB");
    }
}
