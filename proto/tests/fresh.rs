//! The committed code under `src/generated` is what the `.proto` files say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

use std::path::{Path, PathBuf};

use prost::Message;

const FILES: [&str; 7] = [
    "engram/v1/types.proto",
    "engram/v1/collections.proto",
    "engram/v1/points.proto",
    "engram/v1/retention.proto",
    "engram/v1/snapshots.proto",
    "engram/v1/admin.proto",
    "engram/v1/keys.proto",
];

/// Writes the generated files into `out`.
fn generate(root: &Path, out: &Path) {
    let mut files = protox::compile(FILES, [root]).unwrap();
    let mut prost = prost_build::Config::new();
    prost.bytes(["."]).btree_map(["."]);
    // The secret of a key must not show: see `lib.rs`.
    prost.skip_debug([".engram.v1.NewKey"]);
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        .out_dir(out)
        .compile_fds_with_config(files.clone(), prost)
        .unwrap();
    // Reflection serves names and types; comments would make it several times as long.
    for file in &mut files.file {
        file.source_code_info = None;
    }
    std::fs::write(out.join("engram_descriptor.bin"), files.encode_to_vec()).unwrap();
}

#[test]
fn generated_code_is_fresh() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let made = tempfile::tempdir().unwrap();
    generate(&root, made.path());
    let committed = root.join("src/generated");
    let rewrite = std::env::var_os("ENGRAM_REGENERATE").is_some();
    let mut names: Vec<_> = std::fs::read_dir(made.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["engram.v1.rs", "engram_descriptor.bin"]);
    for name in names {
        let fresh = std::fs::read(made.path().join(&name)).unwrap();
        let at = committed.join(&name);
        if rewrite {
            std::fs::write(&at, fresh).unwrap();
        } else {
            let same = std::fs::read(&at).is_ok_and(|old| old == fresh);
            assert!(same, "{} is stale: run ENGRAM_REGENERATE=1 cargo test -p engram-proto", at.display());
        }
    }
}
