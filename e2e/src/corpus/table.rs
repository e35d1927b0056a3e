//! The table of a run.

use super::record::{Column, Row};
use std::collections::BTreeMap;
use std::fmt::Write;

/// One line a case, then the totals, then how many cases wait for each feature.
pub fn render(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
    let mut text = String::new();
    // Writing into a string does not fail.
    for row in rows {
        let line = format!("{:width$}  {:20}  {}", row.name, row.column.heading(), row.detail);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let mut features: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.column == Column::NotYet) {
        for feature in row.detail.split(", ") {
            *features.entry(feature).or_default() += 1;
        }
    }
    let mut features: Vec<_> = features.into_iter().collect();
    features.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    let _ = writeln!(text, "\nnot yet, by feature:");
    for (name, count) in features {
        let _ = writeln!(text, "{count:6}  {name}");
    }
    let _ = writeln!(text, "\ntotals:");
    for column in Column::ALL {
        let count = rows.iter().filter(|row| row.column == column).count();
        let _ = writeln!(text, "{count:6}  {}", column.heading());
    }
    let _ = writeln!(text, "{:6}  cases", rows.len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_and_features_are_counted() {
        let row = |name: &str, column, detail: &str| Row { name: name.into(), column, detail: detail.into() };
        let text =
            render(&[row("a", Column::Equal, ""), row("b", Column::NotYet, "F, G"), row("c", Column::NotYet, "G")]);
        assert!(text.starts_with("a  equal\nb  not yet               F, G\n"), "{text}");
        assert!(text.contains("\n     2  G\n     1  F\n"), "{text}");
        assert!(text.ends_with("     0  not applicable\n     0  open\n     3  cases\n"), "{text}");
    }
}
