//! Helpers for the tests of the tenant, which drive it by raw sockets and by clients that are not ours; and the tests of
//! what all its servers share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;

pub(super) const ALICE: &str = "alice@contoso.test";
pub(super) const BOB: &str = "bob@contoso.test";
pub(super) const APP_SCOPE: &str = "https://outlook.office365.com/.default";

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn start() -> Sandbox {
    start_with(&[]).await
}

pub(super) async fn start_with(faults: &[(FaultName, Option<&str>)]) -> Sandbox {
    let faults = faults.iter().map(|(name, value)| (*name, value.map(str::to_owned))).collect();
    Sandbox::start(Options { faults, tarpit: Duration::ZERO, ..Options::default() }).await.unwrap()
}

pub(super) fn client_config(sandbox: &Sandbox) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(sandbox.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A peer that knows nothing: it sends what it is told and shows what came.
pub(super) struct Peer {
    stream: Option<Box<dyn Duplex>>,
    came: Vec<u8>,
}

impl Peer {
    pub(super) async fn clear(address: SocketAddr) -> Self {
        Self { stream: Some(Box::new(TcpStream::connect(address).await.unwrap())), came: Vec::new() }
    }

    pub(super) async fn tls(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        Self::clear(address).await.secured(config).await
    }

    /// Does the handshake on the connection as it stands.
    pub(super) async fn secured(mut self, config: Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(config).connect(name, self.stream.take().unwrap()).await.unwrap();
        Self { stream: Some(Box::new(stream)), came: Vec::new() }
    }

    pub(super) async fn send(&mut self, text: impl AsRef<[u8]>) {
        let stream = self.stream.as_mut().unwrap();
        stream.write_all(text.as_ref()).await.unwrap();
        stream.flush().await.unwrap();
    }

    /// Reads until the text is there; all up to its end.
    pub(super) async fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = memchr::memmem::find(&self.came, text.as_bytes()) {
                let rest = self.came.split_off(at + text.len());
                let came = std::mem::replace(&mut self.came, rest);
                return String::from_utf8_lossy(&came).into_owned();
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.as_mut().unwrap().read_buf(&mut self.came)).await;
            let read =
                read.unwrap_or_else(|_| panic!("waiting for {text:?}: {:?}", String::from_utf8_lossy(&self.came)));
            if !matches!(read, Ok(1..)) {
                panic!("closed while waiting for {text:?}: {:?}", String::from_utf8_lossy(&self.came));
            }
        }
    }

    pub(super) async fn line(&mut self) -> String {
        self.until("\r\n").await.trim_end_matches("\r\n").to_owned()
    }

    /// Sends a line and reads one.
    pub(super) async fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n")).await;
        self.line().await
    }

    /// An IMAP command: everything up to its tagged response. The tag is the first word.
    pub(super) async fn command(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n")).await;
        let tag = line.split(' ').next().unwrap();
        let mut all = String::new();
        loop {
            let line = self.line().await;
            let ended = line.starts_with(&format!("{tag} "));
            all.push_str(&line);
            all.push('\n');
            if ended {
                return all;
            }
        }
    }

    /// What comes until the connection is closed.
    pub(super) async fn until_closed(mut self) -> String {
        let rest = async {
            // A cut without goodbye is an end too.
            while let Ok(1..) = self.stream.as_mut().unwrap().read_buf(&mut self.came).await {}
        };
        tokio::time::timeout(PATIENCE, rest).await.expect("the connection stays open");
        String::from_utf8_lossy(&self.came).into_owned()
    }
}

/// A form posted by hand: status, header, body.
pub(super) async fn post(url: &str, fields: &[(&str, &str)]) -> (u16, String, String) {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    request(url, "POST", "Content-Type: application/x-www-form-urlencoded\r\n", &body).await
}

pub(super) async fn request(url: &str, method: &str, headers: &str, body: &str) -> (u16, String, String) {
    let (status, head, body) = raw_request(url, method, headers, body).await;
    (status, head.to_ascii_lowercase(), body)
}

/// The same with the header as it came.
pub(super) async fn raw_request(url: &str, method: &str, headers: &str, body: &str) -> (u16, String, String) {
    let url: url::Url = url.parse().unwrap();
    let address = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let mut peer = Peer::clear(address.parse().unwrap()).await;
    let target = url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let length = body.len();
    peer.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    ))
    .await;
    let answer = peer.until_closed().await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.as_str(), ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, head.to_owned(), body.to_owned())
}

pub(super) async fn app_token(sandbox: &Sandbox) -> String {
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", sandbox.client_id()),
        ("client_secret", sandbox.client_secret()),
        ("scope", APP_SCOPE),
    ];
    let (status, _, body) = post(&sandbox.token_url(), &fields).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["access_token"].as_str().unwrap().to_owned()
}

pub(super) async fn user_token(sandbox: &Sandbox, user: &str, permission: &str) -> String {
    let refresh_token = sandbox.refresh_token_for(user);
    let scope = format!("https://outlook.office.com/{permission} offline_access");
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", sandbox.public_client_id()),
        ("refresh_token", refresh_token.as_str()),
        ("scope", scope.as_str()),
    ];
    let (status, _, body) = post(&sandbox.token_url(), &fields).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["access_token"].as_str().unwrap().to_owned()
}

pub(super) fn xoauth2(user: &str, token: &str) -> String {
    STANDARD.encode(format!("user={user}\u{1}auth=Bearer {token}\u{1}\u{1}"))
}

/// Waits until it is so.
pub(super) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let watch = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, watch).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn the_mail_ports_close_at_once_when_they_are_unreachable() {
    let sandbox = start_with(&[(FaultName::MailUnreachable, None)]).await;
    for address in [sandbox.imap_address(), sandbox.smtp_address(), sandbox.pop3_address()] {
        assert_eq!(Peer::clear(address).await.until_closed().await, "");
    }
    sandbox.faults().clear(FaultName::MailUnreachable);
    assert!(Peer::clear(sandbox.smtp_address()).await.line().await.starts_with("220 "));
}

#[tokio::test]
async fn a_client_that_verifies_sees_what_is_wrong_with_each_bad_certificate() {
    let sandbox = start().await;
    for (fault, reason) in [
        (Some(FaultName::TlsWrongName), "not valid for name"),
        (Some(FaultName::TlsUntrusted), "UnknownIssuer"),
        (Some(FaultName::TlsExpired), "expired"),
        (None, ""),
    ] {
        sandbox.faults().clear_all();
        if let Some(fault) = fault {
            sandbox.faults().set(fault, None).unwrap();
        }
        for name in ["localhost", "127.0.0.1", "::1"] {
            let stream = TcpStream::connect(sandbox.imap_address()).await.unwrap();
            let name = ServerName::try_from(name).unwrap();
            let connected = TlsConnector::from(client_config(&sandbox)).connect(name, stream).await;
            match (fault, connected) {
                (None, connected) => assert!(connected.is_ok()),
                (Some(fault), Ok(_)) => panic!("{fault}: the handshake went through"),
                (Some(fault), Err(error)) => assert!(error.to_string().contains(reason), "{fault}: {error}"),
            }
        }
    }
}

#[tokio::test]
async fn a_resumed_tls_session_is_counted() {
    let sandbox = start().await;
    let config = client_config(&sandbox);
    for _ in 0..3 {
        let mut peer = Peer::tls(sandbox.imap_address(), Arc::clone(&config)).await;
        peer.line().await;
        peer.command("a LOGOUT").await;
    }
    let tally = sandbox.tally();
    assert_eq!((tally.tls_handshakes, tally.tls_resumptions), (3, 2));
    assert_eq!(tally.clear_octets, b"");
}

#[tokio::test]
async fn imap_sessions_can_be_told_to_end_before_the_token_does() {
    let sandbox = start_with(&[(FaultName::ImapTokenExpires, Some("0"))]).await;
    let token = app_token(&sandbox).await;
    let mut peer = Peer::tls(sandbox.imap_address(), client_config(&sandbox)).await;
    peer.line().await;
    let login = format!("a AUTHENTICATE XOAUTH2 {}", xoauth2(ALICE, &token));
    assert_eq!(peer.command(&login).await, "a OK AUTHENTICATE completed.\n");
    assert_eq!(peer.until_closed().await, "* BYE Session invalidated - AccessTokenExpired\r\n");
    let entry = sandbox.tenant.enter(crate::base::Protocol::Pop3, xoauth2(ALICE, &token).as_bytes()).unwrap();
    assert!(entry.expires > tokio::time::Instant::now() + Duration::from_secs(3000));
}

#[tokio::test]
async fn stopping_closes_every_connection_and_nothing_listens_any_more() {
    let sandbox = start_with(&[(FaultName::TokenHang, None)]).await;
    let (address, token_url) = (sandbox.imap_address(), sandbox.token_url());
    let mut peer = Peer::tls(address, client_config(&sandbox)).await;
    peer.line().await;
    let asking = tokio::spawn(async move { post(&token_url, &[("grant_type", "client_credentials")]).await });
    eventually("the request is there", || !sandbox.tally().token_requests.is_empty()).await;
    tokio::time::timeout(PATIENCE, sandbox.stop()).await.unwrap();
    assert_eq!(peer.until_closed().await, "");
    assert_eq!(asking.await.unwrap().0, 503);
    assert!(TcpStream::connect(address).await.is_err());
}

#[cfg(unix)]
#[tokio::test]
async fn a_thousand_idle_sessions_are_accepted_at_once() {
    // Two descriptors per connection, since both ends are in this process.
    let limit = if nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap().0 > 2500 {
        1000
    } else {
        300
    };
    let sandbox = start().await;
    let address = sandbox.imap_address();
    let connecting: Vec<_> = (0..limit).map(|_| tokio::spawn(TcpStream::connect(address))).collect();
    let mut open = Vec::new();
    for connection in connecting {
        open.push(connection.await.unwrap().unwrap());
    }
    eventually("all are accepted", || sandbox.tally().open_connections == limit).await;
    drop(open);
    eventually("all are gone", || sandbox.tally().open_connections == 0).await;
}
