//! 1. Sockets in: bind, accept with back-off, server TLS, permits.

pub mod certificate;
mod permits;
pub mod proxy_header;
mod stream;
pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use socket2::{Domain, Protocol as SocketProtocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::base::{Fault, Protocol, Whose};

pub use self::permits::{Admission, BeforeLogin, ConnectionPermit, Permits};
pub use self::stream::ClientStream;

/// How many connections may wait to be accepted: as many as may come at once after a restart.
const BACKLOG: i32 = 1024;

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Never.
    None,
    /// With STARTTLS or STLS.
    StartTls,
    /// At once.
    Implicit,
}

impl Security {
    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Implicit => "implicit",
            Self::None => "none",
            Self::StartTls => "starttls",
        }
    }
}

/// What to listen on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The protocol spoken there.
    pub protocol: Protocol,
    /// Address and port; port 0 is any free one.
    pub address: SocketAddr,
    /// When TLS begins.
    pub security: Security,
    /// Who may log in without TLS.
    pub plaintext_from: Vec<IpNet>,
    /// Load balancers, which say first whose connection they pass on (the PROXY protocol).
    pub proxy_protocol_from: Vec<IpNet>,
}

impl Settings {
    /// Whether a connection from here begins with a header of the PROXY protocol.
    pub fn is_from_balancer(&self, peer: SocketAddr) -> bool {
        let address = peer.ip().to_canonical();
        self.proxy_protocol_from.iter().any(|network| network.contains(&address))
    }
}

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{protocol} cannot listen on {address}: {source}")]
pub struct BindError {
    protocol: Protocol,
    address: SocketAddr,
    source: io::Error,
}

impl Fault for BindError {
    fn code(&self) -> &'static str {
        "cannot-listen"
    }

    fn whose(&self) -> Whose {
        Whose::Administrator
    }

    fn remedy(&self) -> Option<String> {
        Some(match self.source.kind() {
            io::ErrorKind::AddrInUse => format!(
                "Another program has port {port}: find it with `ss -ltnp 'sport = :{port}'`, stop it, or choose another port.",
                port = self.address.port()
            ),
            io::ErrorKind::PermissionDenied => {
                "Ports below 1024 need a right of their own: docs/OPERATING.md shows how to give it, or choose another port."
                    .to_owned()
            }
            io::ErrorKind::AddrNotAvailable => "This machine does not have that address: correct `address`.".to_owned(),
            _ => "Correct `address` in the configuration.".to_owned(),
        })
    }
}

/// A bound socket. It takes connections from this moment on; they are served when it [`accept`](Listener::accept)s.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    settings: Arc<Settings>,
    address: SocketAddr,
}

/// A connection that came in.
#[derive(Debug)]
pub struct Incoming {
    /// Its stream.
    pub stream: TcpStream,
    /// The client's address and port.
    pub peer: SocketAddr,
    /// The listener that took it.
    pub settings: Arc<Settings>,
}

impl Listener {
    /// Binds.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(settings: Settings) -> Result<Self, BindError> {
        let failed = |source| BindError { protocol: settings.protocol, address: settings.address, source };
        let socket = open(settings.address).and_then(TcpListener::from_std).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, settings: Arc::new(settings), address })
    }

    /// Where it listens, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was told.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Hands every connection to `take` until `stopping`. Nothing that goes wrong with one connection, and no want of descriptors,
    /// ends it.
    pub async fn accept(self, stopping: CancellationToken, take: impl Fn(Incoming)) {
        let mut pause = Duration::from_millis(5);
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = stopping.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = Duration::from_millis(5);
                    tune(&stream);
                    take(Incoming { stream, peer, settings: Arc::clone(&self.settings) });
                }
                // The client was gone before we came to it.
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    warn!(
                        protocol = %self.settings.protocol,
                        address = %self.address,
                        "no connection can be accepted now, trying again in {} ms: {error}",
                        pause.as_millis()
                    );
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
            }
        }
    }
}

fn open(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(SocketProtocol::TCP))?;
    // A restart must not wait for connections of before to be forgotten. On Windows the option means something else.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` takes IPv6 only, so that it and `0.0.0.0` can stand side by side on every system.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// No waiting for more to send, and a sign of life now and then, so that a client that vanished does not stay for ever.
fn tune(stream: &TcpStream) {
    // A connection without these still works; if it is gone already, the next read says so.
    drop(stream.set_nodelay(true));
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(300)).with_interval(Duration::from_secs(60));
    drop(SockRef::from(stream).set_tcp_keepalive(&keepalive));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_named_with_the_way_to_find_who_has_it() {
        let settings = |port| Settings {
            protocol: Protocol::Imap,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            security: Security::None,
            plaintext_from: Vec::new(),
            proxy_protocol_from: Vec::new(),
        };
        let first = Listener::bind(settings(0)).unwrap();
        let port = first.address().port();
        let error = Listener::bind(settings(port)).unwrap_err();
        assert!(error.to_string().starts_with(&format!("imap cannot listen on 127.0.0.1:{port}: ")), "{error}");
        assert!(error.remedy().unwrap().contains(&format!(":{port}")));
    }
}
