//! The generated definitions: that the manifests are up to date, and that an API server would take them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test states what it expects")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use crd_gen::{Options, Storage, Versions, Webhook};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

fn all(storage: Storage) -> Options {
    Options { versions: Versions::All { storage, webhook: Webhook::default() }, ..Options::default() }
}

/// The directories below `manifests`, and every other way to make definitions.
fn variants() -> [(Option<&'static str>, Options); 3] {
    [(Some("crds"), Options::default()), (Some("crds-all-versions"), all(Storage::V3Alpha1)), (None, all(Storage::V2))]
}

fn documents(options: &Options) -> Vec<Value> {
    /// Made once for all tests; a debug build takes its time.
    static MADE: LazyLock<Vec<(Options, Vec<Value>)>> =
        LazyLock::new(|| variants().into_iter().map(|(_, options)| (options.clone(), make(&options))).collect());
    let made = MADE.iter().find(|(known, _)| known == options);
    made.map_or_else(|| make(options), |(_, documents)| documents.clone())
}

fn make(options: &Options) -> Vec<Value> {
    let files = crd_gen::files(options).unwrap();
    files.iter().map(|file| serde_saphyr::from_str(&file.text).unwrap()).collect()
}

#[test]
fn checked_in_manifests_are_up_to_date() {
    for (directory, options) in variants() {
        let Some(directory) = directory else { continue };
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests").join(directory);
        let mut files = crd_gen::files(&options).unwrap();
        files.push(crd_gen::kustomization(&files));
        for file in &files {
            let text = fs::read_to_string(dir.join(&file.name)).unwrap_or_default();
            assert!(text == file.text, "manifests/{directory}/{} is stale: run `make crds`", file.name);
        }
        let wanted: BTreeSet<_> = files.into_iter().map(|file| file.name).collect();
        let found: BTreeSet<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(found, wanted, "files in manifests/{directory}: run `make crds`");
    }
}

#[test]
fn there_is_one_definition_for_each_kind() {
    for (_, options) in variants() {
        let kind = |document: &Value| document["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        let kinds: BTreeSet<_> = documents(&options).iter().map(kind).collect();
        assert_eq!(kinds, api::KINDS.into_iter().map(str::to_owned).collect());
    }
}

#[test]
fn definitions_have_what_the_api_server_and_users_rely_on() {
    for document in variants().iter().flat_map(|(_, options)| documents(options)) {
        // Typed decoding refuses what is no definition at all.
        let definition: CustomResourceDefinition = serde_json::from_value(document.clone()).unwrap();
        let (names, spec) = (&definition.spec.names, &definition.spec);
        assert_eq!(definition.metadata.name, Some(format!("{}.getambassador.io", names.plural)));
        let labels = definition.metadata.labels.unwrap();
        assert_eq!(labels.get("app.kubernetes.io/part-of").map(String::as_str), Some("emissary-apiext"));
        assert_eq!(names.categories, Some(vec!["ambassador-crds".to_owned()]));
        assert_eq!(names.short_names, None);
        assert_eq!(names.singular, Some(names.kind.to_lowercase()));
        assert_eq!(names.list_kind, Some(format!("{}List", names.kind)));
        assert_eq!((spec.group.as_str(), spec.scope.as_str()), ("getambassador.io", "Namespaced"));
        assert_eq!(spec.preserve_unknown_fields, Some(false));
        for version in &spec.versions {
            assert!(version.served);
            assert!(version.subresources.as_ref().unwrap().status.is_some(), "{}: status subresource", names.kind);
            let columns = version.additional_printer_columns.as_ref().unwrap();
            let last = columns.last().unwrap();
            assert_eq!(last.name, "Ready");
            assert_eq!(last.json_path, r#".status.conditions[?(@.type=="Ready")].status"#);
        }
        // What `kubectl apply` writes into an annotation is the object as JSON, of which there may be 262144 bytes.
        assert!(document.to_string().len() < crd_gen::MAX_BYTES, "{}", names.kind);
    }
}

/// Kind by kind: the versions with the stored one marked, and whether a webhook converts.
fn versions(options: &Options) -> BTreeMap<String, (Vec<String>, bool)> {
    let of = |document: &Value| {
        let versions = document["spec"]["versions"].as_array().unwrap().iter().map(|version| {
            let mark = if version["storage"] == true { "*" } else { "" };
            format!("{}{mark}", version["name"].as_str().unwrap())
        });
        (versions.collect(), !document["spec"]["conversion"].is_null())
    };
    let kind = |document: &Value| document["spec"]["names"]["kind"].as_str().unwrap().to_owned();
    documents(options).iter().map(|document| (kind(document), of(document))).collect()
}

#[test]
fn versions_are_those_of_upstream_and_one_is_stored() {
    for (storage, mapping, host) in [
        (Storage::V3Alpha1, ["v1", "v2", "v3alpha1*"], ["v2", "v3alpha1*"]),
        (Storage::V2, ["v1", "v2*", "v3alpha1"], ["v2*", "v3alpha1"]),
    ] {
        let found = versions(&all(storage));
        for (kind, versions) in &found {
            match kind.as_str() {
                "Listener" => assert_eq!(versions, &(vec!["v3alpha1*".to_owned()], false)),
                "Host" => assert_eq!(versions, &(host.map(str::to_owned).into(), true)),
                _ => assert_eq!(versions, &(mapping.map(str::to_owned).into(), true), "{kind}"),
            }
        }
    }
    for (kind, versions) in versions(&Options::default()) {
        assert_eq!(versions, (vec!["v3alpha1*".to_owned()], false), "{kind}");
    }
}

#[test]
fn the_webhook_is_where_it_is_said_to_be() {
    let webhook = Webhook { name: "w".to_owned(), namespace: "n".to_owned(), port: 8443 };
    let versions = Versions::All { storage: Storage::V2, webhook };
    let options = Options { versions, part_of: "emissary-ingress".to_owned() };
    for document in documents(&options).iter().filter(|document| document["spec"]["names"]["kind"] != "Listener") {
        assert_eq!(document["metadata"]["labels"]["app.kubernetes.io/part-of"], "emissary-ingress");
        let service = json!({"name": "w", "namespace": "n", "path": "/webhooks/crd-convert", "port": 8443});
        let webhook = json!({"clientConfig": {"service": service}, "conversionReviewVersions": ["v1"]});
        assert_eq!(document["spec"]["conversion"], json!({"strategy": "Webhook", "webhook": webhook}));
    }
}

/// Everything the API server demands of a structural schema that a derive could get wrong, and a description on all.
#[test]
fn schemas_are_structural_and_described() {
    const ALLOWED: [&str; 21] = [
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
        "nullable",
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
        let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
        let typed = fields.get("type").map_or(open, Value::is_string);
        if !typed {
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
    for document in variants().iter().flat_map(|(_, options)| documents(options)) {
        let kind = document["spec"]["names"]["kind"].as_str().unwrap();
        for version in document["spec"]["versions"].as_array().unwrap() {
            let root = &version["schema"]["openAPIV3Schema"];
            assert_eq!(root.get("required"), None, "{kind}: Emissary-ingress requires no spec");
            for part in ["spec", "status"] {
                let at = format!("{kind}.{}.{part}", version["name"].as_str().unwrap());
                walk(&at, &root["properties"][part], &mut problems);
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}
