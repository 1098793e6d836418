//! JSON Lines: one object a line.
//!
//! ```json
//! {"id": 1, "vector": [0.1, 0.2], "region": "eu", "created_at": "2026-01-02T03:04:05Z", "title": "a"}
//! {"id": "67e55044-10b1-426f-9247-bb680e5fe0c8", "vectors": {"title": [1, 2]}, "payload": {"title": "b"}}
//! ```
//! `vector` is the default field, `vectors` holds named ones; keys that mean nothing to the reader join the payload.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::{FileInfo, FileVector, MAX_DIMENSION, ReadOptions, Reader};
use crate::{Id, Ids, ReadError, Reject, Result, RowBatch, VectorBlock, timestamp};

/// Longest line: a payload of 1 MiB and several vectors of 16,384 components fit.
const MAX_LINE: usize = 8 << 20;

/// An open JSON Lines file.
pub struct JsonLines {
    path: Arc<Path>,
    file: BufReader<File>,
    length: u64,
    position: u64,
    next_row: u64,
    options: ReadOptions,
    /// A row that was read but is of another id kind than the batch before it.
    held: Option<Row>,
    info: FileInfo,
    done: bool,
}

struct Row {
    number: u64,
    id: Id,
    vectors: BTreeMap<String, Vec<f32>>,
    payload: Bytes,
    region: String,
    created_at: i64,
    expires_at: i64,
}

enum Line {
    End,
    Blank,
    Bad(String),
    Row(Box<Row>),
}

impl JsonLines {
    /// Opens a file and looks at its first row to learn its vector fields.
    ///
    /// # Errors
    /// [`ReadError::Io`]; bad lines are rejected one by one later.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Self> {
        let mut this = Self::at_start(path, options)?;
        loop {
            match this.read_line()? {
                Line::Blank | Line::Bad(_) if this.next_row < 1000 => {}
                Line::Row(row) => {
                    let vectors = row.vectors.iter();
                    this.info.vectors = vectors
                        .map(|(field, v)| FileVector { field: field.clone(), dimension: Some(v.len()) })
                        .collect();
                    break;
                }
                _ => break,
            }
        }
        let info = std::mem::take(&mut this.info);
        let mut fresh = Self { info, ..Self::at_start(path, options)? };
        while fresh.next_row < options.start_row && fresh.skip_line()? {}
        Ok(fresh)
    }

    fn at_start(path: &Path, options: &ReadOptions) -> Result<Self> {
        let file = File::open(path).map_err(ReadError::io(path))?;
        let length = file.metadata().map_err(ReadError::io(path))?.len();
        Ok(Self {
            path: path.into(),
            file: BufReader::with_capacity(256 << 10, file),
            length,
            position: 0,
            next_row: 0,
            options: options.clone(),
            held: None,
            info: FileInfo::default(),
            done: false,
        })
    }

    /// Reads one line into `line`, at most the limit and one byte; the rest of a longer line is skipped.
    fn raw_line(&mut self, line: &mut Vec<u8>) -> Result<bool> {
        line.clear();
        let io = |e| ReadError::Io { path: self.path.to_path_buf(), source: e };
        let read = (&mut self.file).take(MAX_LINE as u64 + 1).read_until(b'\n', line).map_err(io)?;
        self.position += read as u64;
        if line.len() > MAX_LINE && line.last() != Some(&b'\n') {
            let skipped = self.file.skip_until(b'\n').map_err(io)?;
            self.position += skipped as u64;
        }
        if read > 0 {
            self.next_row += 1;
        }
        Ok(read > 0)
    }

    fn skip_line(&mut self) -> Result<bool> {
        let skipped = self.file.skip_until(b'\n').map_err(ReadError::io(&self.path))?;
        self.position += skipped as u64;
        self.next_row += u64::from(skipped > 0);
        Ok(skipped > 0)
    }

    fn read_line(&mut self) -> Result<Line> {
        let mut line = Vec::new();
        let number = self.next_row;
        if !self.raw_line(&mut line)? {
            return Ok(Line::End);
        }
        if line.len() > MAX_LINE {
            return Ok(Line::Bad(format!("the line is longer than {MAX_LINE} bytes")));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(Line::Blank);
        }
        let mut json = serde_json::Deserializer::from_slice(&line);
        let seed = RowVisitor { options: &self.options, number };
        let row = (&mut json).deserialize_map(seed).and_then(|row| json.end().map(|()| row));
        Ok(match row {
            Ok(row) => Line::Row(Box::new(row)),
            Err(error) => Line::Bad(error.to_string()),
        })
    }

    fn read_batch(&mut self) -> Result<Option<RowBatch>> {
        let first_row = self.held.as_ref().map_or(self.next_row, |row| row.number);
        let mut rows: Vec<Row> = Vec::new();
        let mut rejects = Vec::new();
        let mut bytes = 0;
        let most_rows = self.options.rows_per_batch(64);
        while rows.len() < most_rows && bytes < self.options.batch_bytes && rejects.len() < most_rows {
            let row = match self.held.take() {
                Some(row) => row,
                None => match self.read_line()? {
                    Line::End => {
                        self.done = true;
                        break;
                    }
                    Line::Blank => continue,
                    Line::Bad(reason) => {
                        rejects.push(Reject { row: self.next_row - 1, reason });
                        continue;
                    }
                    Line::Row(row) => *row,
                },
            };
            let kind = |id: &Id| matches!(id, Id::Num(_));
            if rows.first().is_some_and(|first| kind(&first.id) != kind(&row.id)) {
                self.held = Some(row);
                break;
            }
            bytes += row.payload.len() + row.vectors.values().map(|v| v.len() * 4).sum::<usize>();
            rows.push(row);
        }
        let end = self.held.as_ref().map_or(self.next_row, |row| row.number);
        if end == first_row {
            return Ok(None);
        }
        let mut batch = self.columns(first_row, rows);
        batch.span = end - first_row;
        batch.rejects.extend(rejects);
        batch.rejects.sort_by_key(|r| r.row);
        Ok(Some(batch))
    }

    fn columns(&mut self, first_row: u64, rows: Vec<Row>) -> RowBatch {
        let ids = match rows.first().map(|r| r.id) {
            Some(Id::Uuid(_)) => Ids::Uuid(
                rows.iter().filter_map(|r| if let Id::Uuid(u) = r.id { Some(u) } else { None }).collect(),
            ),
            _ => Ids::Num(
                rows.iter().filter_map(|r| if let Id::Num(n) = r.id { Some(n) } else { None }).collect(),
            ),
        };
        let mut batch = RowBatch::new(self.path.clone(), first_row, ids);
        batch.offsets = rows.iter().map(|r| (r.number - first_row) as u32).collect();
        if rows.iter().any(|r| !r.region.is_empty()) {
            batch.regions = rows.iter().map(|r| r.region.clone()).collect();
        }
        if rows.iter().any(|r| r.created_at != 0) {
            batch.created_at_ms = rows.iter().map(|r| r.created_at).collect();
        }
        if rows.iter().any(|r| r.expires_at != 0) {
            batch.expires_at_ms = rows.iter().map(|r| r.expires_at).collect();
        }
        if rows.iter().any(|r| r.payload.len() > 2) {
            batch.payload_json = rows.iter().map(|r| r.payload.clone()).collect();
        }
        let mut bad = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            for (field, vector) in &row.vectors {
                if !self.info.vectors.iter().any(|v| &v.field == field) {
                    self.info
                        .vectors
                        .push(FileVector { field: field.clone(), dimension: Some(vector.len()) });
                }
                let known = self.info.vectors.iter().find(|v| &v.field == field).and_then(|v| v.dimension);
                if known.is_some_and(|d| d != vector.len()) {
                    let d = known.unwrap_or(0);
                    bad.push((
                        i,
                        format!("vector {field:?} has {} components, the file's first has {d}", vector.len()),
                    ));
                }
            }
        }
        for field in &self.info.vectors {
            batch.vectors.push(block(field, &rows));
        }
        batch.vectors.retain(|v| !v.components.is_empty());
        batch.reject(bad);
        batch
    }
}

/// One field of all rows; a vector of the wrong length becomes zeros, its row is rejected.
fn block(field: &FileVector, rows: &[Row]) -> VectorBlock {
    let dimension = field.dimension.unwrap_or(0);
    let mut components = Vec::with_capacity(rows.len() * dimension);
    let mut present = Vec::with_capacity(rows.len());
    for row in rows {
        let vector = row.vectors.get(&field.field);
        present.push(vector.is_some());
        match vector {
            Some(vector) if vector.len() == dimension => components.extend_from_slice(vector),
            Some(_) => components.resize(components.len() + dimension, 0.0),
            None => {}
        }
    }
    let all = present.iter().all(|&p| p);
    VectorBlock { field: field.field.clone(), dimension, components, present: (!all).then_some(present) }
}

struct RowVisitor<'a> {
    options: &'a ReadOptions,
    number: u64,
}

impl<'de> Visitor<'de> for RowVisitor<'_> {
    type Value = Row;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object with an id")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
        let options = self.options;
        let mut id = None;
        let mut row = Row {
            number: self.number,
            id: Id::Num(0),
            vectors: BTreeMap::new(),
            payload: Bytes::new(),
            region: String::new(),
            created_at: 0,
            expires_at: 0,
        };
        let (mut payload, mut object) = (Map::new(), Map::new());
        while let Some(key) = map.next_key::<String>()? {
            if key == options.id_column {
                id = Some(read_id(&map.next_value()?).map_err(A::Error::custom)?);
            } else if let Some(column) = options.vector_columns.iter().find(|v| v.column == key) {
                let vector = map.next_value()?;
                insert_vector(&mut row, column.field.clone(), vector).map_err(A::Error::custom)?;
            } else if key == "vector" && options.vector_columns.is_empty() {
                let vector = map.next_value()?;
                insert_vector(&mut row, String::new(), vector).map_err(A::Error::custom)?;
            } else if key == "vectors" && options.vector_columns.is_empty() {
                for (field, vector) in map.next_value::<BTreeMap<String, Option<Vec<f32>>>>()? {
                    insert_vector(&mut row, field, vector).map_err(A::Error::custom)?;
                }
            } else if key == options.region_column {
                row.region = map.next_value::<Option<String>>()?.unwrap_or_default();
            } else if key == options.created_at_column {
                row.created_at = read_time(&map.next_value()?).map_err(A::Error::custom)?;
            } else if key == options.expires_at_column {
                row.expires_at = read_time(&map.next_value()?).map_err(A::Error::custom)?;
            } else if key == "payload" {
                match map.next_value()? {
                    Value::Object(o) => object = o,
                    Value::Null => {}
                    other => drop(payload.insert(key, other)),
                }
            } else {
                payload.insert(key, map.next_value()?);
            }
        }
        row.id = id.ok_or_else(|| A::Error::custom(format!("there is no {:?}", options.id_column)))?;
        payload.extend(object);
        row.payload = serde_json::to_vec(&payload).map_err(A::Error::custom)?.into();
        Ok(row)
    }
}

fn insert_vector(row: &mut Row, field: String, vector: Option<Vec<f32>>) -> Result<(), String> {
    let Some(vector) = vector.filter(|v| !v.is_empty()) else { return Ok(()) };
    if vector.len() > MAX_DIMENSION {
        return Err(format!("vector {field:?} has {} components: at most {MAX_DIMENSION}", vector.len()));
    }
    row.vectors.insert(field, vector);
    Ok(())
}

fn read_id(value: &Value) -> Result<Id, String> {
    match value {
        Value::String(text) => Id::parse(text),
        Value::Number(n) if n.is_u64() => Ok(Id::Num(n.as_u64().unwrap_or(0))),
        other => Err(format!("id {other} is neither an unsigned 64-bit number nor a UUID")),
    }
}

fn read_time(value: &Value) -> Result<i64, String> {
    match value {
        Value::Null => Ok(0),
        Value::String(text) => timestamp::parse_ms(text),
        Value::Number(n) if n.is_i64() => Ok(n.as_i64().unwrap_or(0)),
        other => Err(format!("{other} is no time: use RFC 3339 text or integer milliseconds")),
    }
}

impl Iterator for JsonLines {
    type Item = Result<RowBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done && self.held.is_none() {
            return None;
        }
        let batch = self.read_batch();
        self.done |= batch.is_err();
        batch.transpose()
    }
}

impl Reader for JsonLines {
    fn info(&self) -> &FileInfo {
        &self.info
    }

    fn progress(&self) -> f64 {
        self.position as f64 / self.length.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, options: &ReadOptions) -> (FileInfo, Vec<RowBatch>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, text).unwrap();
        let mut file = JsonLines::open(&path, options).unwrap();
        let batches = file.by_ref().collect::<Result<_>>().unwrap();
        (file.info().clone(), batches)
    }

    const UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

    #[test]
    fn all_the_forms() {
        let text = format!(
            "{}\n\n{}\n{}\n{}",
            r#"{"id":7,"vector":[1,2.5],"region":"eu","created_at":"1970-01-01T00:00:01Z","a":"x","payload":{"b":[1]}}"#,
            r#"{"id":8,"payload":{"nested":{"c":null}},"expires_at":5000}"#,
            format_args!(r#"{{"id":"{UUID}","vectors":{{"t":[1,2,3]}}}}"#),
            r#"{"id":"9","vector":[3,4]}"#,
        );
        let (info, batches) = read(&text, &ReadOptions::default());
        assert_eq!(info.vectors[0], FileVector { field: String::new(), dimension: Some(2) });
        assert_eq!(batches.len(), 3);
        let first = &batches[0];
        assert_eq!((first.ids.clone(), first.first_row, first.span), (Ids::Num(vec![7, 8]), 0, 3));
        assert_eq!(first.payload_json[0], r#"{"a":"x","b":[1]}"#);
        assert_eq!(first.payload_json[1], r#"{"nested":{"c":null}}"#);
        assert_eq!((&first.regions[0][..], &first.regions[1][..]), ("eu", ""));
        assert_eq!((first.created_at_ms[0], first.expires_at_ms[1]), (1000, 5000));
        assert_eq!(first.vectors[0].present, Some(vec![true, false]));
        assert_eq!(first.file_row(1), 2);
        assert_eq!(batches[1].ids, Ids::Uuid(vec![UUID.parse().unwrap()]));
        assert_eq!(batches[1].vectors[0].field, "t");
        assert_eq!((batches[2].first_row, batches[2].span), (4, 1));
        let (_, rest) = read(&text, &ReadOptions { start_row: 3, ..Default::default() });
        assert_eq!((rest[0].first_row, rest.len()), (3, 2));
    }

    #[test]
    fn bad_lines_are_rejected_alone() {
        let deep = format!(r#"{{"id":1,"a":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
        let lines = [
            r#"{"id":1,"vector":[1,2]}"#,
            "not json",
            r#"{"vector":[1,2]}"#,
            r#"{"id":-1}"#,
            r#"{"id":2,"vector":[1,2,3]}"#,
            r#"{"id":3,"vector":"x"}"#,
            r#"{"id":4,"created_at":"soon"}"#,
            r#"{"id":5} trailing"#,
            &deep,
            r#"{"id":6,"vector":[5,6]}"#,
        ];
        let (_, batches) = read(&lines.join("\n"), &ReadOptions::default());
        assert_eq!(batches.len(), 1);
        assert_eq!(batches[0].ids, Ids::Num(vec![1, 6]));
        assert_eq!(batches[0].rejects.iter().map(|r| r.row).collect::<Vec<_>>(), (1..9).collect::<Vec<_>>());
        assert_eq!(batches[0].vectors[0].components, [1., 2., 5., 6.]);
        assert_eq!(batches[0].file_row(1), 9);
    }

    #[test]
    fn endless_lines_take_bounded_memory() {
        let long = format!("{{\"id\":1,\"a\":\"{}\"}}\n{{\"id\":2}}\n", "x".repeat(MAX_LINE));
        let (_, batches) = read(&long, &ReadOptions::default());
        assert_eq!(batches[0].ids, Ids::Num(vec![2]));
        assert_eq!(batches[0].rejects.len(), 1);
    }
}
