//! An index of words answers what the rows say: found rows, statistics and scores, however it is cut and stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use engram_index::payload::{FieldIndex, FieldIndexBuilder, FieldPredicate, PayloadPath};
use engram_index::text::{
    Analyzer, TextIndex, TextIndexBuilder, TextMatch, TextMode, TextOptions, TextStatistics, WordCounts,
};
use engram_index::{Mask, Pace};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roaring::RoaringBitmap;
use serde_json::json;

fn analyzer(json: &str) -> Arc<Analyzer> {
    Arc::new(Analyzer::new(&serde_json::from_str::<TextOptions>(json).unwrap()).unwrap())
}

/// Rows of up to three strings of common and rare words; some have none.
fn rows(count: usize, seed: u64) -> Vec<Vec<String>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut word = move || {
        let rarity: f64 = rng.random();
        format!("w{}", (rarity * rarity * rarity * 60.0) as u32)
    };
    let mut rng = StdRng::seed_from_u64(seed + 1);
    let mut text = move || {
        let words = rng.random_range(0..12);
        (0..words).map(|_| word()).collect::<Vec<_>>().join(" ")
    };
    let mut rng = StdRng::seed_from_u64(seed + 2);
    (0..count).map(|_| (0..rng.random_range(0..4)).map(|_| text()).collect()).collect()
}

fn index(rows: &[Vec<String>], analyzer: &Arc<Analyzer>, part_bytes: usize) -> TextIndex {
    let mut builder = TextIndexBuilder::new(analyzer.clone()).part_bytes(part_bytes);
    for (ordinal, texts) in (0u32..).zip(rows) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        builder.add(ordinal, &texts).unwrap();
    }
    let built = builder.finish(u32::try_from(rows.len()).unwrap()).unwrap();
    TextIndex::open(Bytes::copy_from_slice(built.encode())).unwrap()
}

/// The statistics, and scores of all rows by the formula itself.
fn brute(
    rows: &[Vec<String>],
    words: &[String],
    gone: &RoaringBitmap,
) -> (TextStatistics, BTreeMap<u32, f64>) {
    let split = |texts: &Vec<String>| -> Vec<String> {
        texts.iter().flat_map(|text| text.split_whitespace().map(str::to_owned)).collect()
    };
    let live: Vec<(u32, Vec<String>)> = (0u32..)
        .zip(rows)
        .filter(|(row, _)| !gone.contains(*row))
        .map(|(row, texts)| (row, split(texts)))
        .collect();
    let full = || live.iter().filter(|(_, words)| !words.is_empty());
    let documents = full().count() as u64;
    let total = full().map(|(_, words)| words.len() as u64).sum::<u64>();
    let frequency = |word: &String| full().filter(|(_, words)| words.contains(word)).count() as u64;
    let frequencies: Vec<u64> = words.iter().map(frequency).collect();
    let average = total as f64 / documents as f64;
    let mut scores = BTreeMap::new();
    for (row, text) in full() {
        let mut sum = 0.0;
        for (word, frequency) in words.iter().zip(&frequencies) {
            let (n, df) = (documents as f64, *frequency as f64);
            let tf = text.iter().filter(|w| *w == word).count() as f64;
            let idf = (1.0 + (n - df + 0.5) / (df + 0.5)).ln();
            sum += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * text.len() as f64 / average));
        }
        if sum > 0.0 {
            scores.insert(*row, sum);
        }
    }
    (TextStatistics { documents, words: total, frequencies }, scores)
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn scores_are_those_of_the_formula_in_one_part_and_in_many() {
    let rows = rows(3_000, 7);
    let analyzer = analyzer("{}");
    let asked = words(&["w0", "w3", "w41", "w59", "absent"]);
    // One part, and a part for each row.
    for part_bytes in [usize::MAX, 1] {
        let rows = if part_bytes == 1 { &rows[..40] } else { &rows[..] };
        let index = index(rows, &analyzer, part_bytes);
        for gone in [0, 3, 500] {
            let last = u32::try_from(rows.len()).unwrap();
            let gone: RoaringBitmap = (0..gone.min(last / 2)).map(|i| (i * 7) % last).collect();
            let (statistics, scores) = brute(rows, &asked, &gone);
            assert_eq!(
                index.statistics(&asked, &gone, &Pace::endless()).unwrap(),
                statistics,
                "{} gone",
                gone.len()
            );
            let weighed = statistics.weigh(&asked, &[1; 5]);
            let average = statistics.average_length();
            let found =
                index.search(&weighed, average, (rows.len(), Mask::Deny(&gone)), &Pace::endless()).unwrap();
            assert_eq!(found.len(), scores.len());
            for (row, score) in &found {
                assert!((f64::from(*score) - scores[row]).abs() < 1e-4, "row {row}: {score} {}", scores[row]);
            }
            assert!(found.windows(2).all(|w| w[0].1 > w[1].1 || (w[0].1 == w[1].1 && w[0].0 < w[1].0)));
            // The best of few allowed rows, which are looked up one by one, and of many.
            for step in [2, 301] {
                let allowed: RoaringBitmap = found.iter().map(|(row, _)| *row).step_by(step).collect();
                let best =
                    index.search(&weighed, average, (5, Mask::Allow(&allowed)), &Pace::endless()).unwrap();
                let expected: Vec<_> =
                    found.iter().filter(|(row, _)| allowed.contains(*row)).take(5).copied().collect();
                assert_eq!(best, expected);
            }
            // Rows without an index have the very same scores.
            let mut counts = WordCounts::new(asked.iter().map(String::as_str));
            let mut summed = TextStatistics::default();
            let scored: BTreeMap<u32, f32> = found.into_iter().collect();
            for (row, texts) in (0u32..).zip(rows).filter(|(row, _)| !gone.contains(*row)) {
                counts.count(&analyzer, texts.iter().map(String::as_str));
                counts.add_to(&mut summed);
                assert_eq!(counts.score(&weighed, average), scored.get(&row).copied(), "row {row}");
            }
            assert_eq!(summed, statistics);
        }
    }
}

#[test]
fn words_that_a_query_repeats_weigh_more() {
    let statistics = TextStatistics { documents: 4, words: 8, frequencies: vec![1, 1] };
    let weighed = statistics.weigh(&words(&["a", "b"]), &[1, 3]);
    assert!((weighed[1].weight / weighed[0].weight - 3.0).abs() < 1e-12);
}

#[test]
fn found_rows_are_those_that_match_over_many_rows_and_parts() {
    let rows = rows(2_000, 11);
    let path = PayloadPath::parse("t").unwrap();
    for options in ["{}", r#"{"phrase_matching":true}"#] {
        let analyzer = analyzer(options);
        let mut builder = FieldIndexBuilder::text(analyzer.options()).unwrap();
        for (ordinal, texts) in (0u32..).zip(&rows) {
            builder.add(ordinal, &json!({ "t": texts }), &path);
        }
        let field = builder.finish().unwrap();
        for text in ["w0", "w0 w1", "w1 w0 w2", "w0 w0", "w55", "w2 absent", ""] {
            for mode in [TextMode::All, TextMode::Any, TextMode::Phrase] {
                let text = TextMatch::new(mode, text).bound(&analyzer).unwrap();
                let truth: RoaringBitmap = (0u32..)
                    .zip(&rows)
                    .filter(|(_, texts)| text.holds(texts.iter().map(String::as_str)))
                    .map(|(row, _)| row)
                    .collect();
                let probe = field.probe(&FieldPredicate::Text(text.clone()));
                assert!(probe.sure.is_subset(&truth) && truth.is_subset(&(&probe.sure | &probe.maybe)));
                if mode != TextMode::Phrase || analyzer.options().phrase_matching {
                    assert!(probe.maybe.is_empty() && probe.sure == truth, "{text:?}");
                }
            }
        }
    }
}

#[test]
fn damage_of_any_byte_is_found() {
    let analyzer = analyzer(r#"{"phrase_matching":true,"stemmer":"english"}"#);
    let path = PayloadPath::parse("t").unwrap();
    let mut builder = FieldIndexBuilder::text(analyzer.options()).unwrap();
    for (ordinal, texts) in (0u32..).zip(rows(40, 3)) {
        builder.add(ordinal, &json!({ "t": texts }), &path);
    }
    let field = builder.finish().unwrap();
    let words = field.text().unwrap().encode().to_vec();
    for at in 0..words.len() {
        let mut damaged = words.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(TextIndex::open(Bytes::from(damaged)).is_err(), "byte {at}");
    }
    for cut in (0..words.len()).step_by(97) {
        assert!(TextIndex::open(Bytes::copy_from_slice(&words[..cut])).is_err(), "cut at {cut}");
    }
    let whole = field.encode();
    for at in (0..whole.len()).step_by(13) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        assert!(FieldIndex::open(Bytes::from(damaged)).is_err(), "byte {at}");
    }
    assert_eq!(FieldIndex::open(Bytes::from(whole.clone())).unwrap().encode(), whole);
}

#[test]
fn an_index_of_no_rows_and_of_rows_without_words() {
    for texts in [vec![], vec![vec![]], vec![vec!["...".to_owned()], vec![]]] {
        let analyzer = analyzer("{}");
        let index = index(&texts, &analyzer, usize::MAX);
        let asked = words(&["a"]);
        let statistics = index.statistics(&asked, &RoaringBitmap::new(), &Pace::endless()).unwrap();
        assert_eq!(statistics, TextStatistics { documents: 0, words: 0, frequencies: vec![0] });
        let weighed = statistics.weigh(&asked, &[1]);
        assert!(index.search(&weighed, 0.0, (3, Mask::All), &Pace::endless()).unwrap().is_empty());
    }
}

#[test]
fn ordinals_that_are_left_out_are_rows_without_words() {
    let mut builder = TextIndexBuilder::new(analyzer("{}"));
    builder.add(2, &["a"]).unwrap();
    builder.add(5, &["a b"]).unwrap();
    let index = builder.finish(7).unwrap();
    assert_eq!(index.rows(), 7);
    let statistics = index.statistics(&words(&["a", "b"]), &RoaringBitmap::new(), &Pace::endless()).unwrap();
    assert_eq!(statistics, TextStatistics { documents: 2, words: 3, frequencies: vec![2, 1] });
    let weighed = statistics.weigh(&words(&["a", "b"]), &[1, 1]);
    let found =
        index.search(&weighed, statistics.average_length(), (9, Mask::All), &Pace::endless()).unwrap();
    assert_eq!(found.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [5, 2]);
}

#[test]
fn work_over_many_words_and_rows_ends_soon_after_it_is_late() {
    use std::cell::Cell;
    let texts: Vec<Vec<String>> = (0..60_000).map(|row| vec![format!("a b c w{}", row % 7)]).collect();
    let index = index(&texts, &analyzer("{}"), 64 << 20);
    let asked = words(&["a", "b", "c", "w1", "w2", "w3"]);
    let gone: RoaringBitmap = (0..60_000).step_by(2).collect();
    let looks = Cell::new(0);
    let late_after = |most: usize| {
        looks.set(0);
        let looks = &looks;
        move || {
            looks.set(looks.get() + 1);
            looks.get() > most
        }
    };
    let statistics = |most| {
        let late = late_after(most);
        let pace = Pace::new(&late);
        (index.statistics(&asked, &gone, &pace).unwrap(), pace.is_late())
    };
    let (counted, late) = statistics(usize::MAX);
    assert!(!late && looks.get() > 2, "{}", looks.get());
    assert!(statistics(1).1 && looks.get() == 2, "nothing looks again once it is late");
    let weighed = counted.weigh(&asked, &[1; 6]);
    let few: RoaringBitmap = (0..60_000).step_by(10).collect();
    for mask in [Mask::All, Mask::Allow(&few)] {
        let search = |most| {
            let late = late_after(most);
            let pace = Pace::new(&late);
            index.search(&weighed, 4.0, (10, mask), &pace).unwrap();
            pace.is_late()
        };
        assert!(!search(usize::MAX) && looks.get() > 1, "{}", looks.get());
        assert!(search(1) && looks.get() == 2);
    }
}
