//! Files of the server are its own user's alone, also those that libraries make.

/// From here on this process makes files and directories that only its user may read. All of a data directory is made
/// by this process, and much of it by libraries that take no permissions.
pub(crate) fn keep() {
    #[cfg(unix)]
    // SAFETY: umask takes an integer, cannot fail, and only changes the permissions of what is made later.
    unsafe {
        libc::umask(0o077);
    }
}
