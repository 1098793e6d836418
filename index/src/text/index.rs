//! Which rows have which words.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringBitmap;
use tantivy::postings::SegmentPostings;
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocSet, Index, InvertedIndexReader, SegmentReader, TERMINATED, Term};

use super::bm25::TextStatistics;
use super::directory::Slices;
use super::file::{PackedPart, decode};
use super::guard::{failed, guarded};
use super::matching::{TextMatch, TextMode};
use super::options::TextOptions;
use super::phrase;
use crate::column::Column;
use crate::error::{IndexError, Result};
use crate::pace::Pace;

/// Name of the only field.
pub(super) const FIELD: &str = "t";
/// A row that is gone is looked up in the postings of a word where so many times more rows have the word.
const SEEK_FACTOR: u64 = 8;
/// What looking at one row of a word costs, in nanoseconds or so.
const POSTING_WORK: usize = 5;

/// An immutable index over the words of the rows `0..rows`.
pub struct TextIndex {
    options: TextOptions,
    blob: Bytes,
    /// Words of each row.
    pub(super) lengths: Column<u32>,
    documents: u64,
    words: u64,
    pub(super) parts: Vec<Part>,
    /// Whether the blob is on the heap, for this index alone.
    built: bool,
}

/// The index of some consecutive rows.
pub(super) struct Part {
    pub first: u32,
    rows: u32,
    field: Field,
    words: Arc<InvertedIndexReader>,
}

/// What an index knows about a predicate. Rows in neither set do not match.
pub(crate) struct Found {
    pub sure: RoaringBitmap,
    pub maybe: RoaringBitmap,
}

impl TextIndex {
    /// Opens what [`TextIndex::encode`] made. Nothing is built, and little is copied.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] for a blob that is damaged or of another version.
    pub fn open(blob: Bytes) -> Result<Self> {
        let packed = decode(&blob)?;
        let parts = guarded("opening an index", || packed.parts.into_iter().map(Part::open).collect())?;
        let documents = packed.lengths.iter().filter(|length| **length > 0).count() as u64;
        let words = packed.lengths.iter().map(|length| u64::from(*length)).sum();
        let (options, lengths) = (packed.options, packed.lengths);
        Ok(Self { options, blob, lengths, documents, words, parts, built: false })
    }

    /// Opens what was built a moment ago.
    pub(super) fn built(blob: Vec<u8>) -> Result<Self> {
        Ok(Self { built: true, ..Self::open(Bytes::from(blob))? })
    }

    /// The packed form.
    pub fn encode(&self) -> &Bytes {
        &self.blob
    }

    /// How texts became words.
    pub fn options(&self) -> &TextOptions {
        &self.options
    }

    /// Number of rows; ordinals are below it.
    pub fn rows(&self) -> u32 {
        u32::try_from(self.lengths.len()).unwrap_or(u32::MAX)
    }

    /// Bytes on the heap, about; a blob that was handed in counts 0.
    pub fn heap_bytes(&self) -> usize {
        if self.built { self.blob.len() } else { 0 }
    }

    /// Rows that have `word`, those that are gone counted too.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] where the index cannot be read.
    pub fn frequency(&self, word: &str) -> Result<u64> {
        guarded("counting rows", || self.parts.iter().map(|part| part.frequency(word)).sum())
    }

    /// Statistics of the rows that are not `gone`, exactly. Ends without a meaning where `pace` says so.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] where the index cannot be read.
    pub fn statistics(
        &self,
        words: &[String],
        gone: &RoaringBitmap,
        pace: &Pace<'_>,
    ) -> Result<TextStatistics> {
        guarded("counting words", || {
            let lengths = gone.iter().map_while(|row| self.lengths.get(row as usize)).filter(|l| **l > 0);
            let (lost, lost_words) =
                lengths.fold((0, 0), |(rows, words), length| (rows + 1, words + u64::from(*length)));
            let frequency = |word: &String| -> Result<u64> {
                self.parts.iter().map(|part| part.frequency_without(word, gone, pace)).sum()
            };
            Ok(TextStatistics {
                documents: self.documents - lost,
                words: self.words - lost_words,
                frequencies: words.iter().map(frequency).collect::<Result<_>>()?,
            })
        })
    }

    /// Bounds of the number of rows that a bound predicate matches.
    pub(crate) fn estimate(&self, words: &[String], mode: TextMode) -> Result<(u64, u64)> {
        let frequencies: Vec<u64> = words.iter().map(|word| self.frequency(word)).collect::<Result<_>>()?;
        let (least, most) = (frequencies.iter().min().copied(), frequencies.iter().max().copied());
        let (least, most) = (least.unwrap_or(0), most.unwrap_or(0));
        Ok(match mode {
            TextMode::Any => (most, frequencies.iter().sum::<u64>().min(self.documents)),
            _ if frequencies.len() == 1 => (least, least),
            TextMode::All | TextMode::Phrase => (0, least),
        })
    }

    /// Rows that match a predicate; `None` where it is not bound to the options of this index.
    pub(crate) fn probe(&self, predicate: &TextMatch) -> Option<Result<Found>> {
        let words = self.words_of(predicate)?;
        Some(guarded("looking up words", || self.find(words, predicate.mode())))
    }

    /// The words of a predicate that is bound to the options of this index.
    pub(crate) fn words_of<'p>(&self, predicate: &'p TextMatch) -> Option<&'p [String]> {
        predicate.analyzer().filter(|analyzer| *analyzer.options() == self.options)?;
        predicate.words()
    }

    fn find(&self, words: &[String], mode: TextMode) -> Result<Found> {
        let mut rows = RoaringBitmap::new();
        for part in &self.parts {
            rows |= match mode {
                TextMode::Any => part.any(words)?,
                TextMode::Phrase if self.options.phrase_matching => part.phrase(words)?,
                TextMode::All | TextMode::Phrase => part.all(words)?,
            };
        }
        let open = mode == TextMode::Phrase && !self.options.phrase_matching && words.len() > 1;
        let none = RoaringBitmap::new();
        Ok(if open { Found { sure: none, maybe: rows } } else { Found { sure: rows, maybe: none } })
    }
}

impl Part {
    fn open(packed: PackedPart) -> Result<Self> {
        let index = Index::open(Slices::new(packed.files)).map_err(failed)?;
        let segments = index.searchable_segments().map_err(failed)?;
        let [segment] = segments.as_slice() else {
            return Err(IndexError::corrupt("text index", format!("{} segments in a part", segments.len())));
        };
        let reader = SegmentReader::open(segment).map_err(failed)?;
        if reader.max_doc() != packed.rows {
            let why = format!("{} rows in a part of {}", reader.max_doc(), packed.rows);
            return Err(IndexError::corrupt("text index", why));
        }
        let field = index.schema().get_field(FIELD).map_err(failed)?;
        let words = reader.inverted_index(field).map_err(failed)?;
        Ok(Self { first: packed.first, rows: packed.rows, field, words })
    }

    /// Past the last row.
    pub fn end(&self) -> u32 {
        self.first + self.rows
    }

    fn frequency(&self, word: &str) -> Result<u64> {
        self.words.doc_freq(&Term::from_field_text(self.field, word)).map(u64::from).map_err(failed)
    }

    /// The rows of a word from [`Part::first`] on; `None` where no row has it.
    pub fn postings(&self, word: &str, option: IndexRecordOption) -> Result<Option<SegmentPostings>> {
        self.words.read_postings(&Term::from_field_text(self.field, word), option).map_err(failed)
    }

    fn frequency_without(&self, word: &str, gone: &RoaringBitmap, pace: &Pace<'_>) -> Result<u64> {
        let lost = gone.range_cardinality(self.first..self.end());
        if lost == 0 {
            return self.frequency(word);
        }
        let Some(mut postings) = self.postings(word, IndexRecordOption::Basic)? else { return Ok(0) };
        let all = u64::from(postings.doc_freq());
        if lost.saturating_mul(SEEK_FACTOR) > all {
            let mut left = 0;
            while postings.doc() != TERMINATED && pace.go_on(POSTING_WORK) {
                left += u64::from(!gone.contains(self.first + postings.doc()));
                postings.advance();
            }
            return Ok(left);
        }
        let mut left = all;
        for row in gone.range(self.first..self.end()) {
            if !pace.go_on(POSTING_WORK) {
                break;
            }
            let document = row - self.first;
            if postings.doc() < document {
                postings.seek(document);
            }
            left -= u64::from(postings.doc() == document);
        }
        Ok(left)
    }

    fn rows(&self, documents: Vec<u32>) -> Result<RoaringBitmap> {
        let rows = documents.into_iter().map(|document| self.first + document);
        RoaringBitmap::from_sorted_iter(rows).map_err(|_| failed("postings do not ascend"))
    }

    fn any(&self, words: &[String]) -> Result<RoaringBitmap> {
        let mut rows = RoaringBitmap::new();
        for word in words {
            let Some(mut postings) = self.postings(word, IndexRecordOption::Basic)? else { continue };
            let mut documents = Vec::with_capacity(postings.doc_freq() as usize);
            while postings.doc() != TERMINATED {
                documents.push(postings.doc());
                postings.advance();
            }
            rows |= self.rows(documents)?;
        }
        Ok(rows)
    }

    /// Postings of words, each once; `None` where one of them has none, or there is no word.
    fn each(&self, words: &[String], option: IndexRecordOption) -> Result<Option<Vec<SegmentPostings>>> {
        words
            .iter()
            .map(|word| self.postings(word, option))
            .collect::<Result<Option<Vec<_>>>>()
            .map(|found| found.filter(|all| !all.is_empty()))
    }

    fn all(&self, words: &[String]) -> Result<RoaringBitmap> {
        let Some(mut postings) = self.each(words, IndexRecordOption::Basic)? else {
            return Ok(RoaringBitmap::new());
        };
        let mut documents = Vec::new();
        phrase::meet(&mut postings, |_, document| documents.push(document));
        self.rows(documents)
    }

    fn phrase(&self, sequence: &[String]) -> Result<RoaringBitmap> {
        let mut words = sequence.to_vec();
        words.sort_unstable();
        words.dedup();
        let numbers = phrase::numbers(sequence, &words);
        let option = IndexRecordOption::WithFreqsAndPositions;
        let Some(mut postings) = self.each(&words, option)? else { return Ok(RoaringBitmap::new()) };
        let mut places = vec![Vec::new(); words.len()];
        let mut documents = Vec::new();
        phrase::meet(&mut postings, |postings, document| {
            if phrase::stands(postings, &numbers, &mut places) {
                documents.push(document);
            }
        });
        self.rows(documents)
    }
}

impl fmt::Debug for TextIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextIndex")
            .field("rows", &self.rows())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
