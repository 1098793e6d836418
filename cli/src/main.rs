//! `engram`: the server and everything to talk to it with, in one program.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

mod client;
mod commands;
mod demo;
mod duration;
mod filter;
mod load;
mod output;
mod point_id;
mod progress;

use client::Connection;

/// Exit code of a command that Ctrl-C ended, as shells expect it.
const INTERRUPTED: u8 = 130;

/// Engram, a vector database: stores embeddings, finds the nearest, and really erases what must go.
#[derive(Parser)]
#[command(name = "engram", version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  engram demo                                        a tour with real data that cleans up after itself
  engram serve --data-dir ./data                     start a server on this machine
  engram load words.parquet --collection words --create
  engram search --collection words --like 42 --limit 5
  engram purge --region eu --older-than 90d --dry-run

Every command explains itself: engram help COMMAND";

#[derive(Subcommand)]
enum Command {
    Serve(commands::serve::Serve),
    Demo(commands::demo::Demo),
    Load(commands::load::Load),
    Export(commands::export::Export),
    Search(commands::search::Search),
    Get(commands::get::Get),
    Count(commands::count::Count),
    #[command(subcommand)]
    Collections(commands::collections::Collections),
    Purge(commands::purge::Purge),
    Receipts(commands::receipts::Receipts),
    #[command(subcommand)]
    Snapshots(commands::snapshots::Snapshots),
    Stats(commands::stats::Stats),
    #[command(subcommand)]
    Keys(commands::keys::Keys),
    #[command(subcommand)]
    Tenants(commands::tenants::Tenants),
    Flush(commands::flush::Flush),
    Compact(commands::compact::Compact),
    #[command(subcommand)]
    Inspect(commands::inspect::Inspect),
    #[command(subcommand)]
    Config(commands::config::Config),
    Completions(commands::completions::Completions),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Printing can only fail where nobody reads.
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked { ExitCode::SUCCESS } else { ExitCode::from(2) };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let code = runtime.block_on(async {
        // The server has an orderly end of its own.
        if let Command::Serve(serve) = cli.command {
            return serve.run().await.map_or_else(|e| failed(&e), |()| ExitCode::SUCCESS);
        }
        tokio::select! {
            ended = run(cli) => ended.map_or_else(|e| failed(&e), |()| ExitCode::SUCCESS),
            _ = tokio::signal::ctrl_c() => {
                eprintln!("engram: interrupted");
                ExitCode::from(INTERRUPTED)
            }
        }
    });
    // A reader thread may still be at a slow file: it holds nothing that must be finished.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    code
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // A reader that went away (`engram ... | head`) is no failure.
    let broken = error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    });
    if broken {
        return ExitCode::SUCCESS;
    }
    eprintln!("engram: {error:#}");
    ExitCode::FAILURE
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let connection = cli.connection;
    match cli.command {
        Command::Serve(command) => command.run().await,
        Command::Demo(command) => command.run().await,
        Command::Load(command) => command.run(&connection).await,
        Command::Export(command) => command.run(&connection).await,
        Command::Search(command) => command.run(&connection).await,
        Command::Get(command) => command.run(&connection).await,
        Command::Count(command) => command.run(&connection).await,
        Command::Collections(command) => command.run(&connection).await,
        Command::Purge(command) => command.run(&connection).await,
        Command::Receipts(command) => command.run(&connection).await,
        Command::Snapshots(command) => command.run(&connection).await,
        Command::Stats(command) => command.run(&connection).await,
        Command::Keys(command) => command.run(&connection).await,
        Command::Tenants(command) => command.run(&connection).await,
        Command::Flush(command) => command.run(&connection).await,
        Command::Compact(command) => command.run(&connection).await,
        Command::Inspect(command) => command.run(),
        Command::Config(command) => command.run(),
        Command::Completions(command) => command.run(&mut <Cli as clap::CommandFactory>::command()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
