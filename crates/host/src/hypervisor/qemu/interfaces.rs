//! Interfaces that come and go while a guest runs: what QEMU is told, and what it has. Source: QEMU, the reference of QMP.
//!
//! **Invariants.** QEMU's own list is the truth: each step looks at it or leaves it so that it can be done again. A tap is
//! open only as long as QEMU's end of it is there, so that it can be opened once more by whoever comes next.

use std::os::fd::AsFd as _;

use anyhow::{Result, bail};
use awan_model::interface::Mac;
use serde_json::{Value, json};

use super::args;
use super::qmp::Qmp;
use crate::driver::Tap;

/// An interface that a machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    pub mac: Mac,
    /// QEMU's names: of what the guest sees, of the tap behind it, and of the bus that it is on.
    pub device: String,
    pub netdev: String,
    pub bus: String,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seats {
    pub interfaces: Vec<Seat>,
    pub free_ports: Vec<String>,
}

impl Seats {
    pub fn of(&self, mac: Mac) -> Option<&Seat> {
        self.interfaces.iter().find(|seat| seat.mac == mac)
    }

    pub fn free(&self) -> u32 {
        u32::try_from(self.free_ports.len()).unwrap_or_default()
    }
}

pub async fn look(qmp: &mut Qmp) -> Result<Seats> {
    let listed = qmp.ask("qom-list", json!({"path": "/machine/peripheral"}), None).await?;
    let named = |entry: &Value| Some((entry["name"].as_str()?.to_owned(), entry["type"].as_str()?.to_owned()));
    let all: Vec<_> = listed.as_array().into_iter().flatten().filter_map(named).collect();
    let mut seats = Seats::default();
    for (name, kind) in all {
        if kind == "child<pcie-root-port>" && args::is_interface_port(&name) {
            seats.free_ports.push(name);
        } else if kind.starts_with("child<virtio-net") {
            seats.interfaces.extend(seat(qmp, name).await?);
        }
    }
    seats.free_ports.retain(|port| seats.interfaces.iter().all(|seat| seat.bus != *port));
    seats.free_ports.sort_by_key(|port| (port.len(), port.clone()));
    Ok(seats)
}

/// None: it has gone since it was listed.
async fn seat(qmp: &mut Qmp, device: String) -> Result<Option<Seat>> {
    let mut read = [String::new(), String::new(), String::new()];
    for (text, property) in read.iter_mut().zip(["mac", "netdev", "parent_bus"]) {
        let path = json!({"path": format!("/machine/peripheral/{device}"), "property": property});
        match qmp.ask("qom-get", path, None).await {
            Ok(value) => value.as_str().unwrap_or_default().clone_into(text),
            Err(e) if e.to_string().contains("not found") => return Ok(None),
            Err(e) => return Err(e),
        }
    }
    let [mac, netdev, bus] = read;
    let Ok(mac) = Mac::try_from(mac) else { bail!("{device} has no address") };
    let bus = bus.rsplit('/').next().unwrap_or_default().to_owned();
    Ok(Some(Seat { mac, device, netdev, bus }))
}

/// Returns when the device is in the machine, which has none of this address.
pub async fn plug(qmp: &mut Qmp, tap: &Tap, ports: &[String]) -> Result<()> {
    let Some(port) = ports.first() else { bail!("the machine has no place for an interface") };
    close(qmp, tap.mac).await;
    let added = add(qmp, tap, port).await;
    if added.is_err() {
        close(qmp, tap.mac).await;
    }
    added
}

async fn add(qmp: &mut Qmp, tap: &Tap, port: &str) -> Result<()> {
    let netdev = args::netdev(tap.mac);
    qmp.ask("getfd", json!({"fdname": netdev}), Some(tap.fd.as_fd())).await?;
    let opened = json!({"type": "tap", "id": netdev, "fd": netdev, "vhost": false});
    qmp.ask("netdev_add", opened, None).await?;
    qmp.ask("device_add", args::card(tap.mac, port), None).await.map(drop)
}

/// Asks the guest to let go of a device; an event tells when it has. True: there is none.
pub async fn ask_for(qmp: &mut Qmp, seat: &Seat) -> Result<bool> {
    let asked = qmp.ask("device_del", json!({"id": seat.device}), None).await;
    match asked.map_err(|e| e.to_string()) {
        Ok(_) => Ok(false),
        // A guest that is still beginning moves its slots about, and is asked again later.
        Err(why) if why.contains("already in the process of unplug") || why.contains("guest is busy") => Ok(false),
        Err(why) if why.contains("not found") => Ok(true),
        Err(why) => bail!("{why}"),
    }
}

/// Takes the network from behind a device, which the guest may keep: it sees that its cable is out.
pub async fn pull(qmp: &mut Qmp, seat: &Seat) -> Result<()> {
    match qmp.ask("netdev_del", json!({"id": seat.netdev}), None).await.map_err(|e| e.to_string()) {
        Ok(_) => Ok(()),
        Err(why) if why.contains("not found") => Ok(()),
        Err(why) => bail!("{why}"),
    }
}

/// Closes what no device shows any more, as far as it is there.
pub async fn close(qmp: &mut Qmp, mac: Mac) {
    let netdev = args::netdev(mac);
    let _ = qmp.ask("netdev_del", json!({"id": netdev}), None).await;
    let _ = qmp.ask("closefd", json!({"fdname": netdev}), None).await;
}
