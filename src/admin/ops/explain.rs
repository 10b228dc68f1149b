//! What a number, a reply, a log line or an error mail means. Needs no configuration and no store.

use crate::admin::ops::{Ops, require_store};
use crate::base::catalogue::{self, Search};
use crate::base::{Fault, Whose};
use crate::config::Config;
use crate::store::{IncidentRecord, SqliteStore, Store, StoreError};

/// There is nothing to say about a text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// Nothing in it is known.
    #[error("{}", nothing_known(*.number, .reply.as_deref()))]
    NothingKnown {
        /// The AADSTS number in it, if there is one.
        number: Option<u64>,
        /// The reply in it, if there is one.
        reply: Option<String>,
    },
    /// A reference that leads nowhere from here.
    #[error("the reference {reference} is not in the store that this command reads")]
    ReferenceUnknown {
        /// The six characters.
        reference: String,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn nothing_known(number: Option<u64>, reply: Option<&str>) -> String {
    match (number, reply) {
        (Some(number), _) => format!("AADSTS{number} is not in the catalogue"),
        (None, Some(reply)) => format!("the reply {reply} is not in the catalogue{}", by_standard(reply)),
        (None, None) => "nothing in this text is known".to_owned(),
    }
}

/// What an enhanced code says by itself (RFC 3463, sections 2 and 3).
fn by_standard(reply: &str) -> String {
    let mut parts = reply.rsplit(' ').next().unwrap_or_default().split('.');
    let class = match parts.next() {
        Some("4") => "a refusal for now",
        Some("5") => "a refusal for good",
        _ => return String::new(),
    };
    let subject = match parts.next() {
        Some("1") => ", about an address",
        Some("2") => ", about the recipient's mailbox",
        Some("3") => ", about the mail system or the size of the message",
        Some("4") => ", about the network or the way to the recipient",
        Some("5") => ", about the protocol",
        Some("6") => ", about the content of the message",
        Some("7") => ", about security or policy",
        _ => "",
    };
    format!("; by RFC 3463 it is {class}{subject}")
}

impl Fault for ExplainError {
    fn code(&self) -> &'static str {
        match self {
            Self::NothingKnown { .. } => "nothing-to-explain",
            Self::ReferenceUnknown { .. } => "reference-unknown",
            Self::Store(error) => error.code(),
        }
    }

    fn whose(&self) -> Whose {
        Whose::Administrator
    }

    fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Store(error) => return error.remedy(),
            Self::NothingKnown { number: Some(number), .. } => {
                format!("Microsoft explains it at https://login.microsoftonline.com/error?code={number}")
            }
            Self::NothingKnown { reply: Some(_), .. } => {
                "Microsoft looks it up at https://aka.ms/PillarEmailNDR, for administrators; if it names another company's server, ask there."
                    .to_owned()
            }
            Self::NothingKnown { .. } => "Paste more of it, the whole line of the log or the whole error mail: `postern explain -` reads it. \
                                          An AADSTS number has five digits or more."
                .to_owned(),
            Self::ReferenceUnknown { reference } => format!(
                "A new one may take a second to get there; the store keeps the newest 50,000. Find its line in the log, under systemd with `journalctl -u postern | grep {reference}`, and give that to `postern explain -`."
            ),
        })
    }
}

/// Finds what is known about a text, the most specific first. Nothing found is no error here: the result says what was unknown.
pub fn explain(text: &str) -> Search {
    catalogue::search(text)
}

/// What stood behind a reference that a mail program was given.
#[derive(Clone, Debug)]
pub struct Explained {
    /// What happened then.
    pub incident: IncidentRecord,
    /// What is known about it.
    pub search: Search,
}

/// Finds what stood behind a reference, the newest first; references are short, so there may be several.
///
/// # Errors
/// [`ExplainError::ReferenceUnknown`], and [`ExplainError::Store`] when the store cannot be read.
pub async fn explain_reference(config: &Config, reference: &str) -> Result<Vec<Explained>, ExplainError> {
    if require_store(config, None).is_err() {
        return Err(unknown(reference));
    }
    let store = SqliteStore::open(&config.data_dir).await?;
    let explained = explained(&store, reference).await;
    store.close().await;
    explained
}

impl Ops {
    /// The same from the store that is open.
    ///
    /// # Errors
    /// Those of [`explain_reference`].
    pub async fn explain_reference(&self, reference: &str) -> Result<Vec<Explained>, ExplainError> {
        explained(&*self.foundation.store, reference).await
    }
}

fn unknown(reference: &str) -> ExplainError {
    ExplainError::ReferenceUnknown { reference: reference.to_owned() }
}

async fn explained(store: &dyn Store, reference: &str) -> Result<Vec<Explained>, ExplainError> {
    let found = store.incidents(reference).await?;
    let explained: Vec<Explained> = found
        .into_iter()
        .map(|incident| {
            // What Exchange or Entra ID said tells more than the name of the fault.
            let mut search = catalogue::search(&incident.reason);
            if search.found.is_empty() {
                search = catalogue::search(&incident.code);
            }
            Explained { incident, search }
        })
        .collect();
    if explained.is_empty() { Err(unknown(reference)) } else { Ok(explained) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_said_with_the_place_where_it_is() {
        let known = |number, reply: Option<&str>| {
            let error = ExplainError::NothingKnown { number, reply: reply.map(str::to_owned) };
            (error.to_string(), error.remedy().unwrap())
        };
        let (message, remedy) = known(Some(50_058), None);
        assert_eq!(message, "AADSTS50058 is not in the catalogue");
        assert!(remedy.contains("https://login.microsoftonline.com/error?code=50058"));
        let (message, remedy) = known(None, Some("550 5.4.1"));
        assert_eq!(
            message,
            "the reply 550 5.4.1 is not in the catalogue; by RFC 3463 it is a refusal for good, about the network or the way to the recipient"
        );
        assert!(remedy.contains("https://aka.ms/"));
        assert_eq!(known(None, Some("599")).0, "the reply 599 is not in the catalogue");
        assert!(known(None, None).1.contains("postern explain -"));
        let error = ExplainError::ReferenceUnknown { reference: "7F3K2Q".to_owned() };
        assert_eq!(error.code(), "reference-unknown");
        assert!(error.remedy().unwrap().contains("journalctl -u postern | grep 7F3K2Q"));
    }
}
