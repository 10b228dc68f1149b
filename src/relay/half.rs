//! One direction of a relay.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A TLS record holds 16 KiB, so one read of a full record fits.
const BUFFER_OCTETS: usize = 16 * 1024;

thread_local! {
    /// Read into here and written from here within one poll; nothing stays in it between two.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_OCTETS].into());
}

/// What one direction has read and not yet written, and how far it is.
#[derive(Debug)]
pub(in crate::relay) struct Half {
    /// Octets that the writer did not take; empty, and without memory, most of the time.
    pending: Vec<u8>,
    /// How many of them it has taken since.
    taken: usize,
    /// The writer may hold octets back until it is flushed.
    unflushed: bool,
    reader_ended: bool,
    done: bool,
    octets: u64,
}

impl Half {
    /// Begins with octets that were read earlier.
    pub(in crate::relay) fn new(already_read: Vec<u8>) -> Self {
        Self { pending: already_read, taken: 0, unflushed: false, reader_ended: false, done: false, octets: 0 }
    }

    /// Octets that the writer has taken.
    pub(in crate::relay) fn octets(&self) -> u64 {
        self.octets
    }

    /// Whether the reader has ended and the writer has been told.
    pub(in crate::relay) fn is_done(&self) -> bool {
        self.done
    }

    /// Octets that were read and are not yet written.
    pub(in crate::relay) fn waiting(&self) -> &[u8] {
        self.pending.get(self.taken..).unwrap_or_default()
    }

    /// Moves what can be moved; `observe` sees all octets once, in order, before they are written. Ready when the reader has ended and
    /// the writer was shut down, or one of them failed.
    pub(in crate::relay) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        mut observe: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        loop {
            while self.taken < self.pending.len() {
                let count = ready!(Pin::new(&mut *writer).poll_write(cx, self.waiting()))?;
                self.wrote(count)?;
                self.taken += count;
            }
            if !self.pending.is_empty() {
                self.pending = Vec::new();
                self.taken = 0;
            }
            if self.reader_ended {
                ready!(Pin::new(&mut *writer).poll_shutdown(cx))?;
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            let read = BUFFER.with_borrow_mut(|buffer| {
                let mut room = ReadBuf::new(buffer);
                match Pin::new(&mut *reader).poll_read(cx, &mut room) {
                    Poll::Ready(Ok(())) => {}
                    // Many peers close without TLS's own farewell; for octets that are complete in themselves it adds nothing.
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
                let octets = room.filled();
                if octets.is_empty() {
                    self.reader_ended = true;
                    return Poll::Ready(Ok(()));
                }
                observe(octets);
                let mut rest = octets;
                while !rest.is_empty() {
                    match Pin::new(&mut *writer).poll_write(cx, rest) {
                        Poll::Ready(Ok(count)) => {
                            self.wrote(count)?;
                            rest = rest.get(count..).unwrap_or_default();
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => {
                            self.pending = rest.to_vec();
                            break;
                        }
                    }
                }
                Poll::Ready(Ok(()))
            });
            match read {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *writer).poll_flush(cx))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn wrote(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        self.octets += count as u64;
        Ok(())
    }
}
