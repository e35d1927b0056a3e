//! The gateway's own histograms, as its metrics page has them.

use anyhow::{Context, Result};

/// Observations up to each bound in seconds, and the sum of all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram {
    buckets: Vec<(f64, u64)>,
    sum: f64,
}

impl Histogram {
    /// Reads the one of that name (without `_bucket` and the like) out of a metrics page.
    pub(super) fn read(page: &str, name: &str) -> Result<Self> {
        let mut found = Self::default();
        for line in page.lines().filter_map(|line| line.strip_prefix(name)) {
            let Some((what, value)) = line.rsplit_once(' ') else { continue };
            if what == "_sum" {
                found.sum = value.parse()?;
            } else if let Some(bound) = what.strip_prefix("_bucket{le=\"").and_then(|rest| rest.strip_suffix("\"}")) {
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse()? };
                found.buckets.push((bound, value.parse()?));
            }
        }
        found.buckets.last().with_context(|| format!("there is no histogram {name}"))?;
        Ok(found)
    }

    /// What was observed since an earlier reading: the mean, and the bound that 99 % are within, as a cell of a table.
    pub(super) fn since(&self, before: &Self) -> String {
        let earlier = |at: usize| before.buckets.get(at).map_or(0, |(_, count)| *count);
        let counts: Vec<(f64, u64)> =
            self.buckets.iter().enumerate().map(|(at, (bound, count))| (*bound, count - earlier(at))).collect();
        let all = counts.last().map_or(0, |(_, count)| *count);
        let within = counts.iter().find(|(_, count)| count * 100 >= all * 99).map_or(f64::NAN, |(bound, _)| *bound);
        format!("{:.1} (within {}) ms", (self.sum - before.sum) / all as f64 * 1e3, within * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_between_two_readings_is_told() {
        let page = |fast: u64, slow: u64, sum: f64| {
            let all = fast + slow;
            format!(
                "# TYPE x histogram\nx_sum {sum}\nx_count {all}\nx_bucket{{le=\"0.002\"}} {fast}\nx_bucket{{le=\"0.005\"}} {all}\n\
                 x_bucket{{le=\"+Inf\"}} {all}\nx_other_sum 7\n"
            )
        };
        let before = Histogram::read(&page(10, 10, 1.0), "x").unwrap();
        let mostly_fast = Histogram::read(&page(109, 11, 1.1), "x").unwrap();
        assert_eq!(mostly_fast.since(&before), "1.0 (within 2) ms");
        assert_eq!(Histogram::read(&page(108, 12, 1.1), "x").unwrap().since(&before), "1.0 (within 5) ms");
        assert!(Histogram::read(&page(1, 1, 1.0), "y").is_err());
    }
}
