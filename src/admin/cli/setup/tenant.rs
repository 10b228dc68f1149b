//! The questions about the tenant and its application, in their order.

use std::path::{Path, PathBuf};

use crate::admin::cli::failure::Failure;
use crate::admin::cli::set_up::SetUp;
use crate::admin::cli::setup::ask::{Asker, Question};
use crate::admin::cli::setup::place::Place;
use crate::admin::cli::setup::{
    CredentialKind, Setup, TenantOptions, cloud, credential, date, endpoint_value, grant, id_of_cloud, protocols,
    tenant_id,
};
use crate::admin::ops::setup::{
    ApplicationCertificate, EndpointKey, Kept, NewCredential, NewTenant, Proof, Registration, ensure_certificate,
    make_folder_of_file, registration,
};
use crate::base::{Protocol, Secret};
use crate::config::{Cloud, Grant};

/// A tenant that is to be added, and what goes with it.
pub(super) struct Asked {
    /// The tenant.
    pub(super) tenant: NewTenant,
    /// What mail programs are to speak.
    pub(super) protocols: Vec<Protocol>,
    /// A client secret that was typed, for the file that the tenant names.
    pub(super) secret: Option<Secret<String>>,
    /// What is to be done in the portal; `None` where it was shown while asking.
    pub(super) registration: Option<String>,
    /// The object ID of the enterprise application, if it is known.
    pub(super) object_id: Option<String>,
}

/// How the application proves itself, as it was answered.
enum Proving {
    Made(ApplicationCertificate),
    Named(NewCredential),
    Typed(PathBuf, Secret<String>),
}

/// Asks for everything about the new tenant `name`, or takes it from the options.
pub(super) fn ask(
    set_up: &SetUp,
    asker: &Asker,
    options: &Setup,
    place: &Place,
    cloud: Cloud,
    name: String,
) -> Result<Asked, Failure> {
    let given = &options.tenant;
    let tenant_id = ask_tenant_id(asker, given, cloud)?;
    let grant = ask_grant(asker, given, cloud)?;
    let spoken = spoken(place);
    let protocols = ask_protocols(asker, given, spoken.as_deref())?;
    let kind = ask_kind(asker, given, grant)?;
    let proving = prove(set_up, asker, given, place, &name, kind)?;
    let client_secret_expires = match kind {
        CredentialKind::Secret => asker.ask_if_any(
            Question {
                flag: "--credential-expires DATE",
                why: "Nobody tells Postern when a client secret ends, and then nothing works any more. Told the day, it warns in time.",
                prompt: "Last day of the client secret, such as 2027-05-31",
            },
            given.credential_expires,
            date,
        )?,
        _ => None,
    };
    let endpoints = ask_endpoints(asker, given, cloud, grant, spoken.as_deref().unwrap_or(&protocols))?;
    let steps = registration(&Registration { cloud, grant, protocols: &protocols, proof: proving.proof() });
    let shown = asker.asks() && given.client_id.is_none();
    if shown {
        asker.say(&format!("\nNow the application is registered.\n\n{steps}"));
    }
    let application_id = |text: &str| id_of_cloud(text, cloud, "application (client) ID");
    let client_id = asker.ask(
        Question {
            flag: "--client-id ID",
            why: "The application ID is shown on the overview of the registration. You can leave this here and do the steps above first.",
            prompt: "Application (client) ID",
        },
        checked(given.client_id.as_deref(), "--client-id", application_id)?,
        None,
        application_id,
    )?;
    let has_script = !matches!(cloud, Cloud::Personal | Cloud::Custom);
    let principal_id = |text: &str| {
        let id = id_of_cloud(text, cloud, "object ID")?;
        // The other ID of the same page, and the commonest mistake.
        if id.eq_ignore_ascii_case(&client_id) {
            return Err(
                "this is the application (client) ID; the object ID stands beside it, under Enterprise applications"
                    .to_owned(),
            );
        }
        Ok(id)
    };
    let object_id = if has_script && !grant.is_delegated() {
        asker.ask_if_any(
            Question {
                flag: "--object-id ID",
                why: "Exchange knows the application by the object ID of the ENTERPRISE application (the last step above). It goes into the script \
                      for the administrator of Exchange.",
                prompt: "Object ID",
            },
            checked(given.object_id.as_deref(), "--object-id", principal_id)?,
            principal_id,
        )?
    } else {
        given.object_id.clone()
    };
    let (credential, secret) = proving.into_credential();
    let tenant = NewTenant { name, cloud, tenant_id, client_id, grant, credential, client_secret_expires, endpoints };
    Ok(Asked { tenant, protocols, secret, registration: (!shown).then_some(steps), object_id })
}

/// What an option says, looked at as an answer is.
fn checked(
    given: Option<&str>,
    flag: &str,
    read: impl Fn(&str) -> Result<String, String>,
) -> Result<Option<String>, Failure> {
    given.map(read).transpose().map_err(|why| Failure::Usage(format!("{flag}: {why}")))
}

/// The options that a new tenant cannot do without where nobody can be asked.
pub(super) fn missing(given: &TenantOptions, place: &Place) -> Vec<String> {
    let mut missing = Vec::new();
    let cloud = given.cloud.unwrap_or(Cloud::Global);
    let grant = given.grant.unwrap_or(default_grant(cloud));
    let mut need = |is_there: bool, flag: &str| {
        if !is_there {
            missing.push(flag.to_owned());
        }
    };
    need(given.tenant.is_some(), "--tenant NAME");
    need(given.tenant_id.is_some() || has_no_tenant_id(cloud), "--tenant-id ID");
    if given.credential == Some(CredentialKind::Secret) || given.credential_expires.is_some() {
        need(given.client_secret_file.is_some(), "--client-secret-file FILE");
    }
    if given.credential == Some(CredentialKind::Federated) {
        need(given.federated_token_file.is_some(), "--federated-token-file FILE");
    }
    if cloud == Cloud::Custom {
        let protocols = if given.protocols.is_empty() { &Protocol::ALL[..] } else { &given.protocols };
        for (key, form) in custom_endpoints(grant, spoken(place).as_deref().unwrap_or(protocols)) {
            need(given.endpoints.iter().any(|(there, _)| *there == key), &format!("--endpoint {key}={form}"));
        }
    }
    need(given.client_id.is_some(), "--client-id ID");
    missing
}

fn has_no_tenant_id(cloud: Cloud) -> bool {
    matches!(cloud, Cloud::Personal | Cloud::Custom)
}

/// The protocols of the listeners that the configuration lists already.
fn spoken(place: &Place) -> Option<Vec<Protocol>> {
    let (loaded, _) = place.found.as_ref()?;
    let listens = |protocol: &Protocol| loaded.config.listeners.iter().any(|listener| listener.protocol == *protocol);
    Some(Protocol::ALL.into_iter().filter(listens).collect())
}

/// The question for the cloud.
pub(super) fn ask_cloud(asker: &Asker, given: &TenantOptions) -> Result<Cloud, Failure> {
    let question = Question {
        flag: "--cloud CLOUD",
        why: "Each cloud of Microsoft has hosts and registrations of its own.\n\
              \x20 1 global    worldwide, GCC included      4 china     operated by 21Vianet\n\
              \x20 2 gcc-high  GCC High (United States)     5 personal  outlook.com, hotmail.com, live.com\n\
              \x20 3 dod       Department of Defense        6 custom    every address is given by you",
        prompt: "Cloud",
    };
    asker.ask(question, given.cloud, Some("global"), cloud)
}

fn ask_tenant_id(asker: &Asker, given: &TenantOptions, cloud: Cloud) -> Result<Option<String>, Failure> {
    if has_no_tenant_id(cloud) {
        return match &given.tenant_id {
            Some(_) => Err(Failure::Usage(format!("--tenant-id has no meaning for the cloud `{}`", cloud.name()))),
            None => Ok(None),
        };
    }
    let question = Question {
        flag: "--tenant-id ID",
        why: "Tokens come from your tenant and no other. Its directory (tenant) ID stands in the Entra admin centre, Overview.",
        prompt: "Directory (tenant) ID",
    };
    asker.ask(question, given.tenant_id.clone(), None, tenant_id).map(Some)
}

/// Personal accounts know no application that signs in by itself.
fn default_grant(cloud: Cloud) -> Grant {
    if cloud == Cloud::Personal { Grant::AuthorizationCode } else { Grant::ClientCredentials }
}

fn ask_grant(asker: &Asker, given: &TenantOptions, cloud: Cloud) -> Result<Grant, Failure> {
    let question = Question {
        flag: "--grant GRANT",
        why: "Who signs in to Exchange?\n\
              \x20 1. client_credentials: the application itself. Nobody ever has to sign in, which suits devices and services. An \
              administrator lets it into each mailbox; whoever has its key can open these mailboxes, so it stays on this machine.\n\
              \x20 2. authorization_code: each person once, in a browser. The application can open no more than that person can. Who \
              changes the password, or does not use the mailbox for 90 days, signs in again.\n\
              \x20 3. device_code: the same with a code that is entered on another device. Many tenants forbid it.",
        prompt: "Who signs in",
    };
    let grant = asker.ask(question, given.grant, Some(default_grant(cloud).name()), grant)?;
    if cloud == Cloud::Personal && !grant.is_delegated() {
        return Err(Failure::Usage(
            "personal accounts know no client_credentials: --grant authorization_code or device_code".to_owned(),
        ));
    }
    Ok(grant)
}

fn ask_protocols(asker: &Asker, given: &TenantOptions, spoken: Option<&[Protocol]>) -> Result<Vec<Protocol>, Failure> {
    let there = spoken.unwrap_or(&Protocol::ALL);
    let default = there.iter().map(|protocol| protocol.name()).collect::<Vec<_>>().join(", ");
    let question = Question {
        flag: "--protocol PROTOCOL",
        why: "What is not needed is not opened, and the application gets no permission for it. smtp sends; imap and pop3 receive.",
        prompt: "Protocols",
    };
    let heard = |wanted: Vec<Protocol>| match wanted.iter().find(|protocol| !there.contains(protocol)) {
        Some(silent) => Err(format!(
            "the configuration that is there lists no [[listener]] for {silent}; add one first, or leave it out"
        )),
        None => Ok(wanted),
    };
    let asked = if given.protocols.is_empty() { None } else { Some(given.protocols.clone()) };
    let asked = asked.map(heard).transpose().map_err(|why| Failure::Usage(format!("--protocol: {why}")))?;
    let wanted = asker.ask(question, asked, Some(&default), |text| protocols(text).and_then(heard))?;
    // In one order, each once.
    Ok(Protocol::ALL.into_iter().filter(|protocol| wanted.contains(protocol)).collect())
}

fn ask_kind(asker: &Asker, given: &TenantOptions, grant: Grant) -> Result<CredentialKind, Failure> {
    let by_option = if given.certificate_file.is_some() || given.certificate_years.is_some() {
        Some(CredentialKind::Certificate)
    } else if given.client_secret_file.is_some() || given.credential_expires.is_some() {
        Some(CredentialKind::Secret)
    } else if given.federated_token_file.is_some() {
        Some(CredentialKind::Federated)
    } else {
        given.credential
    };
    let (why, default) = if grant.is_delegated() {
        ("Where persons sign in, the application needs no credential of its own (4 none).", "none")
    } else {
        (
            "The application proves itself to the token service. A certificate is best: its key never leaves this machine.\n\
             \x20 1. certificate: a key and a certificate are made here; you upload the certificate.\n\
             \x20 2. secret: a client secret that you have made in the portal. Whoever reads it has it, and it ends.\n\
             \x20 3. federated: a token that another issuer writes into a file for this machine.",
            "certificate",
        )
    };
    let question = Question { flag: "--credential KIND", why, prompt: "Credential" };
    let kind = asker.ask(question, by_option, Some(default), |text| {
        let kind = credential(text)?;
        if kind == CredentialKind::None && !grant.is_delegated() {
            return Err("with client_credentials the application needs one".to_owned());
        }
        Ok(kind)
    })?;
    if kind == CredentialKind::None && !grant.is_delegated() {
        return Err(Failure::Usage("with client_credentials the application needs a credential".to_owned()));
    }
    Ok(kind)
}

fn prove(
    set_up: &SetUp,
    asker: &Asker,
    given: &TenantOptions,
    place: &Place,
    name: &str,
    kind: CredentialKind,
) -> Result<Proving, Failure> {
    let path = |text: &str| if text.is_empty() { Err("write a path".to_owned()) } else { Ok(PathBuf::from(text)) };
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match kind {
        CredentialKind::None => Ok(Proving::Named(NewCredential::None)),
        CredentialKind::Federated => {
            let question = Question {
                flag: "--federated-token-file FILE",
                why: "The token is read anew each time it is needed.",
                prompt: "File of the token",
            };
            let file = asker.ask(question, given.federated_token_file.clone(), None, path)?;
            Ok(Proving::Named(NewCredential::Federated(whole(&file))))
        }
        CredentialKind::Secret => match &given.client_secret_file {
            Some(file) => Ok(Proving::Named(NewCredential::Secret(whole(file)))),
            None if !asker.asks() => Err(super::ask::missing(&["--client-secret-file FILE".to_owned()])),
            None => {
                let file = place.folder().join(format!("client-secret-{name}"));
                let why = format!(
                    "The client secret's value (not its ID) goes into `{}`, which only the service can read. It is not shown while you type or \
                     paste it; Ctrl-C is heard after Enter.",
                    file.display()
                );
                let secret = asker.secret(&why, "Client secret")?;
                Ok(Proving::Typed(file, secret))
            }
        },
        CredentialKind::Certificate => {
            if let Some(certificate) = &given.certificate_file {
                let key = given.key_file.as_deref().map(whole);
                return Ok(Proving::Named(NewCredential::Certificate { certificate: whole(certificate), key }));
            }
            let question = Question {
                flag: "--certificate-years YEARS",
                why: "The certificate has an end, and a new one is uploaded before. `postern check` warns in time.",
                prompt: "Years (1 or 2)",
            };
            let years = asker.ask(question, given.certificate_years, Some("2"), |text| match text {
                "1" => Ok(1),
                "2" => Ok(2),
                _ => Err("write 1 or 2".to_owned()),
            })?;
            make_folder_of_file(&place.path, place.owner.as_ref())?;
            let made = ensure_certificate(place.folder(), name, years, set_up.now(), place.owner.as_ref())?;
            let what = match made.kept {
                Kept::Found => "the certificate of an earlier try is used",
                Kept::Made => "a key and a certificate were made",
            };
            set_up.output.note(&format!(
                "\n{what}, good until {}:\n  to be uploaded  {}\n  its key         {} (stays here)\n  SHA-1           {}\n  SHA-256         {}",
                made.expires_at.date_naive(),
                made.certificate.display(),
                made.key.display(),
                made.sha1,
                made.sha256
            ));
            Ok(Proving::Made(made))
        }
    }
}

impl Proving {
    fn proof(&self) -> Proof<'_> {
        match self {
            Self::Made(certificate) => Proof::Certificate(certificate),
            Self::Named(NewCredential::Certificate { .. }) => Proof::OwnCertificate,
            Self::Named(NewCredential::Federated(_)) => Proof::Federated,
            Self::Named(NewCredential::None) => Proof::None,
            Self::Named(NewCredential::Secret(_)) | Self::Typed(..) => Proof::Secret,
        }
    }

    fn into_credential(self) -> (NewCredential, Option<Secret<String>>) {
        match self {
            Self::Made(made) => {
                (NewCredential::Certificate { certificate: made.certificate, key: Some(made.key) }, None)
            }
            Self::Named(credential) => (credential, None),
            Self::Typed(file, secret) => (NewCredential::Secret(file), Some(secret)),
        }
    }
}

/// What a custom cloud cannot do without, and the form of each.
fn custom_endpoints(grant: Grant, spoken: &[Protocol]) -> Vec<(EndpointKey, &'static str)> {
    let mut names = vec![("token_url", "URL")];
    match grant {
        Grant::ClientCredentials => {}
        Grant::AuthorizationCode => names.push(("authorize_url", "URL")),
        Grant::DeviceCode => names.push(("device_url", "URL")),
    }
    let urls = names.into_iter().filter_map(|(name, form)| Some((name.parse().ok()?, form)));
    urls.chain(spoken.iter().map(|protocol| (EndpointKey::host(*protocol), "HOST:PORT"))).collect()
}

fn ask_endpoints(
    asker: &Asker,
    given: &TenantOptions,
    cloud: Cloud,
    grant: Grant,
    spoken: &[Protocol],
) -> Result<Vec<(EndpointKey, String)>, Failure> {
    let mut endpoints = given.endpoints.clone();
    // Of one that is named twice the last holds, as with every option.
    endpoints.reverse();
    let mut seen = Vec::new();
    endpoints.retain(|(key, _)| {
        let is_new = !seen.contains(key);
        seen.push(*key);
        is_new
    });
    endpoints.reverse();
    if cloud != Cloud::Custom {
        return Ok(endpoints);
    }
    let there = |endpoints: &[(EndpointKey, String)], key| endpoints.iter().any(|(known, _)| *known == key);
    let mut why = "In a custom cloud nothing is known beforehand. Postern needs these addresses.";
    for (key, form) in custom_endpoints(grant, spoken) {
        if there(&endpoints, key) {
            continue;
        }
        let question = Question { flag: "--endpoint KEY=VALUE", why, prompt: &format!("{key} ({form})") };
        let value = asker.ask(question, None, None, |text| endpoint_value(key, text))?;
        endpoints.push((key, value));
        why = "";
    }
    if let Ok(key) = "ca_file".parse::<EndpointKey>()
        && !there(&endpoints, key)
    {
        let question = Question {
            flag: "--endpoint ca_file=FILE",
            why: "If these hosts have certificates of a CA that this system does not trust: its certificate (PEM).",
            prompt: "ca_file",
        };
        let value = asker.ask_if_any(question, None, |text| endpoint_value(key, text))?;
        endpoints.extend(value.map(|value| (key, value)));
    }
    Ok(endpoints)
}
