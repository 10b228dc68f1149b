//! The clients: the same ones on every way, but for the words of their login.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use base64::Engine;
use postern::base::Protocol;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::common::ground::Way;

/// Somebody with a mailbox.
pub struct User {
    pub address: String,
    /// The app password, for Postern.
    pub password: String,
    /// The SASL string with the access token, for the tenant itself.
    pub xoauth2: String,
}

/// Where a client goes, and what it meets there.
#[derive(Clone)]
pub struct Place {
    pub address: SocketAddr,
    pub protocol: Protocol,
    pub way: Way,
    pub tls: TlsConnector,
}

/// TLS of a client that trusts these authorities.
pub fn trusting(authorities_pem: &[String]) -> Result<ClientConfig> {
    let mut anchors = RootCertStore::empty();
    for pem in authorities_pem {
        anchors.add(CertificateDer::from_pem_slice(pem.as_bytes())?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(anchors).with_no_client_auth())
}

/// A client that speaks in lines.
pub struct Client {
    stream: BufReader<TlsStream<TcpStream>>,
}

impl Client {
    /// Connects, and logs in.
    pub async fn log_in(place: &Place, user: &User) -> Result<Self> {
        let stream = TcpStream::connect(place.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        if place.protocol == Protocol::Smtp && place.way == Way::Direct {
            let mut clear = BufReader::new(stream);
            starttls(&mut clear).await?;
            let mut client = Self { stream: BufReader::new(place.tls.connect(name, clear.into_inner()).await?) };
            client.log_in_by_smtp(place.way, user).await?;
            return Ok(client);
        }
        let mut client = Self { stream: BufReader::new(place.tls.connect(name, stream).await?) };
        match place.protocol {
            Protocol::Imap => client.log_in_by_imap(place.way, user).await?,
            Protocol::Pop3 => client.log_in_by_pop3(place.way, user).await?,
            Protocol::Smtp => {
                client.smtp_reply(220).await?;
                client.log_in_by_smtp(place.way, user).await?;
            }
        }
        Ok(client)
    }

    /// Connects from an address of this machine, with TLS from the first byte, and says nothing.
    pub async fn connect_from(place: &Place, source: std::net::IpAddr) -> Result<Self> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(source, 0))?;
        let stream = socket.connect(place.address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(place.tls.connect(ServerName::try_from("localhost")?, stream).await?) })
    }

    async fn log_in_by_imap(&mut self, way: Way, user: &User) -> Result<()> {
        self.line_with("* OK ").await?;
        let words = match way {
            Way::Postern => format!("l LOGIN {} {}", user.address, user.password),
            Way::Direct | Way::Forwarder => format!("l AUTHENTICATE XOAUTH2 {}", user.xoauth2),
        };
        self.imap(&words).await
    }

    async fn log_in_by_pop3(&mut self, way: Way, user: &User) -> Result<()> {
        self.line_with("+OK").await?;
        let (first, second) = match way {
            Way::Postern => (format!("USER {}", user.address), format!("PASS {}", user.password)),
            Way::Direct | Way::Forwarder => ("AUTH XOAUTH2".to_owned(), user.xoauth2.clone()),
        };
        self.say(&first).await?;
        self.line_with("+").await?;
        self.say(&second).await?;
        self.line_with("+OK").await
    }

    async fn log_in_by_smtp(&mut self, way: Way, user: &User) -> Result<()> {
        self.smtp("EHLO client", 250).await?;
        match way {
            Way::Postern => {
                let plain = format!("\0{}\0{}", user.address, user.password);
                let plain = base64::engine::general_purpose::STANDARD.encode(plain);
                self.smtp(&format!("AUTH PLAIN {plain}"), 235).await
            }
            Way::Direct | Way::Forwarder => {
                self.smtp("AUTH XOAUTH2", 334).await?;
                self.smtp(&user.xoauth2, 235).await
            }
        }
    }

    /// Ends the session in order.
    pub async fn log_out(mut self, protocol: Protocol) -> Result<()> {
        self.say(if protocol == Protocol::Imap { "o LOGOUT" } else { "QUIT" }).await?;
        let mut rest = Vec::new();
        // Not everybody says farewell in TLS before closing.
        drop(self.stream.read_to_end(&mut rest).await);
        Ok(())
    }

    /// Sends an IMAP command and reads to its OK.
    pub async fn imap(&mut self, command: &str) -> Result<()> {
        let tag = command.split(' ').next().unwrap_or_default().to_owned();
        self.say(command).await?;
        loop {
            let line = self.line().await?;
            if let Some(answer) = line.strip_prefix(&format!("{tag} ")) {
                ensure!(answer.starts_with("OK"), "`{line}`");
                return Ok(());
            }
            ensure!(!line.starts_with("* BYE"), "`{line}`");
        }
    }

    /// Ends IDLE.
    pub async fn idle_done(&mut self) -> Result<()> {
        self.say("DONE").await?;
        loop {
            if self.line().await?.starts_with("i OK") {
                return Ok(());
            }
        }
    }

    /// Fetches a message whole and returns how many octets it had.
    pub async fn fetch(&mut self, number: u32) -> Result<u64> {
        self.say(&format!("f FETCH {number} BODY.PEEK[]")).await?;
        let line = self.line().await?;
        let size = line.trim_end().strip_suffix('}').and_then(|line| line.rsplit_once('{')?.1.parse::<u64>().ok());
        let Some(size) = size else { bail!("no literal: `{line}`") };
        let mut left = size;
        while left > 0 {
            let got = self.stream.fill_buf().await?.len();
            ensure!(got > 0, "the connection was closed within a message");
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(got);
            self.stream.consume(taken);
            left -= taken as u64;
        }
        loop {
            if self.line().await?.starts_with("f OK") {
                return Ok(size);
            }
        }
    }

    /// Submits a message. `content` ends with CRLF and needs no dots stuffed.
    pub async fn submit(&mut self, user: &User, content: &[u8]) -> Result<()> {
        self.smtp(&format!("MAIL FROM:<{}>", user.address), 250).await?;
        self.smtp("RCPT TO:<somebody@elsewhere.test>", 250).await?;
        self.smtp("DATA", 354).await?;
        for piece in content.chunks(64 * 1024) {
            self.stream.get_mut().write_all(piece).await?;
        }
        self.smtp(".", 250).await
    }

    async fn smtp(&mut self, command: &str, code: u16) -> Result<()> {
        self.say(command).await?;
        self.smtp_reply(code).await
    }

    async fn smtp_reply(&mut self, code: u16) -> Result<()> {
        loop {
            let line = self.line().await?;
            ensure!(line.starts_with(&code.to_string()), "`{line}` where {code} was expected");
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }

    pub async fn say(&mut self, line: &str) -> Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        Ok(stream.flush().await?)
    }

    /// The next line; the end of the stream is an error.
    pub async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line).await? > 0, "the connection was closed");
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    pub async fn line_with(&mut self, start: &str) -> Result<()> {
        let line = self.line().await?;
        ensure!(line.starts_with(start), "`{line}` where `{start}` was expected");
        Ok(())
    }
}

async fn starttls(clear: &mut BufReader<TcpStream>) -> Result<()> {
    let mut line = String::new();
    clear.read_line(&mut line).await?;
    for (command, last) in [("EHLO client\r\n", "250 "), ("STARTTLS\r\n", "220 ")] {
        clear.write_all(command.as_bytes()).await?;
        loop {
            line.clear();
            ensure!(clear.read_line(&mut line).await? > 0, "the connection was closed");
            if line.starts_with(last) {
                break;
            }
        }
    }
    Ok(())
}
