//! ConversionReview in, ConversionReview out. Pure: bytes to bytes.
//!
//! The protocol is that of Kubernetes' [webhook conversion][docs]: one review asks for some objects in one version, and is
//! answered as a whole. `v1` and `v1beta1` have the same shape; the answer has the version of the question.
//!
//! A review is never turned into a tree. Its objects stay slices of the body; of each, only `apiVersion`, `kind` and `spec`
//! are parsed, and everything else (`metadata` with its managed fields, above all) is copied as it came. So the memory of
//! a review is its body, its answer, and one `spec`.
//!
//! [docs]: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#webhook-conversion

mod deep;
mod object;

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use convert::Version;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Objects that one review may have. The smallest object that an API server can send has about 100 bytes, so a body
/// reaches its own limit first unless it is made of something else.
const OBJECTS: usize = 1 << 20;

/// Objects that a refusal names. The message ends up in front of whoever runs `kubectl get`.
const NAMED: usize = 5;

/// The answer to a body.
#[derive(Debug)]
pub enum Answer {
    /// A ConversionReview, to be sent with status 200; it may say that the conversion failed.
    Review {
        /// The review, JSON.
        body: Vec<u8>,
        /// How many objects were asked for.
        objects: usize,
        /// Why nothing was converted, if so. For the log; it is in the review, too.
        failure: Option<String>,
    },
    /// The body is no ConversionReview; to be sent with status 400.
    NotAReview(String),
}

#[derive(Deserialize)]
struct Review<'a> {
    #[serde(borrow, rename = "apiVersion")]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow, rename = "desiredAPIVersion")]
    desired: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "bounded")]
    objects: Vec<&'a RawValue>,
}

/// Answers a review.
///
/// The protocol has no answer for a part of the objects: if one of them cannot be converted, the review fails and its
/// message names up to five of them with their reasons. That happens only for objects whose group, version or kind is not one of
/// ours; whatever a `spec` says, it is converted.
pub fn answer(body: &[u8]) -> Answer {
    let review: Review<'_> = match serde_json::from_slice(body) {
        Ok(review) => review,
        Err(error) => return Answer::NotAReview(format!("not a ConversionReview: {error}")),
    };
    let version = match (&*review.kind, &*review.api_version) {
        ("ConversionReview", "apiextensions.k8s.io/v1") => "apiextensions.k8s.io/v1",
        ("ConversionReview", "apiextensions.k8s.io/v1beta1") => "apiextensions.k8s.io/v1beta1",
        _ => return Answer::NotAReview("not a ConversionReview of apiextensions.k8s.io/v1".to_owned()),
    };
    let Some(request) = review.request else {
        return Answer::NotAReview("a ConversionReview without a request".to_owned());
    };
    let objects = request.objects.len();
    let mut out = head(version, &request.uid, body.len());
    match convert_all(&request, &mut out) {
        Ok(()) => {
            out.extend_from_slice(br#"],"result":{"status":"Success"}}}"#);
            Answer::Review { body: out, objects, failure: None }
        }
        Err(message) => {
            let mut out = head(version, &request.uid, message.len());
            out.extend_from_slice(br#"],"result":{"status":"Failure","reason":"Invalid","message":"#);
            push_string(&mut out, &message);
            out.extend_from_slice(b"}}}");
            Answer::Review { body: out, objects, failure: Some(message) }
        }
    }
}

fn head(version: &str, uid: &str, size: usize) -> Vec<u8> {
    // Most objects grow or shrink by a few bytes; a sixteenth more avoids doubling a large answer at its end.
    let mut out = Vec::with_capacity(size + size / 16 + 256);
    out.extend_from_slice(br#"{"apiVersion":""#);
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(br#"","kind":"ConversionReview","response":{"uid":"#);
    push_string(&mut out, uid);
    out.extend_from_slice(br#","convertedObjects":["#);
    out
}

fn convert_all(request: &Request<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let Some(to) = Version::of_api_version(&request.desired) else {
        return Err(format!("cannot convert to {:?}: not a version of {}", short(&request.desired), convert::GROUP));
    };
    let mut failed: Vec<String> = Vec::new();
    let mut failures = 0_usize;
    for (index, object) in request.objects.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if let Err(problem) = object::convert(object, to, out) {
            failures += 1;
            if failed.len() < NAMED {
                failed.push(format!("{}: {problem}", object::name(object, index)));
            }
        }
    }
    if failures == 0 {
        return Ok(());
    }
    let mut message =
        format!("{failures} of {} objects cannot be converted to {}: ", request.objects.len(), to.api_version());
    message.push_str(&failed.join("; "));
    if failures > failed.len() {
        // Writing into a string does not fail.
        let _ = write!(message, "; and {} more", failures - failed.len());
    }
    Err(message)
}

/// Writes a JSON string.
fn push_string(out: &mut Vec<u8>, text: &str) {
    // A string always serialises, and writing into memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Reads the list of objects, no more than [`OBJECTS`]; `null` is no objects.
fn bounded<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Vec<&'a RawValue>, D::Error> {
    struct Objects;
    impl<'de> Visitor<'de> for Objects {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of objects")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut objects = Vec::new();
            while let Some(object) = list.next_element()? {
                if objects.len() == OBJECTS {
                    return Err(A::Error::custom(format!("more than {OBJECTS} objects")));
                }
                objects.push(object);
            }
            Ok(objects)
        }
    }
    from.deserialize_any(Objects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn review(desired: &str, objects: &Value) -> Vec<u8> {
        serde_json::to_vec(&json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "request": {"uid": "u-1", "desiredAPIVersion": desired, "objects": objects},
        }))
        .unwrap()
    }

    fn answered(body: &[u8]) -> Value {
        match answer(body) {
            Answer::Review { body, .. } => serde_json::from_slice(&body).unwrap(),
            Answer::NotAReview(why) => panic!("{why}"),
        }
    }

    fn mapping(version: &str, name: &str, spec: Value) -> Value {
        json!({
            "apiVersion": format!("getambassador.io/{version}"), "kind": "Mapping",
            "metadata": {"name": name, "namespace": "shop", "uid": "x", "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]},
            "spec": spec, "status": {"state": "Running"},
        })
    }

    #[test]
    fn objects_come_back_in_order_with_what_is_not_their_spec_untouched() {
        let objects = json!([
            mapping("v2", "a", json!({"prefix": "/a", "service": "a", "ambassador_id": "x"})),
            mapping("v3alpha1", "b", json!({"prefix": "/b", "service": "b", "hostname": "*"})),
        ]);
        let answer = answered(&review("getambassador.io/v3alpha1", &objects));
        assert_eq!(answer["apiVersion"], "apiextensions.k8s.io/v1");
        assert_eq!(answer["response"]["uid"], "u-1");
        assert_eq!(answer["response"]["result"], json!({"status": "Success"}));
        let converted = answer["response"]["convertedObjects"].as_array().unwrap();
        assert_eq!(converted.len(), 2);
        for (before, after) in objects.as_array().unwrap().iter().zip(converted) {
            assert_eq!(after["apiVersion"], "getambassador.io/v3alpha1");
            assert_eq!(after["kind"], "Mapping");
            assert_eq!(before["metadata"], after["metadata"]);
            assert_eq!(before["status"], after["status"]);
        }
        assert_eq!(converted[0]["spec"]["ambassador_id"], json!(["x"]));
        assert_eq!(converted[1], objects[1]);
    }

    #[test]
    fn the_answer_is_what_the_conversion_of_whole_objects_gives() {
        let old =
            mapping("v2", "a", json!({"prefix": "/a", "service": "http://a", "tls": true, "headers": {"x": false}}));
        let whole = convert::convert(old.clone(), Version::V3Alpha1).unwrap().object;
        let answer = answered(&review("getambassador.io/v3alpha1", &json!([old])));
        assert_eq!(answer["response"]["convertedObjects"][0], whole);
    }

    #[test]
    fn objects_without_a_spec_only_get_the_label() {
        for extra in [json!({}), json!({"spec": null}), json!({"spec": "text"})] {
            let mut object = json!({"apiVersion": "getambassador.io/v2", "kind": "Module", "metadata": {"name": "m"}});
            object.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            let answer = answered(&review("getambassador.io/v3alpha1", &json!([object])));
            object["apiVersion"] = json!("getambassador.io/v3alpha1");
            assert_eq!(answer["response"]["convertedObjects"], json!([object]));
        }
    }

    #[test]
    fn a_review_of_nothing_is_answered_with_nothing() {
        for objects in [json!([]), Value::Null] {
            let answer = answered(&review("getambassador.io/v2", &objects));
            assert_eq!(answer["response"]["convertedObjects"], json!([]));
            assert_eq!(answer["response"]["result"]["status"], "Success");
        }
    }

    #[test]
    fn the_older_review_version_is_answered_in_kind() {
        let body = String::from_utf8(review("getambassador.io/v2", &json!([]))).unwrap();
        let answer = answered(body.replace("k8s.io/v1", "k8s.io/v1beta1").as_bytes());
        assert_eq!(answer["apiVersion"], "apiextensions.k8s.io/v1beta1");
    }

    #[test]
    fn a_refusal_names_the_objects_and_converts_none() {
        let mut objects: Vec<Value> =
            (0..7).map(|n| json!({"apiVersion": "getambassador.io/v2", "kind": "Filter", "metadata": {"name": format!("f{n}"), "namespace": "ns"}})).collect();
        objects.insert(0, mapping("v2", "good", json!({"prefix": "/", "service": "s"})));
        objects.push(json!("text"));
        let answer = answered(&review("getambassador.io/v3alpha1", &json!(objects)));
        let result = &answer["response"]["result"];
        assert_eq!(answer["response"]["uid"], "u-1");
        assert_eq!(answer["response"]["convertedObjects"], json!([]));
        assert_eq!(result["status"], "Failure");
        let message = result["message"].as_str().unwrap();
        assert!(message.starts_with("8 of 9 objects cannot be converted to getambassador.io/v3alpha1: "), "{message}");
        assert!(message.contains(r#"Filter ns/f0: kind "Filter" is not one of getambassador.io"#), "{message}");
        assert!(message.ends_with("; and 3 more"), "{message}");
    }

    #[test]
    fn an_unknown_target_version_is_refused() {
        let answer = answered(&review("getambassador.io/v9", &json!([])));
        assert_eq!(answer["response"]["result"]["status"], "Failure");
    }

    #[test]
    fn what_is_no_review_is_said_to_be_none() {
        let no_request = br#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview"}"#;
        let other = br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u"}}"#;
        let cut = &review("getambassador.io/v2", &json!([]))[..40];
        for body in [&b""[..], b"[]", b"nonsense", no_request, other, cut, b"\xff\xfe", b"{\"kind\":\"\\ud800\"}"] {
            assert!(matches!(answer(body), Answer::NotAReview(_)), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn more_objects_than_bounded_are_refused_early() {
        let mut body = review("getambassador.io/v2", &json!([]));
        let at = body.windows(2).position(|two| two == b"[]").unwrap() + 1;
        let many = "1,".repeat(OBJECTS) + "1";
        body.splice(at..at, many.into_bytes());
        assert!(matches!(answer(&body), Answer::NotAReview(why) if why.contains("more than")));
    }

    #[test]
    fn nesting_beyond_what_a_parser_takes_is_carried_over() {
        let deep = "[".repeat(5000) + r#""]\"[{""# + &"]".repeat(5000);
        let object = format!(
            r#"{{"apiVersion":"getambassador.io/v2","kind":"Module","metadata":{{"name":"m"}},"spec":{{"ambassador_id":"x","config":{{"deep":{deep},"n":1}}}}}}"#
        );
        let body = format!(
            r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","request":{{"uid":"u","desiredAPIVersion":"getambassador.io/v3alpha1","objects":[{object}]}}}}"#
        );
        let Answer::Review { body, failure: None, .. } = answer(body.as_bytes()) else { panic!("refused") };
        let text = String::from_utf8(body).unwrap();
        assert!(text.contains(&format!(r#""deep":{deep}"#)));
        assert!(text.contains(r#""ambassador_id":["x"]"#), "the rest is converted");
    }
}
