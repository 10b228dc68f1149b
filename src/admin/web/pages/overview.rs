//! Whether all is well, and which app passwords end soon.

use axum::Extension;
use axum::extract::State;
use axum::response::Html;
use chrono::Utc;
use maud::{Markup, html};

use crate::admin::ops::PasswordRow;
use crate::admin::tables;
use crate::admin::web::error::WebError;
use crate::admin::web::markup::{facts, list, page, part, words};
use crate::admin::web::{Console, Visitor};

/// How many of those that end soon are shown here; the rest stands under *App passwords*.
const MOST: usize = 50;

/// `GET /s/PLACE/`
pub(in crate::admin::web) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Html<String>, WebError> {
    let ops = &console.0.ops;
    let (status, passwords) = (ops.status().await?, ops.passwords().await?);
    let body = html! {
        @if status.troubles.is_empty() && status.ending_passwords == 0 {
            p.good { "All is well." }
        } @else if status.troubles.is_empty() {
            p { "Everything works; app passwords end soon." }
        } @else {
            ul.troubles {
                @for trouble in &status.troubles {
                    li {
                        span.bad { (words(&trouble.said)) }
                        @if let Some(remedy) = &trouble.remedy { p { (words(remedy)) } }
                    }
                }
            }
        }
        (ending(&visitor, passwords))
        h2 { "What there is" }
        (facts(&tables::status(&status)))
    };
    Ok(page("Overview", Some(&visitor), &body))
}

/// The app passwords that end within 30 days with nothing in their place, the next one first.
fn ending(visitor: &Visitor, mut rows: Vec<PasswordRow>) -> Markup {
    rows.retain(|row| row.ends_within_days.is_some());
    rows.sort_by_key(|row| row.expires_at);
    let count = rows.len();
    rows.truncate(MOST);
    html! {
        h2 { "App passwords that end soon" }
        @if rows.is_empty() {
            p.faint { "None ends within 30 days without another one in its place." }
        } @else {
            p {
                "These end within 30 days, and nothing is there in their place. Issue another one while the old one works, enter it where it is used, "
                "and the old one ends by itself:"
            }
            code.command { "postern password rotate ID --overlap 7d" }
            (list(tables::ending(&rows, Utc::now()), |id| Some(visitor.path(&format!("passwords/{}", part(id))))))
            @if count > rows.len() {
                p { a href=(visitor.path("passwords?show=ending")) { "All " (count) } }
            }
        }
    }
}
