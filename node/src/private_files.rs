//! Files of the server are its own user's alone, also those that libraries make.

/// From here on this process makes files and directories that only its user may read. All of a data directory is made
/// by this process, and much of it by libraries that take no permissions.
pub(crate) fn keep() {
    #[cfg(unix)]
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}
