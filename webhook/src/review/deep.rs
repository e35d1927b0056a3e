//! JSON that is nested deeper than a recursive parser can take.
//!
//! An API server admits nesting of some thousand levels where a schema leaves a field open (`Module.spec.config`), and one
//! such object must not blind a cluster for all objects of its kind. What lies that deep means nothing to a conversion,
//! so it is cut out before parsing and put back after writing.

use serde_json::Value;

/// Levels that stay. The parser takes 127.
const LEVELS: usize = 100;

/// The pieces that were cut out.
pub struct Cut<'a> {
    mark: String,
    pieces: Vec<&'a str>,
}

/// Parses valid JSON of any depth. Each value that begins deeper than [`LEVELS`] is replaced by a string that stands for it.
/// None if the text is not JSON that can be held, such as half of a surrogate pair.
pub fn cut(text: &str) -> Option<(Value, Cut<'_>)> {
    let mut mark = "nuncio:cut:".to_owned();
    while text.contains(&mark) {
        mark.push(':');
    }
    let mut kept = String::new();
    let mut pieces = Vec::new();
    // Where the text that is not yet in `kept` begins, and where the present piece does.
    let (mut from, mut piece) = (0, None);
    let (mut level, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                level += 1;
                if level == LEVELS {
                    piece = Some(at);
                    kept.push_str(text.get(from..at).unwrap_or_default());
                }
            }
            b']' | b'}' => {
                if let (LEVELS, Some(start)) = (level, piece.take_if(|_| level == LEVELS)) {
                    kept.push_str(&format!("\"{mark}{}\"", pieces.len()));
                    pieces.push(text.get(start..=at).unwrap_or_default());
                    from = at + 1;
                }
                level = level.saturating_sub(1);
            }
            _ => {}
        }
    }
    kept.push_str(text.get(from..).unwrap_or_default());
    Some((serde_json::from_str(&kept).ok()?, Cut { mark, pieces }))
}

impl Cut<'_> {
    /// Puts the pieces back into text that was written from the parsed value.
    pub fn restore(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + self.pieces.iter().map(|piece| piece.len()).sum::<usize>());
        let start = format!("\"{}", self.mark);
        let mut parts = text.split(&start);
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (number, rest) = part.split_once('"').unwrap_or((part, ""));
            let piece = number.parse().ok().and_then(|number: usize| self.pieces.get(number));
            out.push_str(piece.copied().unwrap_or("null"));
            out.push_str(rest);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn comes_back(text: &str, pieces: usize) {
        let (value, cut) = cut(text).unwrap();
        assert_eq!(cut.pieces.len(), pieces);
        assert_eq!(cut.restore(&value.to_string()), text);
    }

    fn nested(levels: usize, inside: &str) -> String {
        "[".repeat(levels) + inside + &"]".repeat(levels)
    }

    #[test]
    fn text_of_any_depth_comes_back() {
        comes_back(r#"{"a":[1,{"b":"c"}]}"#, 0);
        comes_back(&nested(LEVELS - 1, "1"), 0);
        comes_back(&nested(LEVELS, "1"), 1);
        comes_back(&nested(9000, "1"), 1);
        comes_back(&nested(LEVELS - 1, "[1],[[2]],3,{\"a\":[]}"), 3);
    }

    #[test]
    fn brackets_in_strings_do_not_count() {
        comes_back(&nested(LEVELS, r#""]]]\"]]\\""#), 1);
        comes_back(&format!(r#"{{"{}":1}}"#, "[".repeat(500)), 0);
    }

    #[test]
    fn text_that_looks_like_a_mark_is_left_alone() {
        comes_back(&format!(r#"["nuncio:cut:0",{}]"#, nested(LEVELS, r#""nuncio:cut::7""#)), 1);
    }
}
