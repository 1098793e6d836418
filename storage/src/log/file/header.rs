//! The block at the start of every log file.
//!
//! ```text
//! magic(8) version(4) reserved(4) shard(8) nonce(8) epoch(8) first(8) chain(16) reserved(28) crc(4)
//! ```
//! `shard` is the hash of the shard's path; `nonce` is drawn per file. Both and `first` make the tag that every frame
//! of the file carries.

use super::frame::{BadHeader, Chain, Fields};

/// Bytes before the first frame.
pub(super) const FILE_HEADER: usize = 96;

const MAGIC: [u8; 8] = *b"ENGRAMLG";
const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct FileHeader {
    /// [`shard_hash`].
    pub shard: u64,
    pub nonce: u64,
    /// Epoch of the owner that made the file: no record in it has a smaller one.
    pub epoch: u64,
    /// Offset of its first record.
    pub first: u64,
    /// Chain of the record before that.
    pub chain: Chain,
}

impl FileHeader {
    /// A header for a new file.
    pub fn new(shard: u64, epoch: u64, first: u64, chain: Chain) -> Self {
        Self { shard, nonce: uuid::Uuid::new_v4().as_u64_pair().0, epoch, first, chain }
    }

    /// What every frame of this file carries.
    pub fn tag(&self) -> u64 {
        let mut hash = blake3::Hasher::new();
        for n in [self.shard, self.nonce, self.first] {
            hash.update(&n.to_le_bytes());
        }
        Fields(hash.finalize().as_bytes()).u64()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FILE_HEADER);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for n in [self.shard, self.nonce, self.epoch, self.first] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&self.chain);
        out.resize(FILE_HEADER - 4, 0);
        let crc = crc_fast::crc32_iscsi(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header in this block, for the shard and with the first offset that the file's path says.
    ///
    /// # Errors
    /// What does not fit.
    pub fn parse(block: &[u8; FILE_HEADER], shard: u64, first: u64) -> Result<Self, BadHeader> {
        let mut f = Fields(block);
        if f.take() != MAGIC {
            return Err(BadHeader::Damaged("this is no log file"));
        }
        let crc = u32::from_le_bytes(Fields(&block[FILE_HEADER - 4..]).take());
        if crc_fast::crc32_iscsi(&block[..FILE_HEADER - 4]) != crc {
            return Err(BadHeader::Damaged("the checksum of the file header does not fit"));
        }
        if f.u32() != VERSION {
            return Err(BadHeader::Refused("the file was written by a newer version"));
        }
        let _reserved = f.u32();
        let header = Self { shard: f.u64(), nonce: f.u64(), epoch: f.u64(), first: f.u64(), chain: f.take() };
        if header.shard != shard {
            return Err(BadHeader::Refused("the file belongs to another shard"));
        }
        if header.first != first || first == 0 {
            return Err(BadHeader::Refused("the file has the name of another one"));
        }
        Ok(header)
    }
}

/// Identity of a shard in its log files.
pub(super) fn shard_hash(path: &str) -> u64 {
    Fields(blake3::hash(path.as_bytes()).as_bytes()).u64()
}

/// Chain before the first record of a shard.
pub(super) fn first_chain(path: &str) -> Chain {
    let mut hash = blake3::Hasher::new();
    hash.update(b"engram log ").update(path.as_bytes());
    Fields(hash.finalize().as_bytes()).take()
}
