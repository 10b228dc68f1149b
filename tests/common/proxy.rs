//! Proxies on loopback, HTTP and SOCKS5, that lead to a simulated tenant or behave badly, and note what they were asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::common::eventually;

/// What a proxy was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The host as it was named.
    pub host: String,
    /// The port.
    pub port: u16,
    /// `user:password`, where it was told one.
    pub login: Option<String>,
}

/// How a proxy behaves once it was asked, and has accepted the login.
#[derive(Clone)]
pub enum Manner {
    /// It leads to the host.
    Leads,
    /// As `Leads`, but it waits until the host has spoken, and sends that in one piece with its own answer.
    LeadsGlued,
    /// As `Leads`, but its answer comes octet by octet.
    LeadsSlowly,
    /// It says this and hangs up.
    Says(&'static [u8]),
    /// It claims to lead to the host, and does the TLS handshake itself with this certificate.
    Impersonates(Arc<rustls::ServerConfig>),
}

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    Http,
    Socks5,
}

/// A proxy; it ends when it is dropped.
pub struct TestProxy {
    pub address: SocketAddr,
    spoken: Spoken,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    spoken: Spoken,
    /// `user:password` that it wants.
    login: Option<&'static str>,
    manner: Mutex<Manner>,
    /// Where a port that it is asked for really is.
    routes: Mutex<HashMap<u16, SocketAddr>>,
    asked: Mutex<Vec<Asked>>,
    /// What clients said inside TLS to one that impersonates the host; an error if the handshake failed.
    overheard: Mutex<Vec<Result<Vec<u8>, String>>>,
}

impl TestProxy {
    /// Starts one that wants this login, `user:password`, or none.
    pub async fn start(spoken: Spoken, login: Option<&'static str>) -> TestProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            spoken,
            login,
            manner: Mutex::new(Manner::Leads),
            routes: Mutex::default(),
            asked: Mutex::default(),
            overheard: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                // A client that hangs up half way ends it; what it asked is noted by then.
                tokio::spawn(async move { shared.serve(stream).await });
            }
        });
        TestProxy { address, spoken, shared, task }
    }

    /// Its address for `[upstream] proxy`, with this login.
    pub fn url(&self, login: Option<&str>) -> String {
        let scheme = match self.spoken {
            Spoken::Http => "http",
            Spoken::Socks5 => "socks5",
        };
        let login = login.map(|login| format!("{login}@")).unwrap_or_default();
        format!("{scheme}://{login}{}", self.address)
    }

    /// Lets a port that it is asked for lead there.
    pub fn route(&self, port: u16, to: SocketAddr) {
        self.shared.routes.lock().unwrap().insert(port, to);
    }

    /// Changes how it behaves.
    pub fn be(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// What it was asked so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Stops it; from then on its port takes no connection.
    pub async fn stop(&self) {
        self.task.abort();
        eventually("the proxy to be gone", async || TcpStream::connect(self.address).await.is_err()).await;
    }

    /// What it heard inside TLS while it impersonated the host.
    pub fn overheard(&self) -> Vec<Result<Vec<u8>, String>> {
        self.shared.overheard.lock().unwrap().clone()
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let asked = match self.spoken {
            Spoken::Http => self.http(&mut stream).await?,
            Spoken::Socks5 => self.socks(&mut stream).await?,
        };
        let Some(port) = asked else { return Ok(()) };
        let open: &[u8] = match self.spoken {
            Spoken::Http => b"HTTP/1.1 200 Connection established\r\nProxy-Agent: test\r\n\r\n",
            Spoken::Socks5 => &[5, 0, 0, 1, 127, 0, 0, 1, 0, 80],
        };
        let manner = self.manner.lock().unwrap().clone();
        match manner {
            Manner::Says(octets) => {
                stream.write_all(octets).await?;
                stream.shutdown().await
            }
            Manner::Impersonates(tls) => {
                stream.write_all(open).await?;
                let overheard = match TlsAcceptor::from(tls).accept(stream).await {
                    Ok(mut stream) => {
                        let mut said = vec![0; 4096];
                        let count = stream.read(&mut said).await.unwrap_or(0);
                        said.truncate(count);
                        Ok(said)
                    }
                    Err(error) => Err(error.to_string()),
                };
                self.overheard.lock().unwrap().push(overheard);
                Ok(())
            }
            leads => {
                let to = self.routes.lock().unwrap().get(&port).copied();
                // Whoever asks for another port gets to that of this machine.
                let mut host = TcpStream::connect(to.unwrap_or_else(|| ([127, 0, 0, 1], port).into())).await?;
                host.set_nodelay(true)?;
                match leads {
                    Manner::LeadsGlued => {
                        let mut first = vec![0; 4096];
                        let count = host.read(&mut first).await?;
                        stream.write_all(&[open, &first[..count]].concat()).await?;
                    }
                    Manner::LeadsSlowly => {
                        for octet in open {
                            stream.write_all(&[*octet]).await?;
                            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                        }
                    }
                    _ => stream.write_all(open).await?,
                }
                copy_bidirectional(&mut stream, &mut host).await.map(drop)
            }
        }
    }

    fn note(&self, host: String, port: u16, login: Option<String>) {
        self.asked.lock().unwrap().push(Asked { host, port, login });
    }

    /// The port that was asked for; none if it was refused.
    async fn http(&self, stream: &mut TcpStream) -> std::io::Result<Option<u16>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let target = lines.next().and_then(|line| line.strip_prefix("CONNECT ")?.strip_suffix(" HTTP/1.1"));
        let Some((host, port)) = target.and_then(|target| target.rsplit_once(':')) else {
            stream.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n").await?;
            return Ok(None);
        };
        assert!(head.contains(&format!("\r\nHost: {host}:{port}\r\n")), "{head}");
        let login = lines
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"))
            .map(|(_, value)| {
                String::from_utf8(STANDARD.decode(value.strip_prefix("Basic ").unwrap()).unwrap()).unwrap()
            });
        let port = port.parse().unwrap();
        self.note(host.to_owned(), port, login.clone());
        if self.login.is_some() && self.login != login.as_deref() {
            let answer = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"test\"\r\n\
                          Content-Length: 2\r\n\r\nno";
            stream.write_all(answer.as_bytes()).await?;
            return Ok(None);
        }
        Ok(Some(port))
    }

    /// The port that was asked for; none if it was refused.
    async fn socks(&self, stream: &mut TcpStream) -> std::io::Result<Option<u16>> {
        async fn octets(stream: &mut TcpStream, count: u8) -> std::io::Result<Vec<u8>> {
            let mut octets = vec![0; usize::from(count)];
            stream.read_exact(&mut octets).await.map(|_| octets)
        }
        assert_eq!(stream.read_u8().await?, 5);
        let count = stream.read_u8().await?;
        let methods = octets(stream, count).await?;
        let wanted = if self.login.is_some() { 2 } else { 0 };
        if !methods.contains(&wanted) {
            stream.write_all(&[5, 0xff]).await?;
            return Ok(None);
        }
        stream.write_all(&[5, wanted]).await?;
        let mut login = None;
        if let Some(right) = self.login {
            assert_eq!(stream.read_u8().await?, 1);
            let count = stream.read_u8().await?;
            let user = String::from_utf8(octets(stream, count).await?).unwrap();
            let count = stream.read_u8().await?;
            let password = String::from_utf8(octets(stream, count).await?).unwrap();
            let told = format!("{user}:{password}");
            let refused = told != right;
            stream.write_all(&[1, u8::from(refused)]).await?;
            if refused {
                return Ok(None);
            }
            login = Some(told);
        }
        assert_eq!(octets(stream, 3).await?, [5, 1, 0]);
        let host = match stream.read_u8().await? {
            1 => std::net::Ipv4Addr::from(stream.read_u32().await?).to_string(),
            3 => {
                let count = stream.read_u8().await?;
                String::from_utf8(octets(stream, count).await?).unwrap()
            }
            kind => panic!("an address of kind {kind}"),
        };
        let port = stream.read_u16().await?;
        self.note(host, port, login);
        Ok(Some(port))
    }
}

/// TLS of somebody who has a certificate for `localhost`, from nobody that is trusted.
pub fn impostor() -> Arc<rustls::ServerConfig> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap())
}
