//! Filters: a payload index gives a bitmap, and a scan takes it as its mask.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use engram_index::payload::{
    FieldIndex, FieldIndexBuilder, FieldPredicate, PayloadIndexKind, PayloadPath, Scalar,
};
use engram_index::vector::exact::scan;
use engram_index::vector::{Metric, VectorSet};
use engram_index::{Column, Mask};
use roaring::RoaringBitmap;
use serde_json::{Value, json};

use super::{Args, Pair};
use crate::noise::Noise;
use crate::report::Report;
use crate::samples::in_turns;

const ROWS: u32 = 100_000;
const DIMENSION: usize = 384;
/// Each keyword and the share of the rows that have it, in percent.
const SHARES: [(&str, u64); 3] = [("one", 1), ("ten", 10), ("most", 89)];

pub(super) fn run(args: &Args, report: &mut Report) -> Result<()> {
    report.section(
        "filter by keyword over 100,000 rows, index::payload, and a scan of 384 components under it",
    );
    let (payloads, index) = rows()?;
    let vectors = Noise::new(5).vector(ROWS as usize * DIMENSION);
    let vectors = VectorSet::new(Metric::Dot, DIMENSION, Column::from(vectors), None)?;
    let query = Noise::new(6).vector(DIMENSION);
    for (word, percent) in &SHARES[..2] {
        let predicate = FieldPredicate::Any(vec![Scalar::Keyword((*word).to_owned())]);
        let mask = index.matching(&predicate).context("the index knows")?;
        ensure!(mask == read(&payloads, word), "the index and the payloads differ");
        let mut ours = || {
            black_box(index.matching(black_box(&predicate)));
            Ok(())
        };
        let mut other = || {
            black_box(read(black_box(&payloads), word));
            Ok(())
        };
        let [a, b] = in_turns(args.rounds, [&mut ours, &mut other])?;
        let (key, label) = (format!("filter_{percent}"), format!("bitmap of {percent} %"));
        Pair { key: &key, label: &label, other: "reading parsed payloads", each: 1 }.add(report, &a, &b);
        let mut ours = || {
            black_box(scan(&vectors, &query, 10, Mask::Allow(&mask))?);
            Ok(())
        };
        let mut other = || {
            black_box(scan(&vectors, &query, 10, Mask::All)?);
            Ok(())
        };
        let [a, b] = in_turns(args.rounds, [&mut ours, &mut other])?;
        let (key, label) = (format!("masked_scan_{percent}"), format!("exact scan under {percent} %"));
        Pair { key: &key, label: &label, other: "a scan without a filter", each: 1 }.add(report, &a, &b);
    }
    Ok(())
}

/// Payloads with a keyword each, and the index over them.
fn rows() -> Result<(Vec<Value>, FieldIndex)> {
    let path = PayloadPath::parse("word")?;
    let mut builder = FieldIndexBuilder::new(PayloadIndexKind::Keyword);
    let mut noise = Noise::new(4);
    let mut payloads = Vec::new();
    for row in 0..ROWS {
        let mut at = noise.next_u64() % 100;
        let word = SHARES.iter().find(|(_, share)| {
            let found = at < *share;
            at = at.saturating_sub(*share);
            found
        });
        let payload = json!({ "word": word.map(|(word, _)| *word) });
        builder.add(row, &payload, &path);
        payloads.push(payload);
    }
    Ok((payloads, builder.finish()?))
}

fn read(payloads: &[Value], word: &str) -> RoaringBitmap {
    let matches = |payload: &Value| payload.get("word").and_then(Value::as_str) == Some(word);
    (0u32..).zip(payloads).filter(|(_, payload)| matches(payload)).map(|(row, _)| row).collect()
}
