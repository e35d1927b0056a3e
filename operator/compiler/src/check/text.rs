//! Values in messages, and what no value may contain.

/// Characters of a value that a message repeats.
const QUOTED: usize = 80;

/// The value in backquotes, shortened, with control characters escaped.
pub fn quote(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len().min(QUOTED) + 8);
    quoted.push('`');
    for (at, character) in value.chars().enumerate() {
        if at == QUOTED {
            quoted.push('…');
            break;
        }
        if character.is_control() { quoted.extend(character.escape_default()) } else { quoted.push(character) }
    }
    quoted.push('`');
    quoted
}

/// The first control character, if there is one. None is of use in any text that reaches Envoy, and Envoy refuses the
/// configuration for line breaks and NUL in most of them.
pub fn control_character(value: &str) -> Option<char> {
    value.chars().find(|character| character.is_control())
}

/// As [`control_character`], but a tab is allowed, as in header values (RFC 9110, 5.5).
pub fn control_character_but_tab(value: &str) -> Option<char> {
    value.chars().find(|character| character.is_control() && *character != '\t')
}

/// The strings that upstream takes for true where it parses text as a boolean.
pub fn is_true(text: &str) -> bool {
    ["y", "yes", "t", "true", "on", "1"].iter().any(|word| word.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_short_and_printable() {
        assert_eq!(quote("a"), "`a`");
        assert_eq!(quote("a\nb\0"), "`a\\nb\\u{0}`");
        assert_eq!(quote(&"é".repeat(500)).chars().count(), 83);
    }
}
