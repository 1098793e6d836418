//! A request of every method that is in order, and the least role that it needs.

use engram_proto::v1;
use prost::Message;

use crate::running::{definition, num, vector};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Nobody,
    Read,
    Write,
    Admin,
    Root,
}
use Level::{Admin, Nobody, Read, Root, Write};

/// What a request names.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub collection: String,
    pub receipt: String,
    pub key: String,
    /// A snapshot of the collection, and what is in its file.
    pub snapshot: String,
    pub file: Vec<u8>,
}

pub const ABSENT: &str = "absent";
/// What requests create.
pub const FRESH: &str = "fresh";
/// A tenant without anything.
pub const SPARE: &str = "spare";
/// In payloads and names of tenant acme alone.
pub const NEEDLE: &str = "acme-only-7f3a";

/// A request of this method that is in order, and the least role that it needs.
#[allow(clippy::too_many_lines, reason = "one row a method")]
pub fn sample(path: &str, names: &Names) -> Option<(Level, Vec<u8>)> {
    let collection = names.collection.clone();
    let named = || collection.clone();
    let point = || v1::Point {
        id: Some(num(1)),
        vectors: [(String::new(), vector(&[1.0, 2.0]))].into(),
        payload_json: format!("{{\"secret\":\"{NEEDLE}\"}}").into(),
        ..Default::default()
    };
    let search = || v1::SearchRequest {
        collection: named(),
        vector: Some(vector(&[1.0, 2.0])),
        k: 1,
        selection: Some(v1::Selection { with_payload: true, ..Default::default() }),
        ..Default::default()
    };
    let purge = || v1::PurgeRequest {
        collection: named(),
        older_than_s: 1_000_000_000,
        wait: true,
        ..Default::default()
    };
    let index =
        || v1::PayloadIndex { field: "n".into(), kind: v1::PayloadIndexKind::Integer.into(), text: None };
    let (needs, bytes) = match path.trim_start_matches("/engram.v1.") {
        "Points/Upsert" => (
            Write,
            v1::UpsertRequest { collection, points: vec![point()], wait: true, ..Default::default() }
                .encode_to_vec(),
        ),
        "Points/BulkUpsert" => {
            let f32le = [1.0f32, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
            let column = v1::VectorColumn { f32le: f32le.into(), ..Default::default() };
            let batch = v1::BulkUpsertRequest {
                collection,
                batch: 1,
                count: 1,
                num_ids: vec![1],
                vectors: vec![column],
                payload_json: vec![point().payload_json],
                ..Default::default()
            };
            (Write, batch.encode_to_vec())
        }
        "Points/Get" => (
            Read,
            v1::GetRequest {
                collection,
                ids: vec![num(1)],
                selection: Some(v1::Selection { with_payload: true, ..Default::default() }),
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        "Points/Delete" => {
            (Write, v1::DeleteRequest { collection, ids: vec![num(9)], ..Default::default() }.encode_to_vec())
        }
        "Points/SetPayload" => {
            let change = v1::SetPayloadRequest {
                collection,
                ids: vec![num(1)],
                mode: v1::PayloadMode::Merge.into(),
                payload_json: "{\"n\":1}".into(),
                ..Default::default()
            };
            (Write, change.encode_to_vec())
        }
        "Points/UpdateVectors" => {
            let vectors = [(String::new(), vector(&[3.0, 4.0]))].into();
            let point = v1::PointVectors { id: Some(num(1)), vectors, ..Default::default() };
            let update = v1::UpdateVectorsRequest { collection, points: vec![point], ..Default::default() };
            (Write, update.encode_to_vec())
        }
        "Points/Search" => (Read, search().encode_to_vec()),
        "Points/SearchText" => {
            let text = v1::SearchTextRequest {
                collection,
                field: "words".into(),
                text: "one".into(),
                limit: 1,
                ..Default::default()
            };
            (Read, text.encode_to_vec())
        }
        "Points/BatchSearch" => {
            (Read, v1::BatchSearchRequest { searches: vec![search(), search()] }.encode_to_vec())
        }
        "Points/Scroll" => {
            let selection = Some(v1::Selection { with_payload: true, ..Default::default() });
            let scroll = v1::ScrollRequest { collection, limit: 10, selection, ..Default::default() };
            (Read, scroll.encode_to_vec())
        }
        "Points/Count" => (Read, v1::CountRequest { collection, ..Default::default() }.encode_to_vec()),
        "Collections/CreateCollection" => (Admin, definition(FRESH).encode_to_vec()),
        "Collections/GetCollection" => (Read, v1::GetCollectionRequest { name: collection }.encode_to_vec()),
        "Collections/ListCollections" => (Read, v1::ListCollectionsRequest {}.encode_to_vec()),
        "Collections/UpdateCollection" => {
            let rule = v1::RetentionRule { region: "eu".into(), max_age_s: 1_000_000_000 };
            let update = v1::UpdateCollectionRequest {
                name: collection,
                set_retention: true,
                retention: vec![rule],
                ..Default::default()
            };
            (Admin, update.encode_to_vec())
        }
        "Collections/DeleteCollection" => {
            (Admin, v1::DeleteCollectionRequest { name: collection }.encode_to_vec())
        }
        "Collections/CreatePayloadIndex" => {
            (Admin, v1::CreatePayloadIndexRequest { collection, index: Some(index()) }.encode_to_vec())
        }
        "Collections/DeletePayloadIndex" => {
            (Admin, v1::DeletePayloadIndexRequest { collection, field: "n".into() }.encode_to_vec())
        }
        "Collections/SetAlias" => {
            (Admin, v1::SetAliasRequest { alias: "alias".into(), collection }.encode_to_vec())
        }
        "Collections/DeleteAlias" => {
            (Admin, v1::DeleteAliasRequest { alias: "alias".into() }.encode_to_vec())
        }
        "Collections/ListAliases" => (Read, v1::ListAliasesRequest {}.encode_to_vec()),
        "Retention/DryRun" => (Admin, purge().encode_to_vec()),
        "Retention/Purge" => (Admin, purge().encode_to_vec()),
        "Retention/GetReceipt" => (Read, v1::GetReceiptRequest { id: names.receipt.clone() }.encode_to_vec()),
        "Retention/ListReceipts" => (Read, v1::ListReceiptsRequest { limit: 5 }.encode_to_vec()),
        "Admin/Stats" => (Admin, v1::StatsRequest { collection }.encode_to_vec()),
        "Admin/Flush" => (Admin, v1::FlushRequest { collection }.encode_to_vec()),
        "Admin/Compact" => (Admin, v1::CompactRequest { collection }.encode_to_vec()),
        "Snapshots/CreateSnapshot" => (Admin, v1::CreateSnapshotRequest { collection }.encode_to_vec()),
        "Snapshots/ListSnapshots" => (Admin, v1::ListSnapshotsRequest { collection }.encode_to_vec()),
        "Snapshots/DeleteSnapshot" => (
            Admin,
            v1::DeleteSnapshotRequest { collection, snapshot: names.snapshot.clone() }.encode_to_vec(),
        ),
        "Snapshots/DownloadSnapshot" => {
            let download = v1::DownloadSnapshotRequest { collection, snapshot: names.snapshot.clone() };
            (Admin, download.encode_to_vec())
        }
        "Snapshots/RecoverSnapshot" => {
            let recover = v1::RecoverSnapshotRequest {
                collection,
                snapshot: names.snapshot.clone(),
                target: FRESH.into(),
                replace: false,
            };
            (Admin, recover.encode_to_vec())
        }
        "Snapshots/UploadSnapshot" => {
            let upload = v1::UploadSnapshotRequest {
                target: FRESH.into(),
                data: names.file.clone().into(),
                ..Default::default()
            };
            (Admin, upload.encode_to_vec())
        }
        "Keys/CreateTenant" => (Root, v1::CreateTenantRequest { name: FRESH.into() }.encode_to_vec()),
        "Keys/ListTenants" => (Root, v1::ListTenantsRequest {}.encode_to_vec()),
        "Keys/DeleteTenant" => (Root, v1::DeleteTenantRequest { name: SPARE.into() }.encode_to_vec()),
        "Keys/CreateKey" => {
            let new = v1::CreateKeyRequest {
                name: "made".into(),
                role: v1::KeyRole::Read.into(),
                collections: vec!["docs".into()],
                ..Default::default()
            };
            (Admin, new.encode_to_vec())
        }
        "Keys/ListKeys" => (Admin, v1::ListKeysRequest {}.encode_to_vec()),
        "Keys/RotateKey" => {
            (Admin, v1::RotateKeyRequest { id: names.key.clone(), grace_s: 0 }.encode_to_vec())
        }
        "Keys/RevokeKey" => (Admin, v1::RevokeKeyRequest { id: names.key.clone() }.encode_to_vec()),
        "/grpc.health.v1.Health/Check" | "/grpc.health.v1.Health/Watch" => (Nobody, Vec::new()),
        reflection if reflection.starts_with("/grpc.reflection.v1") => {
            use tonic_reflection::pb::v1::ServerReflectionRequest;
            use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
            let list = MessageRequest::ListServices(String::new());
            let list = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
            (Read, list.encode_to_vec())
        }
        _ => return None,
    };
    Some((needs, bytes))
}
