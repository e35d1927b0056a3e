//! Probes and hooks: asking a container over HTTP, TCP, or by a command in it.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How much of an answer is read; the first line is enough.
const ANSWER: usize = 4096;

/// Runs a command in a container; its exit status.
pub trait Commands {
    /// Ends the command when the future is dropped.
    fn run(&self, words: &[String]) -> impl Future<Output = Result<i32>>;
}

/// How often and how long a probe is asked, with the defaults of the API.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Before the first time.
    pub initial: Duration,
    /// Between two times.
    pub period: Duration,
    /// For one answer.
    pub limit: Duration,
    /// So many bad answers in a row count as failed.
    pub failures: i32,
    /// So many good ones count as good.
    pub successes: i32,
}

impl Schedule {
    /// The schedule of a probe.
    pub fn of(probe: &Probe) -> Self {
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
        };
        Self {
            initial: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10).max(Duration::from_secs(1)),
            limit: seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1)),
            failures: probe.failure_threshold.unwrap_or(3).max(1),
            successes: probe.success_threshold.unwrap_or(1).max(1),
        }
    }
}

/// Asks once; the error says what was wrong with the answer.
pub async fn ask(probe: &Probe, container: &Container, address: Ipv4Addr, commands: &impl Commands) -> Result<()> {
    let limit = Schedule::of(probe).limit;
    let question = async {
        if let Some(action) = &probe.http_get {
            http(action, container, address).await
        } else if let Some(action) = &probe.tcp_socket {
            tcp(action, container, address).await
        } else if let Some(action) = &probe.exec {
            command(action, commands).await
        } else {
            bail!("a probe of this kind is unknown here")
        }
    };
    timeout(limit, question).await.unwrap_or_else(|_| bail!("no answer within {limit:?}"))
}

/// Runs a hook to its end.
pub async fn hook(
    handler: &LifecycleHandler,
    container: &Container,
    address: Ipv4Addr,
    commands: &impl Commands,
) -> Result<()> {
    if let Some(action) = &handler.exec {
        command(action, commands).await
    } else if let Some(action) = &handler.http_get {
        http(action, container, address).await
    } else if let Some(action) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0))).await;
        Ok(())
    } else if let Some(action) = &handler.tcp_socket {
        tcp(action, container, address).await
    } else {
        bail!("a hook of this kind is unknown here")
    }
}

async fn command(action: &ExecAction, commands: &impl Commands) -> Result<()> {
    match commands.run(action.command.as_deref().unwrap_or_default()).await? {
        0 => Ok(()),
        code => bail!("the command ended with status {code}"),
    }
}

async fn tcp(action: &TCPSocketAction, container: &Container, address: Ipv4Addr) -> Result<()> {
    connect(action.host.as_deref(), &action.port, container, address).await?;
    Ok(())
}

async fn connect(
    host: Option<&str>,
    port: &IntOrString,
    container: &Container,
    address: Ipv4Addr,
) -> Result<TcpStream> {
    let port = port_number(port, container).context("the probe's port has no such name")?;
    let stream = match host.filter(|host| !host.is_empty()) {
        Some(host) => TcpStream::connect((host, port)).await,
        None => TcpStream::connect(SocketAddr::from((address, port))).await,
    };
    stream.with_context(|| format!("cannot connect to port {port}"))
}

fn port_number(port: &IntOrString, container: &Container) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let mut named = container.ports.iter().flatten().filter(|port| port.name.as_ref() == Some(name));
            named.next().map_or_else(|| name.parse().ok(), |port| u16::try_from(port.container_port).ok())
        }
    }
}

async fn http(action: &HTTPGetAction, container: &Container, address: Ipv4Addr) -> Result<()> {
    let stream = connect(action.host.as_deref(), &action.port, container, address).await?;
    let mut request =
        format!("GET {} HTTP/1.1\r\n", action.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/"));
    let headers = action.http_headers.as_deref().unwrap_or_default();
    let given = |name: &str| headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
    if !given("host") {
        request.push_str(&format!("host: {}\r\n", stream.peer_addr()?));
    }
    if !given("user-agent") {
        request.push_str("user-agent: kube-probe/1.36\r\n");
    }
    for header in headers {
        request.push_str(&format!("{}: {}\r\n", header.name, header.value));
    }
    request.push_str("accept: */*\r\nconnection: close\r\n\r\n");
    let status = if action.scheme.as_deref() == Some("HTTPS") {
        // Whose certificate it is does not matter here, as with any kubelet.
        let config = rustls::ClientConfig::builder().dangerous();
        let config = config.with_custom_certificate_verifier(Arc::new(AnyCertificate)).with_no_client_auth();
        let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        exchange(stream, &request).await?
    } else {
        exchange(stream, &request).await?
    };
    if (200..400).contains(&status) { Ok(()) } else { bail!("HTTP probe failed with statuscode: {status}") }
}

/// Sends the request and reads the status.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Result<u16> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < ANSWER {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    let line = String::from_utf8_lossy(&answer);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
    status.context("the answer is not HTTP")
}

/// Takes every certificate.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::net::TcpListener;

    struct NoCommands;

    impl Commands for NoCommands {
        async fn run(&self, words: &[String]) -> Result<i32> {
            Ok(words.len() as i32)
        }
    }

    async fn asked(probe: serde_json::Value, answer: &'static str) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.unwrap() > 0 {}
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let container = json!({"name": "x", "ports": [{"name": "web", "containerPort": port}]});
        let container: Container = serde_json::from_value(container).unwrap();
        let probe: Probe = serde_json::from_value(probe).unwrap();
        let result = ask(&probe, &container, Ipv4Addr::LOCALHOST, &NoCommands).await;
        let request = server.await.unwrap();
        result.map(|()| request).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn an_http_probe_judges_the_status() {
        let probe =
            json!({"httpGet": {"path": "/ready?x", "port": "web", "httpHeaders": [{"name": "Host", "value": "a.b"}]}});
        for (answer, good) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.0 302 Found\r\n\r\n", true),
            ("HTTP/1.1 404 Not Found\r\n\r\n", false),
            ("HTTP/1.1 503\r\n\r\n", false),
            ("hello\n", false),
            ("", false),
        ] {
            let result = asked(probe.clone(), answer).await;
            assert_eq!(result.is_ok(), good, "{answer:?}: {result:?}");
            if let Ok(request) = result {
                assert!(request.starts_with("GET /ready?x HTTP/1.1\r\nuser-agent: kube-probe/"), "{request}");
                assert!(request.contains("\r\nHost: a.b\r\n") && !request.contains("host: 127"), "{request}");
            }
        }
    }

    #[tokio::test]
    async fn commands_and_ports_are_probes_too() {
        assert!(asked(json!({"tcpSocket": {"port": "web"}}), "").await.is_ok());
        let container = Container { name: "x".to_owned(), ..Container::default() };
        for (probe, good) in [
            (json!({"exec": {"command": []}}), true),
            (json!({"exec": {"command": ["false"]}}), false),
            (json!({"tcpSocket": {"port": "nameless"}}), false),
            (json!({"grpc": {"port": 1}}), false),
        ] {
            let probe: Probe = serde_json::from_value(probe).unwrap();
            assert_eq!(ask(&probe, &container, Ipv4Addr::LOCALHOST, &NoCommands).await.is_ok(), good, "{probe:?}");
        }
    }
}
