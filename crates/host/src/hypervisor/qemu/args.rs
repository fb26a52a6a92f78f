//! QEMU's command line for one run. Pure.
//!
//! **Invariants.** Everything that a tenant named is a value inside JSON made by serde, or absent. Nothing is named by a
//! path of the host that the machine could write to: files and sockets come as descriptors.

use awan_model::id::{InstanceId, VolumeId};
use awan_model::image::Boot;
use awan_model::interface::Mac;
use awan_model::plan::VmPlan;
use awan_model::volume::Limits;
use serde_json::{Value, json};

use crate::hypervisor::probe::Accelerator;
use crate::keys::Secrets;

/// Files as QEMU opens them: by descriptors that it inherits, so that no path of the host need be reachable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFds {
    pub volume: VolumeId,
    pub disk: i32,
    /// The nearest first.
    pub backing: Vec<i32>,
    /// What opens the files, and which of it each: see [`Secrets`].
    pub keys: Vec<i32>,
    pub secrets: Secrets,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fds {
    pub disks: Vec<DiskFds>,
    pub taps: Vec<(Mac, i32)>,
    /// Kernel and initial file system.
    pub direct: Option<(i32, i32)>,
    /// Listening sockets, and the file that the console is written to.
    pub qmp: i32,
    pub serial: i32,
    pub console: i32,
}

/// A file descriptor set that no disk has.
const CONSOLE_SET: usize = 100_000;

/// QEMU's name of the display. Nobody looks at it but who asks for a picture: see `screen`.
pub const DISPLAY: &str = "vga0";
/// What it keeps of pictures, which bounds how large these are.
pub const DISPLAY_MIB: u64 = 8;

/// Names a run on a command line, so that strays are found: see `adopt`.
pub fn mark(tag: &str, id: &InstanceId, run: u32) -> String {
    format!("{}{id}-{run}", mark_prefix(tag))
}

pub fn mark_prefix(tag: &str) -> String {
    format!("awan-{tag}-")
}

/// EC2's instances are known by a UUID that begins with `ec2`; cloud-init looks for it (guest side: product_uuid).
pub fn uuid(vm: &VmPlan) -> String {
    let digits = vm.id.digits();
    let padded = format!("ec2{digits:0>29}");
    let (a, b, c, d, e) = (&padded[..8], &padded[8..12], &padded[12..16], &padded[16..20], &padded[20..32]);
    format!("{a}-{b}-{c}-{d}-{e}")
}

pub fn arguments(vm: &VmPlan, tag: &str, accelerator: &Accelerator, fds: &Fds) -> Vec<String> {
    let mut args = Args(Vec::new());
    args.pair("-name", format!("guest={},debug-threads=on", mark(tag, &vm.id, vm.run)));
    for flag in ["-nodefaults", "-no-user-config", "-no-shutdown"] {
        args.0.push(flag.to_owned());
    }
    args.pair("-display", "none");
    let tcg = accelerator.name == "tcg";
    // Emulated on a busy machine, the older timers lose ticks while Linux measures them, and one boot in ten stands
    // still: see docs/decisions/0005. Under KVM Linux has the hypervisor's clock, and an HPET only costs.
    args.pair("-M", if tcg { "q35" } else { "q35,hpet=off" });
    // Emulated processors take turns in one thread: see docs/decisions/0010.
    let emulated = || format!("tcg,thread=single,tb-size={}", tb_size_mib(vm));
    args.pair("-accel", if tcg { emulated() } else { "kvm".to_owned() });
    args.pair("-cpu", accelerator.cpu);
    args.pair("-smp", vm.vcpus.to_string());
    args.pair("-m", vm.memory_mib.to_string());
    identity(&mut args, vm);
    // Disks beside the root are on ports too, because from there they can go while the guest runs.
    for port in 0..fds.disks.len().saturating_sub(1) + free_ports(accelerator, fds.disks.len()) {
        let (slot, function) = (PORT_SLOT + port / 8, port % 8);
        args.device(&json!({
            "driver": "pcie-root-port", "id": format!("rp{port}"), "chassis": port + 1, "slot": port + 1, "bus": "pcie.0",
            "addr": format!("{slot:#x}.{function:#x}"), "multifunction": function == 0,
        }));
    }
    args.device(&json!({
        "driver": "VGA", "id": DISPLAY, "vgamem_mb": DISPLAY_MIB, "edid": false, "bus": "pcie.0", "addr": "0x1",
    }));
    disks(&mut args, &fds.disks);
    interfaces(&mut args, vm, &fds.taps);
    args.pair("-object", r#"{"qom-type":"rng-random","id":"rng0","filename":"/dev/urandom"}"#);
    args.device(&json!({"driver": "virtio-rng-pci", "rng": "rng0", "bus": "pcie.0", "addr": "0x2"}));
    args.device(&json!({"driver": "vmgenid", "guid": uuid(vm)}));
    consoles(&mut args, fds);
    if let (Boot::Direct { command_line }, Some((kernel, initrd))) = (&vm.boot, fds.direct) {
        args.pair("-kernel", format!("/proc/self/fd/{kernel}"));
        args.pair("-initrd", format!("/proc/self/fd/{initrd}"));
        args.pair("-append", command_line.clone());
    }
    args.pair("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    args.0
}

/// Slots of the root bus: the chipset has 0 and 0x1f. An instance type has at most 15 interfaces, one to a slot, since
/// guests name their interfaces after these: the primary itself, and the ports of the others. Ports of disks are eight to
/// a slot.
const NIC_SLOT: usize = 0x8;
const PORT_SLOT: usize = NIC_SLOT + 15;
/// Chassis and slot numbers of the ports of interfaces begin behind all those of disks.
const INTERFACE_CHASSIS: usize = 64;

/// Places for disks that come while the guest runs: all that there can be. Under TCG each costs 30 ms of boot, and there
/// are few.
pub fn free_ports(accelerator: &Accelerator, disks: usize) -> usize {
    if accelerator.name == "tcg" { 4 } else { DATA_DISKS_MAX.saturating_sub(disks.saturating_sub(1)) }
}

/// As many as AttachVolume allows beside the root.
const DATA_DISKS_MAX: usize = 26;

/// Places for interfaces beside the primary: as many as the instance's type may have.
pub fn interface_ports(vm: &VmPlan, interfaces: usize) -> usize {
    interfaces.max(vm.interfaces_max as usize).saturating_sub(1).min(PORT_SLOT - NIC_SLOT - 1)
}

pub fn is_interface_port(name: &str) -> bool {
    name.strip_prefix("np").is_some_and(|n| n.parse::<usize>().is_ok())
}

/// The cache of translated code. Small guests run little code.
pub fn tb_size_mib(vm: &VmPlan) -> u64 {
    if vm.memory_mib <= 1024 { 64 } else { 128 }
}

struct Args(Vec<String>);

impl Args {
    fn pair(&mut self, flag: &str, value: impl Into<String>) {
        self.0.push(flag.to_owned());
        self.0.push(value.into());
    }

    fn device(&mut self, device: &Value) {
        self.pair("-device", device.to_string());
    }
}

/// QEMU's lists are parted by commas; a doubled one stands for itself.
fn escaped(value: &str) -> String {
    value.replace(',', ",,")
}

/// What a guest reads in its firmware tables: an EC2 instance (guests see the vendor in product tables, type 0 to 3).
fn identity(args: &mut Args, vm: &VmPlan) {
    let uuid = uuid(vm);
    args.pair("-uuid", uuid.clone());
    args.pair("-smbios", "type=0,vendor=Amazon EC2,version=1.0");
    args.pair(
        "-smbios",
        format!("type=1,manufacturer=Amazon EC2,product={},serial={uuid},uuid={uuid}", escaped(&vm.instance_type)),
    );
    args.pair("-smbios", format!("type=2,manufacturer=Amazon EC2,asset={}", vm.id));
    args.pair("-smbios", "type=3,manufacturer=Amazon EC2,asset=Amazon EC2");
}

/// The serial console and QEMU's own, both over sockets that already listen.
fn consoles(args: &mut Args, fds: &Fds) {
    args.pair("-add-fd", format!("fd={},set={CONSOLE_SET}", fds.console));
    args.pair(
        "-chardev",
        format!("socket,id=ser0,fd={},server=on,wait=off,logfile=/dev/fdset/{CONSOLE_SET},logappend=on", fds.serial),
    );
    args.pair("-serial", "chardev:ser0");
    args.pair("-chardev", format!("socket,id=qmp0,fd={},server=on,wait=off", fds.qmp));
    args.pair("-mon", "chardev=qmp0,mode=control");
}

fn disks(args: &mut Args, disks: &[DiskFds]) {
    let mut sets = 1..;
    for (n, disk) in disks.iter().enumerate() {
        let node = if n == 0 { ROOT_NODE.to_owned() } else { node(&disk.volume) };
        // By their names the descriptors of a disk that goes are found again.
        let mut give = |fd: i32, name: &str| {
            let set: u64 = sets.next().unwrap_or_default();
            args.pair("-add-fd", format!("fd={fd},set={set},opaque={name}"));
            set
        };
        let set = give(disk.disk, &node);
        let backing: Vec<u64> = disk.backing.iter().map(|fd| give(*fd, &below(&node))).collect();
        for (key, fd) in disk.keys.iter().enumerate() {
            let (id, file) = (secret(&node, key), format!("/proc/self/fd/{fd}"));
            args.pair("-object", json!({"qom-type": "secret", "id": id, "file": file}).to_string());
        }
        args.pair("-blockdev", block(&node, set, &backing, &disk.secrets).to_string());
        if n == 0 {
            let mut root = seat(&disk.volume, &node, "pcie.0");
            (root["id"], root["addr"]) = (ROOT_DEVICE.into(), "0x4".into());
            args.device(&root);
        } else {
            args.device(&seat(&disk.volume, &node, &format!("rp{}", n - 1)));
        }
    }
}

/// The primary interface never goes while the guest runs; the others are on ports, because from there they can.
fn interfaces(args: &mut Args, vm: &VmPlan, taps: &[(Mac, i32)]) {
    for port in 0..interface_ports(vm, taps.len()) {
        args.device(&json!({
            "driver": "pcie-root-port", "id": format!("np{port}"), "chassis": INTERFACE_CHASSIS + port,
            "slot": INTERFACE_CHASSIS + port, "bus": "pcie.0", "addr": format!("{:#x}", NIC_SLOT + 1 + port),
        }));
    }
    for (n, (mac, fd)) in taps.iter().enumerate() {
        args.pair("-netdev", format!("tap,id={},fd={fd},vhost=off", netdev(*mac)));
        let bus = n.checked_sub(1).map_or("pcie.0".to_owned(), |port| format!("np{port}"));
        let mut card = card(*mac, &bus);
        if n == 0 {
            card["addr"] = format!("{NIC_SLOT:#x}").into();
        }
        args.device(&card);
    }
}

/// The device that shows an interface to the guest.
pub fn card(mac: Mac, bus: &str) -> Value {
    json!({
        "driver": "virtio-net-pci", "id": card_name(mac), "netdev": netdev(mac), "mac": mac.to_string(), "romfile": "",
        "bus": bus,
    })
}

fn digits(mac: Mac) -> String {
    mac.to_string().replace(':', "")
}

/// QEMU's name of the device that shows an interface to the guest.
pub fn card_name(mac: Mac) -> String {
    format!("nic-{}", digits(mac))
}

/// The interface that a device of this name shows.
pub fn card_of(name: &str) -> Option<Mac> {
    let bytes = u64::from_str_radix(name.strip_prefix("nic-").filter(|digits| digits.len() == 12)?, 16).ok()?;
    let [_, _, mac @ ..] = bytes.to_be_bytes();
    Some(Mac(mac))
}

/// QEMU's name of an interface's open tap.
pub fn netdev(mac: Mac) -> String {
    format!("net-{}", digits(mac))
}

/// QEMU's names of the open root and of the device that shows it.
pub const ROOT_NODE: &str = "disk0";
const ROOT_DEVICE: &str = "vd0";

/// QEMU's name of the root, or of another volume.
pub fn node_of(volume: &VolumeId, root: bool) -> String {
    if root { ROOT_NODE.to_owned() } else { node(volume) }
}

/// QEMU's name of the device that shows a disk to the guest.
pub fn device_of(volume: &VolumeId, root: bool) -> String {
    if root { ROOT_DEVICE.to_owned() } else { device(volume) }
}

/// QEMU's name of what a node is a child of, if it was opened with it.
pub fn below(node: &str) -> String {
    format!("{node}.b")
}

/// Its name of what a node was made a child of later, where the other is taken.
pub fn shorter(node: &str) -> String {
    format!("{node}.c")
}

/// QEMU's name of the file that a node is read from.
pub fn file(node: &str) -> String {
    format!("{node}.f")
}

/// QEMU's name of a disk that went on in the file of a generation while it was open. See [`generation`].
pub fn forked(node: &str, generation: u32) -> String {
    format!("{node}.{generation}")
}

/// The generation that a disk went on in, by the name of what is open; zero: in none since it was opened. `None`: it is
/// not this disk.
pub fn generation(node: &str, open: &str) -> Option<u32> {
    match open.strip_prefix(node)? {
        "" => Some(0),
        rest => rest.strip_prefix('.')?.parse().ok(),
    }
}

/// QEMU's name of what opens files of a disk.
pub fn secret(node: &str, n: usize) -> String {
    format!("{node}.k{n}")
}

/// How a file of a disk is encrypted, the disk's own being the first; null: it is not.
pub fn encryption(node: &str, secrets: &Secrets, file: usize) -> Value {
    secrets.of_file(file).map_or(Value::Null, |n| json!({"format": "luks", "key-secret": secret(node, n)}))
}

/// An open volume: a file, and what is below it, the nearest first, each in a set of descriptors.
pub fn block(node: &str, set: u64, backing: &[u64], secrets: &Secrets) -> Value {
    let encrypted = |mut layer: Value, file: usize| {
        let how = encryption(node, secrets, file);
        if !how.is_null() {
            layer["encrypt"] = how;
        }
        layer
    };
    let open = |set: u64| json!({"driver": "file", "filename": format!("/dev/fdset/{set}"), "aio": "threads"});
    let mut lower = Value::Null;
    for (depth, set) in backing.iter().enumerate().rev() {
        let file = merged(open(*set), "read-only", true);
        lower = json!({"driver": "qcow2", "read-only": true, "file": file, "backing": lower});
        lower = encrypted(lower, depth + 1);
        if depth == 0 {
            lower["node-name"] = below(node).into();
        }
    }
    let top = json!({"driver": "qcow2", "node-name": node, "discard": "unmap", "backing": lower});
    let opened = merged(merged(open(set), "discard", "unmap"), "node-name", file(node));
    encrypted(merged(top, "file", opened), 0)
}

/// The device that shows an open volume to the guest.
pub fn seat(volume: &VolumeId, node: &str, bus: &str) -> Value {
    json!({
        "driver": "virtio-blk-pci", "id": device(volume), "drive": node, "serial": serial(volume), "bus": bus,
        "werror": "report", "rerror": "report",
    })
}

/// Holds the device that shows a volume to the guest to limits. Zero is none (QEMU: docs/throttle.txt).
pub fn limits(device: &str, limits: &Limits) -> Value {
    // What has the disk is behind what sits on the bus.
    let id = format!("/machine/peripheral/{device}/virtio-backend");
    let mut all = json!({"id": id, "bps_rd": 0, "bps_wr": 0, "iops_rd": 0, "iops_wr": 0});
    for (name, rate) in [("iops", limits.iops), ("bps", limits.throughput)] {
        all[name] = rate.map_or(0, |rate| rate.always).into();
        if let Some(burst) = rate.and_then(|rate| rate.burst) {
            all[format!("{name}_max")] = burst.rate.into();
            all[format!("{name}_max_length")] = burst.seconds.into();
        }
    }
    // What a larger operation counts as is of no matter where none is counted.
    if limits.iops.is_some() { merged(all, "iops_size", limits.operation) } else { all }
}

/// 20 characters is all that virtio-blk shows: `vol` and 17 digits.
pub fn serial(volume: &VolumeId) -> String {
    format!("vol{}", volume.digits())
}

/// QEMU's name of an open volume, beside the root.
pub fn node(volume: &VolumeId) -> String {
    format!("node-{}", volume.digits())
}

/// QEMU's name of the device that shows a volume to the guest, beside the root.
pub fn device(volume: &VolumeId) -> String {
    volume.to_string()
}

fn merged(mut object: Value, key: &str, value: impl Into<Value>) -> Value {
    object[key] = value.into();
    object
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use expect_test::expect;

    use super::*;
    use crate::hypervisor::testing::vm;
    use awan_model::instance::Wish;
    use awan_model::volume::{Burst, GENERATION_MAX, Rate};

    fn line(name: &'static str, cpu: &'static str, disks: usize, interfaces: usize) -> Vec<String> {
        let accelerator = Accelerator { name, cpu, note: String::new() };
        let volume: VolumeId = "vol-0123456789abcdef0".parse().expect("an id");
        let disks = (0..disks)
            .map(|_| DiskFds {
                volume: volume.clone(),
                disk: 10,
                backing: vec![11],
                keys: Vec::new(),
                secrets: Secrets::default(),
            })
            .collect();
        let taps = (1..).take(interfaces).map(|n| (Mac([10, 0, 0, 0, 0, n]), 12)).collect();
        let fds = Fds { disks, taps, direct: Some((13, 14)), qmp: 15, serial: 16, console: 17 };
        arguments(&vm("i-0123456789abcdef0", Wish::On, 3), "ab12", &accelerator, &fds)
    }

    fn shown(name: &'static str, cpu: &'static str) -> String {
        line(name, cpu, 1, 1).join(" ").replace(" -", "\n-")
    }

    #[test]
    fn every_device_has_an_address_of_its_own_where_all_places_are_taken() {
        let interfaces = awan_model::instance_type::builtin().iter().map(|t| t.max_interfaces).max().expect("types");
        let devices = line("kvm", "host", 1 + DATA_DISKS_MAX, interfaces as usize);
        let parsed = devices.iter().filter_map(|word| serde_json::from_str::<Value>(word).ok());
        let (mut addresses, mut ports, mut chips) = (BTreeSet::new(), BTreeSet::new(), 0);
        for device in parsed.filter(|device| device["bus"].is_string()) {
            chips += u32::from(device["driver"] == "virtio-net-pci");
            if device["driver"] == "pcie-root-port" {
                assert!(ports.insert((device["chassis"].to_string(), device["slot"].to_string())), "{device}");
            }
            if device["bus"] != "pcie.0" {
                assert!(addresses.insert((0, device["bus"].to_string())), "{device}");
                continue;
            }
            let address = device["addr"].as_str().expect("a text").trim_start_matches("0x").replace(".0x", ".");
            let (slot, function) = address.split_once('.').unwrap_or((&address, "0"));
            let slot = u8::from_str_radix(slot, 16).expect("a number");
            assert!((1..0x1f).contains(&slot), "{device}");
            assert!(addresses.insert((slot, function.to_owned())), "{device}");
        }
        assert_eq!((interfaces, chips), (15, 15));
        for (name, disks, expected) in [("kvm", 1, 26), ("kvm", 5, 26), ("kvm", 27, 26), ("tcg", 1, 4), ("tcg", 5, 8)] {
            let line = line(name, "host", disks, 1);
            let ports = line.iter().filter(|word| word.contains("\"id\":\"rp"));
            assert_eq!(ports.count(), expected, "{name} with {disks} disks");
        }
    }

    #[test]
    fn the_command_line_is_this_one() {
        expect![[r#"
            -name guest=awan-ab12-i-0123456789abcdef0-3,debug-threads=on
            -nodefaults
            -no-user-config
            -no-shutdown
            -display none
            -M q35
            -accel tcg,thread=single,tb-size=64
            -cpu max
            -smp 2
            -m 1024
            -uuid ec200000-0000-0000-1234-56789abcdef0
            -smbios type=0,vendor=Amazon EC2,version=1.0
            -smbios type=1,manufacturer=Amazon EC2,product=t3.micro,serial=ec200000-0000-0000-1234-56789abcdef0,uuid=ec200000-0000-0000-1234-56789abcdef0
            -smbios type=2,manufacturer=Amazon EC2,asset=i-0123456789abcdef0
            -smbios type=3,manufacturer=Amazon EC2,asset=Amazon EC2
            -device {"addr":"0x17.0x0","bus":"pcie.0","chassis":1,"driver":"pcie-root-port","id":"rp0","multifunction":true,"slot":1}
            -device {"addr":"0x17.0x1","bus":"pcie.0","chassis":2,"driver":"pcie-root-port","id":"rp1","multifunction":false,"slot":2}
            -device {"addr":"0x17.0x2","bus":"pcie.0","chassis":3,"driver":"pcie-root-port","id":"rp2","multifunction":false,"slot":3}
            -device {"addr":"0x17.0x3","bus":"pcie.0","chassis":4,"driver":"pcie-root-port","id":"rp3","multifunction":false,"slot":4}
            -device {"addr":"0x1","bus":"pcie.0","driver":"VGA","edid":false,"id":"vga0","vgamem_mb":8}
            -add-fd fd=10,set=1,opaque=disk0
            -add-fd fd=11,set=2,opaque=disk0.b
            -blockdev {"backing":{"backing":null,"driver":"qcow2","file":{"aio":"threads","driver":"file","filename":"/dev/fdset/2","read-only":true},"node-name":"disk0.b","read-only":true},"discard":"unmap","driver":"qcow2","file":{"aio":"threads","discard":"unmap","driver":"file","filename":"/dev/fdset/1","node-name":"disk0.f"},"node-name":"disk0"}
            -device {"addr":"0x4","bus":"pcie.0","drive":"disk0","driver":"virtio-blk-pci","id":"vd0","rerror":"report","serial":"vol0123456789abcdef0","werror":"report"}
            -netdev tap,id=net-0a0000000001,fd=12,vhost=off
            -device {"addr":"0x8","bus":"pcie.0","driver":"virtio-net-pci","id":"nic-0a0000000001","mac":"0a:00:00:00:00:01","netdev":"net-0a0000000001","romfile":""}
            -object {"qom-type":"rng-random","id":"rng0","filename":"/dev/urandom"}
            -device {"addr":"0x2","bus":"pcie.0","driver":"virtio-rng-pci","rng":"rng0"}
            -device {"driver":"vmgenid","guid":"ec200000-0000-0000-1234-56789abcdef0"}
            -add-fd fd=17,set=100000
            -chardev socket,id=ser0,fd=16,server=on,wait=off,logfile=/dev/fdset/100000,logappend=on
            -serial chardev:ser0
            -chardev socket,id=qmp0,fd=15,server=on,wait=off
            -mon chardev=qmp0,mode=control
            -kernel /proc/self/fd/13
            -initrd /proc/self/fd/14
            -append console=ttyS0
            -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"#]]
        .assert_eq(&shown("tcg", "max"));
    }

    #[test]
    fn under_kvm_only_the_accelerator_the_clock_and_the_number_of_ports_differ() {
        let (tcg, kvm) = (shown("tcg", "max"), shown("kvm", "host"));
        let further = |line: &&str| (4..DATA_DISKS_MAX).any(|n| line.contains(&format!("\"id\":\"rp{n}\"")));
        let differ: Vec<_> =
            tcg.lines().zip(kvm.lines().filter(|line| !further(line))).filter(|(a, b)| a != b).collect();
        let expected = [
            ("-M q35", "-M q35,hpet=off"),
            ("-accel tcg,thread=single,tb-size=64", "-accel kvm"),
            ("-cpu max", "-cpu host"),
        ];
        assert_eq!(differ, expected);
    }

    #[test]
    fn a_device_of_an_interface_is_known_by_its_name() {
        let mac = Mac([10, 0, 0, 0, 0, 0x1f]);
        assert_eq!((card_of(&card_name(mac)), card_name(mac).as_str()), (Some(mac), "nic-0a000000001f"));
        for other in ["nic0", "nic-", "nic-0a00000000", "nic-0a00000000zz", "vol-0123456789abcdef0"] {
            assert_eq!(card_of(other), None, "{other}");
        }
        assert!(is_interface_port("np13") && !is_interface_port("rp0") && !is_interface_port("np"));
    }

    #[test]
    fn the_generation_that_is_open_is_known_by_its_name() {
        let node = "node-0123456789abcdef0";
        let names = [node.to_owned(), forked(node, 7), below(node), file(node), "null-0123456789abcdef0".into()];
        let found = names.map(|name| generation(node, &name));
        assert_eq!(found, [Some(0), Some(7), None, None, None]);
        assert!(file(&forked(node, GENERATION_MAX)).len() <= 31, "QEMU's names have at most 31 characters");
    }

    #[test]
    fn a_device_is_held_to_what_its_volume_can_do() {
        let burst = Some(Burst { rate: 3_000, seconds: 1_800 });
        let (iops, throughput) = (Some(Rate { always: 100, burst }), Some(Rate { always: 1 << 27, burst: None }));
        let id = "/machine/peripheral/vd0/virtio-backend";
        let shown = limits("vd0", &Limits { iops, throughput, operation: 1 << 18 });
        let expected = json!({
            "id": id, "bps": 134_217_728, "bps_rd": 0, "bps_wr": 0, "iops": 100, "iops_rd": 0, "iops_wr": 0,
            "iops_max": 3_000, "iops_max_length": 1_800, "iops_size": 262_144,
        });
        assert_eq!(shown, expected);
        let none = json!({"id": id, "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0});
        assert_eq!(limits("vd0", &Limits::default()), none);
    }

    #[test]
    fn a_comma_in_a_name_ends_nothing() {
        assert_eq!(escaped("t3.micro,uuid=x"), "t3.micro,,uuid=x");
    }
}
