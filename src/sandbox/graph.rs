//! Microsoft Graph, as far as sending mail goes: `sendMail` with a message in MIME. There is no envelope: who gets the message stands in its
//! To, Cc and Bcc.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use mail_parser::MessageParser;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::sandbox::faults::FaultName;
use crate::sandbox::tenant::{Submission, Tenant, may_open};
use crate::sandbox::tokens::{Audience, Holder};

/// The longest request, in octets.
const LONGEST_REQUEST: usize = 4 * 1024 * 1024;

/// Serves until `stop`.
pub(super) async fn serve(listener: TcpListener, tenant: Arc<Tenant>, stop: CancellationToken) {
    let routes = Router::new()
        .route("/v1.0/users/{address}/sendMail", post(send_as))
        .route("/v1.0/me/sendMail", post(send_own))
        .layer(DefaultBodyLimit::disable())
        .with_state(tenant);
    let serving = axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
    let patience = async {
        stop.cancelled().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    tokio::select! {
        _ = serving => {}
        () = patience => {}
    }
}

/// A refusal; boxed, as it is larger than what is not refused.
type Refused = Box<Response>;

async fn send_as(
    State(tenant): State<Arc<Tenant>>,
    Path(address): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    send(&tenant, Some(address), &headers, &body).await.unwrap_or_else(|refusal| *refusal)
}

async fn send_own(State(tenant): State<Arc<Tenant>>, headers: HeaderMap, body: Bytes) -> Response {
    send(&tenant, None, &headers, &body).await.unwrap_or_else(|refusal| *refusal)
}

fn refusal(status: u16, code: &str, message: &str) -> Refused {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let date = Utc::now().to_rfc3339();
    let body = json!({ "error": { "code": code, "message": message, "innerError": { "date": date } } });
    Box::new((status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response())
}

async fn send(
    tenant: &Arc<Tenant>,
    address: Option<String>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Refused> {
    let faults = &tenant.faults;
    tenant.note(|tally| tally.graph_requests += 1);
    if faults.holds(FaultName::GraphHang) {
        std::future::pending::<()>().await;
    }
    if let Some(seconds) = faults.number(FaultName::GraphThrottle) {
        let mut throttled = refusal(429, "ApplicationThrottled", "Application is over its MailboxConcurrency limit.");
        throttled.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        return Err(throttled);
    }
    if let Some(reply) = faults.text(FaultName::GraphReply) {
        let (status, code) = reply.split_once(' ').unwrap_or((&reply, "UnknownError"));
        return Err(refusal(status.parse().unwrap_or(500), code, "As the fault wants it."));
    }
    let mailbox = let_in(tenant, address, headers)?;
    if body.len() > LONGEST_REQUEST {
        return Err(refusal(413, "RequestEntityTooLarge", "The request is too large."));
    }
    let wrong = || refusal(400, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content.");
    let content = STANDARD.decode(body.trim_ascii()).map_err(|_| wrong())?;
    let message = MessageParser::default().parse(&content).ok_or_else(wrong)?;
    let addresses = |list: Option<&mail_parser::Address<'_>>| -> Vec<String> {
        list.into_iter().flat_map(|list| list.iter()).filter_map(|one| one.address().map(str::to_owned)).collect()
    };
    let from = addresses(message.from());
    if from.iter().any(|from| !may_open(&mailbox, &from.to_ascii_lowercase())) {
        let said = "The user account which was used to submit this request does not have the right to send mail on behalf of the \
                    specified sending account., Cannot submit message.";
        return Err(refusal(403, "ErrorSendAsDenied", said));
    }
    let recipients: Vec<String> = [message.to(), message.cc(), message.bcc()].into_iter().flat_map(addresses).collect();
    if recipients.is_empty() {
        return Err(refusal(400, "ErrorInvalidRecipients", "At least one recipient isn't valid."));
    }
    keep(tenant, &mailbox, recipients, without_bcc(&content));
    if faults.strikes(FaultName::GraphDropAfter) {
        std::future::pending::<()>().await;
    }
    Ok(StatusCode::ACCEPTED.into_response())
}

/// The mailbox that is sent from, if the token may do that.
fn let_in(tenant: &Tenant, address: Option<String>, headers: &HeaderMap) -> Result<String, Refused> {
    let denied = || refusal(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.");
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer "));
    let claims = token.and_then(|token| tenant.tokens.claims(token));
    let invalid = || refusal(401, "InvalidAuthenticationToken", "Access token validation failure. Invalid audience.");
    let claims = claims.filter(|claims| claims.audience == Audience::Graph && claims.expires > Instant::now());
    let claims = claims.ok_or_else(invalid)?;
    if tenant.faults.holds(FaultName::GraphDenied) || !claims.permissions.iter().any(|one| one == "Mail.Send") {
        return Err(denied());
    }
    let mailbox = match (&claims.holder, address) {
        (Holder::User(user), None) => user.clone(),
        (Holder::User(user), Some(address)) if may_open(user, &address.to_ascii_lowercase()) => address,
        (Holder::User(_), Some(_)) => return Err(denied()),
        (Holder::Application, Some(address)) => address,
        (Holder::Application, None) => {
            return Err(refusal(400, "BadRequest", "/me request is only valid with delegated authentication flow."));
        }
    };
    let mailbox = mailbox.to_ascii_lowercase();
    if !tenant.mailboxes.has(&mailbox) {
        return Err(refusal(404, "ErrorInvalidUser", &format!("The requested user '{mailbox}' is invalid.")));
    }
    Ok(mailbox)
}

/// Delivers to the mailboxes of the tenant, files the copy, and records the whole.
fn keep(tenant: &Tenant, mailbox: &str, recipients: Vec<String>, content: Vec<u8>) {
    let octets: Arc<[u8]> = content.as_slice().into();
    let now = Utc::now();
    for recipient in &recipients {
        tenant.mailboxes.with(recipient, |account| account.add("INBOX", octets.clone(), BTreeSet::new(), now));
    }
    tenant
        .mailboxes
        .with(mailbox, |account| account.add("Sent Items", octets, BTreeSet::from(["\\Seen".to_owned()]), now));
    tenant.note_submission(Submission {
        by_graph: true,
        mailbox: mailbox.to_owned(),
        mail_from: mailbox.to_owned(),
        mail_parameters: Vec::new(),
        recipient_parameters: vec![Vec::new(); recipients.len()],
        recipients,
        raw: content.clone(),
        content,
    });
}

/// The message without its Bcc: nobody is to see who else got it.
fn without_bcc(content: &[u8]) -> Vec<u8> {
    let end = memchr::memmem::find(content, b"\r\n\r\n").map_or(content.len(), |at| at + 2);
    let (header, rest) = content.split_at(end);
    let mut kept = Vec::with_capacity(content.len());
    let mut dropping = false;
    for line in header.split_inclusive(|octet| *octet == b'\n') {
        let continues = line.starts_with(b" ") || line.starts_with(b"\t");
        if !continues {
            dropping = line.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"bcc:"));
        }
        if !dropping {
            kept.extend_from_slice(line);
        }
    }
    kept.extend_from_slice(rest);
    kept
}
