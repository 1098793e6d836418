//! `BulkUpsert`: batches in, acknowledgements out in the same order, a few batches in work at once.
//!
//! Batches of one stream that share no id are written side by side, so that one can be converted while another waits
//! for the disk. A batch with an id that is still in work waits for it: the later write of an id must win.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use engram_proto::v1;
use engram_query::request::{NewPoint, Principal, WriteAnswer, WriteOptions};
use engram_query::token::ConsistencyToken;
use engram_storage::point::PointId;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use super::{Context, principal};
use crate::convert::{bulk, wire_token};
use crate::serve::admission::InFlight;
use crate::status::{from_query, invalid};

pub(crate) type Acknowledgements = ReceiverStream<Result<v1::BulkUpsertResponse, Status>>;

/// A batch that is being written.
struct Started {
    ids: HashSet<PointId>,
    work: JoinHandle<Result<Written, Status>>,
}

/// A batch that is durable.
struct Written {
    batch: u64,
    answer: WriteAnswer,
}

struct Bulk {
    context: Arc<Context>,
    principal: Principal,
    in_flight: InFlight,
    collection: String,
    /// Oldest first.
    started: VecDeque<Started>,
    /// Covers every batch that was acknowledged: batches are written side by side, so the token of the last one alone
    /// need not cover those before it.
    token: ConsistencyToken,
    answers: mpsc::Sender<Result<v1::BulkUpsertResponse, Status>>,
}

/// The caller is gone: nobody reads the answers.
struct Gone;

pub(crate) fn run(
    context: Arc<Context>,
    request: Request<Streaming<v1::BulkUpsertRequest>>,
) -> Result<Acknowledgements, Status> {
    let principal = principal(&request)?;
    let in_flight = request.extensions().get::<InFlight>().cloned().unwrap_or_default();
    let (answers, acknowledgements) = mpsc::channel(context.config.limits.bulk_batches);
    let bulk = Bulk {
        context,
        principal,
        in_flight,
        collection: String::new(),
        started: VecDeque::new(),
        token: ConsistencyToken::default(),
        answers,
    };
    tokio::spawn(bulk.pump(request.into_inner()));
    Ok(ReceiverStream::new(acknowledgements))
}

impl Bulk {
    async fn pump(mut self, mut batches: Streaming<v1::BulkUpsertRequest>) {
        loop {
            let full = self.started.len() >= self.context.config.limits.bulk_batches;
            let step = tokio::select! {
                // A finished batch is answered before another is read.
                biased;
                done = oldest(&mut self.started), if !self.started.is_empty() => self.answer(done).await,
                batch = batches.message(), if !full => match batch {
                    Ok(Some(batch)) => self.start(batch).await,
                    Ok(None) => return self.finish(None).await,
                    Err(broken) => return self.finish(Some(broken)).await,
                },
                () = self.answers.closed() => Err(Gone),
            };
            // Batches in work go on without us: each is a task.
            if step.is_err() {
                return;
            }
        }
    }

    /// Starts one batch; a batch that makes no sense ends the stream after what came before it.
    async fn start(&mut self, mut wire: v1::BulkUpsertRequest) -> Result<(), Gone> {
        let charge = self.in_flight.take();
        if let Err(refused) = self.name_collection(&mut wire) {
            return self.refuse(refused).await;
        }
        let (batch, key) = (wire.batch, std::mem::take(&mut wire.idempotency_key));
        let points = match bulk::points(wire) {
            Ok(points) => points,
            Err(refused) => return self.refuse(refused).await,
        };
        let ids: HashSet<PointId> = points.iter().filter_map(|p| p.id).collect();
        while self.started.iter().any(|earlier| !earlier.ids.is_disjoint(&ids)) {
            let done = oldest(&mut self.started).await;
            self.answer(done).await?;
        }
        let options = WriteOptions {
            idempotency_key: (!key.is_empty()).then_some(key),
            wait: false,
            skip_invalid: true,
        };
        let write = Write { context: self.context.clone(), principal: self.principal, batch, charge };
        let work = tokio::spawn(write.run(self.collection.clone(), points, options));
        self.started.push_back(Started { ids, work });
        Ok(())
    }

    fn name_collection(&mut self, wire: &mut v1::BulkUpsertRequest) -> Result<(), Status> {
        if wire.collection.is_empty() || wire.collection == self.collection {
            let known = !self.collection.is_empty();
            return known.then_some(()).ok_or_else(|| invalid("collection", "is missing in the first batch"));
        }
        if !self.collection.is_empty() {
            return Err(invalid(
                "collection",
                "changes within the stream; open one stream for each collection",
            ));
        }
        self.collection = std::mem::take(&mut wire.collection);
        Ok(())
    }

    async fn answer(&mut self, done: Result<Written, Status>) -> Result<(), Gone> {
        let failed = done.is_err();
        let answer = done.map(|written| {
            self.token.merge(&written.answer.token);
            acknowledgement(written, &self.token)
        });
        self.answers.send(answer).await.map_err(|_| Gone)?;
        // A status ends a gRPC stream.
        if failed { Err(Gone) } else { Ok(()) }
    }

    async fn refuse(&mut self, refused: Status) -> Result<(), Gone> {
        while !self.started.is_empty() {
            let done = oldest(&mut self.started).await;
            self.answer(done).await?;
        }
        self.answer(Err(refused)).await
    }

    /// Answers what is in work, then ends the stream, with an error if there was one.
    async fn finish(mut self, broken: Option<Status>) {
        while !self.started.is_empty() {
            let done = oldest(&mut self.started).await;
            if self.answer(done).await.is_err() {
                return;
            }
        }
        if let Some(broken) = broken {
            let _ = self.answer(Err(broken)).await;
        }
    }
}

/// Waits for the oldest batch and takes it out. Safe to drop half-way: the batch then stays.
async fn oldest(started: &mut VecDeque<Started>) -> Result<Written, Status> {
    let Some(first) = started.front_mut() else {
        return Err(Status::internal("no batch is in work"));
    };
    let done = (&mut first.work).await;
    started.pop_front();
    done.unwrap_or_else(|e| {
        tracing::error!(error = %e, "a bulk batch died");
        Err(Status::internal("internal error: a batch died; the server's log says why"))
    })
}

/// One batch on its way, with the memory it was admitted with.
struct Write {
    context: Arc<Context>,
    principal: Principal,
    batch: u64,
    charge: Option<OwnedSemaphorePermit>,
}

impl Write {
    async fn run(
        self,
        collection: String,
        points: Vec<NewPoint>,
        options: WriteOptions,
    ) -> Result<Written, Status> {
        let rows = points.len();
        let answer = self.context.database.upsert(self.principal, &collection, points, options).await;
        drop(self.charge);
        let answer = answer.map_err(|e| from_query(&e))?;
        self.context.metrics.points_written.inc_by(rows.saturating_sub(answer.rejected.len()) as u64);
        Ok(Written { batch: self.batch, answer })
    }
}

fn acknowledgement(written: Written, token: &ConsistencyToken) -> v1::BulkUpsertResponse {
    let Written { batch, answer } = written;
    let error = |(row, code, message): (usize, &'static str, String)| v1::RowError {
        row: u32::try_from(row).unwrap_or(u32::MAX),
        code: code.to_owned(),
        message,
    };
    v1::BulkUpsertResponse {
        batch,
        token: Some(wire_token(token)),
        errors: answer.rejected.into_iter().map(error).collect(),
        repeated: answer.repeated,
    }
}
