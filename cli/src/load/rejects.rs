//! Rows that could not be loaded: written down one by one, and too many of them stop the load.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;

/// Reasons that are repeated in the final message.
const SAMPLES: usize = 3;

/// Counts and keeps rejected rows.
pub struct Rejects {
    path: Option<PathBuf>,
    file: Option<BufWriter<File>>,
    limit: u64,
    count: u64,
    samples: Vec<String>,
}

impl Rejects {
    /// Rejects go to `path` as JSON Lines, where one is given; more than `limit` stop the load.
    pub fn new(path: Option<PathBuf>, limit: u64) -> Self {
        Self { path, file: None, limit, count: 0, samples: Vec::new() }
    }

    /// Number of rejected rows.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes one rejected row.
    ///
    /// # Errors
    /// Says why the load stops once the limit is passed, or that the file cannot be written.
    pub fn add(&mut self, file: &Path, row: u64, reason: &str) -> Result<()> {
        self.count += 1;
        if self.samples.len() < SAMPLES {
            self.samples.push(format!("{} row {row}: {reason}", file.display()));
        }
        self.write(file, row, reason)?;
        if self.count > self.limit {
            self.flush()?;
            bail!("{}", self.stop_message());
        }
        Ok(())
    }

    fn write(&mut self, file: &Path, row: u64, reason: &str) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let context = || format!("cannot write the reject file {}", path.display());
        if self.file.is_none() {
            // Appends: a load that goes on keeps what it rejected before.
            let opened = File::options().create(true).append(true).open(path).with_context(context)?;
            self.file = Some(BufWriter::new(opened));
        }
        if let Some(out) = &mut self.file {
            let line = json!({ "file": file.display().to_string(), "row": row, "reason": reason });
            writeln!(out, "{line}").with_context(context)?;
        }
        Ok(())
    }

    /// Brings what was written to the file.
    pub fn flush(&mut self) -> Result<()> {
        if let Some(out) = &mut self.file {
            out.flush().context("cannot write the reject file")?;
        }
        Ok(())
    }

    fn stop_message(&self) -> String {
        let place = match &self.path {
            Some(path) => format!("all reasons are in {}", path.display()),
            None => "see all reasons with --reject-file FILE".to_owned(),
        };
        format!(
            "stopped after {} bad rows (--max-errors {}); {place}. What came before is loaded; mend the file or raise \
             the limit and run the same command to go on. The first:\n  {}",
            self.count,
            self.limit,
            self.samples.join("\n  ")
        )
    }

    /// The first reasons, for the summary.
    pub fn samples(&self) -> &[String] {
        &self.samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_stops_and_the_file_keeps_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.jsonl");
        let mut rejects = Rejects::new(Some(path.clone()), 2);
        rejects.add(Path::new("a.parquet"), 7, "odd \"id\"").unwrap();
        rejects.add(Path::new("a.parquet"), 8, "x").unwrap();
        let stop = rejects.add(Path::new("b.parquet"), 9, "y").unwrap_err().to_string();
        assert!(stop.contains("3 bad rows") && stop.contains("a.parquet row 7"), "{stop}");
        let lines: Vec<serde_json::Value> = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(lines[0], json!({ "file": "a.parquet", "row": 7, "reason": "odd \"id\"" }));
        assert_eq!(lines.len(), 3);
        assert!(
            Rejects::new(None, 0)
                .add(Path::new("a"), 0, "z")
                .unwrap_err()
                .to_string()
                .contains("--reject-file")
        );
    }
}
