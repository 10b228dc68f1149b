//! Coming in and going out.

use axum::Form;
use axum::extract::{ConnectInfo, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use tracing::{info, warn};

use crate::admin::web::error::{Problem, WebError};
use crate::admin::web::markup::page;
use crate::admin::web::{Caller, Console, Visitor};

/// The name of the cookie.
const COOKIE: &str = "postern_console";

/// What stands in a link.
#[derive(Deserialize)]
pub(in crate::admin::web) struct Link {
    #[serde(default)]
    link: String,
}

/// The place in the address of every page that somebody signed in sees.
#[derive(Deserialize)]
pub(in crate::admin::web) struct Place {
    place: String,
}

fn how_to() -> Markup {
    html! {
        p { "On the machine that Postern runs on, as the user that it runs as or as root:" }
        code.command { "postern console" }
        p { "It prints a link that lets one browser in, once, within ten minutes. There is no password." }
    }
}

/// `GET /`
pub(in crate::admin::web) async fn front() -> Html<String> {
    page("Sign in to the console", None, &how_to())
}

/// `GET /sign-in`
pub(in crate::admin::web) async fn offer(Query(Link { link }): Query<Link>) -> Html<String> {
    let body = html! {
        form method="post" action="/sign-in" {
            input type="hidden" name="link" value=(link);
            button.large type="submit" autofocus { "Sign in" }
        }
        p.faint { "This link lets one browser in, once." }
    };
    page("Sign in to the console", None, &body)
}

/// `POST /sign-in`
pub(in crate::admin::web) async fn sign_in(
    State(console): State<Console>,
    ConnectInfo(Caller(from)): ConnectInfo<Caller>,
    Form(Link { link }): Form<Link>,
) -> Result<Response, WebError> {
    let Some(who) = console.0.ops.take_console_link(&link, from.ip()).await? else {
        // Whoever tries for ever does not fill the log.
        if console.0.sessions.may_warn() {
            warn!(%from, "somebody tried a link to the console that is no good; further ones are not told for a minute");
        }
        let body = html! {
            p.bad { "This link was used already, is over, or was never made." }
            (how_to())
        };
        return Ok((StatusCode::FORBIDDEN, page("Sign in to the console", None, &body)).into_response());
    };
    info!(%from, by = who, "signed in to the console");
    let session = console.0.sessions.begin(who)?;
    let place = format!("/s/{}/", session.place);
    let cookie = format!("{COOKIE}={}; Path={place}; HttpOnly; SameSite=Strict", session.cookie.expose());
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(&place)).into_response())
}

/// Lets those through who are signed in.
pub(in crate::admin::web) async fn is_signed_in(
    State(console): State<Console>,
    Path(Place { place }): Path<Place>,
    mut request: Request,
    next: Next,
) -> Response {
    match cookie(request.headers()).and_then(|cookie| console.0.sessions.look(&place, cookie)) {
        Some(who) => {
            let visitor = Visitor { place, who };
            request.extensions_mut().insert(visitor.clone());
            let response = next.run(request).await;
            match response.extensions().get::<Problem>() {
                Some(problem) => (response.status(), problem.page(Some(&visitor))).into_response(),
                None => response,
            }
        }
        None => {
            let body = html! {
                p { "You are not signed in, or not any more: nobody has looked for half an hour, or Postern was started anew." }
                (how_to())
            };
            (StatusCode::UNAUTHORIZED, page("Sign in to the console", None, &body)).into_response()
        }
    }
}

/// The cookie of the console.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE).and_then(|rest| rest.strip_prefix('=')))
}

/// `POST /s/PLACE/sign-out`
pub(in crate::admin::web) async fn sign_out(
    State(console): State<Console>,
    axum::Extension(visitor): axum::Extension<Visitor>,
) -> Response {
    console.0.sessions.end(&visitor.place);
    let gone = format!("{COOKIE}=; Path=/s/{}/; Max-Age=0; HttpOnly; SameSite=Strict", visitor.place);
    ([(header::SET_COOKIE, gone)], Redirect::to("/")).into_response()
}

/// Everything else.
pub(in crate::admin::web) async fn not_found() -> Response {
    let body = html! {
        p { "There is no such page. " a href="/" { "To the beginning" } }
    };
    (StatusCode::NOT_FOUND, page("There is nothing here", None, &body)).into_response()
}
