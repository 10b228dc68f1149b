//! `postern demo`: a whole day in one minute, on an empty machine, without a tenant.
//!
//! The clients are not ours: lettre sends, async-imap reads. POP3 has no such library, so it is spoken by hand.

mod clients;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use chrono::Utc;
use clap::Args;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::sandbox::Folder;
use crate::admin::cli::set_up::SetUp;
use crate::admin::cli::signals::Signals;
use crate::admin::ops::{ConsoleLink, IssueRequest, Issued, Ops, OpsError};
use crate::admin::tables::Entry;
use crate::app::{App, AppError};
use crate::base::{Mailbox, Protocol};
use crate::config::{self, Config, Surroundings};
use crate::foundation::Bound;
use crate::sandbox::{Options, Sandbox};
use crate::store::{DeliveryMode, SenderScope, UseScope};

/// The one who reads.
const READER: &str = "alice@contoso.test";

/// The one who sends.
const SENDER: &str = "scanner@contoso.test";

/// How long one step may take before it has failed.
const STEP_TIME: Duration = Duration::from_secs(30);

/// A whole day in one minute: an old client sends and reads mail through Postern, on this machine alone
///
/// It starts a simulated tenant and the proxy on free ports, issues app passwords, sends a mail by SMTP as a backup script would,
/// reads it by IMAP and by POP3 as an old Outlook would, and shows a wrong and a revoked password being refused. Nothing is left
/// behind.
#[derive(Args, Debug)]
pub(super) struct Demo {
    /// Keep everything running afterwards, for a mail program of your own
    #[arg(long)]
    stay: bool,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct StepDone {
    step: &'static str,
    protocol: Option<&'static str>,
    ok: bool,
    what_happened: String,
    took_ms: u128,
}

/// What keeps running with `--stay`.
#[derive(Debug, Serialize)]
struct Account {
    protocol: String,
    tls: String,
    host: String,
    port: u16,
    user: &'static str,
    password: String,
}

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    steps: &'a [StepDone],
    accounts: &'a [Account],
    ca_file: Option<String>,
    /// A link that signs in to the console.
    console: Option<&'a str>,
}

impl Demo {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        set_up.run_service(self.day(set_up))
    }

    async fn day(self, set_up: &SetUp) -> Result<(), Failure> {
        let mut signals = Signals::listen_with_hangup()?;
        let output = &set_up.output;
        let folder = Folder::named_or_passing(None)?;
        let mut steps = Vec::new();
        let spinner = output.spinner("the day goes by");
        let day = tokio::select! {
            day = Day::live(&folder.path, &mut steps) => day,
            () = signals.stop() => {
                drop(spinner);
                let remedy = "Run it again and let it come to its end.";
                return Err(Failure::operation("demo", "the demonstration was interrupted; nothing is left behind", remedy));
            }
        };
        drop(spinner);

        let ok = day.is_some() && steps.iter().all(|step| step.ok);
        let stays = self.stay && ok;
        let accounts = match &day {
            Some(day) if stays => day.accounts(),
            _ => Vec::new(),
        };
        let console = match &day {
            Some(day) if stays => day.console_link().await,
            _ => Ok(None),
        };
        let console = match console {
            Ok(link) => link,
            Err(error) => {
                if let Some(day) = day {
                    day.end().await;
                }
                return Err(error.into());
            }
        };
        let ca_file = day.as_ref().filter(|_| stays).and_then(|day| day.ca_file.clone());
        if output.is_json() {
            let console = console.as_ref().map(|link| link.url.expose().as_str());
            output.json(&Document { ok, steps: &steps, accounts: &accounts, ca_file: ca_file.clone(), console })?;
        } else {
            output.table(&["", "STEP", "BY", "WHAT HAPPENED", "MS"], steps.iter().map(row).collect())?;
            if !accounts.is_empty() {
                output.data("\nIt stays as it is until you press Ctrl-C. For a mail program of your own:\n\n")?;
                let rows = accounts.iter().map(|account| {
                    let port = account.port.to_string();
                    let texts =
                        [&account.protocol, &account.tls, &account.host, &port, account.user, &account.password];
                    texts.map(Entry::from).into()
                });
                output.table(&["PROTOCOL", "TLS", "HOST", "PORT", "USER", "PASSWORD"], rows.collect())?;
                if let Some(link) = &console {
                    let text =
                        format!("\nThe console, for one browser within ten minutes:\n\n{}\n\n", link.url.expose());
                    output.data(&Zeroizing::new(text))?;
                }
            }
        }
        if let Some(ca_file) = ca_file {
            output.say(&format!("the mail program has to trust the CA in {ca_file}"));
        }
        if stays {
            signals.stop().await;
        }
        if let Some(day) = day {
            day.end().await;
        }
        if ok {
            output.note("everything went as it should; nothing is left behind");
            return Ok(());
        }
        let failed = steps.iter().find(|step| !step.ok).map_or("a step", |step| step.step);
        Err(Failure::operation(
            "demo",
            format!("the demonstration failed at: {failed}"),
            "Run it again with -vv and look at what it says.",
        ))
    }
}

fn row(step: &StepDone) -> Vec<Entry> {
    let sign = if step.ok { Entry::Good("✓".to_owned()) } else { Entry::Bad("✗".to_owned()) };
    vec![
        sign,
        step.step.into(),
        Entry::Faint(step.protocol.unwrap_or_default().to_owned()),
        step.what_happened.as_str().into(),
        Entry::Faint(step.took_ms.to_string()),
    ]
}

/// Does a step, notes how it went, and gives what it made.
async fn step<T>(
    steps: &mut Vec<StepDone>,
    name: &'static str,
    protocol: Option<&'static str>,
    work: impl Future<Output = Result<(T, String), String>>,
) -> Option<T> {
    let began = Instant::now();
    let result = match tokio::time::timeout(STEP_TIME, work).await {
        Ok(result) => result,
        Err(_) => Err(format!("no end after {} s", STEP_TIME.as_secs())),
    };
    let took_ms = began.elapsed().as_millis();
    let (made, ok, what_happened) = match result {
        Ok((made, what_happened)) => (Some(made), true, what_happened),
        Err(why) => (None, false, why),
    };
    steps.push(StepDone { step: name, protocol, ok, what_happened, took_ms });
    made
}

/// Everything that runs during the day.
struct Day {
    sandbox: Sandbox,
    proxy: JoinHandle<Result<(), AppError>>,
    stop: oneshot::Sender<()>,
    listeners: Vec<Bound>,
    ca_file: Option<String>,
    reader: Issued,
    ops: Ops,
    console: Option<SocketAddr>,
}

impl Day {
    /// Lives the day; every step is noted, also the one that fails. `None` if not even the proxy could be started.
    async fn live(folder: &Path, steps: &mut Vec<StepDone>) -> Option<Self> {
        let sandbox = step(steps, "a simulated tenant is started", None, async {
            let sandbox = Sandbox::start(Options::default()).await.map_err(|error| in_one_line(&error))?;
            let what = "token service, IMAP, SMTP and POP3 of contoso.test on loopback; it accepts OAuth 2.0 only";
            Ok((sandbox, what.to_owned()))
        })
        .await?;
        let config = step(steps, "Postern is configured", None, async {
            let config = configure(&sandbox, folder)?;
            Ok((config, "one tenant, three protocols, with and without TLS, on free ports".to_owned()))
        })
        .await?;
        let (ops, sender, reader) = step(steps, "app passwords are issued", None, issue(&config)).await?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (proxy, listeners, console, ca) = step(steps, "Postern is started", None, async {
            let app = App::build(&config).await.map_err(|error| in_one_line(&error))?;
            let (listeners, console) = (app.bound(), app.console_address());
            let ca = app.ca().cloned().ok_or("it made no CA")?;
            let what = format!("{} listeners, certificate by its own CA", listeners.len());
            let (_, reloads) = mpsc::channel(1);
            let proxy = tokio::spawn(app.run(async move { drop(stopped.await) }, reloads));
            Ok(((proxy, listeners, console, ca), what))
        })
        .await?;
        let ca_file = Some(ca.path.display().to_string());
        let day = Self { sandbox, proxy, stop, listeners, ca_file, reader, ops, console };
        day.send_and_read(&ca.pem, &sender, steps).await;
        day.refuse(&ca.pem, &sender, steps).await;
        Some(day)
    }

    fn address(&self, protocol: Protocol, tls: &str) -> Result<SocketAddr, String> {
        let found = self.listeners.iter().find(|bound| bound.protocol == protocol.name() && bound.tls == tls);
        let bound = found.ok_or_else(|| format!("there is no listener for {protocol}"))?;
        bound.address.parse().map_err(|error| format!("{}: {error}", bound.address))
    }

    async fn send_and_read(&self, ca_pem: &str, sender: &Issued, steps: &mut Vec<StepDone>) {
        let subject = format!("Backup of {}", Utc::now().format("%Y-%m-%d"));
        let password = sender.password.expose();
        step(steps, "a backup script sends a mail", Some("smtp"), async {
            let address = self.address(Protocol::Smtp, "starttls")?;
            let said = clients::send(address, ca_pem, (SENDER, password), READER, &subject).await?;
            Ok(((), format!("user name and password in, XOAUTH2 out; Exchange said: {said}")))
        })
        .await;
        let password = self.reader.password.expose();
        step(steps, "an old Outlook reads it", Some("imap"), async {
            let address = self.address(Protocol::Imap, "implicit")?;
            let subjects = clients::read_by_imap(address, ca_pem, (READER, password)).await?;
            if !subjects.contains(&subject) {
                return Err(format!("«{subject}» is not in the mailbox"));
            }
            Ok(((), format!("{} mail in the inbox: «{subject}»", subjects.len())))
        })
        .await;
        step(steps, "an even older one reads it", Some("pop3"), async {
            let address = self.address(Protocol::Pop3, "starttls")?;
            let subjects = clients::read_by_pop3(address, (READER, password)).await?;
            if !subjects.contains(&subject) {
                return Err(format!("«{subject}» is not in the mailbox"));
            }
            Ok(((), format!("{} mail in the inbox: «{subject}»", subjects.len())))
        })
        .await;
    }

    async fn refuse(&self, ca_pem: &str, sender: &Issued, steps: &mut Vec<StepDone>) {
        step(steps, "a wrong password is refused", Some("imap"), async {
            let address = self.address(Protocol::Imap, "implicit")?;
            match clients::read_by_imap(address, ca_pem, (READER, "Summer2026!")).await {
                Err(said) if said.contains("AUTHENTICATIONFAILED") => Ok(((), format!("the client hears: {said}"))),
                Err(said) => Err(said),
                Ok(_) => Err("it was let in".to_owned()),
            }
        })
        .await;
        step(steps, "an app password is revoked", None, async {
            self.ops.revoke_password(&sender.row.id).await.map_err(|error| in_one_line(&error))?;
            Ok(((), format!("«{}», ID {}", sender.row.label, sender.row.id)))
        })
        .await;
        step(steps, "the revoked one is refused", Some("smtp"), async {
            let address = self.address(Protocol::Smtp, "starttls")?;
            let login = (SENDER, sender.password.expose().as_str());
            match clients::send(address, ca_pem, login, READER, "too late").await {
                Err(said) if said.contains("535") => Ok(((), format!("the script hears: {said}"))),
                Err(said) => Err(said),
                Ok(_) => Err("it was let in".to_owned()),
            }
        })
        .await;
        step(steps, "what the tenant saw of it", None, async {
            let tally = self.sandbox.tally();
            let requests: u64 = tally.token_requests.values().sum();
            let logins: u64 = tally.logins.values().sum();
            if tally.refused_logins.values().sum::<u64>() > 0 {
                return Err("the tenant had to refuse a login".to_owned());
            }
            Ok(((), format!("{requests} token request, {logins} logins with XOAUTH2, no password ever")))
        })
        .await;
    }

    fn accounts(&self) -> Vec<Account> {
        let account = |bound: &Bound| {
            let address: SocketAddr = bound.address.parse().ok()?;
            Some(Account {
                protocol: bound.protocol.clone(),
                tls: bound.tls.clone(),
                host: address.ip().to_string(),
                port: address.port(),
                user: READER,
                password: self.reader.password.expose().clone(),
            })
        };
        self.listeners.iter().filter_map(account).collect()
    }

    /// What signs in to the console.
    async fn console_link(&self) -> Result<Option<ConsoleLink>, OpsError> {
        match self.console {
            Some(address) => self.ops.make_console_link(address).await.map(Some),
            None => Ok(None),
        }
    }

    async fn end(self) {
        // The proxy may have ended by itself, and then there is nobody to tell.
        let _ended_already = self.stop.send(());
        drop(self.proxy.await);
        self.sandbox.stop().await;
    }
}

fn configure(sandbox: &Sandbox, folder: &Path) -> Result<Config, String> {
    let text = sandbox.write_configuration(folder).map_err(|error| in_one_line(&error))?;
    let surroundings = Surroundings::of_this_process(Utc::now());
    let loaded =
        config::parse(&text, &folder.join("postern.toml"), &surroundings).map_err(|faulty| faulty.to_string())?;
    let mut config = loaded.config;
    for listener in &mut config.listeners {
        listener.address.set_port(0);
    }
    if let Some(console) = &mut config.console {
        console.set_port(0);
    }
    Ok(config)
}

async fn issue(config: &Config) -> Result<((Ops, Issued, Issued), String), String> {
    let failed = |error: OpsError| in_one_line(&error);
    let ops = Ops::open(config).await.map_err(failed)?;
    let issue = async |address: &str, label: &str, protocols: &[Protocol]| {
        let mailbox: Mailbox = address.parse().map_err(|error| format!("{address}: {error}"))?;
        ops.add_mailbox(&mailbox, None, &[], None).await.map_err(failed)?;
        let request = IssueRequest {
            senders: SenderScope::default(),
            scope: UseScope::default(),
            owner: None,
            note: None,
            mailbox,
            label: label.to_owned(),
            protocols: protocols.to_vec(),
            networks: Vec::new(),
            expires_at: None,
            short: false,
            delivery: DeliveryMode::Assured,
        };
        ops.issue_password(request).await.map_err(failed)
    };
    let sender = issue(SENDER, "backup script", &[Protocol::Smtp]).await?;
    let reader = issue(READER, "old Outlook", &[]).await?;
    let what = format!("one for {SENDER} (smtp only), one for {READER}; the store keeps verifiers, no passwords");
    Ok(((ops, sender, reader), what))
}

/// An error and its causes.
fn in_one_line(error: &dyn std::error::Error) -> String {
    crate::admin::cli::failure::with_causes(error)
}
