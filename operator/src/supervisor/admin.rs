//! The few questions the supervisor asks Envoy's admin interface, over its UNIX socket.

use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// An Envoy that does not answer within this is not asked any further.
const ANSWER: Duration = Duration::from_secs(2);
const ANSWER_BYTES: u64 = 4 << 20;

/// Tells clients to go away: listeners stay open during the drain time, and every answer closes its connection.
pub(super) async fn drain(admin: &Path) -> io::Result<()> {
    ask(admin, "POST", "/drain_listeners?graceful").await.map(|_| ())
}

/// Open connections of clients.
pub(super) async fn connections(admin: &Path) -> io::Result<u64> {
    let text = ask(admin, "GET", "/stats?filter=%5Elistener%5C..*downstream_cx_active%24").await?;
    Ok(open(&text))
}

/// Adds up the listeners of a stats text, the admin's own connections (this one) aside.
fn open(stats: &str) -> u64 {
    let counts = stats.lines().filter_map(|line| {
        let (name, value) = line.trim().split_once(": ")?;
        let counted = name.starts_with("listener.") && name.ends_with(".downstream_cx_active");
        let own = name.starts_with("listener.admin.") || name.contains(".worker_") || name.contains(".main_thread.");
        if counted && !own { value.parse::<u64>().ok() } else { None }
    });
    counts.sum()
}

/// One HTTP/1.0 exchange; Envoy answers and closes.
async fn ask(admin: &Path, method: &str, path: &str) -> io::Result<String> {
    let exchange = async {
        let mut stream = UnixStream::connect(admin).await?;
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES).read_to_string(&mut answer).await?;
        Ok(answer)
    };
    timeout(ANSWER, exchange).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

#[cfg(test)]
mod tests {
    use super::open;

    #[test]
    fn only_connections_of_clients_count() {
        let stats = "HTTP/1.1 200 OK\r\n\r\nlistener.0.0.0.0_8080.downstream_cx_active: 2\n\
            listener.0.0.0.0_8080.worker_0.downstream_cx_active: 1\nlistener.0.0.0.0_8080.worker_1.downstream_cx_active: 1\n\
            listener.admin.downstream_cx_active: 1\nlistener.[__]_8443.downstream_cx_active: 3\n";
        assert_eq!(open(stats), 5);
    }
}
