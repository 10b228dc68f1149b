//! Is it running, ready, and well?

use std::fs::File;
use std::io::ErrorKind;
use std::net::SocketAddr;

use chrono::{DateTime, Utc};

use crate::admin::ops::greeting::{self, Greeting};
use crate::admin::ops::{MailboxRow, MailboxState, Ops, OpsError, has_no_store};
use crate::config::Config;
use crate::foundation::{self, Bound, FoundationError, Running};
use crate::store::{QueueTally, StoreError};

/// What `postern status` shows.
#[derive(Clone, Debug)]
pub struct Status {
    /// The number of the process that serves this data folder.
    pub process: Option<u32>,
    /// Since when it is ready.
    pub ready_at: Option<DateTime<Utc>>,
    /// Its listeners, and whether each answers.
    pub listeners: Vec<ListenerStatus>,
    /// Where its console is.
    pub console: Option<SocketAddr>,
    /// The tenants in the configuration.
    pub tenants: Vec<String>,
    /// Mailboxes by state: ready, needs-sign-in, needs-administrator, disabled.
    pub mailboxes: [(MailboxState, usize); 4],
    /// App passwords that can be used.
    pub active_passwords: usize,
    /// Those of them that end within 30 days, with nothing in their place.
    pub ending_passwords: usize,
    /// The messages that wait.
    pub waiting: QueueTally,
    /// What is not well.
    pub troubles: Vec<NotWell>,
}

/// That mail waits for somebody.
fn of_queue(waiting: &QueueTally) -> impl Iterator<Item = NotWell> + use<> {
    let messages = if waiting.for_setup == 1 { "message waits" } else { "messages wait" };
    let told = [
        (
            waiting.for_setup,
            format!("{} {messages} for somebody to mend the set-up", waiting.for_setup),
            "See what is in the way: `postern queue list`. They go out by themselves afterwards.",
        ),
        (
            waiting.stuck_reports,
            format!("delivery reports that cannot be delivered themselves: {}", waiting.stuck_reports),
            "Read them with `postern queue list` and `postern queue show ID`, tell the sender, and drop or release them.",
        ),
        (
            waiting.unknown,
            format!("messages that may have arrived and cannot be found: {}", waiting.unknown),
            "Read them with `postern queue list`, ask whether they arrived, and drop or release them.",
        ),
    ];
    told.into_iter().filter(|(count, ..)| *count > 0).map(|(_, said, remedy)| NotWell::new(said, remedy))
}

/// Something that is not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotWell {
    /// What it is.
    pub said: String,
    /// What to do.
    pub remedy: Option<String>,
}

impl NotWell {
    fn new(said: impl Into<String>, remedy: &str) -> Self {
        Self { said: said.into(), remedy: Some(remedy.to_owned()) }
    }

    /// Both in one line.
    pub fn line(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}. {remedy}", self.said.trim_end_matches('.')),
            None => self.said.clone(),
        }
    }
}

/// A listener of the running process.
#[derive(Clone, Debug)]
pub struct ListenerStatus {
    /// Where it is.
    pub bound: Bound,
    /// Whether it greeted as its protocol does, behind the handshake where it is one of implicit TLS.
    pub answers: bool,
}

const STATES: [MailboxState; 4] =
    [MailboxState::Ready, MailboxState::NeedsSignIn, MailboxState::NeedsAdministrator, MailboxState::Disabled];

impl Status {
    /// Looks whether a process serves the data folder of this configuration, whether its listeners answer, and what needs
    /// somebody. Nothing is made where nothing is yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn of(config: &Config) -> Result<Self, OpsError> {
        if has_no_store(config) {
            return Ok(Self::of_nothing(config));
        }
        Ops::open(config).await?.status().await
    }

    /// Running, every listener answering, and nothing for anybody to mend.
    pub fn is_well(&self) -> bool {
        self.process.is_some() && self.troubles.is_empty()
    }

    /// Where not even a store is.
    fn of_nothing(config: &Config) -> Self {
        let mut troubles = vec![NotWell::new(
            format!("it is not running, and there is no store in `{}` yet", config.data_dir.display()),
            "Start it with `postern serve`, or correct `data_dir` in the configuration.",
        )];
        troubles.extend(no_tenant(config));
        Self {
            process: None,
            ready_at: None,
            listeners: Vec::new(),
            console: None,
            tenants: tenants(config),
            mailboxes: STATES.map(|state| (state, 0)),
            active_passwords: 0,
            ending_passwords: 0,
            waiting: QueueTally::default(),
            troubles,
        }
    }
}

fn tenants(config: &Config) -> Vec<String> {
    config.tenants.iter().map(|tenant| tenant.name.to_string()).collect()
}

fn no_tenant(config: &Config) -> Option<NotWell> {
    let remedy = "Add one with `postern setup`, or a [[tenant]] to the configuration.";
    config.tenants.is_empty().then(|| NotWell::new("there is no tenant, so every login is refused", remedy))
}

/// The mailboxes that need somebody. Those that need the same are told together: a tenant's trouble is that of all its mailboxes.
fn of_mailboxes(rows: &[MailboxRow]) -> Vec<NotWell> {
    /// How many are named.
    const NAMED: usize = 3;

    let mut together: Vec<Vec<&MailboxRow>> = Vec::new();
    for row in
        rows.iter().filter(|row| matches!(row.state, MailboxState::NeedsSignIn | MailboxState::NeedsAdministrator))
    {
        let same = |others: &&mut Vec<&MailboxRow>| {
            others.first().is_some_and(|other| {
                (other.state, &other.reason, &other.remedy) == (row.state, &row.reason, &row.remedy)
            })
        };
        match together.iter_mut().find(same) {
            Some(others) => others.push(row),
            None => together.push(vec![row]),
        }
    }
    let told = together.into_iter().filter_map(|rows| {
        let first = rows.first()?;
        let since = rows.iter().map(|row| row.since).min()?.format("%Y-%m-%d %H:%M UTC");
        let named: Vec<&str> = rows.iter().take(NAMED).map(|row| row.address.as_str()).collect();
        let who = match rows.len() {
            1 => first.address.to_string(),
            number if number <= NAMED => named.join(", "),
            number => format!("{} and {} more", named.join(", "), number - NAMED),
        };
        let reason = first.reason.as_deref().unwrap_or("no reason was noted");
        Some(NotWell {
            said: format!("{who}: {} since {since}: {reason}", first.state.name()),
            remedy: first.remedy.clone(),
        })
    });
    told.collect()
}

impl Ops {
    /// The same for the store that is open.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn status(&self) -> Result<Status, OpsError> {
        let running = self.running()?;
        let mut troubles = Vec::new();
        let mut listeners = Vec::new();
        match &running {
            Some(running) => {
                let outdated = running.is_outdated(&self.config);
                troubles.extend(outdated.map(|why| NotWell::new(why, "Start it anew.")));
                let greetings = greeting::of_all(&self.config, &running.listeners).await;
                for (bound, greeting) in running.listeners.iter().zip(greetings) {
                    let name = format!("{} {} {}", bound.protocol, bound.tls, bound.address);
                    match &greeting {
                        Greeting::Heard => {}
                        Greeting::OtherCertificate(why) => {
                            troubles.push(NotWell { said: format!("{name}: {why}"), remedy: None });
                        }
                        Greeting::None(why) => troubles.push(NotWell::new(
                            format!("{name} does not answer: {why}"),
                            "Look at the log of `serve`; start it anew.",
                        )),
                    }
                    let answers = !matches!(greeting, Greeting::None(_));
                    listeners.push(ListenerStatus { bound: bound.clone(), answers });
                }
            }
            None => troubles.push(NotWell::new("it is not running", "Start it with `postern serve`.")),
        }
        for halt in self.foundation.store.halts().await? {
            let (what, flag) = match &halt.tenant {
                Some(tenant) => (format!("the tenant `{tenant}`"), format!(" --tenant {tenant}")),
                None => ("everything".to_owned(), String::new()),
            };
            let why = halt.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            troubles.push(NotWell::new(
                format!("{what} is halted since {}{why}", halt.at.format("%Y-%m-%d %H:%M UTC")),
                &format!("Let it go on: `postern resume{flag}`."),
            ));
        }
        troubles.extend(no_tenant(&self.config));
        let rows = self.mailboxes().await?;
        troubles.extend(of_mailboxes(&rows));
        let passwords = self.passwords().await?;
        let waiting = self.foundation.store.queue_tally().await?;
        troubles.extend(of_queue(&waiting));
        Ok(Status {
            process: running.as_ref().map(|running| running.process),
            ready_at: running.as_ref().map(|running| running.ready_at),
            listeners,
            console: running.as_ref().and_then(|running| running.console),
            tenants: tenants(&self.config),
            mailboxes: STATES.map(|state| (state, rows.iter().filter(|row| row.state == state).count())),
            active_passwords: passwords.iter().filter(|row| row.state.is_in_force()).count(),
            ending_passwords: passwords.iter().filter(|row| row.ends_within_days.is_some()).count(),
            waiting,
            troubles,
        })
    }

    /// What the process left that holds the lock; `None` if nobody holds it.
    pub(in crate::admin::ops) fn running(&self) -> Result<Option<Running>, OpsError> {
        let failed = |path: std::path::PathBuf, error: std::io::Error| {
            OpsError::Foundation(FoundationError::Store(StoreError::Open { path, source: error.into() }))
        };
        let path = foundation::running_lock(self.data_dir());
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            // Nobody has served this folder yet.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(path, error)),
        };
        match lock.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(_) => {
                let path = foundation::running_file(self.data_dir());
                let text = match std::fs::read(&path) {
                    Ok(text) => text,
                    // It holds the lock and is not ready yet.
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(failed(path, error)),
                };
                Ok(serde_json::from_slice(&text).ok())
            }
        }
    }
}
