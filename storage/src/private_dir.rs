//! Directories that only the server's own user may enter: they hold points, keys and logs of all tenants.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// What the owner may do: all. Nobody else may do anything.
const OWNER_ONLY: u32 = 0o700;
/// What others may do with a file.
const OTHERS: u32 = 0o077;

/// Makes `dir` and its parents where they are missing, for the owner alone.
///
/// # Errors
/// Those of the disk.
pub fn create(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(dir)
}

/// As [`create`]; one that is there and open to others is closed to them. Where that is not allowed, a warning is all:
/// whoever made it so may have a reason, and a server that does not start helps nobody.
///
/// # Errors
/// Those of [`create`].
pub fn create_or_tighten(dir: &Path) -> io::Result<()> {
    create(dir)?;
    let mode = std::fs::metadata(dir)?.permissions().mode() & 0o777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let path = dir.display();
    match std::fs::set_permissions(dir, Permissions::from_mode(mode & !OTHERS)) {
        Ok(()) => {
            tracing::warn!(%path, "the directory was open to other users (mode {mode:o}) and is not any more")
        }
        Err(e) => tracing::warn!(
            %path, error = %e, "the directory is open to other users (mode {mode:o}), and that could not be changed"
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(dir: &Path) -> u32 {
        std::fs::metadata(dir).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn directories_are_the_owners_alone() {
        let top = tempfile::tempdir().unwrap();
        let (new, open) = (top.path().join("a/b"), top.path().join("open"));
        create_or_tighten(&new).unwrap();
        assert_eq!((mode(&new), mode(new.parent().unwrap())), (0o700, 0o700));
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        create_or_tighten(&open).unwrap();
        assert_eq!(mode(&open), 0o700);
        create(&open).unwrap();
    }
}
