//! What applications prove themselves with besides a secret: registered certificates, and an external issuer that is
//! trusted.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize, SerialNumber};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::json;

use crate::sandbox::SandboxError;
use crate::sandbox::tokens::guid;

/// Whom the external issuer's tokens must be for.
pub(super) const FEDERATED_AUDIENCE: &str = "api://AzureADTokenExchange";

/// The subject that the application trusts, as a workload in Kubernetes is called.
pub(in crate::sandbox) const FEDERATED_SUBJECT: &str = "system:serviceaccount:mail:postern";

/// The number of the external issuer's key.
pub(super) const FEDERATED_KEY_ID: &str = "external-issuer-1";

/// The credentials of the application that is no public client.
pub(in crate::sandbox) struct Credentials {
    /// Made at start and registered.
    pub(in crate::sandbox) certificate_pem: String,
    /// Its private key (PKCS #8).
    pub(in crate::sandbox) key_pem: String,
    registered: Mutex<Vec<Registered>>,
    issuer: Issuer,
    /// `jti` of the assertions that have come.
    presented: Mutex<HashSet<String>>,
}

/// A registered certificate.
#[derive(Clone, Debug)]
pub(super) struct Registered {
    /// `RSAPublicKey` (RFC 8017, appendix A.1.1).
    pub(super) public_key: Vec<u8>,
    pub(super) not_before: DateTime<Utc>,
    pub(super) not_after: DateTime<Utc>,
    sha256: String,
    sha1: String,
}

/// A token service of somebody else, such as that of a cluster.
struct Issuer {
    name: String,
    key: RsaKeyPair,
}

/// How a certificate is named in an assertion.
#[derive(Clone, Copy, Debug)]
pub(super) enum Thumbprint<'a> {
    /// `x5t`: SHA-1 of the certificate, in base64url.
    Sha1(&'a str),
    /// `x5t#S256`: the same with SHA-256.
    Sha256(&'a str),
}

impl Credentials {
    /// Makes a certificate and registers it; the external issuer has its name below `origin`.
    pub(in crate::sandbox) fn make(origin: &str) -> Result<Self, SandboxError> {
        let [client_key, issuer_key] = keys()?;
        let pkcs8 = PrivatePkcs8KeyDer::from(client_key.as_slice());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_RSA_SHA256)?;
        let certificate = client_certificate()?.self_signed(&key)?;
        let issuer_key = RsaKeyPair::from_pkcs8(issuer_key).map_err(|_| SandboxError::Random)?;
        let credentials = Self {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            registered: Mutex::default(),
            issuer: Issuer { name: format!("{origin}/external-issuer"), key: issuer_key },
            presented: Mutex::default(),
        };
        credentials.register(&credentials.certificate_pem)?;
        Ok(credentials)
    }

    /// Registers a certificate (PEM), which must be for an RSA key.
    pub(in crate::sandbox) fn register(&self, pem: &str) -> Result<(), SandboxError> {
        let read = Registered::read(pem).ok_or(SandboxError::NoClientCertificate)?;
        lock(&self.registered).push(read);
        Ok(())
    }

    /// The registered certificate of this thumbprint.
    pub(super) fn find(&self, thumbprint: Thumbprint<'_>) -> Option<Registered> {
        let is_it = |certificate: &&Registered| match thumbprint {
            Thumbprint::Sha1(named) => certificate.sha1 == named,
            Thumbprint::Sha256(named) => certificate.sha256 == named,
        };
        lock(&self.registered).iter().find(is_it).cloned()
    }

    /// Notes the `jti` of an assertion; false if it has come before.
    pub(super) fn first_time(&self, jti: &str) -> bool {
        lock(&self.presented).insert(jti.to_owned())
    }

    /// What the external issuer calls itself.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer.name
    }

    /// The public key of the external issuer (`RSAPublicKey`).
    pub(super) fn issuer_public_key(&self) -> &[u8] {
        self.issuer.key.public_key().as_ref()
    }

    /// A token of the external issuer for this subject. It lives for so many seconds; with 0 it has expired an hour ago.
    pub(in crate::sandbox) fn federated_token(
        &self,
        subject: &str,
        lifetime_secs: u64,
    ) -> Result<String, SandboxError> {
        let lifetime_secs = i64::try_from(lifetime_secs).unwrap_or(i64::MAX / 2);
        let issued_at = Utc::now().timestamp() - if lifetime_secs == 0 { 7200 } else { 0 };
        let expires = if lifetime_secs == 0 { issued_at + 3600 } else { issued_at.saturating_add(lifetime_secs) };
        let header = json!({ "alg": "RS256", "kid": FEDERATED_KEY_ID, "typ": "JWT" });
        let payload = json!({
            "iss": self.issuer.name,
            "sub": subject,
            "aud": [FEDERATED_AUDIENCE],
            "iat": issued_at,
            "nbf": issued_at,
            "exp": expires,
            "jti": guid()?,
        });
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(payload));
        let key = &self.issuer.key;
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| SandboxError::Random)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl Registered {
    fn read(pem: &str) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
        let public_key = certificate.public_key();
        public_key.parsed().ok().filter(|key| matches!(key, x509_parser::public_key::PublicKey::RSA(_)))?;
        let validity = certificate.validity();
        let moment = |time: x509_parser::time::ASN1Time| DateTime::from_timestamp(time.timestamp(), 0);
        Some(Self {
            public_key: public_key.subject_public_key.data.to_vec(),
            not_before: moment(validity.not_before)?,
            not_after: moment(validity.not_after)?,
            sha256: URL_SAFE_NO_PAD.encode(digest(&SHA256, &der)),
            sha1: URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &der)),
        })
    }

    /// The SHA-1 thumbprint as Entra's refusals show it.
    pub(super) fn thumbprint(&self) -> String {
        thumbprint_shown(&self.sha1)
    }
}

/// A thumbprint in base64url as refusals show it: in hexadecimal.
pub(super) fn thumbprint_shown(named: &str) -> String {
    let octets = URL_SAFE_NO_PAD.decode(named).unwrap_or_default();
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}

/// A certificate as an administrator would make it: good since yesterday, for a year.
fn client_certificate() -> Result<CertificateParams, SandboxError> {
    let date = |days| {
        let date = Utc::now() + TimeDelta::days(days);
        rcgen::date_time_ymd(date.year(), date.month() as u8, date.day() as u8)
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Postern, throw-away certificate");
    // The key is shared by the tenants of a process, the certificate must not be.
    let mut serial = [0; 8];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| SandboxError::Random)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = date(-1);
    params.not_after = date(365);
    Ok(params)
}

/// The private keys (PKCS #8) of the application and of the external issuer.
///
/// Each takes a quarter of a second to make. All tenants of a process share them, so that its tests need not wait.
fn keys() -> Result<&'static [Vec<u8>; 2], SandboxError> {
    static KEYS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    if let Some(keys) = KEYS.get() {
        return Ok(keys);
    }
    let make = || KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).map(|key| key.serialize_der());
    let made = [make()?, make()?];
    Ok(KEYS.get_or_init(|| made))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
