//! The snapshots of one collection in the store: a folder that only the server names files in.
//!
//! A name that a caller gives is looked for in the listing and never becomes part of a path.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use uuid::Uuid;

use super::format::{ContainerReader, TRAILER_BYTES};
use super::{SnapshotHeader, SnapshotInfo};
use crate::error::{Result, StorageError};
use crate::object::{DurableStore, blocking};
use crate::schema::{CollectionId, TenantId};

const SUFFIX: &str = ".snapshot";

/// Where the snapshots of a collection are.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    store: DurableStore,
    path: String,
}

impl Folder {
    /// The folder `home` of `tenant`.
    pub fn new(store: &DurableStore, tenant: TenantId, home: CollectionId) -> Self {
        Self { store: store.clone(), path: format!("snapshots/t/{tenant}/c/{home}") }
    }

    /// Path of the folder.
    pub fn root(&self) -> &str {
        &self.path
    }

    /// A name that no snapshot had before.
    pub fn new_name(collection: CollectionId, now_ms: i64) -> String {
        let time = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
        let random = Uuid::new_v4().simple().to_string();
        format!("{collection}-{}-{}{SUFFIX}", time.strftime("%Y%m%dT%H%M%SZ"), &random[..16])
    }

    /// Path of the snapshot with this name, which the server made.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// Names of all snapshots, the oldest first. Whatever else lies in the folder is passed over.
    pub async fn names(&self) -> Result<Vec<String>> {
        let prefix = format!("{}/", self.path);
        let found = self.store.list(&self.path).await?;
        let names = found.into_iter().filter_map(|o| o.path.strip_prefix(&prefix).map(str::to_owned));
        let mut names: Vec<String> = names.filter(|name| is_name(name)).collect();
        // The time comes after the collection, which differs where a collection was replaced.
        names.sort_by(|a, b| (a.get(32..), a).cmp(&(b.get(32..), b)));
        Ok(names)
    }

    /// The snapshot that a caller calls `name`, opened.
    ///
    /// # Errors
    /// `NotFound`, in the same words for names that none could have.
    pub async fn open(&self, name: &str) -> Result<(String, File)> {
        let unknown = || {
            let shown: String = name.chars().take(128).collect();
            StorageError::NotFound(format!("there is no snapshot {shown:?}; list those there are"))
        };
        let known = self.names().await?.into_iter().find(|known| known == name).ok_or_else(unknown)?;
        match self.store.open_file(&self.path(&known)).await {
            Ok(file) => Ok((known, file)),
            Err(StorageError::NotFound(_)) => Err(unknown()),
            Err(e) => Err(e),
        }
    }

    /// What the snapshot says about itself.
    pub async fn info(&self, name: &str) -> Result<SnapshotInfo> {
        let (name, file) = self.open(name).await?;
        blocking(move || info(name, file)).await
    }

    /// Header of a snapshot, and the reader behind it.
    pub async fn read(&self, name: &str) -> Result<(SnapshotHeader, ContainerReader<File>)> {
        let (_, file) = self.open(name).await?;
        blocking(move || ContainerReader::open(file)).await
    }

    /// Removes a snapshot; false if there is none of that name.
    pub async fn delete(&self, name: &str) -> Result<bool> {
        let Some(known) = self.names().await?.into_iter().find(|known| known == name) else {
            return Ok(false);
        };
        self.store.delete(&self.path(&known)).await?;
        Ok(true)
    }

    /// Removes what a kill left of snapshots that were being written.
    pub async fn sweep(&self) -> Result<()> {
        self.store.sweep_staging(&self.path).await.map(drop)
    }

    /// Removes the folder with everything in it.
    pub async fn remove(&self) -> Result<()> {
        self.store.delete_prefix(&self.path).await.map(drop)
    }
}

/// Whether the server made this name: collection, time, random digits.
fn is_name(name: &str) -> bool {
    let Some(parts) = name.strip_suffix(SUFFIX) else { return false };
    let parts: Vec<&str> = parts.split('-').collect();
    let [collection, time, random] = parts[..] else { return false };
    let hex = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
    hex(collection, 32)
        && hex(random, 16)
        && time.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'T' | b'Z'))
}

fn info(name: String, mut file: File) -> Result<SnapshotInfo> {
    let fault = |e: std::io::Error| StorageError::io(format!("read snapshot {name}"), &e);
    let bytes = file.metadata().map_err(fault)?.len();
    let (header, _) = ContainerReader::open(&mut file)?;
    let mut trailer = Vec::new();
    file.seek(SeekFrom::Start(bytes.saturating_sub(TRAILER_BYTES))).map_err(fault)?;
    file.take(TRAILER_BYTES).read_to_end(&mut trailer).map_err(fault)?;
    let hash = trailer.get(8..).unwrap_or_default();
    Ok(SnapshotInfo {
        bytes,
        created_at: header.created_at,
        points: header.points(),
        collection: header.schema.id,
        blake3: hash.iter().map(|b| format!("{b:02x}")).collect(),
        server_version: header.server_version,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_servers_own() {
        let made = Folder::new_name(CollectionId(Uuid::new_v4()), 1_800_000_000_000);
        assert!(is_name(&made), "{made}");
        let id = "0".repeat(32);
        for bad in [
            "",
            "..",
            "../x.snapshot",
            "/etc/passwd",
            &format!("{id}-20270115T080000Z-0123456789abcdef"),
            &format!("{id}-20270115T080000Z-0123456789abcdef.snapshot#1"),
            &format!("{id}-../..-0123456789abcdef.snapshot"),
            &format!("{id}-20270115T080000Z-%2e%2e%2f789abcdef.snapshot"),
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
