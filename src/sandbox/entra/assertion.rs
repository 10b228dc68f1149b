//! Client assertions (RFC 7523): signed with a registered certificate, or by an external issuer that is trusted.

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::sandbox::entra::credentials::{
    FEDERATED_AUDIENCE, FEDERATED_KEY_ID, FEDERATED_SUBJECT, Registered, Thumbprint, thumbprint_shown,
};
use crate::sandbox::entra::record::ClientAuthentication;
use crate::sandbox::faults::FaultName;
use crate::sandbox::refusal::Refusal;
use crate::sandbox::tenant::Tenant;

/// The only kind of assertion there is here.
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// By how much clocks may differ.
const SKEW_SECS: i64 = 300;

/// The longest that an assertion of the application's own may be good for.
const LONGEST_SECS: i64 = 24 * 3600;

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    x5t: Option<String>,
    #[serde(rename = "x5t#S256")]
    x5t_s256: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audiences,
    exp: i64,
    nbf: Option<i64>,
    iat: Option<i64>,
    jti: Option<String>,
}

/// One audience, or a list with one or more.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    List(Vec<String>),
}

impl Audiences {
    fn contain(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::List(list) => list.iter().any(|one| one == audience),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::One(one) => one.clone(),
            Self::List(list) => list.join(" "),
        }
    }
}

/// An assertion taken apart (RFC 7515, section 3.1), its signature not yet verified.
struct Assertion<'a> {
    header: Header,
    claims: Claims,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Assertion<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        Some(Self { header: part(header)?, claims: part(claims)?, signed, signature })
    }

    fn thumbprint(&self) -> Option<Thumbprint<'_>> {
        let sha1 = self.header.x5t.as_deref().map(Thumbprint::Sha1);
        self.header.x5t_s256.as_deref().map(Thumbprint::Sha256).or(sha1)
    }

    fn is_signed_by(&self, public_key: &[u8]) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match self.header.alg.as_str() {
            "PS256" => &RSA_PSS_2048_8192_SHA256,
            "RS256" => &RSA_PKCS1_2048_8192_SHA256,
            _ => return false,
        };
        UnparsedPublicKey::new(algorithm, public_key).verify(self.signed.as_bytes(), &self.signature).is_ok()
    }

    /// Whether it is good now, and not for longer than so many seconds altogether.
    fn check_time(&self, longest_secs: i64) -> Result<(), Refusal> {
        let now = Utc::now().timestamp();
        let Claims { exp, nbf, iat, .. } = self.claims;
        let from = nbf.or(iat).unwrap_or(now);
        if from <= now + SKEW_SECS && exp > now - SKEW_SECS && exp.saturating_sub(from) <= longest_secs {
            return Ok(());
        }
        let shown = |secs| {
            let moment = DateTime::from_timestamp(secs, 0);
            moment
                .map(|moment: DateTime<Utc>| moment.format("%Y-%m-%dT%H:%M:%S.0000000Z").to_string())
                .unwrap_or_default()
        };
        Err(Refusal::of(700_024).saying(format!(
            "Client assertion is not within its valid time range. Current time: {}, assertion valid from {}, expiry \
             time of assertion {}.",
            shown(now),
            shown(from),
            shown(exp)
        )))
    }
}

fn part<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// What kind of assertion this is, whether or not it is good.
pub(super) fn kind(text: &str) -> ClientAuthentication {
    let Some(assertion) = Assertion::read(text) else { return ClientAuthentication::Unreadable };
    match (assertion.header.alg.as_str(), assertion.thumbprint()) {
        ("PS256", Some(_)) => ClientAuthentication::CertificatePs256,
        ("RS256", Some(Thumbprint::Sha256(_))) => ClientAuthentication::CertificateRs256,
        ("RS256", Some(Thumbprint::Sha1(_))) => ClientAuthentication::CertificateRs256Sha1,
        (_, None) if assertion.claims.iss != assertion.claims.sub => ClientAuthentication::Federated,
        _ => ClientAuthentication::Unreadable,
    }
}

/// Whether an assertion proves that it is from this application.
pub(super) fn check(tenant: &Tenant, client_id: &str, text: &str) -> Result<(), Refusal> {
    let assertion = Assertion::read(text).ok_or_else(|| Refusal::of(50_027))?;
    let algorithm = assertion.header.alg.as_str();
    if !matches!(algorithm, "PS256" | "RS256") {
        return Err(Refusal::of(5_002_738).saying(format!(
            "Invalid JWT token. '{algorithm}' is not a supported signature algorithm. Supported signing algorithms are: \
             'RS256, PS256'"
        )));
    }
    match assertion.thumbprint() {
        Some(thumbprint) => check_certificate(tenant, client_id, &assertion, thumbprint),
        None if assertion.claims.iss == client_id => Err(unverified("The key was not found.", "")),
        None => check_federated(tenant, &assertion),
    }
}

fn check_certificate(
    tenant: &Tenant,
    client_id: &str,
    assertion: &Assertion<'_>,
    thumbprint: Thumbprint<'_>,
) -> Result<(), Refusal> {
    let (Thumbprint::Sha1(named) | Thumbprint::Sha256(named)) = thumbprint;
    let certificate = tenant
        .credentials
        .find(thumbprint)
        .ok_or_else(|| unverified("The key was not found.", &thumbprint_shown(named)))?;
    check_valid(tenant, &certificate)?;
    if assertion.header.alg == "PS256" && tenant.faults.holds(FaultName::AssertionRs256Only) {
        let reason = "Key was found, but use of the key to verify the signature failed.";
        return Err(unverified(reason, &certificate.thumbprint()));
    }
    if !assertion.is_signed_by(&certificate.public_key) {
        let reason = "The provided signature value did not match the expected signature value.";
        return Err(unverified(reason, &certificate.thumbprint()));
    }
    let claims = &assertion.claims;
    if claims.iss != client_id || claims.sub != client_id {
        return Err(Refusal::of(700_021));
    }
    if !claims.aud.contain(&tenant.token_url()) {
        return Err(Refusal::of(700_023));
    }
    assertion.check_time(LONGEST_SECS)?;
    let jti = claims.jti.as_deref().filter(|jti| !jti.is_empty()).ok_or_else(|| Refusal::of(50_027))?;
    // Nobody has seen Entra ID look at it, but it asks for one that is unique: who repeats an assertion shall notice.
    if !tenant.credentials.first_time(jti) {
        return Err(Refusal::of(50_013).saying("Assertion is invalid: its 'jti' has been presented before."));
    }
    Ok(())
}

fn check_valid(tenant: &Tenant, certificate: &Registered) -> Result<(), Refusal> {
    let now = Utc::now();
    let valid = (certificate.not_before..=certificate.not_after).contains(&now);
    if valid && !tenant.faults.holds(FaultName::CertificateExpired) {
        return Ok(());
    }
    let ended = if valid { now - TimeDelta::days(1) } else { certificate.not_after };
    let shown = |moment: DateTime<Utc>| moment.format("%m/%d/%Y %H:%M:%S").to_string();
    let found = format!("Start={}, End={}", shown(certificate.not_before), shown(ended));
    Err(unverified("The key used is expired.", &format!("{}', Found key '{found}", certificate.thumbprint())))
}

/// 700027 with its reason.
fn unverified(reason: &str, thumbprint: &str) -> Refusal {
    Refusal::of(700_027).saying(format!(
        "Client assertion contains an invalid signature. [Reason - {reason}, Thumbprint of key used by client: \
         '{thumbprint}']"
    ))
}

/// Workload identity federation: issuer, subject and audience must be those of the application's record.
fn check_federated(tenant: &Tenant, assertion: &Assertion<'_>) -> Result<(), Refusal> {
    let claims = &assertion.claims;
    let no_match = |code, what: &str, presented: &str| {
        Refusal::of(code).saying(format!(
            "No matching federated identity record found for presented assertion {what} '{presented}'. Check your \
             federated identity credential Subject, Audience and Issuer against the presented assertion."
        ))
    };
    if tenant.faults.holds(FaultName::FederationMissing) {
        return Err(Refusal::of(70_021).saying(format!(
            "No matching federated identity record found for presented assertion. Assertion Issuer: '{}'. Assertion \
             Subject: '{}'. Assertion Audience: '{}'.",
            claims.iss,
            claims.sub,
            claims.aud.shown()
        )));
    }
    if claims.iss != tenant.credentials.issuer() {
        return Err(no_match(700_211, "issuer", &claims.iss));
    }
    let known_key = assertion.header.kid.as_deref() == Some(FEDERATED_KEY_ID) && assertion.header.alg == "RS256";
    if !known_key || !assertion.is_signed_by(tenant.credentials.issuer_public_key()) {
        return Err(unverified("The key was not found.", assertion.header.kid.as_deref().unwrap_or_default()));
    }
    if !claims.aud.contain(FEDERATED_AUDIENCE) {
        return Err(no_match(700_212, "audience", &claims.aud.shown()));
    }
    if claims.sub != FEDERATED_SUBJECT {
        return Err(no_match(700_213, "subject", &claims.sub));
    }
    // How long they live is the issuer's affair.
    assertion.check_time(i64::MAX)
}
