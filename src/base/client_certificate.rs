//! The certificate with which an application proves itself to the token service: read from PEM or PKCS#12, with its key.
//!
//! The configuration reads it to tell what is wrong with it, the broker to sign with it.

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// A certificate and its RSA key.
pub struct ClientCertificate {
    key: RsaKeyPair,
    sha256: [u8; 32],
    starts_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

/// How a signature is made (RFC 7518, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// RSASSA-PSS with SHA-256, which Microsoft asks for.
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, which token services took before.
    Rs256,
}

impl SignatureAlgorithm {
    /// The name in the header of a JWT.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }
}

/// A certificate or its key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientCertificateError {
    /// It is neither PEM nor PKCS#12.
    #[error("it holds no certificate that can be read (PEM or PKCS#12)")]
    NoCertificate,
    /// There is no key, neither beside it nor in it.
    #[error("there is no private key")]
    NoKey,
    /// The key is encrypted, and no passphrase is named.
    #[error("the private key is encrypted, and no passphrase is named")]
    PassphraseMissing,
    /// The passphrase does not open the key or the PKCS#12 file.
    #[error("the passphrase does not open it")]
    PassphraseWrong,
    /// The key is encrypted in the form that OpenSSL used before PKCS#8.
    #[error("the private key is encrypted in an old form")]
    OldEncryption,
    /// The key is not an RSA key of 2048 to 8192 bits.
    #[error("the private key is not an RSA key of 2048 bits or more")]
    NotRsa,
    /// The key is another certificate's.
    #[error("the private key is not the one of the certificate")]
    NotAPair,
    /// The system has no randomness to sign with.
    #[error("the system has no randomness to give")]
    NoRandomness,
}

impl ClientCertificateError {
    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NoCertificate => {
                "`certificate_file` is the certificate that was uploaded to the app registration, in PEM with its key in `key_file`, or \
                 in PKCS#12 (.pfx, .p12) with its key inside."
            }
            Self::NoKey => "Name the key with `key_file`, or use a PKCS#12 file that has the key inside.",
            Self::PassphraseMissing => "Put the passphrase into a file and name it with `certificate_passphrase_file`.",
            Self::PassphraseWrong => "Correct the passphrase; a PKCS#12 file may also be damaged.",
            Self::OldEncryption => "Convert it: `openssl pkcs8 -topk8 -v2 aes256 -in OLD.key -out NEW.key`.",
            Self::NotRsa => "Make a certificate with an RSA key of 2048 bits; Entra ID takes no other.",
            Self::NotAPair => "Name the key that the certificate was made with.",
            Self::NoRandomness => "Look at the system's random number generator.",
        }
    }
}

impl ClientCertificate {
    /// Reads a certificate and its key.
    ///
    /// `certificate` is PEM (the application's own certificate first) or PKCS#12; `key` is PEM, and may be left out where
    /// `certificate` holds the key as well. `passphrase` opens an encrypted key or the PKCS#12 file.
    ///
    /// # Errors
    /// Each variant of [`ClientCertificateError`].
    pub fn read(
        certificate: &[u8],
        key: Option<&[u8]>,
        passphrase: Option<&str>,
    ) -> Result<Self, ClientCertificateError> {
        let in_pem = CertificateDer::pem_slice_iter(certificate).next().and_then(Result::ok);
        let (leaf, key) = match in_pem {
            Some(leaf) => (leaf.to_vec(), key_from_pem(key.unwrap_or(certificate), passphrase)?),
            None => from_pkcs12(certificate, passphrase.unwrap_or_default())?,
        };
        let pair = RsaKeyPair::from_pkcs8(&key).or_else(|_| RsaKeyPair::from_der(&key));
        let pair = pair.map_err(|_| ClientCertificateError::NotRsa)?;
        if pair.public_modulus_len() < 2048 / 8 {
            return Err(ClientCertificateError::NotRsa);
        }
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&leaf).map_err(|_| ClientCertificateError::NoCertificate)?;
        if parsed.public_key().subject_public_key.data.as_ref() != pair.public_key().as_ref() {
            return Err(ClientCertificateError::NotAPair);
        }
        let moment = |seconds| DateTime::from_timestamp(seconds, 0).ok_or(ClientCertificateError::NoCertificate);
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest::digest(&digest::SHA256, &leaf).as_ref());
        Ok(Self {
            key: pair,
            sha256,
            starts_at: moment(parsed.validity().not_before.timestamp())?,
            expires_at: moment(parsed.validity().not_after.timestamp())?,
        })
    }

    /// The last moment at which the certificate is good.
    pub fn expires_at(&self) -> DateTime<Utc> {
        self.expires_at
    }

    /// The first moment at which it is.
    pub fn starts_at(&self) -> DateTime<Utc> {
        self.starts_at
    }

    /// The SHA-256 of the certificate, which is not secret.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// The SHA-256 of the certificate as the header `x5t#S256` of a JWT has it (RFC 7515, section 4.1.8).
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.sha256)
    }

    /// Signs `message`.
    ///
    /// # Errors
    /// [`ClientCertificateError::NoRandomness`].
    pub fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, ClientCertificateError> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        let random = SystemRandom::new();
        let encoding: &'static dyn aws_lc_rs::signature::RsaEncoding = match algorithm {
            SignatureAlgorithm::Ps256 => &RSA_PSS_SHA256,
            SignatureAlgorithm::Rs256 => &RSA_PKCS1_SHA256,
        };
        self.key.sign(encoding, &random, message, &mut signature).map_err(|_| ClientCertificateError::NoRandomness)?;
        Ok(signature)
    }
}

fn key_from_pem(pem: &[u8], passphrase: Option<&str>) -> Result<Zeroizing<Vec<u8>>, ClientCertificateError> {
    const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
    if let Some(encrypted) = block(pem, ENCRYPTED) {
        let passphrase = passphrase.ok_or(ClientCertificateError::PassphraseMissing)?;
        let (_, document) = pkcs8::SecretDocument::from_pem(encrypted).map_err(|_| ClientCertificateError::NoKey)?;
        let info =
            EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|_| ClientCertificateError::NoKey)?;
        let plain = info.decrypt(passphrase).map_err(|_| ClientCertificateError::PassphraseWrong)?;
        return Ok(Zeroizing::new(plain.as_bytes().to_vec()));
    }
    if pem.windows(22).any(|window| window == b"Proc-Type: 4,ENCRYPTED") {
        return Err(ClientCertificateError::OldEncryption);
    }
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| ClientCertificateError::NoKey)?;
    Ok(Zeroizing::new(key.secret_der().to_vec()))
}

/// The first block of this label in a PEM file that may hold others and text between them.
fn block<'p>(pem: &'p [u8], label: &str) -> Option<&'p str> {
    let text = std::str::from_utf8(pem).ok()?;
    let begin = text.find(&format!("-----BEGIN {label}-----"))?;
    let end_line = format!("-----END {label}-----");
    let rest = text.get(begin..)?;
    rest.get(..rest.find(&end_line)? + end_line.len())
}

fn from_pkcs12(archive: &[u8], passphrase: &str) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), ClientCertificateError> {
    // An outer SEQUENCE; anything else is no PKCS#12 file, and its owner would look for a passphrase in vain.
    if archive.first() != Some(&0x30) {
        return Err(ClientCertificateError::NoCertificate);
    }
    let archive = p12_keystore::Pkcs12Archive::from_pkcs12(archive, passphrase)
        .map_err(|_| ClientCertificateError::PassphraseWrong)?;
    let key = archive.keys.first().ok_or(ClientCertificateError::NoKey)?;
    let der = Zeroizing::new(key.key.as_der().to_vec());
    let local = key.local_key_id.as_ref().map(AsRef::as_ref);
    let own = archive.certs.iter().find(|bag| bag.local_key_id.is_some() && bag.local_key_id.as_deref() == local);
    let leaf = own.or(archive.certs.first()).ok_or(ClientCertificateError::NoCertificate)?;
    Ok((leaf.cert.as_der().to_vec(), der))
}

impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[client certificate {}]", self.thumbprint())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    /// Made once with OpenSSL 3: an RSA and an EC certificate, the key in every form, PKCS#12 in both encryptions.
    fn file(name: &str) -> Vec<u8> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/certificates").join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn a_certificate_and_its_key_are_read_in_every_form_they_come_in() {
        let thumbprint = ClientCertificate::read(&file("rsa.pem"), Some(&file("rsa.key")), None).unwrap().thumbprint();
        for (certificate, key, passphrase) in [
            ("rsa.pem", Some("rsa-pkcs1.key"), None),
            ("rsa.pem", Some("rsa-encrypted.key"), Some("open sesame")),
            ("rsa-both.pem", None, None),
            ("rsa.pfx", None, Some("open sesame")),
            ("rsa-legacy.pfx", None, Some("open sesame")),
            ("rsa-without-passphrase.pfx", None, None),
        ] {
            let key = key.map(file);
            let read = ClientCertificate::read(&file(certificate), key.as_deref(), passphrase);
            let read = read.unwrap_or_else(|error| panic!("{certificate} {key:?}: {error}", key = key.is_some()));
            assert_eq!(read.thumbprint(), thumbprint, "{certificate}");
            assert!(read.starts_at() < read.expires_at());
        }
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_told_apart() {
        for (certificate, key, passphrase, wrong) in [
            ("rsa.pem", None, None, ClientCertificateError::NoKey),
            ("rsa.key", None, None, ClientCertificateError::NoCertificate),
            ("rsa.pem", Some("rsa-encrypted.key"), None, ClientCertificateError::PassphraseMissing),
            ("rsa.pem", Some("rsa-encrypted.key"), Some("guess"), ClientCertificateError::PassphraseWrong),
            ("rsa.pem", Some("rsa-old-encryption.key"), Some("open sesame"), ClientCertificateError::OldEncryption),
            ("rsa.pfx", None, Some("guess"), ClientCertificateError::PassphraseWrong),
            ("ec.pem", Some("ec.key"), None, ClientCertificateError::NotRsa),
            ("ec.pem", Some("rsa.key"), None, ClientCertificateError::NotAPair),
        ] {
            let key = key.map(file);
            let error = ClientCertificate::read(&file(certificate), key.as_deref(), passphrase).unwrap_err();
            assert_eq!(error, wrong, "{certificate}");
        }
    }

    #[test]
    fn both_signatures_hold_under_the_certificate_and_nothing_else_does() {
        let certificate = ClientCertificate::read(&file("rsa.pem"), Some(&file("rsa.key")), None).unwrap();
        let public = certificate.key.public_key().as_ref().to_vec();
        for (algorithm, holds) in [
            (SignatureAlgorithm::Ps256, &RSA_PSS_2048_8192_SHA256),
            (SignatureAlgorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256),
        ] {
            let signature = certificate.sign(algorithm, b"message").unwrap();
            let verify = |message: &[u8]| UnparsedPublicKey::new(holds, &public).verify(message, &signature).is_ok();
            assert!(verify(b"message"), "{}", algorithm.name());
            assert!(!verify(b"massage"), "{}", algorithm.name());
        }
    }
}
