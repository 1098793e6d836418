//! The connection to a server, and errors in the server's own words.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use engram_proto::v1::ErrorDetail;
use engram_proto::v1::admin_client::AdminClient;
use engram_proto::v1::collections_client::CollectionsClient;
use engram_proto::v1::keys_client::KeysClient;
use engram_proto::v1::points_client::PointsClient;
use engram_proto::v1::retention_client::RetentionClient;
use engram_proto::v1::snapshots_client::SnapshotsClient;
use prost::Message;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

/// Largest answer that is taken: a little above the server's own limit.
const MAX_MESSAGE: usize = 64 << 20;
const KEY_VARIABLE: &str = "ENGRAM_API_KEY";

/// Which server to talk to, and as whom.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// Address of the server's gRPC port.
    #[arg(
        long,
        global = true,
        env = "ENGRAM_SERVER",
        default_value = "http://127.0.0.1:6334",
        value_name = "URL"
    )]
    pub server: String,
    /// File whose first line is the API key (or set ENGRAM_API_KEY; a key is never a flag, since others can see flags).
    #[arg(long, global = true, env = "ENGRAM_API_KEY_FILE", value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// PEM file of the certificate authority that signed the server's certificate (for https addresses).
    #[arg(long, global = true, env = "ENGRAM_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Tenant that the holder of the root key acts for; any other key acts for its own.
    #[arg(long, global = true, env = "ENGRAM_TENANT", value_name = "NAME")]
    pub tenant: Option<String>,
}

/// Puts the key, and the tenant where one is named, on every request.
#[derive(Clone)]
pub struct Key {
    key: Option<MetadataValue<Ascii>>,
    tenant: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.key {
            request.metadata_mut().insert("api-key", key.clone());
        }
        if let Some(tenant) = &self.tenant {
            request.metadata_mut().insert("engram-tenant", tenant.clone());
        }
        Ok(request)
    }
}

type Service = InterceptedService<Channel, Key>;

/// Clients of all services over one connection.
#[derive(Clone)]
pub struct Client {
    service: Service,
    server: String,
}

impl Connection {
    /// A connection without a key, to a server of our own.
    pub fn local(server: String) -> Self {
        Self { server, api_key_file: None, tls_ca: None, tenant: None }
    }

    /// Connects.
    pub async fn open(&self) -> Result<Client> {
        let mut endpoint = Endpoint::from_shared(self.server.clone())
            .with_context(|| {
                format!("{:?} is no address; write for instance http://127.0.0.1:6334", self.server)
            })?
            .connect_timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20)
            .http2_keep_alive_interval(Duration::from_secs(30));
        if self.server.starts_with("https:") {
            let Some(path) = &self.tls_ca else {
                bail!("{} needs --tls-ca FILE: the certificate authority of the server", self.server);
            };
            let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
            endpoint = endpoint.tls_config(tls).context("the TLS settings cannot be used")?;
        }
        let key = Key { key: self.key()?, tenant: self.tenant()? };
        let channel = endpoint.connect().await.map_err(|e| {
            let cause = root_cause(&e);
            anyhow!(
                "cannot reach a server at {} ({cause}); start one with `engram serve`, or name another with --server",
                self.server
            )
        })?;
        Ok(Client { service: InterceptedService::new(channel, key), server: self.server.clone() })
    }

    fn tenant(&self) -> Result<Option<MetadataValue<Ascii>>> {
        let named = self.tenant.as_deref().filter(|name| !name.is_empty());
        named
            .map(|name| {
                name.parse().map_err(|_| anyhow!("{name:?} has characters that no tenant's name has"))
            })
            .transpose()
    }

    fn key(&self) -> Result<Option<MetadataValue<Ascii>>> {
        let text = match &self.api_key_file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                text.lines().next().unwrap_or("").trim().to_owned()
            }
            None => std::env::var(KEY_VARIABLE).unwrap_or_default(),
        };
        if text.is_empty() {
            return Ok(None);
        }
        let mut value: MetadataValue<Ascii> =
            text.parse().map_err(|_| anyhow!("the API key has characters that no key has"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

impl Client {
    /// Address of the server.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Reading and writing points.
    pub fn points(&self) -> PointsClient<Service> {
        let client = PointsClient::new(self.service.clone());
        client.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
    }

    /// Collections and aliases.
    pub fn collections(&self) -> CollectionsClient<Service> {
        CollectionsClient::new(self.service.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Purges and receipts.
    pub fn retention(&self) -> RetentionClient<Service> {
        RetentionClient::new(self.service.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Tenants and keys.
    pub fn keys(&self) -> KeysClient<Service> {
        KeysClient::new(self.service.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Snapshots of collections.
    pub fn snapshots(&self) -> SnapshotsClient<Service> {
        SnapshotsClient::new(self.service.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Statistics and upkeep.
    pub fn admin(&self) -> AdminClient<Service> {
        AdminClient::new(self.service.clone()).max_decoding_message_size(MAX_MESSAGE)
    }
}

/// The server's own sentence about what went wrong.
pub fn sentence(status: &Status) -> String {
    let detail = status.metadata().get_bin("engram-error-bin").and_then(|v| v.to_bytes().ok());
    let detail = detail.and_then(|bytes| ErrorDetail::decode(bytes).ok());
    match detail {
        Some(detail) if !detail.message.is_empty() => format!("{} [{}]", detail.message, detail.code),
        _ if status.code() == Code::Unavailable => format!("the server went away: {}", status.message()),
        _ => format!("{}: {}", status.code(), status.message()),
    }
}

/// Turns a failed call into an error with the server's sentence.
pub fn refused(status: Status) -> anyhow::Error {
    anyhow!(sentence(&status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::metadata::MetadataMap;

    #[test]
    fn the_trailer_is_the_sentence() {
        let detail = ErrorDetail {
            code: "gone".into(),
            message: "it is gone; look elsewhere".into(),
            retry_after_s: 0,
        };
        let mut map = MetadataMap::new();
        map.insert_bin("engram-error-bin", MetadataValue::from_bytes(&detail.encode_to_vec()));
        let status = Status::with_metadata(Code::NotFound, "x", map);
        assert_eq!(sentence(&status), "it is gone; look elsewhere [gone]");
        assert!(sentence(&Status::unavailable("tcp")).contains("went away"));
    }
}
