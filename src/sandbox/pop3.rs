//! The POP3 server: login in two lines with XOAUTH2, and the Inbox as it was at login (RFC 1939, RFC 5034).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::Protocol;
use crate::sandbox::connection::{Connection, Ended, Line};
use crate::sandbox::faults::FaultName;
use crate::sandbox::frontend::blob;
use crate::sandbox::mailbox::Message;
use crate::sandbox::tenant::Tenant;

/// The longest command line, and the longest line with a token in it.
const LINE_LIMIT: usize = 16 * 1024;

/// The longest token that `pop-long-token` lets pass.
const TOKEN_LIMIT: usize = 4096;

/// What Exchange says before it hangs up on a one-line AUTH.
const PROTOCOL_ERROR: &str = "-ERR Protocol error. Connection is closed. 10";

struct Session {
    connection: Connection,
    tenant: Arc<Tenant>,
    named: bool,
    maildrop: Option<Maildrop>,
}

/// The Inbox as it was at login.
struct Maildrop {
    mailbox: String,
    messages: Vec<Message>,
    deleted: BTreeSet<usize>,
}

/// Speaks POP3, inside TLS from the start, until either side ends it.
pub(super) async fn serve(mut connection: Connection) {
    if connection.start_tls().await.is_err() {
        return;
    }
    let tenant = Arc::clone(connection.tenant());
    let mut session = Session { connection, tenant, named: false, maildrop: None };
    if session.converse().await.is_ok() {
        session.connection.close().await;
    }
}

#[derive(PartialEq, Eq)]
enum Next {
    Command,
    Close,
}

impl Session {
    async fn converse(&mut self) -> Result<(), Ended> {
        if self.tenant.faults.holds(FaultName::PopSilent) {
            return self.connection.swallow().await;
        }
        if self.tenant.faults.holds(FaultName::PopGreeting2026) {
            self.say(&format!("+OK Microsoft Exchange POP3 server ready (tcpproxy/15.20.9137.005). [{}]", blob()));
        } else {
            self.say(&format!("+OK The Microsoft Exchange POP3 service is ready. [{}]", blob()));
        }
        loop {
            let Line::Whole(line) = self.connection.read_line(LINE_LIMIT).await? else {
                self.say(PROTOCOL_ERROR);
                return Ok(());
            };
            if self.command(&String::from_utf8_lossy(&line)).await? == Next::Close {
                return Ok(());
            }
        }
    }

    async fn command(&mut self, line: &str) -> Result<Next, Ended> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let verb = verb.to_ascii_uppercase();
        match (verb.as_str(), self.maildrop.is_some()) {
            ("CAPA", _) => {
                for line in ["+OK", "TOP", "UIDL", "SASL PLAIN XOAUTH2", "USER", "."] {
                    self.say(line);
                }
            }
            ("QUIT", _) => {
                self.expunge();
                self.say("+OK Microsoft Exchange Server POP3 server signing off.");
                return Ok(Next::Close);
            }
            ("NOOP", true) => self.say("+OK"),
            ("USER", false) if !rest.is_empty() => {
                self.named = true;
                self.say("+OK");
            }
            ("PASS", false) if self.named => {
                self.named = false;
                self.refuse_login("-ERR Logon failure: unknown user name or bad password.").await?;
            }
            ("AUTH", false) => return self.auth(rest).await,
            ("STAT" | "LIST" | "UIDL" | "RETR" | "TOP" | "DELE" | "RSET", true) => self.read(&verb, rest).await?,
            _ => {
                self.be_late().await?;
                self.say("-ERR Command is not valid in this state.");
            }
        }
        Ok(Next::Command)
    }

    async fn auth(&mut self, rest: &str) -> Result<Next, Ended> {
        let mut words = rest.split_ascii_whitespace();
        match (words.next().map(str::to_ascii_uppercase).as_deref(), words.next()) {
            (None, _) => {
                for line in ["+OK", "PLAIN", "XOAUTH2", "."] {
                    self.say(line);
                }
                return Ok(Next::Command);
            }
            (Some("XOAUTH2"), None) => {}
            (Some("PLAIN"), None) => {
                self.say("+ ");
                let _ = self.connection.read_line(LINE_LIMIT).await?;
                let refusal = "-ERR Authentication failure: unknown user name or bad password.";
                self.refuse_login(refusal).await?;
                return Ok(Next::Command);
            }
            // The initial response that RFC 5034 allows is a protocol error here.
            _ => {
                self.say(PROTOCOL_ERROR);
                return Ok(Next::Close);
            }
        }
        self.say("+ ");
        let Line::Whole(response) = self.connection.read_line(LINE_LIMIT).await? else {
            self.say(PROTOCOL_ERROR);
            return Ok(Next::Close);
        };
        // The token makes up all but some sixty characters of the response.
        let token_size = response.len() / 4 * 3;
        if self.tenant.faults.holds(FaultName::PopLongToken) && token_size > TOKEN_LIMIT + 64 {
            self.tenant.note_login(Protocol::Pop3, false);
            self.say(PROTOCOL_ERROR);
            return Ok(Next::Close);
        }
        let entry = self.tenant.enter(Protocol::Pop3, &response).filter(|entry| !entry.no_right);
        match (entry, self.tenant.faults.text(FaultName::PopLoginReply)) {
            (Some(_), Some(reply)) => self.refuse_login(&reply).await?,
            (Some(entry), None) if !self.tenant.faults.strikes(FaultName::PopAuthReject) => {
                self.tenant.note_login(Protocol::Pop3, true);
                let messages =
                    self.tenant.mailboxes.with_folder(&entry.mailbox, "INBOX", |inbox| inbox.messages.clone());
                let messages = messages.unwrap_or_default();
                self.maildrop = Some(Maildrop { mailbox: entry.mailbox, messages, deleted: BTreeSet::new() });
                self.say("+OK User successfully authenticated.");
            }
            _ => self.refuse_login("-ERR Authentication failure: unknown user name or bad password.").await?,
        }
        Ok(Next::Command)
    }

    async fn read(&mut self, verb: &str, rest: &str) -> Result<(), Ended> {
        let Some(maildrop) = &mut self.maildrop else { return Ok(()) };
        let mut words = rest.split_ascii_whitespace();
        let (first, second) = (words.next(), words.next());
        let named = first.and_then(|number| maildrop.find(number));
        let lines = second.and_then(|lines| lines.parse::<usize>().ok());
        let connection = &mut self.connection;
        match (verb, first, named) {
            ("STAT", None, _) => {
                let sizes = maildrop.left().map(|(_, message)| message.octets.len());
                let (count, size) = sizes.fold((0, 0), |(count, sum), size| (count + 1, sum + size));
                connection.say(&format!("+OK {count} {size}"));
            }
            ("LIST" | "UIDL", None, _) => {
                connection.say("+OK");
                for (number, message) in maildrop.left() {
                    connection.say(&format!("{number} {}", listed(verb, message)));
                }
                connection.say(".");
            }
            ("LIST" | "UIDL", Some(_), Some((number, message))) => {
                connection.say(&format!("+OK {number} {}", listed(verb, &message)));
            }
            ("RETR", Some(_), Some((_, message))) => {
                connection.say("+OK");
                send_stuffed(connection, &message.octets).await?;
            }
            ("TOP", Some(_), Some((_, message))) if lines.is_some() => {
                connection.say("+OK");
                send_stuffed(connection, top(&message.octets, lines.unwrap_or_default())).await?;
            }
            ("DELE", Some(_), Some((number, _))) => {
                maildrop.deleted.insert(number);
                connection.say("+OK");
            }
            ("RSET", None, _) => {
                maildrop.deleted.clear();
                connection.say("+OK");
            }
            _ => connection.say("-ERR The specified message is out of range."),
        }
        Ok(())
    }

    /// What QUIT does after a login: deletes what was marked.
    fn expunge(&mut self) {
        let Some(maildrop) = self.maildrop.take() else { return };
        let uids: BTreeSet<u32> =
            maildrop.deleted.iter().filter_map(|number| maildrop.messages.get(number - 1)).map(|m| m.uid).collect();
        if uids.is_empty() {
            return;
        }
        self.tenant.mailboxes.with(&maildrop.mailbox, |account| {
            if let Some(inbox) = account.folders.get_mut("INBOX") {
                inbox.messages.retain(|message| !uids.contains(&message.uid));
            }
            account.ring();
        });
    }

    async fn refuse_login(&mut self, text: &str) -> Result<(), Ended> {
        self.tenant.note_login(Protocol::Pop3, false);
        self.be_late().await?;
        self.say(text);
        Ok(())
    }

    async fn be_late(&mut self) -> Result<(), Ended> {
        self.connection.flush().await?;
        tokio::time::sleep(self.tenant.tarpit).await;
        Ok(())
    }

    fn say(&mut self, line: &str) {
        self.connection.say(line);
    }
}

impl Maildrop {
    /// The messages that are not marked as deleted, with their numbers.
    fn left(&self) -> impl Iterator<Item = (usize, &Message)> {
        self.messages
            .iter()
            .enumerate()
            .map(|(at, message)| (at + 1, message))
            .filter(|(number, _)| !self.deleted.contains(number))
    }

    fn find(&self, number: &str) -> Option<(usize, Message)> {
        let number: usize = number.parse().ok()?;
        self.left().find(|(left, _)| *left == number).map(|(number, message)| (number, message.clone()))
    }
}

fn listed(verb: &str, message: &Message) -> String {
    if verb == "UIDL" { format!("AAAAAA{:08X}", message.uid) } else { message.octets.len().to_string() }
}

/// The header, the empty line and that many lines of the body (RFC 1939, section 7).
fn top(octets: &[u8], lines: usize) -> &[u8] {
    let body = memchr::memmem::find(octets, b"\r\n\r\n").map_or(octets.len(), |at| at + 4);
    let mut end = body;
    for _ in 0..lines {
        match memchr::memchr(b'\n', octets.get(end..).unwrap_or_default()) {
            Some(at) => end += at + 1,
            None => end = octets.len(),
        }
    }
    octets.get(..end).unwrap_or(octets)
}

/// Sends a message with its dots stuffed, its last line ended, and the dot behind it.
async fn send_stuffed(connection: &mut Connection, octets: &[u8]) -> Result<(), Ended> {
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            connection.put(b".");
        }
        connection.put(line);
    }
    if !octets.is_empty() && !octets.ends_with(b"\n") {
        connection.put(b"\r\n");
    }
    connection.say(".");
    connection.flush().await
}

#[cfg(test)]
mod tests;
