//! The mail programs of the demonstration.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::StreamExt;
use lettre::message::Mailbox as Correspondent;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::admin::cli::failure::with_causes;

/// Sends a mail with STARTTLS, as a backup script would, and gives what the server said to it.
pub(super) async fn send(
    address: SocketAddr,
    ca_pem: &str,
    (user, password): (&str, &str),
    recipient: &str,
    subject: &str,
) -> Result<String, String> {
    let certificate = Certificate::from_pem(ca_pem.as_bytes()).map_err(|error| error.to_string())?;
    // The name in the certificate; the connection goes to the address.
    let tls = TlsParameters::builder("localhost".to_owned())
        .add_root_certificate(certificate)
        .build_rustls()
        .map_err(|error| error.to_string())?;
    let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string())
        .port(address.port())
        .tls(Tls::Required(tls))
        .credentials(Credentials::new(user.to_owned(), password.to_owned()))
        .build();
    let correspondent = |address: &str| address.parse::<Correspondent>().map_err(|error| error.to_string());
    let message = Message::builder()
        .from(correspondent(user)?)
        .to(correspondent(recipient)?)
        .subject(subject)
        .body("1 of 1 folders was saved. No errors.\n".to_owned())
        .map_err(|error| error.to_string())?;
    let response = transport.send(message).await.map_err(|error| with_causes(&error))?;
    let said: Vec<&str> = response.message().collect();
    Ok(format!("{} {}", response.code(), said.join(" ")))
}

/// Reads the subjects of the inbox by IMAP inside TLS.
pub(super) async fn read_by_imap(
    address: SocketAddr,
    ca_pem: &str,
    (user, password): (&str, &str),
) -> Result<Vec<String>, String> {
    let mut anchors = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|error| error.to_string())?;
    anchors.add(ca).map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(anchors)
        .with_no_client_auth();
    let stream = connect(address).await?;
    let name = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| error.to_string())?;

    let mut client = async_imap::Client::new(stream);
    client.read_response().await.map_err(|error| error.to_string())?.ok_or("there was no greeting")?;
    let mut session = client.login(user, password).await.map_err(|(error, _)| said(&error))?;
    session.select("INBOX").await.map_err(|error| said(&error))?;
    let mut subjects = Vec::new();
    {
        let mut mails =
            session.fetch("1:*", "BODY.PEEK[HEADER.FIELDS (SUBJECT)]").await.map_err(|error| said(&error))?;
        while let Some(mail) = mails.next().await {
            let mail = mail.map_err(|error| said(&error))?;
            subjects.extend(mail.header().and_then(|header| subject(&String::from_utf8_lossy(header))));
        }
    }
    session.logout().await.map_err(|error| said(&error))?;
    Ok(subjects)
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    // async-imap writes a command in pieces, which would wait for one another.
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(stream)
}

/// What the server said, without the library's words around it.
fn said(error: &async_imap::error::Error) -> String {
    match error {
        async_imap::error::Error::No(text) | async_imap::error::Error::Bad(text) => {
            let code = text.contains("AuthenticationFailed") || text.contains("AUTHENTICATIONFAILED");
            let words = text.split("info: Some(\"").nth(1).and_then(|rest| rest.split("\")").next()).unwrap_or(text);
            if code && !words.contains("AUTHENTICATIONFAILED") {
                format!("NO [AUTHENTICATIONFAILED] {words}")
            } else {
                format!("NO {words}")
            }
        }
        other => other.to_string(),
    }
}

/// Reads the subjects of the inbox by POP3 without TLS, which only this machine may do.
pub(super) async fn read_by_pop3(address: SocketAddr, (user, password): (&str, &str)) -> Result<Vec<String>, String> {
    let stream = connect(address).await?;
    let mut pop3 = Pop3(BufStream::new(stream));
    pop3.answer().await?;
    pop3.ask(&format!("USER {user}")).await?;
    pop3.ask(&format!("PASS {password}")).await?;
    let stat = pop3.ask("STAT").await?;
    let count: u32 = stat.split(' ').nth(1).and_then(|count| count.parse().ok()).ok_or("STAT makes no sense")?;
    let mut subjects = Vec::new();
    for number in 1..=count {
        pop3.ask(&format!("TOP {number} 0")).await?;
        let mut header = String::new();
        loop {
            match pop3.line().await? {
                line if line == "." => break,
                line => header.push_str(&(line + "\n")),
            }
        }
        subjects.extend(subject(&header));
    }
    pop3.ask("QUIT").await?;
    Ok(subjects)
}

/// As much of a POP3 client (RFC 1939) as a demonstration needs.
struct Pop3(BufStream<TcpStream>);

impl Pop3 {
    async fn ask(&mut self, command: &str) -> Result<String, String> {
        self.0.write_all(format!("{command}\r\n").as_bytes()).await.map_err(|error| error.to_string())?;
        self.0.flush().await.map_err(|error| error.to_string())?;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<String, String> {
        let line = self.line().await?;
        if line.starts_with("+OK") { Ok(line) } else { Err(line) }
    }

    async fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.0.read_line(&mut line).await {
            Ok(0) => Err("the connection was closed".to_owned()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn subject(header: &str) -> Option<String> {
    let line = header.lines().find_map(|line| line.strip_prefix("Subject: "))?;
    Some(line.trim_end().to_owned())
}
