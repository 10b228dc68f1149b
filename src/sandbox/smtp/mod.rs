//! The submission server: banner, EHLO, STARTTLS and AUTH as `smtp.office365.com` does them.
//!
//! The texts, their order and what is refused when are those of transcripts of 2021 to 2025; a failed login and an unknown
//! command are answered late.

mod hve;
mod transaction;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;

use crate::base::Protocol;
use crate::sandbox::connection::{Connection, Ended, Line};
use crate::sandbox::faults::FaultName;
use crate::sandbox::frontend::{SESSION_ID, SMTP_HOST, trailer};
use crate::sandbox::smtp::transaction::Envelope;
use crate::sandbox::tenant::{Tenant, read_xoauth2};

/// What EHLO shows as SIZE, whatever the mailbox's own limit is.
const SIZE_LIMIT: usize = 157_286_400;

/// The longest command line. An initial response to AUTH that would not fit has to come in a line of its own
/// (RFC 4954, section 4).
const COMMAND_LIMIT: usize = 4096;

/// The longest line in answer to a 334.
const RESPONSE_LIMIT: usize = 16 * 1024;

/// One SMTP session.
pub(super) struct Session {
    connection: Connection,
    tenant: Arc<Tenant>,
    secured: bool,
    hello: Hello,
    mailbox: Option<String>,
    envelope: Option<Envelope>,
    /// The server closes behind what it has said last.
    is_over: bool,
}

/// How the client has introduced itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hello {
    Missing,
    Helo,
    Ehlo,
}

/// Speaks SMTP until either side ends it.
pub(super) async fn serve(connection: Connection) {
    let tenant = Arc::clone(connection.tenant());
    let mut session = Session {
        connection,
        tenant,
        secured: false,
        hello: Hello::Missing,
        mailbox: None,
        envelope: None,
        is_over: false,
    };
    if session.converse().await.is_ok() {
        session.connection.close().await;
    }
}

/// Whether the session goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Command,
    Close,
}

impl Session {
    /// Ends with `Ok` where the server closes in order, with `Err` where the connection is gone or is to be cut.
    async fn converse(&mut self) -> Result<(), Ended> {
        if self.tenant.faults.holds(FaultName::SmtpSilent) {
            return self.connection.swallow().await;
        }
        if self.tenant.faults.strikes(FaultName::SmtpBanner421) {
            self.say(&format!("421 4.3.2 Service not active [{SMTP_HOST}]"));
            return Ok(());
        }
        let date = Utc::now().format("%a, %d %b %Y %H:%M:%S +0000");
        self.say(&format!("220 {SMTP_HOST} Microsoft ESMTP MAIL Service ready at {date} [{SESSION_ID}]"));
        let mut idle_ends = self.tenant.idle_ends.subscribe();
        loop {
            let is_idle = self.mailbox.is_some() && self.envelope.is_none();
            let line = tokio::select! {
                line = self.connection.read_line(COMMAND_LIMIT) => line?,
                _ = idle_ends.changed(), if is_idle => {
                    self.say(&format!("451 4.7.0 Timeout waiting for client input {}", trailer()));
                    return Ok(());
                }
            };
            let next = match line {
                Line::Whole(line) => self.command(&line).await?,
                Line::TooLong => {
                    self.say(&format!("500 5.3.3 Command line too long {}", trailer()));
                    Next::Command
                }
            };
            if next == Next::Close || self.is_over {
                return Ok(());
            }
        }
    }

    async fn command(&mut self, line: &[u8]) -> Result<Next, Ended> {
        let line = String::from_utf8_lossy(line).into_owned();
        let (verb, rest) = line.split_once(' ').unwrap_or((line.as_str(), ""));
        let known = verb.to_ascii_uppercase();
        if ["MAIL", "RCPT", "DATA"].contains(&known.as_str())
            && let Some(millis) = self.tenant.faults.number(FaultName::SmtpSlowAnswers)
        {
            tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
        }
        match known.as_str() {
            "HELO" => self.hello(Hello::Helo, rest),
            "EHLO" => self.hello(Hello::Ehlo, rest),
            "STARTTLS" => self.starttls(rest).await?,
            "AUTH" if self.hello != Hello::Helo => self.auth(rest).await?,
            "MAIL" => self.mail(rest),
            "RCPT" => self.rcpt(rest),
            "DATA" => self.data().await?,
            "BDAT" => self.bdat(rest).await?,
            "RSET" => {
                self.envelope = None;
                self.say("250 2.0.0 Resetting");
            }
            "NOOP" => self.say("250 2.0.0 OK"),
            "VRFY" => self.say("252 2.1.5 Cannot VRFY user"),
            "QUIT" => {
                self.say("221 2.0.0 Service closing transmission channel");
                return Ok(Next::Close);
            }
            _ => {
                self.be_late().await?;
                self.say(&format!("500 5.3.3 Unrecognized command '{}' {}", verb.escape_debug(), trailer()));
            }
        }
        Ok(Next::Command)
    }

    fn hello(&mut self, hello: Hello, name: &str) {
        if name.trim().is_empty() {
            self.say("501 5.0.0 Invalid domain name");
            return;
        }
        self.hello = hello;
        self.envelope = None;
        let greeting = format!("{SMTP_HOST} Hello [{}]", self.connection.peer());
        if hello == Hello::Helo {
            self.say(&format!("250 {greeting}"));
            return;
        }
        self.say(&format!("250-{greeting}"));
        self.say(&format!("250-SIZE {SIZE_LIMIT}"));
        self.say("250-PIPELINING");
        self.say("250-DSN");
        self.say("250-ENHANCEDSTATUSCODES");
        if self.secured {
            self.say("250-AUTH LOGIN XOAUTH2");
        } else if !self.tenant.faults.holds(FaultName::SmtpNoStarttls) {
            self.say("250-STARTTLS");
        }
        self.say("250-8BITMIME");
        self.say("250-BINARYMIME");
        self.say("250-CHUNKING");
        self.say("250 SMTPUTF8");
    }

    async fn starttls(&mut self, rest: &str) -> Result<(), Ended> {
        if self.secured || self.tenant.faults.holds(FaultName::SmtpNoStarttls) {
            self.be_late().await?;
            self.say(&format!("500 5.3.3 Unrecognized command 'STARTTLS' {}", trailer()));
            return Ok(());
        }
        if !rest.is_empty() {
            self.say("501 5.5.4 Invalid arguments");
            return Ok(());
        }
        if self.tenant.faults.strikes(FaultName::SmtpStarttls454) {
            self.say("454 4.7.0 TLS not available due to temporary reason");
            return Ok(());
        }
        self.say("220 2.0.0 SMTP server ready");
        if self.tenant.faults.holds(FaultName::SmtpStarttlsInject) {
            // A client that keeps its buffer over the handshake takes these for answers that came inside TLS.
            self.say(&format!("250-{SMTP_HOST} Hello [injected]"));
            self.say("250 AUTH LOGIN XOAUTH2");
            self.say("235 2.7.0 Authentication successful");
        }
        self.connection.start_tls().await?;
        // What the client said in clear does not count any more (RFC 3207, section 4.2).
        self.secured = true;
        self.hello = Hello::Missing;
        self.envelope = None;
        Ok(())
    }

    async fn auth(&mut self, rest: &str) -> Result<(), Ended> {
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        let mechanism = mechanism.to_ascii_uppercase();
        if self.hello == Hello::Missing {
            self.say("503 5.5.2 Send hello first");
        } else if self.mailbox.is_some() || self.envelope.is_some() {
            self.say("503 5.5.2 Bad sequence of commands");
        } else if !self.secured || !matches!(mechanism.as_str(), "XOAUTH2" | "LOGIN") {
            self.say(&format!("504 5.7.4 Unrecognized authentication type {}", trailer()));
        } else if mechanism == "LOGIN" {
            self.auth_login(initial).await?;
        } else {
            let response =
                if initial.is_empty() { self.challenge("").await? } else { Some(initial.as_bytes().to_vec()) };
            self.auth_xoauth2(response).await?;
        }
        Ok(())
    }

    /// A password is asked for as ever, and then refused whatever it is.
    async fn auth_login(&mut self, initial: &str) -> Result<(), Ended> {
        let name = if initial.is_empty() { self.challenge("VXNlcm5hbWU6").await? } else { Some(Vec::new()) };
        let password = if name.is_some() { self.challenge("UGFzc3dvcmQ6").await? } else { None };
        let reason = if password.is_some() {
            "535 5.7.139 Authentication unsuccessful, basic authentication is disabled."
        } else {
            "535 5.7.3 Authentication unsuccessful"
        };
        self.refuse_login(reason).await
    }

    async fn auth_xoauth2(&mut self, response: Option<Vec<u8>>) -> Result<(), Ended> {
        // Cancelling is answered 535, not the 501 of RFC 4954.
        let tenant = Arc::clone(&self.tenant);
        let faults = &tenant.faults;
        let entry = response.as_ref().and_then(|response| tenant.enter(Protocol::Smtp, response));
        if faults.holds(FaultName::SmtpHve) {
            let user = response.as_ref().and_then(|response| read_xoauth2(response)).map(|(user, _)| user);
            if let Some(refusal) = hve::login_refusal(&tenant, user.as_deref(), entry.as_ref()) {
                return self.refuse_login(refusal).await;
            }
        }
        let delegates_let_in = !faults.holds(FaultName::SmtpSharedRefused);
        let Some(entry) = entry.filter(|entry| !entry.no_right && (delegates_let_in || !entry.by_delegate)) else {
            return self.refuse_login("535 5.7.3 Authentication unsuccessful").await;
        };
        let disabled = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the";
        let visit = "Visit https://aka.ms/smtp_auth_disabled for more information.";
        let refusal = if let Some(reply) = faults.text(FaultName::SmtpLoginReply) {
            Some(reply)
        } else if faults.holds(FaultName::SmtpAuthDisabled) {
            Some(format!("{disabled} Tenant. {visit}"))
        } else if faults.concerns(FaultName::SmtpMailboxAuthDisabled, &entry.mailbox) {
            Some(format!("{disabled} Mailbox. {visit}"))
        } else if faults.holds(FaultName::SmtpSecurityDefaults) {
            let reason = "user is locked by your organization's security defaults policy. Contact your administrator.";
            Some(format!("535 5.7.139 Authentication unsuccessful, {reason}"))
        } else if faults.holds(FaultName::SmtpConditionalAccess) {
            let reason =
                "the request did not meet the criteria to be authenticated successfully. Contact your administrator.";
            Some(format!("535 5.7.139 Authentication unsuccessful, {reason}"))
        } else if faults.strikes(FaultName::SmtpAuth451) {
            Some("451 4.7.0 Temporary server error. Please try again later. PRX2".to_owned())
        } else if faults.strikes(FaultName::SmtpAuthReject) {
            Some("535 5.7.3 Authentication unsuccessful".to_owned())
        } else if faults.strikes(FaultName::SmtpChallengeJson) {
            let json = r#"{"status":"401","schemes":"bearer","scope":"https://outlook.office.com/"}"#;
            self.challenge(&STANDARD.encode(json)).await?;
            Some("535 5.7.3 Authentication unsuccessful".to_owned())
        } else {
            None
        };
        match refusal {
            Some(refusal) => self.refuse_login(&refusal).await,
            None => {
                self.tenant.note_login(Protocol::Smtp, true);
                self.mailbox = Some(entry.mailbox);
                self.say("235 2.7.0 Authentication successful");
                Ok(())
            }
        }
    }

    /// Sends a 334; the client's answer, or `None` if it cancels or sends too much.
    async fn challenge(&mut self, text: &str) -> Result<Option<Vec<u8>>, Ended> {
        self.say(&format!("334 {text}"));
        Ok(match self.connection.read_line(RESPONSE_LIMIT).await? {
            Line::Whole(line) if line != b"*" => Some(line),
            Line::Whole(_) | Line::TooLong => None,
        })
    }

    async fn refuse_login(&mut self, text: &str) -> Result<(), Ended> {
        self.tenant.note_login(Protocol::Smtp, false);
        self.be_late().await?;
        self.say(&format!("{text} {}", trailer()));
        Ok(())
    }

    /// The tarpit.
    async fn be_late(&mut self) -> Result<(), Ended> {
        self.connection.flush().await?;
        tokio::time::sleep(self.tenant.tarpit).await;
        Ok(())
    }

    fn say(&mut self, line: &str) {
        self.connection.say(line);
    }
}

#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod tests;
