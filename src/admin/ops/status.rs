//! Is it running, ready, and well?

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::admin::ops::{MailboxState, Ops, OpsError, PasswordState};
use crate::base::files::open_private;
use crate::foundation::{self, Bound, FoundationError, Running};

/// What `postern status` shows.
#[derive(Clone, Debug)]
pub struct Status {
    /// The number of the process that serves this data folder.
    pub process: Option<u32>,
    /// Since when it is ready.
    pub ready_at: Option<DateTime<Utc>>,
    /// Its listeners, and whether each answers.
    pub listeners: Vec<ListenerStatus>,
    /// The tenants in the configuration.
    pub tenants: Vec<String>,
    /// Mailboxes by state: ready, needs-sign-in, needs-administrator, disabled.
    pub mailboxes: [(MailboxState, usize); 4],
    /// App passwords that can be used.
    pub active_passwords: usize,
    /// What is not well, each with what to do.
    pub troubles: Vec<String>,
}

/// A listener of the running process.
#[derive(Clone, Debug)]
pub struct ListenerStatus {
    /// Where it is.
    pub bound: Bound,
    /// Whether it took a connection and, where it speaks first in the clear, greeted.
    pub answers: bool,
}

impl Status {
    /// Running, every listener answering, and nothing for anybody to mend.
    pub fn is_well(&self) -> bool {
        self.process.is_some() && self.troubles.is_empty()
    }
}

impl Ops {
    /// Looks whether a process serves this data folder, whether its listeners answer, and what needs somebody.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn status(&self) -> Result<Status, OpsError> {
        let running = self.running()?;
        let mut troubles = Vec::new();
        let mut listeners = Vec::new();
        match &running {
            Some(running) => {
                for bound in &running.listeners {
                    let answers = answers(bound).await;
                    if !answers {
                        troubles.push(format!("{} {} {} does not answer", bound.protocol, bound.tls, bound.address));
                    }
                    listeners.push(ListenerStatus { bound: bound.clone(), answers });
                }
            }
            None => troubles.push("it is not running: start it with `postern serve`".to_owned()),
        }
        if self.config.tenants.is_empty() {
            troubles.push(
                "there is no tenant, so every login is refused: add a [[tenant]] to the configuration".to_owned(),
            );
        }
        let rows = self.mailboxes().await?;
        let states =
            [MailboxState::Ready, MailboxState::NeedsSignIn, MailboxState::NeedsAdministrator, MailboxState::Disabled];
        for row in &rows {
            if matches!(row.state, MailboxState::NeedsSignIn | MailboxState::NeedsAdministrator) {
                let reason = row.reason.as_deref().unwrap_or("no reason was noted");
                troubles.push(format!("{} {}: {reason}", row.address, row.state.name()));
            }
        }
        Ok(Status {
            process: running.as_ref().map(|running| running.process),
            ready_at: running.as_ref().map(|running| running.ready_at),
            listeners,
            tenants: self.config.tenants.iter().map(|tenant| tenant.name.to_string()).collect(),
            mailboxes: states.map(|state| (state, rows.iter().filter(|row| row.state == state).count())),
            active_passwords: self.passwords().await?.iter().filter(|row| row.state == PasswordState::Active).count(),
            troubles,
        })
    }

    /// What the process left that holds the lock; `None` if nobody holds it.
    fn running(&self) -> Result<Option<Running>, OpsError> {
        let failed = |path: std::path::PathBuf, error: std::io::Error| {
            let source = error.into();
            OpsError::Foundation(FoundationError::Store(crate::store::StoreError::Open { path, source }))
        };
        let path = foundation::running_lock(self.data_dir());
        let lock = open_private(&path).map_err(|error| failed(path, error))?;
        match lock.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(_) => {
                let path = foundation::running_file(self.data_dir());
                let text = match std::fs::read(&path) {
                    Ok(text) => text,
                    // It holds the lock and is not ready yet.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(failed(path, error)),
                };
                Ok(serde_json::from_slice(&text).ok())
            }
        }
    }
}

async fn answers(bound: &Bound) -> bool {
    const PATIENCE: Duration = Duration::from_secs(3);
    let attempt = async {
        let mut stream = TcpStream::connect(&bound.address).await.ok()?;
        if bound.tls == "implicit" {
            return Some(());
        }
        let mut first = [0; 1];
        stream.read_exact(&mut first).await.ok().map(|_| ())
    };
    matches!(timeout(PATIENCE, attempt).await, Ok(Some(())))
}
