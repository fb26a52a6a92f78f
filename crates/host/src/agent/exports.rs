//! What is to be exported is opened, and written beside the loop.

use anyhow::{Context as _, Result};
use awan_model::id::ImageId;
use awan_model::plan::{HostPlan, SealedKeys};

use super::{Drivers, answers};
use crate::export::Job;
use crate::import::disk::Disk;
use crate::import::write::Nothing;
use crate::volume::chain::Chain;

/// Begins what is next, if nothing goes on.
pub fn follow(drivers: &Drivers, plan: &HostPlan) {
    let Some(job) = drivers.exports.next(&plan.exports) else { return };
    let drivers = drivers.clone();
    tokio::spawn(async move {
        let of = if let Job::Write(plan, _) = &job { plan.of.clone() } else { None };
        let disk = match of {
            Some(of) => opened(&drivers, of).await,
            None => Ok(Box::new(Nothing) as _),
        };
        drivers.exports.begin(job, disk);
    });
}

async fn opened(drivers: &Drivers, id: ImageId) -> Result<Box<dyn Disk + Send>> {
    drivers.volumes.bring(&id).await?;
    let drivers = drivers.clone();
    let open = move || {
        // What is encrypted is not exported.
        answers::opened(&drivers, &id, &SealedKeys::new(), |files| {
            // Where volumes have no bytes, none are there.
            let disk: Box<dyn Disk + Send> =
                if files.is_empty() { Box::new(Nothing) } else { Box::new(Chain::open(&files)?) };
            Ok(disk)
        })
    };
    tokio::task::spawn_blocking(open).await.context("the opening ended early")?
}
