//! Building an index row by row.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tantivy::directory::RamDirectory;
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions as FieldOptions};
use tantivy::store::Compressor;
use tantivy::tokenizer::{Token, TokenStream, Tokenizer, TokenizerManager};
use tantivy::{Directory, Index, IndexSettings, SingleSegmentIndexWriter, TantivyDocument};

use super::analyzer::Analyzer;
use super::file::{PartFiles, encode};
use super::guard::{failed, guarded};
use super::index::{FIELD, TextIndex};
use crate::error::Result;

/// Memory of the postings of one part while it is built; what is packed already comes on top. Beyond it a new part is
/// begun.
const PART_BYTES: usize = 64 << 20;
/// Part of it for the table of words at first; it grows.
const TABLE_BYTES: usize = 256 << 10;
/// Name of the analyzer inside the index.
const TOKENIZER: &str = "engram";
/// What names the other files; the only one without a footer.
const META: &str = "meta.json";

/// Takes rows and makes a [`TextIndex`] of them.
pub struct TextIndexBuilder {
    analyzer: Arc<Analyzer>,
    /// Words of each row.
    lengths: Vec<u32>,
    done: Vec<PartFiles>,
    open: Option<Part>,
    part_bytes: usize,
}

/// The part that rows are added to.
struct Part {
    writer: SingleSegmentIndexWriter,
    directory: RamDirectory,
    field: Field,
    first: u32,
    words: Arc<AtomicU32>,
}

impl TextIndexBuilder {
    /// An index without rows.
    pub fn new(analyzer: Arc<Analyzer>) -> Self {
        Self { analyzer, lengths: Vec::new(), done: Vec::new(), open: None, part_bytes: PART_BYTES }
    }

    /// Parts of about so many bytes in memory.
    #[must_use]
    pub fn part_bytes(self, part_bytes: usize) -> Self {
        Self { part_bytes, ..self }
    }

    /// Adds the row `ordinal` with its strings. Ordinals ascend; one that is left out is a row without strings.
    ///
    /// # Errors
    /// Where the library fails; the index cannot be finished then.
    pub fn add(&mut self, ordinal: u32, texts: &[&str]) -> Result<()> {
        guarded("adding a row", || {
            while self.lengths.len() < ordinal as usize {
                self.push(&[])?;
            }
            self.push(texts)
        })
    }

    fn push(&mut self, texts: &[&str]) -> Result<()> {
        let part = match &mut self.open {
            Some(part) => part,
            None => self.open.insert(Part::begin(&self.analyzer, self.lengths.len())?),
        };
        self.lengths.push(part.add(texts)?);
        if part.writer.mem_usage() >= self.part_bytes {
            self.close()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if let Some(part) = self.open.take() {
            let rows = u32::try_from(self.lengths.len()).unwrap_or(u32::MAX) - part.first;
            self.done.push(part.finish(rows)?);
        }
        Ok(())
    }

    /// The index over `rows` rows.
    ///
    /// # Errors
    /// Where the library fails.
    pub fn finish(mut self, rows: u32) -> Result<TextIndex> {
        guarded("finishing an index", || {
            while self.lengths.len() < rows as usize {
                self.push(&[])?;
            }
            self.close()
        })?;
        TextIndex::built(encode(self.analyzer.options(), &self.lengths, self.done)?)
    }
}

impl Part {
    fn begin(analyzer: &Arc<Analyzer>, first: usize) -> Result<Self> {
        let record = match analyzer.options().phrase_matching {
            true => IndexRecordOption::WithFreqsAndPositions,
            false => IndexRecordOption::WithFreqs,
        };
        // Lengths of rows are kept exactly beside it: the library's have one byte.
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(TOKENIZER)
            .set_index_option(record)
            .set_fieldnorms(false);
        let mut schema = Schema::builder();
        let field = schema.add_text_field(FIELD, FieldOptions::default().set_indexing_options(indexing));
        let words = Arc::new(AtomicU32::new(0));
        let tokenizers = TokenizerManager::new();
        let buffer = Buffer::default();
        tokenizers.register(TOKENIZER, Counting { analyzer: analyzer.clone(), words: words.clone(), buffer });
        let settings = IndexSettings {
            docstore_compression: Compressor::None,
            docstore_compress_dedicated_thread: false,
            ..IndexSettings::default()
        };
        let directory = RamDirectory::create();
        let index = Index::builder().schema(schema.build()).tokenizers(tokenizers).settings(settings);
        let writer = index.single_segment_index_writer(directory.clone(), TABLE_BYTES).map_err(failed)?;
        Ok(Self { writer, directory, field, first: u32::try_from(first).unwrap_or(u32::MAX), words })
    }

    /// Number of words of the row.
    fn add(&mut self, texts: &[&str]) -> Result<u32> {
        let mut document = TantivyDocument::new();
        for text in texts {
            document.add_text(self.field, text);
        }
        self.words.store(0, Ordering::Relaxed);
        self.writer.add_document(document).map_err(failed)?;
        Ok(self.words.load(Ordering::Relaxed))
    }

    fn finish(self, rows: u32) -> Result<PartFiles> {
        let index = self.writer.finalize().map_err(failed)?;
        let mut names: Vec<PathBuf> = index.directory().list_managed_files().into_iter().collect();
        names.push(META.into());
        names.sort_unstable();
        names.dedup();
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            if !self.directory.exists(&name).map_err(failed)? {
                continue;
            }
            let content = match name.as_os_str() == META {
                true => self.directory.atomic_read(&name).map_err(failed)?,
                false => {
                    self.directory.open_read(&name).map_err(failed)?.read_bytes().map_err(failed)?.to_vec()
                }
            };
            files.push((name.to_string_lossy().into_owned(), content));
        }
        Ok(PartFiles { first: self.first, rows, files })
    }
}

/// The analyzer as the library wants it; counts the words.
#[derive(Clone)]
struct Counting {
    analyzer: Arc<Analyzer>,
    words: Arc<AtomicU32>,
    buffer: Buffer,
}

/// Words end to end, with their places.
#[derive(Clone, Default)]
struct Buffer {
    text: String,
    ends: Vec<(usize, u32)>,
}

impl Tokenizer for Counting {
    type TokenStream<'a> = Words<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Words<'a> {
        let Buffer { text: all, ends } = &mut self.buffer;
        all.clear();
        ends.clear();
        self.analyzer.words(text, |word, place| {
            all.push_str(word);
            ends.push((all.len(), place));
            true
        });
        self.words.fetch_add(u32::try_from(ends.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
        Words { buffer: &self.buffer, next: 0, from: 0, token: Token::default() }
    }
}

/// The words of one string.
struct Words<'a> {
    buffer: &'a Buffer,
    next: usize,
    from: usize,
    token: Token,
}

impl TokenStream for Words<'_> {
    fn advance(&mut self) -> bool {
        let Some(&(end, place)) = self.buffer.ends.get(self.next) else { return false };
        self.token.text.clear();
        self.token.text.push_str(&self.buffer.text[self.from..end]);
        self.token.position = place as usize;
        (self.next, self.from) = (self.next + 1, end);
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

impl std::fmt::Debug for TextIndexBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextIndexBuilder").field("rows", &self.lengths.len()).finish_non_exhaustive()
    }
}
