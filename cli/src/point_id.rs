//! Point ids as people write them.

use engram_datasets::Id;
use engram_proto::v1::PointId;
use engram_proto::v1::point_id::Kind;

/// Reads a number or a UUID, for clap.
pub fn parse(text: &str) -> Result<PointId, String> {
    Id::parse(text).map(wire)
}

/// An id as the server takes it.
pub fn wire(id: Id) -> PointId {
    let kind = match id {
        Id::Num(n) => Kind::Num(n),
        Id::Uuid(uuid) => Kind::Uuid(uuid.to_string()),
    };
    PointId { kind: Some(kind) }
}

/// The id as text.
pub fn text(id: Option<&PointId>) -> String {
    match id.and_then(|id| id.kind.as_ref()) {
        Some(Kind::Num(n)) => n.to_string(),
        Some(Kind::Uuid(uuid)) => uuid.clone(),
        None => "?".to_owned(),
    }
}
