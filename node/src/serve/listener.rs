//! Listeners: accept, bound the number of connections, shake hands if TLS is on.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, rustls};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::config::{ConfigError, TlsFiles};

/// A peer gets this long for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A connection, with its place among the connections that may be open.
pub(crate) struct Connection {
    io: Io,
    _place: OwnedSemaphorePermit,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Reads certificate and key; `protocols` are offered by ALPN, best first.
pub(crate) fn tls_acceptor(files: &TlsFiles, protocols: &[&[u8]]) -> Result<TlsAcceptor, ConfigError> {
    let bad = |name: &str, path: &Path, why: String| {
        ConfigError::value(name, format!("{} is of no use ({why}); give a PEM file", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| bad("tls.cert", &files.cert, e.to_string()))?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|e| bad("tls.key", &files.key, e.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| bad("tls.cert", &files.cert, e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| bad("tls.cert", &files.cert, e.to_string()))?;
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts until `stop` turns true; ready connections come out of the channel.
pub(crate) struct Acceptor {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) connections: usize,
    pub(crate) stop: watch::Receiver<bool>,
}

impl Acceptor {
    /// Starts accepting on a task of its own.
    pub(crate) fn start(self) -> mpsc::Receiver<io::Result<Connection>> {
        let (ready, connections) = mpsc::channel(16);
        tokio::spawn(self.run(ready));
        connections
    }

    async fn run(mut self, ready: mpsc::Sender<io::Result<Connection>>) {
        let places = Arc::new(Semaphore::new(self.connections));
        loop {
            // Taking a place first leaves further peers in the kernel's bounded backlog.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = self.stop.wait_for(|stop| *stop) => return,
                () = ready.closed() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(shake_hands(stream, self.tls.clone(), place, ready.clone()));
                }
                Err(e) => {
                    // Out of file descriptors, most likely: a pause lets others close.
                    tracing::warn!(error = %e, "accepting a connection failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn shake_hands(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    place: OwnedSemaphorePermit,
    ready: mpsc::Sender<io::Result<Connection>>,
) {
    // Answers are small and must not wait for more of them.
    let _ = stream.set_nodelay(true);
    // Who says nothing must not keep a place: what reads requests has no clock before the first byte.
    match tokio::time::timeout(HANDSHAKE, stream.peek(&mut [0])).await {
        Ok(Ok(1..)) => {}
        _ => return,
    }
    let io = match tls {
        None => Io::Plain(stream),
        Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => Io::Tls(Box::new(stream)),
            Ok(Err(e)) => {
                tracing::debug!(error = %e, "TLS handshake failed");
                return;
            }
            Err(_) => return,
        },
    };
    let _ = ready.send(Ok(Connection { io, _place: place })).await;
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        match &self.io {
            Io::Plain(stream) => stream.connect_info(),
            Io::Tls(stream) => stream.get_ref().0.connect_info(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        matches!(&self.io, Io::Plain(stream) if stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

/// Binds an address.
pub(crate) async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, ConfigError> {
    TcpListener::bind(address).await.map_err(|e| {
        let why = match e.kind() {
            io::ErrorKind::AddrInUse => {
                "another program listens there; stop it or choose another port".to_owned()
            }
            _ => e.to_string(),
        };
        ConfigError::value(key, format!("cannot listen on {address}: {why}"))
    })
}
