//! Waiting for something that another process does: polling with a deadline, never a bare sleep.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time between two looks.
const STEP: Duration = Duration::from_millis(5);

/// Looks until `found` is true.
///
/// # Errors
/// At the deadline, naming what was waited for.
pub fn until(what: &str, within: Duration, mut found: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !found() {
        if start.elapsed() > within {
            bail!("waited {} s in vain for: {what}", within.as_secs());
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}

/// Looks until `look` gives a value; errors of a look count as "not yet" and the last one is reported.
///
/// # Errors
/// At the deadline, naming what was waited for.
pub async fn until_some<T, F>(what: &str, within: Duration, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let start = Instant::now();
    loop {
        let last = match look().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => String::from("not there yet"),
            Err(e) => format!("{e:#}"),
        };
        if start.elapsed() > within {
            bail!("waited {} s in vain for: {what} ({last})", within.as_secs());
        }
        tokio::time::sleep(STEP).await;
    }
}
