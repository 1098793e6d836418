//! `engram.v1.Collections`.

use std::sync::Arc;

use engram_proto::v1;
use engram_proto::v1::collections_server::Collections;
use engram_storage::schema::CollectionSchema;
use tonic::{Request, Response, Status};

use super::{Context, principal, to_the_end};
use crate::convert::collection::{new_collection, payload_index, regions, retention, vector_fields, wire_collection};
use crate::status::from_query;

pub(crate) struct CollectionsService(pub(crate) Arc<Context>);
