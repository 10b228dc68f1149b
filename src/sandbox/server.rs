//! Listening: sockets on loopback, one task per connection, all ended by one token.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::sandbox::SandboxError;
use crate::sandbox::connection::Connection;
use crate::sandbox::faults::FaultName;
use crate::sandbox::tenant::Tenant;

/// How many connections may wait to be accepted. With a short queue a burst of clients hangs without a greeting.
const BACKLOG: u32 = 1024;

/// A socket that listens.
pub(super) struct Bound {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
}

/// Opens a port on 127.0.0.1; 0 is a free one.
pub(super) fn bind(port: u16) -> Result<Bound, SandboxError> {
    let open = || {
        let socket = TcpSocket::new_v4()?;
        // A port that was named must be free again right after the last run; on Windows this would allow sharing it.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok(Bound { listener, address })
    };
    open().map_err(|source| SandboxError::Bind { port, source })
}

/// What every server needs to run.
pub(super) struct Running {
    pub(super) tenant: Arc<Tenant>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Running {
    /// Accepts connections and gives each to `serve`, until the tenant stops.
    pub(super) fn spawn<F>(&self, listener: TcpListener, serve: fn(Connection) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (tenant, stop, tasks) = (Arc::clone(&self.tenant), self.stop.clone(), self.tasks.clone());
        self.tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((stream, _)) = accepted else {
                    // Out of descriptors, most likely: it passes.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                if tenant.faults.holds(FaultName::MailUnreachable) {
                    continue;
                }
                let _ = stream.set_nodelay(true);
                let connection = Connection::new(stream, Arc::clone(&tenant));
                let stop = stop.clone();
                tasks.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = serve(connection) => {}
                    }
                });
            }
        });
    }
}
