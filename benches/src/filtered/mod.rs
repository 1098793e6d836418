//! Filtered searches of one graph: what they find and take, at every selectivity, whatever the filter has to do with the
//! query.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Result;
use engram_index::vector::graph::{GraphIndex, GraphParams};
use engram_index::vector::metric;
use serde_json::{Map, Value, json};

use self::measure::Bench;
use self::predicate::{Kind, PIVOTS, Predicates};
use crate::data::{self, Data, metric_named};
use crate::machine::cores;
use crate::report::{self, Report};

mod measure;
mod predicate;

/// How the filters are made, for the report and the help.
const CONSTRUCTION: &str = "\
16 pivots are drawn from the rows with the seed; each query belongs to the nearest of them. Its filter lets s % of \
the n rows through: uncorrelated = rows drawn with the seed, others for each pivot; correlated = the rows nearest to the \
pivot; anti-correlated = those farthest from it. Recall@10 is counted against the exact scan under the same filter.";

/// Measure searches under filters, one thread, on the index alone, with default parameters.
#[derive(Debug, clap::Args)]
#[command(after_help = CONSTRUCTION)]
pub struct Args {
    /// `wordnet`, `fashion`, `both`, `wordnet-5k`, or a folder with *base.parquet and *queries.parquet.
    #[arg(long, default_value = "both")]
    data: String,
    /// Distance of the vectors of a folder.
    #[arg(long, default_value = "cosine")]
    metric: String,
    /// Shares of the rows that filters let through, in percent.
    #[arg(long, value_delimiter = ',', default_values_t = [50.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.1, 0.05, 0.01])]
    shares: Vec<f64>,
    /// Most queries that are used.
    #[arg(long, default_value_t = 200)]
    queries: usize,
    /// Rounds; of each query the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seed of pivots and filters.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also write the figures here, as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Args {
    fn sets(&self) -> Vec<&str> {
        if self.data == "both" { vec!["wordnet", "fashion"] } else { vec![&self.data] }
    }
}

/// Runs the benchmark.
///
/// # Errors
/// What failed.
pub fn run(args: &Args) -> Result<()> {
    let mut all = Map::new();
    for name in args.sets() {
        all.insert(name.to_owned(), one(args, name)?);
    }
    report::write(&Value::Object(all), args.out.as_deref())
}

/// Everything about one set.
fn one(args: &Args, name: &str) -> Result<Value> {
    let data = Data::load(data::find(name, metric_named(&args.metric)?)?, args.queries)?;
    let mut queries = data.queries.clone();
    for query in &mut queries {
        metric::admit(data.set.metric, data.set.dimension, query)?;
    }
    let mut report = Report::new(&format!("filtered {name}"));
    report.add("data", "data", data.describe(), data.describe());
    report.add("seed", "seed, pivots", format!("{}, {PIVOTS}", args.seed), args.seed);
    report.note(CONSTRUCTION);
    let index = graph(&data, &mut report)?;
    let predicates = Predicates::new(&data.base, &queries, args.seed)?;
    let bench = Bench { index: &index, queries: &queries, predicates: &predicates, rounds: args.rounds };
    cells(args, &bench, &mut report)?;
    Ok(report.finish())
}

fn graph(data: &Data, report: &mut Report) -> Result<GraphIndex> {
    let threads = cores();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let start = Instant::now();
    let params = GraphParams::default();
    let index = GraphIndex::build(data.base.clone(), &params, &pool, &AtomicBool::new(false))?;
    let took = start.elapsed().as_secs_f64();
    let text =
        format!("{took:.1} s with {threads} threads, {} links a vector, fast layout", params.plan.degree);
    report.add("build", "graph built in", text, json!({ "seconds": took, "threads": threads }));
    Ok(index)
}

fn cells(args: &Args, bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    report.section("one search thread, default recall target; times are p50/mean over the queries, in turns");
    let (mut held, mut all) = (0, 0);
    for &percent in &args.shares {
        for kind in Kind::ALL {
            let cell = bench.cell(kind, percent / 100.0)?;
            let label = format!("{percent} % ({}) {}", cell.allowed, kind.name());
            report.add(&format!("{percent}_{}", kind.name()), &label, cell.text(), cell.json());
            (held, all) = (held + usize::from(cell.holds()), all + 1);
        }
    }
    let goal = "recall >= 0.95 and latency <= max(2 x unfiltered, exact scan)";
    report.add("held", goal, format!("in {held} of {all}"), json!({ "held": held, "of": all }));
    Ok(())
}
