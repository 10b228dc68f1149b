//! The certificate of the listeners: the administrator's own, or one that Postern makes with a CA of its own.
//!
//! What clients trust is the CA, so it is made once and never replaced silently; the server's certificate under it is made
//! anew whenever it nears its end or the names change. Everything happens under a lock on the folder: of two processes that
//! start at once, the second finds what the first has made.

mod trust;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use chrono::{DateTime, Datelike, Duration, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use zeroize::Zeroizing;

use crate::base::files::{make_private_folder, open_private, write_private};
use crate::base::{Fault, Whose};

pub use trust::trust_instructions;

/// How long the CA is good. Every client must be told anew when it ends, so it outlives the machine.
const CA_DAYS: i64 = 3652;
/// How long a server's certificate is good. Apple's clients refuse more than 825 days, public rules end at 398.
const LEAF_DAYS: i64 = 396;
/// How near its end a certificate is made anew. Longer than any holiday during which nobody restarts the service.
const RENEW_DAYS: i64 = 30;

/// What a listener needs for TLS, and what people need to trust it.
#[derive(Debug)]
pub struct Material {
    /// The chain, the server's certificate first.
    pub certificate_chain: Vec<CertificateDer<'static>>,
    /// The same in PEM.
    pub certificate_chain_pem: String,
    /// The key of the server's certificate.
    pub key: PrivateKeyDer<'static>,
    /// When the server's certificate ends.
    pub expires_at: DateTime<Utc>,
    /// The CA, where Postern made it.
    pub ca: Option<Authority>,
}

/// The CA that Postern made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate in PEM.
    pub pem: String,
    /// The file it is in.
    pub path: PathBuf,
    /// SHA-256 over the certificate (DER), as `AB:CD:…`.
    pub fingerprint_sha256: String,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

/// There is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The CA has ended.
    #[error("the CA in `{path}` has expired")]
    CaExpired {
        /// The CA's file.
        path: PathBuf,
    },
    /// The CA's key is gone, and a new certificate is needed.
    #[error("a new certificate is due, and the key of the CA is missing: `{path}`")]
    CaKeyMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A file does not hold what it should.
    #[error("`{path}` does not hold {wanted}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// A file cannot be read or written.
    #[error("`{path}` cannot be read or written")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The key belongs to another certificate.
    #[error("the key in `{key}` is not the one of the certificate in `{certificate}`")]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A certificate cannot be made.
    #[error("no certificate can be made")]
    Make(#[from] rcgen::Error),
}

impl Fault for CertificateError {
    fn code(&self) -> &'static str {
        match self {
            Self::CaExpired { .. } => "ca-expired",
            Self::CaKeyMissing { .. } => "ca-key-missing",
            Self::Damaged { .. } => "certificate-damaged",
            Self::File { .. } => "certificate-file",
            Self::KeyMismatch { .. } => "certificate-key-mismatch",
            Self::Make(_) => "certificate-not-made",
        }
    }

    fn whose(&self) -> Whose {
        Whose::Administrator
    }

    fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::CaExpired { path } | Self::CaKeyMissing { path } => {
                let folder = path.parent().unwrap_or(path).display();
                format!(
                    "Put the file back, or remove the folder `{folder}` for a new CA, which every client must then be told to trust."
                )
            }
            Self::Damaged { path, .. } => {
                format!("Put `{}` back from a backup, or make it anew.", path.display())
            }
            Self::File { path, .. } => {
                format!("Let the user that runs Postern read and write `{}`.", path.display())
            }
            Self::KeyMismatch { .. } => "Name the key that the certificate was made for.".to_owned(),
            Self::Make(_) => "Correct `names` under [tls] in the configuration.".to_owned(),
        })
    }
}

/// Loads the CA and the certificate kept in `dir`, and makes what is missing, near its end, or lacks one of `names`.
///
/// # Errors
///
/// When a file cannot be read or written, or the CA is damaged, expired, or needed without its key. It is never replaced.
pub fn ensure(dir: &Path, names: &[String], now: DateTime<Utc>) -> Result<Material, CertificateError> {
    let folder = Folder::open(dir)?;
    let authority = match folder.authority()? {
        Some(authority) => authority,
        None => {
            folder.make_authority(now)?;
            folder.authority()?.ok_or_else(|| damaged(&folder.file(CA), "the CA's certificate"))?
        }
    };
    let wanted = wanted_names(names);
    if let Some(material) = folder.leaf(&authority, &wanted, now)? {
        return Ok(material);
    }
    folder.make_leaf(&authority, &wanted, now)?;
    folder.leaf(&authority, &wanted, now)?.ok_or_else(|| damaged(&folder.file(LEAF), "the certificate just made"))
}

/// Loads a certificate that the administrator brings. Its dates are the configuration's matter.
///
/// # Errors
///
/// When a file cannot be read, holds no certificate or no key, or the two do not belong together.
pub fn load_own(certificate_path: &Path, key_path: &Path) -> Result<Material, CertificateError> {
    let certificate_chain_pem = read_text(certificate_path)?;
    let key_pem = Zeroizing::new(read_text(key_path)?);
    let certificate_chain = read_chain(&certificate_chain_pem, certificate_path)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| damaged(key_path, "a private key"))?;
    let wanted = "a certificate that can be read";
    let leaf = certificate_chain.first().ok_or_else(|| damaged(certificate_path, wanted))?;
    let expires_at = not_after(&parse(leaf).ok_or_else(|| damaged(certificate_path, wanted))?);
    let signing_key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|_| damaged(key_path, "a private key of a usable kind"))?;
    if rustls::sign::CertifiedKey::new(certificate_chain.clone(), signing_key).keys_match().is_err() {
        return Err(CertificateError::KeyMismatch { certificate: certificate_path.into(), key: key_path.into() });
    }
    Ok(Material { certificate_chain, certificate_chain_pem, key, expires_at, ca: None })
}

const CA: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const LEAF: &str = "server.pem";
const LEAF_KEY: &str = "server.key";

/// The folder of CA and certificate, locked as long as this lives.
struct Folder {
    dir: PathBuf,
    _lock: File,
}

impl Folder {
    fn open(dir: &Path) -> Result<Self, CertificateError> {
        make_private_folder(dir).map_err(failed(dir))?;
        let path = dir.join("lock");
        let lock = open_private(&path).map_err(failed(&path))?;
        lock.lock().map_err(failed(&path))?;
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The CA, if it was made. A key alone is left over from a run that was cut short, and vouches for nothing.
    fn authority(&self) -> Result<Option<Authority>, CertificateError> {
        let path = self.file(CA);
        let Some(pem) = read_if_there(&path)? else { return Ok(None) };
        let chain = read_chain(&pem, &path)?;
        let certificate = chain.first().ok_or_else(|| damaged(&path, "the CA's certificate"))?;
        let parsed = parse(certificate).filter(|certificate| certificate.tbs_certificate.is_ca());
        let expires_at = not_after(&parsed.ok_or_else(|| damaged(&path, "the CA's certificate"))?);
        Ok(Some(Authority { pem, path, fingerprint_sha256: fingerprint(certificate), expires_at }))
    }

    fn make_authority(&self, now: DateTime<Utc>) -> Result<(), CertificateError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        // The name carries machine and day, so that two CAs of Postern can be told apart in a list of trusted ones.
        let machine = host_name().unwrap_or_else(|| "this machine".to_owned());
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(&format!("Postern CA {} {}", short(&machine), now.format("%Y-%m-%d")));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_span(&mut params, now, now + Duration::days(CA_DAYS));
        let certificate = params.self_signed(&key)?;
        // The key first: with the certificate in place everything is.
        self.write(CA_KEY, &Zeroizing::new(key.serialize_pem()))?;
        self.write(CA, &certificate.pem())
    }

    /// The server's certificate, if it is there, under this CA, with its own key, with exactly the `wanted` names, and not
    /// near its end.
    fn leaf(
        &self,
        authority: &Authority,
        wanted: &BTreeSet<String>,
        now: DateTime<Utc>,
    ) -> Result<Option<Material>, CertificateError> {
        let (Some(pem), Some(key_pem)) = (read_if_there(&self.file(LEAF))?, read_if_there(&self.file(LEAF_KEY))?)
        else {
            return Ok(None);
        };
        let key_pem = Zeroizing::new(key_pem);
        let Ok(certificate_chain) = read_chain(&pem, &self.file(LEAF)) else { return Ok(None) };
        let Ok(key) = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()) else { return Ok(None) };
        let Ok(key_pair) = KeyPair::from_pem(&key_pem) else { return Ok(None) };
        let ca = read_chain(&authority.pem, &authority.path)?;
        let (Some(ca), Some(leaf)) = (ca.first().and_then(parse), certificate_chain.first().and_then(parse)) else {
            return Ok(None);
        };
        let expires_at = not_after(&leaf);
        // Where it already ends with its CA, nothing is gained by making it anew.
        let ends_with_ca = expires_at + Duration::days(1) >= authority.expires_at;
        let near_its_end = now >= expires_at || (now >= expires_at - Duration::days(RENEW_DAYS) && !ends_with_ca);
        let good = !near_its_end
            && leaf.validity().not_before.timestamp() <= now.timestamp()
            && is_signed_by(&leaf, &ca)
            && leaf.public_key().raw == key_pair.subject_public_key_info()
            && names_of(&leaf) == *wanted;
        if !good {
            return Ok(None);
        }
        let ca = Some(authority.clone());
        Ok(Some(Material { certificate_chain, certificate_chain_pem: pem, key, expires_at, ca }))
    }

    fn make_leaf(
        &self,
        authority: &Authority,
        wanted: &BTreeSet<String>,
        now: DateTime<Utc>,
    ) -> Result<(), CertificateError> {
        if authority.expires_at <= now {
            return Err(CertificateError::CaExpired { path: authority.path.clone() });
        }
        let ca_key_path = self.file(CA_KEY);
        let Some(ca_key) = read_if_there(&ca_key_path)?.map(Zeroizing::new) else {
            return Err(CertificateError::CaKeyMissing { path: ca_key_path });
        };
        let ca_key = KeyPair::from_pem(&ca_key).map_err(|_| damaged(&ca_key_path, "the key of the CA"))?;
        let ca = read_chain(&authority.pem, &authority.path)?;
        let ca = ca.first().and_then(parse).ok_or_else(|| damaged(&authority.path, "the CA's certificate"))?;
        if ca.public_key().raw != ca_key.subject_public_key_info() {
            return Err(CertificateError::KeyMismatch { certificate: authority.path.clone(), key: ca_key_path });
        }
        let issuer = Issuer::from_ca_cert_pem(&authority.pem, ca_key)?;

        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(&short(&host_name().unwrap_or_else(|| "localhost".to_owned())));
        params.subject_alt_names = wanted.iter().map(|name| san(name)).collect::<Result<_, _>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let until = (now + Duration::days(LEAF_DAYS - 1)).min(authority.expires_at);
        set_span(&mut params, now, until);
        let certificate = params.signed_by(&key, &issuer)?;
        self.write(LEAF_KEY, &Zeroizing::new(key.serialize_pem()))?;
        // The CA goes along, so that a client that shows the chain can be told there to trust it.
        self.write(LEAF, &format!("{}{}", certificate.pem(), authority.pem))
    }

    fn write(&self, name: &str, content: &str) -> Result<(), CertificateError> {
        let path = self.file(name);
        write_private(&path, content.as_bytes()).map_err(failed(&path))
    }
}

/// Makes the error for a file that the system refuses.
fn failed(path: &Path) -> impl FnOnce(io::Error) -> CertificateError {
    let path = path.to_owned();
    move |source| CertificateError::File { path, source }
}

fn damaged(path: &Path, wanted: &'static str) -> CertificateError {
    CertificateError::Damaged { path: path.to_owned(), wanted }
}

fn read_text(path: &Path) -> Result<String, CertificateError> {
    fs::read_to_string(path).map_err(failed(path))
}

fn read_if_there(path: &Path) -> Result<Option<String>, CertificateError> {
    match read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(CertificateError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_chain(pem: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| damaged(path, "a certificate that can be read"))
}

fn parse<'c>(certificate: &'c CertificateDer<'_>) -> Option<X509Certificate<'c>> {
    x509_parser::parse_x509_certificate(certificate).ok().map(|(_, parsed)| parsed)
}

fn not_after(certificate: &X509Certificate<'_>) -> DateTime<Utc> {
    DateTime::from_timestamp(certificate.validity().not_after.timestamp(), 0).unwrap_or(DateTime::UNIX_EPOCH)
}

/// Whether `leaf` carries the signature of `ca`, an ECDSA P-256 one as we make them.
fn is_signed_by(leaf: &X509Certificate<'_>, ca: &X509Certificate<'_>) -> bool {
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, ca.public_key().subject_public_key.data.as_ref());
    key.verify(leaf.tbs_certificate.as_ref(), leaf.signature_value.data.as_ref()).is_ok()
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let hash = digest::digest(&digest::SHA256, certificate);
    hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// Good from the day before `now`, since clocks differ, to the day of `until`, both at midnight.
fn set_span(params: &mut CertificateParams, now: DateTime<Utc>, until: DateTime<Utc>) {
    // Month and day are 1 to 31, so the conversions cannot fail.
    let part = |number: u32| u8::try_from(number).unwrap_or(1);
    let from = now - Duration::days(1);
    params.not_before = rcgen::date_time_ymd(from.year(), part(from.month()), part(from.day()));
    params.not_after = rcgen::date_time_ymd(until.year(), part(until.month()), part(until.day()));
}

fn subject(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Postern");
    name.push(DnType::CommonName, common_name);
    name
}

/// A common name has at most 64 characters (RFC 5280, appendix A).
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The names that the certificate shall carry.
fn wanted_names(names: &[String]) -> BTreeSet<String> {
    let own = ["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string()];
    own.into_iter().chain(host_name()).chain(names.iter().map(|name| normal(name))).collect()
}

/// One spelling for each name: lower case, and addresses in their shortest form.
fn normal(name: &str) -> String {
    name.parse::<IpAddr>()
        .map_or_else(|_| name.trim_end_matches('.').to_ascii_lowercase(), |address| address.to_string())
}

fn san(name: &str) -> Result<SanType, rcgen::Error> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(name.try_into()?)),
    }
}

fn names_of(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return BTreeSet::new() };
    extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(normal(name)),
            GeneralName::IPAddress(octets) => match octets.len() {
                4 => <[u8; 4]>::try_from(*octets).ok().map(|octets| Ipv4Addr::from(octets).to_string()),
                _ => <[u8; 16]>::try_from(*octets).ok().map(|octets| Ipv6Addr::from(octets).to_string()),
            },
            _ => None,
        })
        .collect()
}

/// This machine's name, if it is fit for a certificate.
fn host_name() -> Option<String> {
    #[cfg(unix)]
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").ok()?;
    let name = normal(&name);
    let fit = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    fit.then_some(name)
}

#[cfg(test)]
mod tests;
