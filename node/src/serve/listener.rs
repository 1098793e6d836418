//! Listeners: accept, bound the number of connections, shake hands if TLS is on, wait for the first bytes.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, rustls};
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::opening::Opened;
use super::places::{Place, Places};
use crate::config::{ConfigError, TlsFiles};

/// A peer gets this long to shake hands and to say in which protocol it speaks.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// A connection, with its place among the connections that may be open.
pub(crate) struct Connection {
    io: Io,
    _place: Place,
}

enum Io {
    Plain(Opened<TcpStream>),
    Tls(Box<Opened<TlsStream<TcpStream>>>),
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
    pub(crate) places: Places,
    /// See [`HANDSHAKE`].
    pub(crate) handshake: Duration,
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
        loop {
            // Taking a place first leaves further peers in the kernel's bounded backlog.
            let Some(free) = self.places.free().await else { return };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = self.stop.wait_for(|stop| *stop) => return,
                () = ready.closed() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Some(place) = self.places.take(free, peer.ip()) else { continue };
                    let opening = Opening { place, handshake: self.handshake, stop: self.stop.clone() };
                    tokio::spawn(opening.run(stream, self.tls.clone(), ready.clone()));
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

/// A connection that is not ready yet.
struct Opening {
    place: Place,
    handshake: Duration,
    stop: watch::Receiver<bool>,
}

impl Opening {
    async fn run(
        mut self,
        stream: TcpStream,
        tls: Option<TlsAcceptor>,
        ready: mpsc::Sender<io::Result<Connection>>,
    ) {
        let opened = tokio::select! {
            opened = tokio::time::timeout(self.handshake, open(stream, tls)) => opened,
            _ = self.stop.wait_for(|stop| *stop) => return,
        };
        match opened {
            Ok(Ok(io)) => drop(ready.send(Ok(Connection { io, _place: self.place })).await),
            Ok(Err(e)) => tracing::debug!(error = %e, "a connection did not open"),
            Err(_) => tracing::debug!("a connection was closed: its peer said too little"),
        }
    }
}

/// Shakes hands and reads the first bytes. Who says nothing must not keep a place: what reads requests has no clock before
/// it knows the protocol.
async fn open(stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<Io> {
    // Answers are small and must not wait for more of them.
    let _ = stream.set_nodelay(true);
    Ok(match tls {
        None => Io::Plain(Opened::read(stream).await?),
        Some(tls) => Io::Tls(Box::new(Opened::read(tls.accept(stream).await?).await?)),
    })
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        match &self.io {
            Io::Plain(stream) => stream.get_ref().connect_info(),
            Io::Tls(stream) => stream.get_ref().get_ref().0.connect_info(),
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
