//! Room for answers: what a read sends back is charged before it is gathered, and held until its last byte is out.
//!
//! Without this a few hundred searches with a large `k` hold more memory than all requests together may.

use engram_query::request::{Selection, StoredPoint};
use engram_storage::schema::CollectionSchema;
use tonic::Status;

use super::admission::{Admission, InFlight};

/// Bytes of a point beside vectors and payload, in an answer.
const POINT_BYTES: usize = 96;
/// Bytes of a payload that nobody has seen yet. Larger ones are charged when they are there.
const PAYLOAD_GUESS: usize = 512;

/// What the answer of one request may hold.
#[derive(Clone, Debug)]
pub(crate) struct AnswerRoom {
    admission: Admission,
    held: InFlight,
}

/// What an answer was charged so far.
#[derive(Debug)]
pub(crate) struct Charged {
    room: Option<AnswerRoom>,
    bytes: usize,
}

impl AnswerRoom {
    pub(crate) fn new(admission: Admission, held: InFlight) -> Self {
        Self { admission, held }
    }

    async fn take(&self, bytes: usize) -> Result<(), Status> {
        let charge = match self.admission.try_message(bytes) {
            Some(charge) => charge,
            None => self.admission.clone().message(bytes, None).await?,
        };
        self.held.push(charge);
        Ok(())
    }
}

impl Charged {
    /// Takes room for an answer of `bytes`, waiting for it as long as a request may.
    pub(crate) async fn take(room: Option<AnswerRoom>, bytes: usize) -> Result<Self, Status> {
        if let Some(room) = &room {
            room.take(bytes).await?;
        }
        Ok(Self { room, bytes })
    }

    /// Takes the rest, where the points turned out to be larger.
    pub(crate) async fn settle<'a>(
        self,
        points: impl Iterator<Item = &'a StoredPoint>,
    ) -> Result<(), Status> {
        let bytes = points.map(point_bytes).sum::<usize>();
        match &self.room {
            Some(room) if bytes > self.bytes => room.take(bytes - self.bytes).await,
            _ => Ok(()),
        }
    }
}

fn point_bytes(point: &StoredPoint) -> usize {
    POINT_BYTES + point.payload.len() + point.vectors.iter().map(|(_, v)| v.len() * 4).sum::<usize>()
}

/// What `count` points of this collection will take, roughly.
pub(crate) fn expected_bytes(schema: &CollectionSchema, selection: &Selection, count: usize) -> usize {
    let wanted = |name: &String| selection.vector_names.is_empty() || selection.vector_names.contains(name);
    let vectors = schema.vectors.iter().filter(|f| selection.vectors && wanted(&f.name));
    let vectors: usize = vectors.map(|f| f.dimension * 4).sum();
    let payload = if selection.payload { PAYLOAD_GUESS } else { 0 };
    count.saturating_mul(POINT_BYTES + vectors + payload)
}
