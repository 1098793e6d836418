//! `engram inspect`: what a file of the server holds. Reads only, and needs no server.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use engram_storage::manifest::Manifest;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::output::{bytes, line, number, table, time};

/// Show what a file of the data directory holds; works while the server runs and when it does not.
#[derive(Subcommand)]
pub enum Inspect {
    /// A file of a segment: the Parquet file with its rows, or a blob (rows, vectors, index, graph).
    Segment(FilePath),
    /// A file of a shard's log: its records, checked one by one.
    Log(Log),
    /// A manifest: the current segments of a shard and how far they replace its log.
    Manifest(FilePath),
}

/// A file to look at.
#[derive(Args)]
pub struct FilePath {
    /// File.
    path: PathBuf,
}

/// A log file to look at.
#[derive(Args)]
pub struct Log {
    /// File, named after the offset of its first record.
    path: PathBuf,
    /// List every record.
    #[arg(long)]
    records: bool,
}

impl Inspect {
    /// Runs the command; damage is a failure.
    pub fn run(&self) -> Result<()> {
        match self {
            Self::Segment(file) => segment(&file.path),
            Self::Log(log) => log.run(),
            Self::Manifest(file) => manifest(&file.path),
        }
        .with_context(|| match self {
            Self::Segment(file) | Self::Manifest(file) => file.path.display().to_string(),
            Self::Log(log) => log.path.display().to_string(),
        })
    }
}

fn segment(path: &Path) -> Result<()> {
    let mut magic = [0u8; 8];
    File::open(path)?.read_exact(&mut magic).context("the file is shorter than any segment file")?;
    match &magic {
        b"ENGRBLOB" => blob(path),
        [b'P', b'A', b'R', b'1', ..] => parquet(path),
        _ => bail!("this is neither a Parquet file nor a blob of a segment"),
    }
}

fn parquet(path: &Path) -> Result<()> {
    let reader = SerializedFileReader::new(File::open(path)?)?;
    let metadata = reader.metadata();
    line(format!(
        "Parquet: {} rows in {} row groups, written by {}",
        metadata.file_metadata().num_rows(),
        metadata.num_row_groups(),
        metadata.file_metadata().created_by().unwrap_or("an unknown program")
    ))?;
    let mut shown = table(["column", "type", "values", "stored", "unpacked", "compression"]);
    for (i, column) in metadata.file_metadata().schema_descr().columns().iter().enumerate() {
        let chunks = || metadata.row_groups().iter().map(|group| group.column(i));
        let sum = |of: fn(&parquet::file::metadata::ColumnChunkMetaData) -> i64| {
            u64::try_from(chunks().map(of).sum::<i64>()).unwrap_or(0)
        };
        shown.add_row([
            column.path().string(),
            column.physical_type().to_string(),
            number(sum(|c| c.num_values())),
            bytes(sum(|c| c.compressed_size())),
            bytes(sum(|c| c.uncompressed_size())),
            chunks().next().map(|c| c.compression().to_string()).unwrap_or_default(),
        ]);
    }
    line(shown)
}

/// The header of a blob, as `engram_storage::segment` writes it: format u32, kind u32, rows, detail, sections.
fn blob(path: &Path) -> Result<()> {
    const KINDS: [&str; 7] =
        ["?", "rows", "vectors", "payload index", "graph", "sparse vectors", "multi vectors"];
    const MAX_SECTIONS: u64 = 16;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut word = [0u8; 8];
    let mut next = || -> Result<u64> {
        file.read_exact(&mut word).context("the header is cut")?;
        Ok(u64::from_le_bytes(word))
    };
    let _magic = next()?;
    let format_and_kind = next()?;
    let (rows, detail, sections) = (next()?, next()?, next()?);
    if sections > MAX_SECTIONS {
        bail!("the header says {sections} sections: the file is damaged");
    }
    let kind = KINDS.get((format_and_kind >> 32) as usize).unwrap_or(&"?");
    line(format!(
        "blob: {kind}, format {}, {} rows, detail {detail}, {}",
        format_and_kind as u32,
        number(rows),
        bytes(length)
    ))?;
    let mut shown = table(["section", "at", "bytes"]);
    for i in 0..sections {
        let (at, size) = (next()?, next()?);
        if at.checked_add(size).is_none_or(|end| end > length) {
            bail!("section {i} reaches past the end of the file: it is truncated or damaged");
        }
        shown.add_row([i.to_string(), at.to_string(), number(size)]);
    }
    line(shown)
}

fn manifest(path: &Path) -> Result<()> {
    let manifest = Manifest::decode(&path.display().to_string(), &std::fs::read(path)?)?;
    line(format!(
        "manifest {} of epoch {}, written by {} at {}\ncheckpoint: the log is replaced up to offset {}; {} writes are \
         remembered against repeats",
        manifest.version,
        manifest.epoch,
        manifest.writer,
        time(manifest.created_at),
        manifest.checkpoint,
        manifest.dedupe.len()
    ))?;
    let mut shown = table(["segment", "rows", "dead", "size", "created", "files"]);
    for segment in &manifest.segments {
        let files: Vec<String> = segment.objects().map(|o| o.path.clone()).collect();
        shown.add_row([
            segment.id.to_string(),
            number(segment.rows),
            number(segment.deletes.len()),
            bytes(segment.bytes()),
            format!("{} to {}", time(segment.min_created_at), time(segment.max_created_at)),
            files.join("\n"),
        ]);
    }
    line(shown)
}

/// Bytes before the first record, and before the body of each.
const HEADER: usize = 96;
/// Largest body of a record.
const MAX_BODY: u32 = 64 << 20;

/// The envelope of a record, as `engram_storage::log::file` writes it.
struct Record {
    epoch: u64,
    offset: u64,
    appended_at: i64,
    batch: (u32, u32),
    stored_bytes: u32,
    raw_bytes: u32,
    crc: u32,
}

fn u32_at(block: &[u8; HEADER], at: usize) -> u32 {
    block[at..at + 4].iter().rev().fold(0, |value, &b| value << 8 | u32::from(b))
}

fn u64_at(block: &[u8; HEADER], at: usize) -> u64 {
    block[at..at + 8].iter().rev().fold(0, |value, &b| value << 8 | u64::from(b))
}

fn checked(block: &[u8; HEADER]) -> bool {
    crc_fast::crc32_iscsi(&block[..HEADER - 4]) == u32_at(block, HEADER - 4)
}

impl Record {
    fn parse(block: &[u8; HEADER]) -> Result<Self> {
        if &block[..4] != b"EGFR" {
            bail!("no record begins here");
        }
        if !checked(block) {
            bail!("the checksum of the record's header does not fit");
        }
        let record = Self {
            epoch: u64_at(block, 16),
            offset: u64_at(block, 24),
            appended_at: u64_at(block, 40) as i64,
            batch: (u32_at(block, 48), u32_at(block, 52)),
            stored_bytes: u32_at(block, 60),
            raw_bytes: u32_at(block, 64),
            crc: u32_at(block, 68),
        };
        if record.stored_bytes > MAX_BODY {
            bail!("the record says {} bytes, more than any has", record.stored_bytes);
        }
        Ok(record)
    }
}

impl Log {
    fn run(&self) -> Result<()> {
        let file = File::open(&self.path)?;
        let length = file.metadata()?.len();
        let mut file = BufReader::new(file);
        let mut block = [0u8; HEADER];
        file.read_exact(&mut block).context("the file is shorter than its header")?;
        if &block[..8] != b"ENGRAMLG" || !checked(&block) {
            bail!("this is no log file, or its header is damaged");
        }
        line(format!(
            "log file of epoch {}, first offset {}, {}",
            u64_at(&block, 32),
            u64_at(&block, 40),
            bytes(length)
        ))?;
        let mut shown = table(["offset", "epoch", "appended", "batch", "stored", "unpacked"]);
        let (mut at, mut records, mut raw) = (HEADER as u64, 0u64, 0u64);
        let trouble = loop {
            match next_record(&mut file, length - at) {
                Ok(None) => break None,
                Ok(Some(record)) => {
                    at += HEADER as u64 + u64::from(record.stored_bytes);
                    records += 1;
                    raw += u64::from(record.raw_bytes);
                    if self.records {
                        shown.add_row(row(&record));
                    }
                }
                Err(why) => break Some(why),
            }
        };
        if self.records {
            line(shown)?;
        }
        line(format!("{} whole records, {} unpacked", number(records), bytes(raw)))?;
        match trouble {
            None => Ok(()),
            Some(why) => Err(why.context(format!("after byte {at} of {length}: a torn tail, or damage"))),
        }
    }
}

fn row(record: &Record) -> [String; 6] {
    [
        record.offset.to_string(),
        record.epoch.to_string(),
        time(record.appended_at),
        format!("{} of {}", record.batch.0 + 1, record.batch.1),
        number(u64::from(record.stored_bytes)),
        number(u64::from(record.raw_bytes)),
    ]
}

fn next_record(file: &mut impl Read, left: u64) -> Result<Option<Record>> {
    if left == 0 {
        return Ok(None);
    }
    let mut block = [0u8; HEADER];
    file.read_exact(&mut block).context("the record's header is cut")?;
    let record = Record::parse(&block)?;
    if u64::from(record.stored_bytes) > left.saturating_sub(HEADER as u64) {
        bail!("the record at offset {} is cut", record.offset);
    }
    let mut body = vec![0; record.stored_bytes as usize];
    file.read_exact(&mut body).context("the record is cut")?;
    if crc_fast::crc32_iscsi(&body) != record.crc {
        bail!("the checksum of the record at offset {} does not fit", record.offset);
    }
    Ok(Some(record))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(mut block: Vec<u8>) -> Vec<u8> {
        block.resize(HEADER - 4, 0);
        let crc = crc_fast::crc32_iscsi(&block);
        block.extend(crc.to_le_bytes());
        block
    }

    fn record(offset: u64, body: &[u8]) -> Vec<u8> {
        let mut block = b"EGFR\x01\x01\0\0".to_vec();
        for n in [9u64, 3, offset, offset - 1, 1000] {
            block.extend(n.to_le_bytes());
        }
        let size = body.len() as u32;
        for n in [0, 1, 0, size, size, crc_fast::crc32_iscsi(body)] {
            block.extend(n.to_le_bytes());
        }
        [seal(block), body.to_vec()].concat()
    }

    #[test]
    fn whole_and_torn_records() {
        let first = record(7, b"hello");
        let found = next_record(&mut &first[..], first.len() as u64).unwrap().unwrap();
        assert_eq!((found.offset, found.epoch, found.appended_at, found.stored_bytes), (7, 3, 1000, 5));
        for cut in 1..first.len() {
            assert!(next_record(&mut &first[..cut], cut as u64).is_err(), "{cut}");
        }
        let mut flipped = first.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(next_record(&mut &flipped[..], flipped.len() as u64).is_err());
        assert!(next_record(&mut &[][..], 0).unwrap().is_none());
    }
}
