//! The generated definitions: that `manifests/crds` is up to date, and that an API server would take them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test states what it expects")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

fn documents() -> Vec<Value> {
    let files = crd_gen::files().unwrap();
    files.iter().map(|file| serde_saphyr::from_str(&file.text).unwrap()).collect()
}

#[test]
fn checked_in_manifests_are_up_to_date() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/crds");
    let files = crd_gen::files().unwrap();
    for file in &files {
        let text = fs::read_to_string(dir.join(&file.name)).unwrap_or_default();
        assert!(text == file.text, "manifests/crds/{} is stale: run `make crds`", file.name);
    }
    let wanted: BTreeSet<_> = files.into_iter().map(|file| file.name).collect();
    let found: BTreeSet<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, wanted, "files in manifests/crds: run `make crds`");
}

#[test]
fn there_is_one_definition_for_each_kind() {
    let kinds: BTreeSet<_> =
        documents().iter().map(|document| document["spec"]["names"]["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, api::KINDS.into_iter().map(str::to_owned).collect());
}

#[test]
fn definitions_have_what_the_api_server_and_users_rely_on() {
    for document in documents() {
        // Typed decoding refuses what is no definition at all.
        let definition: CustomResourceDefinition = serde_json::from_value(document.clone()).unwrap();
        let (names, spec) = (&definition.spec.names, &definition.spec);
        assert_eq!(definition.metadata.name, Some(format!("{}.getambassador.io", names.plural)));
        assert_eq!(names.categories, Some(vec!["ambassador-crds".to_owned()]));
        assert_eq!(names.short_names, None);
        assert_eq!(names.singular, Some(names.kind.to_lowercase()));
        assert_eq!(names.list_kind, Some(format!("{}List", names.kind)));
        assert_eq!((spec.group.as_str(), spec.scope.as_str()), ("getambassador.io", "Namespaced"));
        assert_eq!(spec.preserve_unknown_fields, Some(false));
        let [version] = spec.versions.as_slice() else { panic!("{}: one version", names.kind) };
        assert_eq!((version.name.as_str(), version.served, version.storage), ("v3alpha1", true, true));
        assert!(version.subresources.as_ref().unwrap().status.is_some(), "{}: status subresource", names.kind);
        let columns = version.additional_printer_columns.as_ref().unwrap();
        let last = columns.last().unwrap();
        assert_eq!(last.name, "Ready");
        assert_eq!(last.json_path, r#".status.conditions[?(@.type=="Ready")].status"#);
    }
}

/// Everything the API server demands of a structural schema that a derive could get wrong, and a description on all.
#[test]
fn schemas_are_structural_and_described() {
    const ALLOWED: [&str; 20] = [
        "additionalProperties",
        "default",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maxProperties",
        "maximum",
        "minItems",
        "minProperties",
        "minimum",
        "pattern",
        "properties",
        "required",
        "type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
        "x-kubernetes-preserve-unknown-fields",
    ];
    fn walk(at: &str, schema: &Value, problems: &mut Vec<String>) {
        let fields = schema.as_object().unwrap();
        let mut problem = |text: &str| problems.push(format!("{at}: {text}"));
        for name in fields.keys().filter(|name| !ALLOWED.contains(&name.as_str())) {
            problem(&format!("keyword {name}"));
        }
        if !fields.get("type").is_some_and(Value::is_string) {
            problem("no single type");
        }
        if fields.contains_key("properties") && fields.contains_key("additionalProperties") {
            problem("properties and additionalProperties exclude each other");
        }
        let properties = fields.get("properties").and_then(Value::as_object);
        for name in fields.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !properties.is_some_and(|properties| properties.contains_key(name.as_str().unwrap())) {
                problem(&format!("{name} is required and not defined"));
            }
        }
        for (name, property) in properties.into_iter().flatten() {
            let text = property["description"].as_str().unwrap_or_default();
            if text.is_empty() || text.contains('\n') || !text.ends_with('.') {
                problems.push(format!("{at}: description of {name}: {text:?}"));
            }
            walk(&format!("{at}.{name}"), property, problems);
        }
        for below in ["items", "additionalProperties"] {
            if let Some(below) = fields.get(below) {
                walk(&format!("{at}[]"), below, problems);
            }
        }
    }
    let mut problems = Vec::new();
    for document in documents() {
        let kind = document["spec"]["names"]["kind"].as_str().unwrap();
        let root = &document["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert_eq!(root.get("required"), None, "{kind}: Emissary-ingress requires no spec");
        for part in ["spec", "status"] {
            walk(&format!("{kind}.{part}"), &root["properties"][part], &mut problems);
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}
