//! `postern certificate`: the CA that Postern made, and how to trust it.

use clap::Args;
use serde::Serialize;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::set_up::SetUp;
use crate::admin::cli::values::timestamp;
use crate::listener::certificate;

/// Print the CA that Postern made, its fingerprint, and how to trust it
///
/// The CA (PEM) goes to stdout, the rest to stderr. It is made if this is the first run.
#[derive(Args, Debug)]
pub(super) struct Certificate {}

#[derive(Serialize)]
struct Document<'a> {
    pem: &'a str,
    fingerprint_sha256: &'a str,
    path: String,
    expires_at: String,
}

impl Certificate {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        let config = set_up.config()?;
        if let Some(own) = &config.tls {
            let message = format!(
                "the configuration names a certificate of its own, `{}`; Postern made none",
                own.certificate_file.display()
            );
            let remedy = "Clients must trust the CA of that certificate; ask whoever issued it.";
            return Err(Failure::operation("own-certificate", message, remedy));
        }
        let material = certificate::ensure(&config.certificate_dir(), &config.tls_names, set_up.now())?;
        let Some(ca) = material.ca else {
            return Err(Failure::operation("no-ca", "Postern made no CA", "Remove `certificate_file` under [tls]."));
        };
        let output = &set_up.output;
        if output.is_json() {
            return output.json(&Document {
                pem: &ca.pem,
                fingerprint_sha256: &ca.fingerprint_sha256,
                path: ca.path.display().to_string(),
                expires_at: timestamp(ca.expires_at),
            });
        }
        output.note(&certificate::trust_instructions(&ca.path, &ca.fingerprint_sha256));
        output.data(&ca.pem)
    }
}
