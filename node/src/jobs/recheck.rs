//! Re-checks sampled searches while the node has nothing else to do.

use std::sync::Arc;
use std::time::Duration;

use engram_query::Database;

use super::Jobs;

/// Time between two looks for a sample.
const LOOK: Duration = Duration::from_millis(200);
/// After a re-check the job rests so many times as long as that took: it uses at most a twentieth of one core.
const REST: u32 = 19;

impl Jobs {
    /// Runs until the node stops, which also stops a re-check that is under way.
    pub(crate) fn start_rechecks(&self, database: &Arc<Database>) {
        let (mut stop, database) = (self.stop.clone(), database.clone());
        tokio::spawn(async move {
            let work = async {
                loop {
                    let took = database.recheck().await.unwrap_or_default();
                    tokio::time::sleep(LOOK.max(took.saturating_mul(REST))).await;
                }
            };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {}
                () = work => {}
            }
        });
    }
}
