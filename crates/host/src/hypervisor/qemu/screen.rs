//! A picture of what a machine's display shows.
//!
//! **Invariant:** QEMU writes it into memory that this program gave it, by a descriptor: it can choose no path. What it
//! writes there counts as its machine's own memory, and only so much of it is read as a display can show.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::{Value, json};

use super::args::{DISPLAY, DISPLAY_MIB};
use super::qmp::Qmp;
use crate::hypervisor::picture::Picture;

/// A picture of three bytes a point is smaller than the display's memory, where one of four bytes has room.
const ROOM: u64 = DISPLAY_MIB << 20;
/// What a guest needs to light its screen again.
const WAKES_WITHIN: Duration = Duration::from_millis(300);

/// `None`: the machine has no display.
pub async fn look(qmp: &mut Qmp, wake: bool) -> Result<Option<Picture>> {
    let display = json!({"path": format!("/machine/peripheral/{DISPLAY}"), "property": "type"});
    if qmp.ask("qom-get", display, None).await.is_err() {
        return Ok(None);
    }
    if wake {
        // A key that types nothing.
        qmp.ask("send-key", json!({"keys": [{"type": "qcode", "data": "shift"}]}), None).await?;
        tokio::time::sleep(WAKES_WITHIN).await;
    }
    let (room, door) = room()?;
    let added = qmp.ask("add-fd", json!({"opaque": "screen"}), Some(door.as_fd())).await?;
    let set = added["fdset-id"].as_u64().context("QEMU took no descriptor")?;
    let taken = qmp.ask("screendump", picture_in(set), None).await;
    let removed = qmp.ask("remove-fd", json!({"fdset-id": set}), None).await;
    taken.and(removed)?;
    let mut ppm = Vec::new();
    room.take(ROOM).read_to_end(&mut ppm).context("reading a picture")?;
    Picture::read(&ppm).map(Some)
}

fn picture_in(set: u64) -> Value {
    json!({"filename": format!("/dev/fdset/{set}"), "format": "ppm", "device": DISPLAY})
}

/// Memory, and a descriptor that can only write to it, as QEMU wants it.
fn room() -> Result<(File, File)> {
    let room = memfd_create(c"screen", MFdFlags::MFD_CLOEXEC).context("making room for a picture")?;
    let room = File::from(room);
    let door = File::options().write(true).open(format!("/proc/self/fd/{}", room.as_raw_fd()))?;
    Ok((room, door))
}
