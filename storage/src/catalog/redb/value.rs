//! Values with checksums: the only way in and out of the tables.

use std::ops::Range;
use std::path::Path;

use ::redb::{ReadOnlyTable, ReadTransaction, ReadableTable, Table, TableError, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Definition, error, tenant_key};
use crate::error::{Result, StorageError};
use crate::schema::TenantId;

const CRC: usize = 4;

/// Which value this is; goes into its checksum and into the texts of errors.
struct Place<'a> {
    path: &'a Path,
    table: &'static str,
}

impl Place<'_> {
    fn crc(&self, key: &str, json: &[u8]) -> [u8; CRC] {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        for part in [self.table.as_bytes(), key.as_bytes()] {
            // With lengths, so that a byte cannot move from the one to the other.
            digest.update(&(part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.update(json);
        // The algorithm has 32 bits.
        ((digest.finalize() & u64::from(u32::MAX)) as u32).to_le_bytes()
    }

    fn encode<T: Serialize>(&self, key: &str, value: &T) -> Result<Vec<u8>> {
        let mut out = vec![0; CRC];
        serde_json::to_writer(&mut out, value).map_err(|e| StorageError::Internal(e.to_string()))?;
        let crc = self.crc(key, &out[CRC..]);
        out[..CRC].copy_from_slice(&crc);
        Ok(out)
    }

    fn decode<T: DeserializeOwned>(&self, key: &str, bytes: &[u8]) -> Result<T> {
        let corrupt = |why: String| {
            let name = format!("{} ({} {key:?})", self.path.display(), self.table);
            StorageError::corrupt(name, why)
        };
        let (crc, json) =
            bytes.split_at_checked(CRC).ok_or_else(|| corrupt("the value is too short".into()))?;
        if self.crc(key, json) != crc {
            return Err(corrupt("the checksum of the value does not fit".into()));
        }
        serde_json::from_slice(json).map_err(|e| corrupt(format!("the value cannot be read: {e}")))
    }
}

/// Keys of one tenant.
fn tenant_range(tenant: TenantId) -> Range<String> {
    let from = tenant_key(tenant, "");
    // `0` is the character after `/`.
    let to = format!("{}0", &from[..from.len() - 1]);
    from..to
}

/// A table that is read.
pub(super) struct Rows<'a> {
    table: ReadOnlyTable<&'static str, &'static [u8]>,
    place: Place<'a>,
}

impl<'a> Rows<'a> {
    pub fn open(txn: &ReadTransaction, name: &'static str, path: &'a Path) -> Result<Self> {
        let table = txn.open_table(Definition::new(name)).map_err(|e| error(path, e))?;
        Ok(Self { table, place: Place { path, table: name } })
    }

    /// As [`Self::open`]; `None` where the file is older than the table.
    pub fn open_if_there(txn: &ReadTransaction, name: &'static str, path: &'a Path) -> Result<Option<Self>> {
        match txn.open_table(Definition::new(name)) {
            Ok(table) => Ok(Some(Self { table, place: Place { path, table: name } })),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(e) => Err(error(path, e)),
        }
    }

    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let found = self.table.get(key).map_err(|e| error(self.place.path, e))?;
        found.map(|v| self.place.decode(key, v.value())).transpose()
    }

    /// All rows, by key.
    pub fn all<T: DeserializeOwned>(&self) -> Result<Vec<(String, T)>> {
        let rows = self.table.iter().map_err(|e| error(self.place.path, e))?;
        rows.map(|row| {
            let (key, value) = row.map_err(|e| error(self.place.path, e))?;
            let decoded = self.place.decode(key.value(), value.value())?;
            Ok((key.value().to_owned(), decoded))
        })
        .collect()
    }

    /// The last rows of a tenant, backwards from the key `before` on, which is not among them: at most so many, and,
    /// but for the first, no more than have so many bytes.
    pub fn last_of_tenant<T: DeserializeOwned>(
        &self,
        tenant: TenantId,
        before: Option<&str>,
        (limit, max_bytes): (usize, usize),
    ) -> Result<Vec<T>> {
        let mut range = tenant_range(tenant);
        if let Some(before) = before {
            range.end = tenant_key(tenant, before);
        }
        let rows = self.table.range(range.start.as_str()..range.end.as_str());
        let rows = rows.map_err(|e| error(self.place.path, e))?;
        let (mut found, mut bytes) = (Vec::new(), 0usize);
        for row in rows.rev().take(limit) {
            let (key, value) = row.map_err(|e| error(self.place.path, e))?;
            bytes = bytes.saturating_add(value.value().len());
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(self.place.decode(key.value(), value.value())?);
        }
        Ok(found)
    }
}

/// A table that is changed.
pub(super) struct RowsMut<'a> {
    table: Table<'a, &'static str, &'static [u8]>,
    place: Place<'a>,
}

impl<'a> RowsMut<'a> {
    pub fn open(txn: &'a WriteTransaction, name: &'static str, path: &'a Path) -> Result<Self> {
        let table = txn.open_table(Definition::new(name)).map_err(|e| error(path, e))?;
        Ok(Self { table, place: Place { path, table: name } })
    }

    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let found = self.table.get(key).map_err(|e| error(self.place.path, e))?;
        found.map(|v| self.place.decode(key, v.value())).transpose()
    }

    pub fn put<T: Serialize>(&mut self, key: &str, value: &T) -> Result<()> {
        let bytes = self.place.encode(key, value)?;
        self.table.insert(key, bytes.as_slice()).map_err(|e| error(self.place.path, e))?;
        Ok(())
    }

    pub fn remove(&mut self, key: &str) -> Result<()> {
        self.table.remove(key).map_err(|e| error(self.place.path, e))?;
        Ok(())
    }

    /// All rows, by key.
    pub fn all<T: DeserializeOwned>(&self) -> Result<Vec<(String, T)>> {
        let rows = self.table.iter().map_err(|e| error(self.place.path, e))?;
        rows.map(|row| {
            let (key, value) = row.map_err(|e| error(self.place.path, e))?;
            let decoded = self.place.decode(key.value(), value.value())?;
            Ok((key.value().to_owned(), decoded))
        })
        .collect()
    }

    /// All rows of a tenant, by key.
    pub fn of_tenant<T: DeserializeOwned>(&self, tenant: TenantId) -> Result<Vec<(String, T)>> {
        let range = tenant_range(tenant);
        let rows = self.table.range(range.start.as_str()..range.end.as_str());
        let rows = rows.map_err(|e| error(self.place.path, e))?;
        rows.map(|row| {
            let (key, value) = row.map_err(|e| error(self.place.path, e))?;
            let decoded = self.place.decode(key.value(), value.value())?;
            Ok((key.value().to_owned(), decoded))
        })
        .collect()
    }
}
