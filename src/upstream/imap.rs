//! Logging in by IMAP: XOAUTH2 in one step (RFC 4959), then the capabilities, then a probe.
//!
//! Exchange says OK to a login whose mailbox it then cannot or will not serve («User is authenticated but not connected»), so
//! the client is told OK only after a command that touches the mailbox has succeeded.

use crate::base::Mailbox;
use crate::broker::AccessToken;
use crate::upstream::conversation::{Conversation, quoted};
use crate::upstream::{Opened, ServerStream, UpstreamError, refusal};
use crate::wire::imap::{Response, Status};
use crate::wire::sasl;

type Imap = Conversation<ServerStream>;

/// The most lines that one answer may take.
const MOST_LINES: usize = 100;

/// Logs in and proves that the mailbox is there.
pub(in crate::upstream) async fn log_in(
    mut imap: Imap,
    mailbox: &Mailbox,
    token: &AccessToken,
) -> Result<Opened, UpstreamError> {
    let greeting = imap.line("waiting for the IMAP greeting").await?;
    let offered = match Response::parse(&greeting) {
        Ok(ref response @ Response::Status { tag: None, status: Status::Ok, .. }) => response.capabilities(),
        // PREAUTH would be somebody's session, but whose?
        Ok(Response::Status { tag: None, status: Status::PreAuth, .. }) => {
            return Err(imap.protocol("it claims that we are logged in already"));
        }
        Ok(Response::Status { tag: None, status: Status::Bye, .. }) => {
            return Err(UpstreamError::Busy { host: imap.host().clone(), said: quoted(&greeting) });
        }
        _ => return Err(imap.protocol("its greeting is not IMAP")),
    };

    authenticate(&mut imap, mailbox, token, offered.as_deref()).await?;

    let capabilities = {
        let answer = command(&mut imap, "P2", "CAPABILITY", "asking for the capabilities").await?;
        match answer.status {
            Status::Ok => answer.capabilities,
            _ => return Err(not_connected(&imap, mailbox, &answer.line)),
        }
    };
    // NAMESPACE makes Exchange look at the mailbox; a server without it is asked for something that always exists.
    let has_namespace = capabilities.iter().any(|capability| capability.eq_ignore_ascii_case("NAMESPACE"));
    let probe = if has_namespace { "NAMESPACE" } else { "NOOP" };
    let answer = command(&mut imap, "P3", probe, "asking whether the mailbox is there").await?;
    if answer.status != Status::Ok {
        return Err(not_connected(&imap, mailbox, &answer.line));
    }
    let (stream, left_over) = imap.into_parts();
    Ok(Opened { stream, left_over, capabilities })
}

async fn authenticate(
    imap: &mut Imap,
    mailbox: &Mailbox,
    token: &AccessToken,
    offered: Option<&[String]>,
) -> Result<(), UpstreamError> {
    const DOING: &str = "logging in by IMAP";
    let blob = sasl::xoauth2(mailbox, token.expose()).map_err(|error| imap.protocol(error.to_string()))?;
    // Exchange's greeting lists nothing, and it takes an initial response. A server that lists its capabilities without SASL-IR gets
    // two steps.
    let one_step = offered.is_none_or(|offered| offered.iter().any(|word| word.eq_ignore_ascii_case("SASL-IR")));
    let mut answered_challenge = false;
    let mut sent_blob = one_step;
    let line = crate::base::Secret::new(match one_step {
        true => format!("P1 AUTHENTICATE XOAUTH2 {}\r\n", blob.expose()),
        false => "P1 AUTHENTICATE XOAUTH2\r\n".to_owned(),
    });
    imap.send(line.expose().as_bytes(), DOING).await?;
    for _ in 0..MOST_LINES {
        let line = imap.line(DOING).await?;
        match Response::parse(&line) {
            Ok(Response::Continuation { .. }) if !sent_blob => {
                sent_blob = true;
                let line = crate::base::Secret::new(format!("{}\r\n", blob.expose()));
                imap.send(line.expose().as_bytes(), DOING).await?;
            }
            // The error of XOAUTH2 comes as a challenge; an empty answer makes the server say NO.
            Ok(Response::Continuation { .. }) if !answered_challenge => {
                answered_challenge = true;
                imap.send(b"\r\n", DOING).await?;
            }
            Ok(Response::Status { tag: Some(b"P1"), status: Status::Ok, .. }) if sent_blob && !answered_challenge => {
                return Ok(());
            }
            Ok(Response::Status { tag: Some(b"P1"), .. }) => {
                return Err(refusal::imap_login(imap.host(), mailbox, &line));
            }
            Ok(Response::Status { tag: None, status: Status::Bye, .. }) => {
                return Err(UpstreamError::Busy { host: imap.host().clone(), said: quoted(&line) });
            }
            Ok(Response::Data { .. } | Response::Status { tag: None, status: Status::Ok, .. }) => {}
            _ => return Err(imap.protocol("an answer to the login that is not one")),
        }
    }
    Err(imap.protocol("endless answers to the login"))
}

struct Answered {
    status: Status,
    line: Vec<u8>,
    capabilities: Vec<String>,
}

/// Sends a command without literals and reads up to its tagged answer.
async fn command(imap: &mut Imap, tag: &str, words: &str, doing: &'static str) -> Result<Answered, UpstreamError> {
    imap.send(format!("{tag} {words}\r\n").as_bytes(), doing).await?;
    let mut capabilities = Vec::new();
    for _ in 0..MOST_LINES {
        let line = imap.line(doing).await?;
        let response = Response::parse(&line).map_err(|_| imap.protocol("an answer that is not IMAP"))?;
        if let Some(listed) = response.capabilities() {
            capabilities = listed;
        }
        match response {
            Response::Status { tag: Some(answered), status, .. } if answered == tag.as_bytes() => {
                return Ok(Answered { status, line, capabilities });
            }
            Response::Status { tag: None, status: Status::Bye, .. } => {
                return Err(UpstreamError::Busy { host: imap.host().clone(), said: quoted(&line) });
            }
            Response::Status { tag: None, .. } | Response::Data { .. } => {}
            Response::Status { .. } | Response::Continuation { .. } => {
                return Err(imap.protocol("an answer to something that was not asked"));
            }
        }
    }
    Err(imap.protocol("endless answers"))
}

fn not_connected(imap: &Imap, mailbox: &Mailbox, line: &[u8]) -> UpstreamError {
    let said = quoted(line);
    if refusal::is_throttled(&said) {
        return UpstreamError::Busy { host: imap.host().clone(), said };
    }
    UpstreamError::NotConnected { host: imap.host().clone(), mailbox: mailbox.clone(), said }
}
