//! Lets gRPC clients in that name a UNIX socket by its path.
//!
//! The gRPC C core (Python, C++, Ruby, PHP) and grpc-java send the socket's path, percent-encoded or not, as
//! `:authority`. That is no authority by RFC 3986, and the HTTP/2 library resets the stream before any handler sees it
//! (<https://github.com/hyperium/h2/pull/487>, <https://github.com/grpc/grpc/issues/38142>). Nothing here reads the
//! authority, so on UNIX sockets the offending bytes are replaced in place. The length stays, and with it everything
//! else of the frame and both sides' header tables. Those clients never Huffman-code the field; a coded one is left alone.

use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tonic::transport::server::{Connected, UdsConnectInfo};

/// `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`, before the first frame.
const PREFACE_LEN: usize = 24;
const FRAME_HEADER_LEN: usize = 9;
const FRAME_HEADERS: u8 = 1;
const FLAG_PADDED: u8 = 0x08;
const FLAG_PRIORITY: u8 = 0x20;
/// The largest frame that a peer may send before it is told otherwise; larger ones are the library's to refuse.
const MAX_FRAME: usize = 16_384;
/// `:authority` in the static table of HPACK (RFC 7541, appendix A).
const AUTHORITY_INDEX: usize = 1;
const AUTHORITY: &[u8] = b":authority";

/// A connection of the UNIX socket.
pub(super) struct Connection {
    socket: UnixStream,
    /// Bytes from the socket; the first `checked` of them may go on.
    buffer: BytesMut,
    checked: usize,
    /// Bytes that go on unread, up to the next frame that begins.
    skip: usize,
}

impl Connection {
    pub(super) fn new(socket: UnixStream) -> Self {
        Connection { socket, buffer: BytesMut::new(), checked: 0, skip: PREFACE_LEN }
    }

    /// Lets go on what is in the buffer, up to an incomplete header frame.
    fn check(&mut self) {
        loop {
            let Some(rest) = self.buffer.get_mut(self.checked..) else { return };
            let through = self.skip.min(rest.len());
            self.checked += through;
            self.skip -= through;
            let Some(rest) = rest.get_mut(through..) else { return };
            let Some((header, payload)) = rest.split_at_mut_checked(FRAME_HEADER_LEN) else { return };
            let &mut [high, middle, low, kind, flags, ..] = header else { return };
            let len = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            if kind == FRAME_HEADERS && len <= MAX_FRAME {
                let Some(payload) = payload.get_mut(..len) else { return };
                mend_headers(flags, payload);
            }
            self.skip = FRAME_HEADER_LEN + len;
        }
    }
}

fn mend_headers(flags: u8, payload: &mut [u8]) {
    let padding = usize::from(flags & FLAG_PADDED != 0);
    let priority = if flags & FLAG_PRIORITY != 0 { 5 } else { 0 };
    if let Some(block) = payload.get_mut(padding + priority..) {
        // A block that does not parse is the library's to refuse.
        let _ = mend_block(block);
    }
}

/// Walks the fields of a header block (RFC 7541, section 6). `None` where it is cut off or malformed.
fn mend_block(block: &mut [u8]) -> Option<()> {
    let mut at = 0;
    while at < block.len() {
        let (prefix, is_literal) = match *block.get(at)? {
            first if first & 0x80 != 0 => (7, false),
            first if first & 0x40 != 0 => (6, true),
            first if first & 0x20 != 0 => (5, false),
            _ => (4, true),
        };
        let index = integer(block, &mut at, prefix)?;
        if !is_literal {
            continue;
        }
        let is_authority = match index {
            0 => matches!(string(block, &mut at)?, (false, name) if block.get(name.clone())? == AUTHORITY),
            index => index == AUTHORITY_INDEX,
        };
        let (is_coded, value) = string(block, &mut at)?;
        if is_authority && !is_coded {
            let offending = block.get_mut(value)?.iter_mut().filter(|byte| matches!(**byte, b'%' | b'/'));
            offending.for_each(|byte| *byte = b'-');
        }
    }
    Some(())
}

/// An integer with a prefix of so many bits (RFC 7541, section 5.1).
fn integer(block: &[u8], at: &mut usize, prefix: u32) -> Option<usize> {
    let mask = (1 << prefix) - 1;
    let mut value = usize::from(*block.get(*at)?) & mask;
    *at += 1;
    if value < mask {
        return Some(value);
    }
    for shift in [0, 7, 14] {
        let byte = *block.get(*at)?;
        *at += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Whether a string is Huffman-coded, and where its bytes are (RFC 7541, section 5.2).
fn string(block: &[u8], at: &mut usize) -> Option<(bool, Range<usize>)> {
    let is_coded = *block.get(*at)? & 0x80 != 0;
    let len = integer(block, at, 7)?;
    let range = *at..*at + len;
    *at += len;
    (range.end <= block.len()).then_some((is_coded, range))
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.checked == 0 {
            let mut chunk = [const { MaybeUninit::uninit() }; 8192];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            ready!(Pin::new(&mut this.socket).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                // The end: what is left is an incomplete frame, or nothing.
                this.checked = this.buffer.len();
                break;
            }
            this.buffer.extend_from_slice(chunk.filled());
            this.check();
        }
        let len = this.checked.min(buf.remaining());
        buf.put_slice(this.buffer.get(..len).unwrap_or_default());
        this.buffer.advance(len);
        this.checked -= len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl Connected for Connection {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.socket.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A field with a name and value that are not coded.
    fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
        [&[0x40, name.len() as u8], name, &[value.len() as u8], value].concat()
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&len[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn mended(mut block: Vec<u8>) -> Vec<u8> {
        mend_block(&mut block);
        block
    }

    #[test]
    fn only_the_authority_is_mended() {
        let path = literal(b":path", b"/a%2Fb");
        let before = [path.clone(), literal(AUTHORITY, b"%2Frun%2Fads.sock"), vec![0x82, 0x3f, 0x01]].concat();
        let after = [path.clone(), literal(AUTHORITY, b"-2Frun-2Fads.sock"), vec![0x82, 0x3f, 0x01]].concat();
        assert_eq!(mended([before, path.clone()].concat()), [after, path].concat());
    }

    #[test]
    fn the_static_name_is_known_in_all_three_forms() {
        for first in [0x41, 0x01, 0x11] {
            assert_eq!(mended(vec![first, 4, b'/', b'a', b'/', b'b']), [first, 4, b'-', b'a', b'-', b'b']);
        }
    }

    #[test]
    fn coded_values_and_broken_blocks_are_left_alone() {
        for block in [vec![0x41, 0x82, b'/', b'%'], vec![0x41, 9, b'/', b'%'], vec![0x41, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(mended(block.clone()), block);
        }
    }

    /// What comes out of a connection whose peer sends `bytes` in pieces of a size, and closes.
    async fn through(bytes: &[u8], piece: usize) -> Vec<u8> {
        let (mut peer, socket) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(socket);
        let send = async move {
            for piece in bytes.chunks(piece) {
                peer.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let mut out = Vec::new();
        let (_, read) = tokio::join!(send, connection.read_to_end(&mut out));
        read.unwrap();
        out
    }

    #[tokio::test]
    async fn frames_are_found_however_they_are_cut() {
        let block = |authority: &[u8]| literal(AUTHORITY, authority);
        let stream = |authority: &[u8]| {
            [
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
                frame(4, 0, &[0; 6]),
                frame(FRAME_HEADERS, 4, &block(authority)),
                frame(0, 0, &block(b"/data/")),
                frame(FRAME_HEADERS, 4 | FLAG_PADDED | FLAG_PRIORITY, &[&[0; 6][..], &block(authority)].concat()),
                frame(0, 1, &[b'/'; 40_000]),
            ]
            .concat()
        };
        for piece in [1, 7, 1000, 100_000] {
            assert!(through(&stream(b"/run"), piece).await == stream(b"-run"), "pieces of {piece}");
        }
        let cut = &stream(b"/run")[..50];
        assert_eq!(through(cut, 8).await, cut, "an incomplete frame goes on at the end");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_block_breaks_it(block in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(mended(block.clone()).len(), block.len());
        }
    }
}
