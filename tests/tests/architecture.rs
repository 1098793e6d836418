//! The house rules that a machine can check: arrows between crates, names and lengths of files, paths in the texts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engram_tests::binary::repository;
use engram_tests::files;

/// Which crates a crate may use. Nothing points left of itself; `tests` and `benches` may use any.
const ARROWS: [(&str, &[&str]); 9] = [
    ("index", &[]),
    ("storage", &["index"]),
    ("query", &["storage", "index"]),
    ("proto", &[]),
    ("node", &["query", "storage", "index", "proto"]),
    ("datasets", &["index"]),
    ("cli", &["node", "query", "storage", "index", "proto", "datasets"]),
    ("benches", &["index", "storage", "query", "node", "proto", "datasets", "cli"]),
    ("tests", &["index", "storage", "query", "node", "proto", "datasets", "cli"]),
];

/// Crates that know nothing of networks, async or wire types.
const MUST_NOT: [(&str, &[&str]); 3] = [
    ("index", &["tokio", "tonic", "prost", "axum", "async-trait", "object_store", "redb"]),
    ("storage", &["tonic", "prost", "axum", "clap", "anyhow"]),
    ("query", &["tonic", "prost", "axum", "clap", "redb", "object_store", "anyhow"]),
];

fn manifest(dir: &str) -> toml::Table {
    let path = repository().join(dir).join("Cargo.toml");
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).parse().unwrap()
}

/// Dependencies of a crate; those for its tests only where `dev`.
fn dependencies(manifest: &toml::Table, dev: bool) -> Vec<String> {
    let sections = ["dependencies", "build-dependencies", "dev-dependencies"];
    let used = &sections[..if dev { 3 } else { 2 }];
    let mut tables: Vec<&toml::Table> = vec![manifest];
    if let Some(targets) = manifest.get("target").and_then(toml::Value::as_table) {
        tables.extend(targets.values().filter_map(toml::Value::as_table));
    }
    let names = tables.iter().flat_map(|t| used.iter().filter_map(|s| t.get(*s)?.as_table()));
    names.flat_map(|t| t.keys().cloned()).collect()
}

#[test]
fn arrows_between_crates_point_one_way() {
    let members = manifest("")["workspace"]["members"].as_array().unwrap().clone();
    let mut wrong = Vec::new();
    for member in members.iter().filter_map(toml::Value::as_str) {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == member) else {
            panic!("crate {member} is not in the table of arrows: say there what it may use");
        };
        for dependency in dependencies(&manifest(member), true) {
            let Some(ours) = dependency.strip_prefix("engram-") else { continue };
            if !allowed.contains(&ours) {
                wrong.push(format!("{member} -> {ours}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that the architecture does not allow: {wrong:?}");
}

#[test]
fn crates_do_not_know_what_they_must_not() {
    for (member, banned) in MUST_NOT {
        let used = dependencies(&manifest(member), false);
        let wrong: Vec<&String> = used.iter().filter(|d| banned.contains(&d.as_str())).collect();
        assert!(wrong.is_empty(), "{member}/ must not use {wrong:?}");
    }
}

/// Rust files of all crates, generated ones left out.
fn sources() -> Vec<PathBuf> {
    let root = repository();
    let mut all = Vec::new();
    for (member, _) in ARROWS {
        let found = files::all(&root.join(member)).unwrap().into_iter();
        all.extend(found.filter(|p| p.extension().is_some_and(|e| e == "rs")));
    }
    all.retain(|p| !p.components().any(|c| c.as_os_str() == "generated" || c.as_os_str() == "target"));
    all
}

#[test]
fn files_have_telling_names_and_bearable_lengths() {
    let vague = ["utils", "util", "helpers", "helper", "common", "misc", "types", "manager", "stuff"];
    let mut wrong = Vec::new();
    for path in sources() {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let dir = path.parent().and_then(Path::file_name).unwrap().to_string_lossy().into_owned();
        let name = if stem == "mod" { dir } else { stem };
        if vague.contains(&name.as_str()) || name.ends_with("_v2") || name.ends_with("_manager") {
            wrong.push(format!("{}: name it after what is in it", path.display()));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        let code = text.lines().take_while(|l| l.trim() != "#[cfg(test)]").count();
        if lines > 600 || code > 500 {
            wrong.push(format!(
                "{}: {lines} lines, {code} before its tests; 600 and 500 at most",
                path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The crates list the files of their one test binary by hand: a file that is not listed would never run.
#[test]
fn every_file_of_tests_is_in_its_binary() {
    let mut left_out = Vec::new();
    for member in ["index", "storage", "query", "tests"] {
        let dir = repository().join(member).join("tests");
        let listed = std::fs::read_to_string(dir.join("main.rs")).unwrap();
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            if name != "main" && !listed.lines().any(|l| l == format!("mod {name};")) {
                left_out.push(path.display().to_string());
            }
        }
    }
    assert!(left_out.is_empty(), "not listed in main.rs beside them: {left_out:?}");
}

#[test]
fn only_the_clock_reads_the_clock() {
    let mut wrong = Vec::new();
    for path in sources() {
        let inside = |dir: &str| path.starts_with(repository().join(dir));
        if path.ends_with("storage/src/clock.rs") || inside("tests") || inside("benches") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        if code.contains("SystemTime::now") && !path.components().any(|c| c.as_os_str() == "tests") {
            wrong.push(path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "these read the machine's clock; take a Clock: {wrong:?}");
}

#[test]
fn paths_in_the_texts_exist() {
    let root = repository();
    let mut missing: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let tops: Vec<&str> = ARROWS.iter().map(|a| a.0).chain([".ci"]).collect();
    for text_file in ["README.md", "ARCHITECTURE.md", "tests/README.md"] {
        let Ok(text) = std::fs::read_to_string(root.join(text_file)) else { continue };
        for quoted in text.split('`').skip(1).step_by(2) {
            let path = quoted.split([' ', ':', '#']).next().unwrap_or_default().trim_end_matches(['.', ',']);
            let is_path = tops.iter().any(|t| path.starts_with(&format!("{t}/")));
            let is_pattern = path.contains(['*', '{', '<', '…', '$']);
            if is_path && !is_pattern && !root.join(path).exists() {
                missing.entry(text_file).or_default().push(path.to_owned());
            }
        }
    }
    assert!(missing.is_empty(), "paths that do not exist: {missing:#?}");
}

/// Failures of other databases that have to be guarded by now (`tests/README.md` lists where).
const GUARDED: [u32; 24] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 31, 33, 36, 37];

#[test]
fn failures_of_others_are_guarded_by_named_tests() {
    let mut names = String::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        for name in text.split("fn regress_").skip(1).filter_map(|rest| rest.split('(').next()) {
            names.push_str(&format!("regress_{name}\n"));
        }
    }
    let missing: Vec<_> = GUARDED.iter().filter(|n| !names.contains(&format!("_t{n:02}_"))).collect();
    assert!(missing.is_empty(), "no test for {missing:?}");
    let readme = std::fs::read_to_string(repository().join("tests/README.md")).unwrap();
    let told = readme.split('`').filter(|quoted| quoted.starts_with("regress_t"));
    let gone: Vec<&str> = told.filter(|name| !names.lines().any(|n| n == *name)).collect();
    assert!(gone.is_empty(), "tests/README.md names tests that are not there: {gone:?}");
}
