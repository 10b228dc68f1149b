//! How a tenant's application proves itself: which secret, and from where. The secret itself is read by whoever uses it.

use chrono::{DateTime, Utc};

use crate::config::files::{self, Base};
use crate::config::model::{Credential, SecretPlace};
use crate::config::raw::{Place, Report, Section, Written};

/// Whether `name` is fit for an environment variable.
fn is_variable_name(name: &str) -> bool {
    !name.contains(['=', '\0']) && !name.is_empty()
}

/// Whether `name` is fit for a systemd credential: one file name.
fn is_credential_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
}

/// Reads an environment variable's name and warns if it is not set here.
pub(super) fn variable(section: &Section<'_>, key: &'static str) -> Option<Written<String>> {
    let name = section.filled_text(key, "Write the name of the environment variable.")?;
    if !is_variable_name(name.value) {
        section.report().fault(&name.place, "this cannot be the name of a variable", "Write a name without `=`.");
        return None;
    }
    if std::env::var_os(name.value).is_none_or(|value| value.is_empty()) {
        let message = format!("the environment variable `{}` is not set here", name.value);
        section.report().warning(&name.place, message, "Set it where Postern is started; a file is safer.");
    }
    Some(name.map(str::to_owned))
}

/// Reads a systemd credential's name and warns if there is none of this name here.
pub(super) fn systemd_credential(section: &Section<'_>, key: &'static str) -> Option<Written<String>> {
    let name = section.filled_text(key, "Write the name of the credential.")?;
    if !is_credential_name(name.value) {
        let remedy = "Write the name alone, as in LoadCredential=NAME:PATH.";
        section.report().fault(&name.place, "this cannot be the name of a systemd credential", remedy);
        return None;
    }
    let present = std::env::var_os("CREDENTIALS_DIRECTORY")
        .is_some_and(|folder| std::path::Path::new(&folder).join(name.value).is_file());
    if !present {
        let message = format!("there is no systemd credential `{}` here", name.value);
        section.report().warning(
            &name.place,
            message,
            "Name it in the unit with LoadCredential= or LoadCredentialEncrypted=.",
        );
    }
    Some(name.map(str::to_owned))
}

/// Reads a program and its arguments. There is no shell: what stands here is handed over as it is.
pub(super) fn command(section: &Section<'_>, key: &'static str, base: &Base) -> Option<Written<Vec<String>>> {
    let report = section.report();
    let list = section.texts(key)?;
    let mut words: Vec<String> = list.value.iter().map(|word| word.value.to_owned()).collect();
    let Some((program, arguments)) = words.split_first_mut() else {
        report.fault(
            &list.place,
            "this names no program",
            "Write the program, then its arguments, each in quotation marks.",
        );
        return None;
    };
    let place = list.value.first().map_or(&list.place, |word| &word.place);
    if program.trim().is_empty() {
        report.fault(place, "this is empty", "Write the name or the path of a program.");
        return None;
    }
    if program.contains('\0') || arguments.iter().any(|word| word.contains('\0')) {
        report.fault(&list.place, "this holds a NUL, which no program can be given", "Take it out.");
        return None;
    }
    if program.contains(['/', std::path::MAIN_SEPARATOR]) {
        let path = base.resolve(program);
        files::check_program(&path, place, report);
        *program = path.into_os_string().into_string().unwrap_or_else(|_| program.clone());
    } else if !files::is_in_path(program) {
        let shell = program.chars().any(char::is_whitespace);
        let message = format!("there is no program `{}` in PATH here", program.escape_debug());
        let remedy = if shell {
            "Write the program and each argument as a text of its own; there is no shell that would take them apart."
        } else {
            "Install it, or write its whole path; where Postern is started PATH may be another."
        };
        report.warning(place, message, remedy);
    }
    Some(Written { value: words, place: list.place })
}

/// Of several keys of which one may be there, the one that is; a second one is a fault.
pub(super) fn only_one<T>(report: &Report, found: Vec<(Place, T)>) -> Option<(Place, T)> {
    let mut found = found.into_iter();
    let first = found.next()?;
    for (place, _) in found {
        let message = format!("`{}` is given as well", first.0.key);
        report.fault(&place, message, "Keep one of them and remove the other.");
    }
    Some(first)
}

/// A secret that is in a file, in an environment variable or in a systemd credential: `keys` are the names of the three settings.
fn secret_place(section: &Section<'_>, keys: [&'static str; 3], base: &Base) -> Option<(Place, SecretPlace)> {
    let [file_key, env_key, credential_key] = keys;
    let mut found = Vec::new();
    if let Some(file) = section.filled_text(file_key, "Write the path of the file.") {
        let file = file.map(|path| base.resolve(path));
        files::check_secret(&file, section.report());
        found.push((file.place, SecretPlace::File(file.value)));
    }
    if let Some(name) = variable(section, env_key) {
        found.push((name.place, SecretPlace::Env(name.value)));
    }
    if let Some(name) = systemd_credential(section, credential_key) {
        found.push((name.place, SecretPlace::Credential(name.value)));
    }
    only_one(section.report(), found)
}

/// The settings of the client secret.
const SECRET: [&str; 3] = ["client_secret_file", "client_secret_env", "client_secret_credential"];
/// Those of the key of the certificate.
const KEY: [&str; 3] = ["key_file", "key_env", "key_credential"];
/// Those of what opens it.
const PASSPHRASE: [&str; 3] =
    ["certificate_passphrase_file", "certificate_passphrase_env", "certificate_passphrase_credential"];
/// Those of a token of another issuer.
const FEDERATED: [&str; 3] = ["federated_token_file", "federated_token_env", "federated_token_credential"];

/// Whether the tenant names anything that its application proves itself with, be it right or wrong.
pub(super) fn is_named(tenant: &Section<'_>) -> bool {
    SECRET.iter().chain(&FEDERATED).chain(&["certificate_file"]).any(|key| tenant.has(key))
}

/// How the application of a tenant proves itself; `None` where nothing is named, or something is wrong with it.
pub(super) fn of_application(tenant: &Section<'_>, base: &Base, now: DateTime<Utc>) -> Option<Credential> {
    let report = tenant.report();
    let secret = secret_place(tenant, SECRET, base);
    let certificate = certificate(tenant, base, now);
    let federated = secret_place(tenant, FEDERATED, base);
    let found = [
        secret.map(|(place, secret)| (place, Credential::Secret(secret))),
        certificate,
        federated.map(|(place, token)| (place, Credential::FederatedToken(token))),
    ];
    only_one(report, found.into_iter().flatten().collect()).map(|(_, credential)| credential)
}

fn certificate(tenant: &Section<'_>, base: &Base, now: DateTime<Utc>) -> Option<(Place, Credential)> {
    let report = tenant.report();
    let file = tenant
        .filled_text("certificate_file", "Write the path of the file.")
        .map(|file| file.map(|path| base.resolve(path)));
    let key = secret_place(tenant, KEY, base);
    let passphrase = secret_place(tenant, PASSPHRASE, base);
    let Some(file) = file else {
        for (place, _) in key.iter().chain(&passphrase) {
            if !tenant.has("certificate_file") {
                report.fault(
                    place,
                    "this belongs to a certificate, and none is named",
                    "Name it with certificate_file.",
                );
            }
        }
        return None;
    };
    // What stands in the environment or in a systemd credential may be there only where Postern is started.
    let read_now = |place: &Option<(Place, SecretPlace)>| match place {
        Some((_, SecretPlace::File(path))) => files::read(path).ok().map(Some),
        Some(_) => None,
        None => Some(None),
    };
    if let (Some(key), Some(passphrase)) = (read_now(&key), read_now(&passphrase)) {
        files::check_client_certificate(
            &file,
            key.as_deref().map(Vec::as_slice),
            passphrase.as_deref().map(Vec::as_slice),
            now,
            report,
        );
    } else {
        files::check_readable(&file, report);
    }
    let credential = Credential::Certificate {
        certificate: file.value,
        key: key.map(|(_, place)| place),
        passphrase: passphrase.map(|(_, place)| place),
    };
    Some((file.place, credential))
}
