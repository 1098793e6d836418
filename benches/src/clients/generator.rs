//! Closed-loop clients: each has a connection of its own and sends its next search when it has the answer to the last.
//!
//! All of them run on one thread and send messages that were encoded beforehand, so that on a machine that the server
//! shares with them as much as possible is left to the server. What they do not do is decode answers while the clock runs;
//! the clock of a search ends with what says that it succeeded.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use tokio::task::{JoinSet, LocalSet};

use super::{grpc, rest};
use crate::samples::Samples;
use crate::wire::Ask;

/// The front that searches go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    Grpc,
    Rest,
}

impl Front {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Grpc => "gRPC",
            Self::Rest => "REST",
        }
    }
}

/// Makes the body of a search.
type Encode = fn(&Ask, &[f32]) -> Result<Bytes>;

/// Searches as they go out.
pub(super) struct Prepared {
    front: Front,
    address: SocketAddr,
    /// URI of gRPC, path of REST.
    target: String,
    /// One body per query.
    bodies: Vec<Bytes>,
}

impl Prepared {
    /// Encodes a search for each query.
    pub(super) fn new(front: Front, address: SocketAddr, ask: &Ask, queries: &[Vec<f32>]) -> Result<Self> {
        let (target, encode): (_, Encode) = match front {
            Front::Grpc => (format!("http://{address}{}", grpc::PATH), grpc::body),
            Front::Rest => (rest::path(ask), rest::body),
        };
        let bodies = queries.iter().map(|query| encode(ask, query)).collect::<Result<_>>()?;
        Ok(Self { front, address, target, bodies })
    }

    fn ids(&self, answer: &Bytes) -> Result<Vec<u64>> {
        match self.front {
            Front::Grpc => grpc::ids(answer),
            Front::Rest => rest::ids(answer),
        }
    }
}

enum Connection {
    Grpc(h2::client::SendRequest<Bytes>),
    Rest(rest::Sender),
}

impl Connection {
    async fn open(prepared: &Prepared) -> Result<Self> {
        Ok(match prepared.front {
            Front::Grpc => Self::Grpc(grpc::connect(prepared.address).await?),
            Front::Rest => Self::Rest(rest::connect(prepared.address).await?),
        })
    }

    /// Opens it anew where the server has closed it: over HTTP/1.1 it does when nothing was asked for a while.
    async fn keep_open(&mut self, prepared: &Prepared) -> Result<()> {
        if matches!(self, Self::Rest(sender) if sender.is_closed()) {
            *self = Self::open(prepared).await?;
        }
        Ok(())
    }

    async fn search(&mut self, prepared: &Prepared, query: usize) -> Result<Bytes> {
        let body = prepared.bodies[query].clone();
        match self {
            Self::Grpc(sender) => grpc::search(sender, &prepared.target, body).await,
            Self::Rest(sender) => rest::search(sender, prepared.address, &prepared.target, body).await,
        }
    }
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
    connections: Vec<Connection>,
    /// The query that comes next, over all laps.
    next: Rc<Cell<usize>>,
}

impl Clients {
    /// Connects so many; must run in a [`LocalSet`], on which the connections then live.
    pub(super) async fn connect(count: usize, prepared: Rc<Prepared>) -> Result<Self> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(Connection::open(&prepared).await?);
        }
        Ok(Self { prepared, connections, next: Rc::default() })
    }

    /// All clients search until the time is over.
    pub(super) async fn lap(&mut self, time: Duration) -> Result<Lap> {
        for connection in &mut self.connections {
            connection.keep_open(&self.prepared).await?;
        }
        let answers = Rc::new(RefCell::new(vec![None; self.prepared.bodies.len()]));
        let start = Instant::now();
        let mut clients = JoinSet::new();
        for connection in self.connections.drain(..) {
            let (prepared, next, answers) = (self.prepared.clone(), self.next.clone(), answers.clone());
            let client = Client { connection, prepared, next, answers };
            clients.spawn_local(client.search_until(start + time));
        }
        let mut lap = Lap::default();
        while let Some(done) = clients.join_next().await {
            let (connection, times) = done??;
            self.connections.push(connection);
            times.into_iter().for_each(|time| lap.times.push(time));
        }
        lap.per_second = lap.times.len() as f64 / start.elapsed().as_secs_f64();
        for (query, answer) in answers.take().into_iter().enumerate() {
            if let Some(answer) = answer {
                lap.found.push((query, self.prepared.ids(&answer)?));
            }
        }
        Ok(lap)
    }
}

struct Client {
    connection: Connection,
    prepared: Rc<Prepared>,
    next: Rc<Cell<usize>>,
    /// The first answer to each query, as it came.
    answers: Rc<RefCell<Vec<Option<Bytes>>>>,
}

impl Client {
    /// Its connection, for the next lap, and the times of its searches.
    async fn search_until(mut self, end: Instant) -> Result<(Connection, Vec<Duration>)> {
        let mut times = Vec::new();
        while Instant::now() < end {
            let query = self.next.get() % self.prepared.bodies.len();
            self.next.set(query + 1);
            let start = Instant::now();
            let answer = self.connection.search(&self.prepared, query).await?;
            times.push(start.elapsed());
            self.answers.borrow_mut()[query].get_or_insert(answer);
        }
        Ok((self.connection, times))
    }
}

/// Runs the clients' work on this thread alone.
pub(super) fn on_one_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = crate::serving::client_runtime()?;
    LocalSet::new().block_on(&runtime, work)
}
