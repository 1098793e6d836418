//! Closed-loop clients: each has a connection of its own and sends its next search when it has the answer to the last.
//!
//! All of them run on one thread, speak HTTP/2 through the `h2` crate and send messages that were encoded beforehand, so
//! that on a machine that the server shares with them as much as possible is left to the server. What they do not do is
//! decode answers while the clock runs; the clock of a search ends with the trailers that say that it succeeded.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use engram_proto::v1;
use h2::client::SendRequest;
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tonic::codegen::http::{HeaderMap, Request};

use crate::samples::Samples;
use crate::wire::{Ask, numbers};

/// Head of a message in a gRPC body: a flag and the length.
const HEAD: usize = 5;
/// Room for answers in flight; far more than one needs.
const WINDOW: u32 = 1 << 20;
const METHOD: &str = "/engram.v1.Points/Search";

/// Searches as they go out.
pub(super) struct Prepared {
    uri: String,
    /// One body per query.
    bodies: Vec<Bytes>,
}

impl Prepared {
    /// Encodes a search for each query.
    pub(super) fn new(address: SocketAddr, ask: &Ask, queries: &[Vec<f32>]) -> Result<Self> {
        let bodies = queries.iter().map(|query| body(&ask.wire(query))).collect::<Result<_>>()?;
        Ok(Self { uri: format!("http://{address}{METHOD}"), bodies })
    }

    fn request(&self) -> Result<Request<()>> {
        let request = Request::post(&self.uri).header("te", "trailers");
        request.header("content-type", "application/grpc").body(()).context("make a request")
    }
}

fn body(search: &v1::SearchRequest) -> Result<Bytes> {
    let len = search.encoded_len();
    let mut body = BytesMut::with_capacity(HEAD + len);
    body.put_u8(0);
    body.put_u32(u32::try_from(len)?);
    search.encode(&mut body)?;
    Ok(body.freeze())
}

/// What one lap measured.
#[derive(Default)]
pub(super) struct Lap {
    pub(super) times: Samples,
    /// Searches per second, of all clients together.
    pub(super) per_second: f64,
    /// Query numbers with the ids that were found, each query once.
    pub(super) found: Vec<(usize, Vec<u64>)>,
}

/// Connected clients.
pub(super) struct Clients {
    prepared: Rc<Prepared>,
    connections: Vec<SendRequest<Bytes>>,
    /// The query that comes next, over all laps.
    next: Rc<Cell<usize>>,
}

impl Clients {
    /// Connects so many; must run in a [`LocalSet`], on which the connections then live.
    pub(super) async fn connect(address: SocketAddr, count: usize, prepared: Rc<Prepared>) -> Result<Self> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            let stream = TcpStream::connect(address).await.context("connect to the server")?;
            stream.set_nodelay(true)?;
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
            let (sender, connection) = builder.handshake(stream).await?;
            // It ends with the sender; where it fails, so do its searches.
            tokio::task::spawn_local(connection);
            connections.push(sender);
        }
        Ok(Self { prepared, connections, next: Rc::default() })
    }

    /// All clients search until the time is over.
    pub(super) async fn lap(&self, time: Duration) -> Result<Lap> {
        let answers = Rc::new(RefCell::new(vec![None; self.prepared.bodies.len()]));
        let start = Instant::now();
        let mut clients = JoinSet::new();
        for connection in &self.connections {
            let client = Client {
                sender: connection.clone(),
                prepared: self.prepared.clone(),
                next: self.next.clone(),
                answers: answers.clone(),
            };
            clients.spawn_local(client.search_until(start + time));
        }
        let mut lap = Lap::default();
        while let Some(done) = clients.join_next().await {
            done??.into_iter().for_each(|time| lap.times.push(time));
        }
        lap.per_second = lap.times.len() as f64 / start.elapsed().as_secs_f64();
        for (query, answer) in answers.take().into_iter().enumerate() {
            if let Some(answer) = answer {
                lap.found.push((query, ids(&answer)?));
            }
        }
        Ok(lap)
    }
}

struct Client {
    sender: SendRequest<Bytes>,
    prepared: Rc<Prepared>,
    next: Rc<Cell<usize>>,
    /// The first answer to each query, as it came.
    answers: Rc<RefCell<Vec<Option<Bytes>>>>,
}

impl Client {
    async fn search_until(mut self, end: Instant) -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        while Instant::now() < end {
            let query = self.next.get() % self.prepared.bodies.len();
            self.next.set(query + 1);
            let request = self.prepared.request()?;
            let start = Instant::now();
            let answer = self.search(request, query).await?;
            times.push(start.elapsed());
            self.answers.borrow_mut()[query].get_or_insert(answer);
        }
        Ok(times)
    }

    async fn search(&mut self, request: Request<()>, query: usize) -> Result<Bytes> {
        self.sender = self.sender.clone().ready().await?;
        let (answer, mut body) = self.sender.send_request(request, false)?;
        body.send_data(self.prepared.bodies[query].clone(), true)?;
        let (head, mut body) = answer.await?.into_parts();
        let mut message = Bytes::new();
        while let Some(part) = body.data().await {
            let part = part?;
            body.flow_control().release_capacity(part.len())?;
            // Answers are small: they come in one piece.
            message = if message.is_empty() { part } else { [message, part].concat().into() };
        }
        // An error has no body and its status in the head.
        match body.trailers().await? {
            Some(trailers) => check(&trailers)?,
            None => check(&head.headers)?,
        }
        Ok(message)
    }
}

fn check(headers: &HeaderMap) -> Result<()> {
    let text = |key: &str| headers.get(key).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text("grpc-status") {
        "0" => Ok(()),
        code => bail!("the server refused a search with code {code:?}: {}", text("grpc-message")),
    }
}

fn ids(answer: &Bytes) -> Result<Vec<u64>> {
    ensure!(answer.first() == Some(&0) && answer.len() >= HEAD, "an answer is no plain message");
    numbers(&v1::SearchResponse::decode(answer.slice(HEAD..))?)
}

/// Runs the clients' work on this thread alone.
pub(super) fn on_one_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = crate::serving::client_runtime()?;
    LocalSet::new().block_on(&runtime, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_one_message() -> Result<()> {
        let ask = Ask { collection: "c".to_owned(), k: 3, ef: None, exact: false };
        let body = body(&ask.wire(&[1.0, 2.0]))?;
        assert_eq!(u32::from_be_bytes([body[1], body[2], body[3], body[4]]) as usize, body.len() - HEAD);
        assert_eq!(v1::SearchRequest::decode(body.slice(HEAD..))?, ask.wire(&[1.0, 2.0]));
        Ok(())
    }

    #[test]
    fn a_status_other_than_ok_is_an_error() {
        let mut headers = HeaderMap::new();
        assert!(check(&headers).is_err());
        headers.insert("grpc-status", tonic::codegen::http::HeaderValue::from_static("8"));
        assert!(check(&headers).is_err());
        headers.insert("grpc-status", tonic::codegen::http::HeaderValue::from_static("0"));
        assert!(check(&headers).is_ok());
    }
}
