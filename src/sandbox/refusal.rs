//! How Entra ID says no: status, `error` class and the body with all its fields, or the parameters of a redirect.

mod known;

use std::borrow::Cow;

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{TimeDelta, Utc};
use serde_json::json;

use crate::sandbox::refusal::known::KNOWN;
use crate::sandbox::tokens::guid;

/// A refusal of the token service.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// The AADSTS number; other token services have none.
    pub(super) code: Option<u32>,
    status: u16,
    error: Cow<'static, str>,
    suberror: Option<&'static str>,
    text: String,
    retry_after: Option<RetryAfter>,
}

/// When it may be asked again, and in which of its two forms that is said (RFC 9110, section 10.2.3).
#[derive(Clone, Copy, Debug)]
pub(super) enum RetryAfter {
    /// So many seconds from now, as a date.
    Date(u64),
    /// So many seconds.
    Seconds(u64),
}

impl Refusal {
    /// The refusal of this number; one that is not in the list is `invalid_grant`.
    pub(super) fn of(code: u32) -> Self {
        let (_, status, error, suberror, text) = KNOWN.iter().find(|known| known.0 == code).copied().unwrap_or((
            code,
            400,
            "invalid_grant",
            None,
            "The request was refused.",
        ));
        Self { code: Some(code), status, error: error.into(), suberror, text: text.to_owned(), retry_after: None }
    }

    /// What `token-error` names: an AADSTS number, or an OAuth error (RFC 6749, section 5.2), said as services say it that have no numbers.
    pub(super) fn named_by(value: &str) -> Self {
        if let Ok(code) = value.trim_start_matches("AADSTS").parse() {
            return Self::of(code);
        }
        let status = match value {
            "invalid_client" => 401,
            "server_error" | "temporarily_unavailable" => 503,
            _ => 400,
        };
        let text = "The request was refused.".to_owned();
        Self { code: None, status, error: value.to_owned().into(), suberror: None, text, retry_after: None }
    }

    /// 900144 with the name of what is missing.
    pub(super) fn missing(parameter: &str) -> Self {
        let text = format!("The request body must contain the following parameter: '{parameter}'.");
        Self { text, ..Self::of(900_144) }
    }

    /// A refusal by status alone: throttled or out of order.
    pub(super) fn of_status(status: u16) -> Self {
        Self { status, ..Self::of(if status == 429 { 90_055 } else { 90_033 }) }
    }

    /// The same with a Retry-After.
    pub(super) fn retry_after(self, retry_after: Option<RetryAfter>) -> Self {
        Self { retry_after, ..self }
    }

    /// The same in other words, where they name what is wrong.
    pub(super) fn saying(self, text: impl Into<String>) -> Self {
        Self { text: text.into(), ..self }
    }

    /// The same under another `error`, where a flow has a word of its own for it.
    pub(super) fn named(self, error: &'static str) -> Self {
        Self { error: error.into(), ..self }
    }

    /// What a browser is sent back with (RFC 6749, section 4.1.2.1), `state` aside.
    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        // The authorization endpoint knows no `invalid_grant`: there the user has to do something.
        let error = match (self.error.as_ref(), self.suberror) {
            ("invalid_grant", Some("consent_required")) => "consent_required",
            ("invalid_grant", _) => "interaction_required",
            (error, _) => error,
        };
        let mut parameters = vec![("error", error.to_owned())];
        if self.code == Some(65_004) {
            parameters.push(("error_subcode", "cancel".to_owned()));
        }
        parameters.push(("error_description", self.description(&Details::make())));
        parameters.extend(self.uri().map(|uri| ("error_uri", uri)));
        parameters
    }

    /// What a person is shown: the text with the lines that support asks for.
    pub(super) fn description(&self, details: &Details) -> String {
        let Details { trace_id, correlation_id, timestamp } = details;
        let Some(code) = self.code else { return self.text.clone() };
        format!(
            "AADSTS{code}: {} Trace ID: {trace_id} Correlation ID: {correlation_id} Timestamp: {timestamp}",
            self.text
        )
    }

    fn uri(&self) -> Option<String> {
        Some(format!("https://login.microsoftonline.com/error?code={}", self.code?))
    }
}

/// What tells one refusal from all others.
pub(super) struct Details {
    trace_id: String,
    correlation_id: String,
    timestamp: String,
}

impl Details {
    pub(super) fn make() -> Self {
        Self {
            trace_id: guid().unwrap_or_default(),
            correlation_id: guid().unwrap_or_default(),
            timestamp: Utc::now().format("%Y-%m-%d %H:%M:%SZ").to_string(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let details = Details::make();
        let mut body = json!({
            "error": self.error,
            "error_description": self.description(&details),
        });
        if let Some(code) = self.code {
            body["error_codes"] = json!([code]);
            body["timestamp"] = json!(details.timestamp);
            body["trace_id"] = json!(details.trace_id);
            body["correlation_id"] = json!(details.correlation_id);
            body["error_uri"] = json!(self.uri());
        }
        if let Some(suberror) = self.suberror {
            body["suberror"] = json!(suberror);
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = (status, Json(body)).into_response();
        let retry_after = self.retry_after.map(|retry_after| match retry_after {
            RetryAfter::Seconds(seconds) => seconds.to_string(),
            RetryAfter::Date(seconds) => {
                let wait = i64::try_from(seconds).ok().and_then(TimeDelta::try_seconds).unwrap_or_default();
                (Utc::now() + wait).format("%a, %d %b %Y %H:%M:%S GMT").to_string()
            }
        });
        if let Some(value) = retry_after.and_then(|value| HeaderValue::try_from(value).ok()) {
            response.headers_mut().insert(RETRY_AFTER, value);
        }
        response
    }
}
