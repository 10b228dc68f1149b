//! What is done once the configuration is written: check, mailbox, sign-in, app password, and what is told at the end.

use std::process::{Command, Stdio};

use serde::Serialize;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::output::{Output, Tone};
use crate::admin::cli::password::take_back;
use crate::admin::cli::set_up::SetUp;
use crate::admin::cli::setup::answers::{Here, Told, WAYS_TO_SIGN_IN};
use crate::admin::cli::setup::ask::{self, Asker, Question};
use crate::admin::cli::setup::card::Administrator;
use crate::admin::cli::setup::{Setup, card};
use crate::admin::cli::values;
use crate::admin::cli::view::IssuedDocument;
use crate::admin::ops::{
    IssueRequest, Issued, KeyFindings, MailboxRow, MailboxState, Ops, PasswordState, Status, check_keys, delivery_mode,
};
use crate::admin::tables::timestamp;
use crate::base::Secret;
use crate::config::{Config, Faulty, Grant};
use crate::listener::certificate;
use crate::store::SenderScope;

/// What a program is told at the end.
#[derive(Default, Serialize)]
pub(super) struct Documents<'a> {
    pub(super) config: Option<&'a str>,
    pub(super) tenant: &'a str,
    pub(super) mailbox: Option<&'a str>,
    pub(super) password: Option<IssuedDocument<'a>>,
    pub(super) listeners: Vec<ListenerDocument>,
    pub(super) script: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct ListenerDocument {
    protocol: &'static str,
    tls: &'static str,
    address: String,
}

impl Documents<'_> {
    pub(super) fn print(&self, output: &Output) -> Result<(), Failure> {
        output.json(self)
    }
}

/// Does everything that comes after the configuration.
pub(super) fn carry_out(
    options: &Setup,
    set_up: &SetUp,
    asker: &Asker,
    here: Here,
    told: &Told,
    token: Option<Secret<String>>,
) -> Result<(), Failure> {
    let set_up = &set_up.with_config(&here.place.path);
    // From here on as the one whose data it is, as every command does. Warnings are told by `doctor`.
    let loaded = set_up.load_as_owner()??;
    let KeyFindings { faults, warnings } = check_keys(&loaded.config);
    if !faults.is_empty() {
        return Err(Faulty { faults, warnings, path: here.place.path }.into());
    }
    let config = loaded.config;
    set_up.wait_for(async {
        let ops = Ops::open(&config).await?;
        let rest = Rest { options, set_up, asker, here: &here, told, config: &config, ops: &ops };
        rest.run(token).await
    })
}

/// What the steps stand on.
struct Rest<'a> {
    options: &'a Setup,
    set_up: &'a SetUp,
    asker: &'a Asker,
    here: &'a Here,
    told: &'a Told,
    config: &'a Config,
    ops: &'a Ops,
}

impl Rest<'_> {
    async fn run(&self, token: Option<Secret<String>>) -> Result<(), Failure> {
        let (output, mailbox) = (&self.set_up.output, &self.here.mailbox);
        self.ops.add_mailbox(mailbox, Some(&self.here.tenant), &[], self.here.sign_in_as.as_ref()).await?;
        output.note(&format!("{mailbox} is on the list, tenant {}", self.here.tenant));
        let row = self.sign_in(token).await?;
        if let Some(reason) = row.whole_reason().filter(|_| row.state != MailboxState::NeedsSignIn) {
            output.problem(Tone::Warning, &format!("{mailbox} cannot be used yet: {reason}"), None);
        }
        let works = self.doctor();
        let authority = self.certificate()?;
        let issued = self.issue().await?;
        if let Some(fingerprint) = authority {
            output.note(&format!(
                "\nMail programs must trust the CA that Postern has made. Its SHA-256 fingerprint is\n  {fingerprint}"
            ));
        }
        self.hand_out(issued.as_ref()).await?;
        if !output.is_json() {
            let served = Status::of(self.config).await?.process.is_some();
            let command = card::command(&self.here.place.path, self.here.place.is_found());
            output.note(&format!(
                "\n{}",
                card::next(&card::Standing {
                    command: &command,
                    mailbox,
                    state: row.state,
                    is_system: self.here.place.is_system && cfg!(target_os = "linux"),
                    is_served: served,
                    administrator: match (works, &self.told.file) {
                        (true, _) => Administrator::Done,
                        (false, Some(file)) => Administrator::RunsScript(file),
                        (false, None) if self.told.text.is_some() => Administrator::GetsScript,
                        (false, None) => Administrator::DoesSteps,
                    },
                })
            ));
        }
        Ok(())
    }

    /// Lets the person sign in, if somebody has to and is there.
    async fn sign_in(&self, token: Option<Secret<String>>) -> Result<MailboxRow, Failure> {
        let mailbox = &self.here.mailbox;
        let row = self.ops.mailbox(mailbox).await?;
        // A token that was named is taken in any case: it may be newer.
        if row.state != MailboxState::NeedsSignIn && token.is_none() {
            return Ok(row);
        }
        let options = &self.options.mailbox;
        let account = row.sign_in_as.as_ref().unwrap_or(mailbox);
        let grant = self.ops.sign_in_desk(mailbox).await?.grant();
        let by_browser = grant == Grant::AuthorizationCode && !options.way.is_named();
        if by_browser && !options.no_sign_in && !self.asker.asks() {
            return Err(ask::missing(&[WAYS_TO_SIGN_IN.to_owned()]));
        }
        if options.no_sign_in || !self.asker.confirm(&format!("Sign {account} in now?"), true, true)? {
            return Ok(row);
        }
        let signed_in = options.way.sign_in(self.ops, &self.set_up.output, mailbox, token).await;
        signed_in.map_err(|failure| match failure {
            Failure::Operation { code, message, remedy } => {
                let again = "What was set up stays; `postern setup` goes on with the sign-in.";
                let remedy = remedy.map_or_else(|| again.to_owned(), |remedy| format!("{remedy} {again}"));
                Failure::Operation { code, message, remedy: Some(remedy) }
            }
            other => other,
        })?;
        Ok(self.ops.mailbox(mailbox).await?)
    }

    /// Tries the whole way to the mailbox, as `postern doctor` does. What it finds is told and no reason to stop: often the
    /// administrator has not done his part yet.
    fn doctor(&self) -> bool {
        let Ok(program) = std::env::current_exe() else { return false };
        let mut command = Command::new(program);
        command.arg("--config").arg(&self.here.place.path).args(["doctor", self.here.mailbox.as_str()]);
        if self.set_up.output.is_quiet() || self.set_up.output.is_json() {
            command.arg("-q");
        }
        // What it prints is for people here; stdout is for the settings.
        command.stdin(Stdio::null()).stdout(std::io::stderr());
        match command.status() {
            Ok(status) if status.success() => true,
            _ => {
                let mailbox = &self.here.mailbox;
                self.set_up
                    .output
                    .note(&format!("the way to {mailbox} is not complete yet; what is missing is told at the end"));
                false
            }
        }
    }

    /// The fingerprint of the CA that Postern has made, which is made now if it was not.
    fn certificate(&self) -> Result<Option<String>, Failure> {
        if self.config.tls.is_some() {
            return Ok(None);
        }
        let folder = self.config.certificate_dir();
        let material = certificate::ensure(&folder, &self.config.tls_names, self.set_up.now())?;
        Ok(material.ca.map(|ca| ca.fingerprint_sha256))
    }

    /// Issues the first app password, if it is wanted. Without a person none is added to those that there are: whoever runs this again
    /// from a script would otherwise leave one more in force each time. A label that has none yet is another program's.
    async fn issue(&self) -> Result<Option<Issued>, Failure> {
        let mailbox = &self.here.mailbox;
        let passwords = self.ops.passwords().await?;
        let active: Vec<_> =
            passwords.iter().filter(|row| row.mailbox == *mailbox && row.state == PasswordState::Active).collect();
        let given = self.options.mailbox.label.clone();
        let has = |label: &String| active.iter().find(|row| row.label == *label);
        if let Some(row) = given.as_ref().and_then(has) {
            self.set_up.output.say(&format!(
                "\n{mailbox} has an app password `{}` already, {}; none was issued. If it is lost: postern password revoke {}, \
                 and run `postern setup` again.",
                row.label, row.id, row.id
            ));
            return Ok(None);
        }
        if !active.is_empty() {
            let count = active.len();
            self.set_up.output.note(&format!(
                "\n{mailbox} has {count} app password(s) already (`postern password list`); `--label TEXT` issues one for a \
                 program that has none."
            ));
        }
        let none = active.is_empty();
        if given.is_none() && !self.asker.confirm("Issue an app password for a mail program now?", none, none)? {
            return Ok(None);
        }
        let question = Question {
            flag: "--label TEXT",
            why: "Each program or device gets an app password of its own, so that one can be revoked without touching the others.",
            prompt: "Which program or device is it for",
        };
        let label = self.asker.ask(question, given, Some("first mail program"), values::label)?;
        let delivery = delivery_mode(self.config.delivery.default);
        // Good for what is spoken here, and for nothing that is opened later.
        let mut protocols = crate::base::Protocol::ALL.to_vec();
        protocols.retain(|protocol| self.config.listeners.iter().any(|listener| listener.protocol == *protocol));
        let request = IssueRequest {
            senders: SenderScope::default(),
            scope: crate::store::UseScope::default(),
            owner: None,
            note: None,
            mailbox: mailbox.clone(),
            label,
            protocols,
            networks: Vec::new(),
            expires_at: None,
            short: false,
            delivery,
        };
        Ok(Some(self.ops.issue_password(request).await?))
    }

    /// Prints the password, once. One that nobody can have seen is revoked again.
    async fn hand_out(&self, issued: Option<&Issued>) -> Result<(), Failure> {
        let output = &self.set_up.output;
        let told = if output.is_json() {
            let path = self.here.place.path.display().to_string();
            let listeners = self.config.listeners.iter().map(|listener| ListenerDocument {
                protocol: listener.protocol.name(),
                tls: listener.tls.name(),
                address: listener.address.to_string(),
            });
            let document = Documents {
                config: Some(&path),
                tenant: &self.here.tenant,
                mailbox: Some(self.here.mailbox.as_str()),
                password: issued.map(|Issued { password, row }| IssuedDocument {
                    id: &row.id,
                    password: password.expose(),
                    login: row.mailbox.as_str(),
                    label: &row.label,
                    mailbox: row.mailbox.as_str(),
                    expires_at: row.expires_at.map(timestamp),
                    replaces: None,
                }),
                listeners: listeners.collect(),
                script: self.told.text.as_deref(),
            };
            document.print(output)
        } else if let Some(issued) = issued {
            output.note("");
            output.data(&card::settings(self.config, issued))
        } else {
            Ok(())
        };
        match (told, issued) {
            (Err(failure), Some(issued)) => Err(take_back(self.ops, &issued.row.id, failure).await),
            (told, _) => told,
        }
    }
}
