//! What Entra ID says when it says no, and what that means: whose move it is, and what to do.
//!
//! The decision rests on the OAuth `error`, the HTTP status and Retry-After (RFC 6749, section 5.2). AADSTS numbers may change and
//! only choose the words for the administrator.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::Whose;
use crate::base::catalogue::{self, Places};

/// The error body of the token service (RFC 6749, section 5.2, with the fields that Entra ID adds).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ErrorBody {
    /// The OAuth error, such as `invalid_grant`.
    #[serde(deserialize_with = "short")]
    pub error: String,
    /// Words for people. Entra ID begins them with `AADSTS` and a number.
    #[serde(default)]
    pub error_description: Option<String>,
    /// The AADSTS numbers.
    #[serde(default)]
    pub error_codes: Vec<u64>,
    /// A finer distinction, such as `consent_required`.
    #[serde(default, deserialize_with = "short_option")]
    pub suberror: Option<String>,
    /// What Microsoft's support asks for.
    #[serde(default, deserialize_with = "short_option")]
    pub trace_id: Option<String>,
    /// Likewise.
    #[serde(default, deserialize_with = "short_option")]
    pub correlation_id: Option<String>,
}

/// What goes into the log and the store: no line of its own, and not more than a name has.
fn tamed(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

fn short<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(|text| tamed(&text))
}

fn short_option<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(|text| tamed(&text)))
}

impl ErrorBody {
    /// The refusal that these two words make.
    pub fn said(error: &str, error_description: Option<String>) -> Self {
        Self { error: tamed(error), error_description, ..Self::default() }
    }
}

impl oauth2::ErrorResponse for ErrorBody {}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.aadsts() {
            Some(number) => write!(f, "AADSTS{number} ({})", self.error),
            None => f.write_str(&self.error),
        }
    }
}

impl ErrorBody {
    /// The AADSTS number, from the list or from the head of the description.
    pub fn aadsts(&self) -> Option<u64> {
        self.error_codes.first().copied().or_else(|| {
            let digits = self.error_description.as_deref()?.strip_prefix("AADSTS")?;
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            digits.get(..end)?.parse().ok()
        })
    }

    /// The first sentence of the description, without control characters, at most 200 characters.
    pub fn first_line(&self) -> String {
        let text = self.error_description.as_deref().unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        let end = line.find(" Trace ID:").unwrap_or(line.len());
        line.get(..end).unwrap_or(line).chars().filter(|c| !c.is_control()).take(200).collect()
    }
}

/// What a refusal means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// Whose move it is.
    pub whose: Whose,
    /// How long to leave the token service alone, if it is nobody's.
    pub wait: Option<Duration>,
}

/// Judges an error body by its OAuth error and the HTTP status; `delegated` is whether a person's sign-in was presented.
///
/// Whether it passes by itself is never the number's to say. Whose move it is otherwise, the catalogue knows by the number, or by the
/// error where it does not know that; all else is the administrator's. Without a person there is only the latter.
pub fn judge(body: &ErrorBody, status: u16, retry_after: Option<Duration>, delegated: bool) -> Meaning {
    let nobody = |wait| Meaning { whose: Whose::Nobody, wait };
    if status == 429 || status >= 500 {
        return nobody(retry_after);
    }
    match body.error.as_str() {
        "temporarily_unavailable" | "server_error" | "slow_down" => return nobody(retry_after),
        // AADSTS50196 says that the same request came in a loop; asking again within a minute prolongs it.
        _ if body.aadsts() == Some(50196) => {
            return nobody(Some(retry_after.unwrap_or(Duration::from_secs(60))));
        }
        _ => {}
    }
    let by_number = body.aadsts().and_then(catalogue::aadsts);
    let mut known = by_number.into_iter().chain(catalogue::oauth_error(&body.error)).map(|entry| entry.whose);
    let whose = known.find(|whose| delegated && *whose != Whose::Nobody).unwrap_or(Whose::Administrator);
    Meaning { whose, wait: None }
}

/// What to do about an AADSTS number or, where there is none that the catalogue knows, about the OAuth error.
pub fn remedy(body: &ErrorBody, account: Option<&str>) -> String {
    let entry = match body.aadsts().and_then(catalogue::aadsts) {
        Some(entry) => Some(entry),
        None => catalogue::oauth_error(&body.error),
    };
    match entry {
        // No person can mend what the application was refused.
        Some(entry) if entry.whose == Whose::User && account.is_none() => {
            "Look at the application's registration in the Entra admin centre.".to_owned()
        }
        Some(entry) => entry.remedy_line(&Places { mailbox: account, ..Places::default() }),
        None => "Look the number up at https://login.microsoftonline.com/error.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(error: &str, aadsts: Option<u64>) -> ErrorBody {
        ErrorBody {
            error: error.to_owned(),
            error_description: aadsts.map(|n| format!("AADSTS{n}: It says why. Trace ID: 1\r\nCorrelation ID: 2")),
            error_codes: Vec::new(),
            suberror: None,
            trace_id: None,
            correlation_id: None,
        }
    }

    #[test]
    fn what_passes_by_itself_is_told_from_what_someone_must_mend() {
        let minute = Some(Duration::from_secs(60));
        for (error, aadsts, status, delegated, whose) in [
            ("temporarily_unavailable", Some(90_006), 400, true, Whose::Nobody),
            ("invalid_grant", Some(700_082), 503, true, Whose::Nobody), // an outage that speaks like a refusal
            ("invalid_client", Some(7_000_215), 429, false, Whose::Nobody),
            ("invalid_request", Some(50_196), 400, false, Whose::Nobody),
            ("invalid_client", Some(7_000_222), 401, false, Whose::Administrator),
            ("invalid_grant", Some(700_082), 400, true, Whose::User),
            ("invalid_grant", None, 400, true, Whose::User),
            ("invalid_grant", Some(53_003), 400, true, Whose::Administrator),
            ("invalid_scope", Some(70_011), 400, true, Whose::Administrator),
            ("nonsense", None, 400, true, Whose::Administrator),
            // The number tells the administrator's move from the user's, and nothing else.
            ("invalid_grant", Some(50_057), 400, true, Whose::Administrator),
            ("invalid_grant", Some(65_001), 400, true, Whose::Administrator),
            ("interaction_required", Some(50_076), 400, true, Whose::User),
            ("access_denied", Some(65_004), 400, true, Whose::User),
            ("invalid_grant", Some(90_006), 400, true, Whose::User),
            ("invalid_grant", Some(700_082), 400, false, Whose::Administrator),
            ("invalid_grant", Some(9_999_999), 400, true, Whose::User),
            ("login_required", None, 400, true, Whose::User),
            ("consent_required", None, 400, true, Whose::Administrator),
        ] {
            assert_eq!(
                judge(&body(error, aadsts), status, minute, delegated).whose,
                whose,
                "{error} {aadsts:?} {status}"
            );
        }
        assert_eq!(judge(&body("x", None), 429, minute, false).wait, minute);
    }

    #[test]
    fn the_description_is_cut_to_its_first_sentence_and_its_number_read() {
        let body = body("invalid_client", Some(7_000_222));
        assert_eq!(body.aadsts(), Some(7_000_222));
        assert_eq!(body.first_line(), "AADSTS7000222: It says why.");
        assert_eq!(body.to_string(), "AADSTS7000222 (invalid_client)");
    }
    #[test]
    fn the_remedy_is_the_catalogues_with_the_account_in_it() {
        let remedy = |error, aadsts, account| super::remedy(&body(error, aadsts), account);
        let account = Some("alice@contoso.test");
        assert!(
            remedy("invalid_grant", Some(700_082), account).contains("`postern mailbox connect alice@contoso.test")
        );
        assert!(remedy("invalid_client", Some(7_000_222), None).contains("Certificates & secrets, New client secret"));
        assert!(remedy("invalid_grant", Some(50_105), account).contains("add alice@contoso.test."));
        assert!(
            remedy("invalid_grant", Some(9_999_999), account).contains("connect alice@contoso.test"),
            "by its class"
        );
        assert!(remedy("login_required", None, account).contains("connect alice@contoso.test"));
        assert!(remedy("invalid_scope", None, None).contains("`scopes`"));
        assert!(!remedy("invalid_grant", None, None).contains("connect"), "nobody signs in for the application");
        assert!(remedy("nonsense", None, None).contains("https://login.microsoftonline.com/error"));
        for entry in catalogue::entries().filter(|entry| entry.area == catalogue::Area::Entra) {
            let number = entry.code.strip_prefix("AADSTS").and_then(|number| number.parse().ok());
            for remedy in [remedy("invalid_grant", number, account), remedy("invalid_client", number, None)] {
                assert!(!remedy.contains(['\n', '{']) && remedy.ends_with('.'), "{}: {remedy}", entry.code);
            }
        }
    }
}
