//! Durations as Go writes them: `5s`, `1m30s`, `1.5h`.

use super::limits;
use super::text::quote;

/// Milliseconds of a duration. Source: Go's `time.ParseDuration`, which upstream's fields go through.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("{} is no duration such as `5s` or `1m30s`", quote(text));
    let mut rest = text;
    let mut total = 0.0_f64;
    if rest.is_empty() || rest.len() > 64 {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let units = [("ms", 1.0), ("us", 1e-3), ("µs", 1e-3), ("ns", 1e-6), ("h", 3.6e6), ("m", 6e4), ("s", 1e3)];
        let (unit, factor) = units.into_iter().find(|(unit, _)| after.starts_with(unit)).ok_or_else(wrong)?;
        total += number * factor;
        rest = after.get(unit.len()..).unwrap_or_default();
    }
    if total > limits::DURATION_MS as f64 {
        return Err(format!("{} is too long", quote(text)));
    }
    Ok(total.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn durations_are_gos() {
        assert_eq!(parse("5s"), Ok(5000));
        assert_eq!(parse("1m30s"), Ok(90_000));
        assert_eq!(parse("1.5h"), Ok(5_400_000));
        assert_eq!(parse("250ms"), Ok(250));
        for bad in ["", "5", "s", "5 s", "-5s", "1d", "9999999999999h"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
