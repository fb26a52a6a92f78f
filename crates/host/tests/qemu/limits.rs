//! What a disk can do each second, from the first moment on and until it is told otherwise.

use std::time::Duration;

use awan_host::driver::{BlockDevice, Hypervisor as _, Volumes as _};
use awan_host::volume::qcow2::FileVolumes;
use awan_model::id::{ImageId, VolumeId};
use awan_model::import::Taken;
use awan_model::instance::Phase;
use awan_model::plan::VmPlan;
use awan_model::volume::{Burst, Limits, Rate};
use serde_json::{Value, json};

use super::Host;
use super::monitor::Monitor;

fn limits(iops: u64) -> Limits {
    let burst = (iops == 100).then_some(Burst { rate: 3_000, seconds: 1_800 });
    let throughput = Some(Rate { always: 125 << 20, burst: None });
    Limits { iops: Some(Rate { always: iops, burst }), throughput, operation: 256 << 10 }
}

/// What QEMU holds the disks of a machine to: operations, the same in bursts, for how long, bytes. While nobody else
/// has its ear.
fn held_to(host: &Host, vm: &VmPlan) -> Vec<[u64; 4]> {
    let mut monitor = Monitor::connect(&host.folder.path().join("run/vm").join(vm.id.as_str()).join("qmp.sock"));
    let told = monitor.ask(&json!({"execute": "query-block"}));
    let one = |disk: &Value| {
        let is = &disk["inserted"];
        ["iops", "iops_max", "iops_max_length", "bps"].map(|name| is[name].as_u64().unwrap_or_default())
    };
    told["return"].as_array().expect("a list").iter().map(one).collect()
}

fn noted(host: &Host, vm: &VmPlan) -> Vec<Option<Limits>> {
    host.seen(&vm.id).expect("is there").disks.into_iter().map(|disk| disk.limits).collect()
}

fn limit(host: &Host, vm: &VmPlan, volume: &VolumeId, to: Limits) {
    host.wait(async {
        // Until a new life has QEMU's ear, it takes no orders.
        while let Err(e) = host.driver().limit(&vm.id, volume, to).await {
            assert!(format!("{e:#}").contains("does not listen yet"), "{e:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn a_disk_is_held_to_its_limits_whatever_becomes_of_it_and_of_who_set_them() {
    let Some(mut host) = Host::new() else { return };
    let vm = host.vm(1, 1);
    let root = BlockDevice { limits: limits(3_000), ..host.disk(&vm) };
    let volume = root.volume.clone();
    host.wait(host.driver().start(&vm, vec![root], Vec::new())).expect("starts");
    host.until(&vm, Phase::Running);
    let data = BlockDevice { limits: limits(100), ..host.empty(9, 1) };
    host.wait(host.driver().attach(&vm.id, data.clone())).expect("attaches");
    assert_eq!(noted(&host, &vm), [Some(limits(3_000)), Some(limits(100))]);
    host.close();
    let bytes = 125 << 20;
    assert_eq!(held_to(&host, &vm), [[3_000, 0, 0, bytes], [100, 3_000, 1_800, bytes]]);
    host.open();
    host.until(&vm, Phase::Running);
    limit(&host, &vm, &data.volume, limits(500));
    limit(&host, &vm, &volume, limits(4_000));
    let volumes =
        FileVolumes::new(host.folder.path().join("volumes"), host.folder.path().join("images")).expect("opens");
    let set = ImageId::made("ami-00000000000000001".into());
    let taken = Taken { volume: volume.clone(), below: None, generation: 1, set, volume_gib: 1, key: None };
    let fork = host.wait(volumes.fork(&taken)).expect("makes the next file");
    host.wait(host.driver().fork(&vm.id, vec![fork])).expect("goes on");
    assert_eq!(noted(&host, &vm), [Some(limits(4_000)), Some(limits(500))]);
    host.close();
    assert_eq!(held_to(&host, &vm), [[4_000, 0, 0, bytes], [500, 0, 0, bytes]], "in its next file too");
    host.open();
    limit(&host, &vm, &volume, Limits::default());
    host.close();
    assert_eq!(held_to(&host, &vm)[0], [0; 4]);
    host.open();
    host.until(&vm, Phase::Running);
}
