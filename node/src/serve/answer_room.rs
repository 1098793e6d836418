//! Room for answers: what a read sends back is charged before it is gathered, and held until its last byte is out.
//!
//! Without this a few hundred searches with a large `k` hold more memory than all requests together may.

use engram_query::request::{Selection, StoredPoint};
use engram_storage::ErrorKind;
use engram_storage::schema::{CollectionSchema, VectorField, VectorKind};
use tonic::Status;

use super::admission::{Admission, COPIES, InFlight};
use crate::status::{exhausted, status};

/// Bytes of a point beside vectors and payload, in an answer.
const POINT_BYTES: usize = 96;
/// Bytes of a payload that nobody has seen yet. Larger ones are charged when they are there.
const PAYLOAD_GUESS: usize = 512;
/// Bytes of a sparse vector that nobody has seen yet.
const SPARSE_GUESS: usize = 1_024;
/// Vectors of a multi vector that nobody has seen yet, beside the first.
const MULTI_GUESS: usize = 31;

/// What the answer of one request may hold.
#[derive(Clone, Debug)]
pub(crate) struct AnswerRoom {
    admission: Admission,
    held: InFlight,
    /// Longest answer that can be sent.
    max_message: usize,
}

/// What an answer will hold, before it is gathered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Surely, if all points that are asked for are there: their vectors.
    pub(crate) least: usize,
    /// Most likely: with what else is sent of a point.
    pub(crate) likely: usize,
    /// What is held once, while the answer is gathered, and never sent.
    pub(crate) beside: usize,
}

impl Expected {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            least: self.least.saturating_add(other.least),
            likely: self.likely.saturating_add(other.likely),
            beside: self.beside.saturating_add(other.beside),
        }
    }
}

/// What an answer was charged so far.
#[derive(Debug)]
pub(crate) struct Charged {
    room: Option<AnswerRoom>,
    bytes: usize,
}

impl AnswerRoom {
    pub(crate) fn new(admission: Admission, held: InFlight, max_message: usize) -> Self {
        Self { admission, held, max_message }
    }

    /// Takes room for what a message of `len` bytes becomes once it is read, where that is more than it was charged.
    pub(crate) async fn take_read(&self, bytes: usize, len: usize) -> Result<(), Status> {
        match (bytes / COPIES).saturating_sub(len) {
            0 => Ok(()),
            more => {
                let held = self.held.units();
                let charge = match self.admission.try_beside(held, more) {
                    Some(charge) => charge,
                    None => self.admission.clone().grow(held, more).await?,
                };
                self.held.push(charge);
                Ok(())
            }
        }
    }

    async fn charge(&self, bytes: usize) -> Result<(), Status> {
        let held = self.held.units();
        let charge = match self.admission.try_beside(held, bytes) {
            Some(charge) => charge,
            None => self.admission.clone().beside(held, bytes, None).await?,
        };
        self.held.push(charge);
        Ok(())
    }

    /// Takes room for what will come and returns its bytes.
    async fn take(&self, expected: Expected) -> Result<usize, Status> {
        if expected.least > self.max_message {
            return Err(too_large(expected.least, self.max_message));
        }
        // What is only a guess refuses nothing, but no answer that can be sent is longer.
        let bytes = expected.likely.min(self.max_message);
        self.charge(bytes.saturating_add(expected.beside / COPIES)).await?;
        Ok(bytes)
    }

    /// Takes room that is there right now. An answer that is gathered holds memory: waiting for more of it would keep
    /// out the very requests whose end it waits for.
    fn try_take(&self, bytes: usize) -> Result<(), Status> {
        let charge = self.admission.try_beside(self.held.units(), bytes).ok_or_else(|| {
            exhausted("the answer does not fit beside the requests in work; ask for less at once")
        })?;
        self.held.push(charge);
        Ok(())
    }
}

fn too_large(bytes: usize, max: usize) -> Status {
    status(
        ErrorKind::Invalid,
        "answer_too_large",
        format!(
            "an answer of {bytes} bytes is larger than {max} (limits.message_bytes); ask for fewer points at once, or \
             leave vectors and payload out"
        ),
    )
}

impl Charged {
    /// Takes room for what is expected, waiting for it as long as a request may.
    pub(crate) async fn take(room: Option<AnswerRoom>, expected: Expected) -> Result<Self, Status> {
        let bytes = match &room {
            Some(room) => room.take(expected).await?,
            None => expected.likely,
        };
        Ok(Self { room, bytes })
    }

    /// Takes the rest, where the points turned out to be larger.
    pub(crate) fn settle<'a>(self, points: impl Iterator<Item = &'a StoredPoint>) -> Result<(), Status> {
        let (count, bytes) =
            points.fold((0usize, 0usize), |(count, bytes), point| (count + 1, bytes + point.bytes()));
        self.settle_bytes(bytes, count)
    }

    /// As [`Charged::settle`], for an answer of `count` parts with `bytes` in them. One that cannot be sent is refused
    /// before it is written.
    pub(crate) fn settle_bytes(self, bytes: usize, count: usize) -> Result<(), Status> {
        let Some(room) = &self.room else { return Ok(()) };
        if bytes > room.max_message {
            return Err(too_large(bytes, room.max_message));
        }
        match (bytes + count * POINT_BYTES).saturating_sub(self.bytes) {
            0 => Ok(()),
            more => room.try_take(more),
        }
    }
}

/// What `count` points of this collection will take, roughly.
pub(crate) fn expected_bytes(schema: &CollectionSchema, selection: &Selection, count: usize) -> Expected {
    let wanted = |name: &String| selection.vector_names.is_empty() || selection.vector_names.contains(name);
    let fields = || schema.vectors.iter().filter(|f| selection.vectors && wanted(&f.name));
    let vectors: usize = fields().map(|f| f.dimension * 4).sum();
    let guess = |field: &VectorField| match field.kind {
        VectorKind::Dense => 0,
        VectorKind::Sparse { .. } => SPARSE_GUESS,
        VectorKind::Multi => MULTI_GUESS * field.dimension * 4,
    };
    let guessed: usize = fields().map(guess).sum();
    let payload = if selection.payload { PAYLOAD_GUESS } else { 0 };
    Expected {
        least: count.saturating_mul(vectors),
        likely: count.saturating_mul(POINT_BYTES + vectors + guessed + payload),
        beside: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::NodeConfig;
    use crate::status::detail_of;

    const BUDGET: usize = 1 << 20;

    /// Room beside a message of `message` bytes; answers are at most as long as the budget.
    fn beside(message: usize) -> (Admission, AnswerRoom) {
        let mut limits = NodeConfig::for_data_dir("x").unwrap().limits;
        limits.inflight_bytes = BUDGET;
        limits.queue_wait = Duration::from_secs(3600);
        let (admission, held) = (Admission::new(&limits), InFlight::default());
        held.push(admission.try_message(message).unwrap());
        (admission.clone(), AnswerRoom::new(admission, held, BUDGET))
    }

    fn likely(likely: usize) -> Expected {
        Expected { likely, ..Expected::default() }
    }

    fn point(payload: usize) -> StoredPoint {
        StoredPoint {
            id: engram_storage::point::PointId::Num(1),
            vectors: Vec::new(),
            payload: vec![b' '; payload].into(),
            region: "eu".try_into().unwrap(),
            created_at: 0,
            ingested_at: 0,
            expires_at: None,
            version: 0,
        }
    }

    #[tokio::test]
    async fn a_request_does_not_wait_for_what_it_holds_itself() {
        for message in [10, BUDGET / 8, BUDGET] {
            let (admission, room) = beside(message);
            // The wait is an hour long: this ends since there is none.
            Charged::take(Some(room), likely(BUDGET)).await.unwrap();
            assert_eq!(admission.bytes_held().1, 0, "all is given back, {message}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_cannot_be_sent_is_refused_at_once() {
        let (admission, room) = beside(10);
        let _other = admission.try_message(BUDGET / 8).unwrap();
        let before = admission.bytes_held();
        let expected = Expected { least: BUDGET + 1, likely: BUDGET + 2, beside: 0 };
        let refused = Charged::take(Some(room), expected).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert_eq!(detail_of(&refused).unwrap().code, "answer_too_large");
        assert!(admission.bytes_held().1 <= before.1, "nothing was charged");
    }

    #[tokio::test]
    async fn an_answer_that_turns_out_too_large_to_be_sent_is_refused() {
        let (_, room) = beside(10);
        let room = AnswerRoom { max_message: BUDGET / 8, ..room };
        let settle = async |bytes| {
            let charged = Charged::take(Some(room.clone()), likely(100)).await.unwrap();
            charged.settle([point(bytes / 2), point(bytes - bytes / 2)].iter())
        };
        let refused = settle(BUDGET / 8 + 1).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert_eq!(detail_of(&refused).unwrap().code, "answer_too_large");
        assert!(refused.message().contains("leave vectors and payload out"));
        settle(BUDGET / 8).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_message_becomes_is_charged_where_it_is_more_than_its_copies() {
        let (admission, room) = beside(1024);
        let before = admission.bytes_held().1;
        room.take_read(4 * 1024, 1024).await.unwrap();
        assert_eq!(admission.bytes_held().1, before);
        room.take_read(100 * 1024, 1024).await.unwrap();
        assert!(admission.bytes_held().1 >= before + 96 * 1024);
    }

    #[tokio::test]
    async fn of_those_that_hold_a_message_and_need_more_one_waits() {
        let (admission, first) = beside(BUDGET / 16);
        let second = InFlight::default();
        second.push(admission.try_message(BUDGET / 8).unwrap());
        let second = AnswerRoom::new(admission.clone(), second, BUDGET);
        let mut waits = Box::pin(first.take_read(BUDGET / 2 + BUDGET / 4, 0));
        assert!(futures::poll!(&mut waits).is_pending(), "the other holds half of it");
        // The wait is an hour long: this ends since it does not wait.
        let refused = second.take_read(BUDGET, 0).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        drop(second);
        waits.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_held_beside_an_answer_is_charged_once_and_in_full() {
        let (admission, room) = beside(10);
        let room = AnswerRoom { max_message: BUDGET / 64, ..room };
        let before = admission.bytes_held().1;
        let expected = Expected { beside: BUDGET / 2, ..Expected::default() };
        let _charged = Charged::take(Some(room), expected).await.unwrap();
        let more = admission.bytes_held().1 - before;
        assert!((BUDGET as u64 / 2..BUDGET as u64 / 2 + 4096).contains(&more), "{more}");
    }

    #[tokio::test]
    async fn an_answer_that_turns_out_larger_is_told_to_ask_for_less() {
        let (admission, room) = beside(10);
        let charged = Charged::take(Some(room.clone()), likely(100)).await.unwrap();
        let other = admission.try_message(BUDGET / 5).unwrap();
        let refused = charged.settle([point(BUDGET / 5)].iter()).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(refused.message().contains("ask for less") && refused.message().contains("try again"));
        // Nobody was kept out meanwhile, and alone it fits.
        drop(admission.try_message(100).unwrap());
        drop(other);
        let charged = Charged::take(Some(room), likely(100)).await.unwrap();
        charged.settle([point(BUDGET / 5)].iter()).unwrap();
    }
}
