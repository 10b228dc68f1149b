//! Server TLS: what is offered to mail programs, and what a handshake that fails is said to mean.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{PeerIncompatible, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::base::Protocol;
use crate::listener::certificate::Material;

/// What does handshakes, for those that only hand it on.
pub type Acceptor = TlsAcceptor;

/// TLS for the listeners. The certificate can be exchanged while sessions go on.
#[derive(Clone)]
pub struct ServerTls {
    certificate: Arc<Certificate>,
    smtp: Arc<ServerConfig>,
    imap: Arc<ServerConfig>,
    pop3: Arc<ServerConfig>,
}

/// The certificate in use, for any name: old clients send none, and most people connect to `localhost` or an address.
#[derive(Debug)]
struct Certificate(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ServerTls {
    /// Makes it from a certificate and its key.
    ///
    /// # Errors
    /// When the key cannot be used.
    pub fn new(material: &Material) -> Result<Self, rustls::Error> {
        let certificate = Arc::new(Certificate(ArcSwap::from_pointee(certified(material)?)));
        let config = |protocol: Protocol| {
            let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
            // A client that offers only another protocol (a browser, http/1.1) is refused in the handshake (RFC 7301, section 3.2).
            config.alpn_protocols = vec![protocol.name().as_bytes().to_vec()];
            // One ticket key for each protocol: a ticket of one is worth nothing at another.
            config.ticketer = aws_lc_rs::Ticketer::new()?;
            Ok::<_, rustls::Error>(Arc::new(config))
        };
        Ok(Self {
            smtp: config(Protocol::Smtp)?,
            imap: config(Protocol::Imap)?,
            pop3: config(Protocol::Pop3)?,
            certificate,
        })
    }

    /// Uses another certificate from the next handshake on.
    ///
    /// # Errors
    /// When its key cannot be used; then the one in use stays.
    pub fn replace(&self, material: &Material) -> Result<(), rustls::Error> {
        self.certificate.0.store(Arc::new(certified(material)?));
        Ok(())
    }

    /// What does the handshakes of a protocol.
    pub fn acceptor(&self, protocol: Protocol) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(match protocol {
            Protocol::Imap => &self.imap,
            Protocol::Pop3 => &self.pop3,
            Protocol::Smtp => &self.smtp,
        }))
    }
}

fn certified(material: &Material) -> Result<CertifiedKey, rustls::Error> {
    let key = aws_lc_rs::sign::any_supported_type(&material.key)?;
    Ok(CertifiedKey::new(material.certificate_chain.clone(), key))
}

/// What a failed handshake means and what to do about it, for the log; `None` where a client merely went away.
pub fn meaning(error: &io::Error) -> Option<(String, &'static str)> {
    const OLD_CLIENT: &str = "Switch TLS 1.2 on in that system (docs/CLIENTS.md has the registry keys for Windows 7 and 8), or let it connect \
                              from this machine without TLS.";
    let tls_error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match tls_error {
        rustls::Error::PeerIncompatible(
            // Clients older than TLS 1.2 have no such extension (RFC 5246, section 7.4.1.4.1), and it is looked for first.
            PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls13RequiredForQuic,
        ) => ("the client speaks only TLS 1.1 or older".to_owned(), OLD_CLIENT),
        rustls::Error::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NoSignatureSchemesInCommon,
        ) => (
            "the client and we have no cipher suite in common".to_owned(),
            "Windows 7 to 8.1 need an ECDSA certificate, such as the one Postern makes; an RSA certificate shuts them out.",
        ),
        rustls::Error::NoApplicationProtocol => {
            ("the client asks for another protocol, as a browser does".to_owned(), "Connect with a mail program.")
        }
        rustls::Error::AlertReceived(alert) => (
            format!("the client broke the handshake off ({alert:?})"),
            "If it does not trust our certificate: `postern certificate` says how to make it do so.",
        ),
        rustls::Error::InvalidMessage(_) => (
            "the client does not speak TLS on this port".to_owned(),
            "Set the mail program to SSL/TLS for this port, or use the STARTTLS port.",
        ),
        other => (other.to_string(), "Look at the client's TLS settings."),
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::listener::certificate;

    /// A ClientHello without extensions, as clients of TLS 1.0 and 1.1 send it (RFC 4346, section 7.4.1.2).
    fn old_client_hello(version: [u8; 2]) -> Vec<u8> {
        let mut body = version.to_vec();
        body.extend([7; 32]); // random
        body.push(0); // no session
        body.extend([0, 4, 0xc0, 0x13, 0x00, 0x2f]); // two suites of then
        body.extend([1, 0]); // no compression
        let length = u8::try_from(body.len()).unwrap();
        let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
        record.extend(body);
        record
    }

    #[tokio::test]
    async fn a_client_of_tls_1_1_or_older_is_named_as_one_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let material = certificate::ensure(folder.path(), &[], chrono::Utc::now()).unwrap();
        let tls = ServerTls::new(&material).unwrap();
        for version in [[3, 1], [3, 2]] {
            let (mut client, server) = tokio::io::duplex(4096);
            client.write_all(&old_client_hello(version)).await.unwrap();
            let error = tls.acceptor(Protocol::Imap).accept(server).await.err().unwrap();
            let (what, remedy) = meaning(&error).unwrap();
            assert_eq!(what, "the client speaks only TLS 1.1 or older");
            assert!(remedy.contains("Switch TLS 1.2 on"), "{remedy}");
        }
    }
}
