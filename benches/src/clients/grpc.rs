//! Searches over gRPC as they go over the wire: HTTP/2 by the `h2` crate, one connection for each client.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use engram_proto::v1;
use h2::client::SendRequest;
use prost::Message;
use tokio::net::TcpStream;
use tonic::codegen::http::{HeaderMap, Request};

use crate::wire::{Ask, numbers};

/// Head of a message in a gRPC body: a flag and the length.
const HEAD: usize = 5;
/// Room for answers in flight; far more than one needs.
const WINDOW: u32 = 1 << 20;
pub(super) const PATH: &str = "/engram.v1.Points/Search";

/// A search as the body of a request.
pub(super) fn body(ask: &Ask, query: &[f32]) -> Result<Bytes> {
    let search = ask.wire(query);
    let len = search.encoded_len();
    let mut body = BytesMut::with_capacity(HEAD + len);
    body.put_u8(0);
    body.put_u32(u32::try_from(len)?);
    search.encode(&mut body)?;
    Ok(body.freeze())
}

pub(super) async fn connect(address: SocketAddr) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await.context("connect to the server")?;
    stream.set_nodelay(true)?;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let (sender, connection) = builder.handshake(stream).await?;
    // It ends with the sender; where it fails, so do its searches.
    tokio::task::spawn_local(connection);
    Ok(sender)
}

/// The answer's bytes, once the trailers say that the search succeeded.
pub(super) async fn search(sender: &mut SendRequest<Bytes>, uri: &str, body: Bytes) -> Result<Bytes> {
    let request = Request::post(uri).header("te", "trailers");
    let request = request.header("content-type", "application/grpc").body(()).context("make a request")?;
    *sender = sender.clone().ready().await?;
    let (answer, mut stream) = sender.send_request(request, false)?;
    stream.send_data(body, true)?;
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

fn check(headers: &HeaderMap) -> Result<()> {
    let text = |key: &str| headers.get(key).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text("grpc-status") {
        "0" => Ok(()),
        code => bail!("the server refused a search with code {code:?}: {}", text("grpc-message")),
    }
}

/// Ids in an answer.
pub(super) fn ids(answer: &Bytes) -> Result<Vec<u64>> {
    ensure!(answer.first() == Some(&0) && answer.len() >= HEAD, "an answer is no plain message");
    numbers(&v1::SearchResponse::decode(answer.slice(HEAD..))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_one_message() -> Result<()> {
        let ask = Ask { collection: "c".to_owned(), k: 3, ef: None, exact: false };
        let body = body(&ask, &[1.0, 2.0])?;
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
