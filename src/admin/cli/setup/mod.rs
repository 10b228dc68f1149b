//! `postern setup`: the guided first installation, from nothing to the settings of the first mail program.
//!
//! First everything is asked, then it is done, in an order in which each step stands on what is complete: files of the application,
//! configuration, mailbox, sign-in, app password. What was done stays; the next run finds it and goes on.

mod answers;
pub(super) mod ask;
mod card;
mod carry_out;
mod place;
mod tenant;

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::Args;

use crate::admin::cli::connect;
use crate::admin::cli::failure::Failure;
use crate::admin::cli::set_up::SetUp;
use crate::admin::cli::setup::ask::Asker;
use crate::admin::cli::setup::carry_out::Documents;
use crate::admin::cli::setup::place::Place;
use crate::admin::cli::values;
use crate::admin::ops::OpsError;
use crate::admin::ops::setup::{EndpointKey, Script, is_tenant_name};
use crate::base::{Mailbox, Protocol};
use crate::config::{self, Cloud, Grant};

/// Set Postern up, step by step: configuration, tenant, first mailbox, first app password
///
/// On a terminal it asks for what no option answers, says why, and offers a default. Elsewhere, and with --yes or --json, nothing is asked:
/// what has a default takes it, and what has none must be given. It tells what the tenant's administrator has to do, filled in with the
/// answers. It can be run again at any time, and goes on where it stopped.
#[derive(Args, Debug)]
pub(super) struct Setup {
    /// Ask nothing, and add a tenant to a configuration that is there
    #[arg(long)]
    yes: bool,
    /// Print the script for Exchange Online PowerShell for the mailboxes that --mailbox names, from the configuration that is there, and end
    #[arg(long, requires = "mailboxes")]
    print_script: bool,
    /// Where the script for Exchange Online PowerShell is written [default: it is shown]
    #[arg(long, value_name = "FILE")]
    script_file: Option<PathBuf>,
    #[command(flatten)]
    tenant: TenantOptions,
    #[command(flatten)]
    mailbox: MailboxOptions,
}

/// What the tenant is.
#[derive(Args, Debug)]
#[command(next_help_heading = "Tenant")]
struct TenantOptions {
    /// Where the store, the keys and the certificates are kept, for a new configuration [default: ../data from its folder, /var/lib/postern for the system's]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// global, gcc-high, dod, china, personal or custom [default: global]
    #[arg(long, value_name = "CLOUD", value_parser = cloud)]
    cloud: Option<Cloud>,
    /// A short name for the tenant; one that is in the configuration is gone on with
    #[arg(long, value_name = "NAME", value_parser = tenant_name)]
    tenant: Option<String>,
    /// The directory (tenant) ID, or a domain of the tenant
    #[arg(long, value_name = "ID", value_parser = tenant_id)]
    tenant_id: Option<String>,
    /// Who signs in: client_credentials (the application itself), authorization_code or device_code (a person) [default: client_credentials]
    #[arg(long, value_name = "GRANT", value_parser = grant)]
    grant: Option<Grant>,
    /// What mail programs are to speak: smtp, imap, pop3 [default: all]
    #[arg(long = "protocol", value_name = "PROTOCOL", value_delimiter = ',', value_parser = values::protocol)]
    protocols: Vec<Protocol>,
    /// How the application proves itself: certificate (one is made), secret, federated or none [default: certificate; none where persons sign in]
    #[arg(long, value_name = "KIND", value_parser = credential)]
    credential: Option<CredentialKind>,
    /// How many years the certificate that is made is good: 1 or 2 [default: 2]
    #[arg(long, value_name = "YEARS", value_parser = clap::value_parser!(u8).range(1..=2), conflicts_with_all = ["certificate_file", "client_secret_file", "federated_token_file"])]
    certificate_years: Option<u8>,
    /// A certificate of your own (PEM with --key-file, or both in one file) instead of one that is made
    #[arg(long, value_name = "FILE", conflicts_with_all = ["client_secret_file", "federated_token_file"])]
    certificate_file: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    key_file: Option<PathBuf>,
    /// The client secret is in this file, which holds nothing else
    #[arg(long, value_name = "FILE", conflicts_with = "federated_token_file")]
    client_secret_file: Option<PathBuf>,
    /// The last day of the client secret, such as 2027-05-31; Postern then warns in time
    #[arg(long, value_name = "DATE", value_parser = date)]
    credential_expires: Option<NaiveDate>,
    /// A token of another issuer, which the application trusts, is in this file
    #[arg(long, value_name = "FILE")]
    federated_token_file: Option<PathBuf>,
    /// A setting under [tenant.endpoints], such as token_url=https://…, imap=HOST:PORT, ca_file=FILE or scopes.smtp=SCOPE; can be repeated
    #[arg(long = "endpoint", value_name = "KEY=VALUE", value_parser = endpoint)]
    endpoints: Vec<(EndpointKey, String)>,
    /// The application (client) ID
    #[arg(long, value_name = "ID", value_parser = one_word)]
    client_id: Option<String>,
    /// The object ID of the enterprise application, for the script
    #[arg(long, value_name = "ID", value_parser = one_word)]
    object_id: Option<String>,
}

/// The first mailbox.
#[derive(Args, Debug)]
#[command(next_help_heading = "Mailbox")]
struct MailboxOptions {
    /// The address of the first mailbox; with --print-script it can be repeated
    #[arg(id = "mailboxes", long = "mailbox", value_name = "ADDRESS", value_parser = values::address)]
    mailboxes: Vec<Mailbox>,
    /// The account that signs in for it, such as a person's for a shared mailbox
    #[arg(long, value_name = "ADDRESS", value_parser = values::address)]
    sign_in_as: Option<Mailbox>,
    /// Leave the sign-in of a person for later
    #[arg(long, conflicts_with_all = ["no_browser", "device_code", "refresh_token_file"])]
    no_sign_in: bool,
    #[command(flatten)]
    way: connect::Way,
    /// Which program or device the app password is for [default: first mail program]
    #[arg(long, value_name = "TEXT", value_parser = values::label)]
    label: Option<String>,
}

/// How an application proves itself, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CredentialKind {
    Certificate,
    Federated,
    None,
    Secret,
}

impl CredentialKind {
    const ALL: [Self; 4] = [Self::Certificate, Self::Secret, Self::Federated, Self::None];

    fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Federated => "federated",
            Self::None => "none",
            Self::Secret => "secret",
        }
    }
}

impl Setup {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        if self.print_script {
            return self.print_script(set_up);
        }
        self.refuse_contradictions()?;
        // Read before anything is done, so that a missing file changes nothing.
        let token = self.mailbox.way.read_token()?;
        let asker = Asker::new(&set_up.output, self.yes);
        let place = Place::find(set_up, &asker, &self)?;
        let plan = answers::gather(set_up, &asker, &self, place)?;
        let script = plan.tell_administrator(set_up, &asker, self.script_file.as_deref())?;
        let Some(here) = plan.write(set_up, &asker)? else {
            asker.say("Nothing was written.");
            return Ok(());
        };
        carry_out::carry_out(&self, set_up, &asker, here, &script, token)
    }

    /// What no other option says, and yet cannot be meant.
    fn refuse_contradictions(&self) -> Result<(), Failure> {
        if self.mailbox.mailboxes.len() > 1 {
            let message =
                "--mailbox names several; `setup` takes the first mailbox, and `postern mailbox add` the others";
            return Err(Failure::Usage(message.to_owned()));
        }
        let tenant = &self.tenant;
        let named = [
            (tenant.certificate_file.is_some() || tenant.certificate_years.is_some(), CredentialKind::Certificate),
            (tenant.client_secret_file.is_some() || tenant.credential_expires.is_some(), CredentialKind::Secret),
            (tenant.federated_token_file.is_some(), CredentialKind::Federated),
        ];
        let mut kinds: Vec<CredentialKind> = named.iter().filter(|(named, _)| *named).map(|(_, kind)| *kind).collect();
        kinds.extend(tenant.credential);
        kinds.dedup();
        if let [first, second, ..] = kinds.as_slice() {
            let message =
                format!("the options say both a {} and a {} for the application", first.name(), second.name());
            return Err(Failure::Usage(message));
        }
        Ok(())
    }

    fn print_script(&self, set_up: &SetUp) -> Result<(), Failure> {
        let loaded = set_up.load()?;
        let config = loaded.config;
        let names = || config.tenants.iter().map(|tenant| tenant.name.as_str()).collect::<Vec<_>>().join(", ");
        let tenant = match (&self.tenant.tenant, config.tenants.as_slice()) {
            (_, []) => return Err(OpsError::NoTenant.into()),
            (Some(name), _) => {
                config.tenant(name).ok_or_else(|| OpsError::TenantUnknown { tenant: name.clone(), tenants: names() })?
            }
            (None, [only]) => only,
            (None, _) => return Err(OpsError::TenantAmbiguous { tenants: names() }.into()),
        };
        let MailboxOptions { mailboxes, sign_in_as, .. } = &self.mailbox;
        let script = Script::of(&config, tenant, mailboxes.clone(), sign_in_as.clone(), self.tenant.object_id.clone());
        let Some(text) = script.text() else {
            let message = format!(
                "there is no script for the cloud `{}`: it has no Exchange Online PowerShell",
                tenant.cloud.name()
            );
            return Err(Failure::operation(
                "no-script",
                message,
                "Let the application into the mailbox where that is done.",
            ));
        };
        if let Some(file) = &self.script_file {
            answers::write_script(file, &text)?;
            set_up.output.note(&format!("the script is in `{}`", file.display()));
        }
        if set_up.output.is_json() {
            let config = loaded.path.as_ref().map(|path| path.display().to_string());
            return Documents {
                config: config.as_deref(),
                tenant: tenant.name.as_str(),
                script: Some(&text),
                ..Documents::default()
            }
            .print(&set_up.output);
        }
        if self.script_file.is_none() { set_up.output.data(&text) } else { Ok(()) }
    }
}

fn cloud(text: &str) -> Result<Cloud, String> {
    chosen(text, &Cloud::ALL, Cloud::name)
}

fn grant(text: &str) -> Result<Grant, String> {
    chosen(text, &Grant::ALL, Grant::name)
}

fn credential(text: &str) -> Result<CredentialKind, String> {
    chosen(text, &CredentialKind::ALL, CredentialKind::name)
}

/// One of a few, by its name or by its number in the list, which is what a person types.
fn chosen<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, String> {
    let found = all
        .iter()
        .enumerate()
        .find(|(number, one)| text.eq_ignore_ascii_case(name(**one)) || text == (number + 1).to_string());
    let names = || all.iter().map(|one| name(*one)).collect::<Vec<_>>().join(", ");
    found.map(|(_, one)| *one).ok_or_else(|| format!("write one of {}", names()))
}

fn tenant_name(text: &str) -> Result<String, String> {
    if is_tenant_name(text) {
        return Ok(text.to_owned());
    }
    Err("write one short word of letters, digits, `-`, `_` and `.`, such as contoso".to_owned())
}

fn tenant_id(text: &str) -> Result<String, String> {
    match text {
        "common" | "organizations" | "consumers" => {
            Err(format!("`{text}` is no tenant; write the directory (tenant) ID"))
        }
        _ if crate::base::is_host_name(text) => Ok(text.to_owned()),
        _ => {
            Err("write the directory (tenant) ID, such as 11111111-2222-3333-4444-555555555555, or a domain".to_owned())
        }
    }
}

/// An ID of the application: in Entra always a UUID, elsewhere whatever the service makes it.
fn id_of_cloud(text: &str, cloud: Cloud, what: &str) -> Result<String, String> {
    if cloud == Cloud::Custom || config::is_uuid(text) {
        return one_word(text);
    }
    let form = "11111111-2222-3333-4444-555555555555";
    Err(format!("`{}` is no {what}, which looks like {form}", text.escape_debug()))
}

fn one_word(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 254 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("write the ID, which has no space in it".to_owned());
    }
    Ok(text.to_owned())
}

fn date(text: &str) -> Result<NaiveDate, String> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| "write a date such as 2027-05-31".to_owned())
}

fn protocols(text: &str) -> Result<Vec<Protocol>, String> {
    let words = text.split([',', ' ']).filter(|word| !word.is_empty());
    let list = words.map(values::protocol).collect::<Result<Vec<_>, _>>()?;
    if list.is_empty() { Err("write at least one of smtp, imap, pop3".to_owned()) } else { Ok(list) }
}

fn endpoint(text: &str) -> Result<(EndpointKey, String), String> {
    let Some((key, value)) = text.split_once('=') else { return Err("write KEY=VALUE".to_owned()) };
    let key: EndpointKey = key.trim().parse()?;
    Ok((key, endpoint_value(key, value)?))
}

/// The value of a setting under `[tenant.endpoints]`; its form in full is the configuration's matter.
fn endpoint_value(key: EndpointKey, value: &str) -> Result<String, String> {
    let value = value.trim();
    if value.is_empty() || value.chars().any(char::is_control) {
        return Err(format!("{key} is empty, or has a control character in it"));
    }
    match key.name() {
        "imap" | "pop3" | "smtp" => value.parse::<config::HostPort>().map(|host| host.to_string()),
        // The configuration takes relative paths from its own folder, a command line from the current one.
        "ca_file" => match std::path::absolute(value).map(|path| path.into_os_string().into_string()) {
            Ok(Ok(path)) => Ok(path),
            _ => Err(format!("`{value}` is no path that can be written")),
        },
        name if name.ends_with("_url") && !value.starts_with("https://") && !value.starts_with("http://") => {
            Err(format!("{key} starts with https://"))
        }
        _ => Ok(value.to_owned()),
    }
}
