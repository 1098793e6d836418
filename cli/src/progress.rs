//! Progress: a bar on a terminal, a plain line every few seconds elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{bytes, number};

/// Time between two plain lines.
const EVERY: Duration = Duration::from_secs(5);

/// What is done, the rate and the time left.
pub struct Progress {
    of_bytes: bool,
    bar: Option<ProgressBar>,
    total: Option<u64>,
    done: u64,
    /// Rows that were done before this run: they say nothing about its speed.
    before: u64,
    started: Instant,
    said: Instant,
}

impl Progress {
    /// Begins with `before` of `total` rows done; `total` is absent where files do not say.
    pub fn new(total: Option<u64>, before: u64) -> Self {
        Self::with(total, before, false)
    }

    /// As [`Progress::new`], of the bytes of a file.
    pub fn of_bytes(total: Option<u64>) -> Self {
        Self::with(total, 0, true)
    }

    fn with(total: Option<u64>, before: u64, of_bytes: bool) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(8));
            let template = if of_bytes {
                "{bar:30} {percent:>3} %  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left"
            } else if total.is_some() {
                "{bar:30} {percent:>3} %  {human_pos} of {human_len} rows  {per_sec}  {eta} left"
            } else {
                "{spinner} {human_pos} rows  {per_sec}  {elapsed}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_position(before);
            bar.reset_eta();
            bar
        });
        Self { of_bytes, bar, total, done: before, before, started: Instant::now(), said: Instant::now() }
    }

    /// Sets the rows done.
    pub fn set(&mut self, done: u64) {
        self.done = done;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.said.elapsed() >= EVERY {
            self.said = Instant::now();
            eprintln!("{}", self.text(self.started.elapsed()));
        }
    }

    /// Prints a line without disturbing the bar.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn text(&self, elapsed: Duration) -> String {
        let rate = (self.done - self.before.min(self.done)) as f64 / elapsed.as_secs_f64().max(1e-3);
        if self.of_bytes {
            let total = self.total.map(|total| format!(" of {}", bytes(total))).unwrap_or_default();
            return format!("{}{total}, {}/s", bytes(self.done), bytes(rate as u64));
        }
        let rows = number(self.done);
        match self.total {
            Some(total) if total > 0 => {
                let left = total.saturating_sub(self.done) as f64 / rate.max(1e-9);
                let share = self.done as f64 * 100.0 / total as f64;
                let total = number(total);
                format!(
                    "{rows} of {total} rows ({share:.0} %), {} rows/s, {left:.0} s left",
                    number(rate as u64)
                )
            }
            _ => format!("{rows} rows, {} rows/s", number(rate as u64)),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines() {
        let mut progress = Progress::new(Some(10_000), 2_000);
        progress.done = 4_000;
        assert_eq!(
            progress.text(Duration::from_secs(2)),
            "4,000 of 10,000 rows (40 %), 1,000 rows/s, 6 s left"
        );
        let mut unknown = Progress::new(None, 0);
        unknown.done = 500;
        assert_eq!(unknown.text(Duration::from_secs(1)), "500 rows, 500 rows/s");
    }
}
