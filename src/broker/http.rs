//! The HTTP side of asking a token service: limits on what comes back, and what the `oauth2` crate does not show of it.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use oauth2::http::{Response, StatusCode, header};
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use serde_json::Value;
use url::Url;
use zeroize::Zeroize;

use crate::base::web::{chain, date, retry_after};

/// The longest answer that is read from a token service. Entra ID's are a few KiB.
const LONGEST_ANSWER_OCTETS: usize = 256 * 1024;

/// The longest that a token is believed to live.
const LONGEST_LIFE_SECONDS: u64 = 28 * 3600;

/// An HTTP request failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::broker) enum HttpError {
    #[error("{0}")]
    Transport(String),
    #[error("the answer is longer than {LONGEST_ANSWER_OCTETS} octets")]
    TooLong,
}

/// What the `oauth2` crate does not show of an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::broker) struct Noted {
    pub(in crate::broker) status: Option<u16>,
    pub(in crate::broker) retry_after: Option<Duration>,
    /// By how many seconds the service's clock is ahead of ours.
    pub(in crate::broker) ahead_seconds: Option<i64>,
}

/// Sends the requests of the `oauth2` crate, and notes of the last answer what that crate does not show.
pub(in crate::broker) struct Noting<'h> {
    http: &'h reqwest::Client,
    noted: Mutex<Noted>,
}

impl<'h> Noting<'h> {
    pub(in crate::broker) fn new(http: &'h reqwest::Client) -> Self {
        Self { http, noted: Mutex::default() }
    }

    pub(in crate::broker) fn noted(&self) -> Noted {
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'c> AsyncHttpClient<'c> for Noting<'_> {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let answer = fetch(self.http, request).await?;
            *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = Noted {
                status: Some(answer.status().as_u16()),
                retry_after: retry_after(answer.headers()),
                ahead_seconds: date(answer.headers(), header::DATE).map(|at| (at - Utc::now()).num_seconds()),
            };
            Ok(answer)
        })
    }
}

/// What a service answers to a mere GET: its status, and by how many seconds its clock is ahead of ours. The body is not read.
pub(in crate::broker) async fn hear(http: &reqwest::Client, url: Url) -> Result<(u16, Option<i64>), HttpError> {
    let answer = http.get(url).send().await.map_err(|error| HttpError::Transport(chain(&error)))?;
    let ahead = date(answer.headers(), header::DATE).map(|at| (at - Utc::now()).num_seconds());
    Ok((answer.status().as_u16(), ahead))
}

async fn fetch(http: &reqwest::Client, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let failed = |error: reqwest::Error| HttpError::Transport(chain(&error));
    let request = reqwest::Request::try_from(request).map_err(failed)?;
    let mut answer = http.execute(request).await.map_err(failed)?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(failed)? {
        if body.len() + piece.len() > LONGEST_ANSWER_OCTETS {
            body.zeroize();
            return Err(HttpError::TooLong);
        }
        body.extend_from_slice(&piece);
    }
    let mut whole = Response::new(tidy(status, body));
    *whole.status_mut() = status;
    for name in [header::CONTENT_TYPE, header::DATE, header::RETRY_AFTER] {
        if let Some(value) = answer.headers().get(&name) {
            whole.headers_mut().insert(name, value.clone());
        }
    }
    Ok(whole)
}

/// Makes `expires_in` a number that can be believed: 21Vianet sends it as text, and a wrong one must not keep a token for ever.
fn tidy(status: StatusCode, mut body: Vec<u8>) -> Vec<u8> {
    if status != StatusCode::OK {
        return body;
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(&body) else {
        return body;
    };
    let expires_in = seconds(fields.get("expires_in")).unwrap_or(0);
    fields.insert("expires_in".to_owned(), expires_in.min(LONGEST_LIFE_SECONDS).into());
    match seconds(fields.get("refresh_in")) {
        Some(seconds) => drop(fields.insert("refresh_in".to_owned(), seconds.min(LONGEST_LIFE_SECONDS).into())),
        None => drop(fields.remove("refresh_in")),
    }
    let tidied = serde_json::to_vec(&fields).unwrap_or_default();
    body.zeroize();
    for value in fields.values_mut() {
        if let Value::String(text) = value {
            text.zeroize();
        }
    }
    tidied
}

/// A number of seconds, written as a number or as text.
fn seconds(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_life_of_a_token_is_read_in_every_form_and_never_believed_beyond_reason() {
        for (written, seconds) in [
            ("3599", 3599),
            ("\"3599\"", 3599),
            ("3599.5", 3599),
            ("0", 0),
            ("-1", 0),
            ("1000000000000000000", LONGEST_LIFE_SECONDS),
            ("1e300", LONGEST_LIFE_SECONDS),
            ("\"soon\"", 0),
            ("null", 0),
        ] {
            let body = format!(r#"{{"token_type":"Bearer","access_token":"x","expires_in":{written}}}"#);
            let tidied: Value = serde_json::from_slice(&tidy(StatusCode::OK, body.into_bytes())).unwrap();
            assert_eq!(tidied["expires_in"], seconds, "{written}");
        }
        let without = tidy(StatusCode::OK, br#"{"access_token":"x"}"#.to_vec());
        assert_eq!(serde_json::from_slice::<Value>(&without).unwrap()["expires_in"], 0);
        for (written, seconds) in [("1800", Some(1800)), ("\"1800\"", Some(1800)), ("\"soon\"", None), ("-1", None)] {
            let body = format!(r#"{{"access_token":"x","expires_in":3600,"refresh_in":{written}}}"#);
            let tidied: Value = serde_json::from_slice(&tidy(StatusCode::OK, body.into_bytes())).unwrap();
            assert_eq!(tidied.get("refresh_in").and_then(Value::as_u64), seconds, "{written}");
        }
    }
}
