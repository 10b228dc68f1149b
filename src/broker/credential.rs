//! How an application proves itself to the token service: with a secret, a certificate, a token of another issuer, or not at all.
//!
//! What proves it is read at each use, so that a new one counts at once and no restart is needed.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Duration, Utc};
use serde_json::json;
use url::Url;

use crate::base::{ClientCertificate, ClientCertificateError, Secret, SignatureAlgorithm, TenantName};
use crate::broker::BrokerError;

/// How an application proves itself.
#[derive(Clone, Debug)]
pub enum Credential {
    /// With a certificate (RFC 7523, section 2.2).
    Certificate {
        /// The certificate, in PEM or PKCS#12.
        certificate: PathBuf,
        /// Its key, where it is not in the same file.
        key: Option<SecretSource>,
        /// What opens the key or the PKCS#12 file.
        passphrase: Option<SecretSource>,
    },
    /// With a token that another issuer made for this machine (workload identity federation).
    FederatedToken(SecretSource),
    /// It does not: a public client.
    None,
    /// With a secret.
    Secret(SecretSource),
}

/// Where a secret is.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// A systemd credential.
    Credential(String),
    /// An environment variable.
    Environment(String),
    /// A file.
    File(PathBuf),
}

/// The longest secret that is read. More is a mistake, such as a device or a log.
const LONGEST_SECRET_OCTETS: u64 = 1024 * 1024;

/// An assertion is good for this long from now, and from as long before now, so that a clock may be wrong by as much. Together they
/// are the 10 minutes that Microsoft recommends.
const ASSERTION_MINUTES: i64 = 5;

impl SecretSource {
    /// Where it is, in words.
    pub(in crate::broker) fn place(&self) -> String {
        match self {
            Self::Credential(name) => format!("the systemd credential {name}"),
            Self::Environment(name) => format!("the environment variable {name}"),
            Self::File(path) => path.display().to_string(),
        }
    }

    fn read_octets(&self) -> io::Result<Secret<Vec<u8>>> {
        match self {
            Self::File(path) => read_file(path),
            Self::Environment(name) => match std::env::var(name) {
                Ok(value) => Ok(Secret::new(value.into_bytes())),
                Err(error) => Err(io::Error::other(error.to_string())),
            },
            Self::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(directory) => read_file(&Path::new(&directory).join(name)),
                None => Err(io::Error::other("systemd gave no credentials to this process")),
            },
        }
    }

    /// A secret of one line: a file made with an editor ends in a line break that is not part of it.
    fn read_line(&self) -> io::Result<Secret<String>> {
        let octets = self.read_octets()?;
        let text = std::str::from_utf8(octets.expose()).map_err(|_| io::Error::other("it is not text"))?.trim();
        if text.is_empty() {
            return Err(io::Error::other("it is empty"));
        }
        Ok(Secret::new(text.to_owned()))
    }
}

fn read_file(path: &Path) -> io::Result<Secret<Vec<u8>>> {
    // Room for a long one at once: growing would leave copies behind.
    let mut octets = Vec::with_capacity(16 * 1024);
    std::fs::File::open(path)?.take(LONGEST_SECRET_OCTETS + 1).read_to_end(&mut octets)?;
    let octets = Secret::new(octets);
    if octets.expose().len() as u64 > LONGEST_SECRET_OCTETS {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(octets)
}

/// A credential that has been read.
pub(in crate::broker) enum Proof {
    Certificate(Box<ClientCertificate>),
    FederatedToken(Secret<String>),
    None,
    Secret(Secret<String>),
}

/// What goes with a token request.
pub(in crate::broker) enum Presentation {
    /// `client_assertion` (RFC 7521, section 4.2).
    Assertion(Secret<String>),
    Nothing,
    /// `client_secret` (RFC 6749, section 2.3.1).
    Secret(Secret<String>),
}

impl Proof {
    /// Reads the credential of a tenant. Opening a PKCS#12 file takes some ten milliseconds of computing.
    pub(in crate::broker) fn read(credential: &Credential, tenant: &TenantName) -> Result<Self, BrokerError> {
        let failed = |what: &'static str, source: &SecretSource| {
            let (tenant, place) = (tenant.to_string(), source.place());
            move |error: io::Error| BrokerError::Credential { tenant, what, place, reason: error.to_string() }
        };
        match credential {
            Credential::None => Ok(Self::None),
            Credential::Secret(source) => source.read_line().map(Self::Secret).map_err(failed("client secret", source)),
            Credential::FederatedToken(source) => {
                source.read_line().map(Self::FederatedToken).map_err(failed("federated token", source))
            }
            Credential::Certificate { certificate, key, passphrase } => {
                let file = SecretSource::File(certificate.clone());
                let octets = file.read_octets().map_err(failed("certificate", &file))?;
                let key = match key {
                    Some(source) => Some(source.read_octets().map_err(failed("key of the certificate", source))?),
                    None => None,
                };
                let passphrase = match passphrase {
                    Some(source) => Some(source.read_line().map_err(failed("passphrase", source))?),
                    None => None,
                };
                ClientCertificate::read(
                    octets.expose(),
                    key.as_ref().map(|key| key.expose().as_slice()),
                    passphrase.as_ref().map(|passphrase| passphrase.expose().as_str()),
                )
                .map(|read| Self::Certificate(Box::new(read)))
                .map_err(|error| BrokerError::Certificate {
                    tenant: tenant.to_string(),
                    file: certificate.display().to_string(),
                    error,
                })
            }
        }
    }

    /// What tells this credential from another one: a hash, from which it cannot be had back.
    pub(in crate::broker) fn fingerprint(&self) -> [u8; 32] {
        let octets = match self {
            Self::None => &[][..],
            Self::Secret(text) | Self::FederatedToken(text) => text.expose().as_bytes(),
            Self::Certificate(certificate) => return certificate.sha256(),
        };
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref());
        fingerprint
    }

    /// The end of the certificate.
    pub(in crate::broker) fn expires_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Certificate(certificate) => Some(certificate.expires_at()),
            Self::FederatedToken(_) | Self::None | Self::Secret(_) => None,
        }
    }

    /// What goes with a request of now. An assertion is made anew for each: its number may be used once.
    pub(in crate::broker) fn present(
        &self,
        algorithm: SignatureAlgorithm,
        client_id: &str,
        token_url: &Url,
        now: DateTime<Utc>,
    ) -> Result<Presentation, ClientCertificateError> {
        Ok(match self {
            Self::None => Presentation::Nothing,
            Self::Secret(secret) => Presentation::Secret(Secret::new(secret.expose().clone())),
            Self::FederatedToken(token) => Presentation::Assertion(Secret::new(token.expose().clone())),
            Self::Certificate(certificate) => {
                Presentation::Assertion(assertion(certificate, algorithm, client_id, token_url, now)?)
            }
        })
    }
}

/// A signed JWT that says who asks (RFC 7523, section 3; Microsoft identity platform, "certificate credentials").
fn assertion(
    certificate: &ClientCertificate,
    algorithm: SignatureAlgorithm,
    client_id: &str,
    token_url: &Url,
    now: DateTime<Utc>,
) -> Result<Secret<String>, ClientCertificateError> {
    let mut number = [0; 16];
    aws_lc_rs::rand::fill(&mut number).map_err(|_| ClientCertificateError::NoRandomness)?;
    let header = json!({ "alg": algorithm.name(), "typ": "JWT", "x5t#S256": certificate.thumbprint() });
    let payload = json!({
        "aud": token_url.as_str(),
        "exp": (now + Duration::minutes(ASSERTION_MINUTES)).timestamp(),
        "iat": now.timestamp(),
        "iss": client_id,
        "jti": URL_SAFE_NO_PAD.encode(number),
        "nbf": (now - Duration::minutes(ASSERTION_MINUTES)).timestamp(),
        "sub": client_id,
    });
    let signed =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload.to_string()));
    let signature = certificate.sign(algorithm, signed.as_bytes())?;
    Ok(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;
    use serde_json::Value;

    use super::*;

    fn decoded(part: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    fn certificate() -> Credential {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/certificates");
        Credential::Certificate {
            certificate: folder.join("rsa.pfx"),
            key: None,
            passphrase: Some(SecretSource::File(folder.join("passphrase"))),
        }
    }

    #[test]
    fn an_assertion_says_who_asks_whom_for_ten_minutes_and_never_twice_the_same() {
        let proof = Proof::read(&certificate(), &TenantName::new("contoso")).unwrap();
        let url: Url = "https://login.microsoftonline.com/t/oauth2/v2.0/token".parse().unwrap();
        let now = Utc.with_ymd_and_hms(2026, 11, 25, 12, 0, 0).unwrap();
        let mut numbers = Vec::new();
        for algorithm in [SignatureAlgorithm::Ps256, SignatureAlgorithm::Rs256] {
            let Ok(Presentation::Assertion(jwt)) = proof.present(algorithm, "app", &url, now) else { panic!() };
            let parts: Vec<&str> = jwt.expose().split('.').collect();
            let (header, payload) = (decoded(parts[0]), decoded(parts[1]));
            assert_eq!((header["alg"].as_str(), header["typ"].as_str()), (Some(algorithm.name()), Some("JWT")));
            assert_eq!(header["x5t#S256"].as_str().map(str::len), Some(43));
            assert_eq!((payload["iss"].as_str(), payload["sub"].as_str()), (Some("app"), Some("app")));
            assert_eq!(payload["aud"].as_str(), Some(url.as_str()));
            assert_eq!(payload["exp"].as_i64().unwrap() - payload["nbf"].as_i64().unwrap(), 600);
            assert_eq!(parts.len(), 3);
            numbers.push(payload["jti"].as_str().unwrap().to_owned());
        }
        assert_ne!(numbers[0], numbers[1]);
    }

    #[test]
    fn a_secret_is_one_line_and_a_missing_or_empty_one_is_named_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let source = Credential::Secret(SecretSource::File(file.clone()));
        let read = || Proof::read(&source, &TenantName::new("contoso"));
        for (content, expected) in
            [(Some("s3cret\r\n"), Ok("s3cret")), (Some(" \n"), Err("empty")), (None, Err("No such"))]
        {
            match content {
                Some(content) => std::fs::write(&file, content).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            }
            match (read(), expected) {
                (Ok(Proof::Secret(secret)), Ok(text)) => assert_eq!(secret.expose(), text),
                (Err(error), Err(part)) => {
                    let error = error.to_string();
                    assert!(error.contains(part) && error.contains(&file.display().to_string()), "{error}");
                }
                (read, expected) => panic!("{:?} {expected:?}", read.err()),
            }
        }
    }
}
