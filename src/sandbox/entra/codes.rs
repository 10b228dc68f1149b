//! Authorization codes: made at the sign-in, good once, for a short time, for one application and one address.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use crate::sandbox::SandboxError;
use crate::sandbox::refusal::Refusal;
use crate::sandbox::tokens::random_hex;

/// Who signed in, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SignIn {
    pub(super) user: String,
    /// The scopes as they were asked for.
    pub(super) scopes: String,
}

/// What a code is bound to.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) client_id: String,
    /// As it was sent: the token request must repeat it to the letter.
    pub(super) redirect_uri: String,
    pub(super) challenge: Option<Challenge>,
}

/// Proof that whoever comes with the code has started the sign-in (RFC 7636).
#[derive(Clone, Debug)]
pub(super) enum Challenge {
    /// The verifier itself.
    Plain(String),
    /// Its SHA-256, in base64url.
    S256(String),
}

impl Challenge {
    /// `code_challenge` and `code_challenge_method`; without a method it is `plain` (RFC 7636, section 4.3).
    pub(super) fn read(value: &str, method: Option<&str>) -> Result<Self, Refusal> {
        let unreserved = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet);
        if !(43..=128).contains(&value.len()) || !value.bytes().all(unreserved) {
            return Err(Refusal::of(501_491));
        }
        match method {
            None | Some("plain") => Ok(Self::Plain(value.to_owned())),
            Some("S256") => Ok(Self::S256(value.to_owned())),
            Some(_) => Err(Refusal::of(9_002_313)),
        }
    }

    fn holds(&self, verifier: &str) -> bool {
        match self {
            Self::Plain(challenge) => verifier == challenge,
            Self::S256(challenge) => URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())) == *challenge,
        }
    }
}

/// All codes ever given out: one that comes back a second time is known as such.
#[derive(Default)]
pub(in crate::sandbox) struct Codes(Mutex<HashMap<String, Code>>);

struct Code {
    sign_in: SignIn,
    bound: Bound,
    expires: Instant,
    redeemed: bool,
}

impl Codes {
    /// Makes a code.
    pub(super) fn issue(&self, sign_in: SignIn, bound: Bound, lifetime: Duration) -> Result<String, SandboxError> {
        // Real ones begin like this and are about this long.
        let code = format!("1.AXcode.{}", random_hex(400)?);
        let kept = Code { sign_in, bound, expires: Instant::now() + lifetime, redeemed: false };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(code.clone(), kept);
        Ok(code)
    }

    /// Redeems a code; a refused attempt does not use it up.
    pub(super) fn redeem(
        &self,
        code: &str,
        client_id: &str,
        redirect_uri: &str,
        verifier: Option<&str>,
    ) -> Result<SignIn, Refusal> {
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let code =
            codes.get_mut(code).filter(|code| code.bound.client_id == client_id).ok_or_else(|| Refusal::of(70_000))?;
        if code.redeemed {
            return Err(Refusal::of(54_005));
        }
        if code.expires <= Instant::now() {
            return Err(Refusal::of(70_008));
        }
        if code.bound.redirect_uri != redirect_uri {
            return Err(Refusal::of(500_112).saying(format!(
                "The reply address '{redirect_uri}' does not match the reply address '{}' provided when requesting \
                 Authorization code.",
                code.bound.redirect_uri
            )));
        }
        // A verifier for a code without a challenge is refused too (RFC 9700, section 4.8.2).
        let proved = match (&code.bound.challenge, verifier) {
            (None, None) => true,
            (Some(challenge), Some(verifier)) => challenge.holds(verifier),
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !proved {
            return Err(Refusal::of(501_481));
        }
        code.redeemed = true;
        Ok(code.sign_in.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_and_held_as_in_the_example_of_the_standard() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert!(Challenge::read(challenge, Some("S256")).unwrap().holds(verifier));
        assert!(!Challenge::read(challenge, Some("S256")).unwrap().holds(challenge));
        assert!(Challenge::read(verifier, None).unwrap().holds(verifier));
        for (value, method, code) in [
            ("short", Some("S256"), 501_491),
            ("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM", Some("S256"), 501_491), // base64, not base64url
            (challenge, Some("S512"), 9_002_313),
        ] {
            assert_eq!(Challenge::read(value, method).unwrap_err().code, Some(code), "{value} {method:?}");
        }
    }
}
