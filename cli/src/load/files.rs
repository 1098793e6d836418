//! The files of a load, and what makes a file the same file as yesterday.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail};
use engram_datasets::readers::EXTENSIONS;

/// A file to load.
#[derive(Clone, Debug)]
pub struct LoadFile {
    /// As the user wrote it, for messages.
    pub path: PathBuf,
    /// Absolute path, size and modification time: a changed file is another file.
    pub identity: String,
}

/// Finds the files: those that are named, and those below folders that a reader knows, in the order of their names.
pub fn find(paths: &[PathBuf]) -> Result<Vec<LoadFile>> {
    let mut found = Vec::new();
    for path in paths {
        let metadata = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        if metadata.is_dir() {
            let before = found.len();
            walk(path, &mut found)?;
            if found.len() == before {
                bail!("{} holds no file that can be loaded (.{})", path.display(), EXTENSIONS.join(", ."));
            }
        } else {
            found.push(path.clone());
        }
    }
    found.iter().map(|path| load_file(path)).collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect()
    };
    let mut entries = read().with_context(|| format!("cannot read {}", folder.display()))?;
    entries.sort();
    for path in entries {
        // Links are not followed: they can lead in circles.
        let kind =
            std::fs::symlink_metadata(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let known = path.extension().and_then(|e| e.to_str()).is_some_and(|e| EXTENSIONS.contains(&e));
        if kind.is_dir() {
            walk(&path, found)?;
        } else if known && kind.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

fn load_file(path: &Path) -> Result<LoadFile> {
    let context = || format!("cannot read {}", path.display());
    let absolute = path.canonicalize().with_context(context)?;
    let metadata = std::fs::metadata(path).with_context(context)?;
    let changed =
        metadata.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let identity = format!("{}\n{}\n{}", absolute.display(), metadata.len(), changed.as_nanos());
    Ok(LoadFile { path: path.to_owned(), identity })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_walked_in_order() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        for name in ["z.parquet", "b/a.jsonl", "a.npy", "notes.txt"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let found = find(&[folder.path().to_owned()]).unwrap();
        let names: Vec<_> = found.iter().map(|f| f.path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.npy", "a.jsonl", "z.parquet"]);
        let before = found[0].identity.clone();
        std::fs::write(folder.path().join("a.npy"), "longer than before").unwrap();
        assert_ne!(find(&[folder.path().join("a.npy")]).unwrap()[0].identity, before);
        assert!(find(&[folder.path().join("none")]).is_err());
    }
}
