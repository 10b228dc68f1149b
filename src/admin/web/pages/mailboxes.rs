//! Mailboxes.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Html;
use maud::html;
use serde::Deserialize;

use crate::admin::ops::{MailboxRow, MailboxState};
use crate::admin::tables;
use crate::admin::web::error::WebError;
use crate::admin::web::markup::{self, facts, page, part, without, words};
use crate::admin::web::{Console, Visitor};

/// How many app passwords stand on the page of a mailbox.
const MOST_PASSWORDS: usize = 100;

/// `GET /s/PLACE/mailboxes`
pub(in crate::admin::web) async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Html<String>, WebError> {
    let mut rows = console.0.ops.mailboxes().await?;
    // Those that somebody has to look after first.
    let is_calm = |row: &MailboxRow| matches!(row.state, MailboxState::Ready | MailboxState::Disabled);
    rows.sort_by_key(is_calm);
    let body = html! {
        @if rows.is_empty() {
            p.faint { "No mailbox is on the list. Add one: " code { "postern mailbox add ADDRESS" } }
        } @else {
            (markup::list(tables::mailboxes(&rows), |address| Some(visitor.path(&format!("mailboxes/{}", part(address))))))
        }
    };
    Ok(page("Mailboxes", Some(&visitor), &body))
}

/// What the address of the page of one mailbox holds.
#[derive(Deserialize)]
pub(in crate::admin::web) struct One {
    address: String,
}

/// `GET /s/PLACE/mailboxes/ADDRESS`
pub(in crate::admin::web) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(One { address }): Path<One>,
) -> Result<Html<String>, WebError> {
    let rows = console.0.ops.mailboxes().await?;
    let Some(row) = rows.into_iter().find(|row| row.address.as_str().eq_ignore_ascii_case(&address)) else {
        let body = html! {
            p.bad { "There is no such mailbox on the list. Add it: " code { "postern mailbox add ADDRESS" } }
        };
        return Ok(page("Mailboxes", Some(&visitor), &body));
    };
    let mut passwords = console.0.ops.passwords().await?;
    passwords.retain(|password| password.mailbox == row.address && password.state.is_in_force());
    let count = passwords.len();
    passwords.truncate(MOST_PASSWORDS);
    let body = html! {
        (facts(&without(tables::mailbox(&row), &["mailbox"])))
        p { (words(&format!("To see what is in the way between here and it: `postern doctor {}`", row.address))) }
        h2 { "Its app passwords" }
        @if passwords.is_empty() {
            p.faint { "None is in force." }
        } @else {
            @if count > passwords.len() {
                p { a href=(visitor.path(&format!("passwords?text={}", part(row.address.as_str())))) { "All " (count) } }
            }
            (markup::list(tables::passwords(&passwords), |id| Some(visitor.path(&format!("passwords/{}", part(id))))))
        }
    };
    Ok(page(row.address.as_str(), Some(&visitor), &body))
}
