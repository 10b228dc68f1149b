//! Client assertions: what is taken, and the number of each mistake.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

use crate::sandbox::entra::tests::{app_fields, ask};
use crate::sandbox::tests::{APP_SCOPE, start};
use crate::sandbox::{ClientAuthentication, FaultName, Sandbox, SandboxError};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Signs as a client does, with the certificate and key that stand in the files.
struct Signer {
    key: RsaKeyPair,
    certificate: Vec<u8>,
}

impl Signer {
    fn of(sandbox: &Sandbox) -> Self {
        Self::from_pem(sandbox.client_certificate_pem(), sandbox.client_key_pem())
    }

    fn from_pem(certificate: &str, key: &str) -> Self {
        let key = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        Self { key: RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap(), certificate: certificate.to_vec() }
    }

    fn header(&self, algorithm: &str) -> Value {
        let sha256 = URL_SAFE_NO_PAD.encode(digest(&SHA256, &self.certificate));
        json!({ "alg": algorithm, "typ": "JWT", "x5t#S256": sha256 })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let padding: &'static dyn RsaEncoding =
            if header["alg"] == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(padding, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Claims that nothing is wrong with, but for those that are changed.
fn claims(sandbox: &Sandbox, jti: &str, changes: &Value) -> Value {
    let now = Utc::now().timestamp();
    let mut claims = json!({
        "aud": sandbox.token_url(), "iss": sandbox.client_id(), "sub": sandbox.client_id(),
        "jti": jti, "nbf": now, "iat": now, "exp": now + 300,
    });
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    claims
}

/// Asks for a token with an assertion; the AADSTS number (0: granted) and the answer.
async fn prove(sandbox: &Sandbox, assertion: &str) -> (u64, Value) {
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", sandbox.client_id()),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion),
        ("scope", APP_SCOPE),
    ];
    let (status, body) = ask(sandbox, &fields).await;
    let number = body["error_codes"][0].as_u64().unwrap_or_default();
    assert_eq!(status == 200, number == 0, "{body}");
    if number != 0 {
        assert_eq!(status, 401, "{body}");
    }
    (number, body)
}

#[tokio::test]
async fn an_assertion_is_taken_in_each_of_its_forms() {
    let sandbox = start().await;
    let signer = Signer::of(&sandbox);
    let mut older = json!({ "alg": "RS256", "typ": "JWT" });
    older["x5t"] = json!(URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &signer.certificate)));
    for (jti, header) in [("1", signer.header("PS256")), ("2", signer.header("RS256")), ("3", older)] {
        let assertion = signer.sign(&header, &claims(&sandbox, jti, &json!({})));
        let (number, body) = prove(&sandbox, &assertion).await;
        assert_eq!(number, 0, "{header}: {body}");
    }
    assert_eq!(ask(&sandbox, &app_fields(&sandbox)).await.0, 200);
    let log = sandbox.tally().token_log;
    let kinds: Vec<_> = log.iter().map(|request| request.authentication).collect();
    use ClientAuthentication::{CertificatePs256, CertificateRs256, CertificateRs256Sha1, Secret};
    assert_eq!(kinds, [CertificatePs256, CertificateRs256, CertificateRs256Sha1, Secret]);
    assert_eq!(
        (log[0].grant.as_str(), log[0].client_id.as_str(), log[0].scope.as_str()),
        ("client_credentials", sandbox.client_id(), APP_SCOPE)
    );
}

#[tokio::test]
async fn each_mistake_in_an_assertion_has_its_number() {
    let sandbox = start().await;
    let signer = Signer::of(&sandbox);
    let now = Utc::now().timestamp();
    for (jti, changes, expected) in [
        ("a", json!({ "aud": sandbox.authorize_url() }), 700_023),
        ("b", json!({ "iss": "someone-else" }), 700_021),
        ("c", json!({ "sub": "someone-else" }), 700_021),
        ("d", json!({ "nbf": now - 3600, "exp": now - 301 }), 700_024),
        ("e", json!({ "nbf": now + 400, "exp": now + 700 }), 700_024),
        ("f", json!({ "exp": now + 25 * 3600 }), 700_024),
        ("g", json!({ "exp": "soon" }), 50_027),
        ("", json!({}), 50_027),
        ("h", json!({ "nbf": now + 60, "exp": now + 360 }), 0), // clocks differ a little
        ("h", json!({}), 50_013),                               // the same jti again
    ] {
        let assertion = signer.sign(&signer.header("PS256"), &claims(&sandbox, jti, &changes));
        let (number, body) = prove(&sandbox, &assertion).await;
        assert_eq!(number, expected, "{changes}: {body}");
    }
    for (header, expected) in [
        (json!({ "alg": "RS256", "x5t#S256": "AAAA" }), 700_027),
        (json!({ "alg": "RS256" }), 700_027),
        (json!({ "alg": "HS256", "x5t#S256": signer.header("")["x5t#S256"] }), 5_002_738),
        (json!({ "alg": "none", "x5t#S256": signer.header("")["x5t#S256"] }), 5_002_738),
    ] {
        let assertion = signer.sign(&header, &claims(&sandbox, "i", &json!({})));
        assert_eq!(prove(&sandbox, &assertion).await.0, expected, "{header}");
    }
    let assertion = signer.sign(&signer.header("PS256"), &claims(&sandbox, "j", &json!({})));
    let (signed, _) = assertion.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode([7; 256]));
    let (number, body) = prove(&sandbox, &forged).await;
    assert_eq!(number, 700_027);
    assert!(body["error_description"].as_str().unwrap().contains("signature value did not match"), "{body}");
    assert_eq!(prove(&sandbox, "a.b.c").await.0, 50_027);
    assert_eq!(prove(&sandbox, &assertion).await.0, 0, "nothing of that has used it up");
    assert_eq!(sandbox.tally().access_tokens.len(), 2);
}

#[tokio::test]
async fn the_kind_of_assertion_has_to_be_named() {
    let sandbox = start().await;
    let signer = Signer::of(&sandbox);
    let assertion = signer.sign(&signer.header("PS256"), &claims(&sandbox, "1", &json!({})));
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", sandbox.client_id()),
        ("client_assertion", assertion.as_str()),
        ("scope", APP_SCOPE),
    ];
    assert_eq!(ask(&sandbox, &fields).await.1["error_codes"][0], 900_144);
    let saml = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer");
    assert_eq!(ask(&sandbox, &[fields.as_slice(), &[saml]].concat()).await.1["error_codes"][0], 9_002_313);
}

#[tokio::test]
async fn another_certificate_is_taken_once_it_is_registered() {
    let sandbox = start().await;
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
    let signer = Signer::from_pem(&certificate, &key.serialize_pem());
    let sign = |jti| signer.sign(&signer.header("PS256"), &claims(&sandbox, jti, &json!({})));
    let (number, body) = prove(&sandbox, &sign("1")).await;
    assert_eq!(number, 700_027);
    assert!(body["error_description"].as_str().unwrap().contains("[Reason - The key was not found., "), "{body}");
    sandbox.register_certificate(&certificate).unwrap();
    assert_eq!(prove(&sandbox, &sign("2")).await.0, 0);
    let elliptic = rcgen::KeyPair::generate().unwrap();
    let elliptic = rcgen::CertificateParams::default().self_signed(&elliptic).unwrap().pem();
    for pem in [elliptic.as_str(), sandbox.client_key_pem(), ""] {
        assert!(matches!(sandbox.register_certificate(pem), Err(SandboxError::NoClientCertificate)));
    }
}

#[tokio::test]
async fn faults_refuse_ps256_an_expired_certificate_and_an_expired_secret() {
    let sandbox = start().await;
    let signer = Signer::of(&sandbox);
    let sign = |jti, algorithm| signer.sign(&signer.header(algorithm), &claims(&sandbox, jti, &json!({})));
    sandbox.faults().set(FaultName::AssertionRs256Only, None).unwrap();
    assert_eq!(prove(&sandbox, &sign("1", "PS256")).await.0, 700_027);
    assert_eq!(prove(&sandbox, &sign("2", "RS256")).await.0, 0);
    sandbox.faults().clear_all();

    sandbox.faults().set(FaultName::CertificateExpired, None).unwrap();
    let (number, body) = prove(&sandbox, &sign("3", "PS256")).await;
    let text = body["error_description"].as_str().unwrap();
    assert!(
        number == 700_027 && text.contains("The key used is expired.") && text.contains("Found key 'Start="),
        "{text}"
    );
    assert_eq!(ask(&sandbox, &app_fields(&sandbox)).await.0, 200, "the secret is another matter");
    sandbox.faults().clear_all();

    sandbox.faults().set(FaultName::SecretExpired, None).unwrap();
    let (status, body) = ask(&sandbox, &app_fields(&sandbox)).await;
    assert_eq!((status, &body["error_codes"][0]), (401, &Value::from(7_000_222)));
    assert_eq!(prove(&sandbox, &sign("4", "PS256")).await.0, 0);
}

#[tokio::test]
async fn a_token_of_the_trusted_issuer_is_as_good_as_a_secret_and_may_be_sent_again() {
    let sandbox = start().await;
    let token = sandbox.federated_token(sandbox.federated_subject()).unwrap();
    for _ in 0..2 {
        let (number, body) = prove(&sandbox, &token).await;
        assert_eq!(number, 0, "{body}");
    }
    assert_eq!(sandbox.tally().token_log[0].authentication, ClientAuthentication::Federated);

    let other = sandbox.federated_token("system:serviceaccount:default:default").unwrap();
    let (number, body) = prove(&sandbox, &other).await;
    assert_eq!(number, 700_213);
    assert!(body["error_description"].as_str().unwrap().contains("'system:serviceaccount:default:default'"), "{body}");

    // Nobody else's key will do, whatever it calls itself.
    let signer = Signer::of(&sandbox);
    let payload = token.split('.').nth(1).unwrap();
    let genuine: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    assert_eq!(prove(&sandbox, &signer.sign(&header, &genuine)).await.0, 700_027);
    let mut stranger = genuine.clone();
    stranger["iss"] = json!("https://issuer.example");
    assert_eq!(prove(&sandbox, &signer.sign(&header, &stranger)).await.0, 700_211);

    sandbox.faults().set(FaultName::FederatedLifetime, Some("0")).unwrap();
    let expired = sandbox.federated_token(sandbox.federated_subject()).unwrap();
    assert_eq!(prove(&sandbox, &expired).await.0, 700_024);
    sandbox.faults().set(FaultName::FederationMissing, None).unwrap();
    let (number, body) = prove(&sandbox, &token).await;
    assert_eq!(number, 70_021);
    assert!(
        body["error_description"].as_str().unwrap().contains("Assertion Subject: 'system:serviceaccount:mail:postern'")
    );
}
