//! From the text of a manifest file to the same text with its objects in another version.
//!
//! Documents in which nothing is converted stay as they are, byte for byte.

use crate::cli::args::ManifestForm as Form;
use crate::feed::files::parse::{self, Document};
use anyhow::Result;
use convert::{Note, Options, Problem, Version};
use serde_json::Value;
use std::fmt::Write;

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub to: Version,
    /// Mark the ids of what was v3alpha1, as the webhook does.
    pub prefix_ids: bool,
    /// Leave out what only helps to convert back.
    pub for_good: bool,
    /// The form of all output; none leaves it as it is read.
    pub form: Option<Form>,
}

impl Settings {
    fn options(&self) -> Options {
        // In v3alpha1 a prefix could only be a left-over of the webhook's, so it goes in any case.
        Options { prefix_ids: self.prefix_ids || self.to == Version::V3Alpha1, remember_spelling: !self.for_good }
    }
}

/// A converted file.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    /// Its new text.
    pub text: String,
    /// What there is to say, by line.
    pub lines: Vec<(usize, String)>,
    /// Objects that were converted.
    pub converted: usize,
    /// Objects and documents that could not be.
    pub failed: usize,
}

/// Converts all objects in a text. What cannot be converted stays as it is and is counted.
pub(super) fn rewrite(text: &str, form: Form, settings: &Settings) -> Result<Rewritten> {
    let mut out = Rewritten::default();
    if form == Form::Json {
        json(text, settings, &mut out)?;
    } else {
        yaml(text, settings, &mut out)?;
    }
    Ok(out)
}

/// A stream of JSON values, as `kubectl get -o json` gives one.
fn json(text: &str, settings: &Settings, out: &mut Rewritten) -> Result<()> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut end = 0;
    while let Some(value) = stream.next() {
        let read = stream.byte_offset();
        let given = text.get(end..read).unwrap_or_default();
        let line = 1 + text.get(..end).unwrap_or_default().lines().count();
        match value {
            Ok(mut value) => {
                let changed = object(&mut value, line, settings, out);
                if changed || settings.form == Some(Form::Yaml) {
                    let form = settings.form.unwrap_or(Form::Json);
                    if form == Form::Yaml && !out.text.is_empty() {
                        out.text.push_str("---\n");
                    }
                    document(&value, form, out)?;
                } else {
                    out.text.push_str(given);
                }
            }
            Err(error) => {
                let line = error.line();
                out.lines.push((line, format!("this is not JSON: {}", first_line(&error.to_string()))));
                out.failed += 1;
                out.text.push_str(text.get(end..).unwrap_or_default());
                return Ok(());
            }
        }
        end = read;
    }
    if !out.text.ends_with('\n') && !out.text.is_empty() {
        out.text.push('\n');
    }
    Ok(())
}

/// A YAML stream. Comments in front of an object are kept, those inside of a converted one are lost.
fn yaml(text: &str, settings: &Settings, out: &mut Rewritten) -> Result<()> {
    let mut end = 0;
    for piece in parse::documents(text) {
        // A document's text is a part of the file's, so the difference is its place.
        let start = (piece.text.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        let between = text.get(end..start).unwrap_or_default();
        end = start + piece.text.len();
        let parsed = api::yaml::documents(piece.text, 1).map(|mut values| values.pop());
        let value = match parsed {
            Ok(value) => value,
            Err(message) => {
                out.lines.push((piece.line, format!("this is not YAML: {message}")));
                out.failed += 1;
                None
            }
        };
        let Some(mut value) = value else {
            out.text.push_str(between);
            out.text.push_str(piece.text);
            continue;
        };
        let changed = object(&mut value, piece.line, settings, out);
        match settings.form {
            Some(Form::Json) => document(&value, Form::Json, out)?,
            _ if changed => {
                out.text.push_str(between);
                out.text.push_str(&heading(&piece));
                document(&value, Form::Yaml, out)?;
            }
            _ => {
                out.text.push_str(between);
                out.text.push_str(piece.text);
            }
        }
    }
    if settings.form != Some(Form::Json) {
        out.text.push_str(text.get(end..).unwrap_or_default());
    }
    Ok(())
}

/// What stands in front of the first line with content: the rest of a marker's line, comments, empty lines.
fn heading(document: &Document<'_>) -> String {
    let plain = |line: &&str| matches!(line.trim_start().chars().next(), None | Some('#'));
    let mut heading: String = document.text.split_inclusive('\n').take_while(plain).collect();
    // A document that begins on its marker's line.
    let first_line_has_content = heading.is_empty() && document.text.starts_with([' ', '\t']);
    if first_line_has_content {
        heading.push('\n');
    }
    heading
}

fn document(value: &Value, form: Form, out: &mut Rewritten) -> Result<()> {
    match form {
        Form::Json => {
            out.text.push_str(&serde_json::to_string_pretty(value)?);
            out.text.push('\n');
        }
        Form::Yaml => {
            out.text.push_str(&yaml_text(value)?);
        }
    }
    Ok(())
}

/// A value as YAML that every reader, old ones included, takes for the same: what looks like a number or a boolean in any
/// version of YAML and is none is quoted.
fn yaml_text(value: &Value) -> Result<String> {
    let options = serde_saphyr::ser_options! { compact_list_indent: true, folded_wrap_chars: usize::MAX };
    let mut text = serde_saphyr::to_string_with_options(value, options)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Converts an object, or the objects in a list. Says whether anything changed.
fn object(value: &mut Value, line: usize, settings: &Settings, out: &mut Rewritten) -> bool {
    let is_list = value.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
    if is_list && value.get("items").is_some_and(Value::is_array) {
        return list(value, line, settings, out);
    }
    let Some(from) = value.get("apiVersion").and_then(Value::as_str).filter(|given| is_ours(given)).map(str::to_owned)
    else {
        mention_annotation(value, line, out);
        return false;
    };
    let wanted = settings.to.api_version();
    let name = name(value);
    if from == wanted {
        return false;
    }
    match convert::convert_with(value.clone(), settings.to, settings.options()) {
        Ok(mut converted) => {
            if settings.for_good {
                convert::forget_spelling(&mut converted.object);
            }
            let mut text = format!("{name}: {} -> {}", short(&from), short(wanted));
            // Writing into a string does not fail.
            let fields = different(value, &converted.object);
            if !fields.is_empty() {
                let _ = write!(text, ", differing in spec: {}", fields.join(", "));
            }
            out.lines.push((line, text));
            let note = |note: &Note| (line, format!("{name}: note: {note}"));
            out.lines.extend(converted.notes.iter().map(note));
            out.converted += 1;
            *value = converted.object;
            true
        }
        // A kind of another product in our group is none of our business.
        Err(Problem::UnknownKind(_)) => false,
        Err(problem) => {
            out.lines.push((line, format!("{name}: not converted: {problem}")));
            out.failed += 1;
            false
        }
    }
}

fn list(value: &mut Value, line: usize, settings: &Settings, out: &mut Rewritten) -> bool {
    let failed = out.failed;
    let mut changed = false;
    for item in value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        changed |= object(item, line, settings, out);
    }
    // The list of one kind carries the version of its items.
    let label = value.get_mut("apiVersion").filter(|label| label.as_str().is_some_and(is_ours));
    if let Some(label) = label
        && changed
        && out.failed == failed
    {
        *label = Value::String(settings.to.api_version().to_owned());
    }
    changed
}

/// Objects in annotations are text in somebody else's object, which is left alone.
fn mention_annotation(value: &Value, line: usize, out: &mut Rewritten) {
    let annotation = value.pointer("/metadata/annotations/getambassador.io~1config");
    if annotation.is_some() {
        let text = format!("{}: the annotation {} is not converted", name(value), api::annotation::NAME);
        out.lines.push((line, text));
    }
}

fn is_ours(api_version: &str) -> bool {
    api_version.strip_prefix(convert::GROUP).is_some_and(|rest| rest.starts_with('/'))
}

fn short(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or(api_version, |(_, version)| version)
}

fn name(value: &Value) -> String {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let mut name = text("/kind").to_owned();
    name.push(' ');
    if !text("/metadata/namespace").is_empty() {
        name.push_str(text("/metadata/namespace"));
        name.push('/');
    }
    name.push_str(text("/metadata/name"));
    name
}

/// Names of the fields of `spec` that are not in both with the same value.
fn different(old: &Value, new: &Value) -> Vec<String> {
    let spec = |value: &Value| value.get("spec").and_then(Value::as_object).cloned().unwrap_or_default();
    let (old, new) = (spec(old), spec(new));
    let mut names: Vec<&String> =
        old.keys().chain(new.keys()).filter(|name| old.get(*name) != new.get(*name)).collect();
    names.sort();
    names.dedup();
    names.into_iter().cloned().collect()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(to: Version) -> Settings {
        Settings { to, prefix_ids: false, for_good: false, form: None }
    }

    fn of(text: &str, to: Version) -> Rewritten {
        rewrite(text, Form::Yaml, &settings(to)).unwrap()
    }

    const MIXED: &str = "\
# heading
apiVersion: v1
kind: ConfigMap   # kept
metadata: {name: c}
---
# about the mapping
apiVersion: getambassador.io/v2
kind: Mapping
metadata: {name: m, namespace: shop}
spec: {prefix: /a/, host: a.example.com, service: s, tls: true}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping   # kept
metadata: {name: m2}
spec: {prefix: /a/, hostname: '*', service: s}
";

    #[test]
    fn only_what_is_converted_is_written_anew() {
        let out = of(MIXED, Version::V3Alpha1);
        assert_eq!((out.converted, out.failed), (1, 0));
        let (before, rest) = out.text.split_once("---\n").unwrap();
        assert_eq!(before, MIXED.split_once("---\n").unwrap().0);
        let (converted, after) = rest.split_once("---\n").unwrap();
        assert_eq!(after, MIXED.rsplit_once("---\n").unwrap().1);
        assert!(converted.starts_with("# about the mapping\napiVersion: getambassador.io/v3alpha1\n"), "{converted}");
        let value = api::yaml::documents(converted, 1).unwrap().pop().unwrap();
        assert_eq!(value["spec"]["service"], "https://s");
        assert_eq!(
            out.lines,
            [(
                5,
                "Mapping shop/m: v2 -> v3alpha1, differing in spec: host, hostname, service, tls, v2ExplicitTLS".into()
            )]
        );
        // Nothing to do, nothing changed.
        assert_eq!(of(&out.text, Version::V3Alpha1).text, out.text);
    }

    #[test]
    fn old_objects_come_back() {
        let old = "apiVersion: getambassador.io/v2\nkind: Mapping\nmetadata:\n  name: m\nspec:\n  ambassador_id: x\n  \
                   headers:\n    a: false\n  host: a\n  prefix: /\n  service: s\n";
        let new = of(old, Version::V3Alpha1).text;
        assert!(new.contains("v2Spelling") && new.contains("hostname: a\n"), "{new}");
        assert_eq!(of(&new, Version::V2).text, old);
        let settings = Settings { for_good: true, ..settings(Version::V3Alpha1) };
        let lifted = rewrite(old, Form::Yaml, &settings).unwrap().text;
        assert!(!lifted.contains("v2"), "{lifted}");
    }

    #[test]
    fn fields_that_v3alpha1_does_not_have_are_said_and_come_back() {
        let old = "apiVersion: getambassador.io/v2\nkind: ConsulResolver\nmetadata:\n  name: c\nspec:\n  address: a\n  \
                   unknown:\n    x: 1\n";
        let new = of(old, Version::V3Alpha1);
        assert_eq!(of(&new.text, Version::V2).text, old);
        let said: Vec<_> = new.lines.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            said,
            [
                "ConsulResolver c: v2 -> v3alpha1, differing in spec: unknown, v2Spelling",
                "ConsulResolver c: note: spec.unknown: is no field of v3alpha1; kept in v2Spelling",
            ]
        );
    }

    #[test]
    fn ids_lose_their_prefix_and_get_it_on_demand() {
        let object = |version: &str, id: &str| {
            format!(
                "apiVersion: getambassador.io/{version}\nkind: TLSContext\nmetadata:\n  name: t\nspec:\n  ambassador_id:\n  - {id}\n"
            )
        };
        let prefixed = object("v2", "--apiVersion-v3alpha1-only--x");
        assert_eq!(of(&prefixed, Version::V3Alpha1).text, object("v3alpha1", "x"));
        assert_eq!(of(&object("v3alpha1", "x"), Version::V2).text, object("v2", "x"));
        let settings = Settings { prefix_ids: true, ..settings(Version::V2) };
        assert_eq!(rewrite(&object("v3alpha1", "x"), Form::Yaml, &settings).unwrap().text, prefixed);
    }

    #[test]
    fn lists_are_converted_inside() {
        let list = json!({"apiVersion": "getambassador.io/v2", "kind": "HostList", "items": [
            {"apiVersion": "getambassador.io/v2", "kind": "Host", "metadata": {"name": "a"}, "spec": {"selector": {}}},
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}},
        ]});
        let out = rewrite(&list.to_string(), Form::Json, &settings(Version::V3Alpha1)).unwrap();
        let value: Value = serde_json::from_str(&out.text).unwrap();
        assert_eq!(value["apiVersion"], "getambassador.io/v3alpha1");
        assert_eq!(value["items"][0]["spec"], json!({"mappingSelector": {}}));
        assert_eq!(value["items"][1], list["items"][1]);
    }

    #[test]
    fn what_cannot_be_converted_is_said_and_kept() {
        let text = "apiVersion: getambassador.io/v3alpha1\nkind: Listener\nmetadata: {name: l}\n---\n\
                    apiVersion: getambassador.io/v7\nkind: Mapping\nmetadata: {name: m}\n---\n\
                    kind: [\n---\n\
                    apiVersion: getambassador.io/v3alpha1\nkind: Filter\nmetadata: {name: f}\n---\n\
                    apiVersion: v1\nkind: Service\nmetadata: {name: s, annotations: {getambassador.io/config: x}}\n";
        let out = of(text, Version::V2);
        assert_eq!(out.text, text);
        assert_eq!((out.converted, out.failed), (0, 3));
        let said: Vec<_> = out.lines.iter().map(|(line, text)| (*line, text.split(':').next().unwrap())).collect();
        assert_eq!(said, [(1, "Listener l"), (4, "Mapping m"), (8, "this is not YAML"), (14, "Service s")]);
        let out = rewrite("{\"apiVersion\": \"v1\"} x", Form::Json, &settings(Version::V2)).unwrap();
        assert_eq!((out.text.as_str(), out.failed), ("{\"apiVersion\": \"v1\"} x", 1));
    }

    #[test]
    fn forms_can_be_changed() {
        let to_json = Settings { form: Some(Form::Json), ..settings(Version::V3Alpha1) };
        let out = rewrite(MIXED, Form::Yaml, &to_json).unwrap();
        let values: Vec<Value> =
            serde_json::Deserializer::from_str(&out.text).into_iter().collect::<Result<_, _>>().unwrap();
        assert_eq!(values.len(), 3);
        let to_yaml = Settings { form: Some(Form::Yaml), ..settings(Version::V3Alpha1) };
        let again = rewrite(&out.text, Form::Json, &to_yaml).unwrap();
        assert_eq!(api::yaml::documents(&again.text, 10).unwrap(), values, "{}", again.text);
    }

    #[test]
    fn awkward_values_are_read_as_they_were_written() {
        let texts = [
            "",
            " ",
            "yes",
            "no",
            "on",
            "off",
            "y",
            "N",
            "~",
            "null",
            "true",
            "012",
            "0o14",
            "0x1F",
            "1e3",
            "1_000",
            ".5",
            "1:30",
            "2001-01-01",
            "- a",
            "a: b",
            "#",
            "a #b",
            "'",
            "\"",
            "\\",
            "a\nb",
            "a\nb\n",
            "a\n\n",
            "\n",
            " a\n  b",
            "\ta",
            "a\r\nb",
            "%a",
            "@a",
            "`a",
            "*",
            "&a",
            "!a",
            "|",
            ">",
            "{",
            "[a",
            "ü\u{2028}",
            "\u{1}",
            "---",
            "...",
            "<<",
            "=",
        ];
        let long = "word ".repeat(100);
        for text in texts.into_iter().chain([long.as_str()]) {
            let value =
                json!({"apiVersion": "v1", "kind": "X", "spec": {"a": text, "b": [text, {"c": text}], text: 1}});
            let yaml = yaml_text(&value).unwrap();
            assert_eq!(api::yaml::documents(&yaml, 1), Ok(vec![value]), "{yaml}");
        }
    }
}
