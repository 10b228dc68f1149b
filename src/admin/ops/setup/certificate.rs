//! The certificate with which an application proves itself: an RSA key and a self-signed certificate, as Entra ID takes them.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use chrono::{DateTime, Datelike, Duration, Utc};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::admin::ops::setup::{Owner, SetupError, failed, write_secret};
use crate::base::ClientCertificate;

/// How near its end a certificate that is found is no use any more: it has to be uploaded and to live for a while.
const MIN_DAYS: i64 = 30;

/// The certificate of an application, with its key in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationCertificate {
    /// The certificate (PEM), which is uploaded to the app registration. It is no secret.
    pub certificate: PathBuf,
    /// Its key (PEM), which never leaves this machine.
    pub key: PathBuf,
    /// SHA-1 over the certificate (DER) in hexadecimal digits, as the portal shows it.
    pub sha1: String,
    /// SHA-256 over it.
    pub sha256: String,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// Whether it was made just now or found.
    pub kept: Kept,
}

/// Where a certificate came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It was there, from an earlier try.
    Found,
    /// It was made just now.
    Made,
}

/// Finds the certificate of the application of the tenant `name` in `folder`, from an earlier try, or makes one that is good for so
/// many `years`. The key is `owner`'s alone.
///
/// # Errors
/// [`SetupError::CertificateInTheWay`], [`SetupError::Certificate`], [`SetupError::File`].
pub fn ensure_certificate(
    folder: &Path,
    name: &str,
    years: u8,
    now: DateTime<Utc>,
    owner: Option<&Owner>,
) -> Result<ApplicationCertificate, SetupError> {
    let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    // The key is written first, so with the certificate in place everything is; a key alone vouches for nothing.
    let kept = if certificate.try_exists().map_err(failed(&certificate))? {
        Kept::Found
    } else {
        let (certificate_pem, key_pem) = make(name, years, now)?;
        write_secret(&key, key_pem.as_bytes(), owner)?;
        write_secret(&certificate, certificate_pem.as_bytes(), owner)?;
        Kept::Made
    };
    let pem = std::fs::read(&certificate).map_err(failed(&certificate))?;
    let key_pem = std::fs::read(&key).map(Zeroizing::new).map_err(failed(&key))?;
    let in_the_way = |why: String| SetupError::CertificateInTheWay { path: certificate.clone(), why };
    let read = ClientCertificate::read(&pem, Some(&key_pem), None).map_err(|error| in_the_way(error.to_string()))?;
    if read.expires_at() < now + Duration::days(MIN_DAYS) {
        return Err(in_the_way(format!("it ends on {}", read.expires_at().date_naive())));
    }
    let der = CertificateDer::from_pem_slice(&pem).map_err(|_| in_the_way("it is no certificate".to_owned()))?;
    let sha1 = hexadecimal(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &der).as_ref());
    let (sha256, expires_at) = (hexadecimal(&read.sha256()), read.expires_at());
    Ok(ApplicationCertificate { certificate, key, sha1, sha256, expires_at, kept })
}

/// Makes a certificate and its key, both in PEM.
fn make(name: &str, years: u8, now: DateTime<Utc>) -> Result<(String, Zeroizing<String>), SetupError> {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "Postern");
    // A common name has at most 64 characters (RFC 5280, appendix A).
    subject.push(DnType::CommonName, format!("Postern {name}").chars().take(64).collect::<String>());
    params.distinguished_name = subject;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let day = |moment: DateTime<Utc>| {
        // Month and day are 1 to 31, so the conversions cannot fail.
        let part = |number: u32| u8::try_from(number).unwrap_or(1);
        rcgen::date_time_ymd(moment.year(), part(moment.month()), part(moment.day()))
    };
    // From the day before, since clocks differ.
    params.not_before = day(now - Duration::days(1));
    params.not_after = day(now + Duration::days(365 * i64::from(years)));
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), Zeroizing::new(key.serialize_pem())))
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SignatureAlgorithm;

    #[test]
    fn the_certificate_that_is_made_is_one_that_the_application_can_sign_with() {
        let folder = tempfile::tempdir().unwrap();
        let now = Utc::now();
        for (name, years) in [("one", 1), ("two", 2)] {
            let made = ensure_certificate(folder.path(), name, years, now, None).unwrap();
            assert_eq!(made.kept, Kept::Made);
            let (pem, key) = (std::fs::read(&made.certificate).unwrap(), std::fs::read(&made.key).unwrap());
            let read = ClientCertificate::read(&pem, Some(&key), None).unwrap();
            assert!(read.sign(SignatureAlgorithm::Ps256, b"message").is_ok());
            let days = (read.expires_at() - now).num_days();
            assert!((364 * i64::from(years)..=365 * i64::from(years)).contains(&days), "{days}");
            assert!(read.starts_at() < now);
            assert_eq!((made.sha1.len(), made.sha256.len()), (40, 64));
            // The same in the words of the certificate itself.
            let (_, parsed) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
            let parsed = parsed.parse_x509().unwrap();
            assert!(parsed.subject().to_string().contains(&format!("Postern {name}")));
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                let mode = std::fs::metadata(&made.key).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600);
            }
            let again = ensure_certificate(folder.path(), name, years, now, None).unwrap();
            assert_eq!(again, ApplicationCertificate { kept: Kept::Found, ..made });
        }
    }

    #[test]
    fn what_is_there_and_no_use_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let now = Utc::now();
        let made = ensure_certificate(folder.path(), "a", 1, now, None).unwrap();
        let late = now + Duration::days(350);
        let error = ensure_certificate(folder.path(), "a", 1, late, None).unwrap_err();
        assert!(error.to_string().contains("it ends on"), "{error}");
        let other = ensure_certificate(folder.path(), "b", 1, now, None).unwrap();
        std::fs::copy(&other.key, &made.key).unwrap();
        let error = ensure_certificate(folder.path(), "a", 1, now, None).unwrap_err();
        assert!(error.to_string().contains("not the one of the certificate"), "{error}");
        // A run that was cut short between the two files left a key alone.
        std::fs::remove_file(&made.certificate).unwrap();
        let anew = ensure_certificate(folder.path(), "a", 1, now, None).unwrap();
        assert_eq!(anew.kept, Kept::Made);
        assert_ne!(anew.sha1, made.sha1);
    }
}
