use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use half::f16;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use crate::readers::{ReadOptions, Reader, VectorColumn, parquet::ParquetFile};
use crate::{Ids, Result, RowBatch};

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>, group_rows: usize) {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

struct Temp(#[allow(dead_code)] tempfile::TempDir, PathBuf);

fn temp() -> Temp {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    Temp(folder, path)
}

fn read(columns: Vec<(&str, ArrayRef)>, options: &ReadOptions) -> Result<Vec<RowBatch>> {
    let t = temp();
    write(&t.1, columns, 3);
    ParquetFile::open(&t.1, options)?.collect()
}

fn ids(n: u64) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(0..n))
}

fn lists<T: ArrowPrimitiveType>(rows: Vec<Option<Vec<Option<T::Native>>>>) -> ArrayRef {
    Arc::new(ListArray::from_iter_primitive::<T, _, _>(rows))
}

#[test]
fn every_vector_type() {
    let rows = [vec![1.0f32, -2.0], vec![0.5, 3.0], vec![4.0, 5.0], vec![6.0, 7.0]];
    let f32s =
        lists::<Float32Type>(rows.iter().map(|r| Some(r.iter().map(|&v| Some(v)).collect())).collect());
    let f64s = lists::<Float64Type>(
        rows.iter().map(|r| Some(r.iter().map(|&v| Some(v.into())).collect())).collect(),
    );
    let f16s = lists::<Float16Type>(
        rows.iter().map(|r| Some(r.iter().map(|&v| Some(f16::from_f32(v))).collect())).collect(),
    );
    let large = LargeListArray::from_iter_primitive::<Float32Type, _, _>(
        rows.iter().map(|r| Some(r.iter().map(|&v| Some(v)).collect::<Vec<_>>())),
    );
    let fixed = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        rows.iter().map(|r| Some(r.iter().map(|&v| Some(v)).collect::<Vec<_>>())),
        2,
    );
    for array in [f32s, f64s, f16s, Arc::new(large), Arc::new(fixed)] {
        let batches = read(vec![("id", ids(4)), ("vector", array)], &ReadOptions::default()).unwrap();
        assert_eq!(batches.iter().map(RowBatch::len).collect::<Vec<_>>(), [3, 1]);
        let all: Vec<f32> = batches.iter().flat_map(|b| b.vectors[0].components.clone()).collect();
        assert_eq!(all, rows.concat());
        assert_eq!(batches[1].first_row, 3);
    }
}

#[test]
fn every_id_type() {
    let numbers: Vec<ArrayRef> = vec![
        Arc::new(Int8Array::from(vec![1, 2])),
        Arc::new(UInt8Array::from(vec![1, 2])),
        Arc::new(Int16Array::from(vec![1, 2])),
        Arc::new(UInt16Array::from(vec![1, 2])),
        Arc::new(Int32Array::from(vec![1, 2])),
        Arc::new(UInt32Array::from(vec![1, 2])),
        Arc::new(Int64Array::from(vec![1, 2])),
        Arc::new(StringArray::from(vec!["1", "2"])),
        Arc::new(LargeStringArray::from(vec!["1", "2"])),
    ];
    for array in numbers {
        let batches =
            read(vec![("key", array)], &ReadOptions { id_column: "key".into(), ..Default::default() });
        assert_eq!(batches.unwrap()[0].ids, Ids::Num(vec![1, 2]));
    }
    let max =
        read(vec![("id", Arc::new(UInt64Array::from(vec![u64::MAX])))], &ReadOptions::default()).unwrap();
    assert_eq!(max[0].ids, Ids::Num(vec![u64::MAX]));
    let uuid = uuid::Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);
    let fixed = FixedSizeBinaryArray::try_from_iter([uuid.as_bytes()].into_iter()).unwrap();
    let batches = read(vec![("id", Arc::new(fixed))], &ReadOptions::default()).unwrap();
    assert_eq!(batches[0].ids, Ids::Uuid(vec![uuid]));
    let text = uuid.to_string();
    let mixed = StringArray::from(vec![Some("7"), Some(&text), None, Some("x"), Some("8")]);
    let t = temp();
    write(&t.1, vec![("id", Arc::new(mixed))], 100);
    let batches: Vec<_> =
        ParquetFile::open(&t.1, &ReadOptions::default()).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.len(), 3);
    assert_eq!(batches[1].ids, Ids::Uuid(vec![uuid]));
    assert_eq!(batches[1].rejects.iter().map(|r| r.row).collect::<Vec<_>>(), [2, 3]);
    assert_eq!((batches[2].first_row, batches[2].ids.clone()), (4, Ids::Num(vec![8])));
    let negative = read(vec![("id", Arc::new(Int64Array::from(vec![-1])))], &ReadOptions::default()).unwrap();
    assert_eq!((negative[0].len(), negative[0].span), (0, 1));
}

#[test]
fn rows_without_vectors_and_bad_vectors() {
    let some = |v: &[f32]| Some(v.iter().map(|&x| Some(x)).collect::<Vec<_>>());
    let rows = vec![
        None,
        some(&[1., 2.]),
        some(&[]),
        some(&[1., 2., 3.]),
        Some(vec![Some(1.), None]),
        some(&[5., 6.]),
    ];
    let t = temp();
    write(&t.1, vec![("id", ids(6)), ("vector", lists::<Float32Type>(rows))], 100);
    let mut file = ParquetFile::open(&t.1, &ReadOptions::default()).unwrap();
    assert_eq!(file.info().vectors[0].dimension, Some(2));
    let batch = file.next().unwrap().unwrap();
    assert_eq!(batch.ids, Ids::Num(vec![0, 1, 2, 5]));
    assert_eq!(batch.vectors[0].present, Some(vec![false, true, false, true]));
    assert_eq!(batch.vectors[0].components, [1., 2., 5., 6.]);
    assert_eq!(batch.rejects.len(), 2);
    assert!(batch.rejects[0].reason.contains("3 components"), "{:?}", batch.rejects);
    assert!(batch.rejects[1].reason.contains("null"), "{:?}", batch.rejects);
}

#[test]
fn times_of_every_kind() {
    let ms = 1_700_000_000_123i64;
    let text = "2023-11-14T22:13:20.123Z";
    let arrays: Vec<(ArrayRef, i64)> = vec![
        (Arc::new(TimestampMillisecondArray::from(vec![Some(ms), None]).with_timezone("UTC")), ms),
        (Arc::new(TimestampMicrosecondArray::from(vec![Some(ms * 1000), None])), ms),
        (Arc::new(TimestampNanosecondArray::from(vec![Some(ms * 1_000_000), None])), ms),
        (Arc::new(StringArray::from(vec![Some(text), None])), ms),
        (Arc::new(Int64Array::from(vec![Some(ms), None])), ms),
        (Arc::new(Date32Array::from(vec![Some(1), None])), 86_400_000),
    ];
    for (array, wanted) in arrays {
        let columns = vec![("id", ids(2)), ("created_at", array.clone()), ("expires_at", array)];
        let batches = read(columns, &ReadOptions::default()).unwrap();
        assert_eq!(batches[0].created_at_ms, [wanted, 0]);
        assert_eq!(batches[0].expires_at_ms, [wanted, 0]);
        assert!(batches[0].payload_json.is_empty());
    }
    let bad = vec![("id", ids(1)), ("created_at", Arc::new(StringArray::from(vec!["noon"])) as ArrayRef)];
    assert_eq!(read(bad, &ReadOptions::default()).unwrap()[0].rejects.len(), 1);
}

#[test]
fn payload_of_every_kind() {
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("k\"");
    map.values().append_value(1);
    map.append(true).unwrap();
    let inner: ArrayRef = Arc::new(StringArray::from(vec!["é\n"]));
    let field = Arc::new(Field::new("c", DataType::Utf8, true));
    let text = |v: &str| Arc::new(StringArray::from(vec![v.to_owned()])) as ArrayRef;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", ids(1)),
        ("bool", Arc::new(BooleanArray::from(vec![true]))),
        ("i8", Arc::new(Int8Array::from(vec![-8]))),
        ("u64", Arc::new(UInt64Array::from(vec![u64::MAX]))),
        ("f32", Arc::new(Float32Array::from(vec![0.1]))),
        ("f64", Arc::new(Float64Array::from(vec![f64::NAN]))),
        ("text", text("say \"hi\"")),
        ("none", Arc::new(Int32Array::from(vec![None]))),
        ("bytes", Arc::new(BinaryArray::from_vec(vec![&[0, 255]]))),
        ("day", Arc::new(Date32Array::from(vec![1]))),
        ("time", Arc::new(TimestampMicrosecondArray::from(vec![-1]))),
        ("money", Arc::new(Decimal128Array::from(vec![1234]).with_precision_and_scale(10, 2).unwrap())),
        ("list", lists::<Int32Type>(vec![Some(vec![Some(1), None, Some(3)])])),
        ("struct", Arc::new(StructArray::from(vec![(field, inner)]))),
        ("map", Arc::new(map.finish())),
        ("clock", Arc::new(Time64MicrosecondArray::from(vec![3_600_000_000]))),
        ("payload", text(r#"{"text":"wins","deep":{"a":[null]}}"#)),
    ];
    let batches = read(columns, &ReadOptions::default()).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&batches[0].payload_json[0]).unwrap();
    let wanted = serde_json::json!({
        "bool": true, "i8": -8, "u64": u64::MAX, "f32": 0.1, "f64": null, "text": "wins", "bytes": "AP8=",
        "day": "1970-01-02T00:00:00Z", "time": "1969-12-31T23:59:59.999999Z", "money": 12.34, "list": [1, null, 3],
        "struct": {"c": "é\n"}, "map": {"k\"": 1}, "clock": "01:00:00", "deep": {"a": [null]},
    });
    assert_eq!(json, wanted);
}

#[test]
fn payload_text_comes_back_byte_for_byte() {
    let texts = [Some(r#"{ "a" : 1.50 }"#), None, Some("plain"), Some("{broken"), Some("")];
    let payload: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    let t = temp();
    write(&t.1, vec![("id", ids(5)), ("payload", payload)], 100);
    let batch = ParquetFile::open(&t.1, &ReadOptions::default()).unwrap().next().unwrap().unwrap();
    assert_eq!(batch.payload_json, [r#"{ "a" : 1.50 }"#, "{}", r#"{"payload":"plain"}"#, "{}"]);
    assert_eq!(batch.rejects[0].row, 3);
}

#[test]
fn finding_the_columns() {
    let v = || lists::<Float32Type>(vec![Some(vec![Some(1.0)])]);
    let options = ReadOptions::default();
    let only = read(vec![("id", ids(1)), ("embedding", v())], &options).unwrap();
    assert_eq!(only[0].vectors[0].field, "");
    let error = read(vec![("id", ids(1)), ("a", v()), ("b", v())], &options).unwrap_err().to_string();
    assert!(error.contains("--vector-column") && error.contains("a, b"), "{error}");
    let both = vec![VectorColumn::parse("a"), VectorColumn::parse("b=title")];
    let both = ReadOptions { vector_columns: both, ..Default::default() };
    let batches = read(vec![("id", ids(1)), ("a", v()), ("b", v())], &both).unwrap();
    assert_eq!(batches[0].vectors.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), ["", "title"]);
    let named =
        read(vec![("id", ids(1)), ("vector", v()), ("vector.t", v()), ("other", v())], &options).unwrap();
    assert_eq!(named[0].vectors.len(), 2);
    assert_eq!(named[0].payload_json[0], r#"{"other":[1.0]}"#);
    let error = read(vec![("key", ids(1))], &options).unwrap_err().to_string();
    assert!(error.contains("--id-column") && error.contains("key"), "{error}");
    let missing = ReadOptions { region_column: "land".into(), ..Default::default() };
    assert!(read(vec![("id", ids(1))], &missing).unwrap_err().to_string().contains("land"));
}

#[test]
fn starting_in_the_middle() {
    let t = temp();
    write(&t.1, vec![("id", ids(10))], 4);
    for start in 0..12u64 {
        let options = ReadOptions { start_row: start, ..Default::default() };
        let mut next = start.min(10);
        for batch in ParquetFile::open(&t.1, &options).unwrap() {
            let batch = batch.unwrap();
            assert_eq!(batch.first_row, next);
            assert_eq!(batch.ids, Ids::Num((next..next + batch.span).collect()));
            next += batch.span;
        }
        assert_eq!(next, 10);
    }
}

fn sample() -> Vec<u8> {
    let t = temp();
    let vectors = (0..200).map(|i| Some((0..8).map(|j| Some((i * j) as f32)).collect())).collect();
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..200).map(|i| format!("text {i}"))));
    write(&t.1, vec![("id", ids(200)), ("vector", lists::<Float32Type>(vectors)), ("t", texts)], 64);
    std::fs::read(&t.1).unwrap()
}

fn read_bytes(bytes: &[u8]) -> Result<Vec<RowBatch>> {
    let t = temp();
    std::fs::write(&t.1, bytes).unwrap();
    ParquetFile::open(&t.1, &ReadOptions::default())?.collect()
}

#[test]
fn cut_files_are_clear_errors() {
    let whole = sample();
    assert_eq!(read_bytes(&whole).unwrap().iter().map(RowBatch::len).sum::<usize>(), 200);
    for cut in [0, 3, 11, 12, 500, whole.len() / 2, whole.len() - 1] {
        let error = read_bytes(&whole[..cut]).unwrap_err().to_string();
        assert!(error.contains("truncated") || error.contains("PAR1"), "{cut}: {error}");
    }
    // A hole in the middle: the footer is whole, the pages are not where it says.
    let hole = [&whole[..100], &whole[whole.len() - 1500..]].concat();
    assert!(read_bytes(&hole).is_err());
    assert!(read_bytes(b"PK\x03\x04 not parquet PAR1").is_err());
}

#[test]
fn hostile_footers_take_no_memory() {
    let footer = |thrift: &[u8]| {
        let mut file = b"PAR1".to_vec();
        file.extend(thrift);
        file.extend((thrift.len() as u32).to_le_bytes());
        file.extend(b"PAR1");
        file
    };
    // version 1, then a schema list of 2^31 elements; then row groups likewise.
    for (bytes, word) in [
        (footer(&[0x15, 2, 0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 7, 0]), "schema"),
        (footer(&[0x15, 2, 0x39, 0xfc, 0xff, 0xff, 0xff, 0xff, 7, 0]), "row groups"),
        (footer(&[0x59, 0xfc, 0xff, 0xff, 0xff, 0xff, 7, 0]), "declares more"),
        ([&b"PAR1"[..], &[0; 8], &(1u32 << 30).to_le_bytes(), b"PAR1"].concat(), "footer is"),
        ([&b"PAR1"[..], &1000u32.to_le_bytes(), b"PAR1"].concat(), "truncated"),
        (footer(&[]), "footer"),
    ] {
        let error = read_bytes(&bytes).unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
}

/// Every flip is an error or gives rows, none ends the process or hangs.
#[test]
fn flipped_bytes_never_end_the_process() {
    let whole = sample();
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut refused = 0;
    for _ in 0..1500 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let mut bytes = whole.clone();
        let at = (state as usize >> 8) % bytes.len();
        bytes[at] ^= 1 << (state & 7);
        refused += usize::from(read_bytes(&bytes).is_err());
    }
    std::panic::set_hook(quiet);
    assert!(refused > 100, "{refused}");
}

#[test]
fn lists_that_explode_are_refused() {
    let t = temp();
    // One row of 64 Mi equal values is a few hundred bytes on disk.
    let values = Float32Array::from(vec![0.0f32; 8 << 20]);
    let offsets = arrow::buffer::OffsetBuffer::from_lengths([8usize << 20]);
    let field = Arc::new(Field::new("item", DataType::Float32, true));
    let bomb: ArrayRef = Arc::new(ListArray::new(field, offsets, Arc::new(values), None));
    write(&t.1, vec![("id", ids(1)), ("vector", bomb)], 10);
    assert!(std::fs::metadata(&t.1).unwrap().len() < 100_000);
    let error = ParquetFile::open(&t.1, &ReadOptions::default()).err().unwrap().to_string();
    assert!(error.contains("declares"), "{error}");
}

/// A megabyte of the embedded set is really what it says.
#[test]
fn the_embedded_set() {
    let batches = read_bytes(crate::WORDNET_5K).unwrap();
    assert_eq!(batches.iter().map(RowBatch::len).sum::<usize>(), 5000);
    assert!(batches[0].payload_json[0].starts_with(br#"{"lemma":"canescent","pos":"adj","gloss":"#));
    assert_eq!((batches[0].regions[0].as_str(), batches[0].vectors[0].dimension), ("eu", 384));
    assert!(batches[0].created_at_ms[0] > 1_600_000_000_000);
}
