//! The bytes of disks from elsewhere: there as long as something begins as them, and no longer.

use awan_model::export::ExportTask;
use awan_model::image::Image;
use awan_model::import::Content;
use awan_model::snapshot::Snapshot;
use awan_model::volume::Volume;
use awan_state::{Shareable as _, System, Tx};

use crate::{imports, recycle_bin};

pub fn check(tx: &mut Tx<System>, out: &mut Vec<String>) {
    let wanted = imports::wanted(tx);
    let contents = tx.all::<Content>();
    let useless = contents.iter().filter(|content| !wanted.contains(&content.id));
    out.extend(useless.map(|content| format!("{}: nothing begins as these bytes", content.id)));
    for volume in recycle_bin::all::<Volume>(tx) {
        let lost = volume.image.as_ref().filter(|image| !imports::is_there(tx, image));
        out.extend(lost.map(|image| format!("{}: begins as {image}, which is nowhere", volume.id)));
    }
    for image in tx.all::<Image>() {
        for snapshot in image.snapshots() {
            if tx.find_by::<Snapshot>(Snapshot::INDEX, snapshot.as_str()).is_none() {
                out.push(format!("{}: is made of {snapshot}, which is nowhere", image.id));
            }
        }
    }
    for task in tx.all::<ExportTask>().into_iter().filter(|task| task.is_active()) {
        let lost = task.bytes.as_ref().filter(|bytes| !imports::is_there(tx, bytes));
        out.extend(lost.map(|bytes| format!("{}: is of {bytes}, which is nowhere", task.id)));
    }
}
