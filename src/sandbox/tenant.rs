//! What all servers of the tenant share: its names, mailboxes, tokens and faults, and the book of what happened.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::base::Protocol;
use crate::sandbox::entra::{Codes, Credentials, Devices, RedirectUris, TokenRequest};
use crate::sandbox::faults::{FaultName, Faults};
use crate::sandbox::limits::Sent;
use crate::sandbox::mailbox::Mailboxes;
use crate::sandbox::tls::Certificates;
use crate::sandbox::tokens::{Audience, Holder, Tokens, guid, random_hex, role, scope};
use crate::sandbox::{Options, SandboxError};

/// The tenant.
pub(super) struct Tenant {
    /// Scheme, host and port of the token service.
    pub(super) origin: String,
    pub(super) tenant_id: String,
    pub(super) client_id: String,
    pub(super) public_client_id: String,
    pub(super) client_secret: String,
    pub(super) tarpit: Duration,
    pub(super) faults: Faults,
    pub(super) mailboxes: Mailboxes,
    pub(super) tokens: Tokens,
    /// Where its applications' users may be sent back to after signing in.
    pub(super) redirect_uris: RedirectUris,
    pub(super) credentials: Credentials,
    pub(super) codes: Codes,
    pub(super) devices: Devices,
    pub(super) certificates: Certificates,
    /// Rung when every IMAP session must end as if its token had expired.
    pub(super) expiry: watch::Sender<u64>,
    /// Rung when SMTP sessions between two messages must end.
    pub(super) idle_ends: watch::Sender<u64>,
    /// How many commands `smtp-prx-every` has counted.
    pub(super) prx_count: AtomicU64,
    /// How many commands `smtp-recipient-every` has counted.
    pub(super) recipient_count: AtomicU64,
    /// What was sent, for the limits of a minute and a day.
    pub(super) sent: Sent,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    tally: Tally,
    submissions: Vec<Submission>,
    /// Messages being received, per mailbox.
    receiving: HashMap<String, usize>,
}

/// What the tenant has seen since it started.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Tally {
    /// Requests to the token endpoint by `grant_type`; those without one count under the empty name.
    pub token_requests: BTreeMap<String, u64>,
    /// Every request to the token endpoint, in order.
    pub token_log: Vec<TokenRequest>,
    /// The parameters of every request to the authorization endpoint, in order.
    pub authorizations: Vec<BTreeMap<String, String>>,
    /// The parameters of every request to the device authorization endpoint, in order.
    pub device_authorizations: Vec<BTreeMap<String, String>>,
    /// Every refresh token presented, in order, repeated ones too.
    pub refresh_tokens_presented: Vec<String>,
    /// Requests that came to where `token-redirect` points.
    pub redirects_followed: u64,
    /// Access tokens issued, in order.
    pub access_tokens: Vec<String>,
    /// Logins to the mail servers that succeeded.
    pub logins: BTreeMap<Protocol, u64>,
    /// Logins to the mail servers that were refused.
    pub refused_logins: BTreeMap<Protocol, u64>,
    /// Connections to the mail ports since the start.
    pub connections: u64,
    /// Connections to the mail ports that are open now.
    pub open_connections: u64,
    /// TLS handshakes completed, resumed ones too.
    pub tls_handshakes: u64,
    /// TLS handshakes that resumed an earlier session.
    pub tls_resumptions: u64,
    /// Requests to Graph.
    pub graph_requests: u64,
    /// Messages that were one too many at once, in a minute, or in a day.
    pub over_limits: u64,
    /// Messages that were cut off before their final dot.
    pub cut_messages: u64,
    /// The octets that came in clear before TLS, of all connections together; cut at 1 MiB.
    pub clear_octets: Vec<u8>,
}

/// A message that was accepted, by SMTP or Graph.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Submission {
    /// It came by Graph and not by SMTP.
    pub by_graph: bool,
    /// The mailbox that was logged in.
    pub mailbox: String,
    /// The reverse-path of MAIL, without its brackets.
    pub mail_from: String,
    /// The parameters of MAIL as sent.
    pub mail_parameters: Vec<String>,
    /// The recipients accepted, in order.
    pub recipients: Vec<String>,
    /// The parameters of each RCPT as sent, in the order of `recipients`.
    pub recipient_parameters: Vec<Vec<String>>,
    /// The message: dots unstuffed, without the dot that ends it.
    pub content: Vec<u8>,
    /// The octets as they came after the 354, to the CRLF behind the final dot.
    pub raw: Vec<u8>,
}

/// A login that was let in.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) mailbox: String,
    pub(super) expires: Instant,
    /// The token is good, but has no right on the mailbox that was named.
    pub(super) no_right: bool,
    /// The token is of another user than the mailbox's own.
    pub(super) by_delegate: bool,
}

impl Tenant {
    /// Makes the tenant with its names, secrets and certificates.
    pub(super) fn make(options: &Options, faults: Faults, origin: String) -> Result<Self, SandboxError> {
        let tenant_id = guid()?;
        Ok(Self {
            tokens: Tokens::new(tenant_id.clone())?,
            credentials: Credentials::make(&origin)?,
            origin,
            tenant_id,
            client_id: guid()?,
            public_client_id: guid()?,
            client_secret: format!("{}~{}", random_hex(2)?, random_hex(17)?),
            tarpit: options.tarpit,
            faults,
            mailboxes: Mailboxes::new(&options.mailboxes),
            redirect_uris: RedirectUris::new(),
            codes: Codes::default(),
            devices: Devices::default(),
            certificates: Certificates::make()?,
            expiry: watch::Sender::new(0),
            idle_ends: watch::Sender::new(0),
            prx_count: AtomicU64::new(0),
            recipient_count: AtomicU64::new(0),
            sent: Sent::new(options.clock.clone()),
            book: Mutex::default(),
        })
    }

    /// The token endpoint.
    pub(super) fn token_url(&self) -> String {
        format!("{}/{}/oauth2/v2.0/token", self.origin, self.tenant_id)
    }

    /// Notes something in the tally.
    pub(super) fn note(&self, write: impl FnOnce(&mut Tally)) {
        write(&mut self.book().tally);
    }

    pub(super) fn note_login(&self, protocol: Protocol, let_in: bool) {
        self.note(|tally| {
            let logins = if let_in { &mut tally.logins } else { &mut tally.refused_logins };
            *logins.entry(protocol).or_default() += 1;
        });
    }

    pub(super) fn note_submission(&self, submission: Submission) {
        self.book().submissions.push(submission);
    }

    pub(super) fn tally(&self) -> Tally {
        let mut tally = self.book().tally.clone();
        tally.access_tokens = self.tokens.all_issued();
        tally
    }

    pub(super) fn submissions(&self) -> Vec<Submission> {
        self.book().submissions.clone()
    }

    /// Counts a message that this mailbox sends now; how many there are, with this one.
    pub(super) fn begin_receiving(self: &Arc<Self>, mailbox: &str) -> (Receiving, usize) {
        let mut book = self.book();
        let count = book.receiving.entry(mailbox.to_owned()).or_default();
        *count += 1;
        (Receiving { tenant: Arc::clone(self), mailbox: mailbox.to_owned() }, *count)
    }

    /// Reads an XOAUTH2 message, base64 and all, and decides whether it opens a mailbox for this protocol.
    pub(super) fn enter(&self, protocol: Protocol, encoded: &[u8]) -> Option<Entry> {
        let (user, token) = read_xoauth2(encoded)?;
        let claims = self.tokens.claims(&token)?;
        if claims.audience != Audience::Exchange || claims.expires <= Instant::now() || !self.mailboxes.has(&user) {
            return None;
        }
        let (needed, no_right, by_delegate) = match &claims.holder {
            Holder::Application => (role(protocol), self.no_permission(&user), false),
            Holder::User(holder) => (scope(protocol), !may_open(holder, &user), *holder != user),
        };
        if !claims.permissions.iter().any(|permission| permission == needed) {
            return None;
        }
        let cut_short = match protocol {
            Protocol::Imap => self.faults.number(FaultName::ImapTokenExpires),
            Protocol::Pop3 | Protocol::Smtp => None,
        };
        let cut_short = cut_short.map(|secs| Instant::now() + Duration::from_secs(secs));
        let expires = cut_short.map_or(claims.expires, |cut_short| cut_short.min(claims.expires));
        Some(Entry { mailbox: user, expires, no_right, by_delegate })
    }

    fn no_permission(&self, address: &str) -> bool {
        self.faults.concerns(FaultName::MailboxNoPermission, address)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message that is being received; counted until it is dropped.
pub(super) struct Receiving {
    tenant: Arc<Tenant>,
    mailbox: String,
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if let Some(count) = self.tenant.book().receiving.get_mut(&self.mailbox) {
            *count = count.saturating_sub(1);
        }
    }
}

/// Whether a user may open and send as this mailbox: the user's own, and for Alice the shared one, whose delegate she is.
pub(super) fn may_open(user: &str, mailbox: &str) -> bool {
    let shared = user.strip_prefix("alice@").is_some_and(|domain| mailbox == format!("shared@{domain}"));
    user == mailbox || shared
}

/// `base64("user=" {User} "^Aauth=Bearer " {Access Token} "^A^A")`, in one line with its padding; user (in lower case), token.
pub(super) fn read_xoauth2(encoded: &[u8]) -> Option<(String, String)> {
    let message = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let message = message.strip_suffix("\u{1}\u{1}")?;
    let (user, token) = message.strip_prefix("user=")?.split_once("\u{1}auth=Bearer ")?;
    if user.contains('\u{1}') || token.contains('\u{1}') {
        return None;
    }
    Some((user.to_ascii_lowercase(), token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xoauth2_is_read_as_written_and_not_otherwise() {
        for (message, user) in [
            ("user=Ann@x\u{1}auth=Bearer t\u{1}\u{1}", Some("ann@x")),
            ("user=ann@x\u{1}auth=Bearer t\u{1}", None),      // one ^A short
            ("user=ann@x\u{1}auth=bearer t\u{1}\u{1}", None), // Exchange wants the capital letter
            ("n,a=ann@x,\u{1}auth=Bearer t\u{1}\u{1}", None), // OAUTHBEARER
            ("user=a\u{1}auth=Bearer t\u{1}x\u{1}\u{1}", None), // something else between
            ("\0ann@x\0secret", None),                        // PLAIN
        ] {
            let read = read_xoauth2(STANDARD.encode(message).as_bytes());
            assert_eq!(read.as_ref().map(|(user, _)| user.as_str()), user, "{message:?}");
        }
        assert_eq!(read_xoauth2(b"dXNlcj1hb m4="), None);
    }
}
