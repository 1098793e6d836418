//! Files of a data directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// All regular files below `dir`, sorted.
///
/// # Errors
/// Where a directory cannot be read.
pub fn all(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
            let entry = entry?;
            // A live server removes files while they are listed.
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Bytes of all files below `dir` that `of` selects.
///
/// # Errors
/// Where a directory cannot be read.
pub fn bytes(dir: &Path, of: impl Fn(&Path) -> bool) -> Result<u64> {
    let sizes = all(dir)?.into_iter().filter(|p| of(p)).map(|p| std::fs::metadata(p).map_or(0, |m| m.len()));
    Ok(sizes.sum())
}

/// What a file is, from its name: `log`, `seal`, `manifest`, `parquet`, `vec`, `graph`, `pidx`, `rows`, `catalog`, `lock`.
pub fn store_of(path: &Path) -> String {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    // Index blobs are called `<segment>.vec.0`, `<segment>.graph.0`: the number is not the type.
    let typed = name
        .split('.')
        .skip(1)
        .filter(|part| !part.is_empty() && !part.bytes().all(|b| b.is_ascii_digit()))
        .last();
    let extension = typed.unwrap_or_default().to_lowercase();
    match (name.as_str(), extension.as_str()) {
        ("LOCK" | "lock", _) => "lock".into(),
        ("seal", _) => "seal".into(),
        (_, "redb") => "catalog".into(),
        (_, "") => name,
        _ => extension,
    }
}

/// Copies a directory with everything in it.
///
/// # Errors
/// Where a file cannot be copied.
pub fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)
                .with_context(|| format!("copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}
