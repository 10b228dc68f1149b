//! `postern certificate`: the CA that Postern made, and how to trust it.

use clap::Args;
use serde::Serialize;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::set_up::SetUp;
use crate::admin::ops::require_store;
use crate::admin::tables::timestamp;
use crate::listener::certificate;

/// Print the CA that Postern made, its fingerprint, and how to trust it
///
/// The CA (PEM) goes to stdout, the rest to stderr. In a data directory that has a store it is made if `serve` has not made it yet.
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
        // A CA that was made in a wrong folder would be trusted by every client and vouch for nothing.
        if !config.certificate_dir().join("ca.pem").exists() {
            require_store(&config, None)?;
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
