//! Full-text indexes over the strings of a payload field, and BM25.
//!
//! [`TextOptions`] say how text becomes words, an [`Analyzer`] does it: the same for texts, queries and rows without an
//! index. A [`TextIndex`] holds which rows have which words, how often and where, in the files of `tantivy`, packed
//! into one blob that is read in place. `tantivy` gives dictionary and postings; which rows match and how they score is
//! decided here, since scores must not depend on how a collection is cut into runs.

pub mod analyzer;
pub mod bm25;
pub mod language;
pub mod matching;
pub mod options;

mod builder;
mod directory;
mod file;
mod guard;
mod index;
mod phrase;
mod rows;
mod score;

pub use analyzer::Analyzer;
pub use bm25::{TextStatistics, WeightedWord};
pub use builder::TextIndexBuilder;
pub use index::TextIndex;
pub use language::Language;
pub use matching::{TextMatch, TextMode};
pub use options::{Stopwords, TextOptions, Tokenizer};
pub use rows::WordCounts;
