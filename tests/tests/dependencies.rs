//! What the build is made of: licences, banned crates, version floors (`deny.toml` says the same to cargo-deny).

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use engram_tests::binary::repository;
use serde_json::Value;

/// Licences that this project may be built from.
const LICENCES: [&str; 15] = [
    "Apache-2.0",
    "MIT",
    "MIT-0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "0BSD",
    "BSL-1.0",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unlicense",
    "CC0-1.0",
    "Apache-2.0 WITH LLVM-exception",
    "CDLA-Permissive-2.0",
    "bzip2-1.0.6",
];

/// Crates that must not be there, with the reason.
const BANNED: [(&str, &str); 10] = [
    ("openssl", "rustls with ring is the one TLS"),
    ("openssl-sys", "rustls with ring is the one TLS"),
    ("native-tls", "rustls with ring is the one TLS"),
    ("bincode", "unmaintained"),
    ("serde_yaml", "unmaintained"),
    ("failure", "unmaintained"),
    ("lazy_static_include", "unmaintained"),
    ("net2", "unmaintained"),
    ("dotenv", "unmaintained"),
    ("time-parse", "jiff parses times"),
];

/// Smallest versions without a known defect.
const FLOORS: [(&str, [u64; 3]); 13] = [
    ("jsonwebtoken", [10, 3, 0]),
    ("h2", [0, 4, 16]),
    ("rustls-webpki", [0, 103, 13]),
    ("tar", [0, 4, 45]),
    ("lz4_flex", [0, 11, 6]),
    ("bytes", [1, 11, 1]),
    ("memmap2", [0, 9, 11]),
    ("tokio-postgres", [0, 7, 18]),
    ("tonic", [0, 12, 3]),
    ("object_store", [0, 10, 2]),
    ("zip", [2, 3, 0]),
    ("rkyv", [0, 8, 17]),
    ("crossbeam-channel", [0, 5, 15]),
];

/// Packages that the workspace is built from on this platform, its own left out.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = |extra: &[&str]| {
        let output = Command::new(&cargo)
            .args(["metadata", "--format-version", "1", "--locked"])
            .args(extra)
            .current_dir(repository())
            .output()
            .expect("cargo metadata");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let all = metadata(&["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let used: BTreeSet<&str> =
        all["resolve"]["nodes"].as_array().unwrap().iter().filter_map(|n| n["id"].as_str()).collect();
    let packages = all["packages"].as_array().unwrap().iter();
    packages.filter(|p| used.contains(p["id"].as_str().unwrap()) && !p["source"].is_null()).cloned().collect()
}

fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap_or_default()
}

fn version(package: &Value) -> [u64; 3] {
    let plain = text(package, "version").split(['-', '+']).next().unwrap_or_default();
    let mut parts = plain.split('.').map(|n| n.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// Whether an SPDX expression can be fulfilled with the allowed licences.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut tokens: Vec<String> =
        expression.replace('(', " ( ").replace(')', " ) ").split_whitespace().map(String::from).collect();
    tokens.reverse();
    let value = either(&mut tokens);
    value && tokens.is_empty()
}

fn either(tokens: &mut Vec<String>) -> bool {
    let mut value = both(tokens);
    while tokens.last().is_some_and(|t| t == "OR") {
        tokens.pop();
        value |= both(tokens);
    }
    value
}

fn both(tokens: &mut Vec<String>) -> bool {
    let mut value = one(tokens);
    while tokens.last().is_some_and(|t| t == "AND") {
        tokens.pop();
        value &= one(tokens);
    }
    value
}

fn one(tokens: &mut Vec<String>) -> bool {
    let Some(mut name) = tokens.pop() else { return false };
    if name == "(" {
        let value = either(tokens);
        tokens.pop();
        return value;
    }
    if tokens.last().is_some_and(|t| t == "WITH") {
        tokens.pop();
        name = format!("{name} WITH {}", tokens.pop().unwrap_or_default());
    }
    LICENCES.contains(&name.as_str()) || LICENCES.contains(&name.split(" WITH ").next().unwrap_or_default())
}

#[test]
fn licences_are_on_the_list() {
    let wrong: Vec<String> = packages()
        .iter()
        .filter(|p| !allowed(text(p, "license")))
        .map(|p| {
            format!("{} {}: {:?} {:?}", text(p, "name"), text(p, "version"), p["license"], p["license_file"])
        })
        .collect();
    assert!(wrong.is_empty(), "licences that are not on the list: {wrong:#?}");
}

#[test]
fn banned_crates_are_absent_and_floors_hold() {
    let packages = packages();
    let mut wrong = Vec::new();
    for package in &packages {
        let name = text(package, "name");
        wrong.extend(BANNED.iter().filter(|(b, _)| *b == name).map(|(b, why)| format!("{b}: {why}")));
        for (_, floor) in FLOORS.iter().filter(|(f, _)| *f == name) {
            if version(package) < *floor {
                wrong.push(format!("{name} {}: at least {floor:?}", text(package, "version")));
            }
        }
        if !text(package, "source").starts_with("registry+https://github.com/rust-lang/crates.io-index") {
            wrong.push(format!("{name} comes from {}", text(package, "source")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn several_majors_of_one_crate_are_told() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        versions
            .entry(text(&package, "name").to_owned())
            .or_default()
            .insert(text(&package, "version").to_owned());
    }
    versions.retain(|_, v| v.len() > 1);
    println!("crates that are built in several versions: {versions:#?}");
    // Two of these would mean two allocations of buffers, two runtimes or two wire formats in one process.
    for single in ["tokio", "bytes", "prost", "tonic", "arrow-array", "parquet", "hyper", "rustls", "redb"] {
        assert!(
            !versions.contains_key(single),
            "{single} is built in several versions: {:?}",
            versions[single]
        );
    }
}

#[test]
fn expressions_are_understood() {
    assert!(allowed("MIT OR Apache-2.0") && allowed("MIT/GPL-3.0") && allowed("(MIT OR GPL-2.0) AND Zlib"));
    assert!(allowed("Apache-2.0 WITH LLVM-exception"));
    assert!(!allowed("GPL-3.0") && !allowed("MIT AND GPL-3.0") && !allowed(""));
}
