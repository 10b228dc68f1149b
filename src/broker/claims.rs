//! What an access token says of itself. It is never trusted: Exchange decides. It only lets a mistake be told in words.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::broker::AccessToken;

/// The claims of an access token that is a JWT (RFC 7519); tokens of personal accounts and of other issuers are none.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Claims {
    /// The resource that it is for.
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// The application that it was issued to.
    pub appid: Option<String>,
    /// An address of the user. It need not be the name that they sign in with, but some issuers say no other.
    pub email: Option<String>,
    /// The end, in seconds since 1970.
    pub exp: Option<i64>,
    /// The beginning, in seconds since 1970.
    pub nbf: Option<i64>,
    /// The object ID of the user or of the enterprise application.
    pub oid: Option<String>,
    /// Another name of the user.
    pub preferred_username: Option<String>,
    /// The permissions of an application.
    pub roles: Vec<String>,
    /// The permissions of a user, separated by spaces.
    pub scp: Option<String>,
    /// The tenant.
    pub tid: Option<String>,
    /// Another name of the user.
    pub unique_name: Option<String>,
    /// The name that the user signs in with.
    pub upn: Option<String>,
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

impl Claims {
    /// Reads what stands in a token; `None` if it is no JWT.
    pub(in crate::broker) fn read(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return None;
        };
        let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        // A list would be taken for the fields in their order.
        if payload.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        serde_json::from_slice(&payload).ok()
    }

    /// The name that the user signed in with, as far as it is said.
    pub fn user(&self) -> Option<&str> {
        let names = [&self.upn, &self.preferred_username, &self.unique_name, &self.email];
        names.into_iter().flatten().map(String::as_str).next()
    }

    /// Whether the user is this one, by any of the names; true where none is said.
    pub(in crate::broker) fn is_user(&self, account: &str) -> bool {
        let names = [&self.upn, &self.preferred_username, &self.unique_name, &self.email];
        let mut said = names.into_iter().flatten().peekable();
        said.peek().is_none() || said.any(|name| name.eq_ignore_ascii_case(account))
    }
}

impl AccessToken {
    /// What the token says of itself, if it can be read.
    pub fn claims(&self) -> Option<Claims> {
        Claims::read(self.expose().expose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_token_is_read_if_it_is_one_that_can_be() {
        let claims =
            Claims::read(&token(r#"{"aud":"https://outlook.office365.com","roles":["IMAP.AccessAsApp"],"exp":9}"#));
        let claims = claims.unwrap();
        assert_eq!((claims.aud[0].as_str(), claims.exp), ("https://outlook.office365.com", Some(9)));
        assert_eq!(Claims::read(&token(r#"{"aud":["a","b"]}"#)).unwrap().aud, ["a", "b"]);
        for opaque in ["EwA4A8l6BAAU", "a.b", "a.b.c.d", "..", "e30.!!.x", &token("[]"), &token("nonsense")] {
            assert_eq!(Claims::read(opaque), None, "{opaque}");
        }
    }

    #[test]
    fn another_user_is_told_from_the_same_one_by_any_name_and_from_an_unnamed_one() {
        for (payload, alice) in [
            (r#"{"upn":"Alice@contoso.test"}"#, true),
            (r#"{"upn":"a.smith@contoso.test","unique_name":"alice@contoso.test"}"#, true),
            (r#"{"upn":"bob@contoso.test"}"#, false),
            (r#"{"upn":"a.smith@contoso.test","email":"alice@contoso.test"}"#, true),
            (r#"{"email":"alice@contoso.test"}"#, true),
            (r#"{"email":"bob@contoso.test"}"#, false),
            (r#"{"roles":[]}"#, true),
        ] {
            assert_eq!(Claims::read(&token(payload)).unwrap().is_user("alice@contoso.test"), alice, "{payload}");
        }
    }
}
