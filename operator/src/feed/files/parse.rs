//! From the text of a manifest file to the JSON form of its objects.

use super::json;
use ir::ProblemKind;
use serde_json::Value;

/// One document of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Document<'a> {
    /// Line of its first character, counted from 1.
    pub line: usize,
    /// Its text without the marker.
    pub text: &'a str,
}

/// Why a document gives no objects.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ParseProblem {
    /// Line within the file.
    pub line: usize,
    pub kind: ProblemKind,
    pub detail: String,
}

/// Cuts YAML text at its `---` lines, which may stand nowhere else in a stream. Documents without content are left out.
pub(crate) fn documents(text: &str) -> Vec<Document<'_>> {
    let mut out = Vec::new();
    let (mut start, mut first_line, mut offset) = (0, 1, 0);
    let mut push = |from: usize, to: usize, line: usize| {
        let text = text.get(from..to).unwrap_or_default();
        if text.lines().any(|line| !matches!(line.trim_start().chars().next(), None | Some('#' | '%'))) {
            out.push(Document { line, text });
        }
    };
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let marker =
            line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']));
        let end = line.strip_prefix("...").filter(|rest| rest.trim().is_empty());
        if marker.is_some() || end.is_some() {
            push(start, offset, first_line);
            start = offset + 3;
            first_line = index + 1;
        }
        offset += line.len();
    }
    push(start, text.len(), first_line);
    out
}

/// The objects of one document: itself, or the items of a list.
pub(crate) fn values(document: Document<'_>, json: bool) -> Result<Vec<Value>, ParseProblem> {
    let value = if json { from_json(document)? } else { from_yaml(document)? };
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
    let is_object = !kind.is_empty() && value.get("apiVersion").is_some_and(Value::is_string);
    if !is_object {
        let detail = "this is not a Kubernetes object: `apiVersion` and `kind` are missing".to_string();
        return Err(ParseProblem { line: document.line, kind: ProblemKind::Malformed, detail });
    }
    match value {
        Value::Object(mut map)
            if map.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List")) =>
        {
            match map.remove("items") {
                Some(Value::Array(items)) => Ok(items),
                _ => Ok(Vec::new()),
            }
        }
        value => Ok(vec![value]),
    }
}

fn from_json(document: Document<'_>) -> Result<Value, ParseProblem> {
    json::parse(document.text).map_err(|error| ParseProblem {
        line: document.line + error.line().saturating_sub(1),
        kind: ProblemKind::Malformed,
        detail: format!("cannot be read as JSON: {}", bounded(&error.to_string())),
    })
}

fn from_yaml(document: Document<'_>) -> Result<Value, ParseProblem> {
    // JSON is YAML, many tools write it, and to read it as JSON saves 7 % of all that an endpoint's change costs. What this
    // does not take may be YAML all the same.
    if document.text.trim_start().starts_with('{')
        && let Ok(value) = json::parse(document.text)
    {
        return Ok(value);
    }
    // One document of a trusted file may be long (a list of ten thousand objects), but neither deep nor a bomb: the
    // limits on nesting and on aliases stay.
    let budget = serde_saphyr::budget! {
        max_reader_input_bytes: None,
        max_events: usize::MAX,
        max_nodes: usize::MAX,
        max_total_scalar_bytes: usize::MAX,
    };
    let options = serde_saphyr::options! { budget: budget };
    serde_saphyr::from_str_with_options(document.text, options).map_err(|error| {
        let line = error.location().map_or(1, |location| usize::try_from(location.line()).unwrap_or(1));
        let text = error.without_snippet().to_string();
        ParseProblem {
            line: document.line + line.saturating_sub(1),
            kind: ProblemKind::Malformed,
            detail: format!("this is not YAML: {}", bounded(&text)),
        }
    })
}

/// The first line of a message, cut to a readable length.
fn bounded(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(usize, String)> {
        documents(text).into_iter().map(|document| (document.line, document.text.trim().to_string())).collect()
    }

    fn yaml(text: &str) -> Result<Vec<Value>, ParseProblem> {
        values(Document { line: 1, text }, false)
    }

    #[test]
    fn documents_know_their_lines() {
        let text = "# heading\n---\na: 1\n--- # second\nb: |\n  x\n ---\n---\n# nothing\n...\n---\nc: 3";
        let found = lines(text);
        assert_eq!(found[0], (2, "a: 1".into()));
        assert_eq!(found[1], (4, "# second\nb: |\n  x\n ---".into()));
        assert_eq!(found[2], (11, "c: 3".into()));
        assert_eq!(found.len(), 3);
        assert_eq!(lines("a: 1\n"), [(1, "a: 1".into())]);
        assert!(lines("").is_empty() && lines("---\n---\n").is_empty());
    }

    #[test]
    fn lists_are_their_items() {
        let found =
            yaml("apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: A}\n- {apiVersion: v1, kind: B}\n");
        assert_eq!(found.unwrap().len(), 2);
        assert_eq!(yaml("apiVersion: v1\nkind: List\n").unwrap().len(), 0);
    }

    #[test]
    fn what_does_not_parse_is_named_by_line() {
        let problem = values(Document { line: 10, text: "apiVersion: v1\nkind: [\n" }, false).unwrap_err();
        assert!(problem.line >= 11, "{problem:?}");
        let problem = values(Document { line: 10, text: "\n{\"a\": }" }, true).unwrap_err();
        assert_eq!(problem.line, 11);
        assert!(yaml("just text").unwrap_err().detail.contains("not a Kubernetes object"));
        assert!(yaml("kind: A").unwrap_err().detail.contains("not a Kubernetes object"));
    }

    #[test]
    fn json_says_in_yaml_what_it_says_elsewhere() {
        let text = r#"{"apiVersion": "v1", "kind": "A", "null": null, "yes": true, "no": "no", "on": "on", "small": -7, "big": 18446744073709551615,
            "half": 0.5, "power": 1.5e3, "text": "a\"\\\/\n\tb \u00e4 # : {", "<<": {"a": 1}, "&a": "*a", "list": [[], {}, "", "~", "2001-01-01"]}"#;
        let read = yaml(text).unwrap();
        assert_eq!(read, values(Document { line: 1, text }, true).unwrap());
        assert_eq!(read[0], serde_json::from_str::<Value>(text).unwrap());
        // With a comment it is YAML only.
        assert_eq!(yaml(&format!("# of a tool\n{text}\n# end\n")).unwrap(), read);
        assert_eq!(yaml("{apiVersion: v1, kind: A, port: 80}").unwrap()[0]["port"], 80);
    }

    #[test]
    fn a_field_that_is_there_twice_is_refused() {
        let text = r#"{"apiVersion": "v1", "kind": "A", "spec": [{"prefix": "/a/", "prefix": "/b/"}]}"#;
        assert!(yaml(text).unwrap_err().detail.contains("prefix"));
        let problem = values(Document { line: 1, text }, true).unwrap_err();
        assert!(problem.detail.contains("field `prefix` is there twice"), "{problem:?}");
    }

    #[test]
    fn nesting_and_aliases_are_bounded() {
        let deep = format!("apiVersion: v1\nkind: A\nx: {}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(yaml(&deep).is_err());
        let mut bomb = "apiVersion: v1\nkind: A\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_string();
        for level in 1..12 {
            let previous = level - 1;
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{previous}"); 10].join(",")));
        }
        assert!(yaml(&bomb).is_err());
    }

    #[test]
    fn a_long_list_is_read() {
        let mut text = "apiVersion: v1\nkind: List\nitems:\n".to_string();
        for index in 0..3_000 {
            text.push_str(&format!(
                "- apiVersion: v1\n  kind: Service\n  metadata: {{name: s{index}}}\n  spec: {{ports: [{{port: 80}}]}}\n"
            ));
        }
        assert_eq!(yaml(&text).unwrap().len(), 3_000);
    }
}
