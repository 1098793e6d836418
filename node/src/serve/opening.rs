//! The first bytes of a connection. Who serves it waits for the whole preface of HTTP/2 without looking at a clock, and for
//! anything else with one: so they are read here, while there is a deadline, and handed on with the rest.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What a client of HTTP/2 begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first bytes were looked at.
#[derive(Debug)]
pub(crate) struct Opened<Io> {
    first: [u8; PREFACE.len()],
    /// Of `first`, those that were not handed on yet.
    rest: std::ops::Range<usize>,
    io: Io,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Opened<Io> {
    /// Reads until the preface is whole, or is none.
    ///
    /// # Errors
    /// Those of the stream, and its end.
    pub(crate) async fn read(mut io: Io) -> io::Result<Self> {
        let mut first = [0; PREFACE.len()];
        let mut len = 0;
        while len < PREFACE.len() && first[..len] == PREFACE[..len] {
            match io.read(&mut first[len..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => len += read,
            }
        }
        Ok(Self { first, rest: 0..len, io })
    }

    pub(crate) fn get_ref(&self) -> &Io {
        &self.io
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Opened<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let len = this.rest.len().min(buf.remaining());
        buf.put_slice(&this.first[this.rest.start..][..len]);
        this.rest.start += len;
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Opened<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    /// What comes out of a stream of these pieces: all of them, or nothing where it ends too early.
    async fn passes(pieces: &[&[u8]]) -> Option<Vec<u8>> {
        // Room for less than a preface: it comes in several reads.
        let (mut client, server) = duplex(5);
        let read = tokio::spawn(async move {
            let mut opened = Opened::read(server).await.ok()?;
            let mut all = Vec::new();
            opened.read_to_end(&mut all).await.ok()?;
            Some(all)
        });
        for piece in pieces {
            let _ = client.write_all(piece).await;
        }
        drop(client);
        read.await.unwrap()
    }

    #[tokio::test]
    async fn what_was_read_is_handed_on() {
        let frames = b"\0\0\0\x04\0\0\0\0\0".as_slice();
        for pieces in [
            [PREFACE.as_slice(), frames],
            [&PREFACE[..11], &PREFACE[11..]],
            [b"P", b"UT / HTTP/1.1\r\n\r\n"],
            [b"GET / HTTP/1.1\r\n", b"host: localhost\r\n\r\n"],
            [b"PRI * HTTP/2.1", b""],
            [b"\x16\x03\x01", b""],
        ] {
            assert_eq!(passes(&pieces).await, Some(pieces.concat()), "{pieces:?}");
        }
        for end in 0..PREFACE.len() {
            assert_eq!(passes(&[&PREFACE[..end]]).await, None, "{end}");
        }
    }
}
