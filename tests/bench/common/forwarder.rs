//! What Postern is compared with: a process that ends TLS on one side, begins it on the other, and copies octets.
//!
//! It knows no protocol, no password and no token, has the same certificate, the same TLS library and the same runtime, and so
//! shows what none of that could be had for less than.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use chrono::Utc;
use postern::listener::certificate;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::common::client::trusting;
use crate::common::process::Measured;

/// The word that makes the benchmark be the forwarder.
pub const WORD: &str = "--be-the-forwarder";

/// A forwarder that runs, and where it listens.
pub struct Forwarder {
    pub process: Measured,
    pub address: SocketAddr,
}

impl Forwarder {
    /// Starts one: `folder` holds `ca.pem` of the far side and the listeners' certificate.
    pub fn start(folder: &Path, far_side: SocketAddr, starttls: bool) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(WORD).arg(folder).arg(far_side.to_string());
        if starttls {
            command.arg("starttls");
        }
        let mut process = Measured::start(&mut command)?;
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(process.stdout()?), &mut line)?;
        let address = line.trim().parse().context("the forwarder did not start")?;
        Ok(Self { process, address })
    }
}

/// Is the forwarder.
pub fn run(words: &[String]) -> Result<()> {
    let (folder, far_side, starttls) = match words {
        [folder, far_side] => (folder, far_side, false),
        [folder, far_side, word] if word == "starttls" => (folder, far_side, true),
        _ => bail!("the forwarder is started by the benchmarks"),
    };
    crate::common::raise_open_files()?;
    let material = certificate::ensure(&Path::new(folder).join("data/certificates"), &[], Utc::now())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(material.certificate_chain, material.key)?;
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let connector = trusting(&[std::fs::read_to_string(Path::new(folder).join("ca.pem"))?])?;
    crate::common::runtime()?.block_on(serve(acceptor, connector, far_side.parse()?, starttls))
}

async fn serve(acceptor: TlsAcceptor, connector: ClientConfig, far_side: SocketAddr, starttls: bool) -> Result<()> {
    let connector = TlsConnector::from(Arc::new(connector));
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let listener: TcpListener = socket.listen(1024)?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    loop {
        let (client, _) = listener.accept().await?;
        let (acceptor, connector) = (acceptor.clone(), connector.clone());
        tokio::spawn(async move {
            // A client that breaks off is seen by the benchmark itself.
            drop(forward(client, acceptor, connector, far_side, starttls).await);
        });
    }
}

async fn forward(
    client: TcpStream,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    far_side: SocketAddr,
    starttls: bool,
) -> Result<()> {
    client.set_nodelay(true)?;
    let mut client = Box::new(acceptor.accept(client).await?);
    let server = TcpStream::connect(far_side).await?;
    server.set_nodelay(true)?;
    let mut greeting = String::new();
    let mut server = BufReader::new(server);
    if starttls {
        // As stunnel does it with `protocol = smtp`: the far side's greeting goes to the client, the rest stays between us.
        server.read_line(&mut greeting).await?;
        server.write_all(b"EHLO forwarder\r\n").await?;
        let mut line = String::new();
        while !line.starts_with("250 ") {
            line.clear();
            if server.read_line(&mut line).await? == 0 {
                bail!("the far side went away");
            }
        }
        server.write_all(b"STARTTLS\r\n").await?;
        line.clear();
        server.read_line(&mut line).await?;
    }
    let mut server = Box::new(connector.connect(ServerName::try_from("localhost")?, server.into_inner()).await?);
    client.write_all(greeting.as_bytes()).await?;
    client.flush().await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
