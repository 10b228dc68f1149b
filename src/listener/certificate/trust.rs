//! How each system and program is told to trust the CA that Postern made.

use std::path::Path;

/// What to do with the CA in `ca_path` on each system. The path is the one on this machine; elsewhere it is the copy's.
pub fn trust_instructions(ca_path: &Path, fingerprint_sha256: &str) -> String {
    let ca = ca_path.display();
    format!(
        "Mail programs must trust this CA, or they warn about the certificate or refuse to connect. Copy the certificate to each
machine (it is no secret) and compare its SHA-256 fingerprint before you trust it:

  {fingerprint_sha256}

Windows, for everyone (as administrator) or for yourself alone:
  certutil -addstore Root postern-ca.pem
  certutil -user -addstore Root postern-ca.pem
  Outlook, old versions too, and Windows Mail use this store. Restart them afterwards.

macOS (Mail, Outlook):
  sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain postern-ca.pem

Debian, Ubuntu (the file must end in .crt):
  sudo cp '{ca}' /usr/local/share/ca-certificates/postern-ca.crt && sudo update-ca-certificates

Fedora, Red Hat Enterprise Linux:
  sudo cp '{ca}' /etc/pki/ca-trust/source/anchors/postern-ca.pem && sudo update-ca-trust

Thunderbird, Firefox (a store of their own):
  Settings > Privacy & Security > Certificates > Manage Certificates > Authorities > Import;
  tick \"Trust this CA to identify websites\".

Java:
  keytool -importcert -cacerts -alias postern -file postern-ca.pem

Python (ssl, smtplib, imaplib), for one program:
  SSL_CERT_FILE='{ca}' python3 script.py
  or in the code: ssl.create_default_context(cafile=\"postern-ca.pem\")

curl:
  curl --cacert '{ca}' --ssl-reqd smtp://localhost:1587

iPhone, iPad: send yourself the file, install the profile, then switch it on under
  Settings > General > About > Certificate Trust Settings.
Android: Settings > Security > Encryption & credentials > Install a certificate > CA certificate.

A device that can trust no CA may be let in without TLS from its own address: `plaintext_from` in the configuration.
"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::trust_instructions;

    #[test]
    fn every_system_is_told_the_file_or_the_store() {
        let text = trust_instructions(Path::new("/srv/postern/ca.pem"), "AB:CD");
        for part in [
            "AB:CD",
            "certutil -addstore Root",
            "certutil -user -addstore Root",
            "add-trusted-cert",
            "update-ca-certificates",
            "update-ca-trust",
            "Authorities",
            "keytool",
            "SSL_CERT_FILE='/srv/postern/ca.pem'",
            "--cacert '/srv/postern/ca.pem'",
            "Certificate Trust Settings",
            "Android",
        ] {
            assert!(text.contains(part), "{part}");
        }
    }
}
