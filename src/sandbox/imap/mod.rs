//! The IMAP server (RFC 3501 with SASL-IR, LITERAL+, IDLE, UIDPLUS, UNSELECT, NAMESPACE, ID and MOVE), in Exchange's words.
//!
//! This file holds the session: greeting, login, reading commands, and the ends that Exchange makes (token expiry,
//! throttling, too many errors). [`folders`] and [`messages`] hold the commands.

mod fetch;
mod folders;
mod messages;
mod parse;
mod search;
mod structure;
mod view;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::base::Protocol;
use crate::sandbox::connection::{Connection, Ended, Line};
use crate::sandbox::faults::FaultName;
use crate::sandbox::frontend::blob;
use crate::sandbox::imap::parse::{Parser, literal_at_end};
use crate::sandbox::imap::view::View;
use crate::sandbox::tenant::Tenant;
use crate::sandbox::tokens::guid;

/// The longest line of a command.
const LINE_LIMIT: usize = 16 * 1024;

/// The largest literal before login: a name or a password.
const LITERAL_LIMIT_BEFORE_LOGIN: usize = 16 * 1024;

/// The largest message that APPEND takes.
const MESSAGE_LIMIT: usize = 35 * 1024 * 1024;

/// After so many errors the server hangs up.
const ERROR_LIMIT: u32 = 10;

/// After so many commands a session that is authenticated but not connected is closed.
const NOT_CONNECTED_LIMIT: u32 = 3;

const CLASSIC_BEFORE_LOGIN: &str =
    "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+";
const CLASSIC_AFTER_LOGIN: &str = "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT \
     CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+";
const BEFORE_LOGIN_2026: &str =
    "IMAP4 IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+";
const AFTER_LOGIN_2026: &str = "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT ENABLE \
     IMAP4rev2 CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE BACKENDAUTHENTICATE-IR CHILDREN IDLE \
     NAMESPACE LITERAL+";

/// One IMAP session.
pub(super) struct Session {
    connection: Connection,
    tenant: Arc<Tenant>,
    login: Option<Login>,
    selected: Option<View>,
    front_end_2026: bool,
    /// ENABLE IMAP4rev2 was given: SEARCH answers in the newer form.
    enabled_rev2: bool,
    errors: u32,
    /// Commands answered by a fault that closes the connection after a few.
    refused: u32,
    /// Rung when every session is to end as if its token had expired.
    expiry: watch::Receiver<u64>,
}

/// Whose session it is.
struct Login {
    mailbox: String,
    expires: Instant,
    /// The login was let in, but the mailbox cannot be opened.
    not_connected: bool,
    /// Rung when something changes in the mailbox.
    bell: watch::Receiver<u64>,
}

/// How a command went.
pub(super) enum Outcome {
    /// Tagged OK with this text.
    Ok(String),
    /// Tagged NO with this text.
    No(String),
    /// Tagged BAD: the command is not understood, or not in this state.
    Bad(&'static str),
    /// It has been answered.
    Answered,
    /// The connection ends, in order.
    Close,
}

/// The command cannot be read, or asks for what does not exist.
pub(super) const ARGUMENT_ERROR: Outcome = Outcome::Bad("Command Argument Error. 11");

/// The command does not belong in this state.
const INVALID_STATE: Outcome = Outcome::Bad("Command received in Invalid state.");

/// Speaks IMAP, inside TLS from the start, until either side ends it.
pub(super) async fn serve(mut connection: Connection) {
    if connection.start_tls().await.is_err() {
        return;
    }
    let tenant = Arc::clone(connection.tenant());
    let mut session = Session {
        connection,
        login: None,
        selected: None,
        front_end_2026: tenant.faults.holds(FaultName::ImapGreeting2026),
        enabled_rev2: false,
        errors: 0,
        refused: 0,
        expiry: tenant.expiry.subscribe(),
        tenant,
    };
    if session.converse().await.is_ok() {
        session.connection.close().await;
    }
}

impl Session {
    async fn converse(&mut self) -> Result<(), Ended> {
        let tenant = Arc::clone(&self.tenant);
        let faults = &tenant.faults;
        if faults.holds(FaultName::ImapSilent) {
            return self.connection.swallow().await;
        }
        if faults.strikes(FaultName::ImapByeGreeting) {
            self.say("* BYE Server Unavailable. 15");
            return Ok(());
        }
        if faults.holds(FaultName::ImapEndlessLine) && faults.text(FaultName::ImapEndlessLine).is_none() {
            return self.never_end_the_line("* OK ").await;
        }
        if faults.holds(FaultName::ImapPreauth) {
            self.say(&format!("* PREAUTH The Microsoft Exchange IMAP4 service is ready. [{}]", blob()));
        } else if self.front_end_2026 {
            let id = guid().unwrap_or_default();
            let version = "(tcpproxy/15.21.0406.000 BACKENDAUTHENTICATE)";
            self.say(&format!("* OK Microsoft Exchange IMAP4 service ready. {id} {version} [{}]", blob()));
        } else {
            self.say(&format!("* OK The Microsoft Exchange IMAP4 service is ready. [{}]", blob()));
        }
        loop {
            let Some(command) = self.read_command().await? else { return Ok(()) };
            let mut parser = Parser::new(&command);
            let tag = parser.tag();
            let name = parser.space().and_then(|()| parser.keyword());
            let outcome = match (&tag, name) {
                (Some(tag), Some(name)) => self.command(tag, &name, parser).await?,
                _ => Outcome::Bad("Command Error. 12"),
            };
            let tag = tag.as_deref().unwrap_or("*");
            match outcome {
                Outcome::Ok(text) => self.say(&format!("{tag} OK {text}")),
                Outcome::No(text) => self.say(&format!("{tag} NO {text}")),
                Outcome::Bad(text) => {
                    self.say(&format!("{tag} BAD {text}"));
                    self.errors += 1;
                    if self.errors >= ERROR_LIMIT {
                        self.say("* BYE Connection closed. 14");
                        return Ok(());
                    }
                }
                Outcome::Answered => {}
                Outcome::Close => return Ok(()),
            }
        }
    }

    async fn command(&mut self, tag: &str, name: &str, mut parser: Parser<'_>) -> Result<Outcome, Ended> {
        self.dawdle().await;
        if name != "LOGOUT"
            && let Some(outcome) = self.fault_after_login(tag)
        {
            return Ok(outcome);
        }
        Ok(match (name, self.login.is_some()) {
            ("CAPABILITY", _) => {
                let capabilities = self.capabilities();
                self.say(&format!("* CAPABILITY {capabilities}"));
                done("CAPABILITY")
            }
            ("NOOP" | "CHECK", _) => {
                self.show_changes(true);
                done(name)
            }
            ("LOGOUT", _) => {
                self.say("* BYE Microsoft Exchange Server IMAP4 server signing off.");
                self.say(&format!("{tag} OK LOGOUT completed."));
                Outcome::Close
            }
            ("ID", _) => {
                self.say("* ID (\"name\" \"Microsoft.Exchange.Imap4.Imap4Server\" \"version\" \"15.20\")");
                done("ID")
            }
            ("AUTHENTICATE", false) => self.authenticate(tag, &mut parser).await?,
            ("LOGIN", false) => {
                let read = parser.space().and_then(|()| parser.astring()).and_then(|_| parser.space());
                let read = read.and_then(|()| parser.astring()).and_then(|_| parser.end());
                if read.is_none() {
                    ARGUMENT_ERROR
                } else {
                    // A password, right or wrong: basic authentication is gone.
                    self.tenant.note_login(Protocol::Imap, false);
                    Outcome::No("LOGIN failed.".into())
                }
            }
            ("ENABLE", true) if self.front_end_2026 => {
                if String::from_utf8_lossy(parser.rest()).to_ascii_uppercase().contains("IMAP4REV2") {
                    self.enabled_rev2 = true;
                    self.say("* ENABLED IMAP4rev2");
                }
                done("ENABLE")
            }
            ("IDLE", true) => self.idle(tag).await?,
            (_, true) => match self.folder_command(name, parser.clone()) {
                Some(outcome) => outcome,
                None => self.message_command(tag, name, parser).await?,
            },
            (_, false) => INVALID_STATE,
        })
    }

    async fn dawdle(&self) {
        let began = tokio::time::Instant::now();
        while self.login.is_some()
            && let Some(millis) = self.tenant.faults.number(FaultName::ImapSlowAnswers)
            && began.elapsed() < std::time::Duration::from_millis(millis)
        {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    fn capabilities(&self) -> &'static str {
        match (self.front_end_2026, self.login.is_some()) {
            (false, false) => CLASSIC_BEFORE_LOGIN,
            (false, true) => CLASSIC_AFTER_LOGIN,
            (true, false) => BEFORE_LOGIN_2026,
            (true, true) => AFTER_LOGIN_2026,
        }
    }

    /// What every command after login hears while a fault holds.
    fn fault_after_login(&mut self, tag: &str) -> Option<Outcome> {
        let login = self.login.as_ref()?;
        if let Some(reply) = self.tenant.faults.text(FaultName::ImapReply) {
            return Some(self.answer_with(tag, &reply));
        }
        if login.not_connected {
            self.refused += 1;
            self.say(&format!("{tag} BAD User is authenticated but not connected."));
            if self.refused < NOT_CONNECTED_LIMIT {
                return Some(Outcome::Answered);
            }
        } else {
            let millis = self.tenant.faults.number(FaultName::ImapThrottle)?;
            self.refused += 1;
            // NO first, BAD when the client goes on.
            let status = if self.refused == 1 { "NO" } else { "BAD" };
            self.say(&format!("{tag} {status} Request is throttled. Suggested Backoff Time: {millis} milliseconds"));
            if self.refused == 1 {
                return Some(Outcome::Answered);
            }
        }
        self.say("* BYE Connection closed. 14");
        Some(Outcome::Close)
    }

    /// The answer that a fault prescribes: with the tag, or as it is, and then it is the last.
    fn answer_with(&mut self, tag: &str, reply: &str) -> Outcome {
        if reply.starts_with("* ") {
            self.say(reply);
            return Outcome::Close;
        }
        self.say(&format!("{tag} {reply}"));
        Outcome::Answered
    }

    async fn authenticate(&mut self, tag: &str, parser: &mut Parser<'_>) -> Result<Outcome, Ended> {
        let Some(mechanism) = parser.space().and_then(|()| parser.keyword()) else { return Ok(ARGUMENT_ERROR) };
        let initial = parser.space().map(|()| parser.rest().to_vec());
        if initial.is_none() && parser.end().is_none() {
            return Ok(ARGUMENT_ERROR);
        }
        let response = match initial {
            Some(initial) => initial,
            None => match self.challenge("").await? {
                Some(response) => response,
                None => return Ok(Outcome::Bad("AUTHENTICATE cancelled.")),
            },
        };
        let refused = Outcome::No("AUTHENTICATE failed.".into());
        let entry = if mechanism == "XOAUTH2" { self.tenant.enter(Protocol::Imap, &response) } else { None };
        let Some(entry) = entry else {
            self.tenant.note_login(Protocol::Imap, false);
            return Ok(refused);
        };
        let tenant = Arc::clone(&self.tenant);
        let faults = &tenant.faults;
        let json = faults.strikes(FaultName::ImapChallengeJson);
        if json || faults.strikes(FaultName::ImapAuthReject) {
            tenant.note_login(Protocol::Imap, false);
            if json {
                let json = r#"{"status":"400","schemes":"Bearer","scope":"https://outlook.office.com/"}"#;
                self.challenge(&STANDARD.encode(json)).await?;
            }
            return Ok(refused);
        }
        if let Some(reply) = faults.text(FaultName::ImapLoginReply) {
            tenant.note_login(Protocol::Imap, false);
            return Ok(self.answer_with(tag, &reply));
        }
        let Some(bell) = tenant.mailboxes.listen(&entry.mailbox) else { return Ok(refused) };
        tenant.note_login(Protocol::Imap, true);
        if faults.text(FaultName::ImapEndlessLine).as_deref() == Some("login") {
            self.never_end_the_line(&format!("{tag} OK ")).await?;
        }
        let not_connected = entry.no_right || faults.concerns(FaultName::ImapNotConnected, &entry.mailbox);
        // Only what comes from now on ends this session.
        self.expiry.borrow_and_update();
        self.login = Some(Login { mailbox: entry.mailbox, expires: entry.expires, not_connected, bell });
        if faults.strikes(FaultName::ImapDropAfterLogin) {
            self.say(&format!("{tag} OK AUTHENTICATE completed."));
            self.connection.flush().await?;
            return Err(Ended);
        }
        Ok(Outcome::Ok("AUTHENTICATE completed.".into()))
    }

    /// Sends a `+` line; the client's answer, or `None` if it cancels.
    async fn challenge(&mut self, text: &str) -> Result<Option<Vec<u8>>, Ended> {
        self.say(&format!("+ {text}"));
        Ok(match self.read_line().await? {
            Line::Whole(line) if line != b"*" => Some(line),
            Line::Whole(_) | Line::TooLong => None,
        })
    }

    /// IDLE (RFC 2177): shows what changes until the client says DONE.
    async fn idle(&mut self, tag: &str) -> Result<Outcome, Ended> {
        // What has changed up to now may be shown before the `+`.
        self.show_changes(true);
        self.say("+ IDLE accepted, awaiting DONE command.");
        self.connection.flush().await?;
        loop {
            if let Some(line) = self.connection.take_line(LINE_LIMIT) {
                return Ok(if line.eq_ignore_ascii_case(b"DONE") {
                    self.say(&format!("{tag} OK IDLE completed."));
                    Outcome::Answered
                } else {
                    Outcome::Bad("Command Error. 12")
                });
            }
            if self.connection.input().len() > LINE_LIMIT {
                return Err(Ended);
            }
            self.wait(true).await?;
            self.show_changes(true);
        }
    }

    /// Reads a command with its literals, as sent; `None` if it is too long to go on.
    async fn read_command(&mut self) -> Result<Option<Vec<u8>>, Ended> {
        let mut command = Vec::new();
        loop {
            let Line::Whole(line) = self.read_line().await? else {
                self.say("* BAD Command Argument Error. 11");
                self.say("* BYE Connection closed. 14");
                return Ok(None);
            };
            command.extend_from_slice(&line);
            let Some((size, waits)) = literal_at_end(&line) else { return Ok(Some(command)) };
            let limit = if self.login.is_some() { MESSAGE_LIMIT } else { LITERAL_LIMIT_BEFORE_LOGIN };
            if size > limit {
                let tag = Parser::new(&command).tag().unwrap_or_else(|| "*".into());
                self.say(&format!("{tag} NO Maximum size of appendable message has been exceeded"));
                if !waits {
                    self.say("* BYE Connection closed. 14");
                    return Ok(None);
                }
                command.clear();
                continue;
            }
            if waits {
                self.say("+ Ready for additional command text.");
            }
            command.extend_from_slice(b"\r\n");
            let mut left = size;
            while left > 0 {
                if self.connection.input().is_empty() {
                    self.wait(false).await?;
                }
                let octets = self.connection.take(left);
                left -= octets.len();
                command.extend(octets);
            }
        }
    }

    async fn read_line(&mut self) -> Result<Line, Ended> {
        loop {
            if let Some(line) = self.connection.take_line(LINE_LIMIT) {
                return Ok(Line::Whole(line));
            }
            if self.connection.input().len() > LINE_LIMIT {
                return Ok(Line::TooLong);
            }
            self.wait(false).await?;
        }
    }

    /// Waits for octets from the client, or also for the bell of the mailbox. At the second at which the token expires the
    /// session ends, whatever it was doing.
    async fn wait(&mut self, for_the_bell: bool) -> Result<(), Ended> {
        let Some(login) = &mut self.login else { return self.connection.fill().await };
        let expired = tokio::select! {
            biased;
            () = tokio::time::sleep_until(login.expires) => true,
            changed = self.expiry.changed() => changed.is_ok(),
            changed = login.bell.changed(), if for_the_bell => {
                changed.map_err(|_| Ended)?;
                false
            }
            filled = self.connection.fill() => return filled,
        };
        if expired {
            self.say("* BYE Session invalidated - AccessTokenExpired");
            self.connection.close().await;
            return Err(Ended);
        }
        Ok(())
    }

    /// A line without an end, for as long as the client reads.
    async fn never_end_the_line(&mut self, start: &str) -> Result<(), Ended> {
        self.connection.put(start.as_bytes());
        loop {
            self.connection.put(&[b'A'; 16 * 1024]);
            self.connection.flush().await?;
        }
    }

    fn say(&mut self, line: &str) {
        self.connection.say(line);
    }
}

/// `NAME completed.`
pub(super) fn done(name: &str) -> Outcome {
    Outcome::Ok(format!("{name} completed."))
}

#[cfg(test)]
mod tests;
