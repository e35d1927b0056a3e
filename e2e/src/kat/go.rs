//! Go's spellings, as far as they show in what the kat tools write.

use http::HeaderMap;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::{SystemTime, UNIX_EPOCH};

/// A header's name in Go's canonical form: `x-envoy-foo` becomes `X-Envoy-Foo`. A name with other characters than
/// those of a token stays as it is.
pub fn canonical(name: &str) -> String {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.bytes().all(token) {
        return name.to_owned();
    }
    let mut upper = true;
    name.chars()
        .map(|letter| {
            let written = if upper { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
            upper = letter == '-';
            written
        })
        .collect()
}

/// All values of all headers; `name` spells the names.
pub fn headers(map: &HeaderMap, name: fn(&str) -> String) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, value) in map {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        all.entry(name(key.as_str())).or_default().push(value);
    }
    all
}

/// The text of a TLS alert by its number (RFC 8446, 6).
pub fn alert(number: u8) -> String {
    let text = match number {
        0 => "close notify",
        10 => "unexpected message",
        20 => "bad record MAC",
        21 => "decryption failed",
        22 => "record overflow",
        30 => "decompression failure",
        40 => "handshake failure",
        42 => "bad certificate",
        43 => "unsupported certificate",
        44 => "revoked certificate",
        45 => "expired certificate",
        46 => "unknown certificate",
        47 => "illegal parameter",
        48 => "unknown certificate authority",
        49 => "access denied",
        50 => "error decoding message",
        51 => "error decrypting message",
        60 => "export restriction",
        70 => "protocol version not supported",
        71 => "insufficient security level",
        80 => "internal error",
        86 => "inappropriate fallback",
        90 => "user canceled",
        100 => "no renegotiation",
        109 => "missing extension",
        110 => "unsupported extension",
        111 => "certificate unobtainable",
        112 => "unrecognized name",
        113 => "bad certificate status response",
        114 => "bad certificate hash value",
        115 => "unknown PSK identity",
        116 => "certificate required",
        120 => "no application protocol",
        other => return format!("alert({other})"),
    };
    text.to_owned()
}

/// Arguments with the single dash that Go's flags have (`-input x`, `-input=x`), as others are used to see them.
pub fn flags(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    arguments.enumerate().map(|(index, argument)| {
        let name = argument.to_str().and_then(|text| text.strip_prefix('-')).filter(|_| index > 0);
        match name {
            Some(name) if name.len() > 1 && !name.starts_with('-') => format!("--{name}").into(),
            _ => argument,
        }
    })
}

/// A point in time, in UTC, split into what formats need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    seconds: i64,
    nanoseconds: u32,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: i64::try_from(since.as_secs()).unwrap_or_default(), nanoseconds: since.subsec_nanos() }
    }

    /// That many seconds after the beginning of 1970.
    pub fn of_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }

    /// `2026-01-02T03:04:05.000000006Z`, without trailing zeros of the fraction.
    pub fn rfc3339(self) -> String {
        let (year, month, day) = self.date();
        let (hour, minute, second) = self.time();
        let fraction = format!(".{:09}", self.nanoseconds);
        let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
    }

    /// `Fri, 02 Jan 2026 03:04:05 UTC`.
    pub fn rfc1123(self) -> String {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let (year, month, day) = self.date();
        let (hour, minute, second) = self.time();
        let weekday = usize::try_from(self.seconds.div_euclid(86_400).rem_euclid(7)).unwrap_or_default();
        let weekday = DAYS.get(weekday).unwrap_or(&"");
        let month = usize::try_from(month - 1).ok().and_then(|month| MONTHS.get(month)).unwrap_or(&"");
        format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} UTC")
    }

    /// Year, month and day of the proleptic Gregorian calendar: 400 years have 146,097 days, and a year that begins in
    /// March has its leap day at the end.
    fn date(self) -> (i64, i64, i64) {
        let days = self.seconds.div_euclid(86_400) + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let march = (5 * of_year + 2) / 153;
        let month = if march < 10 { march + 3 } else { march - 9 };
        (era * 400 + year + i64::from(month <= 2), month, of_year - (153 * march + 2) / 5 + 1)
    }

    fn time(self) -> (i64, i64, i64) {
        let second = self.seconds.rem_euclid(86_400);
        (second / 3_600, second / 60 % 60, second % 60)
    }
}

/// Decodes percent escapes; `plus` also makes a space of each `+`, as in a query. `None` when an escape is broken.
pub fn unescape(text: &str, plus: bool) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let value = digit(bytes.next())? * 16 + digit(bytes.next())?;
                u8::try_from(value).ok()?
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&decoded).into_owned())
}

/// A path with everything escaped that may not stand in a request line.
pub fn escape_path(path: &str) -> String {
    escape(path, b"-_.~!$&'()*+,;=:@/[]%")
}

/// A query with everything escaped that may not stand in a request line.
pub fn escape_query(query: &str) -> String {
    escape(query, b"-_.~!$&'()*+,;=:@/[]%?{}|^`\\")
}

fn escape(text: &str, kept: &[u8]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// The parameters of a query; broken pairs and those with a semicolon are left out.
pub fn query(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(key), Some(value)) = (unescape(key, true), unescape(value, true)) {
            all.entry(key).or_default().push(value);
        }
    }
    all
}

/// The path that Go's request multiplexer serves for this one: no empty, `.` or `..` segments.
pub fn clean_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    let mut clean = format!("/{}", segments.join("/"));
    if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    clean
}

/// The media type that Go's server gives an answer without one: enough of its table for what the kat tools answer.
pub fn sniff(body: &[u8]) -> &'static str {
    let begins = body.trim_ascii_start();
    if begins.starts_with(b"<?xml") {
        "text/xml; charset=utf-8"
    } else if begins.iter().take(512).any(|byte| *byte < 0x20 && !b"\t\n\x0c\r\x1b".contains(byte)) {
        "application/octet-stream"
    } else {
        "text/plain; charset=utf-8"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_canonical() {
        for (name, expected) in [("x-ENVOY-foo", "X-Envoy-Foo"), ("t_under", "T_under"), ("a b", "a b"), ("-x", "-X")] {
            assert_eq!(canonical(name), expected);
        }
    }

    #[test]
    fn times_are_written_as_go_does() {
        let check = |seconds, nanoseconds, rfc3339: &str, rfc1123: &str| {
            let moment = Moment { seconds, nanoseconds };
            assert_eq!((moment.rfc3339().as_str(), moment.rfc1123().as_str()), (rfc3339, rfc1123));
        };
        check(0, 0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 UTC");
        check(1_709_164_800, 120_000_000, "2024-02-29T00:00:00.12Z", "Thu, 29 Feb 2024 00:00:00 UTC");
        check(1_735_689_599, 1, "2024-12-31T23:59:59.000000001Z", "Tue, 31 Dec 2024 23:59:59 UTC");
        check(-1, 0, "1969-12-31T23:59:59Z", "Wed, 31 Dec 1969 23:59:59 UTC");
    }

    #[test]
    fn paths_are_cleaned() {
        for (path, clean) in
            [("", "/"), ("//", "/"), ("/a//b/", "/a/b/"), ("/a/../b", "/b"), ("/..", "/"), ("/a/.", "/a")]
        {
            assert_eq!(clean_path(path), clean);
        }
    }

    #[test]
    fn escapes_are_read_and_written() {
        assert_eq!(unescape("a%2Fb+c", false).as_deref(), Some("a/b+c"));
        assert_eq!(unescape("a%2Fb+c", true).as_deref(), Some("a/b c"));
        assert_eq!(unescape("%2", false), None);
        assert_eq!(escape_path("/a b/{x}"), "/a%20b/%7Bx%7D");
        assert_eq!(
            query("a=1&a=%20&b&c=%zz").into_iter().collect::<Vec<_>>(),
            [("a".to_owned(), vec!["1".to_owned(), " ".to_owned()]), ("b".to_owned(), vec![String::new()])]
        );
    }
}
