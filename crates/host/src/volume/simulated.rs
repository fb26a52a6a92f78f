//! Volumes without bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use awan_model::id::{ImageId, VolumeId};
use awan_model::import::Taken;
use awan_model::plan::{ContentPlan, SealedKeys, VolumePlan};
use awan_model::report::VolumeSeen;
use tokio::sync::Notify;

use super::chain::Keyed;
use crate::driver::{BlockDevice, Fork, Fut, Layer, Shorter, Unmerged, Volumes};

#[derive(Default)]
pub struct SimulatedVolumes(Mutex<BTreeMap<VolumeId, VolumeSeen>>, Mutex<BTreeSet<ImageId>>, Arc<Notify>);

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
        let VolumePlan { home, id, size_gib, limits, image: _, layers: _, encryption: _ } = volume.clone();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), VolumeSeen { home, id, size_gib });
        let device = BlockDevice {
            volume: volume.id.clone(),
            path: PathBuf::new(),
            format: "qcow2",
            backing: Vec::new(),
            keys: Vec::new(),
            size_gib,
            limits,
            held: Arc::default(),
        };
        Box::pin(async move { Ok(device) })
    }

    fn release<'a>(&'a self, id: &'a VolumeId) -> Fut<'a, Result<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        Box::pin(async { Ok(()) })
    }

    fn keep<'a>(&'a self, id: &'a ImageId, _: &'a Taken) -> Fut<'a, Result<()>> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        Box::pin(async { Ok(()) })
    }

    fn fork<'a>(&'a self, taken: &'a Taken) -> Fut<'a, Result<Fork>> {
        let (volume, generation) = (taken.volume.clone(), taken.generation);
        Box::pin(async move { Ok(Fork { volume, generation, old: PathBuf::new(), new: PathBuf::new(), key: None }) })
    }

    fn kept(&self, content: &ContentPlan) -> Option<Layer> {
        // What it had before it was begun anew it has still.
        let there = content.kept || self.1.lock().unwrap_or_else(PoisonError::into_inner).contains(&content.id);
        // Where there are no bytes, they are copied in a moment.
        let there = there || content.source.copied().is_some();
        let taken = content.source.taken();
        let copied = content.source.copied().map_or(0, |copied| copied.copied_gib);
        let size_gib = taken.map_or(copied, |taken| taken.volume_gib);
        // Where there are no bytes, they become one in a moment.
        let below = content.merge.as_ref().map_or(taken.and_then(|t| t.below.clone()), |merge| merge.below.clone());
        there.then_some(Layer { size_gib, bytes: 0, below })
    }

    fn shorter(&self, volume: &VolumePlan) -> Result<Shorter> {
        let generation = volume.layers.last().map_or(0, |layer| layer.generation);
        Ok(Shorter {
            volume: volume.id.clone(),
            generation,
            backing: Vec::new(),
            keys: Vec::new(),
            held: Arc::default(),
        })
    }

    fn merge(&self, _: &[ContentPlan]) {}

    fn unmerged(&self, _: &ContentPlan) -> Option<Unmerged> {
        None
    }

    fn is_opening(&self) -> bool {
        false
    }

    fn changed(&self) -> Arc<Notify> {
        self.2.clone()
    }

    fn files(&self, _: &ImageId, _: &SealedKeys) -> Result<Vec<Keyed>> {
        Ok(Vec::new())
    }
}
