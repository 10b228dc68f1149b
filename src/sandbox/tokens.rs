//! Tokens: making them, remembering what each is good for, and deciding what it opens.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use serde_json::json;
use tokio::time::Instant;

use crate::base::Protocol;
use crate::sandbox::SandboxError;

/// What an access token is good for. The mail servers keep this list and take the token itself for opaque.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    pub(super) audience: Audience,
    /// `scp` of a user's token, `roles` of an application's.
    pub(super) permissions: Vec<String>,
    pub(super) holder: Holder,
    pub(super) client_id: String,
    pub(super) expires: Instant,
    pub(super) expires_unix: i64,
}

/// The resource that a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    Exchange,
    Graph,
}

/// Whom a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Application,
    User(String),
}

/// The permission of an application for each protocol.
pub(super) fn role(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Imap => "IMAP.AccessAsApp",
        Protocol::Pop3 => "POP.AccessAsApp",
        Protocol::Smtp => "SMTP.SendAsApp",
    }
}

/// The permission of a user for each protocol.
pub(super) fn scope(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Imap => "IMAP.AccessAsUser.All",
        Protocol::Pop3 => "POP.AccessAsUser.All",
        Protocol::Smtp => "SMTP.Send",
    }
}

/// All tokens of the tenant.
pub(super) struct Tokens {
    tenant_id: String,
    /// The object ID of the enterprise application.
    principal_id: String,
    signer: EcdsaKeyPair,
    random: SystemRandom,
    issued: Mutex<Issued>,
    refresh: Mutex<RefreshTokens>,
}

#[derive(Default)]
struct Issued {
    claims: HashMap<String, Claims>,
    in_order: Vec<String>,
}

#[derive(Default)]
struct RefreshTokens {
    family_of: HashMap<String, usize>,
    families: Vec<Family>,
    used: HashSet<String>,
}

/// The refresh tokens that descend from one sign-in.
struct Family {
    user: String,
    /// The application that signed in; a seeded sign-in belongs to the one that first comes with it.
    client_id: Option<String>,
    revoked: bool,
}

/// Why a refresh token was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefreshRefusal {
    Unknown,
    Revoked,
    OtherClient,
}

impl Tokens {
    pub(super) fn new(tenant_id: String) -> Result<Self, SandboxError> {
        let signer = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| SandboxError::Random)?;
        Ok(Self {
            tenant_id,
            principal_id: guid()?,
            signer,
            random: SystemRandom::new(),
            issued: Mutex::default(),
            refresh: Mutex::default(),
        })
    }

    /// The object ID of the enterprise application.
    pub(super) fn principal_id(&self) -> &str {
        &self.principal_id
    }

    /// The object ID of a user: always the same one.
    fn user_id(&self, address: &str) -> String {
        let digest = digest(&SHA256, format!("{} {address}", self.tenant_id).as_bytes());
        let hex: String = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        guid_of(&hex)
    }

    /// Makes an access token that lives for `lifetime`, padded to at least `size_characters`.
    pub(super) fn issue(
        &self,
        audience: Audience,
        permissions: Vec<String>,
        holder: Holder,
        client_id: &str,
        lifetime: Duration,
        size_characters: usize,
    ) -> Result<String, SandboxError> {
        let issued_at = Utc::now().timestamp();
        let lifetime_secs = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX / 2);
        let expires_unix = issued_at.saturating_add(lifetime_secs);
        let mut payload = json!({
            "aud": match audience {
                Audience::Exchange => "https://outlook.office365.com",
                Audience::Graph => "https://graph.microsoft.com",
            },
            "iss": format!("https://sts.windows.net/{}/", self.tenant_id),
            "iat": issued_at,
            "nbf": issued_at,
            "exp": expires_unix,
            "appid": client_id,
            "tid": self.tenant_id,
            "uti": random_hex(11)?,
            "ver": "1.0",
        });
        match &holder {
            Holder::Application => {
                payload["idtyp"] = json!("app");
                payload["oid"] = json!(self.principal_id);
                if !permissions.is_empty() {
                    payload["roles"] = json!(permissions);
                }
            }
            Holder::User(address) => {
                payload["oid"] = json!(self.user_id(address));
                payload["upn"] = json!(address);
                payload["unique_name"] = json!(address);
                if !permissions.is_empty() {
                    payload["scp"] = json!(permissions.join(" "));
                }
            }
        }
        let token = self.sign(payload, size_characters)?;
        let expires = Instant::now() + lifetime;
        let claims = Claims { audience, permissions, holder, client_id: client_id.to_owned(), expires, expires_unix };
        let mut issued = lock(&self.issued);
        issued.claims.insert(token.clone(), claims);
        issued.in_order.push(token.clone());
        Ok(token)
    }

    /// A JWT (RFC 7519) of at least `size_characters`.
    fn sign(&self, mut payload: serde_json::Value, size_characters: usize) -> Result<String, SandboxError> {
        let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ES256","kid":"simulated-tenant"}"#);
        // Two dots, and 64 octets of signature in base64.
        let frame = header.len() + 2 + 86;
        payload["wids"] = json!("");
        let bare = payload.to_string().len();
        let wanted = (size_characters.saturating_sub(frame) * 3).div_ceil(4);
        payload["wids"] = json!("x".repeat(wanted.saturating_sub(bare)));
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload.to_string()));
        let signature = self.signer.sign(&self.random, signed.as_bytes()).map_err(|_| SandboxError::Random)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What the token is good for, if we issued it; whether it has expired is for the caller to see.
    pub(super) fn claims(&self, token: &str) -> Option<Claims> {
        lock(&self.issued).claims.get(token).cloned()
    }

    /// Every access token issued so far, the oldest first.
    pub(super) fn all_issued(&self) -> Vec<String> {
        lock(&self.issued).in_order.clone()
    }

    /// A new sign-in of this user to an application; its first refresh token.
    pub(super) fn sign_in(&self, user: &str, client_id: Option<&str>) -> String {
        let mut refresh = lock(&self.refresh);
        let family = refresh.families.len();
        // Nobody guesses here: without random numbers one that is merely unique will do.
        let token = refresh_token().unwrap_or_else(|_| format!("1.AXsimulated.{family}"));
        let client_id = client_id.map(str::to_owned);
        refresh.families.push(Family { user: user.to_ascii_lowercase(), client_id, revoked: false });
        refresh.family_of.insert(token.clone(), family);
        token
    }

    /// Whose sign-in a refresh token is from.
    pub(super) fn user_of(&self, token: &str) -> Option<String> {
        let refresh = lock(&self.refresh);
        let family = refresh.families.get(*refresh.family_of.get(token)?)?;
        Some(family.user.clone())
    }

    /// Redeems a refresh token: its user, and the refresh token to use from now on.
    ///
    /// The old one stays good, as Entra has it, unless `reuse_revokes`: then presenting one a second time revokes all that
    /// descend from the same sign-in (RFC 9700, section 4.14.2).
    pub(super) fn redeem(
        &self,
        token: &str,
        client_id: &str,
        keep: bool,
        reuse_revokes: bool,
    ) -> Result<Result<(String, String), RefreshRefusal>, SandboxError> {
        let next = refresh_token()?;
        let mut refresh = lock(&self.refresh);
        let refresh = &mut *refresh;
        let Some(&number) = refresh.family_of.get(token) else { return Ok(Err(RefreshRefusal::Unknown)) };
        let Some(family) = refresh.families.get_mut(number) else { return Ok(Err(RefreshRefusal::Unknown)) };
        if family.client_id.get_or_insert_with(|| client_id.to_owned()) != client_id {
            return Ok(Err(RefreshRefusal::OtherClient));
        }
        if reuse_revokes && refresh.used.contains(token) {
            family.revoked = true;
        }
        if family.revoked {
            return Ok(Err(RefreshRefusal::Revoked));
        }
        let user = family.user.clone();
        if keep {
            return Ok(Ok((user, token.to_owned())));
        }
        refresh.used.insert(token.to_owned());
        refresh.family_of.insert(next.clone(), number);
        Ok(Ok((user, next)))
    }

    /// Revokes every sign-in of this user, as an administrator would.
    pub(super) fn revoke_sign_ins(&self, user: &str) {
        for family in &mut lock(&self.refresh).families {
            if family.user.eq_ignore_ascii_case(user) {
                family.revoked = true;
            }
        }
    }
}

fn refresh_token() -> Result<String, SandboxError> {
    // Real ones begin like this and are about this long.
    Ok(format!("1.AXsimulated.{}", random_hex(400)?))
}

/// Random octets in hexadecimal.
pub(super) fn random_hex(octets: usize) -> Result<String, SandboxError> {
    let mut random = vec![0; octets];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| SandboxError::Random)?;
    Ok(random.iter().map(|octet| format!("{octet:02x}")).collect())
}

/// A random GUID (RFC 9562, version 4).
pub(super) fn guid() -> Result<String, SandboxError> {
    Ok(guid_of(&random_hex(16)?))
}

/// The first 32 digits in the form of a GUID.
fn guid_of(hex: &str) -> String {
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-4{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_jwt_of_the_size_asked_for_that_says_whom_it_is_for() {
        let tokens = Tokens::new("the-tenant".into()).unwrap();
        for size in [0, 1500, 2500, 4200, 6000] {
            let permissions = vec!["IMAP.AccessAsApp".to_owned()];
            let hour = Duration::from_secs(3600);
            let token = tokens.issue(Audience::Exchange, permissions, Holder::Application, "app", hour, size).unwrap();
            assert!(token.len() >= size && (size == 0 || token.len() < size + 4), "{size}: {}", token.len());
            let payload = token.split('.').nth(1).unwrap();
            let payload: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
            assert_eq!(payload["aud"], "https://outlook.office365.com");
            assert_eq!(payload["roles"][0], "IMAP.AccessAsApp");
            assert_eq!(payload.get("scp"), None);
            assert!(payload["oid"].is_string());
        }
        assert_eq!(tokens.all_issued().len(), 5);
    }

    #[test]
    fn an_old_refresh_token_stays_good_unless_reuse_revokes_the_family() {
        let tokens = Tokens::new("the-tenant".into()).unwrap();
        let first = tokens.sign_in("Alice@contoso.test", None);
        let (user, second) = tokens.redeem(&first, "app", false, false).unwrap().unwrap();
        assert_eq!(user, "alice@contoso.test");
        assert_ne!(first, second);
        assert!(tokens.redeem(&first, "app", false, false).unwrap().is_ok());
        assert_eq!(tokens.redeem(&first, "other", false, false).unwrap(), Err(RefreshRefusal::OtherClient));
        assert_eq!(tokens.redeem("made up", "app", false, false).unwrap(), Err(RefreshRefusal::Unknown));
        assert_eq!(tokens.redeem(&first, "app", false, true).unwrap(), Err(RefreshRefusal::Revoked));
        assert_eq!(tokens.redeem(&second, "app", false, true).unwrap(), Err(RefreshRefusal::Revoked));
    }
}
