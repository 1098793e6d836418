//! `tests/corrupt --rounds N [--seed S]`: damages one file of a data directory in each round, starts the server on it
//! and reads everything. The damage has to be refused or told, or be without effect, or cut a log to an exact prefix
//! that the server reports. Exits non-zero where wrong data is served.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has to fail"
)]

mod damage;
mod fixture;
mod observe;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use engram_tests::{ServerOptions, files, random, report};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use damage::Damage;
use fixture::Fixture;
use observe::{Damaged, Outcome};

/// Every type of file that holds data.
const TYPES: [&str; 9] = ["log", "seal", "manifest", "parquet", "rows", "vec", "pidx", "graph", "catalog"];

/// Damages files of every type and checks that nothing wrong is served.
#[derive(Parser)]
struct Arguments {
    /// How many damages.
    #[arg(long, default_value_t = 1000)]
    rounds: u64,
    /// Repeats a run; drawn where absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Only files whose type contains this.
    #[arg(long, default_value = "")]
    only: String,
}

/// Options of every start: nothing in the background that would change files by itself.
pub fn options(dir: &Path) -> ServerOptions {
    ServerOptions { ready_within: Duration::from_secs(20), ..ServerOptions::default() }
        .data_dir(dir)
        .set("index.graph_threshold", 64)
        .set("retention.interval_s", 0)
        .set("logging.level", "info")
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| random::seed("corrupt"));
    let home = tempfile::Builder::new().prefix("engram-corrupt-").tempdir()?;
    let original = home.path().join("original");
    let fixture = Fixture::make(&original, seed).await.context("make the data directory")?;
    let by_type = sort_files(&original, &arguments.only)?;
    let mut rng = random::generator(seed, 1);
    let mut table: BTreeMap<(String, &'static str), BTreeMap<Outcome, u64>> = BTreeMap::new();
    let start = Instant::now();
    for round in 0..arguments.rounds {
        let (kind, paths) = &by_type[usize::try_from(round).unwrap() % by_type.len()];
        let place = Place {
            original: &original,
            copy: home.path().join("copy"),
            file: paths.choose(&mut rng).unwrap(),
        };
        let file = place.fresh()?;
        let Some(damage) = make_damage(&file, &mut rng)? else { continue };
        let deep = rng.random_bool(0.3);
        let damaged = Damaged { file: &file, truncated: matches!(damage, Damage::Truncate(_)) };
        let mut outcome = observe::outcome(&place.copy, &damaged, &fixture, deep).await;
        if matches!(outcome, Ok(Outcome::NoEffect)) {
            outcome =
                prove_unused(&place, damage, &fixture, &mut rng).await.context("with random bytes there");
        }
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(e) => {
                let kept = home.keep();
                bail!(
                    "round {round} (seed {seed}): {damage:?} in {} (compacted: {deep}): {e:#}\nkept in {}",
                    file.display(),
                    kept.display()
                );
            }
        };
        *table.entry((kind.clone(), damage.kind())).or_default().entry(outcome).or_default() += 1;
        if round % 100 == 99 {
            println!("{} of {} rounds, {:.0} s", round + 1, arguments.rounds, start.elapsed().as_secs_f64());
        }
    }
    print_table(&table);
    Ok(())
}

/// Where one damage happens.
struct Place<'a> {
    original: &'a Path,
    copy: PathBuf,
    /// Relative to both.
    file: &'a Path,
}

impl Place<'_> {
    /// Makes the copy anew; returns the file in it.
    fn fresh(&self) -> Result<PathBuf> {
        let _ = std::fs::remove_dir_all(&self.copy);
        files::copy_dir(self.original, &self.copy)?;
        Ok(self.copy.join(self.file))
    }
}

/// A damage without effect is in bytes that nobody uses if random bytes in the same place are without effect too.
async fn prove_unused(
    place: &Place<'_>,
    damage: Damage,
    fixture: &Fixture,
    rng: &mut StdRng,
) -> Result<Outcome> {
    for _ in 0..2 {
        let file = place.fresh()?;
        std::fs::write(&file, damage.scramble(&std::fs::read(&file)?, rng))?;
        let damaged = Damaged { file: &file, truncated: false };
        let again = observe::outcome(&place.copy, &damaged, fixture, true).await?;
        if again != Outcome::NoEffect {
            return Ok(Outcome::NoEffect);
        }
    }
    Ok(Outcome::Unused)
}

/// Paths of all files, relative to `dir`, by their type.
fn sort_files(dir: &Path, only: &str) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let mut by_type: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in files::all(dir)? {
        let kind = files::store_of(&path);
        if kind.contains(only) && std::fs::metadata(&path)?.len() > 0 {
            by_type.entry(kind).or_default().push(path.strip_prefix(dir)?.to_path_buf());
        }
    }
    let names: Vec<String> = by_type.iter().map(|(k, v)| format!("{k} ({})", v.len())).collect();
    println!("file types: {}", names.join(", "));
    ensure!(!by_type.is_empty(), "there is no file of type {only}");
    let missing: Vec<_> = TYPES.iter().filter(|t| only.is_empty() && !by_type.contains_key(**t)).collect();
    ensure!(missing.is_empty(), "the directory has no file of type {missing:?}");
    Ok(by_type.into_iter().collect())
}

/// Damages the file; `None` where no damage that changes it was found.
fn make_damage(file: &Path, rng: &mut StdRng) -> Result<Option<Damage>> {
    let before = std::fs::read(file)?;
    for _ in 0..20 {
        let damage = Damage::draw(before.len(), rng);
        let after = damage.apply(&before);
        if after != before {
            std::fs::write(file, after)?;
            return Ok(Some(damage));
        }
    }
    Ok(None)
}

fn print_table(table: &BTreeMap<(String, &'static str), BTreeMap<Outcome, u64>>) {
    let heads = [
        "file",
        "damage",
        "rounds",
        "start refused",
        "error told",
        "log cut",
        "unused bytes",
        "harmless",
        "wrong data",
    ];
    let rows: Vec<Vec<String>> = table
        .iter()
        .map(|((file, damage), outcomes)| {
            let n = |o| outcomes.get(&o).copied().unwrap_or(0).to_string();
            let total: u64 = outcomes.values().sum();
            let told =
                [Outcome::Refused, Outcome::Told, Outcome::Cut, Outcome::Unused, Outcome::NoEffect].map(n);
            let head = [file.clone(), (*damage).to_owned(), total.to_string()];
            head.into_iter().chain(told).chain(["0".to_owned()]).collect()
        })
        .collect();
    report::table(&heads, &rows);
    let total: u64 = table.values().flat_map(BTreeMap::values).sum();
    println!("{total} damages, wrong data served 0");
}
