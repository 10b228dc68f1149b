//! What a reference, a number or a reply means, and what to do.

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Html;
use maud::{Markup, html};
use serde::Deserialize;

use crate::admin::ops::{self, ExplainError, Explained};
use crate::admin::tables::timestamp;
use crate::admin::web::error::WebError;
use crate::admin::web::markup::{facts, page, words};
use crate::admin::web::{Console, Visitor};
use crate::base::Fault;
use crate::base::catalogue::{Match, Search, whose_words};

/// Of more causes that share a code than this, only their names are told.
const MOST_IN_FULL: usize = 10;

/// What is asked.
#[derive(Deserialize)]
pub(in crate::admin::web) struct Asked {
    #[serde(default)]
    text: String,
}

/// `GET /s/PLACE/explain`
pub(in crate::admin::web) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(Asked { text }): Query<Asked>,
) -> Result<Html<String>, WebError> {
    let answer = if text.trim().is_empty() {
        html! {}
    } else {
        answer(&console, &text).await?
    };
    let body = html! {
        form.filter method="get" action=(visitor.path("explain")) {
            input.broad type="search" name="text" aria-label="to be explained" value=(text) maxlength="2000"
                placeholder="a reference (7F3K2Q), an AADSTS number, a reply, or a line of the log";
            button type="submit" { "Explain" }
        }
        (answer)
    };
    Ok(page("Explain", Some(&visitor), &body))
}

async fn answer(console: &Console, text: &str) -> Result<Markup, WebError> {
    let search = ops::explain(text);
    // A reference tells more than the words around it, which are the same for many causes.
    if let Some(reference) = search.references.first() {
        match console.0.ops.explain_reference(reference).await {
            Ok(found) => return Ok(html! { @for explained in &found { (incident(explained)) } }),
            Err(error @ ExplainError::ReferenceUnknown { .. }) if search.found.is_empty() => {
                return Ok(nothing(&error));
            }
            Err(ExplainError::ReferenceUnknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if search.found.is_empty() {
        let number = search.unknown_numbers.first().copied();
        return Ok(nothing(&ExplainError::NothingKnown { number, reply: search.unknown_replies.first().cloned() }));
    }
    Ok(entries(&search))
}

fn nothing(error: &ExplainError) -> Markup {
    html! {
        p.bad { (words(&error.to_string())) }
        @if let Some(remedy) = error.remedy() { p { (words(&remedy)) } }
    }
}

/// What happened when a reference was given, and what is known about that.
fn incident(explained: &Explained) -> Markup {
    let incident = &explained.incident;
    let mut known = vec![("at", timestamp(incident.at).into()), ("code", incident.code.clone().into())];
    known.extend(incident.protocol.map(|protocol| ("protocol", protocol.name().to_uppercase().into())));
    known.extend(incident.mailbox.as_ref().map(|mailbox| ("mailbox", mailbox.to_string().into())));
    known.extend(incident.password_id.as_ref().map(|id| ("app password", id.clone().into())));
    known.push(("what happened", incident.reason.clone().into()));
    known.extend(incident.remedy.as_ref().map(|remedy| ("what to do", remedy.clone().into())));
    html! {
        h2 { (incident.reference) }
        (facts(&known))
        (entries(&explained.search))
    }
}

/// The entries of the catalogue. Those that share a code are told apart by their words.
fn entries(search: &Search) -> Markup {
    let places = search.places();
    let shared = search.found.iter().filter(|found| found.how == Match::OneOf).count();
    html! {
        @if shared > 1 {
            p { "This code alone can mean " (shared) " things. The words behind it tell them apart." }
        }
        @for found in &search.found {
            @let entry = found.entry;
            @let is_one_of_many = found.how == Match::OneOf && shared > MOST_IN_FULL;
            section {
                h3 { (entry.name()) ": " (entry.title) }
                @if !entry.example.is_empty() && !entry.example.eq_ignore_ascii_case(entry.name()) {
                    p.faint { "«" (entry.example) "»" }
                }
                @if !is_one_of_many {
                    p { (words(entry.what)) }
                    p { strong { "What to do" } " (it is " (whose_words(entry.whose)) " move)" }
                    p { (words(&entry.remedy_text(&places))) }
                    p.faint { "Source: " (entry.certainty.words()) ", " (entry.source) }
                }
            }
        }
    }
}
