//! `postern check`: reads the configuration and tells every fault.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::admin::cli::failure::{self, Failure};
use crate::admin::cli::set_up::SetUp;
use crate::admin::ops::{KeyFindings, check_keys};
use crate::config::{self, Faulty, Loaded};

/// Read the configuration and tell every fault
///
/// What it names is looked at too: files, certificates, and the keys in the data directory. Run as root, it looks as the user whose
/// data directory it is, as `serve` does. It opens no port and changes nothing. The status is 0 if the configuration can be used and 78 if not.
#[derive(Args, Debug)]
pub(super) struct Check {}

#[derive(Serialize)]
struct Document<'a> {
    faults: &'a [config::Fault],
    warnings: &'a [config::Warning],
}

impl Check {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        let output = &set_up.output;
        match set_up.load_as_owner()?.and_then(with_keys) {
            Ok(loaded) => {
                if output.is_json() {
                    output.json(&Document { faults: &[], warnings: &loaded.warnings })?;
                    return Ok(());
                }
                failure::tell_warnings(output, &loaded.warnings);
                match &loaded.path {
                    Some(path) => output.note(&format!("`{}` can be used", path.display())),
                    None => output.note("there is no configuration file; the built-in defaults are used"),
                }
                if loaded.config.tenants.is_empty() {
                    output.note("there is no [[tenant]] yet, so every login is refused; `postern setup` adds one");
                }
                Ok(())
            }
            Err(faulty) => {
                if output.is_json() {
                    output.json(&Document { faults: &faulty.faults, warnings: &faulty.warnings })?;
                } else {
                    failure::tell_faults(output, &faulty);
                }
                Err(Failure::configuration_told())
            }
        }
    }
}

/// The configuration with what is to be said of its keys.
fn with_keys(mut loaded: Loaded) -> Result<Loaded, Faulty> {
    let KeyFindings { faults, warnings } = check_keys(&loaded.config);
    loaded.warnings.extend(warnings);
    if faults.is_empty() {
        return Ok(loaded);
    }
    let path = loaded.path.unwrap_or_else(|| PathBuf::from("(built-in defaults)"));
    Err(Faulty { faults, warnings: loaded.warnings, path })
}
