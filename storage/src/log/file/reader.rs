//! Reading records back, each checked against its checksums, its place and the one before it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use zstd::bulk::Decompressor;

use super::directory::log_path;
use super::frame::{BadHeader, Chain, FRAME_HEADER, FrameHeader};
use super::header::{FILE_HEADER, FileHeader};
use crate::log::{LogError, Offset, Record};

/// Bytes of records that are read in one go.
const CHUNK: usize = 4 << 20;

/// What stops a reader.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The system refused.
    Io(io::Error),
    /// The bytes do not fit; `torn` where a write that was cut short could have left them.
    Bad { at: u64, why: &'static str, torn: bool },
}

impl ReadError {
    pub fn into_log_error(self, path: &Path) -> LogError {
        match self {
            Self::Io(e) => LogError::Unavailable(format!("cannot read {}: {e}", path.display())),
            Self::Bad { at, why, .. } => {
                LogError::Corrupt { path: path.display().to_string(), at, why: why.into() }
            }
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// Walks over the frames of one file.
pub(super) struct FrameReader {
    file: BufReader<File>,
    /// Position of the next frame.
    pub at: u64,
    /// Bytes that may be read.
    end: u64,
    pub header: FileHeader,
    /// Offset of the next record.
    pub next: Offset,
    /// Chain of the record before it.
    pub chain: Chain,
    epoch: u64,
}

impl FrameReader {
    /// Opens the file of `first` and reads its header; `end` limits what is looked at.
    pub fn open(dir: &Path, first: Offset, shard: u64, end: Option<u64>) -> Result<Self, ReadError> {
        let file = File::open(log_path(dir, first))?;
        let len = file.metadata()?.len();
        let end = end.unwrap_or(len);
        if len < end || end < FILE_HEADER as u64 {
            return Err(ReadError::Bad { at: len, why: "the file ends too early", torn: true });
        }
        let mut file = BufReader::with_capacity(256 << 10, file);
        let mut block = [0; FILE_HEADER];
        file.read_exact(&mut block)?;
        let header = FileHeader::parse(&block, shard, first).map_err(|e| bad(0, e))?;
        let (chain, epoch) = (header.chain, header.epoch);
        Ok(Self { file, at: FILE_HEADER as u64, end, header, next: first, chain, epoch })
    }

    /// The header of the next frame, whose place in the log is checked; `None` at the end. Follow it with
    /// [`FrameReader::body`] or [`FrameReader::skip`].
    pub fn next_header(&mut self, tag: u64) -> Result<Option<FrameHeader>, ReadError> {
        let left = self.end - self.at;
        if left == 0 {
            return Ok(None);
        }
        let torn = |why| ReadError::Bad { at: self.at, why, torn: true };
        if left < FRAME_HEADER as u64 {
            return Err(torn("the record header is cut short"));
        }
        let mut block = [0; FRAME_HEADER];
        self.file.read_exact(&mut block)?;
        let h = FrameHeader::parse(&block).map_err(|e| bad(self.at, e))?;
        let wrong = |why| Err(ReadError::Bad { at: self.at, why, torn: false });
        if h.tag != tag {
            // Frames of another file: blocks the file system had not zeroed.
            return Err(torn("the record belongs to another file"));
        }
        if h.seq != self.next {
            return wrong("a record is missing or out of order");
        }
        if h.epoch < self.epoch {
            return wrong("the record of an older owner follows one of a newer");
        }
        if left - (FRAME_HEADER as u64) < u64::from(h.body_len) {
            return Err(torn("the record is cut short"));
        }
        self.epoch = h.epoch;
        Ok(Some(h))
    }

    /// The stored body of the frame whose header was just read, checked against header and chain.
    pub fn body(&mut self, h: &FrameHeader) -> Result<Vec<u8>, ReadError> {
        let mut body = vec![0; h.body_len as usize];
        self.file.read_exact(&mut body)?;
        h.check_body(&self.chain, &body).map_err(|why| ReadError::Bad { at: self.at, why, torn: true })?;
        self.passed(h);
        Ok(body)
    }

    /// Passes over the body of the frame whose header was just read.
    pub fn skip(&mut self, h: &FrameHeader) -> Result<(), ReadError> {
        self.file.seek_relative(i64::from(h.body_len))?;
        self.passed(h);
        Ok(())
    }

    fn passed(&mut self, h: &FrameHeader) {
        self.at += FRAME_HEADER as u64 + u64::from(h.body_len);
        self.next = h.seq + 1;
        self.chain = h.chain;
    }

    /// Epoch of the newest record passed, at least that of the file.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

fn bad(at: u64, e: BadHeader) -> ReadError {
    ReadError::Bad { at, why: e.why(), torn: matches!(e, BadHeader::Damaged(_)) }
}

/// What a reader sees of a log: fixed when it starts.
pub(super) struct View {
    pub dir: PathBuf,
    pub shard: u64,
    /// First offset and length of each file from the one that holds the first wanted record on.
    pub files: VecDeque<(Offset, u64)>,
    pub tail: Offset,
}

/// A read in progress.
struct Cursor {
    view: View,
    from: Offset,
    open: Option<(FrameReader, PathBuf)>,
    /// Where the file before ended.
    before: Option<(Offset, Chain)>,
    zstd: Decompressor<'static>,
}

type Chunk = Vec<Result<(Offset, Record), LogError>>;

impl Cursor {
    /// Opens the next file of the view and checks that it continues the one before.
    fn open_next(&mut self) -> Result<bool, LogError> {
        let Some((first, len)) = self.view.files.pop_front() else { return Ok(false) };
        let path = log_path(&self.view.dir, first);
        let reader = match FrameReader::open(&self.view.dir, first, self.view.shard, Some(len)) {
            // Trimmed while this stream was running: a file is never taken away otherwise.
            Err(ReadError::Io(e)) if e.kind() == ErrorKind::NotFound => {
                let first = self.view.files.front().map_or(self.view.tail + 1, |f| f.0);
                return Err(LogError::Trimmed { first });
            }
            other => other.map_err(|e| e.into_log_error(&path))?,
        };
        if self.before.is_some_and(|b| b != (reader.next, reader.chain)) {
            let why = "the file does not continue the one before it: records are missing".into();
            return Err(LogError::Corrupt { path: path.display().to_string(), at: 0, why });
        }
        self.open = Some((reader, path));
        Ok(true)
    }

    /// The next records, about [`CHUNK`] bytes of them; none at the end.
    fn read(&mut self) -> Chunk {
        let mut out = vec![];
        let mut bytes = 0;
        while bytes < CHUNK {
            match self.read_one() {
                Ok(Some(record)) => {
                    bytes += record.1.body.len() + 64;
                    out.push(Ok(record));
                }
                Ok(None) => break,
                Err(e) => {
                    self.view.files.clear();
                    self.open = None;
                    self.before = None;
                    self.view.tail = 0;
                    out.push(Err(e));
                    break;
                }
            }
        }
        out
    }

    fn read_one(&mut self) -> Result<Option<(Offset, Record)>, LogError> {
        loop {
            let Some((reader, path)) = &mut self.open else {
                if self.open_next()? {
                    continue;
                }
                return self.check_end().map(|()| None);
            };
            let tag = reader.header.tag();
            let Some(h) = reader.next_header(tag).map_err(|e| e.into_log_error(path))? else {
                self.before = Some((reader.next, reader.chain));
                self.open = None;
                continue;
            };
            if h.seq < self.from {
                reader.skip(&h).map_err(|e| e.into_log_error(path))?;
                continue;
            }
            let at = reader.at;
            let stored = reader.body(&h).map_err(|e| e.into_log_error(path))?;
            let body: Bytes = h.open_body(stored, &mut self.zstd).map_err(|why| LogError::Corrupt {
                path: path.display().to_string(),
                at,
                why: why.into(),
            })?;
            return Ok(Some((h.seq, Record { epoch: h.epoch, appended_at: h.appended_at, body })));
        }
    }

    /// After the last file: all records up to the tail were seen.
    fn check_end(&self) -> Result<(), LogError> {
        match self.before {
            Some((next, _)) if next != self.view.tail + 1 => Err(LogError::Corrupt {
                path: self.view.dir.display().to_string(),
                at: 0,
                why: format!("the log ends before record {next}, not after {}", self.view.tail),
            }),
            _ => Ok(()),
        }
    }
}

/// Records of `view` from `from` on.
pub(super) fn read(view: View, from: Offset) -> BoxStream<'static, Result<(Offset, Record), LogError>> {
    let start = async move {
        let zstd = Decompressor::new().map_err(|e| LogError::Unavailable(e.to_string()))?;
        Ok::<_, LogError>(Cursor { view, from, open: None, before: None, zstd })
    };
    let chunks = stream::once(start).flat_map(|cursor| match cursor {
        Ok(cursor) => stream::unfold(Some(cursor), next_chunk).flat_map(stream::iter).boxed(),
        Err(e) => stream::iter([Err(e)]).boxed(),
    });
    chunks.boxed()
}

async fn next_chunk(cursor: Option<Cursor>) -> Option<(Chunk, Option<Cursor>)> {
    let mut cursor = cursor?;
    match tokio::task::spawn_blocking(move || (cursor.read(), cursor)).await {
        Ok((chunk, _)) if chunk.is_empty() => None,
        Ok((chunk, cursor)) => Some((chunk, Some(cursor))),
        // A panic or a runtime that shuts down ends the stream with an error, never silently.
        Err(e) => Some((vec![Err(LogError::Unavailable(format!("the reader was stopped: {e}")))], None)),
    }
}
