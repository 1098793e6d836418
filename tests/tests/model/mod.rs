//! The model test: random operations on the database, compared with a map and with brute force.
//!
//! `ENGRAM_MODEL_OPS` sets the number of operations (20,000), `ENGRAM_SEED` repeats a run.

mod subject;
mod truth;

use engram_tests::random;
use rand::Rng;

use self::subject::Subject;
use self::truth::Step;

/// Operations between two comparisons of everything.
const FULL_CHECK: u64 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_agrees_with_a_map_and_brute_force() {
    let ops: u64 = std::env::var("ENGRAM_MODEL_OPS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let seed = random::seed("model");
    let mut rng = random::generator(seed, 7);
    let mut subject = Subject::new().await;
    let mut counts = std::collections::BTreeMap::<&str, u64>::new();
    for n in 0..ops {
        let step = Step::draw(&subject.truth, &mut rng);
        *counts.entry(step.name()).or_default() += 1;
        let told = format!("operation {n} (seed {seed}): {step:?}");
        let told = &told[..told.len().min(1_000)];
        subject.run(step, &mut rng).await.unwrap_or_else(|e| panic!("{told}: {e}"));
        if n % FULL_CHECK == FULL_CHECK - 1 || rng.random_bool(0.000_5) {
            subject.check_all(&mut rng).await.unwrap_or_else(|e| panic!("after {told}: {e}"));
        }
    }
    subject.restart().await;
    subject.check_all(&mut rng).await.unwrap_or_else(|e| panic!("at the end (seed {seed}): {e}"));
    println!("{ops} operations agree: {counts:?}");
}
