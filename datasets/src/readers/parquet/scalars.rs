//! Id, region and time columns.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMillisecondType, UInt64Type};
use uuid::Uuid;

use crate::{Id, timestamp};

/// Rows that cannot be taken, by position in the batch.
pub(super) type Bad = Vec<(usize, String)>;

/// Ids of all rows; a bad one takes the kind of its neighbour so that it does not split the batch.
pub(super) fn ids(array: &ArrayRef, bad: &mut Bad) -> Result<Vec<Id>, String> {
    let mut last = Id::Num(0);
    let mut take = |row: usize, id: Result<Id, String>| {
        match id {
            Ok(id) => last = id,
            Err(why) => bad.push((row, why)),
        }
        last
    };
    let null = || Err("the id is null".to_owned());
    let rows = 0..array.len();
    Ok(match array.data_type() {
        DataType::FixedSizeBinary(16) => {
            let array = array.as_fixed_size_binary();
            rows.map(|row| {
                let id = if array.is_null(row) { null() } else { uuid(array.value(row)) };
                take(row, id)
            })
            .collect()
        }
        kind if kind.is_integer() => {
            // Safe casts make null of what does not fit: a negative number.
            let numbers = cast(array, &DataType::UInt64).map_err(|e| e.to_string())?;
            let numbers = numbers.as_primitive::<UInt64Type>();
            rows.map(|row| {
                let id = match (array.is_null(row), numbers.is_null(row)) {
                    (true, _) => null(),
                    (_, true) => Err("the id is negative".to_owned()),
                    _ => Ok(Id::Num(numbers.value(row))),
                };
                take(row, id)
            })
            .collect()
        }
        _ => {
            let texts = cast(array, &DataType::LargeUtf8).map_err(|e| e.to_string())?;
            let texts = texts.as_string::<i64>();
            rows.map(|row| {
                let id = if texts.is_null(row) { null() } else { Id::parse(texts.value(row)) };
                take(row, id)
            })
            .collect()
        }
    })
}

fn uuid(bytes: &[u8]) -> Result<Id, String> {
    Uuid::from_slice(bytes).map(Id::Uuid).map_err(|e| e.to_string())
}

/// Milliseconds of all rows, 0 for null.
pub(super) fn times(array: &ArrayRef, bad: &mut Bad) -> Result<Vec<i64>, String> {
    let rows = 0..array.len();
    if matches!(array.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        let texts = cast(array, &DataType::LargeUtf8).map_err(|e| e.to_string())?;
        let texts = texts.as_string::<i64>();
        let parse = |row: usize| {
            let time = if texts.is_null(row) { Ok(0) } else { timestamp::parse_ms(texts.value(row)) };
            time.unwrap_or_else(|why| {
                bad.push((row, why));
                0
            })
        };
        return Ok(rows.map(parse).collect());
    }
    let ms = match array.data_type() {
        DataType::Null => return Ok(vec![0; array.len()]),
        kind if kind.is_integer() => {
            let numbers = cast(array, &DataType::Int64).map_err(|e| e.to_string())?;
            let numbers = numbers.as_primitive::<Int64Type>();
            return Ok(rows.map(|row| if numbers.is_null(row) { 0 } else { numbers.value(row) }).collect());
        }
        DataType::Timestamp(_, zone) => {
            cast(array, &DataType::Timestamp(TimeUnit::Millisecond, zone.clone()))
                .map_err(|e| e.to_string())?
        }
        _ => cast(array, &DataType::Timestamp(TimeUnit::Millisecond, None)).map_err(|e| e.to_string())?,
    };
    let values = ms.as_primitive::<TimestampMillisecondType>();
    Ok(rows
        .map(|row| match (array.is_null(row), values.is_null(row)) {
            (true, _) => 0,
            (_, true) => {
                bad.push((row, "the time is out of range".to_owned()));
                0
            }
            _ => values.value(row),
        })
        .collect())
}

/// Region tags of all rows, "" for null.
pub(super) fn regions(array: &ArrayRef) -> Result<Vec<String>, String> {
    let texts = cast(array, &DataType::LargeUtf8).map_err(|e| e.to_string())?;
    Ok(texts.as_string::<i64>().iter().map(|text| text.unwrap_or("").to_owned()).collect())
}
