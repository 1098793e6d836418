//! Lines that the server writes about itself: never payloads, vectors or keys.

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, LogFormat};

/// Sends log lines to standard error. Call once, in the binary's `main`; a second call does nothing.
///
/// # Errors
/// [`ConfigError`] for a filter that cannot be read.
pub fn init_logging(level: &str, format: LogFormat) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(level).map_err(|e| {
        ConfigError::value(
            "logging.level",
            format!("`{level}` is no filter ({e}); write error, warn, info, debug or trace"),
        )
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => {
            use std::io::IsTerminal;
            lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
        }
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    // Tests and embedders may have set up their own.
    drop(started);
    Ok(())
}
