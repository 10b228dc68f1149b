//! One connection to a mail server: octets in and out, in clear or in TLS, with a buffer that can be read line by line.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::sandbox::tenant::Tenant;

/// One connection.
pub(super) struct Connection {
    stream: Stream,
    tenant: Arc<Tenant>,
    input: Vec<u8>,
    output: Vec<u8>,
}

enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Between the two, while the handshake runs.
    Handshake,
}

/// Why a connection ends. The peer's going away is no error.
#[derive(Debug)]
pub(super) struct Ended;

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// What a wait for a line brought.
pub(super) enum Line {
    /// The line, without its CRLF or LF.
    Whole(Vec<u8>),
    /// There were more octets than allowed; they were thrown away to the end of the line.
    TooLong,
}

/// How long a closed connection is still read from.
const LINGER: Duration = Duration::from_millis(250);

/// How much clear text the tally keeps.
const CLEAR_LIMIT: usize = 1 << 20;

impl Connection {
    pub(super) fn new(stream: TcpStream, tenant: Arc<Tenant>) -> Self {
        tenant.note(|tally| {
            tally.connections += 1;
            tally.open_connections += 1;
        });
        Self { stream: Stream::Clear(stream), tenant, input: Vec::new(), output: Vec::new() }
    }

    pub(super) fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// The address of the other end, as servers show it in brackets.
    pub(super) fn peer(&self) -> String {
        let peer = match &self.stream {
            Stream::Clear(stream) => stream.peer_addr().ok(),
            Stream::Tls(stream) => stream.get_ref().0.peer_addr().ok(),
            Stream::Handshake => None,
        };
        peer.map_or_else(String::new, |peer| peer.ip().to_string())
    }

    /// Does the handshake. What came in clear before it is thrown away.
    pub(super) async fn start_tls(&mut self) -> Result<(), Ended> {
        self.flush().await?;
        self.input.clear();
        let Stream::Clear(stream) = std::mem::replace(&mut self.stream, Stream::Handshake) else { return Err(Ended) };
        let acceptor = self.tenant.certificates.acceptor(&self.tenant.faults).clone();
        let handshake = tokio::time::timeout(Duration::from_secs(60), acceptor.accept(stream));
        let stream = handshake.await.map_err(|_| Ended)??;
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        self.tenant.note(|tally| {
            tally.tls_handshakes += 1;
            tally.tls_resumptions += u64::from(resumed);
        });
        self.stream = Stream::Tls(Box::new(stream));
        Ok(())
    }

    /// Adds a line, with its CRLF, to what goes out with the next [`flush`](Self::flush).
    pub(super) fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    /// Adds octets as they are to what goes out.
    pub(super) fn put(&mut self, octets: &[u8]) {
        self.output.extend_from_slice(octets);
    }

    /// Sends what was said.
    pub(super) async fn flush(&mut self) -> Result<(), Ended> {
        if self.output.is_empty() {
            return Ok(());
        }
        match &mut self.stream {
            Stream::Clear(stream) => stream.write_all(&self.output).await?,
            Stream::Tls(stream) => {
                stream.write_all(&self.output).await?;
                stream.flush().await?;
            }
            Stream::Handshake => return Err(Ended),
        }
        self.output.clear();
        // An idle connection must cost little, however much it carried before.
        self.output.shrink_to(16 * 1024);
        Ok(())
    }

    /// Sends what was said and closes in order, so that the peer can read it all: a socket closed with octets unread would
    /// be reset, and the last words with it.
    pub(super) async fn close(&mut self) {
        let _ = self.flush().await;
        let _ = match &mut self.stream {
            Stream::Clear(stream) => stream.shutdown().await,
            Stream::Tls(stream) => stream.shutdown().await,
            Stream::Handshake => Ok(()),
        };
        let _ = tokio::time::timeout(LINGER, self.swallow()).await;
    }

    /// Reads and forgets, and says nothing, until the peer goes away.
    pub(super) async fn swallow(&mut self) -> Result<(), Ended> {
        loop {
            self.input.clear();
            self.fill().await?;
        }
    }

    /// Sends what was said, then waits for more octets and adds them to the input. Cancelling loses nothing.
    pub(super) async fn fill(&mut self) -> Result<(), Ended> {
        self.flush().await?;
        self.input.reserve(2048);
        let before = self.input.len();
        let read = match &mut self.stream {
            Stream::Clear(stream) => {
                let read = stream.read_buf(&mut self.input).await?;
                let came = self.input.get(before..).unwrap_or_default();
                self.tenant.note(|tally| {
                    let room = CLEAR_LIMIT.saturating_sub(tally.clear_octets.len()).min(came.len());
                    tally.clear_octets.extend_from_slice(came.get(..room).unwrap_or_default());
                });
                read
            }
            Stream::Tls(stream) => stream.read_buf(&mut self.input).await?,
            Stream::Handshake => return Err(Ended),
        };
        if read == 0 { Err(Ended) } else { Ok(()) }
    }

    /// What came in and was not taken yet.
    pub(super) fn input(&self) -> &[u8] {
        &self.input
    }

    /// Takes the first octets of the input.
    pub(super) fn take(&mut self, octets: usize) -> Vec<u8> {
        let rest = self.input.split_off(octets.min(self.input.len()));
        std::mem::replace(&mut self.input, rest)
    }

    /// Puts octets back in front of the input.
    pub(super) fn give_back(&mut self, mut octets: Vec<u8>) {
        octets.append(&mut self.input);
        self.input = octets;
    }

    /// Takes a line from the input, if a whole one, or more than `limit` octets, are there.
    pub(super) fn take_line(&mut self, limit: usize) -> Option<Vec<u8>> {
        let end = memchr::memchr(b'\n', &self.input)?;
        if end > limit {
            return None;
        }
        let mut line = self.take(end + 1);
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(line)
    }

    /// Waits for a line of at most `limit` octets.
    pub(super) async fn read_line(&mut self, limit: usize) -> Result<Line, Ended> {
        loop {
            if let Some(line) = self.take_line(limit) {
                return Ok(Line::Whole(line));
            }
            if self.input.len() > limit {
                break;
            }
            self.fill().await?;
        }
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.input) {
                self.take(end + 1);
                return Ok(Line::TooLong);
            }
            self.input.clear();
            self.fill().await?;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tenant.note(|tally| tally.open_connections = tally.open_connections.saturating_sub(1));
    }
}
