//! App passwords.

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::Html;
use maud::html;
use serde::Deserialize;

use crate::admin::ops::PasswordRow;
use crate::admin::tables;
use crate::admin::web::error::WebError;
use crate::admin::web::markup::{self, facts, page, part, words};
use crate::admin::web::{Console, Visitor};

/// How many stand on a page.
const PER_PAGE: usize = 100;

/// Which ones are looked for.
#[derive(Deserialize)]
pub(in crate::admin::web) struct Wanted {
    #[serde(default)]
    show: Show,
    /// What stands in the label, the owner, the mailbox or the ID.
    #[serde(default)]
    text: String,
    /// From 1.
    #[serde(default)]
    page: usize,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Show {
    All,
    Ending,
    #[default]
    InForce,
}

impl Show {
    const ALL: [(Self, &'static str, &'static str); 3] = [
        (Self::InForce, "in-force", "in force"),
        (Self::Ending, "ending", "that end soon"),
        (Self::All, "all", "all, also revoked and expired ones"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(show, ..)| *show == self).map_or("", |(_, name, _)| name)
    }
}

impl Wanted {
    /// Whether it is looked for; `text` is in lower case.
    fn wants(&self, row: &PasswordRow, text: &str) -> bool {
        let has = |part: &str| part.to_lowercase().contains(text);
        let shown = match self.show {
            Show::All => true,
            Show::Ending => row.ends_within_days.is_some(),
            Show::InForce => row.state.is_in_force(),
        };
        shown
            && (text.is_empty()
                || has(&row.label)
                || has(row.mailbox.as_str())
                || has(&row.id)
                || row.tracking.owner.as_deref().is_some_and(has))
    }

    fn path(&self, visitor: &Visitor, page: usize) -> String {
        visitor.path(&format!("passwords?show={}&text={}&page={page}", self.show.name(), part(&self.text)))
    }
}

/// `GET /s/PLACE/passwords`
pub(in crate::admin::web) async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(wanted): Query<Wanted>,
) -> Result<Html<String>, WebError> {
    let mut rows = console.0.ops.passwords().await?;
    let text: String = wanted.text.trim().chars().take(200).collect::<String>().to_lowercase();
    rows.retain(|row| wanted.wants(row, &text));
    let count = rows.len();
    let last = count.div_ceil(PER_PAGE).max(1);
    let number = wanted.page.clamp(1, last);
    let rows: Vec<PasswordRow> = rows.into_iter().skip((number - 1) * PER_PAGE).take(PER_PAGE).collect();
    let body = html! {
        form.filter method="get" action=(visitor.path("passwords")) {
            input type="search" name="text" value=(wanted.text) placeholder="label, owner, mailbox or ID" aria-label="looked for" maxlength="200";
            select name="show" aria-label="which" {
                @for (show, name, words) in Show::ALL {
                    option value=(name) selected[show == wanted.show] { (words) }
                }
            }
            button type="submit" { "Show" }
        }
        @if rows.is_empty() {
            p.faint { "There is none. Issue one: " code { "postern password issue ADDRESS --label TEXT" } }
        } @else {
            (markup::list(tables::passwords(&rows), |id| Some(visitor.path(&format!("passwords/{}", part(id))))))
            p.faint {
                (count) " app passwords"
                @if last > 1 { ", page " (number) " of " (last) }
            }
            @if number > 1 { a href=(wanted.path(&visitor, number - 1)) { "Back" } " " }
            @if number < last { a href=(wanted.path(&visitor, number + 1)) { "Further" } }
        }
    };
    Ok(page("App passwords", Some(&visitor), &body))
}

/// What an address of a page of one thing holds.
#[derive(Deserialize)]
pub(in crate::admin::web) struct One {
    id: String,
}

/// `GET /s/PLACE/passwords/ID`
pub(in crate::admin::web) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(One { id }): Path<One>,
) -> Result<Html<String>, WebError> {
    let row = console.0.ops.password(&id).await?;
    let body = html! {
        @if let Some(days) = row.ends_within_days {
            p.bad {
                @if days == 1 { "It ends within a day" } @else { "It ends within " (days) " days" }
                ", and nothing is there in its place."
            }
        }
        (facts(&tables::password(&row)))
        @if row.state.is_in_force() {
            h2 { "What you can do" }
            @if row.replaced_by.is_none() {
                p { "Issue another one in its place, and let both work for a week:" }
                code.command { "postern password rotate " (row.id) " --overlap 7d" }
            }
            p { "End it at once, with its open sessions, and keep its mail that waits from going out:" }
            code.command { "postern password revoke " (row.id) " --hold-mail" }
        }
        h2 { "What it was used for" }
        p { a href=(visitor.path(&format!("audit?id={}", part(&row.id)))) { "Its logins, and what was done with it" } }
        p { (words(&format!("Its mail: `postern queue journal --with {}`", row.id))) }
    };
    Ok(page(&row.label, Some(&visitor), &body))
}
