//! Host names and globs.

use super::limits;
use super::text::quote;

/// Whether a text is a host name, with or without a port, or a glob of one: at most one `*`, at either end.
pub fn glob(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("the host name is empty".into());
    }
    if text.len() > limits::HOSTNAME_AND_PORT {
        return Err(format!("host name {} is longer than {} bytes", quote(text), limits::HOSTNAME_AND_PORT));
    }
    let stars = text.matches('*').count();
    if stars > 1 {
        return Err(format!("host name {} has {stars} wildcards, at most one is possible", quote(text)));
    }
    if stars == 1 && !text.starts_with('*') && !text.ends_with('*') {
        return Err(format!("host name {} has a wildcard in the middle; it can be at either end", quote(text)));
    }
    let ok = |character: char| character.is_ascii_alphanumeric() || "-_.:[]*".contains(character);
    match text.chars().find(|character| !ok(*character)) {
        Some(character) => {
            Err(format!("host name {} has the character {}", quote(text), quote(&character.to_string())))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn globs_have_one_star_at_an_end() {
        for good in
            ["*", "a.example", "*.a.example", "a.*", "*-dev.example", "a.example:8080", "[::1]:80", "A_b.example"]
        {
            assert_eq!(glob(good), Ok(()), "{good}");
        }
        for bad in ["", "*.*", "a.*.b", "a b", "a/b", "ä.example", "a\n", &"a".repeat(300)] {
            assert!(glob(bad).is_err(), "{bad}");
        }
    }
}
