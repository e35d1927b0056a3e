//! Access logs to a file.

use crate::wire;
use envoy_types::pb::envoy::config::accesslog::v3::{AccessLog as AccessLogMessage, access_log};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use envoy_types::pb::google::protobuf::{Any, Value, value};
use ir::{AccessLog, AccessLogFormat};
use prost::{Message, Name};
use serde_json::Value as Json;

/// Fields of `FileAccessLog`.
const JSON_FORMAT: u32 = 3;
const LOG_FORMAT: u32 = 5;
/// Field of `SubstitutionFormatString`.
const FORMAT_JSON: u32 = 2;
/// Fields of `google.protobuf.Struct` and its map entries, and of `google.protobuf.Value` and `ListValue`.
const STRUCT_ENTRY: u32 = 1;
const ENTRY_KEY: u32 = 1;
const ENTRY_VALUE: u32 = 2;
const VALUE_STRUCT: u32 = 5;
const VALUE_LIST: u32 = 6;
const LIST_VALUE: u32 = 1;

/// The file logger of a connection manager. JSON whose values are all strings, which log pipelines rely on, is only to
/// be had by the logger's own deprecated `json_format`; its successor keeps the types of values.
pub(crate) fn file(log: &AccessLog) -> AccessLogMessage {
    let mut message = FileAccessLog { path: log.path.to_string(), ..Default::default() };
    let mut json = None;
    match &log.format {
        AccessLogFormat::Text(format) => {
            let source = core::DataSource {
                specifier: Some(core::data_source::Specifier::InlineString(format.to_string())),
                ..Default::default()
            };
            message.access_log_format =
                Some(file_access_log::AccessLogFormat::LogFormat(core::SubstitutionFormatString {
                    format: Some(core::substitution_format_string::Format::TextFormatSource(source)),
                    ..Default::default()
                }));
        }
        AccessLogFormat::Json(format) => json = Some((false, format)),
        AccessLogFormat::TypedJson(format) => json = Some((true, format)),
    }
    let mut value = message.encode_to_vec();
    if let Some((typed, text)) = json {
        let format = structure(&serde_json::from_str(text).unwrap_or(Json::Null));
        match typed {
            false => wire::put_field(&mut value, JSON_FORMAT, &format),
            true => wire::put_field(&mut value, LOG_FORMAT, &wire::field(FORMAT_JSON, &format)),
        }
    }
    AccessLogMessage {
        name: "envoy.access_loggers.file".to_string(),
        config_type: Some(access_log::ConfigType::TypedConfig(Any { type_url: FileAccessLog::type_url(), value })),
        ..Default::default()
    }
}

/// An encoded `Struct` with its entries ordered by key; anything but an object gives an empty one.
pub(crate) fn structure(json: &Json) -> Vec<u8> {
    let mut out = Vec::new();
    let mut entries: Vec<_> = json.as_object().into_iter().flatten().collect();
    entries.sort_by_key(|(key, _)| *key);
    for (key, value) in entries {
        let mut entry = wire::field(ENTRY_KEY, key.as_bytes());
        wire::put_field(&mut entry, ENTRY_VALUE, &json_value(value));
        wire::put_field(&mut out, STRUCT_ENTRY, &entry);
    }
    out
}

/// An encoded `Value`. The depth is that of parsed JSON text, which is bounded by the parser.
fn json_value(json: &Json) -> Vec<u8> {
    let leaf = |kind| Value { kind: Some(kind) }.encode_to_vec();
    match json {
        Json::Null => leaf(value::Kind::NullValue(0)),
        Json::Bool(value) => leaf(value::Kind::BoolValue(*value)),
        Json::Number(number) => leaf(value::Kind::NumberValue(number.as_f64().unwrap_or_default())),
        Json::String(text) => leaf(value::Kind::StringValue(text.clone())),
        Json::Array(items) => {
            let mut list = Vec::new();
            items.iter().for_each(|item| wire::put_field(&mut list, LIST_VALUE, &json_value(item)));
            wire::field(VALUE_LIST, &list)
        }
        Json::Object(_) => wire::field(VALUE_STRUCT, &structure(json)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::google::protobuf::Struct;

    #[test]
    fn a_structure_is_what_the_message_would_be_with_its_keys_in_order() {
        let json = serde_json::json!({"b": "%X%", "a": {"z": 1.5, "y": [true, null, "t"]}, "c": {}});
        let bytes = structure(&json);
        let decoded = Struct::decode(bytes.as_slice()).unwrap();
        assert_eq!(decoded.fields.len(), 3);
        let Some(value::Kind::StructValue(inner)) = &decoded.fields["a"].kind else { panic!("a structure") };
        let Some(value::Kind::ListValue(list)) = &inner.fields["y"].kind else { panic!("a list") };
        assert_eq!(list.values.len(), 3);
        assert_eq!(inner.fields["z"].kind, Some(value::Kind::NumberValue(1.5)));
        assert_eq!(decoded.fields["c"].kind, Some(value::Kind::StructValue(Struct::default())));
        let position = |key: &str| bytes.windows(3).position(|at| at == [0x0a, 1, key.as_bytes()[0]]).unwrap();
        assert!(position("a") < position("b") && position("b") < position("c"));
    }
}
