//! `engram snapshots`: a collection as one file, to keep elsewhere and to go back to.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::{Args, Subcommand};
use engram_proto::v1;
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;

use crate::client::{Client, Connection, refused};
use crate::output::{self, bytes, line, number, table, time};
use crate::progress::Progress;

/// Bytes of a message of an upload.
const PART: usize = 1 << 20;
/// Bytes at the end of a snapshot that its checksum does not cover: a word and the checksum.
const TRAILER: u64 = 40;

const EXAMPLES: &str = "\
Examples:
  engram snapshots create words
  engram snapshots list words
  engram snapshots download words NAME --out words.snapshot
  engram snapshots recover words --from NAME --replace          go back to a snapshot of the server
  engram snapshots recover words --file words.snapshot          make the collection from a file, also elsewhere

A snapshot has everything that was acknowledged before it was asked for. Recovering checks every byte before anything is
visible. A purge removes the snapshots that hold what it erased, and a copy from before it is refused when it comes back.";

/// Make, list, download, recover and delete snapshots of collections.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Snapshots {
    /// Make a snapshot of a collection, beside writes.
    Create {
        /// Collection.
        collection: String,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// List the snapshots of a collection, the oldest first.
    List {
        /// Collection.
        collection: String,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Write a snapshot to a file here, and compare its checksum.
    Download {
        /// Collection.
        collection: String,
        /// Name of the snapshot, as listed.
        snapshot: String,
        /// File to write.
        #[arg(long, short, value_name = "FILE")]
        out: PathBuf,
    },
    Recover(Recover),
    /// Delete a snapshot of the server.
    Delete {
        /// Collection.
        collection: String,
        /// Name of the snapshot, as listed.
        snapshot: String,
    },
}

/// Make a collection from a snapshot, or replace one.
#[derive(Args)]
pub struct Recover {
    /// Collection to make.
    collection: String,
    /// A snapshot of the server, as listed.
    #[arg(long, value_name = "NAME", required_unless_present = "file")]
    from: Option<String>,
    /// Collection whose snapshot that is; the one to make where absent.
    #[arg(long, value_name = "COLLECTION", requires = "from")]
    of: Option<String>,
    /// A file that `snapshots download` wrote.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    file: Option<PathBuf>,
    /// Replace the collection if it is there: what was written since the snapshot is gone then.
    #[arg(long)]
    replace: bool,
}

impl Snapshots {
    /// Runs the command.
    pub async fn run(&self, connection: &Connection) -> Result<()> {
        let client = connection.open().await?;
        match self {
            Self::Create { collection, json } => {
                let request = v1::CreateSnapshotRequest { collection: collection.clone() };
                let made = client.snapshots().create_snapshot(request).await.map_err(refused)?.into_inner();
                show(&[made], *json)
            }
            Self::List { collection, json } => {
                let request = v1::ListSnapshotsRequest { collection: collection.clone() };
                let all = client.snapshots().list_snapshots(request).await.map_err(refused)?.into_inner();
                show(&all.snapshots, *json)
            }
            Self::Download { collection, snapshot, out } => {
                download(&client, collection, snapshot, out).await
            }
            Self::Recover(recover) => recover.run(&client).await,
            Self::Delete { collection, snapshot } => {
                let (collection, snapshot) = (collection.clone(), snapshot.clone());
                let request = v1::DeleteSnapshotRequest { collection, snapshot };
                let deleted =
                    client.snapshots().delete_snapshot(request).await.map_err(refused)?.into_inner();
                if !deleted.existed {
                    bail!("there is no such snapshot; `engram snapshots list` names those there are");
                }
                line("deleted")
            }
        }
    }
}

fn show(snapshots: &[v1::Snapshot], as_json: bool) -> Result<()> {
    if as_json {
        return output::json(&snapshots.iter().map(value).collect());
    }
    let mut shown = table(["name", "points", "size", "made", "checksum (BLAKE3)"]);
    for snapshot in snapshots {
        shown.add_row([
            snapshot.name.clone(),
            number(snapshot.points),
            bytes(snapshot.bytes),
            time(snapshot.created_at_ms),
            snapshot.blake3.clone(),
        ]);
    }
    line(shown)
}

fn value(snapshot: &v1::Snapshot) -> Value {
    json!({
        "name": snapshot.name,
        "bytes": snapshot.bytes,
        "points": snapshot.points,
        "created_at": time(snapshot.created_at_ms),
        "collection_id": snapshot.collection_id,
        "blake3": snapshot.blake3,
        "server_version": snapshot.server_version,
    })
}

/// Writes under another name until the file is whole and its checksum was compared.
async fn download(client: &Client, collection: &str, snapshot: &str, out: &Path) -> Result<()> {
    let request =
        v1::DownloadSnapshotRequest { collection: collection.to_owned(), snapshot: snapshot.to_owned() };
    let mut parts = client.snapshots().download_snapshot(request).await.map_err(refused)?.into_inner();
    let mut staged = out.as_os_str().to_owned();
    staged.push(".part");
    let staged = PathBuf::from(staged);
    let mut file = File::create(&staged).with_context(|| format!("cannot write {}", staged.display()))?;
    let written = async {
        let mut arrived: Option<Arriving> = None;
        while let Some(part) = parts.message().await.map_err(refused)? {
            if let Some(info) = part.snapshot {
                arrived.get_or_insert_with(|| Arriving::new(info));
            }
            let arriving = arrived.as_mut().context("the server did not say what it sends")?;
            arriving.take(&part.data);
            file.write_all(&part.data).with_context(|| format!("cannot write {}", staged.display()))?;
        }
        let done = arrived.context("the server sent nothing")?.finish()?;
        file.sync_all().with_context(|| format!("cannot write {}", staged.display()))?;
        std::fs::rename(&staged, out).with_context(|| format!("cannot write {}", out.display()))?;
        Ok(done)
    };
    let done: Result<u64> = written.await;
    if done.is_err() {
        let _ = std::fs::remove_file(&staged);
    }
    line(format!("wrote {} to {}", bytes(done?), out.display()))
}

/// A snapshot on its way, with its checksum.
struct Arriving {
    info: v1::Snapshot,
    hasher: blake3::Hasher,
    taken: u64,
    progress: Progress,
}

impl Arriving {
    fn new(info: v1::Snapshot) -> Self {
        let progress = Progress::of_bytes(Some(info.bytes));
        Self { info, hasher: blake3::Hasher::new(), taken: 0, progress }
    }

    fn take(&mut self, part: &[u8]) {
        let covered = self.info.bytes.saturating_sub(TRAILER).saturating_sub(self.taken);
        let covered = usize::try_from(covered).unwrap_or(usize::MAX).min(part.len());
        self.hasher.update(&part[..covered]);
        self.taken += part.len() as u64;
        self.progress.set(self.taken);
    }

    fn finish(self) -> Result<u64> {
        self.progress.finish();
        ensure!(self.taken == self.info.bytes, "{} of {} bytes came; try again", self.taken, self.info.bytes);
        let found = self.hasher.finalize().to_hex().to_string();
        ensure!(found == self.info.blake3, "the snapshot was damaged on its way; try again");
        Ok(self.taken)
    }
}

impl Recover {
    async fn run(&self, client: &Client) -> Result<()> {
        let recovered = match (&self.file, &self.from) {
            (Some(file), _) => self.upload(client, file).await?,
            (None, Some(from)) => {
                let request = v1::RecoverSnapshotRequest {
                    collection: self.of.clone().unwrap_or_else(|| self.collection.clone()),
                    snapshot: from.clone(),
                    target: self.collection.clone(),
                    replace: self.replace,
                };
                client.snapshots().recover_snapshot(request).await.map_err(refused)?.into_inner()
            }
            (None, None) => bail!("give --from NAME or --file FILE"),
        };
        line(format!("recovered collection {} ({})", recovered.name, recovered.id))
    }

    async fn upload(&self, client: &Client, path: &Path) -> Result<v1::Collection> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let total = file.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
        let (parts, sent) = tokio::sync::mpsc::channel(2);
        let (target, replace) = (self.collection.clone(), self.replace);
        let mut progress = Progress::of_bytes(Some(total));
        let reading = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
            let mut file = file;
            let mut done = 0;
            let mut first = true;
            loop {
                let mut data = Vec::with_capacity(PART);
                Read::by_ref(&mut file).take(PART as u64).read_to_end(&mut data)?;
                if data.is_empty() && !first {
                    return Ok(());
                }
                done += data.len() as u64;
                let target = if first { target.clone() } else { String::new() };
                let message =
                    v1::UploadSnapshotRequest { target, replace: first && replace, data: Bytes::from(data) };
                first = false;
                // The server has refused it; it says why.
                if parts.blocking_send(message).is_err() {
                    return Ok(());
                }
                progress.set(done);
            }
        });
        let answer = client.snapshots().upload_snapshot(ReceiverStream::new(sent)).await;
        // A file that cannot be read looks to the server like one that ends early. A refusal may come before the end.
        if answer.is_ok() || reading.is_finished() {
            reading.await?.with_context(|| format!("cannot read {}", path.display()))?;
        }
        Ok(answer.map_err(refused)?.into_inner())
    }
}
