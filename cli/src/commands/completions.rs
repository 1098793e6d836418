//! `engram completions`: for the shell.

use anyhow::Result;
use clap::Args;
use clap_complete::Shell;

/// Print completions for a shell.
///
/// Example: engram completions bash > ~/.local/share/bash-completion/completions/engram
#[derive(Args)]
pub struct Completions {
    /// Shell to complete for.
    shell: Shell,
}

impl Completions {
    /// Runs the command.
    pub fn run(&self, command: &mut clap::Command) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "engram", &mut script);
        std::io::Write::write_all(&mut std::io::stdout(), &script)?;
        Ok(())
    }
}
