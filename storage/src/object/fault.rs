//! Errors of the object store in our words.

use std::error::Error;

use crate::error::StorageError;

/// `e`, which happened while doing `action` to `path`.
pub(super) fn translate(action: &str, path: &str, e: &object_store::Error) -> StorageError {
    use object_store::Error as E;
    match e {
        E::NotFound { .. } => StorageError::NotFound(format!("there is no object {path}")),
        E::AlreadyExists { .. } | E::Precondition { .. } => {
            StorageError::Conflict(format!("object {path} exists already"))
        }
        E::InvalidPath { .. } => StorageError::Invalid(format!("object path {path:?} is not allowed")),
        _ => {
            let context = format!("{action} {path}");
            match io_cause(e) {
                Some(io) => StorageError::io(context, io),
                None => StorageError::Io { context, why: e.to_string(), no_space: false },
            }
        }
    }
}

/// The system's error inside `e`: tells a full disk from a broken one.
fn io_cause<'e>(e: &'e (dyn Error + 'static)) -> Option<&'e std::io::Error> {
    let mut cause = Some(e);
    while let Some(e) = cause {
        if let Some(io) = e.downcast_ref() {
            return Some(io);
        }
        cause = e.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_full_disk_is_told_from_other_faults() {
        let of = |kind: std::io::ErrorKind| {
            let source = Box::new(std::io::Error::from(kind));
            translate("write", "a", &object_store::Error::Generic { store: "test", source })
        };
        assert!(matches!(of(std::io::ErrorKind::StorageFull), StorageError::Io { no_space: true, .. }));
        assert!(matches!(of(std::io::ErrorKind::PermissionDenied), StorageError::Io { no_space: false, .. }));
    }
}
