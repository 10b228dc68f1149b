//! Throw-away certificates: one authority for the tenant, a good certificate, and the bad ones that faults call for.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::sandbox::SandboxError;
use crate::sandbox::faults::{FaultName, Faults};

/// Everything the mail servers need to speak TLS.
pub(super) struct Certificates {
    /// The authority that clients must trust, in PEM.
    pub(super) ca_pem: String,
    good: TlsAcceptor,
    wrong_name: TlsAcceptor,
    untrusted: TlsAcceptor,
    expired: TlsAcceptor,
}

/// The names of the good certificate.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

impl Certificates {
    /// Makes the authority and all certificates (ECDSA P-256).
    pub(super) fn make() -> Result<Self, SandboxError> {
        let authority = Authority::make("Simulated tenant, throw-away authority")?;
        let stranger = Authority::make("Unknown throw-away authority")?;
        Ok(Self {
            good: authority.acceptor(&NAMES, false)?,
            wrong_name: authority.acceptor(&["mail.wrong-name.test"], false)?,
            untrusted: stranger.acceptor(&NAMES, false)?,
            expired: authority.acceptor(&NAMES, true)?,
            ca_pem: authority.pem,
        })
    }

    /// The acceptor for a new connection, as the faults of the moment want it.
    pub(super) fn acceptor(&self, faults: &Faults) -> &TlsAcceptor {
        if faults.holds(FaultName::TlsUntrusted) {
            &self.untrusted
        } else if faults.holds(FaultName::TlsExpired) {
            &self.expired
        } else if faults.holds(FaultName::TlsWrongName) {
            &self.wrong_name
        } else {
            &self.good
        }
    }
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn make(name: &str) -> Result<Self, SandboxError> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // Some clients refuse certificates that are valid for centuries, or start before their clock.
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2049, 1, 1);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    fn acceptor(&self, names: &[&str], expired: bool) -> Result<TlsAcceptor, SandboxError> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "outlook.office365.test");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = if expired { rcgen::date_time_ymd(2021, 1, 1) } else { rcgen::date_time_ymd(2049, 1, 1) };
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        // Tickets, so that a client's resumption of sessions can be seen in the tally.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
