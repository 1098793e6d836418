//! Holding on to the files of one moment while they are copied.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::Shard;
use crate::error::Result;
use crate::manifest::{Manifest, SegmentId};
use crate::object::ObjectRef;

/// A manifest whose files stay until this is dropped, but for a purge.
pub(crate) struct PinnedShard {
    shard: Arc<Shard>,
    manifest: Manifest,
}

impl PinnedShard {
    /// The state of the shard at its checkpoint.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

impl Shard {
    /// Flushes, and pins the manifest: it has everything that was acknowledged before the call.
    ///
    /// # Errors
    /// Those of a flush; `DeadlineExceeded` where acknowledged writes are not applied in time.
    pub(crate) async fn pin(self: &Arc<Self>) -> Result<PinnedShard> {
        self.wait_applied(self.tail(), Instant::now() + self.parts.options.write_timeout).await?;
        self.flush().await?;
        // Files are removed with `publishing` held, so none of this manifest goes before it is pinned.
        let _publishing = self.publishing.lock().await;
        self.check_not_closed()?;
        let manifest = self.state.lock().manifest.clone();
        let mut pins = self.pins.lock();
        for entry in &manifest.segments {
            *pins.entry(entry.id.clone()).or_default() += 1;
        }
        drop(pins);
        Ok(PinnedShard { shard: self.clone(), manifest })
    }

    /// Segments whose files must stay.
    pub(super) fn pinned(&self) -> BTreeSet<SegmentId> {
        self.pins.lock().keys().cloned().collect()
    }

    /// All objects of the current manifest.
    pub(crate) fn objects(&self) -> Vec<ObjectRef> {
        let state = self.state.lock();
        state
            .manifest
            .segments
            .iter()
            .flat_map(|entry| entry.objects().cloned().collect::<Vec<_>>())
            .collect()
    }
}

impl Drop for PinnedShard {
    fn drop(&mut self) {
        let mut pins = self.shard.pins.lock();
        for entry in &self.manifest.segments {
            if let Some(count) = pins.get_mut(&entry.id) {
                *count -= 1;
                if *count == 0 {
                    pins.remove(&entry.id);
                }
            }
        }
    }
}
