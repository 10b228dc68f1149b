//! Who did what, who logged in, and who is kept out.

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Html;
use chrono::Utc;
use maud::html;
use serde::Deserialize;

use crate::admin::tables;
use crate::admin::web::error::WebError;
use crate::admin::web::markup::{self, page};
use crate::admin::web::{Console, Visitor};
use crate::store::{AuditFilter, AuditKind};

/// How many entries stand on the page.
const MOST: u32 = 200;

/// What is looked for.
#[derive(Deserialize)]
pub(in crate::admin::web) struct Wanted {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    mailbox: String,
    #[serde(default)]
    id: String,
}

const KINDS: [(AuditKind, &str, &str); 4] = [
    (AuditKind::Act, "act", "what administrators did"),
    (AuditKind::Login, "login", "logins"),
    (AuditKind::LoginRefused, "login-refused", "logins that were refused"),
    (AuditKind::Strangers, "strangers", "wrong passwords"),
];

/// `GET /s/PLACE/audit`
pub(in crate::admin::web) async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(wanted): Query<Wanted>,
) -> Result<Html<String>, WebError> {
    let (mailbox, id) = (wanted.mailbox.trim(), wanted.id.trim());
    let address = mailbox.parse().ok();
    let filter = AuditFilter {
        since: None,
        kind: KINDS.iter().find(|(_, name, _)| *name == wanted.kind).map(|(kind, ..)| *kind),
        mailbox: address.clone(),
        password_id: Some(id.to_owned()).filter(|id| !id.is_empty()),
    };
    // What is no address is nobody's.
    let records = match address {
        None if !mailbox.is_empty() => Vec::new(),
        _ => console.0.ops.audit(&filter, MOST).await?,
    };
    let body = html! {
        form.filter method="get" action=(visitor.path("audit")) {
            select name="kind" aria-label="what" {
                option value="" { "everything" }
                @for (_, name, words) in KINDS {
                    option value=(name) selected[wanted.kind == name] { (words) }
                }
            }
            input type="search" name="mailbox" value=(wanted.mailbox) placeholder="mailbox" aria-label="mailbox" maxlength="254";
            input type="search" name="id" value=(wanted.id) placeholder="ID of an app password" aria-label="ID of an app password" maxlength="20";
            button type="submit" { "Show" }
        }
        @if records.is_empty() {
            p.faint { "The audit trail has nothing of that." }
        } @else {
            (markup::list(tables::audit(&records), |_| None))
            p.faint {
                @if u32::try_from(records.len()).is_ok_and(|count| count == MOST) {
                    "The newest " (MOST) "; " code { "postern audit list" } " looks for more. "
                }
                code { "postern audit verify" } " looks whether anything was changed."
            }
        }
    };
    Ok(page("Audit", Some(&visitor), &body))
}

/// `GET /s/PLACE/bans`
pub(in crate::admin::web) async fn bans(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Html<String>, WebError> {
    let mut bans = console.0.ops.bans().await?;
    let count = bans.len();
    bans.truncate(500);
    let body = html! {
        @if bans.is_empty() {
            p.faint { "No address is banned, nor was one in the last seven days." }
        } @else {
            p { "Let an address in again:" }
            code.command { "postern ban lift ADDRESS" }
            (markup::list(tables::bans(&bans, Utc::now()), |_| None))
            @if count > bans.len() {
                p.faint { "These are the newest " (bans.len()) " of " (count) "; " code { "postern ban list --all" } " shows all." }
            }
        }
    };
    Ok(page("Bans", Some(&visitor), &body))
}
