//! Searches over REST as they go over the wire: HTTP/1.1 by `hyper`, one connection for each client that stays open.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tonic::codegen::http::Request;

use crate::wire::Ask;

pub(super) type Sender = SendRequest<Full<Bytes>>;

/// Where searches of a collection go.
pub(super) fn path(ask: &Ask) -> String {
    format!("/collections/{}/points/query", ask.collection)
}

/// A search as the body of a request: what qdrant-client sends for it.
pub(super) fn body(ask: &Ask, query: &[f32]) -> Result<Bytes> {
    let mut params = json!({ "exact": ask.exact });
    if let Some(ef) = ask.ef {
        params["hnsw_ef"] = json!(ef);
    }
    let search = json!({
        "query": { "nearest": query }, "limit": ask.k, "params": params, "with_payload": false, "with_vector": false,
    });
    Ok(serde_json::to_vec(&search)?.into())
}

pub(super) async fn connect(address: SocketAddr) -> Result<Sender> {
    let stream = TcpStream::connect(address).await.context("connect to the server's HTTP port")?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender; where it fails, so do its searches.
    tokio::task::spawn_local(connection);
    Ok(sender)
}

/// The answer's bytes, once its status says that the search succeeded.
pub(super) async fn search(
    sender: &mut Sender,
    address: SocketAddr,
    path: &str,
    body: Bytes,
) -> Result<Bytes> {
    let request = Request::post(path).header("host", address.to_string());
    let request = request.header("content-type", "application/json").body(Full::new(body))?;
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        bail!("the server refused a search with {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(body)
}

#[derive(Deserialize)]
struct Answer {
    result: Found,
}

#[derive(Deserialize)]
struct Found {
    points: Vec<Point>,
}

#[derive(Deserialize)]
struct Point {
    id: u64,
}

/// Ids in an answer.
pub(super) fn ids(answer: &Bytes) -> Result<Vec<u64>> {
    let answer: Answer = serde_json::from_slice(answer).context("an answer is no result of a search")?;
    Ok(answer.result.points.into_iter().map(|point| point.id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_gives_its_ids() -> Result<()> {
        let answer =
            r#"{"result":{"points":[{"id":7,"version":1,"score":0.5},{"id":3,"version":1,"score":0.4}]}}"#;
        assert_eq!(ids(&Bytes::from_static(answer.as_bytes()))?, [7, 3]);
        assert!(ids(&Bytes::from_static(br#"{"status":{"error":"no"}}"#)).is_err());
        Ok(())
    }

    #[test]
    fn a_body_says_how_far_to_look() -> Result<()> {
        let ask = Ask { collection: "c".to_owned(), k: 3, ef: Some(64), exact: false };
        let body: serde_json::Value = serde_json::from_slice(&body(&ask, &[1.0, 2.0])?)?;
        assert_eq!(body["params"]["hnsw_ef"], 64);
        assert_eq!(body["query"]["nearest"], json!([1.0, 2.0]));
        Ok(())
    }
}
