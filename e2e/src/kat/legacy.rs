//! Asks a server about TLS that rustls does not speak: versions 1.0 and 1.1, suites without authenticated encryption or
//! forward secrecy, the curve P-521.
//!
//! A ClientHello is sent that asks for exactly that, and the first record of the answer is read. Nearly all tests with
//! such parameters want to see the server refuse, and a refusal is complete with that record: it is reported as
//! upstream's client would. If the server agrees, the handshake cannot be finished; that is an error of this client,
//! and its text says so.

use super::go;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Number of the highest version.
    pub version: u16,
    /// Numbers of cipher suites; none means the usual ones.
    pub suites: Vec<u16>,
    /// Numbers of named groups; none means the usual ones.
    pub groups: Vec<u16>,
}

/// Suites up to TLS 1.2 that Go's library knows, by its names (RFC 5246, 5289, 7905).
const SUITES: &[(&str, u16)] = &[
    ("TLS_RSA_WITH_RC4_128_SHA", 0x0005),
    ("TLS_RSA_WITH_3DES_EDE_CBC_SHA", 0x000a),
    ("TLS_RSA_WITH_AES_128_CBC_SHA", 0x002f),
    ("TLS_RSA_WITH_AES_256_CBC_SHA", 0x0035),
    ("TLS_RSA_WITH_AES_128_CBC_SHA256", 0x003c),
    ("TLS_RSA_WITH_AES_128_GCM_SHA256", 0x009c),
    ("TLS_RSA_WITH_AES_256_GCM_SHA384", 0x009d),
    ("TLS_ECDHE_ECDSA_WITH_RC4_128_SHA", 0xc007),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", 0xc009),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", 0xc00a),
    ("TLS_ECDHE_RSA_WITH_RC4_128_SHA", 0xc011),
    ("TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", 0xc012),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", 0xc013),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", 0xc014),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", 0xc023),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", 0xc027),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 0xc02b),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", 0xc02c),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 0xc02f),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", 0xc030),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", 0xcca8),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca8),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", 0xcca9),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca9),
];

/// Number of a cipher suite; `None` for unknown names, which queries may have.
pub fn suite(name: &str) -> Option<u16> {
    SUITES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// Number of a curve by Go's name for it (RFC 8446, 4.2.7).
pub fn group(name: &str) -> Option<u16> {
    Some(match name {
        "CurveP256" => 23,
        "CurveP384" => 24,
        "CurveP521" => 25,
        "X25519" => 29,
        _ => return None,
    })
}

impl Hello {
    /// Sends the hello and says what the server thinks of it; the text is that of the error.
    pub async fn ask(&self, mut stream: TcpStream, name: &str) -> String {
        let mut head = [0; 5];
        if stream.write_all(&self.record(name)).await.is_err() || stream.read_exact(&mut head).await.is_err() {
            return "EOF".to_owned();
        }
        if head.starts_with(b"HTTP/") {
            return "http: server gave HTTP response to HTTPS client".to_owned();
        }
        let [kind, _, _, high, low] = head;
        let mut body = vec![0; usize::from(u16::from_be_bytes([high, low])).min(1 << 14)];
        if stream.read_exact(&mut body).await.is_err() {
            return "unexpected EOF".to_owned();
        }
        match (kind, body.as_slice()) {
            (21, [_, number, ..]) => format!("remote error: tls: {}", go::alert(*number)),
            (22, [2, _, _, _, major, minor, ..]) => {
                format!("the server agrees on version {major}.{minor}, which kat-client does not speak")
            }
            _ => "tls: first record does not look like a TLS handshake".to_owned(),
        }
    }

    /// The record with the hello (RFC 5246, 7.4.1.2).
    fn record(&self, name: &str) -> Vec<u8> {
        let suites = if self.suites.is_empty() {
            vec![0xc02f, 0xc02b, 0xc014, 0xc013, 0xc00a, 0xc009, 0x009c, 0x0035, 0x002f]
        } else {
            self.suites.clone()
        };
        let groups = if self.groups.is_empty() { vec![29, 23, 24] } else { self.groups.clone() };
        let numbers = |all: &[u16]| all.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>();
        let mut extensions = Vec::new();
        if name.parse::<std::net::IpAddr>().is_err() {
            let entry = [&[0][..], &sized(name.as_bytes())].concat();
            extensions.extend(extension(0, &sized(&entry)));
        }
        extensions.extend(extension(10, &sized(&numbers(&groups))));
        extensions.extend(extension(11, &[1, 0]));
        if self.version >= 0x0303 {
            let schemes = [0x0401, 0x0403, 0x0501, 0x0503, 0x0601, 0x0804, 0x0805, 0x0806, 0x0201];
            extensions.extend(extension(13, &sized(&numbers(&schemes))));
        }
        let mut hello = self.version.to_be_bytes().to_vec();
        // Nothing is ever encrypted with it, so it need not be random.
        hello.extend([0x5a; 32]);
        hello.push(0);
        hello.extend(sized(&numbers(&suites)));
        hello.extend([1, 0]);
        hello.extend(sized(&extensions));
        let length = u32::try_from(hello.len()).unwrap_or_default().to_be_bytes();
        let handshake = [&[1][..], &length[1..], &hello].concat();
        [&[22, 3, 1][..], &sized(&handshake)].concat()
    }
}

/// Bytes with their length in two bytes before them.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or_default();
    [&length.to_be_bytes()[..], bytes].concat()
}

fn extension(number: u16, content: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &sized(content)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustls_reads_the_hello() {
        let hello = Hello { version: 0x0303, suites: vec![0xc013], groups: Vec::new() };
        let mut acceptor = rustls::server::Acceptor::default();
        acceptor.read_tls(&mut hello.record("a.example").as_slice()).unwrap();
        let accepted = acceptor.accept().unwrap().unwrap();
        let client = accepted.client_hello();
        assert_eq!(client.server_name(), Some("a.example"));
        assert_eq!(client.cipher_suites(), [rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]);
    }
}
