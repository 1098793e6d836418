//! A table for people and JSON for programs.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::machine;

/// Figures of one run, printed as they come.
#[derive(Debug)]
pub struct Report {
    title: String,
    facts: Map<String, Value>,
    load_before: f64,
}

impl Report {
    /// Begins a report and prints its head.
    pub fn new(title: &str) -> Self {
        let load_before = machine::load_average();
        println!("{title}");
        println!("  {:<44} {}", "machine", machine::describe());
        println!("  {:<44} {load_before:.2}", "load average at the beginning");
        let facts = Map::from_iter([("machine".to_owned(), machine::json())]);
        Self { title: title.to_owned(), facts, load_before }
    }

    /// A line of the table, and its value in the JSON report.
    pub fn add(&mut self, key: &str, label: &str, text: impl AsRef<str>, value: impl Into<Value>) {
        println!("  {label:<44} {}", text.as_ref());
        self.facts.insert(key.to_owned(), value.into());
    }

    /// A heading between lines.
    pub fn section(&self, name: &str) {
        println!("\n{name}");
    }

    /// A remark.
    pub fn note(&self, text: &str) {
        println!("  {text}");
    }

    /// Prints the end; the figures for [`write`].
    pub fn finish(mut self) -> Value {
        let load_after = machine::load_average();
        println!("\n  {:<44} {load_after:.2}\n", "load average at the end");
        self.facts.insert("load_average".to_owned(), json!([self.load_before, load_after]));
        json!({ "title": self.title, "figures": self.facts })
    }
}

/// Writes the JSON report where a file is given.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(all: &Value, file: Option<&Path>) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    std::fs::write(file, format!("{all:#}\n")).with_context(|| format!("cannot write {}", file.display()))
}

/// `12.3 MiB`.
pub fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}
