//! Globs over host names.

/// The shape of a host glob. Upstream allows one `*` at either end, also inside a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobShape {
    /// `*`
    Any,
    /// No `*` at either end.
    Exact,
    /// `*.example.com`, `*-dev.example.com`
    Suffix,
    /// `example.*`
    Prefix,
    /// A `*` at both ends; meets only an identical glob.
    Both,
}

/// The shape of a glob, by its first and last character.
pub fn glob_shape(glob: &str) -> GlobShape {
    match (glob.starts_with('*'), glob.ends_with('*')) {
        _ if glob == "*" => GlobShape::Any,
        (false, false) => GlobShape::Exact,
        (true, false) => GlobShape::Suffix,
        (false, true) => GlobShape::Prefix,
        (true, true) => GlobShape::Both,
    }
}

/// Whether some host name could match both globs. Symmetric; compares case-sensitively, as upstream does
/// (its `hostglob_matches`, with the vectors of the reference, appendix A.4).
pub fn globs_meet(left: &str, right: &str) -> bool {
    if left == right || left == "*" || right == "*" {
        return true;
    }
    if left.starts_with('.') || right.starts_with('.') {
        return false;
    }
    use GlobShape::{Any, Both, Exact, Prefix, Suffix};
    match (glob_shape(left), glob_shape(right)) {
        (Any, _) | (_, Any) => true,
        (Both, _) | (_, Both) | (Exact, Exact) => false,
        (Suffix, Prefix) | (Prefix, Suffix) => true,
        (Exact, Suffix) => ends(left, tail(right)),
        (Suffix, Exact) => ends(right, tail(left)),
        (Exact, Prefix) => starts(left, head(right)),
        (Prefix, Exact) => starts(right, head(left)),
        (Suffix, Suffix) => tail(left).ends_with(tail(right)) || tail(right).ends_with(tail(left)),
        (Prefix, Prefix) => head(left).starts_with(head(right)) || head(right).starts_with(head(left)),
    }
}

/// The text after a leading `*`.
pub fn tail(glob: &str) -> &str {
    glob.strip_prefix('*').unwrap_or(glob)
}

/// The text before a trailing `*`.
pub fn head(glob: &str) -> &str {
    glob.strip_suffix('*').unwrap_or(glob)
}

/// The `*` has to cover at least one character.
fn ends(name: &str, suffix: &str) -> bool {
    name.len() > suffix.len() && name.ends_with(suffix)
}

fn starts(name: &str, prefix: &str) -> bool {
    name.len() > prefix.len() && name.starts_with(prefix)
}

#[cfg(test)]
mod tests {
    use super::globs_meet;

    #[test]
    fn globs_meet_as_upstream_says() {
        let meet = [
            ("*", "x"),
            ("a.com", "a.com"),
            ("*.a.com", "x.a.com"),
            ("*a.com", "xa.com"),
            ("*.a.com", "*.b.a.com"),
            ("*.a.com", "*a.com"),
            ("foo.*", "foo.com"),
            ("foo.*", "foo.bar.*"),
            ("*.com", "foo.*"),
            ("*.a.*", "*.a.*"),
            ("*", "a.com:8080"),
        ];
        let apart = [
            ("a.com", "b.com"),
            ("*.a.com", "a.com"),
            ("*a.com", "a.com"),
            ("a.com:8080", "a.com"),
            ("*.a.com", "*.b.com"),
            ("foo.*", "foo."),
            ("*.a.*", "x.a.y"),
            (".a.com", "x.a.com"),
            ("*.A.com", "x.a.com"),
        ];
        for (left, right) in meet {
            assert!(globs_meet(left, right) && globs_meet(right, left), "{left} meets {right}");
        }
        for (left, right) in apart {
            assert!(!globs_meet(left, right) && !globs_meet(right, left), "{left} does not meet {right}");
        }
    }
}
