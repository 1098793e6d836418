//! `engram config`: the settings of a server.

use anyhow::Result;
use clap::Subcommand;
use engram_node::{NodeConfig, RawConfig};

use super::serve::Settings;
use crate::output::line;

/// Print or check the settings of a server.
#[derive(Subcommand)]
pub enum Config {
    /// Print all settings that `engram serve` with the same flags would use, as a TOML file.
    Print(Settings),
    /// Check them without starting anything.
    Check(Settings),
}

impl Config {
    /// Runs the command.
    pub fn run(&self) -> Result<()> {
        match self {
            Self::Print(settings) => line(RawConfig::load(&settings.sources())?.to_toml()?.trim_end()),
            Self::Check(settings) => {
                NodeConfig::load(&settings.sources())?;
                line("the settings are fine")
            }
        }
    }
}
