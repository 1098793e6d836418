//! The other columns become one JSON object a row.
//!
//! A null value means that the row lacks the key. Times are RFC 3339 in UTC, bytes are base64, decimals are numbers,
//! NaN and infinities are null. A text column `payload` or `payload_json` that holds objects is merged in and wins.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::*;
use arrow::temporal_conversions::{MILLISECONDS_IN_DAY, SECONDS_IN_DAY};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use base64::Engine as _;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::columns::Columns;
use super::scalars::Bad;
use crate::{json_text, timestamp};

/// Largest payload of a point; the server's own limit.
const MAX_PAYLOAD: usize = 1 << 20;
/// Deepest nesting of a column.
const MAX_DEPTH: usize = 32;

/// Writes the value of a row that is not null.
type Cell<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

/// JSON objects of all rows; nothing where no column is left for the payload.
pub(super) fn encode(batch: &RecordBatch, columns: &Columns, bad: &mut Bad) -> Result<Vec<Bytes>, String> {
    if columns.payload.is_empty() && columns.payload_text.is_none() {
        return Ok(Vec::new());
    }
    let mut writers = Vec::with_capacity(columns.payload.len());
    for &at in &columns.payload {
        let mut key = Vec::new();
        json_text::string(&mut key, batch.schema_ref().field(at).name());
        key.push(b':');
        writers.push((batch.column(at), key, cell(batch.column(at), 0)?));
    }
    let text = columns.payload_text.map(|at| {
        let name = batch.schema_ref().field(at).name().clone();
        (name, batch.column(at))
    });
    let mut all = Vec::new();
    let mut ends = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let start = all.len();
        all.push(b'{');
        for (column, key, write) in &writers {
            if column.is_valid(row) {
                separate(&mut all);
                all.extend_from_slice(key);
                write(row, &mut all);
            }
        }
        all.push(b'}');
        let merged = match &text {
            Some((name, column)) if column.is_valid(row) => {
                merge(&mut all, start, name, string_at(column, row)).map_err(|why| format!("{name}: {why}"))
            }
            _ => Ok(()),
        };
        if let Err(why) = merged {
            all.truncate(start);
            bad.push((row, why));
        } else if all.len() - start > MAX_PAYLOAD {
            bad.push((row, format!("the payload has {} bytes, more than {MAX_PAYLOAD}", all.len() - start)));
            all.truncate(start);
        }
        ends.push(all.len());
    }
    let all = Bytes::from(all);
    let mut start = 0;
    Ok(ends.into_iter().map(|end| all.slice(std::mem::replace(&mut start, end)..end)).collect())
}

fn separate(out: &mut Vec<u8>) {
    if !matches!(out.last(), Some(b'{' | b'[')) {
        out.push(b',');
    }
}

/// Merges the object in `text` into the one that was written at `start`.
fn merge(out: &mut Vec<u8>, start: usize, name: &str, text: &str) -> Result<(), String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(());
    }
    let alone = out.len() - start == 2;
    if !text.starts_with('{') {
        // A plain text that happens to be called payload.
        out.pop();
        separate(out);
        json_text::string(out, name);
        out.push(b':');
        json_text::string(out, text);
        out.push(b'}');
        return Ok(());
    }
    if alone {
        // Checked, then copied as it is: what was exported comes back byte for byte.
        serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|e| e.to_string())?;
        out.truncate(start);
        out.extend_from_slice(text.as_bytes());
        return Ok(());
    }
    let object: Map<String, Value> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let mut merged: Map<String, Value> = serde_json::from_slice(&out[start..]).map_err(|e| e.to_string())?;
    merged.extend(object);
    out.truncate(start);
    serde_json::to_writer(&mut *out, &merged).map_err(|e| e.to_string())
}

fn string_at(array: &ArrayRef, row: usize) -> &str {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row),
        DataType::Utf8View => array.as_string_view().value(row),
        _ => "",
    }
}

macro_rules! integers {
    ($array:expr, $kind:ty) => {{
        let array = $array.as_primitive::<$kind>();
        Box::new(move |row, out: &mut Vec<u8>| json_text::display(out, array.value(row)))
    }};
}

fn cell<'a>(array: &'a ArrayRef, depth: usize) -> Result<Cell<'a>, String> {
    if depth > MAX_DEPTH {
        return Err("a column is nested too deeply".to_owned());
    }
    Ok(match array.data_type() {
        DataType::Boolean => {
            let array = array.as_boolean();
            Box::new(move |row, out| json_text::display(out, array.value(row)))
        }
        DataType::Int8 => integers!(array, Int8Type),
        DataType::Int16 => integers!(array, Int16Type),
        DataType::Int32 => integers!(array, Int32Type),
        DataType::Int64 => integers!(array, Int64Type),
        DataType::UInt8 => integers!(array, UInt8Type),
        DataType::UInt16 => integers!(array, UInt16Type),
        DataType::UInt32 => integers!(array, UInt32Type),
        DataType::UInt64 => integers!(array, UInt64Type),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => float(array),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            Box::new(move |row, out| json_text::string(out, string_at(array, row)))
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            Box::new(move |row, out| bytes(out, array, row))
        }
        DataType::Date32 => {
            let array = array.as_primitive::<Date32Type>();
            Box::new(move |row, out| time(out, i64::from(array.value(row)) * SECONDS_IN_DAY, 0))
        }
        DataType::Date64 => {
            let array = array.as_primitive::<Date64Type>();
            Box::new(move |row, out| {
                time(out, array.value(row).div_euclid(MILLISECONDS_IN_DAY) * SECONDS_IN_DAY, 0);
            })
        }
        DataType::Timestamp(unit, _) => timestamps(array, *unit),
        DataType::Decimal128(..) => {
            let array = array.as_primitive::<Decimal128Type>();
            Box::new(move |row, out| out.extend_from_slice(array.value_as_string(row).as_bytes()))
        }
        DataType::Decimal256(..) => {
            let array = array.as_primitive::<Decimal256Type>();
            Box::new(move |row, out| out.extend_from_slice(array.value_as_string(row).as_bytes()))
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => list(array, depth)?,
        DataType::Struct(_) => object(array, depth)?,
        DataType::Map(..) => map(array, depth)?,
        DataType::Null => Box::new(|_, out| out.extend_from_slice(b"null")),
        _ => text(array)?,
    })
}

fn float(array: &ArrayRef) -> Cell<'_> {
    match array.data_type() {
        DataType::Float16 => {
            let array = array.as_primitive::<Float16Type>();
            Box::new(move |row, out| json_text::float(out, array.value(row).to_f32()))
        }
        DataType::Float32 => {
            let array = array.as_primitive::<Float32Type>();
            Box::new(move |row, out| json_text::float(out, array.value(row)))
        }
        _ => {
            let array = array.as_primitive::<Float64Type>();
            Box::new(move |row, out| json_text::float(out, array.value(row)))
        }
    }
}

fn bytes(out: &mut Vec<u8>, array: &ArrayRef, row: usize) {
    let raw: &[u8] = match array.data_type() {
        DataType::Binary => array.as_binary::<i32>().value(row),
        DataType::LargeBinary => array.as_binary::<i64>().value(row),
        DataType::BinaryView => array.as_binary_view().value(row),
        _ => array.as_fixed_size_binary().value(row),
    };
    json_text::string(out, &base64::engine::general_purpose::STANDARD.encode(raw));
}

fn time(out: &mut Vec<u8>, seconds: i64, nanos: i64) {
    match timestamp::rfc3339(seconds, nanos as i32) {
        Some(text) => json_text::string(out, &text),
        None => out.extend_from_slice(b"null"),
    }
}

fn timestamps(array: &ArrayRef, unit: TimeUnit) -> Cell<'_> {
    let split = move |value: i64, per_second: i64| {
        (value.div_euclid(per_second), value.rem_euclid(per_second) * (1_000_000_000 / per_second))
    };
    macro_rules! unit {
        ($kind:ty, $per_second:expr) => {{
            let array = array.as_primitive::<$kind>();
            Box::new(move |row, out: &mut Vec<u8>| {
                let (seconds, nanos) = split(array.value(row), $per_second);
                time(out, seconds, nanos);
            })
        }};
    }
    match unit {
        TimeUnit::Second => unit!(TimestampSecondType, 1),
        TimeUnit::Millisecond => unit!(TimestampMillisecondType, 1_000),
        TimeUnit::Microsecond => unit!(TimestampMicrosecondType, 1_000_000),
        TimeUnit::Nanosecond => unit!(TimestampNanosecondType, 1_000_000_000),
    }
}

/// Kinds without a JSON form of their own: times of day, durations, intervals.
fn text(array: &ArrayRef) -> Result<Cell<'_>, String> {
    let options: &'static FormatOptions<'static> = const { &FormatOptions::new() };
    let formatter = ArrayFormatter::try_new(array, options).map_err(|e| e.to_string())?;
    Ok(Box::new(move |row, out| match formatter.value(row).try_to_string() {
        Ok(text) => json_text::string(out, &text),
        Err(_) => out.extend_from_slice(b"null"),
    }))
}

/// Where the values of a row's list begin and end.
type Offsets<'a> = Box<dyn Fn(usize) -> (usize, usize) + 'a>;

fn list(array: &ArrayRef, depth: usize) -> Result<Cell<'_>, String> {
    let (values, offsets): (&ArrayRef, Offsets<'_>) = match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let offsets = list.value_offsets();
            (list.values(), Box::new(move |row| (offsets[row] as usize, offsets[row + 1] as usize)))
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let offsets = list.value_offsets();
            (list.values(), Box::new(move |row| (offsets[row] as usize, offsets[row + 1] as usize)))
        }
        _ => {
            let list = array.as_fixed_size_list();
            let length = list.value_length() as usize;
            (list.values(), Box::new(move |row| (row * length, (row + 1) * length)))
        }
    };
    let write = cell(values, depth + 1)?;
    Ok(Box::new(move |row, out| {
        let (start, end) = offsets(row);
        out.push(b'[');
        for i in start..end {
            if i > start {
                out.push(b',');
            }
            if values.is_null(i) {
                out.extend_from_slice(b"null");
            } else {
                write(i, out);
            }
        }
        out.push(b']');
    }))
}

fn object(array: &ArrayRef, depth: usize) -> Result<Cell<'_>, String> {
    let array = array.as_struct();
    let mut fields = Vec::with_capacity(array.num_columns());
    for (column, name) in array.columns().iter().zip(array.column_names()) {
        let mut key = Vec::new();
        json_text::string(&mut key, name);
        key.push(b':');
        fields.push((column, key, cell(column, depth + 1)?));
    }
    Ok(Box::new(move |row, out| {
        out.push(b'{');
        for (column, key, write) in &fields {
            if column.is_valid(row) {
                separate(out);
                out.extend_from_slice(key);
                write(row, out);
            }
        }
        out.push(b'}');
    }))
}

fn map(array: &ArrayRef, depth: usize) -> Result<Cell<'_>, String> {
    let array = array.as_map();
    let (keys, values) = (array.keys(), array.values());
    let key_text = text_of_keys(keys)?;
    let write = cell(values, depth + 1)?;
    let offsets = array.value_offsets();
    Ok(Box::new(move |row, out| {
        out.push(b'{');
        for i in offsets[row] as usize..offsets[row + 1] as usize {
            if values.is_valid(i) && keys.is_valid(i) {
                separate(out);
                key_text(i, out);
                out.push(b':');
                write(i, out);
            }
        }
        out.push(b'}');
    }))
}

/// JSON keys are text, whatever the type of a map's keys.
fn text_of_keys(keys: &ArrayRef) -> Result<Cell<'_>, String> {
    match keys.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => cell(keys, 0),
        _ => text(keys),
    }
}
