//! The service of a Mapping and its like: `[scheme://]host[:port]`.
//!
//! Reading follows upstream (Go's URL parser behind its `ParseServiceName`): a text without a scheme is an authority,
//! user and path are dropped, percent escapes in the host are decoded, the host is lower-cased, port 0 counts as none.

use super::limits;
use super::text::quote;
use crate::parse::ServiceRef;
use std::net::Ipv6Addr;
use std::sync::Arc;

/// A service that was read, and what should be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The value.
    pub value: ServiceRef,
    /// Remarks: parts of the text that have no effect.
    pub remarks: Vec<String>,
}

/// Reads a service. The error says what is wrong with it.
pub fn parse(text: &str) -> Result<Service, String> {
    if text.len() > limits::SERVICE {
        return Err(format!("service {} is longer than {} bytes", quote(text), limits::SERVICE));
    }
    read(text).map_err(|reason| format!("service {} is malformed: {reason}", quote(text)))
}

/// The service as seen from the gateway: the host gets the namespace of the object that names it when nothing else
/// says where it is. That is upstream's rule: the namespace differs from the gateway's, the Module does not ask for the
/// gateway's own namespace, the resolver is a Kubernetes one, and the host is a bare name other than `localhost`.
pub fn qualify(
    service: &ServiceRef,
    namespace: &str,
    gateway_namespace: &str,
    own_namespace: bool,
    resolver_is_kubernetes: bool,
) -> ServiceRef {
    let bare = !service.host.contains(['.', ':']) && &*service.host != "localhost";
    if own_namespace || !resolver_is_kubernetes || namespace.is_empty() || namespace == gateway_namespace || !bare {
        return service.clone();
    }
    let host = format!("{}.{namespace}", service.host);
    // The host stands in the text once, behind the scheme; a scheme can contain the host's letters.
    let (scheme, _) = split_scheme(&service.text).unwrap_or((None, &service.text));
    let text = join(scheme, &host, service.port);
    ServiceRef { host: host.into(), text: text.into(), ..service.clone() }
}

fn read(text: &str) -> Result<Service, String> {
    let mut remarks = Vec::new();
    let (scheme, rest) = split_scheme(text)?;
    let scheme = scheme.map(str::to_ascii_lowercase);
    let tls_scheme = match scheme.as_deref() {
        None => None,
        Some("http") => Some(false),
        Some("https") => Some(true),
        Some(other) => {
            remarks.push(format!("scheme {} of service {} is not known, assuming http", quote(other), quote(text)));
            None
        }
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if !path.is_empty() && path != "/" {
        remarks.push(format!("the part {} of service {} has no effect", quote(path), quote(text)));
    }
    let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
    let (host, port) = split_port(address)?;
    let host = unescape(host)?.to_ascii_lowercase();
    judge_host(&host, address.starts_with('['))?;
    let port = match port {
        None | Some("") => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse::<u16>().map_err(|_| format!("port {} is above 65535", quote(digits)))?)
        }
        Some(other) => return Err(format!("port {} is not a number", quote(other))),
    };
    let port = port.filter(|port| *port != 0);
    let text: Arc<str> = join(scheme.as_deref(), &host, port).into();
    Ok(Service { value: ServiceRef { tls_scheme, host: host.into(), port, text }, remarks })
}

/// Scheme and the rest; `//host` has an empty one, which is none.
fn split_scheme(text: &str) -> Result<(Option<&str>, &str), String> {
    if let Some(rest) = text.strip_prefix("//") {
        return Ok((None, rest));
    }
    let Some((scheme, rest)) = text.split_once("://") else { return Ok((None, text)) };
    let valid = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if valid { Ok((Some(scheme), rest)) } else { Err(format!("{} is not a scheme", quote(scheme))) }
}

/// Host without brackets, and what follows the colon.
fn split_port(address: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(inside) = address.strip_prefix('[') {
        let Some((host, after)) = inside.split_once(']') else { return Err("a `]` is missing".into()) };
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(format!("{} follows the `]`", quote(after))),
        };
    }
    match address.split_once(':') {
        Some((_, more)) if more.contains(':') => Err("an IPv6 address has to stand in brackets".into()),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((address, None)),
    }
}

fn unescape(host: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(host.len());
    let mut rest = host.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.next().zip(rest.next());
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let value = digits.and_then(|(high, low)| Some(digit(high)? * 16 + digit(low)?));
        bytes.push(value.ok_or("a `%` is not followed by two hexadecimal digits")?);
    }
    String::from_utf8(bytes).map_err(|_| "the host is not text".into())
}

fn judge_host(host: &str, bracketed: bool) -> Result<(), String> {
    if host.is_empty() {
        return Err("there is no host".into());
    }
    if host.len() > limits::HOSTNAME {
        return Err(format!("the host is longer than {} bytes", limits::HOSTNAME));
    }
    if bracketed {
        let known = host.parse::<Ipv6Addr>().is_ok();
        return if known { Ok(()) } else { Err(format!("{} is not an IPv6 address", quote(host))) };
    }
    // Names outside of ASCII have a form inside of it (punycode); nothing here would make it of them.
    match host.chars().find(|character| !(character.is_ascii_alphanumeric() || "-._~".contains(*character))) {
        Some(character) => Err(format!("the host contains {}", quote(&character.to_string()))),
        None => Ok(()),
    }
}

fn join(scheme: Option<&str>, host: &str, port: Option<u16>) -> String {
    let mut text = String::with_capacity(host.len() + 16);
    if let Some(scheme) = scheme {
        text.push_str(scheme);
        text.push_str("://");
    }
    if host.contains(':') {
        text.push('[');
        text.push_str(host);
        text.push(']');
    } else {
        text.push_str(host);
    }
    if let Some(port) = port {
        text.push(':');
        text.push_str(&port.to_string());
    }
    text
}

#[cfg(test)]
mod tests;
