//! One query of a batch, and what came of it.

use super::go;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

/// A query as it came; fields that nobody knows are kept for the output.
#[derive(Clone, Debug)]
pub struct Query(pub Map<String, Value>);

/// Protocols that carry gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grpc {
    /// gRPC over HTTP/2.
    Real,
    /// A gRPC message in HTTP/1.1, for Envoy's HTTP/1.1 bridge.
    Bridge,
    /// gRPC-Web, the text form.
    Web,
}

impl Query {
    /// A text field; empty when it is absent or something else.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A flag.
    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A list of texts; what is no text is left out.
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.0.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The wanted URL.
    pub fn url(&self) -> &str {
        self.text("url")
    }

    /// The method, `GET` by default; gRPC in HTTP/1.1 is always posted.
    pub fn method(&self) -> &str {
        match (self.grpc(), self.text("method")) {
            (Some(Grpc::Bridge | Grpc::Web), _) => "POST",
            (_, "") => "GET",
            (_, method) => method,
        }
    }

    /// Request headers in the order of their names.
    pub fn headers(&self) -> Vec<(&str, &str)> {
        let all = self.0.get("headers").and_then(Value::as_object).into_iter().flatten();
        let mut all: Vec<_> = all.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect();
        all.sort_unstable();
        all
    }

    /// The header `Host`, which takes the place of the URL's authority.
    pub fn host(&self) -> Option<&str> {
        self.headers().into_iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).map(|(_, value)| value)
    }

    /// Cookies as one header value.
    pub fn cookies(&self) -> Option<String> {
        let all = self.0.get("cookies").and_then(Value::as_array)?.iter();
        let all: Vec<String> =
            all.filter_map(|one| Some(format!("{}={}", one["name"].as_str()?, one["value"].as_str()?))).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// The request's body. Line breaks inside the base64 do no harm.
    pub fn body(&self) -> Result<Option<Vec<u8>>, String> {
        let text = self.text("body");
        if text.is_empty() {
            return Ok(None);
        }
        let text: String = text.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
        STANDARD.decode(text).map(Some).map_err(|error| format!("illegal base64 data in the body: {error}"))
    }

    /// Which form of gRPC is asked for.
    pub fn grpc(&self) -> Option<Grpc> {
        match self.text("grpc_type") {
            "real" => Some(Grpc::Real),
            "bridge" => Some(Grpc::Bridge),
            "web" => Some(Grpc::Web),
            _ => None,
        }
    }

    /// True for WebSocket.
    pub fn is_websocket(&self) -> bool {
        self.url().starts_with("ws:")
    }
}

/// What came of a query. Only what is known is written.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    /// The response's bytes, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// IANA number of the TLS cipher suite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher_suite: Option<u16>,
    /// What went wrong, in the words of Go's libraries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Response headers by canonical name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, Vec<String>>>,
    /// The body, when it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// Received WebSocket messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<String>>,
    /// The status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The body, when it is no JSON; the echo message, when it is gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Value>,
    /// The server's certificates, the leaf first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Vec<Certificate>>,
    /// Number of the TLS version: 771 is 1.2, 772 is 1.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<u16>,
}

impl Outcome {
    /// Nothing but an error.
    pub fn of_error(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }

    /// Fills in the body in its forms.
    pub fn set_body(&mut self, bytes: &[u8]) {
        self.body = Some(STANDARD.encode(bytes));
        match serde_json::from_slice(bytes) {
            Ok(value) => self.json = Some(value),
            Err(_) => self.text = Some(String::from_utf8_lossy(bytes).into_owned().into()),
        }
    }
}

/// A query with its result, keys in order.
pub struct Answered {
    /// The query.
    pub query: Query,
    /// What came of it.
    pub outcome: Outcome,
}

impl Serialize for Answered {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields: BTreeMap<&str, &Value> = self.query.0.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let (before, after): (Vec<_>, Vec<_>) =
            fields.into_iter().filter(|(name, _)| *name != "result").partition(|(name, _)| *name < "result");
        let mut map = serializer.serialize_map(None)?;
        use serde::ser::SerializeMap;
        for (name, value) in before {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("result", &self.outcome)?;
        for (name, value) in after {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A certificate with the names that Go's own JSON form has.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Certificate {
    raw: String,
    version: u32,
    /// A number of up to 160 bits, hence not one of Rust's.
    serial_number: Box<RawValue>,
    issuer: Name,
    subject: Name,
    not_before: String,
    not_after: String,
    #[serde(rename = "IsCA")]
    is_ca: bool,
    #[serde(rename = "DNSNames")]
    dns_names: Option<Vec<String>>,
    email_addresses: Option<Vec<String>>,
    #[serde(rename = "IPAddresses")]
    ip_addresses: Option<Vec<String>>,
}

/// A distinguished name.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Name {
    country: Option<Vec<String>>,
    organization: Option<Vec<String>>,
    organizational_unit: Option<Vec<String>>,
    locality: Option<Vec<String>>,
    province: Option<Vec<String>>,
    street_address: Option<Vec<String>>,
    postal_code: Option<Vec<String>>,
    serial_number: String,
    common_name: String,
}

impl Certificate {
    /// Reads a certificate in DER form; `None` when it is not one.
    pub fn of_der(der: &[u8]) -> Option<Self> {
        use x509_parser::extensions::GeneralName;
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let list = |wanted: fn(&GeneralName<'_>) -> Option<String>| {
            let found: Vec<String> = names.iter().filter_map(wanted).collect();
            (!found.is_empty()).then_some(found)
        };
        Some(Self {
            raw: STANDARD.encode(der),
            version: certificate.version().0 + 1,
            serial_number: RawValue::from_string(decimal(certificate.raw_serial())).ok()?,
            issuer: Name::of(certificate.issuer()),
            subject: Name::of(certificate.subject()),
            not_before: go::Moment::of_seconds(certificate.validity().not_before.timestamp()).rfc3339(),
            not_after: go::Moment::of_seconds(certificate.validity().not_after.timestamp()).rfc3339(),
            is_ca: certificate.is_ca(),
            dns_names: list(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            }),
            email_addresses: list(|name| match name {
                GeneralName::RFC822Name(name) => Some((*name).to_owned()),
                _ => None,
            }),
            ip_addresses: list(|name| match name {
                GeneralName::IPAddress(bytes) => super::verify::address(bytes).map(|address| address.to_string()),
                _ => None,
            }),
        })
    }
}

impl Name {
    fn of(name: &X509Name<'_>) -> Self {
        use x509_parser::prelude::oid_registry as oid;
        let values = |wanted: &oid::Oid<'_>| -> Option<Vec<String>> {
            let found: Vec<String> = name
                .iter_attributes()
                .filter(|attribute| attribute.attr_type() == wanted)
                .filter_map(|attribute| attribute.as_str().ok().map(ToOwned::to_owned))
                .collect();
            (!found.is_empty()).then_some(found)
        };
        let last = |wanted| values(wanted).and_then(|mut all| all.pop()).unwrap_or_default();
        Self {
            country: values(&oid::OID_X509_COUNTRY_NAME),
            organization: values(&oid::OID_X509_ORGANIZATION_NAME),
            organizational_unit: values(&oid::OID_X509_ORGANIZATIONAL_UNIT),
            locality: values(&oid::OID_X509_LOCALITY_NAME),
            province: values(&oid::OID_X509_STATE_OR_PROVINCE_NAME),
            street_address: values(&oid::OID_X509_STREET_ADDRESS),
            postal_code: values(&oid::OID_X509_POSTAL_CODE),
            serial_number: last(&oid::OID_X509_SERIALNUMBER),
            common_name: last(&oid::OID_X509_COMMON_NAME),
        }
    }
}

/// The decimal digits of a number in big-endian bytes.
fn decimal(bytes: &[u8]) -> String {
    let mut digits = vec![0_u32];
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += *digit * 256;
            *digit = carry % 10;
            carry /= 10;
        }
        while carry > 0 {
            digits.push(carry % 10);
            carry /= 10;
        }
    }
    digits.iter().rev().filter_map(|digit| char::from_digit(*digit, 10)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_have_all_digits() {
        assert_eq!(decimal(&[]), "0");
        assert_eq!(decimal(&[0, 255]), "255");
        assert_eq!(decimal(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), "18446744073709551616");
    }

    #[test]
    fn unknown_fields_stay_and_keys_are_sorted() {
        let Value::Object(fields) = serde_json::json!({"zeta": 1, "url": "x", "id": 139_872_346_112_336_u64}) else {
            panic!("an object");
        };
        let answered = Answered { query: Query(fields), outcome: Outcome::of_error("EOF") };
        let text = serde_json::to_string(&answered).unwrap();
        assert_eq!(text, r#"{"id":139872346112336,"result":{"error":"EOF"},"url":"x","zeta":1}"#);
    }
}
