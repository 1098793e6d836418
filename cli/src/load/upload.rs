//! The stream of batches to the server: a bounded window, acknowledgements in order, and a new stream after a
//! trouble that passes.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use engram_proto::v1::{BulkUpsertRequest, BulkUpsertResponse, UpdateCollectionRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::batch::Prepared;
use super::journal::{Journal, Position};
use super::rejects::Rejects;
use crate::client::{Client, refused, sentence};
use crate::output::number;
use crate::progress::Progress;

/// Batches on the wire without an acknowledgement.
const WINDOW: usize = 8;
/// Tries in a row without progress before the load gives up.
const TRIES: u32 = 12;
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What a load did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Rows that are durable in the server.
    pub loaded: u64,
    /// Bytes of their messages.
    pub bytes: u64,
    /// Batches that an earlier run of this load had brought in, unknown to the journal.
    pub repeated: u64,
}

/// Sends batches and books what comes back.
pub struct Upload<'a> {
    /// Server.
    pub client: &'a Client,
    /// Collection.
    pub collection: String,
    /// Regions the collection has; `None` where new ones must not be added.
    pub regions: Option<BTreeSet<String>>,
    /// Progress journal.
    pub journal: &'a mut Journal,
    /// Rejected rows.
    pub rejects: &'a mut Rejects,
    /// Bar or lines.
    pub progress: &'a mut Progress,
    /// Rows done, in all files.
    pub done_rows: u64,
    /// Sums.
    pub totals: Totals,
    /// What to read to see everything that was loaded.
    pub token: Option<engram_proto::v1::ConsistencyToken>,
    flight: VecDeque<Prepared>,
    next_number: u64,
    /// Batches below this number were sent more than once by this run: that they repeat says nothing of an earlier one.
    resent: u64,
}

struct Wire {
    sender: mpsc::Sender<BulkUpsertRequest>,
    answers: Streaming<BulkUpsertResponse>,
}

enum Step {
    Batch(Option<Result<Box<Prepared>>>),
    Answer(Result<Option<BulkUpsertResponse>, Status>),
}

impl<'a> Upload<'a> {
    /// An upload that has not begun.
    pub fn new(
        client: &'a Client,
        collection: String,
        journal: &'a mut Journal,
        rejects: &'a mut Rejects,
        progress: &'a mut Progress,
    ) -> Self {
        Self {
            client,
            collection,
            regions: None,
            journal,
            rejects,
            progress,
            done_rows: 0,
            totals: Totals::default(),
            token: None,
            flight: VecDeque::new(),
            next_number: 0,
            resent: 0,
        }
    }

    /// Sends everything from `queue`; returns when all is acknowledged.
    pub async fn run(&mut self, mut queue: mpsc::Receiver<Result<Prepared>>) -> Result<()> {
        self.rejects.begin(self.journal.rejects())?;
        self.journal.begin(self.rejects.mark())?;
        let ended = self.pump(&mut queue).await;
        // What was acknowledged stays booked, however the load ends.
        let saved = self.save();
        self.tell_repeated();
        ended.and(saved)
    }

    fn tell_repeated(&self) {
        if self.totals.repeated > 0 {
            let batches = number(self.totals.repeated);
            self.progress.note(&format!("{batches} batches were there already from the interrupted run"));
        }
    }

    /// Makes durable what is booked; rejects first, as rows that the journal has are not read again.
    fn save(&mut self) -> Result<()> {
        self.rejects.sync()?;
        self.journal.write()
    }

    async fn pump(&mut self, queue: &mut mpsc::Receiver<Result<Prepared>>) -> Result<()> {
        let mut failures = 0;
        let mut wire = self.connect().await.map_err(refused)?;
        let mut more = true;
        while more || !self.flight.is_empty() {
            let room = more && self.flight.len() < WINDOW;
            let step = tokio::select! {
                biased;
                answer = wire.answers.message(), if !self.flight.is_empty() => Step::Answer(answer),
                batch = queue.recv(), if room => Step::Batch(batch.map(|b| b.map(Box::new))),
            };
            match step {
                Step::Batch(None) => more = false,
                Step::Batch(Some(batch)) => self.send(&wire, *(batch?)).await?,
                Step::Answer(Ok(Some(answer))) => {
                    failures = 0;
                    self.acknowledged(&answer)?;
                }
                Step::Answer(Ok(None)) => {
                    failures += 1;
                    wire = self.again(failures, Status::unavailable("the server ended the stream")).await?;
                }
                Step::Answer(Err(status)) => {
                    failures += 1;
                    wire = self.again(failures, status).await?;
                }
            }
        }
        Ok(())
    }

    /// Opens a stream and sends what is in flight again.
    async fn connect(&mut self) -> Result<Wire, Status> {
        // Room for the whole window: sending never waits, flow control is the window's business.
        let (sender, receiver) = mpsc::channel(WINDOW);
        for request in self.flight.iter().filter_map(|p| p.request.clone()) {
            sender.try_send(request).map_err(|e| Status::internal(e.to_string()))?;
        }
        let mut points = self.client.points();
        let answers = points.bulk_upsert(ReceiverStream::new(receiver)).await?.into_inner();
        Ok(Wire { sender, answers })
    }

    /// Waits and opens another stream after a trouble that may pass.
    async fn again(&mut self, mut failures: u32, mut status: Status) -> Result<Wire> {
        loop {
            let passing = matches!(
                status.code(),
                Code::Unavailable
                    | Code::ResourceExhausted
                    | Code::Aborted
                    | Code::DeadlineExceeded
                    | Code::Unknown
            );
            if !passing || failures > TRIES {
                return Err(refused(status))
                    .context("the load stopped; the same command goes on where it was");
            }
            let pause = Duration::from_millis(250 << failures.min(6)).min(LONGEST_PAUSE);
            self.progress.note(&format!("waiting {pause:.1?}: {}", sentence(&status)));
            self.save()?;
            self.resent = self.next_number;
            tokio::time::sleep(pause).await;
            match self.connect().await {
                Ok(wire) => return Ok(wire),
                Err(next) => status = next,
            }
            failures += 1;
        }
    }

    async fn send(&mut self, wire: &Wire, mut batch: Prepared) -> Result<()> {
        batch.belong_to(self.journal.load_id());
        if let Some(request) = &mut batch.request {
            request.batch = self.next_number;
            self.next_number += 1;
            self.add_regions(&request.regions).await?;
            // A closed stream shows as an answer; the batch is in flight and is sent again.
            let _ = wire.sender.send(request.clone()).await;
        }
        self.flight.push_back(batch);
        self.book_unsent()
    }

    /// Adds regions that the collection does not have yet, where that is wanted.
    async fn add_regions(&mut self, rows: &[String]) -> Result<()> {
        let Some(known) = &mut self.regions else { return Ok(()) };
        let new: BTreeSet<&String> = rows.iter().filter(|r| !r.is_empty() && !known.contains(*r)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let add_regions: Vec<String> = new.into_iter().cloned().collect();
        let request = UpdateCollectionRequest {
            name: self.collection.clone(),
            add_regions: add_regions.clone(),
            ..Default::default()
        };
        self.client.collections().update_collection(request).await.map_err(refused)?;
        self.progress.note(&format!("added the regions {} to {}", add_regions.join(", "), self.collection));
        known.extend(add_regions);
        Ok(())
    }

    fn acknowledged(&mut self, answer: &BulkUpsertResponse) -> Result<()> {
        let Some(batch) = self.flight.pop_front() else {
            bail!("the server acknowledged a batch that was not sent")
        };
        let sent = batch.request.as_ref().map_or(0, |r| r.batch);
        if sent != answer.batch {
            bail!("the server acknowledged batch {} where batch {sent} was next", answer.batch);
        }
        self.totals.loaded += (batch.rows.len() as u64).saturating_sub(answer.errors.len() as u64);
        self.totals.bytes += batch.bytes() as u64;
        self.totals.repeated += u64::from(answer.repeated && sent >= self.resent);
        self.token = answer.token.clone().or(self.token.take());
        for error in &answer.errors {
            let row = batch.rows.get(error.row as usize).copied().unwrap_or(batch.end_row);
            self.rejects.add(&batch.file.path, row, &format!("{} [{}]", error.message, error.code))?;
        }
        self.book(&batch)?;
        self.book_unsent()
    }

    /// Books batches at the head of the queue that had nothing to send.
    fn book_unsent(&mut self) -> Result<()> {
        while self.flight.front().is_some_and(|p| p.request.is_none()) {
            if let Some(batch) = self.flight.pop_front() {
                self.book(&batch)?;
            }
        }
        Ok(())
    }

    fn book(&mut self, batch: &Prepared) -> Result<()> {
        for (row, reason) in &batch.rejects {
            self.rejects.add(&batch.file.path, *row, reason)?;
        }
        let before = self.journal.position(&batch.file.identity);
        self.done_rows += batch.end_row.saturating_sub(before.rows);
        let position = Position { rows: batch.end_row, done: batch.last };
        self.journal.note(&batch.file.identity, position, self.rejects.mark());
        self.progress.set(self.done_rows);
        if self.journal.due() { self.save() } else { Ok(()) }
    }
}
