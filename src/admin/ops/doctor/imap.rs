//! IMAP by a client of others: async-imap, over a connection of its own.

use std::time::Duration;

use tokio::time::timeout;

use crate::admin::ops::doctor::login::{Failed, PATIENCE, in_one_line};
use crate::auth::Permit;
use crate::broker::AccessToken;
use crate::upstream::Upstream;
use crate::upstream::reader::{self, ReadError, Session};

/// Opens a session.
pub(in crate::admin::ops::doctor) async fn session(
    upstream: &Upstream,
    permit: &Permit,
    token: &AccessToken,
) -> Result<Session, Failed> {
    upstream.reader(permit, token, PATIENCE).await.map_err(unread)
}

/// Why a mailbox could not be read.
pub(in crate::admin::ops::doctor) fn unread(error: ReadError) -> Failed {
    match error {
        ReadError::Road(error) => Failed::Road(error),
        ReadError::Said(error) => failed(&error),
        ReadError::NoGreeting => in_words("there was no greeting"),
        ReadError::Silent => Failed::Silent,
        error @ ReadError::Unanswered => in_words(&error.to_string()),
    }
}

/// Opens the inbox, and says how many messages are in it.
pub(in crate::admin::ops::doctor) async fn inbox(
    upstream: &Upstream,
    permit: &Permit,
    token: &AccessToken,
) -> Result<String, Failed> {
    let mut session = session(upstream, permit, token).await?;
    let selected = within(session.select("INBOX")).await?;
    let folders = read(reader::folders(&mut session)).await?;
    end(session).await;
    Ok(format!("{} messages; {} folders", selected.exists, folders.len()))
}

/// Waits for an answer, but not for ever.
pub(in crate::admin::ops::doctor) async fn within<T>(
    work: impl Future<Output = Result<T, async_imap::error::Error>>,
) -> Result<T, Failed> {
    match timeout(PATIENCE, work).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(Failed::Silent),
    }
}

/// The same for what is read by our own reader.
pub(in crate::admin::ops::doctor) async fn read<T>(
    work: impl Future<Output = Result<T, ReadError>>,
) -> Result<T, Failed> {
    timeout(PATIENCE, work).await.unwrap_or(Err(ReadError::Silent)).map_err(unread)
}

/// Logs out; whether anybody hears it does not matter.
pub(in crate::admin::ops::doctor) async fn end(mut session: Session) {
    drop(timeout(Duration::from_secs(2), session.logout()).await);
}

fn failed(error: &async_imap::error::Error) -> Failed {
    use async_imap::error::Error;
    match error {
        Error::No(text) => in_words(&format!("NO {}", information(text))),
        Error::Bad(text) => in_words(&format!("BAD {}", information(text))),
        other => in_words(&other.to_string()),
    }
}

fn in_words(said: &str) -> Failed {
    let entry = crate::base::catalogue::mailbox_answer(said);
    let remedy = entry.map(|entry| entry.remedy_text(&crate::base::catalogue::Places::default()));
    let otherwise = "Postern's own login worked just before, so try again; if it lasts, report it with this line.";
    Failed::Said {
        said: format!("another client (async-imap) was told: {}", in_one_line(said)),
        remedy: Some(remedy.unwrap_or_else(|| otherwise.to_owned())),
    }
}

/// What the server said, out of the library's `code: None, info: Some("…")`.
fn information(text: &str) -> &str {
    let inside = text.split_once("info: Some(\"").and_then(|(_, rest)| rest.rsplit_once("\")"));
    inside.map_or(text, |(words, _)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_are_taken_out_of_the_librarys() {
        assert_eq!(information("code: None, info: Some(\"AUTHENTICATE failed.\")"), "AUTHENTICATE failed.");
        assert_eq!(information("something else"), "something else");
    }
}
