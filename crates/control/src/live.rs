//! Questions to hosts on behalf of tenants. Nothing is written because of the answer.

use awan_model::instance::{Instance, Placement};
use awan_model::report::{Answer, Ask};

use crate::dispatch::Live;
use crate::error::{Error, Result};

/// The newest part of the serial console; empty where the instance has no place and nothing was kept.
pub async fn console(cx: &Live, instance: &Instance) -> Result<Vec<u8>> {
    let place = cx.control.db.read(cx.tenant.clone(), |tx| tx.find::<Placement>(&instance.id));
    let host = match place {
        Some(place) => Some(place.host.clone()),
        // A stopped instance's console lies where its disk does.
        None => cx.control.db.read(cx.tenant.clone(), |tx| {
            tx.find::<awan_model::volume::VolumePlacement>(&instance.root_volume).map(|p| p.host.clone())
        }),
    };
    let Some(host) = host else { return Ok(Vec::new()) };
    match cx.control.hosts.ask(&host, Ask::Console { instance: instance.id.clone() }).await? {
        Answer::Console { output } => Ok(output),
        other => Err(another(other)),
    }
}

/// Sends a running instance a non-maskable interrupt.
pub async fn interrupt(cx: &Live, instance: &Instance) -> Result<()> {
    let place = cx.control.db.read(cx.tenant.clone(), |tx| tx.find::<Placement>(&instance.id));
    let host = place.map(|p| p.host.clone()).ok_or_else(|| Error::fault("a running instance has no place"))?;
    match cx.control.hosts.ask(&host, Ask::Interrupt { instance: instance.id.clone() }).await? {
        Answer::Done => Ok(()),
        other => Err(another(other)),
    }
}

fn another(answer: Answer) -> Error {
    match answer {
        Answer::Refused { why } => Error::fault(why),
        Answer::Console { .. } | Answer::Inventory(_) | Answer::Done => {
            Error::fault("a host answered another question")
        }
    }
}
