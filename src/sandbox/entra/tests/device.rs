//! Device codes: the polls, the page, and what stands in their way.

use serde_json::Value;
use url::Url;

use crate::sandbox::entra::tests::ask;
use crate::sandbox::tests::{ALICE, post, request, start, start_with};
use crate::sandbox::{FaultName, Sandbox};

const SCOPE: &str = "https://outlook.office.com/IMAP.AccessAsUser.All offline_access";

async fn device_code(sandbox: &Sandbox, fields: &[(&str, &str)]) -> (u16, Value) {
    let (status, _, body) = post(&sandbox.device_url(), fields).await;
    (status, serde_json::from_str(&body).unwrap())
}

/// Asks for a device code; the device code and the user code.
async fn begin(sandbox: &Sandbox) -> (String, String) {
    let (status, body) = device_code(sandbox, &[("client_id", sandbox.public_client_id()), ("scope", SCOPE)]).await;
    assert_eq!(status, 200, "{body}");
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    (text("device_code"), text("user_code"))
}

/// Polls; the AADSTS number (0: granted) and the answer.
async fn poll(sandbox: &Sandbox, device_code: &str) -> (u64, Value) {
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("client_id", sandbox.public_client_id()),
        ("device_code", device_code),
    ];
    let (status, body) = ask(sandbox, &fields).await;
    let number = body["error_codes"][0].as_u64().unwrap_or_default();
    assert_eq!(status == 200, number == 0, "{body}");
    (number, body)
}

#[tokio::test]
async fn the_answer_has_the_fields_of_entra_and_the_code_can_be_typed() {
    let sandbox = start().await;
    let (_, body) = device_code(&sandbox, &[("client_id", sandbox.public_client_id()), ("scope", SCOPE)]).await;
    assert_eq!((&body["expires_in"], &body["interval"]), (&Value::from(900), &Value::from(5)));
    assert_eq!(body["verification_uri"], sandbox.device_login_url());
    let user_code = body["user_code"].as_str().unwrap();
    assert!(user_code.len() == 9 && user_code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()));
    let message = body["message"].as_str().unwrap();
    assert!(message.contains(user_code) && message.contains(&sandbox.device_login_url()), "{message}");
    assert_eq!(sandbox.tally().device_authorizations[0]["scope"], SCOPE);
}

#[tokio::test]
async fn polls_are_pending_until_the_user_approves_and_then_give_tokens_once() {
    let sandbox = start().await;
    let (device_code, user_code) = begin(&sandbox).await;
    for _ in 0..2 {
        let (number, body) = poll(&sandbox, &device_code).await;
        assert_eq!((number, body["error"].as_str()), (70_016, Some("authorization_pending")));
    }
    assert!(!sandbox.approve_device("WRONGCODE", ALICE) && !sandbox.approve_device(&user_code, "nobody@contoso.test"));
    assert!(sandbox.approve_device(&user_code, ALICE));
    assert!(!sandbox.decline_device(&user_code), "it waits no more");
    let (number, body) = poll(&sandbox, &device_code).await;
    assert_eq!((number, body["token_type"].as_str()), (0, Some("Bearer")));
    assert!(body["access_token"].is_string() && body["refresh_token"].is_string());
    assert_eq!(body["scope"], "https://outlook.office.com/IMAP.AccessAsUser.All");
    assert_eq!(poll(&sandbox, &device_code).await.0, 54_005);
    assert_eq!(sandbox.tally().token_requests["urn:ietf:params:oauth:grant-type:device_code"], 4);
}

#[tokio::test]
async fn a_code_that_is_declined_unknown_expired_or_blocked_says_so_in_its_own_word() {
    let sandbox = start().await;
    let (number, body) = poll(&sandbox, "made-up").await;
    assert_eq!((number, body["error"].as_str()), (70_018, Some("bad_verification_code")));

    let (device_code, user_code) = begin(&sandbox).await;
    assert!(sandbox.decline_device(&user_code.to_lowercase()));
    assert_eq!(poll(&sandbox, &device_code).await.1["error"], "authorization_declined");

    sandbox.faults().set(FaultName::DeviceLifetime, Some("0")).unwrap();
    let (device_code, user_code) = begin(&sandbox).await;
    let (number, body) = poll(&sandbox, &device_code).await;
    assert_eq!((number, body["error"].as_str()), (70_019, Some("expired_token")));
    assert!(!sandbox.approve_device(&user_code, ALICE));
    sandbox.faults().clear_all();

    let (device_code, _) = begin(&sandbox).await;
    sandbox.faults().set(FaultName::DeviceBlocked, None).unwrap();
    assert_eq!(poll(&sandbox, &device_code).await.0, 53_003);
    // What stands in the way of the service stands in the way of this endpoint too.
    let fields = [("client_id", sandbox.public_client_id()), ("scope", SCOPE)];
    sandbox.faults().set(FaultName::TokenStatus, Some("503")).unwrap();
    assert_eq!(self::device_code(&sandbox, &fields).await.0, 503);
    sandbox.faults().clear_all();
    sandbox.faults().set(FaultName::DeviceError, Some("50059")).unwrap();
    assert_eq!(self::device_code(&sandbox, &fields).await.1["error_codes"][0], 50_059);
}

#[tokio::test]
async fn whoever_polls_too_fast_is_told_to_slow_down() {
    let sandbox = start_with(&[(FaultName::DeviceSlowDown, None), (FaultName::DeviceInterval, Some("600"))]).await;
    let (device_code, user_code) = begin(&sandbox).await;
    assert_eq!(poll(&sandbox, &device_code).await.1["error"], "authorization_pending");
    assert_eq!(poll(&sandbox, &device_code).await.1["error"], "slow_down");
    assert!(sandbox.approve_device(&user_code, ALICE));
    assert_eq!(poll(&sandbox, &device_code).await.0, 0);

    sandbox.faults().clear_all();
    sandbox.faults().set(FaultName::DeviceInterval, Some("0")).unwrap();
    sandbox.faults().set(FaultName::DeviceSlowDown, Some("1")).unwrap();
    sandbox.faults().set(FaultName::DeviceAs, Some(ALICE)).unwrap();
    let (device_code, _) = begin(&sandbox).await;
    assert_eq!(poll(&sandbox, &device_code).await.1["error"], "slow_down");
    assert_eq!(poll(&sandbox, &device_code).await.0, 0);
    let (device_code, _) = begin(&sandbox).await;
    assert_eq!(poll(&sandbox, &device_code).await.1["error"], "authorization_pending");
    assert_eq!(poll(&sandbox, &device_code).await.0, 0);
}

#[tokio::test]
async fn the_code_is_entered_and_the_user_chosen_on_the_page() {
    let sandbox = start().await;
    let page = sandbox.device_login_url();
    let shown = request(&page, "GET", "", "").await.2;
    assert!(shown.contains("name=\"user_code\"") && !shown.contains("role=\"alert\""), "{shown}");
    let again = post(&page, &[("user_code", "ABCDEFGHJ")]).await.2;
    assert!(again.contains("That code didn&#39;t work."), "{again}");

    let (device_code, user_code) = begin(&sandbox).await;
    let typed = format!(" {}", user_code.to_lowercase());
    let choice = post(&page, &[("user_code", &typed)]).await.2;
    assert!(choice.contains(&format!("value=\"{ALICE}\"")), "{choice}");
    let refused = post(&page, &[("user_code", &typed), ("user", "nobody@contoso.test")]).await;
    assert_eq!(refused.0, 400);
    let done = post(&page, &[("user_code", &typed), ("user", ALICE)]).await.2;
    assert!(done.contains("You have signed in"), "{done}");
    assert_eq!(poll(&sandbox, &device_code).await.0, 0);

    let (device_code, user_code) = begin(&sandbox).await;
    post(&page, &[("user_code", &user_code), ("deny", "1")]).await;
    assert_eq!(poll(&sandbox, &device_code).await.1["error"], "authorization_declined");
}

#[tokio::test]
async fn each_mistake_in_asking_for_a_device_code_has_its_number() {
    let sandbox = start().await;
    let public = sandbox.public_client_id();
    let two = format!("{SCOPE} https://graph.microsoft.com/Mail.Send");
    for (fields, code) in [
        (vec![("scope", SCOPE)], 900_144),
        (vec![("client_id", "someone-else"), ("scope", SCOPE)], 700_016),
        (vec![("client_id", public)], 900_144),
        (vec![("client_id", public), ("scope", two.as_str())], 700_022),
        (vec![("client_id", public), ("client_id", public), ("scope", SCOPE)], 9_000_411),
    ] {
        assert_eq!(device_code(&sandbox, &fields).await.1["error_codes"][0], code, "{fields:?}");
    }
    let url = sandbox.device_url().replace(sandbox.tenant_id(), "organizations");
    let body = post(&url, &[("client_id", public), ("scope", SCOPE)]).await.2;
    assert!(body.contains("AADSTS50194: "), "{body}");
    assert_eq!(Url::parse(&url).unwrap().path(), "/organizations/oauth2/v2.0/devicecode");
}

#[tokio::test]
async fn polls_need_a_secret_unless_the_application_allows_public_flows() {
    let sandbox = start().await;
    let (id, secret) = (sandbox.client_id(), sandbox.client_secret());
    let (_, body) = device_code(&sandbox, &[("client_id", id), ("scope", SCOPE)]).await;
    let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
    let code = ("device_code", body["device_code"].as_str().unwrap());
    let without = ask(&sandbox, &[grant, ("client_id", id), code]).await;
    assert_eq!((without.0, &without.1["error_codes"][0]), (401, &Value::from(7_000_218)));
    let with = ask(&sandbox, &[grant, ("client_id", id), ("client_secret", secret), code]).await;
    assert_eq!(with.1["error"], "authorization_pending");

    sandbox.faults().set(FaultName::PublicFlowsDisabled, None).unwrap();
    let (device_code, _) = begin(&sandbox).await;
    assert_eq!(poll(&sandbox, &device_code).await.0, 7_000_218);
}
