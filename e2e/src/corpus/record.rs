//! The checked-in list of names and verdicts. It has no content of the corpus.
//!
//! One case a line: `<name> equal`, `<name> on-purpose <decision>: <words>`, `<name> not-applicable <why>`,
//! `<name> open <why>`, `<name> not-yet`. A line `at-least <number>` says how many have to be equal.

use super::verdict::Judged;
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What is known about a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It was equal, and has to stay so.
    Equal,
    /// It is different on purpose; the decision and what it is about.
    OnPurpose(String),
    /// It says nothing about Nuncio; why.
    NotApplicable(String),
    /// It is different, and should not be; why, as far as it is known.
    Open(String),
    /// It needs a feature that is not built. Which one, the run says.
    NotYet,
}

/// The list.
#[derive(Debug, Default)]
pub struct Record {
    /// What is known, by name.
    pub cases: BTreeMap<String, Known>,
    /// Fewest equal cases.
    pub at_least: usize,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The case.
    pub name: String,
    /// Which column it belongs to.
    pub column: Column,
    /// Decision, feature or reason.
    pub detail: String,
}

/// The columns of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// As recorded.
    Equal,
    /// Different, and a decision says why.
    OnPurpose,
    /// Uses what is not built.
    NotYet,
    /// Says nothing about Nuncio.
    NotApplicable,
    /// Different for another reason.
    Open,
}

impl Column {
    /// All of them, in reading order.
    pub const ALL: [Self; 5] = [Self::Equal, Self::OnPurpose, Self::NotYet, Self::NotApplicable, Self::Open];

    /// Its heading.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::OnPurpose => "different on purpose",
            Self::NotYet => "not yet",
            Self::NotApplicable => "not applicable",
            Self::Open => "open",
        }
    }
}

impl Record {
    /// Reads the list; empty lines and those that begin with `#` say nothing.
    pub fn parse(text: &str) -> Result<Self> {
        let mut record = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (verdict, why) = rest.split_once(' ').unwrap_or((rest, ""));
            let why = why.to_owned();
            let known = match verdict {
                _ if name == "at-least" => {
                    record.at_least = rest.parse()?;
                    continue;
                }
                "equal" => Known::Equal,
                "on-purpose" => Known::OnPurpose(why),
                "not-applicable" => Known::NotApplicable(why),
                "open" => Known::Open(why),
                "not-yet" => Known::NotYet,
                _ => bail!("not a line of the record: {line}"),
            };
            if record.cases.insert(name.to_owned(), known).is_some() {
                bail!("{name} is in the record twice");
            }
        }
        Ok(record)
    }

    /// Puts a judged case into its column. What is known explains a difference, but a case is never equal by record.
    pub fn row(&self, judged: &Judged) -> Row {
        let features: Vec<&str> = judged.missing.iter().map(String::as_str).collect();
        let (column, detail) = match self.cases.get(&judged.name) {
            // Also when it happens to come out equal, or two runs would not agree.
            Some(Known::NotApplicable(why)) => (Column::NotApplicable, why.clone()),
            // Shares that differ on purpose may look alike in one run and not in the next.
            Some(Known::OnPurpose(decision)) if judged.random => (Column::OnPurpose, decision.clone()),
            _ if judged.equal => (Column::Equal, judged.detail.clone()),
            _ if !features.is_empty() => (Column::NotYet, features.join(", ")),
            Some(Known::OnPurpose(decision)) => (Column::OnPurpose, decision.clone()),
            Some(Known::Open(why)) => (Column::Open, why.clone()),
            _ => (Column::Open, judged.detail.clone()),
        };
        Row { name: judged.name.clone(), column, detail }
    }

    /// What became worse: cases that were equal and are not, and too few equal ones. Only cases of this run count.
    pub fn regressions(&self, rows: &[Row], complete: bool) -> Vec<String> {
        let equal = rows.iter().filter(|row| row.column == Column::Equal).count();
        let lost =
            rows.iter().filter(|row| row.column != Column::Equal && self.cases.get(&row.name) == Some(&Known::Equal));
        let mut all: Vec<String> =
            lost.map(|row| format!("{} was equal and is not: {}", row.name, row.detail)).collect();
        if complete && equal < self.at_least {
            all.push(format!("{equal} cases are equal, {} have to be", self.at_least));
        }
        all
    }

    /// The list after a run, below a heading: equal cases are added, nothing that was known is lost.
    pub fn updated(&self, heading: &str, rows: &[Row]) -> String {
        let mut cases = self.cases.clone();
        for row in rows {
            let known = match row.column {
                Column::Equal => Known::Equal,
                Column::NotYet => Known::NotYet,
                _ => continue,
            };
            cases.insert(row.name.clone(), known);
        }
        let equal = cases.values().filter(|known| **known == Known::Equal).count();
        let mut text = heading.to_owned();
        // Writing into a string does not fail.
        let _ = writeln!(text, "at-least {}", equal.max(self.at_least));
        for (name, known) in cases {
            let _ = match known {
                Known::Equal => writeln!(text, "{name} equal"),
                Known::OnPurpose(why) => writeln!(text, "{name} on-purpose {why}"),
                Known::NotApplicable(why) => writeln!(text, "{name} not-applicable {why}"),
                Known::Open(why) => writeln!(text, "{name} open {why}"),
                Known::NotYet => writeln!(text, "{name} not-yet"),
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(name: &str, equal: bool, missing: &[&str]) -> Judged {
        let missing = missing.iter().map(|name| (*name).to_owned()).collect();
        Judged { name: name.to_owned(), equal, random: false, missing, detail: "detail".to_owned() }
    }

    #[test]
    fn a_difference_is_explained_and_never_hidden() {
        let record = Record::parse("# x\nat-least 2\na equal\nb on-purpose 9: why\nc not-applicable chance\n").unwrap();
        let check = |judged: Judged, column: Column, detail: &str| {
            let row = record.row(&judged);
            assert_eq!((row.column, row.detail.as_str()), (column, detail));
        };
        check(judged("a", true, &["F"]), Column::Equal, "detail");
        check(judged("a", false, &[]), Column::Open, "detail");
        check(judged("b", false, &[]), Column::OnPurpose, "9: why");
        check(judged("b", true, &[]), Column::Equal, "detail");
        check(Judged { random: true, ..judged("b", true, &[]) }, Column::OnPurpose, "9: why");
        check(judged("b", false, &["F", "G"]), Column::NotYet, "F, G");
        check(judged("c", false, &["F"]), Column::NotApplicable, "chance");
        check(judged("c", true, &[]), Column::NotApplicable, "chance");
        check(judged("new", false, &[]), Column::Open, "detail");

        let rows = [record.row(&judged("a", false, &["F"])), record.row(&judged("new", true, &[]))];
        assert_eq!(record.regressions(&rows, true), ["a was equal and is not: F", "1 cases are equal, 2 have to be"]);
        assert_eq!(record.regressions(&rows[1..], false), Vec::<String>::new());
        let again = Record::parse(&record.updated("# x\n", &rows[1..])).unwrap();
        assert_eq!((again.at_least, again.cases.len()), (2, 4));
        assert_eq!(again.cases["b"], Known::OnPurpose("9: why".into()));
    }

    #[test]
    fn nonsense_is_no_record() {
        for text in ["a", "a better", "a equal\na equal", "at-least x"] {
            assert!(Record::parse(text).is_err(), "{text}");
        }
    }
}
