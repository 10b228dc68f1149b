//! From the answers to a plan: which tenant, which mailbox, what the administrator is told, and what the configuration becomes.

use std::io;
use std::path::Path;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::set_up::SetUp;
use crate::admin::cli::setup::ask::{self, Asker, Question};
use crate::admin::cli::setup::place::Place;
use crate::admin::cli::setup::tenant::{self, Asked};
use crate::admin::cli::setup::{CredentialKind, Setup, tenant_name};
use crate::admin::cli::values;
use crate::admin::ops::setup::{
    NewCredential, Script, appended, is_script, make_folder, make_folder_of_file, new_file, replace_configuration,
    write_new_configuration, write_secret,
};
use crate::base::Mailbox;
use crate::base::files::write_private;
use crate::config::{self, Config, Grant};

/// What is to be done.
pub(super) struct Plan {
    place: Place,
    tenant: Chosen,
    mailbox: Mailbox,
    sign_in_as: Option<Mailbox>,
    object_id: Option<String>,
}

/// Which tenant.
enum Chosen {
    New(Box<Asked>),
    There(String),
}

/// Where everything is, once the configuration is written.
pub(super) struct Here {
    /// Where the configuration is.
    pub(super) place: Place,
    /// The tenant.
    pub(super) tenant: String,
    /// The mailbox.
    pub(super) mailbox: Mailbox,
    /// The account that signs in for it.
    pub(super) sign_in_as: Option<Mailbox>,
}

/// The script for the administrator of Exchange, if there is one.
#[derive(Default)]
pub(super) struct Told {
    /// Its text.
    pub(super) text: Option<String>,
    /// Where it was written.
    pub(super) file: Option<std::path::PathBuf>,
}

/// Asks for everything that no option answers.
pub(super) fn gather(set_up: &SetUp, asker: &Asker, options: &Setup, place: Place) -> Result<Plan, Failure> {
    let there: Vec<String> =
        place.found.iter().flat_map(|(loaded, _)| loaded.config.tenants.iter()).map(|t| t.name.to_string()).collect();
    let named = match (&options.tenant.tenant, there.as_slice()) {
        (None, [only]) if !asker.asks() => Some(only.clone()),
        (named, _) => named.clone(),
    };
    let is_new = named.as_ref().is_none_or(|name| !there.contains(name));
    if !asker.asks() {
        require(options, &place, is_new, named.as_deref())?;
    }
    place.require_account()?;
    // The cloud is asked first, but only for a tenant that is new; which one it is shows its name.
    let (name, cloud) = match named {
        Some(name) if !is_new => (name, None),
        Some(name) => (name, Some(tenant::ask_cloud(asker, &options.tenant)?)),
        None if there.is_empty() => {
            let cloud = tenant::ask_cloud(asker, &options.tenant)?;
            (ask_name(asker, &there)?, Some(cloud))
        }
        None => {
            let name = ask_name(asker, &there)?;
            let cloud = if there.contains(&name) { None } else { Some(tenant::ask_cloud(asker, &options.tenant)?) };
            (name, cloud)
        }
    };
    let (tenant, delegated, object_id) = match cloud {
        None => {
            if let Some((loaded, text)) = &place.found {
                refuse_changes(options, &loaded.config, text, &name)?;
            }
            let grants =
                place.found.as_ref().and_then(|(loaded, _)| loaded.config.tenant(&name)).map(|tenant| tenant.grants);
            asker.say(&format!("The tenant `{name}` is in the configuration; on with the mailbox."));
            let delegated = grants.is_some_and(|grants| grants.any_delegated());
            (Chosen::There(name), delegated, options.tenant.object_id.clone())
        }
        Some(cloud) => {
            let asked = tenant::ask(set_up, asker, options, &place, cloud, name)?;
            let (delegated, object_id) = (asked.tenant.grant.is_delegated(), asked.object_id.clone());
            (Chosen::New(Box::new(asked)), delegated, object_id)
        }
    };
    let mailbox = asker.ask(
        Question {
            flag: "--mailbox ADDRESS",
            why: "Nothing but the mailboxes on Postern's list can be reached, whatever the tenant allows. This is the first on it.",
            prompt: "Address of the first mailbox",
        },
        options.mailbox.mailboxes.first().cloned(),
        None,
        values::address,
    )?;
    let sign_in_as = if delegated {
        let question = Question {
            flag: "--sign-in-as ADDRESS",
            why: "A shared mailbox has no password of its own: a person who may open it signs in for it.",
            prompt: "Account that signs in, if it is another",
        };
        asker.ask_if_any(question, options.mailbox.sign_in_as.clone(), values::address)?
    } else if options.mailbox.sign_in_as.is_some() || options.mailbox.way.is_named() {
        let message = "nobody signs in where the application itself does (client_credentials): leave --sign-in-as and the ways to sign in out";
        return Err(Failure::Usage(message.to_owned()));
    } else {
        None
    };
    Ok(Plan { place, tenant, mailbox, sign_in_as, object_id })
}

/// Every option that is missing where nobody can be asked.
fn require(options: &Setup, place: &Place, is_new: bool, named: Option<&str>) -> Result<(), Failure> {
    let mut missing = if is_new { tenant::missing(&options.tenant, place) } else { Vec::new() };
    if options.mailbox.mailboxes.is_empty() {
        missing.push("--mailbox ADDRESS".to_owned());
    }
    let of_file = named.and_then(|name| place.found.as_ref()?.0.config.tenant(name));
    // Whether somebody has to sign in for a mailbox of a tenant that is there is seen when its store is open.
    let by_browser = of_file.is_none() && options.tenant.grant == Some(Grant::AuthorizationCode);
    if by_browser && !options.mailbox.no_sign_in && !options.mailbox.way.is_named() {
        missing.push(WAYS_TO_SIGN_IN.to_owned());
    }
    if is_new && place.found.is_some() && !options.yes {
        missing.push("--yes (the configuration is there, and the tenant is added to it)".to_owned());
    }
    if missing.is_empty() { Ok(()) } else { Err(ask::missing(&missing)) }
}

/// The options that say how somebody signs in where no browser may be opened.
pub(super) const WAYS_TO_SIGN_IN: &str = "--refresh-token-file FILE (or --device-code, --no-browser, --no-sign-in)";

fn ask_name(asker: &Asker, there: &[String]) -> Result<String, Failure> {
    let why = if there.is_empty() {
        "A short name, by which this tenant is called here and in the log.".to_owned()
    } else {
        format!(
            "In the configuration there are: {}. Name one to go on with it, or a new one to add it.",
            there.join(", ")
        )
    };
    let question = Question { flag: "--tenant NAME", why: &why, prompt: "Short name of the tenant" };
    asker.ask(question, None, there.first().map(String::as_str), |text| {
        if there.iter().any(|name| name == text) { Ok(text.to_owned()) } else { tenant_name(text) }
    })
}

/// A tenant that is there is not changed, so what the options say otherwise of it is no wish that could be granted.
fn refuse_changes(options: &Setup, config: &Config, text: &str, name: &str) -> Result<(), Failure> {
    let Some(tenant) = config.tenant(name) else { return Ok(()) };
    let given = &options.tenant;
    let mut other = Vec::new();
    let mut compare = |differs: bool, flag: &str| {
        if differs {
            other.push(flag.to_owned());
        }
    };
    compare(given.cloud.is_some_and(|cloud| cloud != tenant.cloud), "--cloud");
    compare(given.tenant_id.is_some() && given.tenant_id != tenant.tenant_id, "--tenant-id");
    compare(given.client_id.as_ref().is_some_and(|id| *id != tenant.client_id), "--client-id");
    let grants =
        |grant: Grant| given_protocols(given, config).iter().all(|protocol| tenant.grants.of(*protocol) == grant);
    compare(given.grant.is_some_and(|grant| !grants(grant)), "--grant");
    let listens = |protocol| config.listeners.iter().any(|listener| listener.protocol == protocol);
    compare(given.protocols.iter().any(|protocol| !listens(*protocol)), "--protocol");
    compare(
        given.credential_expires.is_some() && given.credential_expires != tenant.client_secret_expires,
        "--credential-expires",
    );
    let kind = match &tenant.credential {
        config::Credential::Certificate { .. } => CredentialKind::Certificate,
        config::Credential::FederatedToken(_) => CredentialKind::Federated,
        config::Credential::None => CredentialKind::None,
        config::Credential::Secret(_) => CredentialKind::Secret,
    };
    compare(given.credential.is_some_and(|given| given != kind), "--credential");
    let whole = |path: &Path| std::path::absolute(path).ok();
    let is_file = |place: &config::SecretPlace, file: &Path| match place {
        config::SecretPlace::File(there) => Some(there.clone()) == whole(file),
        _ => false,
    };
    if let Some(file) = &given.certificate_file {
        let same = matches!(&tenant.credential, config::Credential::Certificate { certificate, .. } if Some(certificate.clone()) == whole(file));
        compare(!same, "--certificate-file");
    }
    if let Some(file) = &given.client_secret_file {
        compare(
            !matches!(&tenant.credential, config::Credential::Secret(place) if is_file(place, file)),
            "--client-secret-file",
        );
    }
    if let Some(file) = &given.federated_token_file {
        let same = matches!(&tenant.credential, config::Credential::FederatedToken(place) if is_file(place, file));
        compare(!same, "--federated-token-file");
    }
    let written = written_endpoints(text, name);
    for (key, value) in &given.endpoints {
        let there = written.as_ref().and_then(|endpoints| match key.name().split_once('.') {
            Some((table, key)) => endpoints.get(table)?.get(key),
            None => endpoints.get(key.name()),
        });
        let there = there.and_then(toml::Value::as_str);
        let same = match (key.name(), there) {
            ("ca_file", Some(_)) => tenant.endpoints.ca_file.as_deref() == Some(Path::new(value)),
            (_, there) => there == Some(value),
        };
        compare(!same, &format!("--endpoint {key}"));
    }
    if other.is_empty() {
        return Ok(());
    }
    let message =
        format!("the tenant `{name}` is in the configuration, and there these are different: {}", other.join(", "));
    Err(Failure::operation(
        "tenant-differs",
        message,
        "Change it in the configuration, or give a new tenant another name with --tenant.",
    ))
}

fn given_protocols(given: &super::TenantOptions, config: &Config) -> Vec<crate::base::Protocol> {
    if !given.protocols.is_empty() {
        return given.protocols.clone();
    }
    config.listeners.iter().map(|listener| listener.protocol).collect()
}

/// What the file says under `[tenant.endpoints]` of this tenant.
fn written_endpoints(text: &str, name: &str) -> Option<toml::Table> {
    let table: toml::Table = text.parse().ok()?;
    let tenants = table.get("tenant")?.as_array()?;
    let tenant = tenants.iter().find(|tenant| tenant.get("name").and_then(toml::Value::as_str) == Some(name))?;
    tenant.get("endpoints")?.as_table().cloned()
}

impl Plan {
    /// Tells what the tenant's administrator has to do, and writes the script, if a file is named for it.
    pub(super) fn tell_administrator(
        &self,
        set_up: &SetUp,
        asker: &Asker,
        file: Option<&Path>,
    ) -> Result<Told, Failure> {
        let output = &set_up.output;
        let script = match &self.tenant {
            Chosen::New(asked) => {
                if let Some(registration) = asked.registration.as_ref().filter(|_| !output.is_json()) {
                    output.note(&format!("\n{registration}"));
                }
                let NewTenantParts { name, cloud, client_id, grant } = NewTenantParts::of(asked);
                Script {
                    object_id: self.object_id.clone(),
                    mailboxes: vec![self.mailbox.clone()],
                    sign_in_as: self.sign_in_as.clone(),
                    ..Script::of_new(name, cloud, client_id, grant, &asked.protocols)
                }
            }
            // Told when it was added; asked for again, it is written again.
            Chosen::There(name) => {
                let found = self
                    .place
                    .found
                    .as_ref()
                    .and_then(|(loaded, _)| Some((&loaded.config, loaded.config.tenant(name)?)));
                let Some((config, tenant)) = found else { return Ok(Told::default()) };
                let (mailboxes, account) = (vec![self.mailbox.clone()], self.sign_in_as.clone());
                Script::of(config, tenant, mailboxes, account, self.object_id.clone())
            }
        };
        let Some(text) = script.text() else {
            if file.is_some() {
                let message = "there is no script for this cloud: it has no Exchange Online PowerShell";
                return Err(Failure::Usage(format!("--script-file: {message}")));
            }
            return Ok(Told::default());
        };
        let file = match file {
            Some(file) => Some(file.to_owned()),
            None => asker.ask_if_any(
                Question {
                    flag: "--script-file FILE",
                    why: "In Exchange, an administrator lets Postern into the mailbox, in PowerShell. The commands are filled in with your answers,\n\
                          with the way back, and are written into a file, such as postern-setup.ps1.",
                    prompt: "File for the script; without one it is shown",
                },
                None,
                |text| Ok(text.into()),
            )?,
        };
        match &file {
            Some(file) => {
                write_script(file, &text)?;
                output.note(&format!(
                    "\nFor Exchange, an administrator runs `{}` in PowerShell; with -Undo it is taken back.",
                    file.display()
                ));
            }
            None if !output.is_json() => {
                output.note(
                    "\nFor Exchange, an administrator runs this in PowerShell (--script-file writes it into a file):\n",
                );
                output.verbatim(&text);
            }
            None => {}
        }
        Ok(Told { text: Some(text), file })
    }

    /// Writes the configuration, after it was shown and agreed to. `None`: it was not agreed to.
    pub(super) fn write(self, set_up: &SetUp, asker: &Asker) -> Result<Option<Here>, Failure> {
        let Self { place, tenant, mailbox, sign_in_as, .. } = self;
        let asked = match tenant {
            Chosen::There(tenant) => return Ok(Some(Here { place, tenant, mailbox, sign_in_as })),
            Chosen::New(asked) => *asked,
        };
        let output = &set_up.output;
        let owner = place.owner.as_ref();
        let before = place.found.as_ref().map(|(_, text)| text.as_str());
        let named_data_dir = (!place.is_system).then_some(place.data_dir.as_path());
        let text = match before {
            None => new_file(&asked.tenant, place.folder(), named_data_dir, &asked.protocols)?,
            Some(before) => appended(before, &asked.tenant, place.folder())?,
        };
        make_folder_of_file(&place.path, owner)?;
        let passing = match (&asked.tenant.credential, &asked.secret) {
            (NewCredential::Secret(file), Some(secret)) => {
                write_secret(file, secret.expose().as_bytes(), owner)?;
                Some(Passing(Some(file)))
            }
            _ => None,
        };
        // Everything that it names is in place now, so it is judged as it will be.
        config::parse(&text, &place.path, &place.surroundings)?;
        let shown = before.map_or(text.as_str(), |before| text.strip_prefix(before).unwrap_or(&text)).trim();
        let where_to = place.path.display();
        let heading = if before.is_some() {
            format!("To the end of `{where_to}` is added:")
        } else {
            format!("`{where_to}` becomes:")
        };
        output.note(&format!("\n{heading}\n"));
        output.verbatim(&format!("{shown}\n"));
        if !asker.confirm("Write it?", true, true)? {
            return Ok(None);
        }
        if place.is_system {
            make_folder(&place.data_dir, owner)?;
        }
        match before {
            None => write_new_configuration(&place.path, &text, owner)?,
            Some(before) => replace_configuration(&place.path, before, &text)?,
        }
        if let Some(mut passing) = passing {
            passing.0 = None;
        }
        output.note(&format!("`{where_to}` is written"));
        Ok(Some(Here { place, tenant: asked.tenant.name, mailbox, sign_in_as }))
    }
}

/// What the script needs of a new tenant.
struct NewTenantParts<'a> {
    name: &'a str,
    cloud: config::Cloud,
    client_id: &'a str,
    grant: Grant,
}

impl<'a> NewTenantParts<'a> {
    fn of(asked: &'a Asked) -> Self {
        let tenant = &asked.tenant;
        Self { name: &tenant.name, cloud: tenant.cloud, client_id: &tenant.client_id, grant: tenant.grant }
    }
}

/// A secret that is removed again if the configuration that names it is not written.
struct Passing<'a>(Option<&'a Path>);

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            drop(std::fs::remove_file(path));
        }
    }
}

/// Writes the script; only an older one of ours is replaced.
pub(super) fn write_script(file: &Path, text: &str) -> Result<(), Failure> {
    let cannot = |why: String| {
        let message = format!("the script cannot be written into `{}`: {why}", file.display());
        Failure::operation("script-file", message, "Name another file with --script-file.")
    };
    match std::fs::read_to_string(file) {
        Ok(there) if is_script(&there) => {}
        Ok(_) => return Err(cannot("it is there already, and no script of `postern setup`".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(cannot(error.to_string())),
    }
    write_private(file, text.as_bytes()).map_err(|error| cannot(error.to_string()))
}
