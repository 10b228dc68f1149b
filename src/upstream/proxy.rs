//! Through a proxy: what it is asked is in `wire::tunnel`; here are the socket, and what a refusal means.

use std::fmt;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::base::{HostPort, Proxy, Whose};
use crate::wire::tunnel::{Refusal, Request, Step};

/// Why a proxy did not lead to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyTrouble {
    /// It closed the connection instead of answering.
    Closed,
    /// It said no.
    Refused(Refusal),
    /// It did not answer in time: it is out of order, or does not reach the host.
    Silent {
        /// How long we waited.
        seconds: u64,
    },
    /// It was not found, or did not take the connection.
    Unreachable {
        /// What the network said.
        reason: String,
    },
}

impl fmt::Display for ProxyTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("it closed the connection instead of answering"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Silent { seconds } => write!(f, "it did not answer within {seconds} s"),
            Self::Unreachable { reason } => write!(f, "it cannot be reached: {reason}"),
        }
    }
}

impl ProxyTrouble {
    pub(in crate::upstream) fn code(&self) -> &'static str {
        match self {
            Self::Closed => "proxy-closed",
            Self::Refused(Refusal::Forbidden { .. }) => "proxy-forbids",
            Self::Refused(Refusal::LoginRefused | Refusal::LoginUnknown { .. } | Refusal::LoginWanted) => "proxy-login",
            Self::Refused(Refusal::NotThatKind { .. }) => "proxy-protocol",
            Self::Refused(Refusal::NotReached { .. }) => "proxy-not-through",
            Self::Silent { .. } => "proxy-silent",
            Self::Unreachable { .. } => "proxy-unreachable",
        }
    }

    pub(in crate::upstream) fn whose(&self) -> Whose {
        match self {
            Self::Closed | Self::Silent { .. } | Self::Unreachable { .. } => Whose::Nobody,
            Self::Refused(Refusal::NotReached { .. }) => Whose::Nobody,
            Self::Refused(
                Refusal::Forbidden { .. }
                | Refusal::LoginRefused
                | Refusal::LoginUnknown { .. }
                | Refusal::LoginWanted
                | Refusal::NotThatKind { .. },
            ) => Whose::Administrator,
        }
    }

    pub(in crate::upstream) fn remedy(&self, host: &HostPort) -> String {
        match self {
            Self::Refused(Refusal::Forbidden { .. }) => format!(
                "Ask whoever runs the proxy to let this machine through to {host}; many allow port 443 only. If {host} is to be reached \
                 without the proxy, name it in `no_proxy` under [upstream]."
            ),
            Self::Refused(Refusal::LoginRefused) => {
                "Correct the user name and password in the proxy's address (`proxy_file` and the like under [upstream]) and start \
                 Postern anew. `@`, `:`, `/` and `%` in them are written %40, %3A, %2F and %25."
                    .to_owned()
            }
            Self::Refused(Refusal::LoginUnknown { .. }) => {
                "Postern can log in to an HTTP proxy by Basic, and to a SOCKS5 proxy by user name and password. Ask whoever runs the \
                 proxy to let this machine through without another login."
                    .to_owned()
            }
            Self::Refused(Refusal::LoginWanted) => {
                "Write the proxy's address with its login (http://USER:PASSWORD@HOST:PORT) into a file, name the file as `proxy_file` \
                 under [upstream] in place of `proxy`, and start Postern anew."
                    .to_owned()
            }
            Self::Refused(Refusal::NotThatKind { .. }) => {
                "Check kind (http:// or socks5://), host and port of the proxy under [upstream].".to_owned()
            }
            Self::Refused(Refusal::NotReached { .. }) => {
                format!("If it lasts: ask whoever runs the proxy whether it reaches {host}.")
            }
            Self::Closed | Self::Silent { .. } => format!(
                "Check kind, host and port of the proxy under [upstream], whether it runs, and whether it reaches {host}."
            ),
            Self::Unreachable { .. } => {
                "Check host and port of the proxy under [upstream], whether it runs, and this machine's way to it.".to_owned()
            }
        }
    }
}

/// Asks the proxy at the other end of `stream` to lead to `host`. Then `stream` leads there, and nothing that the host has said is lost:
/// what arrives is looked at before it is read, and read only as far as it is the proxy's answer.
pub(in crate::upstream) async fn lead(
    stream: &mut TcpStream,
    proxy: &Proxy,
    host: &HostPort,
) -> Result<(), ProxyTrouble> {
    let mut request = Request::new(proxy, host);
    let mut buffer = vec![0; 1024];
    loop {
        match request.step() {
            Step::Open => return Ok(()),
            Step::Refused(refusal) => return Err(ProxyTrouble::Refused(refusal)),
            Step::Send(octets) => stream.write_all(octets.expose()).await.map_err(|_| ProxyTrouble::Closed)?,
            Step::Read => {
                let there = stream.peek(&mut buffer).await.map_err(|_| ProxyTrouble::Closed)?;
                let taken = request.take(buffer.get(..there).unwrap_or_default());
                let answer = buffer.get_mut(..taken).filter(|answer| !answer.is_empty()).ok_or(ProxyTrouble::Closed)?;
                stream.read_exact(answer).await.map_err(|_| ProxyTrouble::Closed)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::base::Fault;
    use crate::upstream::{Settings, UpstreamError, dial};

    /// A proxy that takes one connection, says these pieces, each after it has heard something, and keeps quiet; what it heard.
    async fn proxy(pieces: &[&[u8]]) -> (HostPort, JoinHandle<Vec<u8>>) {
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = Vec::new();
            let mut buffer = [0; 4096];
            for piece in &pieces {
                let count = stream.read(&mut buffer).await.unwrap();
                heard.extend_from_slice(&buffer[..count]);
                stream.write_all(piece).await.unwrap();
            }
            if pieces.last().is_some_and(Vec::is_empty) {
                return heard; // it hangs up
            }
            while let Ok(1..) = stream.read(&mut buffer).await {}
            heard
        });
        (address, task)
    }

    fn settings(proxy: &str) -> Settings {
        let proxy = Some(Proxy::parse(proxy).unwrap());
        Settings { proxy, connect_time: Duration::from_secs(20), ..Settings::default() }
    }

    /// A name that nobody can resolve.
    fn host() -> HostPort {
        "smtp.nowhere.invalid:587".parse().unwrap()
    }

    #[tokio::test]
    async fn a_host_that_speaks_first_is_heard_from_its_first_octet_and_its_name_is_left_to_the_proxy() {
        let http: &[&[u8]] = &[b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n220 smtp ready\r\n"];
        let socks: &[&[u8]] = &[&[5, 0], b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50220 smtp ready\r\n"];
        for (scheme, pieces) in [("http", http), ("socks5", socks)] {
            let (address, task) = proxy(pieces).await;
            let mut stream = dial::tcp(&host(), &settings(&format!("{scheme}://{address}"))).await.unwrap();
            let mut first = [0; 16];
            stream.read_exact(&mut first).await.unwrap();
            assert_eq!(&first, b"220 smtp ready\r\n", "{scheme}");
            drop(stream);
            let heard = task.await.unwrap();
            assert!(heard.windows(20).any(|part| part == b"smtp.nowhere.invalid"), "{}", heard.escape_ascii());
        }
    }

    #[tokio::test]
    async fn a_proxy_that_does_not_lead_is_named_with_what_to_do_and_never_its_password() {
        let silent: &[&[u8]] = &[];
        for (scheme, pieces, code, whose) in [
            (
                "http",
                &[&b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..]][..],
                "proxy-login",
                Whose::Administrator,
            ),
            ("http", &[b"HTTP/1.1 407 x\r\nProxy-Authenticate: NTLM\r\n\r\n"], "proxy-login", Whose::Administrator),
            ("http", &[b"HTTP/1.1 403 Forbidden\r\n\r\n"], "proxy-forbids", Whose::Administrator),
            ("http", &[b"HTTP/1.1 502 Bad Gateway\r\n\r\n"], "proxy-not-through", Whose::Nobody),
            ("http", &[b"220 smtp ready\r\n"], "proxy-protocol", Whose::Administrator),
            ("http", &[&[b'H'; 1]], "proxy-silent", Whose::Nobody),
            ("http", silent, "proxy-silent", Whose::Nobody),
            ("http", &[b""], "proxy-closed", Whose::Nobody),
            ("socks5", &[&[5, 0xff]], "proxy-login", Whose::Administrator),
            ("socks5", &[&[5, 2], &[1, 1]], "proxy-login", Whose::Administrator),
            ("socks5", &[&[5, 0], &[5, 2]], "proxy-forbids", Whose::Administrator),
            ("socks5", &[&[5, 0], &[5, 4]], "proxy-not-through", Whose::Nobody),
            ("socks5", &[b"HTTP/1.1 400 Bad Request\r\n\r\n"], "proxy-protocol", Whose::Administrator),
            ("socks5", &[&[5, 0], &[5]], "proxy-silent", Whose::Nobody),
        ] {
            let (address, task) = proxy(pieces).await;
            let mut settings = settings(&format!("{scheme}://svc:hunter2@{address}"));
            if code == "proxy-silent" {
                settings.connect_time = Duration::from_millis(150);
            }
            let error = dial::tcp(&host(), &settings).await.unwrap_err();
            assert_eq!((error.code(), error.whose()), (code, whose), "{scheme} {error}");
            let told = format!("{error} {error:?} {}", error.remedy().unwrap());
            for named in ["smtp.nowhere.invalid:587", &address.to_string()] {
                assert!(error.to_string().contains(named), "{error}");
            }
            assert!(!told.contains("hunter2") && !told.contains("svc"), "{told}");
            task.abort();
        }
    }

    #[tokio::test]
    async fn an_answer_without_end_ends_at_its_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut sent = 0;
            let mut piece: &[u8] = b"HTTP/1.1 200 OK\r\n";
            while stream.write_all(piece).await.is_ok() {
                sent += piece.len();
                piece = b"X-Filler: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n";
            }
            sent
        });
        let error = dial::tcp(&host(), &settings(&format!("http://{address}"))).await.unwrap_err();
        assert_eq!(error.code(), "proxy-protocol", "{error}");
        // What the buffers of two sockets hold, and no more.
        assert!(task.await.unwrap() < 16 * 1024 * 1024);
    }

    #[tokio::test]
    async fn a_proxy_that_is_not_there_is_not_gone_around() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there: HostPort = listener.local_addr().unwrap().to_string().parse().unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://{}", gone.local_addr().unwrap());
        drop(gone);
        let mut settings = settings(&proxy);
        let error = dial::tcp(&there, &settings).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Proxy { why: ProxyTrouble::Unreachable { .. }, .. }), "{error}");
        assert_eq!(error.whose(), Whose::Nobody);
        settings.proxy = settings.proxy.map(|proxy| proxy.except(&["127.0.0.1".parse().unwrap()]));
        dial::tcp(&there, &settings).await.unwrap();
    }
}
