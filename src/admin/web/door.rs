//! How connections come in: a bounded number, each for a bounded time, so that whoever opens many and says nothing takes no file
//! descriptors from the mail programs.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// How many at once. A browser opens six.
const MOST_CONNECTIONS: usize = 64;

/// How long one may say nothing at first.
const SILENCE: Duration = Duration::from_secs(5);

/// How long one may last that has said something.
const LIFE: Duration = Duration::from_secs(30);

/// The listener of the console.
pub(in crate::admin::web) struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Door {
    pub(in crate::admin::web) fn new(listener: TcpListener) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(MOST_CONNECTIONS)) }
    }
}

impl Listener for Door {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // It is never closed.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { continue };
            // axum's own waits a second where the system has no file descriptor left.
            let (stream, address) = Listener::accept(&mut self.listener).await;
            return (Guest { stream, life: Box::pin(sleep(SILENCE)), is_silent: true, _place: place }, address);
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that ends by itself.
pub(in crate::admin::web) struct Guest {
    stream: TcpStream,
    life: Pin<Box<Sleep>>,
    is_silent: bool,
    _place: OwnedSemaphorePermit,
}

impl Guest {
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.life.as_mut().poll(context).is_ready()
    }
}

fn over() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the connection to the console has lasted long enough")
}

impl AsyncRead for Guest {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let guest = self.get_mut();
        if guest.is_over(context) {
            return Poll::Ready(Err(over()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut guest.stream).poll_read(context, buffer);
        if guest.is_silent && buffer.filled().len() > before {
            guest.is_silent = false;
            guest.life.as_mut().reset(Instant::now() + LIFE);
        }
        read
    }
}

impl AsyncWrite for Guest {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let guest = self.get_mut();
        if guest.is_over(context) {
            return Poll::Ready(Err(over()));
        }
        Pin::new(&mut guest.stream).poll_write(context, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
