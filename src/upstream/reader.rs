//! Reading a mailbox by IMAP for ourselves, with async-imap over a connection of its own: where a copy of a sent message is.
//!
//! async-imap writes every line to the `log` crate, tokens included, which has no listener in this program (`telemetry::log`).

use std::time::Duration;

use async_imap::error::Error;
use async_imap::imap_proto::{AttributeValue, MailboxDatum, NameAttribute, Response, Status};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::auth::Permit;
use crate::base::Mailbox;
use crate::broker::AccessToken;
use crate::upstream::{ServerStream, Upstream, UpstreamError};
use crate::wire::folder_name::decoded;

/// A session of async-imap.
pub type Session = async_imap::Session<ServerStream>;

/// What Exchange calls the folder of sent messages, in the languages of its mailboxes. It shows no attribute to know it by.
pub const SENT_NAMES: &[&str] = &[
    "Sent Items",
    "Gesendete Elemente",
    "Éléments envoyés",
    "Elementos enviados",
    "Posta inviata",
    "Verzonden items",
    "Itens Enviados",
    "Elementy wysłane",
    "Skickat",
    "Sendt post",
    "Sendte elementer",
    "Lähetetyt",
    "Odeslaná pošta",
    "Odoslaná pošta",
    "Elküldött elemek",
    "Elemente trimise",
    "Изпратени",
    "Отправленные",
    "Надіслані",
    "Απεσταλμένα",
    "Gönderilmiş Öğeler",
    "פריטים שנשלחו",
    "العناصر المرسلة",
    "送信済みアイテム",
    "보낸 편지함",
    "已发送邮件",
    "寄件備份",
    "รายการที่ถูกส่ง",
    "Mục đã Gửi",
    "Poslane stavke",
    "Poslano",
    "Poslate stavke",
    "Išsiųsti laiškai",
    "Nosūtītie vienumi",
    "Saadetud üksused",
    "Elements enviats",
    "Bidalitako elementuak",
    "Item Terkirim",
];

/// What other servers call it, and mail programs a folder of their own.
const COMMON_NAME: &str = "Sent";

/// So many copies of one message are looked at.
const MOST_COPIES: usize = 20;

/// The mailbox could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No connection.
    #[error(transparent)]
    Road(#[from] UpstreamError),
    /// What the server or the library said.
    #[error("{0}")]
    Said(#[from] Error),
    /// The connection ended before the greeting.
    #[error("there was no greeting")]
    NoGreeting,
    /// The server did not answer in time.
    #[error("there was no answer in time")]
    Silent,
    /// The server has searched and not said what it found.
    #[error("the server says that it has searched, and not what it has found")]
    Unanswered,
}

/// XOAUTH2: `user={user}^Aauth=Bearer {token}^A^A` once, then nothing, so that a refusal is said in full.
struct Bearer(Option<Zeroizing<Vec<u8>>>);

impl Bearer {
    fn new(user: &Mailbox, token: &AccessToken) -> Self {
        let token = token.expose().expose();
        // Room for all of it at once: growing would leave copies behind.
        let mut message = Zeroizing::new(Vec::with_capacity(user.as_str().len() + token.len() + 32));
        for part in ["user=", user.as_str(), "\u{1}auth=Bearer ", token, "\u{1}\u{1}"] {
            message.extend_from_slice(part.as_bytes());
        }
        Self(Some(message))
    }
}

impl async_imap::Authenticator for Bearer {
    type Response = Zeroizing<Vec<u8>>;

    fn process(&mut self, _challenge: &[u8]) -> Self::Response {
        self.0.take().unwrap_or_default()
    }
}

impl Upstream {
    /// A session for reading the mailbox of this permit, which has to be one for IMAP.
    ///
    /// # Errors
    /// [`ReadError`], each variant.
    pub async fn reader(&self, permit: &Permit, token: &AccessToken, patience: Duration) -> Result<Session, ReadError> {
        let stream = self.connect(permit).await?;
        let mut client = async_imap::Client::new(stream);
        let logged_in = timeout(patience, async {
            client.read_response().await.map_err(Error::from)?.ok_or(ReadError::NoGreeting)?;
            Ok(client
                .authenticate("XOAUTH2", Bearer::new(permit.mailbox(), token))
                .await
                .map_err(|(error, _)| error)?)
        });
        logged_in.await.unwrap_or(Err(ReadError::Silent))
    }
}

/// A folder, as the server lists it.
#[derive(Clone, Debug)]
pub struct Folder {
    /// Its name, as it stands in commands.
    pub name: String,
    /// What the server says of it.
    pub attributes: Vec<NameAttribute<'static>>,
}

/// Gives a command and takes what the server says to it. async-imap takes a refusal of LIST, SEARCH and FETCH for an answer with nothing in
/// it, so that what Exchange would not look for, as it throttles, would not be there.
async fn ask(session: &mut Session, command: &str, mut take: impl FnMut(&Response<'_>)) -> Result<(), ReadError> {
    let tag = session.run_command(command).await?;
    while let Some(said) = session.read_response().await.map_err(Error::from)? {
        match said.parsed() {
            Response::Data { status: Status::Bye, .. } => break,
            Response::Done { tag: of, status, outcome } if *of == tag => {
                let words = || outcome.information.as_deref().unwrap_or_default().to_owned();
                return match status {
                    Status::Ok => Ok(()),
                    Status::No => Err(Error::No(words()).into()),
                    _ => Err(Error::Bad(words()).into()),
                };
            }
            said => take(said),
        }
    }
    Err(Error::ConnectionLost.into())
}

/// All folders.
///
/// # Errors
/// [`ReadError`].
pub async fn folders(session: &mut Session) -> Result<Vec<Folder>, ReadError> {
    let mut listed = Vec::new();
    ask(session, "LIST \"\" \"*\"", |said| {
        if let Response::MailboxData(MailboxDatum::List(data)) = said {
            let attributes = data.name_attributes.iter().map(|one| one.clone().into_owned()).collect();
            listed.push(Folder { name: data.name.to_string(), attributes });
        }
    })
    .await?;
    Ok(listed)
}

/// The name of the folder of sent messages, as the server writes it: the one that is configured, else by its attribute (RFC 6154), else by
/// its name.
///
/// # Errors
/// [`ReadError`].
pub async fn sent_folder(session: &mut Session, configured: Option<&str>) -> Result<Option<String>, ReadError> {
    let listed = folders(session).await?;
    let named = |name: &str| listed.iter().find(|listed| decoded(&listed.name) == name);
    let found = match configured {
        Some(name) => named(name),
        None => listed
            .iter()
            .find(|name| name.attributes.contains(&NameAttribute::Sent))
            .or_else(|| SENT_NAMES.iter().chain(&[COMMON_NAME]).find_map(|name| named(name))),
    };
    Ok(found.map(|folder| folder.name.clone()))
}

/// The UIDs of the messages with this Message-ID (without angle brackets, [`is_searchable`]) in the folder that is open.
///
/// # Errors
/// [`ReadError`].
pub async fn uids_of(session: &mut Session, message_id: &str) -> Result<Vec<u32>, ReadError> {
    let mut found = None;
    ask(session, &format!("UID SEARCH HEADER Message-ID \"<{message_id}>\""), |said| {
        if let Response::MailboxData(MailboxDatum::Search(uids)) = said {
            found.get_or_insert_with(Vec::new).extend(uids);
        }
    })
    .await?;
    // Where nothing is found that is said as well (RFC 3501, section 6.4.4).
    found.ok_or(ReadError::Unanswered)
}

/// The headers of the messages with this Message-ID (without angle brackets) in the folder that is open; `MOST_COPIES` at most. Of one that is
/// there, and of which nothing can be read, as it is moved away at this moment, it is empty.
///
/// # Errors
/// [`ReadError`].
pub async fn copies(session: &mut Session, message_id: &str) -> Result<Vec<Vec<u8>>, ReadError> {
    let found = uids_of(session, message_id).await?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let uids: Vec<String> = found.iter().take(MOST_COPIES).map(u32::to_string).collect();
    let mut headers = Vec::new();
    ask(session, &format!("UID FETCH {} (UID BODY.PEEK[HEADER])", uids.join(",")), |said| {
        let Response::Fetch(_, values) = said else { return };
        headers.extend(values.iter().filter_map(|value| match value {
            AttributeValue::BodySection { data: Some(data), .. } => Some(data.to_vec()),
            _ => None,
        }));
    })
    .await?;
    headers.resize(headers.len().max(uids.len()), Vec::new());
    Ok(headers)
}

/// Whether a Message-ID can stand in a SEARCH as it is.
pub fn is_searchable(message_id: &str) -> bool {
    message_id.len() < 500
        && message_id.bytes().all(|octet| (b'!'..=b'~').contains(&octet) && !b"\"\\<>".contains(&octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_message_ids_are_searched_for() {
        assert!(is_searchable("20261126.A=b+c@mail.contoso.test"));
        for id in ["a\"b@x", "a\\b@x", "a b@x", "ä@x", "a\r\n@x", &"a".repeat(500)] {
            assert!(!is_searchable(id), "{id}");
        }
    }
}
