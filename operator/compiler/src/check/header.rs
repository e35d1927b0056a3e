//! Names of headers.

use super::limits;
use super::text::quote;

/// Whether the name can be that of a header: a token of RFC 9110, 5.6.2.
pub fn name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("the name of a header is empty".into());
    }
    if name.len() > limits::HEADER_NAME {
        return Err(format!("header name {} is longer than {} bytes", quote(name), limits::HEADER_NAME));
    }
    if !name.bytes().all(is_token) {
        return Err(format!("header name {} has a character that no header name can have", quote(name)));
    }
    Ok(())
}

/// Whether a header of this name may be added or removed: Envoy refuses that for `host` and for pseudo headers.
pub fn editable(header: &str) -> Result<(), String> {
    if header.starts_with(':') || header.eq_ignore_ascii_case("host") {
        return Err(format!(
            "header {} can be neither added nor removed; use host_rewrite for the host",
            quote(header)
        ));
    }
    name(header)
}

/// Whether the name can be matched: a header name, or that of a pseudo header.
pub fn matchable(header: &str) -> Result<(), String> {
    name(header.strip_prefix(':').unwrap_or(header))
}

/// Characters of a token.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens() {
        for good in ["x", "X-Forwarded-For", "x_y", "a!#$%&'*+-.^_`|~b"] {
            assert_eq!(editable(good), Ok(()), "{good}");
            assert_eq!(matchable(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a\n", "a:b", "é", "a(b", "a@b", "a/b", "a,b", "a=b", "a\0"] {
            assert!(editable(bad).is_err(), "{bad:?}");
            assert!(matchable(bad).is_err(), "{bad:?}");
        }
        assert!(name(&"x".repeat(limits::HEADER_NAME + 1)).is_err());
    }

    #[test]
    fn host_and_pseudo_headers_can_be_matched_only() {
        for header in ["host", "Host", ":authority", ":path", ":status", ":x"] {
            assert!(editable(header).is_err(), "{header}");
            assert_eq!(matchable(header), Ok(()), "{header}");
        }
        assert!(matchable(":").is_err());
    }
}
