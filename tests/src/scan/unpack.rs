//! Everything that can be unpacked from a file.

use std::io::Read;

use arrow::array::ArrayData;
use engram_index::vector::VectorValue;
use engram_storage::OpBatch;
use engram_storage::op::Op;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Most bytes that one zstd frame may unpack to.
const MOST: u64 = 256 << 20;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// What every zstd frame in `content` unpacks to, up to the first byte that does not fit.
pub fn zstd_frames(content: &[u8], mut look: impl FnMut(&[u8])) {
    for at in positions(content, ZSTD_MAGIC) {
        let unpacked = unpack(&content[at..]);
        if !unpacked.is_empty() {
            look(&unpacked);
        }
    }
}

fn positions(content: &[u8], magic: [u8; 4]) -> impl Iterator<Item = usize> + '_ {
    content.windows(4).enumerate().filter(move |(_, w)| *w == magic).map(|(at, _)| at)
}

fn unpack(frame: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if let Ok(decoder) = zstd::stream::read::Decoder::new(frame) {
        // A damaged frame still gives what comes before the damage.
        let _ = decoder.single_frame().take(MOST).read_to_end(&mut out);
    }
    out
}

/// The operations of every record of a log file, as their decoder gives them: payloads and vectors one by one.
pub fn log_records(content: &[u8], mut look: impl FnMut(&[u8])) {
    if !content.starts_with(b"ENGRAMLG") {
        return;
    }
    for at in positions(content, *b"EGFR") {
        let Some(body) = frame_body(&content[at..]) else { continue };
        let Ok(batch) = OpBatch::decode(body.into()) else { continue };
        for op in batch.ops {
            if let Op::Upsert(point) = op.op {
                look(&point.payload);
                for (_, value) in point.vectors {
                    match value {
                        VectorValue::Dense(vector) => look(&crate::wire::f32le(&vector)),
                        VectorValue::Sparse(sparse) => look(&crate::wire::f32le(&sparse.values)),
                        VectorValue::Multi(multi) => look(&crate::wire::f32le(&multi.components)),
                    }
                }
            }
        }
    }
}

/// Body of the frame that begins here: see `storage/src/log/file/frame.rs` for the envelope.
fn frame_body(frame: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 96;
    const BODY_LEN: usize = 60;
    let stored = frame.get(5)? & 1 != 0;
    let len = u32::from_le_bytes(*frame.get(BODY_LEN..)?.first_chunk()?) as usize;
    let body = frame.get(HEADER..)?.get(..len)?;
    Some(if stored { body.to_vec() } else { unpack(body) })
}

/// The values of every column of a Parquet file.
pub fn parquet_values(content: &[u8], mut look: impl FnMut(&[u8])) {
    if !content.starts_with(b"PAR1") {
        return;
    }
    let bytes = parquet_bytes(content);
    let Ok(reader) = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|b| b.build()) else { return };
    for batch in reader.map_while(Result::ok) {
        for column in batch.columns() {
            buffers(&column.to_data(), &mut look);
        }
    }
}

fn parquet_bytes(content: &[u8]) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(content)
}

fn buffers(data: &ArrayData, look: &mut impl FnMut(&[u8])) {
    for buffer in data.buffers() {
        look(buffer.as_slice());
    }
    for child in data.child_data() {
        buffers(child, look);
    }
}
