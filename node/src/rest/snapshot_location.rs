//! Which snapshot the `location` of a recovery names.
//!
//! The name is all that is taken from it: it is looked up in a listing and never becomes part of a path. The directory
//! before it is only compared, so that no caller believes that another file was read than the one that was.

use std::path::{Component, Path, PathBuf};

use axum::http::StatusCode;

use super::error::RestError;

/// Longer ones are no name and no path.
const MAX_LOCATION: usize = 4 << 10;

/// The name of the snapshot at `location`: that name itself, or a `file://` below `directory`.
pub(super) fn wanted(location: &str, directory: &Path) -> Result<String, RestError> {
    if location.is_empty() || location.len() > MAX_LOCATION {
        return Err(RestError::validation(format!("location: use 1 to {MAX_LOCATION} bytes")));
    }
    let Some((scheme, rest)) = location.split_once("://") else { return plain(location) };
    if !scheme.eq_ignore_ascii_case("file") {
        return Err(refused("this server fetches nothing from an address: upload the snapshot"));
    }
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    let path = percent_encoding::percent_decode_str(path).decode_utf8();
    let path = path.map_err(|_| RestError::wrong("location: is no UTF-8"))?;
    let path = Path::new(&*path);
    let outside =
        || refused("a file is read only from the directory of snapshots: give its name, or upload it");
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(outside());
    }
    let directory: PathBuf = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let below = path.strip_prefix(&directory).map_err(|_| outside())?;
    let name = below.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(outside)
}

fn plain(name: &str) -> Result<String, RestError> {
    match name.contains(['/', '\\', '\0']) {
        true => {
            Err(refused("give the name of a snapshot, or file:// and its path in the directory of snapshots"))
        }
        false => Ok(name.to_owned()),
    }
}

fn refused(why: &str) -> RestError {
    RestError::new(StatusCode::FORBIDDEN, format!("Forbidden: location: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_files_of_the_directory_are_taken_and_nothing_else() {
        let directory = Path::new("/data/objects/snapshots");
        let read = |location: &str| match wanted(location, directory) {
            Ok(name) => name,
            Err(e) => e.told("").0.as_u16().to_string(),
        };
        for inside in [
            "a.snapshot",
            "file:///data/objects/snapshots/t/1/c/2/a.snapshot",
            "FILE://localhost/data/objects/snapshots/a.snapshot",
            "file:///data/objects/snapshots/t/%61.snapshot",
        ] {
            assert_eq!(read(inside), "a.snapshot", "{inside}");
        }
        for outside in [
            "/data/objects/snapshots/a.snapshot",
            "../a.snapshot",
            "..\\a.snapshot",
            "file:///etc/passwd",
            "file:///data/objects/snapshots/../a.snapshot",
            "file:///data/objects/snapshots/%2e%2e/a.snapshot",
            "file:///data/objects/snapshots/..%2fa.snapshot",
            "file:///data/objects/snapshots",
            "file:///data/objects/snapshots2/a.snapshot",
            "file://data/objects/snapshots/a.snapshot",
            "file://other.example/data/objects/snapshots/a.snapshot",
            "http://127.0.0.1/a.snapshot",
            "https://a.example/a.snapshot",
            "s3://bucket/a.snapshot",
            "://a",
        ] {
            assert_eq!(read(outside), "403", "{outside}");
        }
        assert_eq!((read(""), read(&"x".repeat(5_000))), ("422".into(), "422".into()));
        assert_eq!(read("file:///%ff"), "400");
    }
}
