//! What Envoy makes of a request's path before it looks for a route.

/// The path as routes see it (normalized, without query and fragment), and the query.
///
/// Source: Envoy's `normalize_path` (RFC 3986, section 6: percent-encoded letters that need no encoding, `\` for `/`,
/// dot segments, with parameters or without) and `merge_slashes`.
pub fn split(target: &str, merge_slashes: bool) -> (String, Option<String>) {
    let target = target.split_once('#').map_or(target, |(target, _)| target);
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let mut path = without_dots(path);
    if merge_slashes {
        while path.contains("//") {
            path = path.replace("//", "/");
        }
    }
    (path, query)
}

/// Whether the path has a slash in disguise, which `reject_requests_with_escaped_slashes` refuses.
pub fn has_escaped_slash(target: &str) -> bool {
    let path = target.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    path.contains("%2f") || path.contains("%5c")
}

/// The value of the first parameter of that name, as it is written.
pub fn parameter<'q>(query: Option<&'q str>, name: &str) -> Option<&'q str> {
    query?.split('&').find_map(|pair| {
        let (found, value) = pair.split_once('=').unwrap_or((pair, ""));
        (found == name).then_some(value)
    })
}

fn decoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(character) = rest.chars().next() {
        let code = rest.get(1..3).filter(|_| character == '%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let plain = code.map(char::from).filter(|plain| plain.is_ascii_alphanumeric() || "-._~".contains(*plain));
        out.push(plain.unwrap_or(character));
        let taken = if plain.is_some() { 3 } else { character.len_utf8() };
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

/// The path with its segments decoded, and those of dots gone. Encoded dots count when they are all there is in a
/// segment; with a parameter behind them, only dots as such do.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<String> = Vec::new();
    let mut segments = path.split(['/', '\\']).skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        let plain = decoded(segment);
        let dots = match segment.split_once(';') {
            Some((dots @ ("." | ".."), _)) => dots,
            _ => &plain,
        };
        match dots {
            "." | ".." => {
                if dots == ".." {
                    kept.pop();
                }
                // What a dot segment ends with is a folder.
                if last {
                    kept.push(String::new());
                }
            }
            _ => kept.push(plain),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{parameter, split};

    #[test]
    fn paths_are_normalized() {
        for (target, expected) in [
            ("/a/b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/./b/..", "/a/"),
            ("/../../a", "/a"),
            ("/a/%2e%2E/b", "/b"),
            (r"/a\b", "/a/b"),
            ("/%41%2f", "/A%2f"),
            ("/a//b/", "/a//b/"),
            ("/a/..;x=1/b", "/b"),
            ("/a/.;", "/a/"),
            ("/a/%2e%2e;/b", "/a/..;/b"),
            ("/a/b;..;/c", "/a/b;..;/c"),
            ("/a?x=/../", "/a"),
            ("/a#b", "/a"),
            ("/", "/"),
        ] {
            assert_eq!(split(target, false).0, expected, "{target}");
        }
        assert_eq!(split("/a//b///c", true).0, "/a/b/c");
    }

    #[test]
    fn the_first_value_of_a_parameter_counts() {
        let query = Some("a=1&b&a=2");
        assert_eq!((parameter(query, "a"), parameter(query, "b"), parameter(query, "c")), (Some("1"), Some(""), None));
    }
}
