//! Logging in by POP3: XOAUTH2 in two steps, since Exchange hangs up on one (RFC 5034).

use crate::base::{Mailbox, Secret};
use crate::broker::AccessToken;
use crate::upstream::conversation::{Conversation, quoted};
use crate::upstream::{Opened, ServerStream, UpstreamError, refusal};
use crate::wire::{pop3, sasl};

/// Logs in. A POP3 login locks and opens the mailbox, so its answer is proof enough.
pub(in crate::upstream) async fn log_in(
    mut conversation: Conversation<ServerStream>,
    mailbox: &Mailbox,
    token: &AccessToken,
) -> Result<Opened, UpstreamError> {
    const DOING: &str = "logging in by POP3";
    let greeting = conversation.line("waiting for the POP3 greeting").await?;
    match pop3::status(&greeting) {
        Some(status) if status.ok => {}
        Some(_) => {
            return Err(UpstreamError::Busy { host: conversation.host().clone(), said: quoted(&greeting) });
        }
        None => return Err(conversation.protocol("its greeting is not POP3")),
    }
    let blob = sasl::xoauth2(mailbox, token.expose()).map_err(|error| conversation.protocol(error.to_string()))?;
    conversation.send(b"AUTH XOAUTH2\r\n", DOING).await?;
    let go_on = conversation.line(DOING).await?;
    if !go_on.starts_with(b"+") || pop3::status(&go_on).is_some() {
        return Err(refusal::pop3_login(conversation.host(), mailbox, &go_on));
    }
    let line = Secret::new(format!("{}\r\n", blob.expose()));
    conversation.send(line.expose().as_bytes(), DOING).await?;
    let mut answer = conversation.line(DOING).await?;
    if answer.starts_with(b"+") && pop3::status(&answer).is_none() {
        // The error of XOAUTH2 comes as a challenge; an empty answer makes the server say -ERR.
        conversation.send(b"\r\n", DOING).await?;
        answer = conversation.line(DOING).await?;
        if pop3::is_ok(&answer) {
            return Err(conversation.protocol("it accepts a login that it has refused"));
        }
    }
    if !pop3::is_ok(&answer) {
        return Err(refusal::pop3_login(conversation.host(), mailbox, &answer));
    }
    let (stream, left_over) = conversation.into_parts();
    Ok(Opened { stream, left_over, capabilities: Vec::new() })
}
