//! Which column of a Parquet file is what.

use arrow::datatypes::{DataType, Field, Schema};

use super::super::{ReadOptions, VectorColumn};

/// Positions of the columns in the schema.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Columns {
    pub(super) id: usize,
    /// Position and field.
    pub(super) vectors: Vec<(usize, String)>,
    pub(super) region: Option<usize>,
    pub(super) created_at: Option<usize>,
    pub(super) expires_at: Option<usize>,
    /// A text column whose JSON objects are the payload itself.
    pub(super) payload_text: Option<usize>,
    /// Columns that become keys of the payload.
    pub(super) payload: Vec<usize>,
}

impl Columns {
    /// Finds the columns that `options` name, and gives the rest to the payload.
    ///
    /// # Errors
    /// A sentence that says which column is missing or of a wrong type, and what there is.
    pub(super) fn find(schema: &Schema, options: &ReadOptions) -> Result<Self, String> {
        let position = |name: &str| schema.fields().iter().position(|f| f.name() == name);
        let names = || schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ");
        let standard = ReadOptions::default();
        // A column under its usual name may be missing, one that the user named may not.
        let optional = |name: &str, usual: &str| match position(name) {
            None if name != usual => {
                Err(format!("there is no column {name:?}; its columns are: {}", names()))
            }
            found => Ok(found),
        };
        let id = position(&options.id_column).ok_or_else(|| {
            let what = &options.id_column;
            format!("there is no id column {what:?}; name it with --id-column; its columns are: {}", names())
        })?;
        if !is_id(schema.field(id).data_type()) {
            let kind = schema.field(id).data_type();
            return Err(format!(
                "column {:?} is {kind}: ids are integers, UUIDs or text of either",
                options.id_column
            ));
        }
        let region = optional(&options.region_column, &standard.region_column)?;
        if let Some(region) = region
            && !is_text(schema.field(region).data_type())
        {
            return Err(format!("column {:?} holds no text: regions are names", options.region_column));
        }
        let mut columns = Self {
            id,
            vectors: vectors(schema, &options.vector_columns, &names)?,
            region,
            created_at: optional(&options.created_at_column, &standard.created_at_column)?,
            expires_at: optional(&options.expires_at_column, &standard.expires_at_column)?,
            ..Self::default()
        };
        for at in [columns.created_at, columns.expires_at].into_iter().flatten() {
            if !is_time(schema.field(at).data_type()) {
                let (name, kind) = (schema.field(at).name(), schema.field(at).data_type());
                return Err(format!(
                    "column {name:?} is {kind}: times are timestamps, RFC 3339 text or milliseconds"
                ));
            }
        }
        columns.payload_text = ["payload", "payload_json"]
            .into_iter()
            .filter_map(position)
            .find(|&at| is_text(schema.field(at).data_type()) && !columns.taken(at));
        columns.payload = (0..schema.fields().len()).filter(|&at| !columns.taken(at)).collect();
        Ok(columns)
    }

    fn taken(&self, at: usize) -> bool {
        let single = [Some(self.id), self.region, self.created_at, self.expires_at, self.payload_text];
        single.contains(&Some(at)) || self.vectors.iter().any(|&(v, _)| v == at)
    }
}

fn vectors(
    schema: &Schema,
    wanted: &[VectorColumn],
    names: &dyn Fn() -> String,
) -> Result<Vec<(usize, String)>, String> {
    if !wanted.is_empty() {
        return wanted
            .iter()
            .map(|v| {
                let at = schema.fields().iter().position(|f| f.name() == &v.column);
                let at = at.ok_or_else(|| {
                    format!("there is no column {:?}; its columns are: {}", v.column, names())
                })?;
                if is_vector(schema.field(at)) {
                    return Ok((at, v.field.clone()));
                }
                let kind = schema.field(at).data_type();
                Err(format!("column {:?} is {kind}: vectors are lists of f16, f32 or f64", v.column))
            })
            .collect();
    }
    let candidates: Vec<usize> =
        (0..schema.fields().len()).filter(|&at| is_vector(schema.field(at))).collect();
    let named: Vec<(usize, String)> = candidates
        .iter()
        .filter_map(|&at| match schema.field(at).name().as_str() {
            "vector" => Some((at, String::new())),
            name => name.strip_prefix("vector.").map(|field| (at, field.to_owned())),
        })
        .collect();
    match candidates.as_slice() {
        _ if !named.is_empty() => Ok(named),
        [] => Ok(Vec::new()),
        [only] => Ok(vec![(*only, String::new())]),
        several => {
            let several: Vec<_> = several.iter().map(|&at| schema.field(at).name().as_str()).collect();
            Err(format!(
                "several columns could be the vector ({}); say which with --vector-column NAME or NAME=FIELD",
                several.join(", ")
            ))
        }
    }
}

fn is_vector(field: &Field) -> bool {
    let float =
        |f: &Field| matches!(f.data_type(), DataType::Float16 | DataType::Float32 | DataType::Float64);
    match field.data_type() {
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) => float(f),
        _ => false,
    }
}

fn is_id(kind: &DataType) -> bool {
    kind.is_integer() || is_text(kind) || matches!(kind, DataType::FixedSizeBinary(16))
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_time(kind: &DataType) -> bool {
    let dates =
        matches!(kind, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Null);
    dates || kind.is_integer() || is_text(kind)
}
