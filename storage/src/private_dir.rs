//! Directories that only the server's own user may enter: they hold points, keys and logs of all tenants.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// What the owner may do: all. Nobody else may do anything.
const OWNER_ONLY: u32 = 0o700;
/// What others may do with a file.
const OTHERS: u32 = 0o077;
/// Set where many users have files.
const STICKY: u32 = 0o1000;

/// Makes `dir` and its parents where they are missing, for the owner alone.
///
/// # Errors
/// Those of the disk.
pub fn create(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(dir)
}

/// As [`create`]; one that is there and open to others is closed to them if it is the server's own: empty, or with one of
/// `marks` in it. Otherwise others may need it as it is, and a warning is all, as where closing is not allowed: a server
/// that does not start helps nobody.
///
/// # Errors
/// Those of [`create`], and of reading the directory.
pub fn create_or_tighten(dir: &Path, marks: &[&str]) -> io::Result<()> {
    create(dir)?;
    let mode = std::fs::metadata(dir)?.permissions().mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let path = dir.display();
    if mode & STICKY != 0 || !is_own(dir, marks)? {
        tracing::warn!(
            %path,
            "the directory is open to other users (mode {mode:o}) and stays so, since it holds files of others or is shared: \
             use a directory of its own, or close it"
        );
        return Ok(());
    }
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

fn is_own(dir: &Path, marks: &[&str]) -> io::Result<bool> {
    if marks.iter().any(|mark| dir.join(mark).exists()) {
        return Ok(true);
    }
    Ok(std::fs::read_dir(dir)?.next().transpose()?.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(dir: &Path) -> u32 {
        std::fs::metadata(dir).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn directories_are_the_owners_alone() {
        let top = tempfile::tempdir().unwrap();
        let (new, open) = (top.path().join("a/b"), top.path().join("open"));
        create_or_tighten(&new, &[]).unwrap();
        assert_eq!((mode(&new), mode(new.parent().unwrap())), (0o700, 0o700));
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        create_or_tighten(&open, &[]).unwrap();
        assert_eq!(mode(&open), 0o700);
        create(&open).unwrap();
    }

    #[test]
    fn directories_of_others_stay_as_they_are() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("dir");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("of somebody"), b"").unwrap();
        let after = |before: u32| {
            std::fs::set_permissions(&dir, Permissions::from_mode(before)).unwrap();
            create_or_tighten(&dir, &["LOCK"]).unwrap();
            mode(&dir)
        };
        assert_eq!((after(0o755), after(0o1777)), (0o755, 0o1777));
        std::fs::write(dir.join("LOCK"), b"").unwrap();
        assert_eq!(
            (after(0o755), after(0o2755), after(0o1777)),
            (0o700, 0o2700, 0o1777),
            "one server ran there"
        );
    }
}
