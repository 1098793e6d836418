//! Finds or makes the named data sets: `cargo run --release -p engram-datasets --bin prepare -- all`.

use std::process::ExitCode;

use engram_datasets::sets;

fn main() -> ExitCode {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() || names.iter().any(|n| n == "--help" || n == "-h") {
        println!("Finds or makes the data sets of tests and benchmarks.\n");
        println!("Usage: prepare [{}|all]...\n", sets::NAMES.join("|"));
        println!("ENGRAM_DATA   folder with the WordNet files, where they are made already");
        println!("ENGRAM_CACHE  folder for what is made here: {}", sets::cache_folder().display());
        return if names.is_empty() { ExitCode::from(2) } else { ExitCode::SUCCESS };
    }
    if names.iter().any(|n| n == "all") {
        names = sets::NAMES.iter().map(|&n| n.to_owned()).collect();
    }
    let mut failed = false;
    for name in names {
        match sets::prepare(&name, &mut |text| println!("{name}: {text}")) {
            Ok(set) => {
                println!("{name}: {} components, {:?}", set.dimension, set.metric);
                for path in [&set.base, &set.queries, &set.truth] {
                    println!("  {}", path.display());
                }
            }
            Err(error) => {
                failed = true;
                eprintln!("{name}: {error}");
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
