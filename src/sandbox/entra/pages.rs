//! The pages that people see: plain HTML without scripts.

use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use axum::response::{Html, IntoResponse, Response};

use crate::sandbox::entra::Fields;
use crate::sandbox::refusal::{Details, Refusal};

/// The name of the button that says yes.
pub(super) const ACCEPT: &str = "accept";

/// The name of the button that says no.
pub(super) const DENY: &str = "deny";

/// The name of the buttons that choose a user.
pub(super) const USER: &str = "user";

/// Whom to sign in: a button for each user, the one that the application hints at first, and one that says no.
///
/// `carried` comes back with the choice.
pub(super) fn choose_user(
    action: &str,
    carried: &Fields,
    question: &str,
    users: &[String],
    hint: Option<&str>,
) -> Response {
    let mut users: Vec<&String> = users.iter().collect();
    users.sort_by_key(|user| !hint.is_some_and(|hint| user.eq_ignore_ascii_case(hint)));
    let mut buttons: Vec<_> = users.into_iter().map(|user| (USER, user.as_str(), user.as_str())).collect();
    buttons.push((DENY, "1", "Cancel"));
    choice("Sign in to your account", action, carried, question, &buttons)
}

/// Whether an administrator grants what is asked for.
pub(super) fn ask_consent(action: &str, carried: &Fields, question: &str) -> Response {
    let buttons = [(ACCEPT, "1", "Accept"), (DENY, "1", "Cancel")];
    choice("Permissions requested", action, carried, question, &buttons)
}

/// A question, and buttons with name, value and text.
fn choice(title: &str, action: &str, carried: &Fields, question: &str, buttons: &[(&str, &str, &str)]) -> Response {
    let buttons: String = buttons
        .iter()
        .map(|(name, value, text)| {
            format!("<p><button name=\"{name}\" value=\"{}\">{}</button></p>\n", escaped(value), escaped(text))
        })
        .collect();
    page(StatusCode::OK, title, &form(action, carried, &format!("<p>{}</p>\n{buttons}", escaped(question))))
}

/// A form that asks for one line of text.
pub(super) fn ask(action: &str, title: &str, notice: Option<&str>, label: &str, name: &str) -> Response {
    let notice = notice.map(|notice| format!("<p role=\"alert\">{}</p>\n", escaped(notice))).unwrap_or_default();
    let input = format!(
        "{notice}<p><label>{} <input name=\"{name}\" autofocus autocomplete=\"off\"></label></p>\n\
         <p><button>Next</button></p>\n",
        escaped(label)
    );
    page(StatusCode::OK, title, &form(action, &Fields(Vec::new()), &input))
}

/// A page that only says something.
pub(super) fn tell(title: &str, text: &str) -> Response {
    page(StatusCode::OK, title, &format!("<p>{}</p>\n", escaped(text)))
}

/// A page that says what is wrong, where nobody can be sent back with it.
pub(super) fn refuse(refusal: &Refusal) -> Response {
    let text = refusal.description(&Details::make());
    let body = format!("<p>Sorry, but we're having trouble signing you in.</p>\n<p>{}</p>\n", escaped(&text));
    page(StatusCode::BAD_REQUEST, "Sign in to your account", &body)
}

fn form(action: &str, carried: &Fields, inner: &str) -> String {
    let hidden: String = carried
        .0
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), ACCEPT | DENY | USER))
        .map(|(name, value)| {
            format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">\n", escaped(name), escaped(value))
        })
        .collect();
    format!("<form method=\"post\" action=\"{}\">\n{hidden}{inner}</form>\n", escaped(action))
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let title = escaped(title);
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n<body>\n\
         <h1>{title}</h1>\n{body}<p><small>Simulated tenant: nobody's password is asked for here.</small></p>\n\
         </body>\n</html>\n"
    );
    // What came in the address may be an attack on whoever looks at the page; without scripts it has nothing to run.
    let headers = [
        (CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, Html(html)).into_response()
}

/// Text as it may stand between tags and in a quoted attribute.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn nothing_that_is_shown_can_become_markup() {
        assert_eq!(escaped("<a href=\"x\">'&</a>"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&lt;/a&gt;");
    }
}
