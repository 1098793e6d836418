//! The object store: segments and manifests, durable when a call returns.
//!
//! The trait is that of the `object_store` crate; [`DurableStore`] adds what its local backend lacks: syncs of
//! removals, checked paths, mapped reads, and the removal of staging files that a kill left behind.

use std::path::{Component, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

mod fault;
mod mmap;
mod object_ref;
mod sink;
mod staging;

pub use object_ref::{ObjectRef, crc32c};
pub use sink::ObjectSink;

use crate::catalog::FileChange;
use crate::error::{Result, StorageError};
use fault::translate;
use staging::{UploadMark, Uploads};

/// An object as [`DurableStore::list`] shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectEntry {
    /// Path in the store.
    pub path: String,
    /// Length.
    pub bytes: u64,
}

/// An object store whose calls return when their effect is durable; cloning shares it.
#[derive(Clone, Debug)]
pub struct DurableStore {
    inner: Arc<dyn ObjectStore>,
    /// Directory of a local store.
    root: Option<PathBuf>,
    uploads: Uploads,
}

/// Runs `work` where blocking is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(StorageError::Internal(format!("a background task failed: {e}"))))
}

fn checked(path: &str) -> Result<Path> {
    let invalid = || StorageError::Invalid(format!("object path {path:?} is not allowed"));
    // `#` separates the name from the number of a staging file.
    let plain = !path.is_empty() && !path.contains(['\\', '#']) && !path.chars().any(char::is_control);
    let inside = plain && std::path::Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
    if inside { Path::parse(path).map_err(|_| invalid()) } else { Err(invalid()) }
}

impl DurableStore {
    /// The store in directory `root`, which is made if need be; staging files that a kill left there are removed.
    ///
    /// # Errors
    /// `Io`.
    pub fn local(root: &std::path::Path) -> Result<Self> {
        let fault = |e: &std::io::Error| StorageError::io(format!("open {}", root.display()), e);
        crate::private_dir::create_or_tighten(root, &["r", "snapshots"]).map_err(|e| fault(&e))?;
        let root = std::fs::canonicalize(root).map_err(|e| fault(&e))?;
        let name = root.display().to_string();
        let inner = LocalFileSystem::new_with_prefix(&root).map_err(|e| translate("open", &name, &e))?;
        let uploads = Uploads::default();
        for (path, bytes) in staging::sweep(&root, &uploads)? {
            tracing::info!(path = %path.display(), bytes, "removed a staging file that a kill left");
        }
        Ok(Self { inner: Arc::new(inner.with_fsync(true)), root: Some(root), uploads })
    }

    /// A store that is durable by itself, such as S3, or one in memory for tests.
    pub fn remote(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, root: None, uploads: Uploads::default() }
    }

    /// Directory of a local store.
    pub fn root(&self) -> Option<&std::path::Path> {
        self.root.as_deref()
    }

    fn mark(&self, path: &str) -> Option<UploadMark> {
        self.root.as_ref().map(|root| self.uploads.begin(root.join(path)))
    }

    async fn write(&self, path: &str, content: Bytes, mode: PutMode) -> Result<()> {
        let at = checked(path)?;
        let _mark = self.mark(path);
        let options = PutOptions { mode, ..PutOptions::default() };
        let put = self.inner.put_opts(&at, PutPayload::from_bytes(content), options).await;
        put.map(drop).map_err(|e| translate("write", path, &e))
    }

    /// Writes an object that must not exist.
    ///
    /// # Errors
    /// `Conflict` where it exists, `Io`.
    pub async fn put_if_absent(&self, path: &str, content: Bytes) -> Result<()> {
        self.write(path, content, PutMode::Create).await
    }

    /// Writes an object, replacing one of the same path.
    ///
    /// # Errors
    /// `Io`.
    pub async fn put(&self, path: &str, content: Bytes) -> Result<()> {
        self.write(path, content, PutMode::Overwrite).await
    }

    async fn begin(&self, path: &str) -> Result<ObjectSink> {
        let at = checked(path)?;
        let mark = self.mark(path);
        let upload = self.inner.put_multipart(&at).await.map_err(|e| translate("write", path, &e))?;
        Ok(ObjectSink::new(path.to_owned(), upload, mark))
    }

    /// Writes an object of any size part by part: `fill` writes its content. Where that or the store fails nothing
    /// is left of the object. For threads that may block, not for async code.
    ///
    /// # Errors
    /// That of `fill`; `Io`.
    pub fn write_blocking(
        &self,
        path: &str,
        fill: impl FnOnce(&mut ObjectSink) -> Result<()>,
    ) -> Result<ObjectRef> {
        let mut sink = match tokio::runtime::Handle::try_current() {
            Ok(runtime) => runtime.block_on(self.begin(path))?,
            Err(_) => futures::executor::block_on(self.begin(path))?,
        };
        match fill(&mut sink) {
            Ok(()) => sink.finish(),
            Err(e) => {
                sink.abort();
                Err(sink.take_error().unwrap_or(e))
            }
        }
    }

    /// The content of an object, in memory.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub async fn get(&self, path: &str) -> Result<Bytes> {
        let at = checked(path)?;
        let read = async { self.inner.get(&at).await?.bytes().await };
        read.await.map_err(|e| translate("read", path, &e))
    }

    /// The content of an object: mapped where the store is local, else in memory; aligned to 64 bytes at least.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub async fn map(&self, path: &str) -> Result<Bytes> {
        let Some(root) = &self.root else {
            return Ok(aligned(&self.get(path).await?));
        };
        checked(path)?;
        let (file, path) = (root.join(path), path.to_owned());
        blocking(move || {
            let mapped = std::fs::File::open(file).and_then(|f| mmap::map(&f));
            mapped.map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => StorageError::NotFound(format!("there is no object {path}")),
                _ => StorageError::io(format!("map {path}"), &e),
            })
        })
        .await
    }

    /// The file of an object of a local store. What is no plain file, such as a link, counts as absent.
    ///
    /// # Errors
    /// `NotFound`, `Io`; `Invalid` for a store that is not local.
    pub async fn open_file(&self, path: &str) -> Result<std::fs::File> {
        use std::os::unix::fs::OpenOptionsExt;
        checked(path)?;
        let root = self.root.clone();
        let root = root.ok_or_else(|| StorageError::Invalid("this needs objects on a local disk".into()))?;
        let (file, path) = (root.join(path), path.to_owned());
        blocking(move || {
            let absent = || StorageError::NotFound(format!("there is no object {path}"));
            let opened = std::fs::OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(file);
            let file = opened.map_err(|e| match e.raw_os_error() {
                Some(libc::ENOENT | libc::ELOOP) => absent(),
                _ => StorageError::io(format!("open {path}"), &e),
            })?;
            let meta = file.metadata().map_err(|e| StorageError::io(format!("open {path}"), &e))?;
            if meta.is_file() { Ok(file) } else { Err(absent()) }
        })
        .await
    }

    /// Removes an object; one that is not there is no error.
    ///
    /// # Errors
    /// `Io`.
    pub async fn delete(&self, path: &str) -> Result<()> {
        self.delete_all(vec![path.to_owned()]).await
    }

    /// Removes objects; those that are not there are no error.
    ///
    /// # Errors
    /// `Io`; some may be gone then.
    pub async fn delete_all(&self, paths: Vec<String>) -> Result<()> {
        let mut dirs = std::collections::BTreeSet::new();
        for path in &paths {
            match self.inner.delete(&checked(path)?).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(e) => return Err(translate("remove", path, &e)),
            }
            // Also where it was gone: the removal may have been cut short before its sync.
            if let Some(dir) = self.root.as_ref().and_then(|root| root.join(path).parent().map(PathBuf::from))
            {
                dirs.insert(dir);
            }
        }
        if dirs.is_empty() {
            return Ok(());
        }
        blocking(move || dirs.iter().try_for_each(|dir| staging::sync_dir(dir))).await
    }

    /// Objects whose path begins with the directories of `prefix`, sorted by path.
    ///
    /// # Errors
    /// `Io`.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        let at = checked(prefix.trim_end_matches('/'))?;
        let found =
            self.inner.list(Some(&at)).map_ok(|m| ObjectEntry { path: m.location.into(), bytes: m.size });
        let mut found: Vec<_> = found.try_collect().await.map_err(|e| translate("list", prefix, &e))?;
        found.sort();
        Ok(found)
    }

    /// Removes everything below `prefix`: objects, staging files and directories. Returns the objects.
    ///
    /// # Errors
    /// `Io`; doing it again is harmless.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        let found = self.list(prefix).await?;
        self.delete_all(found.iter().map(|o| o.path.clone()).collect()).await?;
        if let Some(root) = &self.root {
            let dir = root.join(prefix.trim_end_matches('/'));
            let uploads = self.uploads.clone();
            blocking(move || {
                staging::sweep(&dir, &uploads)?;
                staging::remove_empty_dirs(&dir)
            })
            .await?;
        }
        Ok(found)
    }

    /// Removes staging files below `prefix` ("" for everywhere) that no upload under way in this process owns.
    ///
    /// # Errors
    /// `Io`.
    pub async fn sweep_staging(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        let Some(root) = self.root.clone() else { return Ok(Vec::new()) };
        let dir = if prefix.is_empty() { root.clone() } else { root.join(checked(prefix)?.as_ref()) };
        let uploads = self.uploads.clone();
        blocking(move || {
            let swept = staging::sweep(&dir, &uploads)?;
            let name =
                |path: PathBuf| path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
            Ok(swept.into_iter().map(|(path, bytes)| ObjectEntry { path: name(path), bytes }).collect())
        })
        .await
    }

    /// Path, size and BLAKE3 of an object, for a receipt.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub async fn digest(&self, path: &str) -> Result<FileChange> {
        let content = self.map(path).await?;
        let path = path.to_owned();
        blocking(move || {
            let blake3 = blake3::hash(&content).to_hex().to_string();
            Ok(FileChange { path, bytes: content.len() as u64, blake3 })
        })
        .await
    }
}

/// A copy that begins at a multiple of 64, as the columns of blobs need it.
fn aligned(content: &Bytes) -> Bytes {
    #[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
    #[repr(C, align(64))]
    struct Line([u8; 64]);
    struct Lines(Vec<Line>, usize);
    impl AsRef<[u8]> for Lines {
        fn as_ref(&self) -> &[u8] {
            &bytemuck::cast_slice(&self.0)[..self.1]
        }
    }
    let mut lines = vec![Line([0; 64]); content.len().div_ceil(64)];
    bytemuck::cast_slice_mut(&mut lines)[..content.len()].copy_from_slice(content);
    Bytes::from_owner(Lines(lines, content.len()))
}

/// Number of objects that are read at a time.
const READS_AT_ONCE: usize = 8;

impl DurableStore {
    /// Maps all `objects` and compares each with its reference, several at a time; in the order given.
    ///
    /// # Errors
    /// `Corrupt` for one that is missing or damaged, naming it; `Io`.
    pub async fn map_verified(&self, objects: Vec<ObjectRef>) -> Result<Vec<Bytes>> {
        self.map_checked(objects, ObjectRef::verify).await
    }

    /// As [`DurableStore::map_verified`], with another comparison.
    ///
    /// # Errors
    /// Likewise, and those of `check`.
    pub async fn map_checked(
        &self,
        objects: Vec<ObjectRef>,
        check: fn(&ObjectRef, &Bytes) -> Result<()>,
    ) -> Result<Vec<Bytes>> {
        let reads = objects.into_iter().map(|object| async move {
            let content = self.map(&object.path).await.map_err(|e| match e {
                StorageError::NotFound(_) => StorageError::corrupt(&object.path, "the object is missing"),
                other => other,
            })?;
            blocking(move || check(&object, &content).map(|()| content)).await
        });
        futures::stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await
    }
}
