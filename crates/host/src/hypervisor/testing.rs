//! Small plans for tests.

use awan_model::Home;
use awan_model::id::{HostId, ReservationId};
use awan_model::image::Boot;
use awan_model::instance::{DiskSeen, MetadataOptions, Phase, Wish};
use awan_model::plan::{DiskPlan, HostPlan, Metadata, NetworkPlan, PROTOCOL, VmPlan};

use crate::driver::SeenVm;

pub fn plan(vms: Vec<VmPlan>) -> HostPlan {
    HostPlan {
        protocol: PROTOCOL,
        store: "store".into(),
        revision: 1,
        host: HostId::new("host").expect("a name"),
        vms,
        volumes: Vec::new(),
        consoles: Vec::new(),
        contents: Vec::new(),
        exports: Vec::new(),
        images: None,
        network: NetworkPlan::default(),
    }
}

pub fn vm(id: &str, wish: Wish, run: u32) -> VmPlan {
    VmPlan {
        home: Home::new("123456789012", "us-east-1"),
        id: id.parse().expect("an id"),
        wish,
        run,
        reboots: 0,
        force: false,
        instance_type: "t3.micro".into(),
        vcpus: 2,
        memory_mib: 1024,
        boot: Boot::Direct { command_line: "console=ttyS0".into() },
        image: "ami-00000000000000001".parse().expect("an id"),
        disks: vec![DiskPlan { volume: "vol-0123456789abcdef0".parse().expect("an id"), device: "/dev/xvda".into() }],
        yank: Vec::new(),
        device_changes: 0,
        unplug: Vec::new(),
        interfaces_max: 0,
        interfaces: vec!["eni-00000000000000001".parse().expect("an id")],
        metadata: metadata(),
    }
}

pub fn metadata() -> Metadata {
    Metadata {
        image: "ami-00000000000000001".parse().expect("an id"),
        options: MetadataOptions::default(),
        account: "123456789012".into(),
        region: "us-east-1".into(),
        zone: "us-east-1a".into(),
        reservation: ReservationId::made("r-00000000000000001".into()),
        launch_index: 0,
        architecture: "x86_64".into(),
        key_name: Some("key".into()),
        public_key: Some("ssh-ed25519 AAAA".into()),
        user_data: Some(b"#!/bin/sh\n".to_vec()),
        tags: [("Name".to_owned(), "web".to_owned())].into(),
        launched: 1_795_521_600_000,
        root_device: "/dev/xvda".into(),
        profile: None,
    }
}

pub fn seen(id: &str, run: u32, phase: Phase) -> SeenVm {
    let volume = "vol-0123456789abcdef0".parse().expect("an id");
    let disks = vec![DiskSeen {
        volume,
        size_gib: 1,
        attached: true,
        limits: Some(awan_model::volume::Limits::default()),
        failed: false,
    }];
    SeenVm {
        id: id.parse().expect("an id"),
        run,
        phase,
        reboots: 0,
        exit: None,
        disks,
        files: std::collections::BTreeMap::new(),
        free_ports: 4,
        interfaces: Some(Vec::new()),
        free_interface_ports: 0,
    }
}
