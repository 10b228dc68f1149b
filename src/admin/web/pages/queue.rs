//! Mail that waits, and mail that was sent.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Html;
use maud::html;
use serde::Deserialize;

use crate::admin::tables;
use crate::admin::web::error::WebError;
use crate::admin::web::markup::{self, facts, page, part};
use crate::admin::web::{Console, Visitor};
use crate::store::JournalFilter;

/// How many stand on a page.
const MOST: u32 = 200;

fn is_full(count: usize) -> bool {
    u32::try_from(count).is_ok_and(|count| count == MOST)
}

/// `GET /s/PLACE/queue`
pub(in crate::admin::web) async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Html<String>, WebError> {
    let messages = console.0.ops.queue_first(MOST).await?;
    let body = html! {
        @if messages.is_empty() {
            p.faint { "No mail is waiting." }
        } @else {
            (markup::list(tables::queue(&messages), |id| Some(visitor.path(&format!("queue/{}", part(id))))))
            @if is_full(messages.len()) {
                p.faint { "These are the oldest " (MOST) "; " code { "postern queue list" } " shows all." }
            }
        }
    };
    Ok(page("Mail waiting", Some(&visitor), &body))
}

/// What an address of a page of one thing holds.
#[derive(Deserialize)]
pub(in crate::admin::web) struct One {
    id: String,
}

/// `GET /s/PLACE/queue/ID`
pub(in crate::admin::web) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(One { id }): Path<One>,
) -> Result<Html<String>, WebError> {
    let message = console.0.ops.queued(&id).await?;
    let body = html! {
        (facts(&tables::message(&message)))
        h2 { "What you can do" }
        p { "Try it at once, hold it, let go what is held, or take it out for good:" }
        @for act in ["retry", "hold", "release", "drop"] {
            code.command { "postern queue " (act) " " (message.id) }
        }
    };
    Ok(page("A message that waits", Some(&visitor), &body))
}

/// `GET /s/PLACE/sent`
pub(in crate::admin::web) async fn sent(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Html<String>, WebError> {
    let entries = console.0.ops.journal(&JournalFilter::default(), MOST).await?;
    let body = html! {
        @if entries.is_empty() {
            p.faint { "The journal has nothing." }
        } @else {
            (markup::list(tables::journal(&entries), |_| None))
            @if is_full(entries.len()) {
                p.faint { "The newest " (MOST) "; " code { "postern queue journal" } " looks for more." }
            }
        }
    };
    Ok(page("Mail sent", Some(&visitor), &body))
}
