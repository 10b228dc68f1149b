//! SASL: PLAIN (RFC 4616) and LOGIN in; XOAUTH2 out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroize;

use crate::base::{Mailbox, Secret};

/// Who a client says it is. Both parts are bytes as received: that they are UTF-8 is for `auth` to find out, so that a
/// login that is not is refused like any wrong one.
#[derive(Debug)]
pub struct Claim {
    /// The login name.
    pub login: Vec<u8>,
    /// The app password.
    pub password: Secret<Vec<u8>>,
}

/// A claim is not one that could ever hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedPlain {
    /// The text is not base64 (RFC 4648, section 4).
    #[error("the response is not base64")]
    Base64,
    /// The message does not have exactly three parts.
    #[error("the message does not have three parts")]
    Parts,
    /// One who is authenticated may not act for someone else here.
    #[error("the identity to act as is not the one that logs in")]
    ActsForAnother,
    /// The login name or the password is empty.
    #[error("the login name or the password is empty")]
    Empty,
    /// A CR, LF, NUL or U+0001 is in the login name or the password.
    #[error("a character that could end a line or a SASL string is in the login name or the password")]
    Character,
}

/// A token is not one of RFC 6750, section 2.1, so it cannot stand in a SASL string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the access token is empty, or holds a character that no token has")]
pub struct NotASaslToken;

impl Claim {
    /// Makes a claim of a login name and a password as received.
    ///
    /// # Errors
    ///
    /// One of them is empty, or holds what would end a line or an XOAUTH2 string (RFC 7628, section 3.1).
    pub fn new(login: Vec<u8>, password: Vec<u8>) -> Result<Self, MalformedPlain> {
        let password = Secret::new(password);
        if login.is_empty() || password.expose().is_empty() {
            return Err(MalformedPlain::Empty);
        }
        if login.iter().chain(password.expose()).any(|octet| matches!(octet, b'\r' | b'\n' | 0 | 1)) {
            return Err(MalformedPlain::Character);
        }
        Ok(Self { login, password })
    }
}

/// Reads a PLAIN message, already out of its base64.
///
/// `message = [authzid] UTF8NUL authcid UTF8NUL passwd` (RFC 4616, section 2)
///
/// # Errors
///
/// A client may not act for someone else here: an `authzid` other than the `authcid` (ASCII case ignored) is refused. So is a
/// message of more or fewer parts: nothing is ever cut off at a NUL.
pub fn decode_plain(message: &[u8]) -> Result<Claim, MalformedPlain> {
    let mut parts = message.split(|octet| *octet == 0);
    let (Some(authzid), Some(authcid), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(MalformedPlain::Parts);
    };
    if !authzid.is_empty() && !authzid.eq_ignore_ascii_case(authcid) {
        return Err(MalformedPlain::ActsForAnother);
    }
    Claim::new(authcid.to_vec(), password.to_vec())
}

/// Decodes base64 and nothing that only looks like it: no space, no line end, full padding, no stray bits.
///
/// # Errors
///
/// [`MalformedPlain::Base64`].
pub fn base64_decode_strict(text: &[u8]) -> Result<Secret<Vec<u8>>, MalformedPlain> {
    STANDARD.decode(text).map(Secret::new).map_err(|_| MalformedPlain::Base64)
}

/// The XOAUTH2 response for a mailbox: base64 of `user=` mailbox `^Aauth=Bearer ` token `^A^A`.
///
/// # Errors
///
/// The token is not one of RFC 6750, section 2.1. A [`Mailbox`] never holds a `^A`.
pub fn xoauth2(user: &Mailbox, token: &Secret<String>) -> Result<Secret<String>, NotASaslToken> {
    if !is_b64token(token.expose().as_bytes()) {
        return Err(NotASaslToken);
    }
    let mut message = format!("user={user}\u{1}auth=Bearer {}\u{1}\u{1}", token.expose());
    let response = Secret::new(STANDARD.encode(&message));
    message.zeroize();
    Ok(response)
}

/// `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (RFC 6750, section 2.1)
fn is_b64token(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|octet| **octet == b'=').count();
    let body = token.get(..token.len() - padding).unwrap_or_default();
    !body.is_empty() && body.iter().all(|octet| octet.is_ascii_alphanumeric() || b"-._~+/".contains(octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_has_three_parts_and_nobody_acts_for_another() {
        use MalformedPlain::*;
        for (message, expected) in [
            (&b"\0ann\0pw"[..], Ok("ann")),
            (b"ann\0ann\0pw", Ok("ann")),
            (b"ANN\0ann\0pw", Ok("ann")),
            (b"\0ann\0p w", Ok("ann")),
            (b"\0ann\0\xff", Ok("ann")), // not UTF-8: a wrong password, judged like any other (F23)
            (b"bob\0ann\0pw", Err(ActsForAnother)),
            (b"an\0ann\0pw", Err(ActsForAnother)),
            (b"anna\0ann\0pw", Err(ActsForAnother)),
            (b"", Err(Parts)),
            (b"ann", Err(Parts)),
            (b"ann\0pw", Err(Parts)),
            (b"\0ann\0p\0w", Err(Parts)),
            (b"\0a\0b\0c\0d", Err(Parts)),
            (b"\0ann\0pw\0", Err(Parts)),
            (b"\0ann\0", Err(Empty)),
            (b"\0\0pw", Err(Empty)),
            (b"\0\0", Err(Empty)),
            (b"\0an\rn\0pw", Err(Character)),
            (b"\0ann\0pw\n", Err(Character)),
            (b"\0ann@x\x01auth=Bearer y\0pw", Err(Character)),
            (b"\0ann\0p\x01w", Err(Character)),
        ] {
            let claim = decode_plain(message);
            assert_eq!(
                claim.as_ref().map(|c| c.login.as_slice()).map_err(|e| *e),
                expected.map(str::as_bytes),
                "{message:?}"
            );
        }
        assert_eq!(decode_plain(b"\0ann\0p w").unwrap().password.expose(), b"p w");
    }

    #[test]
    fn base64_is_only_what_rfc_4648_section_4_says() {
        for text in ["", "AA==", "AGFubgBwdw==", "++//"] {
            assert!(base64_decode_strict(text.as_bytes()).is_ok(), "{text}");
        }
        for text in
            ["A", "AA", "AA=", "AA===", "A A=", " AA==", "AA==\r", "AA=A", "=AAA", "-_-_", "AB==", "AA\0=", "*", "="]
        {
            assert_eq!(base64_decode_strict(text.as_bytes()).err(), Some(MalformedPlain::Base64), "{text}");
        }
    }

    #[test]
    fn xoauth2_holds_one_user_and_one_token() {
        let user = "Ann@Contoso.test".parse().unwrap();
        let response = xoauth2(&user, &Secret::new("eyJ0.a-b_c~+/==".into())).unwrap();
        let message = base64_decode_strict(response.expose().as_bytes()).unwrap();
        assert_eq!(message.expose(), b"user=ann@contoso.test\x01auth=Bearer eyJ0.a-b_c~+/==\x01\x01");
    }

    #[test]
    fn a_token_that_could_leave_its_place_is_refused() {
        for token in ["", "=", "==", "a b", "a\r\n", "a\u{1}", "a=b", "é", "a\0", "\"a\""] {
            let user = "ann@contoso.test".parse().unwrap();
            assert_eq!(xoauth2(&user, &Secret::new(token.into())).err(), Some(NotASaslToken), "{token:?}");
        }
    }
}
