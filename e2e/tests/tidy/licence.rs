//! SPDX licence expressions, as far as crates use them.

/// True when the expression can be satisfied with licences of the list.
///
/// `/` between two licences is the old spelling of `OR`.
pub fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &tokens[..];
    let result = either(&mut rest, allowed);
    assert!(rest.is_empty(), "not an SPDX expression: {expression}");
    result
}

fn either(rest: &mut &[&str], allowed: &[&str]) -> bool {
    let mut result = both(rest, allowed);
    while take(rest, "OR") {
        result |= both(rest, allowed);
    }
    result
}

fn both(rest: &mut &[&str], allowed: &[&str]) -> bool {
    let mut result = one(rest, allowed);
    while take(rest, "AND") {
        result &= one(rest, allowed);
    }
    result
}

fn one(rest: &mut &[&str], allowed: &[&str]) -> bool {
    if take(rest, "(") {
        let result = either(rest, allowed);
        assert!(take(rest, ")"), "unbalanced parentheses");
        return result;
    }
    let Some((name, tail)) = rest.split_first() else { return false };
    *rest = tail;
    let mut name = (*name).to_owned();
    if take(rest, "WITH") {
        let (exception, tail) = rest.split_first().expect("an exception follows WITH");
        name = format!("{name} WITH {exception}");
        *rest = tail;
    }
    allowed.contains(&&*name)
}

fn take(rest: &mut &[&str], word: &str) -> bool {
    match rest.split_first() {
        Some((first, tail)) if *first == word => {
            *rest = tail;
            true
        }
        _ => false,
    }
}

#[test]
fn expressions_are_understood() {
    let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"];
    for good in
        ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "(GPL-3.0 OR MIT) AND Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
    {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "MIT WITH LLVM-exception", "(GPL-3.0 OR LGPL-3.0) AND MIT", ""] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}
