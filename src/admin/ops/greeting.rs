//! Whether the listeners of a running process greet, as a mail program would find out. Nothing is sent to them, but
//! to those behind a load balancer of this machine what that one says first.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::{Config, Listener};
use crate::foundation::Bound;

/// How long a listener has for everything. A process that works needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest greeting that is read; ours have under a hundred octets.
const LONGEST_GREETING: u64 = 512;

/// What became of an attempt.
#[derive(Debug)]
pub(in crate::admin::ops) enum Greeting {
    /// It greeted.
    Heard,
    /// It did not, and this is why.
    None(String),
    /// It works, with a certificate other than the one that is there now.
    OtherCertificate(String),
}

/// Asks all listeners at once; the greetings are in their order.
pub(in crate::admin::ops) async fn of_all(config: &Config, listeners: &[Bound]) -> Vec<Greeting> {
    let trust = Trust::read(config);
    futures::future::join_all(listeners.iter().map(|bound| of(config, bound, &trust))).await
}

/// Whether a listener takes us, who speak from `here`, for a load balancer of this machine, which says first whose connection it passes on.
fn is_for_balancers(config: &Config, bound: &Bound, here: SocketAddr) -> bool {
    // Of a port that the system has chosen only the kind is known.
    let is_it = |listener: &&Listener| match listener.address.port() {
        0 => listener.protocol.name() == bound.protocol && listener.tls.name() == bound.tls,
        _ => listener.address.to_string() == bound.address,
    };
    config
        .listeners
        .iter()
        .filter(is_it)
        .any(|listener| listener.proxy_protocol_from.iter().any(|network| network.contains(&here.ip().to_canonical())))
}

async fn of(config: &Config, bound: &Bound, trust: &Result<Trust, String>) -> Greeting {
    let attempt = async {
        let address = reachable(bound)?;
        let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let here = stream.local_addr().map_err(|error| error.to_string())?;
        if is_for_balancers(config, bound, here) {
            // Of the connection of nobody else.
            stream.write_all(b"PROXY UNKNOWN\r\n").await.map_err(|error| error.to_string())?;
        }
        if bound.tls != "implicit" {
            return greeting(bound, &mut stream).await;
        }
        let trust = trust.as_ref().map_err(Clone::clone)?;
        match TlsConnector::from(Arc::clone(&trust.tls)).connect(trust.name.clone(), stream).await {
            Ok(mut stream) => {
                let heard = greeting(bound, &mut stream).await;
                // That it is gone already is no news here.
                drop(stream.shutdown().await);
                heard
            }
            Err(error) => match other_certificate(&error) {
                Some(why) => Ok(Greeting::OtherCertificate(format!(
                    "its certificate is not good by `{}`: {why}; after a change there, SIGHUP (`systemctl reload postern`) makes it \
                     read the certificate anew",
                    trust.file.display()
                ))),
                None => Err(format!("the TLS handshake failed: {error}")),
            },
        }
    };
    match timeout(PATIENCE, attempt).await {
        Ok(Ok(greeting)) => greeting,
        Ok(Err(why)) => Greeting::None(why),
        Err(_) => Greeting::None(format!("it did not greet within {} s", PATIENCE.as_secs())),
    }
}

/// Where to connect: a listener on every address of the machine is reached by loopback.
fn reachable(bound: &Bound) -> Result<SocketAddr, String> {
    let mut address: SocketAddr = bound.address.parse().map_err(|_| "its address cannot be read".to_owned())?;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    Ok(address)
}

/// Waits for the first line, which must be a greeting: a server that turns clients away speaks too.
async fn greeting(bound: &Bound, stream: &mut (impl AsyncRead + Unpin)) -> Result<Greeting, String> {
    let mut line = Vec::new();
    let mut stream = stream.take(LONGEST_GREETING);
    while !line.ends_with(b"\n") {
        match stream.read_u8().await {
            Ok(octet) => line.push(octet),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error.to_string()),
        }
    }
    let line = String::from_utf8_lossy(&line).trim_end().to_owned();
    let expected = match bound.protocol.as_str() {
        "imap" => "* OK",
        "pop3" => "+OK",
        _ => "220",
    };
    match line.as_str() {
        "" => Err("it closed the connection without a greeting".to_owned()),
        line if line.starts_with(expected) => Ok(Greeting::Heard),
        line => Err(format!("it says `{}`", line.escape_debug())),
    }
}

/// What a handshake says that failed for the certificate alone.
fn other_certificate(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
            Some("it is another one".to_owned())
        }
        rustls::Error::InvalidCertificate(why) => Some(why.to_string()),
        _ => None,
    }
}

/// How our own listeners are recognised.
struct Trust {
    tls: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// Where what is trusted was read from.
    file: PathBuf,
}

impl Trust {
    /// The CA that Postern made, or the certificate that the configuration names, whose names may be any.
    fn read(config: &Config) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let (file, tls) = match &config.tls {
            Some(own) => {
                let file = own.certificate_file.clone();
                let ours = Arc::new(OneCertificate { certificate: first_certificate(&file)?, algorithms });
                (file, builder.dangerous().with_custom_certificate_verifier(ours).with_no_client_auth())
            }
            None => {
                let file = config.certificate_dir().join("ca.pem");
                let mut anchors = RootCertStore::empty();
                anchors.add(first_certificate(&file)?).map_err(|error| format!("`{}`: {error}", file.display()))?;
                (file, builder.with_root_certificates(anchors).with_no_client_auth())
            }
        };
        // A certificate of ours always carries this name.
        let name = ServerName::from(Ipv4Addr::LOCALHOST);
        Ok(Self { tls: Arc::new(tls), name, file })
    }
}

fn first_certificate(file: &Path) -> Result<CertificateDer<'static>, String> {
    let unreadable = |why: String| format!("`{}` cannot be read: {why}", file.display());
    let pem = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    CertificateDer::from_pem_slice(&pem).map_err(|error| unreadable(error.to_string()))
}

/// Takes exactly one certificate, whatever names and dates it has, from a server that has its key.
#[derive(Debug)]
struct OneCertificate {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for OneCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn only_a_greeting_counts_as_one() {
        let config = Config::built_in("nowhere".into());
        for (protocol, said, heard) in [
            ("smtp", "220 here ESMTP Postern\r\n", true),
            ("smtp", "421 4.7.0 too many connections\r\n", false),
            ("imap", "* OK [CAPABILITY IMAP4rev1] ready\r\n", true),
            ("imap", "* BYE stopping\r\n", false),
            ("pop3", "+OK ready", true),
            ("pop3", "-ERR busy\r\n", false),
            ("pop3", "", false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let bound = Bound { protocol: protocol.to_owned(), tls: "none".to_owned(), address };
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(said.as_bytes()).await.unwrap();
            };
            let bounds = [bound];
            let (greetings, ()) = tokio::join!(of_all(&config, &bounds), server);
            assert_eq!(matches!(greetings[..], [Greeting::Heard]), heard, "{protocol} {said}: {greetings:?}");
        }
    }

    #[test]
    fn a_listener_on_every_address_is_asked_by_loopback() {
        for (address, asked) in
            [("0.0.0.0:25", "127.0.0.1:25"), ("[::]:25", "[::1]:25"), ("192.0.2.1:25", "192.0.2.1:25")]
        {
            let bound = Bound { protocol: "smtp".into(), tls: "none".into(), address: address.into() };
            assert_eq!(reachable(&bound).unwrap().to_string(), asked);
        }
    }
}
