//! The sign-in page, the way back from it, and the code.

use std::collections::BTreeMap;

use serde_json::Value;
use url::Url;

use crate::sandbox::entra::tests::ask;
use crate::sandbox::tests::{ALICE, BOB, raw_request, start, start_with, xoauth2};
use crate::sandbox::{FaultName, Sandbox};

const REDIRECT: &str = "http://localhost:49152";
const SCOPE: &str =
    "https://outlook.office.com/IMAP.AccessAsUser.All https://graph.microsoft.com/Mail.Send offline_access";
const IMAP: &str = "https://outlook.office.com/IMAP.AccessAsUser.All";
// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

type Fields<'a> = Vec<(&'a str, &'a str)>;

fn request<'a>(sandbox: &'a Sandbox) -> Fields<'a> {
    vec![
        ("client_id", sandbox.public_client_id()),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("scope", SCOPE),
        ("state", "a <state> & more"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]
}

/// The request with one parameter changed, or left out where the value is empty.
fn with<'a>(mut fields: Fields<'a>, name: &'a str, value: &'a str) -> Fields<'a> {
    fields.retain(|(key, _)| *key != name);
    if !value.is_empty() {
        fields.push((name, value));
    }
    fields
}

/// Opens the sign-in page: status, where it leads, and the page.
async fn browse(sandbox: &Sandbox, fields: &[(&str, &str)]) -> (u16, Option<Url>, String) {
    let url = Url::parse_with_params(&sandbox.authorize_url(), fields).unwrap();
    answered(raw_request(url.as_str(), "GET", "", "").await)
}

fn answered((status, head, body): (u16, String, String)) -> (u16, Option<Url>, String) {
    let location = head.lines().find_map(|line| line.strip_prefix("location: ")).map(|url| url.parse().unwrap());
    (status, location, body)
}

/// Presses a button of the page, as a browser would: every hidden field is sent along.
async fn press(sandbox: &Sandbox, page: &str, button: (&str, &str)) -> (u16, Option<Url>, String) {
    let attribute = |tag: &str, name: &str| {
        let value = tag.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap();
        value
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&amp;", "&")
    };
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for tag in page.split("<input type=\"hidden\"").skip(1) {
        form.append_pair(&attribute(tag, "name"), &attribute(tag, "value"));
    }
    form.append_pair(button.0, button.1);
    let action = attribute(page.split("<form").nth(1).unwrap(), "action");
    let url = Url::parse(&sandbox.authorize_url()).unwrap().join(&action).unwrap();
    let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
    answered(raw_request(url.as_str(), "POST", headers, &form.finish()).await)
}

fn parameters(url: &Url) -> BTreeMap<String, String> {
    url.query_pairs().into_owned().collect()
}

/// Signs in at once; the code.
async fn code(sandbox: &Sandbox, fields: &[(&str, &str)]) -> String {
    sandbox.faults().set(FaultName::AuthorizeAs, Some(ALICE)).unwrap();
    let (status, location, page) = browse(sandbox, fields).await;
    assert_eq!(status, 302, "{page}");
    parameters(&location.unwrap())["code"].clone()
}

fn redemption<'a>(sandbox: &'a Sandbox, code: &'a str) -> Fields<'a> {
    vec![
        ("grant_type", "authorization_code"),
        ("client_id", sandbox.public_client_id()),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
        ("scope", IMAP),
    ]
}

fn number(body: &Value) -> u64 {
    body["error_codes"][0].as_u64().unwrap_or_default()
}

#[tokio::test]
async fn a_user_is_chosen_on_the_page_and_the_browser_comes_back_with_a_code_that_opens_the_mailbox() {
    let sandbox = start().await;
    let (status, location, page) = browse(&sandbox, &with(request(&sandbox), "login_hint", BOB)).await;
    assert_eq!((status, location), (200, None));
    let first = page.find("<button").unwrap();
    assert!(page[first..].starts_with(&format!("<button name=\"user\" value=\"{BOB}\">")), "{page}");
    assert!(page.contains(ALICE) && !page.contains("<script"));

    let (status, location, _) = press(&sandbox, &page, ("user", ALICE)).await;
    let location = location.unwrap();
    assert_eq!(status, 302);
    assert!(location.as_str().starts_with("http://localhost:49152/?code="), "{location}");
    let back = parameters(&location);
    assert_eq!(back["state"], "a <state> & more");
    assert_eq!(back["session_state"].len(), 36);

    let (status, body) = ask(&sandbox, &redemption(&sandbox, &back["code"])).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["scope"], IMAP);
    let token = body["access_token"].as_str().unwrap();
    let entry = sandbox.tenant.enter(crate::base::Protocol::Imap, xoauth2(ALICE, token).as_bytes()).unwrap();
    assert_eq!((entry.mailbox.as_str(), entry.no_right), (ALICE, false));

    // One sign-in, many resources.
    let refresh_token = body["refresh_token"].as_str().unwrap();
    let graph = [
        ("grant_type", "refresh_token"),
        ("client_id", sandbox.public_client_id()),
        ("refresh_token", refresh_token),
        ("scope", "https://graph.microsoft.com/Mail.Send"),
    ];
    let (status, body) = ask(&sandbox, &graph).await;
    assert_eq!((status, &body["scope"]), (200, &"https://graph.microsoft.com/Mail.Send".into()));
    let tally = sandbox.tally();
    assert_eq!(tally.authorizations.len(), 1);
    assert_eq!(tally.authorizations[0]["login_hint"], BOB);
    assert_eq!(tally.token_requests["authorization_code"], 1);
}

#[tokio::test]
async fn whoever_cancels_sends_the_application_back_with_the_reason() {
    let sandbox = start().await;
    let page = browse(&sandbox, &request(&sandbox)).await.2;
    let (status, location, _) = press(&sandbox, &page, ("deny", "1")).await;
    let back = parameters(&location.unwrap());
    assert_eq!((status, back["error"].as_str(), back["state"].as_str()), (302, "access_denied", "a <state> & more"));
    assert!(back["error_description"].starts_with("AADSTS65004: ") && back["error_uri"].ends_with("code=65004"));
    assert!(!back.contains_key("code"));

    sandbox.faults().set(FaultName::AuthorizeError, Some("90094")).unwrap();
    let (status, location, _) = browse(&sandbox, &request(&sandbox)).await;
    let back = parameters(&location.unwrap());
    assert_eq!((status, back["error"].as_str()), (302, "access_denied"));
    assert!(back["error_description"].starts_with("AADSTS90094: "));
}

#[tokio::test]
async fn nobody_is_sent_to_an_address_that_does_not_belong_to_the_application() {
    let sandbox = start_with(&[(FaultName::AuthorizeAs, Some(ALICE))]).await;
    let fields = request(&sandbox);
    for (wrong, number) in [
        (with(fields.clone(), "client_id", ""), "AADSTS900144: "),
        (with(fields.clone(), "client_id", "someone-else"), "AADSTS700016: "),
        (with(fields.clone(), "redirect_uri", ""), "AADSTS900971: "),
        (with(fields.clone(), "redirect_uri", "https://evil.test/"), "AADSTS50011: "),
        (with(fields.clone(), "redirect_uri", "http://localhost:49152/other"), "AADSTS50011: "),
        ([fields.clone(), vec![("state", "twice")]].concat(), "AADSTS9000411: "),
    ] {
        let (status, location, page) = browse(&sandbox, &wrong).await;
        assert_eq!((status, location), (400, None), "{wrong:?}");
        assert!(page.contains(number), "{number}: {page}");
    }
    for (tenant, number) in [("common", "AADSTS50194: "), ("contoso.example", "AADSTS90002: ")] {
        let url =
            Url::parse_with_params(&sandbox.authorize_url().replace(sandbox.tenant_id(), tenant), &fields).unwrap();
        let (status, location, page) = answered(raw_request(url.as_str(), "GET", "", "").await);
        assert!(status == 400 && location.is_none() && page.contains(number), "{page}");
    }
    assert!(sandbox.register_redirect_uri("http://localhost/other"));
    assert_eq!(browse(&sandbox, &with(fields, "redirect_uri", "http://localhost:49152/other")).await.0, 302);
    sandbox.faults().set(FaultName::AuthorizeAs, Some("nobody@contoso.test")).unwrap();
    let (status, _, page) = browse(&sandbox, &request(&sandbox)).await;
    assert!(status == 400 && page.contains("AADSTS50034: "), "{page}");
}

#[tokio::test]
async fn what_is_wrong_with_the_request_itself_is_told_to_the_application() {
    let sandbox = start().await;
    for (name, value, error, number) in [
        ("response_type", "", "invalid_request", "AADSTS900144: "),
        ("response_type", "token", "unsupported_response_type", "AADSTS700054: "),
        ("response_mode", "fragment", "invalid_request", "AADSTS70007: "),
        ("scope", "", "invalid_request", "AADSTS900144: "),
        ("scope", "https://wrong.test/.default", "invalid_resource", "AADSTS500011: "),
        ("scope", "https://outlook.office.com/EWS.AccessAsUser.All", "invalid_client", "AADSTS650053: "),
        ("code_challenge", "short", "invalid_request", "AADSTS501491: "),
        ("code_challenge_method", "S512", "invalid_request", "AADSTS9002313: "),
        ("prompt", "none", "login_required", "AADSTS50058: "),
    ] {
        let (status, location, _) = browse(&sandbox, &with(request(&sandbox), name, value)).await;
        let back = parameters(&location.unwrap());
        assert_eq!((status, back["error"].as_str()), (302, error), "{name}={value}");
        assert!(back["error_description"].starts_with(number), "{name}={value}: {back:?}");
        assert_eq!(back["state"], "a <state> & more");
    }
}

#[tokio::test]
async fn a_code_is_good_once_for_its_application_its_address_and_its_verifier() {
    let sandbox = start().await;
    let given = code(&sandbox, &request(&sandbox)).await;
    let fields = redemption(&sandbox, &given);
    let (id, secret) = (sandbox.client_id(), sandbox.client_secret());
    let other = [with(fields.clone(), "client_id", id), vec![("client_secret", secret)]].concat();
    let two = format!("{IMAP} https://graph.microsoft.com/Mail.Send");
    for (wrong, expected) in [
        (with(fields.clone(), "code", ""), 900_144),
        (with(fields.clone(), "code", "made-up"), 70_000),
        (other, 70_000),
        (with(fields.clone(), "redirect_uri", ""), 900_144),
        (with(fields.clone(), "redirect_uri", "http://localhost:49152/"), 500_112),
        (with(fields.clone(), "code_verifier", ""), 501_481),
        (with(fields.clone(), "code_verifier", CHALLENGE), 501_481),
        (with(fields.clone(), "scope", &two), 700_022),
        ([fields.clone(), vec![("client_secret", secret)]].concat(), 700_025),
        (with(fields.clone(), "client_id", id), 7_000_218),
    ] {
        assert_eq!(number(&ask(&sandbox, &wrong).await.1), expected, "{wrong:?}");
    }
    assert_eq!(ask(&sandbox, &fields).await.0, 200);
    let (status, body) = ask(&sandbox, &fields).await;
    assert_eq!((status, body["error"].as_str(), number(&body)), (400, Some("invalid_grant"), 54_005));

    sandbox.faults().set(FaultName::CodeLifetime, Some("0")).unwrap();
    let late = code(&sandbox, &request(&sandbox)).await;
    assert_eq!(number(&ask(&sandbox, &redemption(&sandbox, &late)).await.1), 70_008);
}

#[tokio::test]
async fn a_refresh_token_is_given_only_to_a_sign_in_that_asked_for_offline_access() {
    let sandbox = start().await;
    let given = code(&sandbox, &with(request(&sandbox), "scope", IMAP)).await;
    let body = ask(&sandbox, &redemption(&sandbox, &given)).await.1;
    assert!(body["access_token"].is_string() && body.get("refresh_token").is_none(), "{body}");

    // Without a scope in the token request the resource counts that was named first.
    let given = code(&sandbox, &request(&sandbox)).await;
    let body = ask(&sandbox, &with(redemption(&sandbox, &given), "scope", "")).await.1;
    assert_eq!(body["scope"], IMAP);
    assert!(body["refresh_token"].is_string());

    sandbox.faults().set(FaultName::ConsentMissing, Some("IMAP.AccessAsUser.All")).unwrap();
    let given = code(&sandbox, &request(&sandbox)).await;
    assert_eq!(number(&ask(&sandbox, &redemption(&sandbox, &given)).await.1), 65_001);
}

#[tokio::test]
async fn the_application_with_a_secret_proves_itself_with_its_code_and_may_leave_pkce_out() {
    let sandbox = start().await;
    let (id, secret) = (sandbox.client_id(), sandbox.client_secret());
    let fields = with(with(request(&sandbox), "client_id", id), "code_challenge", "");
    let given = code(&sandbox, &fields).await;
    let fields = with(with(redemption(&sandbox, &given), "client_id", id), "client_secret", secret);
    // A verifier that nothing was promised for is a sign of an attack (RFC 9700, section 4.8.2).
    assert_eq!(number(&ask(&sandbox, &fields).await.1), 501_481);
    assert_eq!(ask(&sandbox, &with(fields, "code_verifier", "")).await.0, 200);
}

#[tokio::test]
async fn nothing_of_the_request_becomes_markup_on_the_page() {
    let sandbox = start().await;
    let fields = with(request(&sandbox), "state", "\"><script>alert(1)</script>");
    let page = browse(&sandbox, &fields).await.2;
    assert!(!page.contains("<script") && page.contains("&lt;script"), "{page}");
    let (_, location, _) = press(&sandbox, &page, ("user", ALICE)).await;
    assert_eq!(parameters(&location.unwrap())["state"], "\"><script>alert(1)</script>");
    // The page keeps other sites and scripts out.
    let url = Url::parse_with_params(&sandbox.authorize_url(), &fields).unwrap();
    let head = raw_request(url.as_str(), "GET", "", "").await.1;
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
}

#[tokio::test]
async fn an_administrator_consents_on_a_page_and_what_was_missing_is_there() {
    let sandbox = start_with(&[(FaultName::ConsentMissing, Some("IMAP.AccessAsUser.All"))]).await;
    let fields = [
        ("client_id", sandbox.client_id()),
        ("redirect_uri", REDIRECT),
        ("state", "12345"),
        ("scope", "https://ps.outlook.com/.default"),
    ];
    let other = sandbox.admin_consent_url().replace("/v2.0/", "/");
    for address in [sandbox.admin_consent_url(), other] {
        let url = Url::parse_with_params(&address, &fields).unwrap();
        let (status, _, page) = answered(raw_request(url.as_str(), "GET", "", "").await);
        assert!(status == 200 && page.contains("Permissions requested"), "{page}");

        let (status, location, _) = press(&sandbox, &page, ("deny", "1")).await;
        let back = parameters(&location.unwrap());
        assert_eq!((status, back["error"].as_str(), back["state"].as_str()), (302, "consent_required", "12345"));
        let (status, location, _) = press(&sandbox, &page, ("accept", "1")).await;
        let back = parameters(&location.unwrap());
        assert_eq!((status, back["admin_consent"].as_str()), (302, "True"));
        assert_eq!((back["tenant"].as_str(), back["state"].as_str()), (sandbox.tenant_id(), "12345"));
        assert!(!back.contains_key("error"));
    }
    assert!(sandbox.faults().list().is_empty());
    let url = Url::parse_with_params(&sandbox.admin_consent_url(), &fields[..1]).unwrap();
    let (status, _, page) = answered(raw_request(url.as_str(), "GET", "", "").await);
    assert!(status == 400 && page.contains("AADSTS900971: "), "{page}");
}
