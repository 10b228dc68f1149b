//! Looking at the way to a host one step at a time, for `doctor`: its addresses, the connection, and what it presents in the handshake,
//! which is verified as for a session. No token goes this way.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::base::HostPort;
use crate::upstream::{Endpoints, Settings, UpstreamError, dial, smtp};

/// What a host presented in the handshake.
#[derive(Debug, Default)]
pub struct Presented {
    /// The certificates in DER, its own first.
    pub chain: Vec<Vec<u8>>,
    /// Why they do not hold, if they do not.
    pub fault: Option<CertificateError>,
    /// Version and cipher suite that were agreed on, as rustls names them.
    pub agreed: Option<(String, String)>,
}

/// How the handshake begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// At once.
    Implicit,
    /// After SMTP's STARTTLS.
    SmtpStartTls,
}

/// The addresses of a host, in the resolver's order.
///
/// # Errors
/// In words, when the name cannot be resolved or nobody answers.
pub async fn addresses(host: &HostPort, settings: &Settings) -> Result<Vec<SocketAddr>, String> {
    match timeout(settings.connect_time, lookup_host((host.host.as_str(), host.port))).await {
        Ok(Ok(found)) => {
            let mut addresses: Vec<SocketAddr> = Vec::new();
            for address in found {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            Ok(addresses)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("nobody answered within {} s", settings.connect_time.as_secs())),
    }
}

/// Connects to a host as a session does, through the proxy where there is one.
///
/// # Errors
/// [`UpstreamError::Unreachable`], [`UpstreamError::Silent`], [`UpstreamError::Proxy`].
pub async fn connection(host: &HostPort, settings: &Settings) -> Result<TcpStream, UpstreamError> {
    dial::tcp(host, settings).await
}

/// Does the handshake on a connection and closes it. What was presented is returned whatever comes of it.
pub async fn handshake(
    stream: TcpStream,
    host: &HostPort,
    opening: Opening,
    verifier: Arc<dyn ServerCertVerifier>,
    settings: &Settings,
) -> (Presented, Result<(), UpstreamError>) {
    let recorder = Arc::new(Recorder { inner: verifier, presented: Mutex::default() });
    let done = secure(stream, host, opening, &recorder, settings).await;
    let mut presented = std::mem::take(&mut *recorder.presented());
    let done = done.map(|agreed| presented.agreed = Some(agreed));
    (presented, done)
}

async fn secure(
    stream: TcpStream,
    host: &HostPort,
    opening: Opening,
    recorder: &Arc<Recorder>,
    settings: &Settings,
) -> Result<(String, String), UpstreamError> {
    let verifier: Arc<dyn ServerCertVerifier> = Arc::<Recorder>::clone(recorder);
    let mut tls = dial::with_verifier(verifier).map_err(|reason| UpstreamError::Tls { host: host.clone(), reason })?;
    // A resumed session presents nothing.
    tls.resumption = Resumption::disabled();
    let endpoints =
        Endpoints { imap: None, pop3: None, smtp: None, smtp_implicit_tls: false, graph: None, tls: Arc::new(tls) };
    let stream = match opening {
        Opening::Implicit => stream,
        Opening::SmtpStartTls => smtp::ask_for_tls(stream, host, settings).await?,
    };
    let mut stream = dial::upgrade(stream, host, &endpoints, settings).await?;
    let (_, session) = stream.get_ref();
    let version = session.protocol_version().and_then(|version| version.as_str());
    let version = version.map_or_else(|| "TLS".to_owned(), |name| name.replace("TLSv1_", "TLS 1."));
    let suite = session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
    let agreed = (version, suite.unwrap_or_default());
    // It has been seen; that the other side may be gone already is no news.
    drop(timeout(settings.connect_time, stream.shutdown()).await);
    Ok(agreed)
}

/// Verifies as another does, and keeps what it was shown and what that one thought of it.
#[derive(Debug)]
struct Recorder {
    inner: Arc<dyn ServerCertVerifier>,
    presented: Mutex<Presented>,
}

impl Recorder {
    fn presented(&self) -> std::sync::MutexGuard<'_, Presented> {
        self.presented.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let mut presented = self.presented();
        presented.chain = std::iter::once(end_entity).chain(intermediates).map(|one| one.to_vec()).collect();
        presented.fault = match &verdict {
            Err(rustls::Error::InvalidCertificate(fault)) => Some(fault.clone()),
            _ => None,
        };
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
