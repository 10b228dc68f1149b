//! Finding a host, racing its addresses (RFC 8305) or asking a proxy for it, and TLS that is always verified.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsConnector;

use crate::base::{Family, HostPort, Proxy};
use crate::upstream::proxy::{self, ProxyTrouble};
use crate::upstream::{Endpoints, ServerStream, Settings, UpstreamError};

/// How long one address is given before the next one is tried beside it (RFC 8305, section 8).
const HEAD_START: Duration = Duration::from_millis(250);

/// What trusts the far sides of a tenant: the system's anchors plus those of `extra_anchors_pem`. It also keeps their session
/// tickets, so one is made for each tenant and shared.
///
/// # Errors
/// When the PEM holds no certificate, or there is no anchor at all.
pub fn trust(extra_anchors_pem: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
    Ok(Arc::new(with_verifier(verifier(extra_anchors_pem)?)?))
}

/// What verifies the certificates of the far sides of a tenant.
///
/// # Errors
/// As [`trust`].
pub fn verifier(extra_anchors_pem: Option<&[u8]>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut extra: Vec<CertificateDer<'static>> = Vec::new();
    if let Some(pem) = extra_anchors_pem {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            extra.push(certificate.map_err(|error| format!("a certificate in it cannot be read: {error}"))?);
        }
        if extra.is_empty() {
            return Err("there is no certificate in it".to_owned());
        }
    }
    match Verifier::new_with_extra_roots(extra.iter().cloned(), Arc::clone(&provider)) {
        Ok(verifier) => Ok(Arc::new(verifier)),
        // A small container may have no anchors of its own; those of `ca_file` then stand alone.
        Err(error) => {
            let mut anchors = RootCertStore::empty();
            let (added, _) = anchors.add_parsable_certificates(extra);
            if added == 0 {
                return Err(format!("this system has no trust anchors: {error}"));
            }
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(anchors), provider).build();
            Ok(verifier.map_err(|error| error.to_string())?)
        }
    }
}

/// A client's side of TLS that relies on this verifier.
pub(in crate::upstream) fn with_verifier(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Connects and does the handshake.
pub(in crate::upstream) async fn tls(
    host: &HostPort,
    endpoints: &Endpoints,
    settings: &Settings,
) -> Result<ServerStream, UpstreamError> {
    let deadline = Instant::now() + settings.connect_time;
    let stream = reach(host, settings, deadline).await?;
    by(deadline, settings, host, "connecting", handshake(stream, host, &endpoints.tls)).await
}

/// Connects without TLS yet, for STARTTLS.
pub(in crate::upstream) async fn tcp(host: &HostPort, settings: &Settings) -> Result<TcpStream, UpstreamError> {
    reach(host, settings, Instant::now() + settings.connect_time).await
}

/// Does the handshake on a connection that is there already, for STARTTLS.
pub(in crate::upstream) async fn upgrade(
    stream: TcpStream,
    host: &HostPort,
    endpoints: &Endpoints,
    settings: &Settings,
) -> Result<ServerStream, UpstreamError> {
    let deadline = Instant::now() + settings.connect_time;
    by(deadline, settings, host, "the TLS handshake", handshake(stream, host, &endpoints.tls)).await
}

async fn by<T>(
    deadline: Instant,
    settings: &Settings,
    host: &HostPort,
    doing: &'static str,
    work: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    timeout_at(deadline, work).await.unwrap_or_else(|_| {
        Err(UpstreamError::Silent { host: host.clone(), doing, seconds: settings.connect_time.as_secs() })
    })
}

/// A connection that leads to the host: its own, or one to the proxy that has been told where to lead. The name of a host behind a proxy
/// is not resolved here.
async fn reach(host: &HostPort, settings: &Settings, deadline: Instant) -> Result<TcpStream, UpstreamError> {
    if let Some(proxy) = settings.proxy.as_ref().filter(|proxy| proxy.serves(&host.host)) {
        let silent = ProxyTrouble::Silent { seconds: settings.connect_time.as_secs() };
        let led = timeout_at(deadline, through(proxy, host, settings.family)).await.unwrap_or(Err(silent));
        return led.map_err(|why| UpstreamError::Proxy { proxy: proxy.address().clone(), host: host.clone(), why });
    }
    by(deadline, settings, host, "connecting", async {
        race(host, settings.family).await.map_err(|reason| UpstreamError::Unreachable { host: host.clone(), reason })
    })
    .await
}

async fn through(proxy: &Proxy, host: &HostPort, family: Family) -> Result<TcpStream, ProxyTrouble> {
    let mut stream = race(proxy.address(), family).await.map_err(|reason| ProxyTrouble::Unreachable { reason })?;
    proxy::lead(&mut stream, proxy, host).await?;
    Ok(stream)
}

async fn handshake(stream: TcpStream, host: &HostPort, tls: &Arc<ClientConfig>) -> Result<ServerStream, UpstreamError> {
    let failed = |reason: String| UpstreamError::Tls { host: host.clone(), reason };
    let name = ServerName::try_from(host.host.clone())
        .map_err(|_| failed("its name cannot stand in a certificate".to_owned()))?;
    TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.map(Box::new).map_err(|error| {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls_error) => failed(in_words(tls_error)),
            None => failed(format!("the handshake broke off: {error}")),
        }
    })
}

fn in_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired (or this machine's clock is wrong)".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet (or this machine's clock is wrong)".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name".to_owned()
            }
            CertificateError::UnknownIssuer => "its certificate was issued by nobody that is trusted here".to_owned(),
            other => format!("its certificate is not valid: {other}"),
        },
        rustls::Error::InvalidMessage(_) => "it does not speak TLS on this port".to_owned(),
        other => other.to_string(),
    }
}

/// Tries the addresses of a host, each with a head start on the next, and keeps the first that connects; else, in words, why none does.
async fn race(host: &HostPort, family: Family) -> Result<TcpStream, String> {
    let found = lookup_host((host.host.as_str(), host.port))
        .await
        .map_err(|error| format!("its name cannot be resolved: {error}"))?;
    let addresses = in_turn(found, family);
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = match family {
        Family::Auto => "its name has no address".to_owned(),
        Family::Ipv4 => "its name has no IPv4 address".to_owned(),
        Family::Ipv6 => "its name has no IPv6 address".to_owned(),
    };
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(async move { (address, TcpStream::connect(address).await) });
        } else if attempts.is_empty() {
            return Err(last);
        }
        let more = waiting.len() > 0;
        tokio::select! {
            Some((address, attempt)) = attempts.next() => match attempt {
                Ok(stream) => {
                    tune(&stream);
                    return Ok(stream);
                }
                Err(error) => last = format!("{address}: {error}"),
            },
            () = sleep(HEAD_START), if more => {}
        }
    }
}

/// IPv6 and IPv4 in turn, each in the resolver's order, without those that may not be used.
fn in_turn(found: impl Iterator<Item = SocketAddr>, family: Family) -> Vec<SocketAddr> {
    let (v6, v4): (Vec<_>, Vec<_>) = found.partition(SocketAddr::is_ipv6);
    let (v6, v4) = match family {
        Family::Auto => (v6, v4),
        Family::Ipv4 => (Vec::new(), v4),
        Family::Ipv6 => (v6, Vec::new()),
    };
    let mut in_turn = Vec::with_capacity(v6.len() + v4.len());
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    loop {
        match (v6.next(), v4.next()) {
            (None, None) => return in_turn,
            (first, second) => in_turn.extend(first.into_iter().chain(second)),
        }
    }
}

/// No waiting for more to send, and a sign of life now and then, so that a NAT on the way does not forget an IDLE.
fn tune(stream: &TcpStream) {
    // A connection without these still works; the peer's RST shows a moment later if it is gone already.
    drop(stream.set_nodelay(true));
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(120)).with_interval(Duration::from_secs(30));
    drop(SockRef::from(stream).set_tcp_keepalive(&keepalive));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_take_turns() {
        let found: Vec<SocketAddr> = ["192.0.2.1:1", "192.0.2.2:1", "[2001:db8::1]:1", "192.0.2.3:1"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let shown = |family| in_turn(found.iter().copied(), family).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(Family::Auto), ["[2001:db8::1]:1", "192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"]);
        assert_eq!(shown(Family::Ipv4).len(), 3);
        assert_eq!(shown(Family::Ipv6), ["[2001:db8::1]:1"]);
    }

    #[tokio::test]
    async fn a_host_that_takes_no_connection_is_unreachable_with_its_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let host = HostPort { host: "127.0.0.1".to_owned(), port };
        let error = race(&host, Family::Auto).await.unwrap_err();
        assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
        let error = race(&host, Family::Ipv6).await.unwrap_err();
        assert!(error.contains("no IPv6 address"), "{error}");
    }
}
