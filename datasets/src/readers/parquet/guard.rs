//! Limits that a Parquet file must keep before the Parquet crate may read it.

use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::Length;

use super::source::Source;
use super::thrift::{Stop, Value, walk_struct};

/// Largest footer: that of a file with 65,536 row groups of a few columns.
const MAX_FOOTER: u64 = 16 << 20;
/// A file of 8 billion rows in groups of 122,880 (what DuckDB writes) has this many.
const MAX_ROW_GROUPS: u64 = 65_536;
/// Leaf columns.
const MAX_COLUMNS: u64 = 256;
/// Nodes of the schema: leaves and the groups above them.
const MAX_SCHEMA_NODES: u64 = 2048;
/// Largest page: DuckDB writes pages of up to 100 MB, everyone else about 1 MiB.
const MAX_PAGE: i64 = 128 << 20;
/// Most values of one page: as many 4-byte floats as a page may have.
const MAX_PAGE_VALUES: i64 = 32 << 20;
/// Values of lists that a column chunk may declare for each compressed byte. Run-length coding lets a few bytes stand
/// for billions of values, and all values of one row are in memory at once; real vectors have 0.2 to 8 a byte.
const MAX_LIST_VALUES_PER_BYTE: i64 = 64;
/// Values of lists that any column chunk may declare.
const FREE_LIST_VALUES: i64 = 4 << 20;
/// Page headers hold statistics of two values, which may be long texts.
const PAGE_HEADER: [usize; 2] = [4 << 10, 4 << 20];

/// Checks the ends of the file and every count in its footer.
///
/// # Errors
/// A sentence about the first thing that does not fit.
pub(super) fn check_footer(source: &Source) -> Result<(), String> {
    let length = source.len();
    let io = |e: std::io::Error| e.to_string();
    let truncated = || "it is truncated, or no Parquet file: its last bytes are not PAR1".to_owned();
    if length < 12 {
        return Err(truncated());
    }
    if source.read_up_to(0, 4).map_err(io)? != b"PAR1" {
        return Err("it is no Parquet file: its first bytes are not PAR1".to_owned());
    }
    let end = source.read_up_to(length - 8, 8).map_err(io)?;
    if &end[4..] == b"PARE" {
        return Err("it is encrypted: decrypt it first".to_owned());
    }
    if &end[4..] != b"PAR1" {
        return Err(truncated());
    }
    let footer = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
    if footer > MAX_FOOTER {
        return Err(format!("its footer is {footer} bytes long, more than {MAX_FOOTER}"));
    }
    if footer + 12 > length {
        return Err(format!(
            "its footer says {footer} bytes, more than the file has: it is truncated or damaged"
        ));
    }
    let bytes = source.read_up_to(length - 8 - footer, footer as usize).map_err(io)?;
    let walked = walk_struct(&bytes, &mut |path, value| match (path, value) {
        ([2], Value::List(n)) if n > MAX_SCHEMA_NODES => {
            Err(format!("its schema has {n} nodes, more than {MAX_SCHEMA_NODES}"))
        }
        ([4], Value::List(n)) if n > MAX_ROW_GROUPS => {
            Err(format!("it has {n} row groups, more than {MAX_ROW_GROUPS}"))
        }
        ([4, 1], Value::List(n)) if n > MAX_COLUMNS => {
            Err(format!("it has {n} columns, more than {MAX_COLUMNS}"))
        }
        // The deepest a real schema goes is bounded by its nodes; a negative count is a lie.
        ([2, 5] | [3] | [4, 3], Value::Int(n)) if n < 0 => Err("its footer has a negative count".to_owned()),
        _ => Ok(()),
    });
    match walked {
        Ok(_) => Ok(()),
        Err(Stop::Incomplete) => Err("its footer is damaged: it declares more than it holds".to_owned()),
        Err(Stop::Bad(why)) => Err(format!("its footer is damaged: {why}")),
    }
}

/// Checks the pages of those columns of a row group that will be read.
///
/// # Errors
/// A sentence about the first thing that does not fit.
pub(super) fn check_row_group(
    source: &Source,
    group: &RowGroupMetaData,
    used: &[bool],
) -> Result<(), String> {
    if group.num_rows() < 0 {
        return Err("a row group has a negative number of rows".to_owned());
    }
    for (column, _) in group.columns().iter().zip(used).filter(|&(_, &used)| used) {
        let name = column.column_descr().path().string();
        check_column(source, column, group.num_rows()).map_err(|why| format!("column {name}: {why}"))?;
    }
    Ok(())
}

fn check_column(source: &Source, column: &ColumnChunkMetaData, rows: i64) -> Result<(), String> {
    let start = match column.dictionary_page_offset() {
        Some(dictionary) if dictionary > 0 => dictionary.min(column.data_page_offset()),
        _ => column.data_page_offset(),
    };
    let (declared, size) = (column.num_values(), column.compressed_size());
    let end = start.checked_add(size).filter(|&end| start >= 4 && size >= 0 && end as u64 <= source.len());
    let Some(end) = end else {
        return Err(format!(
            "its bytes ({size} from {start}) are not in the file: it is truncated or damaged"
        ));
    };
    let flat = column.column_descr().max_rep_level() == 0;
    let most = if flat { rows } else { FREE_LIST_VALUES.saturating_add(size * MAX_LIST_VALUES_PER_BYTE) };
    if declared < 0 || declared > most {
        return Err(format!("it declares {declared} values in {size} bytes and {rows} rows"));
    }
    let (mut at, mut values) = (start, 0i64);
    while values < declared {
        let page = Page::read(source, at as u64)?;
        if page.uncompressed < 0 || page.uncompressed > MAX_PAGE {
            return Err(format!("a page of {} bytes is larger than {MAX_PAGE}", page.uncompressed));
        }
        if page.values < 0 || page.values > MAX_PAGE_VALUES {
            return Err(format!("a page declares {} values, more than {MAX_PAGE_VALUES}", page.values));
        }
        if page.compressed < 0 || page.compressed > end - at {
            return Err("a page reaches past its column: the file is damaged".to_owned());
        }
        at += page.header + page.compressed;
        values += page.values;
        if values > most || (values < declared && at >= end) {
            return Err(format!("its pages hold {values} values, its footer says {declared}"));
        }
    }
    Ok(())
}

#[derive(Default)]
struct Page {
    header: i64,
    uncompressed: i64,
    compressed: i64,
    /// Values with nulls; 0 for a dictionary.
    values: i64,
}

impl Page {
    fn read(source: &Source, at: u64) -> Result<Self, String> {
        for most in PAGE_HEADER {
            let bytes = source.read_up_to(at, most).map_err(|e| e.to_string())?;
            let mut page = Self::default();
            let walked = walk_struct(&bytes, &mut |path, value| {
                match (path, value) {
                    ([2], Value::Int(n)) => page.uncompressed = n,
                    ([3], Value::Int(n)) => page.compressed = n,
                    ([5 | 8, 1], Value::Int(n)) => page.values = n,
                    ([7, 1], Value::Int(n)) if !(0..=MAX_PAGE_VALUES).contains(&n) => {
                        return Err(format!("a dictionary declares {n} values"));
                    }
                    _ => {}
                }
                Ok(())
            });
            match walked {
                Ok(length) => return Ok(Self { header: length as i64, ..page }),
                Err(Stop::Incomplete) => {}
                Err(Stop::Bad(why)) => return Err(format!("a page header is damaged: {why}")),
            }
        }
        Err("a page header is damaged or cut".to_owned())
    }
}
