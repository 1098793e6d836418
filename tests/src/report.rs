//! Tables of the long tests.

/// Prints rows below their heads, each column as wide as its widest cell.
pub fn table(heads: &[&str], rows: &[Vec<String>]) {
    let width = |i: usize| {
        rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).chain([heads[i].len()]).max()
    };
    let widths: Vec<usize> = (0..heads.len()).map(|i| width(i).unwrap_or(0)).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, &w)| format!("{cell:>w$}"));
        println!("  {}", padded.collect::<Vec<_>>().join("  "));
    };
    line(&mut heads.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}

/// The value at `share` (0 to 1) of sorted figures; 0 for none.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    sorted[((last as f64) * share).round() as usize]
}
