//! Volumes without bytes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use awan_model::id::VolumeId;
use awan_model::plan::VolumePlan;
use awan_model::report::VolumeSeen;

use crate::driver::{BlockDevice, Fut, Volumes};

#[derive(Default)]
pub struct SimulatedVolumes(Mutex<BTreeMap<VolumeId, VolumeSeen>>);

impl SimulatedVolumes {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
}

impl Volumes for SimulatedVolumes {
    fn observe(&self) -> Fut<'_, Result<Vec<VolumeSeen>>> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        Box::pin(async move { Ok(seen) })
    }

    fn ensure<'a>(&'a self, volume: &'a VolumePlan) -> Fut<'a, Result<BlockDevice>> {
        let VolumePlan { home, id, size_gib, image: _ } = volume.clone();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), VolumeSeen { home, id, size_gib });
        let device = BlockDevice {
            volume: volume.id.clone(),
            path: PathBuf::new(),
            format: "qcow2",
            backing: Vec::new(),
            size_gib,
        };
        Box::pin(async move { Ok(device) })
    }

    fn release<'a>(&'a self, id: &'a VolumeId) -> Fut<'a, Result<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        Box::pin(async { Ok(()) })
    }
}
