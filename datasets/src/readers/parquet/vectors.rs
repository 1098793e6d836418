//! Vector columns: lists of f16, f32 or f64 become f32.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use half::slice::HalfFloatSliceExt;

use super::super::MAX_DIMENSION;
use super::scalars::Bad;
use crate::VectorBlock;

/// Where the values of each row are.
struct Lists<'a> {
    values: &'a ArrayRef,
    /// One more than rows.
    offsets: Vec<usize>,
}

impl<'a> Lists<'a> {
    fn of(array: &'a ArrayRef) -> Result<Self, String> {
        let widen = |offset: i64| usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(match array.data_type() {
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                let offsets = list.value_offsets().iter().map(|&o| widen(i64::from(o))).collect();
                Self { values: list.values(), offsets }
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                Self {
                    values: list.values(),
                    offsets: list.value_offsets().iter().map(|&o| widen(o)).collect(),
                }
            }
            DataType::FixedSizeList(_, length) => {
                let list = array.as_fixed_size_list();
                let length = usize::try_from(*length).unwrap_or(0);
                Self { values: list.values(), offsets: (0..=list.len()).map(|row| row * length).collect() }
            }
            other => return Err(format!("{other} is no list")),
        })
    }

    fn length(&self, row: usize) -> usize {
        self.offsets[row + 1] - self.offsets[row]
    }
}

/// Length of the first vector of a column.
pub(super) fn first_dimension(array: &ArrayRef) -> Result<Option<usize>, String> {
    let lists = Lists::of(array)?;
    let mut lengths = (0..array.len()).filter(|&row| array.is_valid(row)).map(|row| lists.length(row));
    Ok(lengths.find(|&length| length > 0))
}

/// All rows of a column. Null and empty lists are rows without a vector; a list of another length than the file's
/// first, or with a null in it, is a bad row.
pub(super) fn decode(
    array: &ArrayRef,
    field: &str,
    dimension: &mut Option<usize>,
    bad: &mut Bad,
) -> Result<VectorBlock, String> {
    let lists = Lists::of(array)?;
    if dimension.is_none() {
        *dimension = first_dimension(array)?;
    }
    let wanted = dimension.unwrap_or(0);
    if wanted > MAX_DIMENSION {
        return Err(format!("its vectors have {wanted} components: at most {MAX_DIMENSION} are possible"));
    }
    let rows = array.len();
    let values = lists.values;
    let whole = array.null_count() == 0 && values.null_count() == 0 && wanted > 0;
    if whole && (0..rows).all(|row| lists.length(row) == wanted) {
        let mut components = Vec::with_capacity(rows * wanted);
        append(&mut components, values, lists.offsets[0], rows * wanted)?;
        return Ok(VectorBlock { field: field.to_owned(), dimension: wanted, components, present: None });
    }
    let mut components = Vec::new();
    let mut present = Vec::with_capacity(rows);
    for row in 0..rows {
        let (start, length) = (lists.offsets[row], lists.length(row));
        present.push(array.is_valid(row) && length > 0);
        if !present[row] {
            continue;
        }
        let nulls = values.null_count() > 0 && (start..start + length).any(|i| values.is_null(i));
        if length == wanted && !nulls {
            append(&mut components, values, start, length)?;
            continue;
        }
        bad.push((
            row,
            if nulls {
                format!("vector {field:?} has a null component")
            } else {
                format!("vector {field:?} has {length} components, the file's first has {wanted}")
            },
        ));
        components.resize(components.len() + wanted, 0.0);
    }
    let all = present.iter().all(|&p| p);
    let present = (!all).then_some(present);
    Ok(VectorBlock { field: field.to_owned(), dimension: wanted, components, present })
}

fn append(out: &mut Vec<f32>, values: &ArrayRef, start: usize, length: usize) -> Result<(), String> {
    match values.data_type() {
        DataType::Float32 => {
            let values = values.as_primitive::<Float32Type>().values();
            out.extend_from_slice(&values[start..start + length]);
        }
        DataType::Float16 => {
            let values = values.as_primitive::<Float16Type>().values();
            let at = out.len();
            out.resize(at + length, 0.0);
            values[start..start + length].convert_to_f32_slice(&mut out[at..]);
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>().values();
            out.extend(values[start..start + length].iter().map(|&v| v as f32));
        }
        other => return Err(format!("vectors of {other} cannot be read")),
    }
    Ok(())
}
