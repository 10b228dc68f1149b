//! Speaking in lines with a far side: limits on length and time, and nothing lost when the stream is handed on.

use std::time::Duration;

use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::base::HostPort;
use crate::upstream::UpstreamError;
use crate::wire::line::Lines;
use crate::wire::smtp::ReplyReader;

/// A conversation in lines over a stream.
#[derive(Debug)]
pub(in crate::upstream) struct Conversation<S> {
    stream: S,
    lines: Lines,
    host: HostPort,
    answer_time: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    pub(in crate::upstream) fn new(stream: S, host: HostPort, answer_time: Duration) -> Self {
        Self { stream, lines: Lines::new(ReplyReader::MAX_LINE_OCTETS), host, answer_time }
    }

    pub(in crate::upstream) fn host(&self) -> &HostPort {
        &self.host
    }

    /// The next line, without its end.
    pub(in crate::upstream) async fn line(&mut self, doing: &'static str) -> Result<Vec<u8>, UpstreamError> {
        let limit = self.answer_time;
        timeout(limit, self.line_without_limit(doing)).await.unwrap_or_else(|_| Err(self.silent(doing, limit)))
    }

    async fn line_without_limit(&mut self, doing: &'static str) -> Result<Vec<u8>, UpstreamError> {
        let mut buffer = [0; 2048];
        loop {
            match self.lines.next_line() {
                Ok(Some(line)) => return Ok(line.bytes),
                Ok(None) => {}
                Err(error) => return Err(self.protocol(error.to_string())),
            }
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return Err(UpstreamError::Closed { host: self.host.clone(), doing }),
                Ok(count) => self.lines.feed(buffer.get(..count).unwrap_or_default()),
            }
        }
    }

    /// Sends octets as they are.
    pub(in crate::upstream) async fn send(&mut self, octets: &[u8], doing: &'static str) -> Result<(), UpstreamError> {
        let limit = self.answer_time;
        let sent = timeout(limit, async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        })
        .await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(UpstreamError::Closed { host: self.host.clone(), doing }),
            Err(_) => Err(self.silent(doing, limit)),
        }
    }

    /// Allows each answer this long from now on.
    pub(in crate::upstream) fn set_answer_time(&mut self, answer_time: Duration) {
        self.answer_time = answer_time;
    }

    /// Whether something has come that was not asked for, without waiting for it: a time limit of nothing would be a millisecond, and this
    /// is asked before each piece of a message.
    pub(in crate::upstream) fn hears_something(&mut self) -> bool {
        let mut buffer = [0; 2048];
        if !self.has_more()
            && let Some(Ok(count)) = self.stream.read(&mut buffer).now_or_never()
        {
            self.lines.feed(buffer.get(..count).unwrap_or_default());
        }
        self.has_more()
    }

    pub(in crate::upstream) fn answer_time(&self) -> Duration {
        self.answer_time
    }

    /// Whether the far side has already sent more than was read.
    pub(in crate::upstream) fn has_more(&self) -> bool {
        !self.lines.is_empty()
    }

    /// The stream, and what was received and not read.
    pub(in crate::upstream) fn into_parts(mut self) -> (S, Vec<u8>) {
        let rest = self.lines.take_rest();
        (self.stream, rest)
    }

    pub(in crate::upstream) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    pub(in crate::upstream) fn protocol(&self, what: impl Into<String>) -> UpstreamError {
        UpstreamError::Protocol { host: self.host.clone(), what: what.into() }
    }

    pub(in crate::upstream) fn silent(&self, doing: &'static str, limit: Duration) -> UpstreamError {
        UpstreamError::Silent { host: self.host.clone(), doing, seconds: limit.as_secs() }
    }
}

/// What a far side said, fit for a log line: printable, and not endless.
pub(in crate::upstream) fn quoted(octets: &[u8]) -> String {
    const LONGEST: usize = 300;
    let text = String::from_utf8_lossy(octets.get(..LONGEST).unwrap_or(octets));
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
