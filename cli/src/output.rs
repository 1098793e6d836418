//! Answers as tables for people and as JSON for programs.

use std::io::Write;

use anyhow::Result;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{ContentArrangement, Table};
use engram_proto::v1;
use serde_json::{Map, Value, json};

use crate::point_id;

/// Longest payload text in a table cell.
const CELL: usize = 160;

/// A table with these columns, fitted to the terminal.
pub fn table<const N: usize>(columns: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(columns);
    table
}

/// Prints a line to the standard output; a reader that went away ends the command.
pub fn line(text: impl std::fmt::Display) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Prints JSON over several lines.
pub fn json(value: &Value) -> Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

/// Milliseconds since 1970 as RFC 3339.
pub fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |t| t.to_string())
}

/// Bytes in the largest fitting unit.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A number with its thousands apart.
pub fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Cuts a text to a number of characters.
pub fn cut(text: &str, most: usize) -> String {
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(most).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}

/// Components of a dense vector in either form.
pub fn components(vector: &v1::Vector) -> Vec<f32> {
    floats(&vector.f32le, &vector.values)
}

/// Components of a multi vector, one list a vector.
pub fn vectors(multi: &v1::MultiVector) -> Vec<Vec<f32>> {
    let dimension = (multi.dimension as usize).max(1);
    floats(&multi.f32le, &multi.values).chunks(dimension).map(<[f32]>::to_vec).collect()
}

fn floats(f32le: &[u8], values: &[f32]) -> Vec<f32> {
    if f32le.is_empty() {
        return values.to_vec();
    }
    f32le.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
}

/// The value of a vector field as JSON: a list, a list of lists, or an object with indices and values.
fn vector(vector: &v1::Vector) -> Value {
    match (&vector.sparse, &vector.multi) {
        (Some(sparse), _) => json!({"indices": sparse.indices, "values": sparse.values}),
        (None, Some(multi)) => json!(vectors(multi)),
        (None, None) => json!(components(vector)),
    }
}

/// Payload of a point as JSON; text that is none becomes a string.
pub fn payload(point: &v1::Point) -> Value {
    if point.payload_json.is_empty() {
        return json!({});
    }
    serde_json::from_slice(&point.payload_json)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&point.payload_json).into_owned()))
}

/// A point as a JSON object.
pub fn point(point: &v1::Point) -> Value {
    let mut out = Map::new();
    let id = match point.id.as_ref().and_then(|id| id.kind.as_ref()) {
        Some(v1::point_id::Kind::Num(n)) => json!(n),
        _ => json!(point_id::text(point.id.as_ref())),
    };
    out.insert("id".into(), id);
    if !point.payload_json.is_empty() {
        out.insert("payload".into(), payload(point));
    }
    let vectors: Map<String, Value> =
        point.vectors.iter().map(|(name, value)| (name.clone(), vector(value))).collect();
    if !vectors.is_empty() {
        out.insert("vectors".into(), Value::Object(vectors));
    }
    out.insert("region".into(), json!(point.region));
    out.insert("created_at".into(), json!(point.created_at_ms.map(time)));
    if let Some(expires) = point.expires_at_ms {
        out.insert("expires_at".into(), json!(time(expires)));
    }
    out.insert("version".into(), json!(point.version));
    Value::Object(out)
}

/// Id, payload, region and creation time of a point as cells of a table.
pub fn cells(point: &v1::Point) -> [String; 4] {
    let payload = if point.payload_json.is_empty() { String::new() } else { payload(point).to_string() };
    let created = point.created_at_ms.map(time).unwrap_or_default();
    [point_id::text(point.id.as_ref()), cut(&payload, CELL), point.region.clone(), created]
}

/// Name of a metric.
pub fn metric(metric: i32) -> &'static str {
    match v1::Metric::try_from(metric) {
        Ok(v1::Metric::Cosine) => "cosine",
        Ok(v1::Metric::Dot) => "dot",
        Ok(v1::Metric::Euclid) => "euclid",
        Ok(v1::Metric::Manhattan) => "manhattan",
        _ => "?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            (number(0), number(999), number(1_234_567)),
            ("0".into(), "999".into(), "1,234,567".into())
        );
        assert_eq!((bytes(1023), bytes(1536)), ("1023 B".into(), "1.5 KiB".into()));
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(cut("größer", 3), "grö…");
    }

    #[test]
    fn a_point_is_json() {
        let vector = v1::Vector { f32le: 1.5f32.to_le_bytes().to_vec().into(), ..Default::default() };
        let sample = v1::Point {
            id: Some(v1::PointId { kind: Some(v1::point_id::Kind::Num(u64::MAX)) }),
            vectors: [(String::new(), vector)].into(),
            payload_json: r#"{"b":1,"a":"x"}"#.into(),
            region: "eu".into(),
            created_at_ms: Some(0),
            ..Default::default()
        };
        let wanted = r#"{"id":18446744073709551615,"payload":{"b":1,"a":"x"},"vectors":{"":[1.5]},"region":"eu","created_at":"1970-01-01T00:00:00Z","version":0}"#;
        assert_eq!(point(&sample).to_string(), wanted);
        assert_eq!(cells(&sample)[1], r#"{"b":1,"a":"x"}"#);
    }
}
