//! The bytes of disks from elsewhere: there as long as something begins as them, and no longer.

use awan_model::import::Content;
use awan_model::volume::Volume;
use awan_state::{System, Tx};

use crate::imports;

pub fn check(tx: &mut Tx<System>, out: &mut Vec<String>) {
    let wanted = imports::wanted(tx);
    let contents = tx.all::<Content>();
    let useless = contents.iter().filter(|content| !wanted.contains(&content.id));
    out.extend(useless.map(|content| format!("{}: nothing begins as these bytes", content.id)));
    for volume in tx.all::<Volume>() {
        let lost = volume.image.as_ref().filter(|image| !imports::is_there(tx, image));
        out.extend(lost.map(|image| format!("{}: begins as {image}, which is nowhere", volume.id)));
    }
}
