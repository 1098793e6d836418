//! The HTTP listener: health and the server's name, which need no credential. The REST interface is beside them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use engram_query::Database;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::sync::mpsc;

use super::listener::Connection;
use crate::rest::title::title;

/// Time without a word after which an HTTP/2 peer is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// A peer gets this long to send the head of a request, and for the answer whether it is there.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(10);
const MAX_HEADERS: u32 = 16 << 10;
const READ_BUFFER: usize = 32 << 10;

/// What the routes read.
#[derive(Clone)]
pub(crate) struct HttpState {
    pub(crate) database: Arc<Database>,
    /// `GET /` has the title of Qdrant.
    pub(crate) qdrant_title: bool,
    /// False while the node stops.
    pub(crate) ready: Arc<AtomicBool>,
}

/// The routes that need no credential.
pub(crate) fn router(state: HttpState) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/healthz", get(alive))
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .with_state(state)
}

async fn root(State(state): State<HttpState>) -> impl IntoResponse {
    title(state.qdrant_title)
}

async fn alive() -> &'static str {
    "ok\n"
}

async fn ready(State(state): State<HttpState>) -> (StatusCode, String) {
    if !state.ready.load(Ordering::Acquire) {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into());
    }
    let poisoned =
        state.database.engine().open_shards().iter().filter(|shard| shard.poisoned().is_some()).count();
    if poisoned > 0 {
        let why = format!("{poisoned} shards refuse writes since a sync failed; mend the disk and restart\n");
        return (StatusCode::SERVICE_UNAVAILABLE, why);
    }
    (StatusCode::OK, "ok\n".into())
}

/// The times of [`serve`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// See [`HEAD_TIME`].
    pub(crate) head: Duration,
    /// Requests in work get this long at the end.
    pub(crate) drain: Duration,
}

/// Serves connections until their source ends, then lets those in work finish.
pub(crate) async fn serve(
    router: Router,
    mut connections: mpsc::Receiver<io::Result<Connection>>,
    times: Times,
) {
    let mut server = Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(times.head).max_buf_size(READ_BUFFER);
    server.http2().timer(TokioTimer::new()).max_header_list_size(MAX_HEADERS).max_concurrent_streams(64);
    // A peer that is gone or silent loses its connection.
    server.http2().keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(times.head);
    let graceful = GracefulShutdown::new();
    while let Some(connection) = connections.recv().await {
        let Ok(connection) = connection else { continue };
        let service = TowerToHyperService::new(router.clone());
        let served = server.serve_connection(TokioIo::new(connection), service).into_owned();
        let served = graceful.watch(served);
        tokio::spawn(async move {
            if let Err(e) = served.await {
                tracing::debug!(error = %e, "an HTTP connection ended");
            }
        });
    }
    let _ = tokio::time::timeout(times.drain, graceful.shutdown()).await;
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::watch;
    use tokio::task::JoinHandle;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::{TlsConnector, client::TlsStream};

    use super::*;
    use crate::config::{ConnectionBounds, TlsFiles};
    use crate::serve::listener::{Acceptor, bind, tls_acceptor};
    use crate::serve::places::Places;

    const SHORT: Duration = Duration::from_millis(50);
    /// Time enough for who speaks at once, on a busy machine too.
    const ENOUGH: Duration = Duration::from_secs(3);
    const LONG: Duration = Duration::from_secs(60);
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    /// A server of one route.
    struct Server {
        address: SocketAddr,
        stop: watch::Sender<bool>,
        task: JoinHandle<()>,
        /// Over TLS, how a client speaks to it.
        connector: Option<TlsConnector>,
    }

    struct Settings {
        tls: bool,
        handshake: Duration,
        head: Duration,
        per_address: Option<usize>,
    }

    const PLAIN: Settings = Settings { tls: false, handshake: SHORT, head: LONG, per_address: None };

    impl Server {
        async fn start(settings: Settings) -> Self {
            let listener = bind("here", "127.0.0.1:0".parse().unwrap()).await.unwrap();
            let address = listener.local_addr().unwrap();
            let (stop, stopping) = watch::channel(false);
            let bounds = ConnectionBounds { all: 16, per_address: settings.per_address };
            let (tls, connector) = settings.tls.then(certified).unzip();
            let places = Places::new(bounds, Counter::default());
            let acceptor = Acceptor { listener, tls, places, handshake: settings.handshake, stop: stopping };
            let router = Router::new().route("/", get(alive));
            let times = Times { head: settings.head, drain: LONG };
            let task = tokio::spawn(serve(router, acceptor.start(), times));
            Self { address, stop, task, connector }
        }

        /// A connection over which this was sent.
        async fn say(&self, bytes: &[u8]) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream
        }

        async fn say_over_tls(&self, bytes: &[u8]) -> TlsStream<TcpStream> {
            let (stream, name) = (self.say(b"").await, ServerName::try_from("localhost").unwrap());
            let mut stream = self.connector.as_ref().unwrap().connect(name, stream).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream
        }
    }

    /// Both sides of TLS, with a certificate of their own.
    fn certified() -> (tokio_rustls::TlsAcceptor, TlsConnector) {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let files = TlsFiles { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
        std::fs::write(&files.cert, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
        (tls_acceptor(&files, &[b"h2", b"http/1.1"]).unwrap(), TlsConnector::from(Arc::new(client)))
    }

    /// What the server says until it closes.
    async fn until_closed(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
        let mut said = Vec::new();
        // A reset is an end too.
        let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut said)).await.expect("it is not closed");
        said
    }

    /// Sends this, then reads until the answer has that.
    async fn answers(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8], wanted: &[u8]) {
        stream.write_all(bytes).await.unwrap();
        let mut said = Vec::new();
        while !said.windows(wanted.len()).any(|window| window == wanted) {
            let read = tokio::time::timeout(LONG, stream.read_buf(&mut said)).await.expect("no answer");
            assert!(read.unwrap() > 0, "closed after {said:?}");
        }
    }

    #[tokio::test]
    async fn who_does_not_say_in_time_what_it_speaks_loses_its_connection() {
        let server = Server::start(PLAIN).await;
        for len in [0, 1, 14, PREFACE.len() - 1] {
            assert_eq!(until_closed(server.say(&PREFACE[..len]).await).await, b"", "{len} bytes");
        }
        let server = Server::start(Settings { tls: true, ..PLAIN }).await;
        for hello in [&b""[..], b"\x16\x03\x01\x02"] {
            assert_eq!(until_closed(server.say(hello).await).await, b"", "{hello:?}");
        }
    }

    #[tokio::test]
    async fn a_handshake_of_tls_alone_keeps_no_connection() {
        let server = Server::start(Settings { tls: true, handshake: ENOUGH, ..PLAIN }).await;
        let silent = server.say_over_tls(b"").await;
        let half = server.say_over_tls(&PREFACE[..PREFACE.len() - 1]).await;
        assert_eq!(futures::join!(until_closed(silent), until_closed(half)), (vec![], vec![]));
    }

    #[tokio::test]
    async fn half_a_head_loses_its_connection() {
        let server = Server::start(Settings { handshake: LONG, head: SHORT, ..PLAIN }).await;
        let said = until_closed(server.say(b"GET / HTTP/1.1\r\nhost: localhost\r\n").await).await;
        assert!(!said.starts_with(b"HTTP/1.1 200"), "{said:?}");
    }

    #[tokio::test]
    async fn who_has_said_it_may_be_silent() {
        let server = Server::start(Settings { handshake: ENOUGH, ..PLAIN }).await;
        let mut old = server.say(b"").await;
        let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        answers(&mut old, request, b"ok\n").await;
        let mut new = server.say(b"").await;
        answers(&mut new, &[PREFACE, b"\0\0\0\x04\0\0\0\0\0"].concat(), b"\x04").await;
        // Whoever came later and was silent is gone: the time of these two has passed.
        until_closed(server.say(b"").await).await;
        answers(&mut old, request, b"ok\n").await;
        answers(&mut new, b"\0\0\x08\x06\0\0\0\0\0whothere", b"whothere").await;
    }

    #[tokio::test]
    async fn one_address_has_so_many_connections_and_no_more() {
        let server = Server::start(Settings { handshake: LONG, per_address: Some(2), ..PLAIN }).await;
        let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let (mut first, mut second) = (server.say(b"").await, server.say(b"").await);
        answers(&mut first, request, b"ok\n").await;
        answers(&mut second, request, b"ok\n").await;
        assert_eq!(until_closed(TcpStream::connect(server.address).await.unwrap()).await, b"");
        answers(&mut first, request, b"ok\n").await;
        drop(second);
        // The server learns of it when it reads.
        let again = async {
            loop {
                let mut third = TcpStream::connect(server.address).await.unwrap();
                let mut said = [0; 15];
                if third.write_all(request).await.is_ok() && third.read_exact(&mut said).await.is_ok() {
                    return said;
                }
            }
        };
        assert_eq!(&tokio::time::timeout(LONG, again).await.unwrap(), b"HTTP/1.1 200 OK");
    }

    #[tokio::test]
    async fn a_server_that_stops_waits_for_nobody_who_is_silent() {
        let server = Server::start(Settings { handshake: LONG * 10, ..PLAIN }).await;
        let silent = server.say(&PREFACE[..3]).await;
        let mut spoke = server.say(b"").await;
        answers(&mut spoke, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", b"ok\n").await;
        server.stop.send_replace(true);
        assert_eq!(until_closed(silent).await, b"");
        tokio::time::timeout(LONG, server.task).await.expect("it does not end").unwrap();
    }
}
