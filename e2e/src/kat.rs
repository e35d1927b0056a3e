//! The test client and the test server of upstream's integration tests, format for format.
//!
//! The client reads a JSON array of queries and writes the same array with a `result` in each; the server says which
//! backend it plays and what reached it. Recorded answers of upstream were taken with programs written in Go, so
//! what shows in an answer (names of headers, texts of errors, default headers) is spelled as Go's libraries do.
//!
//! ```text
//! go         Go's spellings: header names, texts of TLS alerts, dates, URLs
//! query      one query and its result
//! batch      files in, files out, so many at once
//! transport  TCP and TLS connections that remember why they failed
//! verify     which server certificates count as valid
//! legacy     asks a server about TLS versions, suites and curves that rustls does not speak
//! http       queries over HTTP/1.1, and gRPC through the bridge and gRPC-Web
//! grpc       frames of gRPC, the echo messages, queries over real gRPC
//! websocket  queries over WebSocket
//! server     the roles of kat-server
//! ```
//!
//! What cannot be had: TLS 1.0 and 1.1, cipher suites without forward secrecy or authenticated encryption, and the
//! curve P-521, because the only cryptographic library of this workspace is rustls with ring. A query that asks for
//! nothing else gets a hand-made ClientHello ([`legacy`]), so a server that refuses is quoted with its own alert; only
//! a server that would accept is reported as an error that upstream's client does not have.

pub mod batch;
pub mod go;
pub mod grpc;
pub mod http;
pub mod legacy;
pub mod query;
pub mod server;
pub mod transport;
pub mod verify;
pub mod websocket;
