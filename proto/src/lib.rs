//! The wire API of Engram: messages, clients and servers made from `proto/engram/v1/*.proto`.
//!
//! The generated code is committed, so that a build needs no `protoc`; `tests/fresh.rs` fails when it is stale and
//! rewrites it with `ENGRAM_REGENERATE=1 cargo test -p engram-proto`.

/// Version 1 of the API.
#[allow(clippy::all, clippy::pedantic, clippy::restriction, missing_docs, rustdoc::all)]
#[rustfmt::skip]
pub mod v1 {
    include!("generated/engram.v1.rs");
}

impl std::fmt::Debug for v1::NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The encoded `google.protobuf.FileDescriptorSet` of the API, for gRPC server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/engram_descriptor.bin");
