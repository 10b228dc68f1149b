//! What Entra ID says when it says no, and what that means: whose move it is, and what to do.
//!
//! The decision rests on the OAuth `error`, the HTTP status and Retry-After (RFC 6749, section 5.2). AADSTS numbers may change and
//! only choose the words for the administrator.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::Whose;

/// The error body of the token service (RFC 6749, section 5.2, with the fields that Entra ID adds).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ErrorBody {
    /// The OAuth error, such as `invalid_grant`.
    pub error: String,
    /// Words for people. Entra ID begins them with `AADSTS` and a number.
    #[serde(default)]
    pub error_description: Option<String>,
    /// The AADSTS numbers.
    #[serde(default)]
    pub error_codes: Vec<u64>,
    /// A finer distinction, such as `consent_required`.
    #[serde(default)]
    pub suberror: Option<String>,
    /// What Microsoft's support asks for.
    #[serde(default)]
    pub trace_id: Option<String>,
    /// Likewise.
    #[serde(default)]
    pub correlation_id: Option<String>,
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
pub fn judge(body: &ErrorBody, status: u16, retry_after: Option<Duration>, delegated: bool) -> Meaning {
    let nobody = |wait| Meaning { whose: Whose::Nobody, wait };
    if status == 429 || status >= 500 {
        return nobody(retry_after);
    }
    match body.error.as_str() {
        "temporarily_unavailable" | "server_error" | "slow_down" => nobody(retry_after),
        // AADSTS50196 says that the same request came in a loop; asking again within a minute prolongs it.
        _ if body.aadsts() == Some(50196) => nobody(Some(retry_after.unwrap_or(Duration::from_secs(60)))),
        "invalid_grant" | "interaction_required" | "login_required" | "consent_required" if delegated => {
            let administrator = matches!(
                body.aadsts(),
                Some(
                    50020 | 50034 | 50053 | 50057 | 50097 | 50105 | 50129 | 50131 | 50155 | 51004 | 53000
                        ..=53003 | 65001 | 530_032 | 530_035
                )
            );
            Meaning { whose: if administrator { Whose::Administrator } else { Whose::User }, wait: None }
        }
        _ => Meaning { whose: Whose::Administrator, wait: None },
    }
}

/// What to do about an AADSTS number or, where there is none that we know, about the OAuth error.
pub fn remedy(body: &ErrorBody, account: Option<&str>) -> String {
    let sign_in_again = || match account {
        Some(account) => format!("Sign in again: `postern mailbox connect {account} --refresh-token-file FILE`."),
        None => "Look at the application's registration in the Entra admin centre.".to_owned(),
    };
    let known = match body.aadsts() {
        Some(7_000_215 | 70_002) => {
            "Enter the secret's value in the file that `client_secret_file` names: often its ID was pasted instead."
        }
        Some(7_000_222) => {
            "The client secret has expired: make a new one in the application's registration and enter its value."
        }
        Some(700_016 | 700_011 | 70_001 | 7_000_112) => {
            "Check `client_id`, `tenant_id` and `cloud`; the application must exist in this tenant and be enabled."
        }
        Some(90_002) => "Check `tenant_id` and `cloud`.",
        Some(7_000_218) => {
            "Name the credential of the application (`client_secret_file`), or allow public client flows."
        }
        Some(700_025) => "Remove the client secret from the configuration: the application is a public client.",
        Some(700_027 | 50_012) => "Upload the current certificate of the application and check this machine's clock.",
        Some(70_011 | 1_002_012) => {
            "The scope must be one resource with `/.default`: remove `scopes` from the configuration."
        }
        Some(700_022 | 28_000) => "Name scopes of one resource only for each protocol.",
        Some(9_001_023 | 50_194 | 50_059 | 90_019) => {
            "Enter the tenant's own ID as `tenant_id`, not `common` or `consumers`."
        }
        Some(65_001 | 65_005 | 650_056 | 650_057 | 90_094 | 90_095) => {
            "Grant the permissions in the application's registration (API permissions, Grant admin consent)."
        }
        Some(50_057) => "Enable the account in Entra ID, or take the mailbox off the list.",
        Some(50_053) => {
            "Unblock the account, or the address of this machine; the sign-in log in Entra ID has the reason."
        }
        Some(50_105) => "Assign the account to the application, or switch off «Assignment required».",
        Some(53_000..=53_003 | 530_032 | 50_131 | 50_097 | 50_129 | 50_155) => {
            "A Conditional Access policy forbids it: the sign-in log in Entra ID names the policy. Exclude this application or this \
             machine's address from it."
        }
        Some(90_038 | 90_043 | 900_382 | 900_432) => "Choose the right `cloud` for this tenant.",
        _ => "",
    };
    if known.is_empty() {
        match body.error.as_str() {
            "invalid_grant" | "interaction_required" | "login_required" => sign_in_again(),
            "invalid_client" | "unauthorized_client" => {
                "Check `client_id` and the client's secret in the configuration.".to_owned()
            }
            "invalid_scope" | "invalid_resource" => "Check `scopes` and `cloud` in the configuration.".to_owned(),
            _ => "Look the number up at https://login.microsoftonline.com/error.".to_owned(),
        }
    } else {
        known.to_owned()
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
}
