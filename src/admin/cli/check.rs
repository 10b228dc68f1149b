//! `postern check`: reads the configuration and tells every fault.

use clap::Args;
use serde::Serialize;

use crate::admin::cli::failure::{self, Failure};
use crate::admin::cli::set_up::SetUp;
use crate::config;

/// Read the configuration and tell every fault
///
/// Opens no port and changes nothing. The status is 0 if the configuration can be used and 78 if not.
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
        match set_up.load() {
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
                    output.note("there is no [[tenant]] yet, so every login is refused");
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
