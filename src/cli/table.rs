//! Columns for people.

/// Rows in columns as wide as their widest cell, two spaces apart, each line behind `indent`. Cells after the last that is
/// not empty take no room.
pub(super) fn table<const N: usize>(indent: &str, rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = format!("{indent}{}", cells.collect::<Vec<_>>().join("  "));
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns() {
        let row = |a: &str, b: &str, c: &str| [a.to_owned(), b.to_owned(), c.to_owned()];
        let rows = [row("PoP", "state", "targets"), row("frankfurt", "up", ""), row("é", "", "x")];
        let wanted = "\u{20}PoP        state  targets\n\u{20}frankfurt  up\n\u{20}é                 x\n";
        assert_eq!(table(" ", &rows), wanted);
    }
}
