//! Bodies in and out, with bounds on size, time and sum.

use super::Limits;
use super::connections::Connection;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// The unit of accounting. Small enough that many slow bodies are cheap, large enough that counting is.
const UNIT: usize = 4 << 10;
/// What an answer hands to the connection at a time, so that the rest is let go when the peer does not take it.
const FRAME: usize = 64 << 10;

/// Memory for bodies, one half for connections that proved themselves and one for those that did not.
pub struct Budget {
    proved: Arc<Semaphore>,
    newcomers: Arc<Semaphore>,
}

impl Budget {
    /// So many bytes in all.
    pub fn new(bytes: usize) -> Self {
        let half = || Arc::new(Semaphore::new((bytes / UNIT / 2).max(1)));
        Self { proved: half(), newcomers: half() }
    }

    async fn take(&self, bytes: usize, connection: &Connection) -> Result<OwnedSemaphorePermit, Refusal> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).map_err(|_| Refusal::TooLarge)?;
        if connection.is_proved() {
            let taken = timeout(Duration::from_secs(5), self.proved.clone().acquire_many_owned(units)).await;
            return taken.ok().and_then(Result::ok).ok_or(Refusal::Busy);
        }
        // Strangers that hold memory without having had anything answered give it back, the oldest first.
        loop {
            if let Ok(taken) = self.newcomers.clone().try_acquire_many_owned(units) {
                return Ok(taken);
            }
            let displaced = connection.displace_another();
            let wait = Duration::from_millis(if displaced { 100 } else { 5000 });
            match timeout(wait, self.newcomers.clone().acquire_many_owned(units)).await {
                Ok(taken) => return taken.map_err(|_| Refusal::Busy),
                Err(_) if displaced => {}
                Err(_) => return Err(Refusal::Busy),
            }
        }
    }
}

/// Why a body is not read.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Larger than a review may be.
    TooLarge,
    /// It took too long, or broke off.
    Incomplete,
    /// Others use what memory there is.
    Busy,
}

impl Refusal {
    /// The status to answer with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Incomplete => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The text to answer with.
    pub fn message(&self) -> &'static str {
        match self {
            Self::TooLarge => "the review is too large\n",
            Self::Incomplete => "the review did not arrive in time\n",
            Self::Busy => "too many large reviews at a time\n",
        }
    }
}

/// Reads a body. What comes back with it stands for its memory and is to be kept until the answer is sent.
pub async fn read(
    mut body: Incoming,
    limits: &Limits,
    budget: &Budget,
    connection: &Connection,
) -> Result<(Vec<u8>, OwnedSemaphorePermit), Refusal> {
    let announced = body.size_hint().exact().unwrap_or(0);
    if announced > limits.body as u64 {
        return Err(Refusal::TooLarge);
    }
    let mut held = budget.take(UNIT, connection).await?;
    let mut counted = UNIT;
    // Only what has arrived is allocated for: announcing a body costs nothing, so it must not cost us.
    let mut read: Vec<u8> = Vec::new();
    let all = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::Incomplete)?;
            let Some(data) = frame.data_ref() else { continue };
            let size = read.len() + data.len();
            if size > limits.body {
                return Err(Refusal::TooLarge);
            }
            if size > counted {
                let more = (size - counted).max(counted.min(1 << 20)).next_multiple_of(UNIT);
                held.merge(budget.take(more, connection).await?);
                counted += more;
            }
            read.extend_from_slice(data);
        }
        Ok(())
    };
    match timeout(limits.transfer, all).await {
        Ok(done) => done.map(|()| (read, held)),
        Err(_) => Err(Refusal::Incomplete),
    }
}

/// A response body, handed out in small frames: a peer that does not read keeps the rest here, where it is bounded.
pub struct Reply {
    rest: Bytes,
    _held: Option<OwnedSemaphorePermit>,
    _deadline: Option<Deadline>,
}

/// Ends a connection after some time, unless dropped before.
///
/// A timer in the body itself would not do: while flow control holds an answer back, nobody asks the body for more.
struct Deadline(tokio::task::JoinHandle<()>);

impl Reply {
    /// These bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { rest: bytes.into(), _held: None, _deadline: None }
    }

    /// Keeps what stands for the memory until all is sent; the connection ends if that takes longer than `time`.
    pub fn holding(mut self, held: OwnedSemaphorePermit, time: Duration, connection: &Connection) -> Self {
        self._held = Some(held);
        if self.rest.len() > FRAME {
            let end = connection.evicted();
            self._deadline = Some(Deadline(tokio::spawn(async move {
                sleep(time).await;
                end.cancel();
            })));
        }
        self
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let next = self.rest.len().min(FRAME);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(next)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
