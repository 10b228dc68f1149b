mod assertion;
mod device;
mod sign_in;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::sandbox::tests::{
    ALICE, APP_SCOPE, Peer, app_token, eventually, post, raw_request, request, start, start_with, user_token,
};
use crate::sandbox::{FaultName, Sandbox};

const USER_SCOPE: &str = "https://outlook.office.com/IMAP.AccessAsUser.All offline_access";

/// Posts a form; status and answer.
async fn ask(sandbox: &Sandbox, fields: &[(&str, &str)]) -> (u16, Value) {
    let (status, _, body) = post(&sandbox.token_url(), fields).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

fn app_fields(sandbox: &Sandbox) -> [(&'static str, &str); 4] {
    [
        ("grant_type", "client_credentials"),
        ("client_id", sandbox.client_id()),
        ("client_secret", sandbox.client_secret()),
        ("scope", APP_SCOPE),
    ]
}

#[tokio::test]
async fn an_application_gets_a_token_and_no_refresh_token() {
    let sandbox = start().await;
    let (status, body) = ask(&sandbox, &app_fields(&sandbox)).await;
    assert_eq!(status, 200);
    assert_eq!(body["token_type"], "Bearer");
    assert!((3600..5400).contains(&body["expires_in"].as_u64().unwrap()));
    assert!(body["access_token"].as_str().unwrap().len() >= 1500);
    assert_eq!(body.get("refresh_token"), None);
    // The same with the client's secret by HTTP Basic.
    let basic = STANDARD.encode(format!("{}:{}", sandbox.client_id(), sandbox.client_secret().replace('~', "%7E")));
    let headers = format!("Content-Type: application/x-www-form-urlencoded\r\nAuthorization: Basic {basic}\r\n");
    let form = "grant_type=client_credentials&scope=https%3A%2F%2Foutlook.office365.com%2F.default";
    assert_eq!(request(&sandbox.token_url(), "POST", &headers, form).await.0, 200);
    let tally = sandbox.tally();
    assert_eq!(tally.token_requests["client_credentials"], 2);
    assert_eq!(tally.access_tokens.len(), 2);
}

#[tokio::test]
async fn each_mistake_of_an_application_has_its_number() {
    let sandbox = start().await;
    let (id, secret) = (sandbox.client_id(), sandbox.client_secret());
    let public = sandbox.public_client_id();
    let grant = ("grant_type", "client_credentials");
    let scope = ("scope", APP_SCOPE);
    let graph_too = format!("{APP_SCOPE} https://graph.microsoft.com/.default");
    for (fields, code, status, error) in [
        (vec![("client_id", id), ("client_secret", secret), scope], 900_144, 400, "invalid_request"),
        (
            vec![("grant_type", "password"), ("client_id", id), ("client_secret", secret), scope],
            70_003,
            400,
            "unsupported_grant_type",
        ),
        (vec![grant, ("client_secret", secret), scope], 900_144, 400, "invalid_request"),
        (vec![grant, ("client_id", "someone"), ("client_secret", secret), scope], 700_016, 400, "unauthorized_client"),
        (vec![grant, ("client_id", id), ("client_secret", "wrong"), scope], 7_000_215, 401, "invalid_client"),
        (vec![grant, ("client_id", id), scope], 7_000_218, 401, "invalid_client"),
        (vec![grant, ("client_id", public), scope], 7_000_218, 401, "invalid_client"),
        (vec![grant, ("client_id", public), ("client_secret", secret), scope], 700_025, 401, "invalid_client"),
        (vec![grant, ("client_id", id), ("client_assertion", "a.b.c"), scope], 900_144, 400, "invalid_request"),
        (vec![grant, ("client_id", id), ("client_secret", secret)], 900_144, 400, "invalid_request"),
        (
            vec![
                grant,
                ("client_id", id),
                ("client_secret", secret),
                ("scope", "https://outlook.office365.com/SMTP.Send"),
            ],
            1_002_012,
            400,
            "invalid_scope",
        ),
        (
            vec![grant, ("client_id", id), ("client_secret", secret), ("scope", graph_too.as_str())],
            70_011,
            400,
            "invalid_scope",
        ),
        (
            vec![grant, ("client_id", id), ("client_secret", secret), ("scope", "https://wrong.test/.default")],
            500_011,
            400,
            "invalid_resource",
        ),
    ] {
        let (answered, body) = ask(&sandbox, &fields).await;
        assert_eq!(
            (answered, body["error"].as_str(), body["error_codes"][0].as_u64()),
            (status, Some(error), Some(code)),
            "{fields:?}"
        );
    }
    let as_json = request(&sandbox.token_url(), "POST", "Content-Type: application/json\r\n", "{}").await;
    assert!(as_json.2.contains("AADSTS900144: "), "{}", as_json.2);
    for (tenant, code) in [("common", 9_001_023), ("00000000-0000-0000-0000-000000000000", 90_002)] {
        let url = sandbox.token_url().replace(sandbox.tenant_id(), tenant);
        let body = post(&url, &app_fields(&sandbox)).await.2;
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["error_codes"][0], code, "{tenant}");
    }
    assert_eq!(sandbox.tally().access_tokens, Vec::<String>::new());
}

#[tokio::test]
async fn a_refusal_has_all_the_fields_that_administrators_are_asked_for() {
    let sandbox = start_with(&[(FaultName::TokenError, Some("AADSTS50173"))]).await;
    let (status, body) = ask(&sandbox, &app_fields(&sandbox)).await;
    assert_eq!(status, 400);
    for field in ["error", "error_description", "timestamp", "trace_id", "correlation_id", "error_uri", "suberror"] {
        assert!(body[field].is_string(), "{field}: {body}");
    }
    let text = body["error_description"].as_str().unwrap();
    assert!(
        text.starts_with("AADSTS50173: ")
            && text.contains(" Trace ID: ")
            && text.contains(" Correlation ID: ")
            && text.contains(" Timestamp: "),
        "{text}"
    );
    assert_eq!(body["error_codes"], serde_json::json!([50_173]));
}

#[tokio::test]
async fn a_refresh_names_one_resource_and_gives_a_new_refresh_token_while_the_old_stays_good() {
    let sandbox = start().await;
    let first = sandbox.refresh_token_for(ALICE);
    let public = sandbox.public_client_id();
    let with = |scope: &'static str| {
        vec![
            ("grant_type", "refresh_token"),
            ("client_id", public),
            ("refresh_token", first.as_str()),
            ("scope", scope),
        ]
    };
    for (scope, code) in [
        ("", 900_144),
        ("https://outlook.office.com/SMTP.Send https://graph.microsoft.com/Mail.Send", 700_022),
        ("https://outlook.office.com/EWS.AccessAsUser.All", 65_001),
    ] {
        let (status, body) = ask(&sandbox, &with(scope)).await;
        assert_eq!((status, body["error_codes"][0].as_u64()), (400, Some(code)), "{scope}");
    }
    let (status, body) = ask(&sandbox, &with(USER_SCOPE)).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["scope"], "https://outlook.office.com/IMAP.AccessAsUser.All");
    let second = body["refresh_token"].as_str().unwrap();
    assert_ne!(second, first);
    assert_eq!(ask(&sandbox, &with(USER_SCOPE)).await.0, 200);
    // It belongs to the application that came with it first.
    let other = [
        ("grant_type", "refresh_token"),
        ("client_id", sandbox.client_id()),
        ("client_secret", sandbox.client_secret()),
        ("refresh_token", second),
        ("scope", USER_SCOPE),
    ];
    assert_eq!(ask(&sandbox, &other).await.1["error_codes"][0], 70_000);
    assert_eq!(sandbox.tally().refresh_tokens_presented, [first.as_str(), &first, &first, &first, &first, second]);

    sandbox.faults().set(FaultName::RefreshRotation, Some("revoke-family")).unwrap();
    assert_eq!(ask(&sandbox, &with(USER_SCOPE)).await.1["error_codes"][0], 50_173);
    let mut with_second = with(USER_SCOPE);
    with_second[2].1 = second;
    assert_eq!(ask(&sandbox, &with_second).await.1["error_codes"][0], 50_173);

    sandbox.faults().set(FaultName::RefreshRotation, Some("keep")).unwrap();
    let third = sandbox.refresh_token_for(ALICE);
    with_second[2].1 = &third;
    assert_eq!(ask(&sandbox, &with_second).await.1["refresh_token"], third.as_str());
    sandbox.revoke_sign_ins(ALICE);
    assert_eq!(ask(&sandbox, &with_second).await.1["error"], "invalid_grant");
}

#[tokio::test]
async fn a_refresh_token_that_nobody_has_used_for_ninety_days_is_refused_and_so_is_a_scope_without_consent() {
    let sandbox = start().await;
    let token = sandbox.refresh_token_for(ALICE);
    let fields = |scope: &'static str| {
        [
            ("grant_type", "refresh_token"),
            ("client_id", sandbox.public_client_id()),
            ("refresh_token", token.as_str()),
            ("scope", scope),
        ]
    };
    sandbox.faults().set(FaultName::RefreshInactive, Some("bob@contoso.test")).unwrap();
    assert_eq!(ask(&sandbox, &fields(USER_SCOPE)).await.0, 200);
    sandbox.faults().set(FaultName::RefreshInactive, None).unwrap();
    let (status, body) = ask(&sandbox, &fields(USER_SCOPE)).await;
    assert_eq!(
        (status, &body["error_codes"][0], &body["error"]),
        (400, &Value::from(700_082), &"invalid_grant".into())
    );
    sandbox.faults().clear_all();

    sandbox.faults().set(FaultName::ConsentMissing, Some("https://graph.microsoft.com")).unwrap();
    assert_eq!(ask(&sandbox, &fields(USER_SCOPE)).await.0, 200);
    let (status, body) = ask(&sandbox, &fields("https://graph.microsoft.com/Mail.Send")).await;
    assert_eq!(
        (status, &body["error_codes"][0], &body["suberror"]),
        (400, &Value::from(65_001), &"consent_required".into())
    );
}

#[tokio::test]
async fn a_parameter_that_stands_there_twice_is_refused() {
    let sandbox = start().await;
    let mut fields = app_fields(&sandbox).to_vec();
    fields.push(("scope", APP_SCOPE));
    let (status, body) = ask(&sandbox, &fields).await;
    assert_eq!((status, &body["error_codes"][0]), (400, &Value::from(9_000_411)));
}

#[tokio::test]
async fn the_lifetime_is_told_as_the_fault_wants_it() {
    let sandbox = start().await;
    for (value, told) in [
        ("2", serde_json::json!(2)),
        ("string:3600", serde_json::json!("3600")),
        ("0", serde_json::json!(0)),
        ("-1", serde_json::json!(-1)),
        ("huge", serde_json::json!(1_000_000_000_000_000_000_u64)),
        ("missing", Value::Null),
    ] {
        sandbox.faults().set(FaultName::TokenExpiresIn, Some(value)).unwrap();
        let (status, body) = ask(&sandbox, &app_fields(&sandbox)).await;
        assert_eq!((status, &body["expires_in"]), (200, &told), "{value}");
    }
    sandbox.faults().set(FaultName::TokenSize, Some("4200")).unwrap();
    assert!((4200..4204).contains(&app_token(&sandbox).await.len()));
}

#[tokio::test]
async fn every_fault_of_the_token_service_shows() {
    let sandbox = start().await;
    let set = |name, value| sandbox.faults().set(name, value).unwrap();
    let fields = app_fields(&sandbox);
    let url = sandbox.token_url();

    set(FaultName::TokenStatus, Some("503"));
    set(FaultName::TokenRetryAfter, Some("7"));
    let (status, head, _) = post(&url, &fields).await;
    assert!(status == 503 && head.contains("\r\nretry-after: 7"), "{head}");
    sandbox.faults().clear(FaultName::TokenStatus);
    assert_eq!(post(&url, &fields).await.0, 429);
    sandbox.faults().clear_all();

    set(FaultName::TokenRetryAfterDate, Some("90"));
    let (status, head, _) = raw_request(&url, "POST", "", "").await;
    let date = head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    let date = chrono::NaiveDateTime::parse_from_str(date, "%a, %d %b %Y %H:%M:%S GMT").unwrap().and_utc();
    let ahead = (date - chrono::Utc::now()).num_seconds();
    assert!(status == 429 && (60..=90).contains(&ahead), "{ahead}");
    sandbox.faults().clear_all();

    set(FaultName::TokenRefreshIn, Some("1800"));
    assert_eq!(ask(&sandbox, &fields).await.1["refresh_in"], 1800);
    sandbox.faults().clear_all();

    set(FaultName::TokenGarbage, None);
    assert!(serde_json::from_str::<Value>(&post(&url, &fields).await.2).is_err());
    set(FaultName::TokenGarbage, Some("deep"));
    assert_eq!(post(&url, &fields).await.2.len(), 200_000);
    sandbox.faults().clear_all();

    set(FaultName::TokenHtml, None);
    assert!(post(&url, &fields).await.1.contains("content-type: text/html"));
    sandbox.faults().clear_all();

    set(FaultName::TokenClose, None);
    assert_eq!(post(&url, &fields).await, (0, String::new(), String::new()));
    sandbox.faults().clear_all();

    set(FaultName::TokenRedirect, None);
    let (status, head, _) = post(&url, &fields).await;
    assert!(status == 307 && head.contains("\r\nlocation: /elsewhere/token"), "{head}");
    let elsewhere = url.replace(&format!("{}/oauth2/v2.0", sandbox.tenant_id()), "elsewhere");
    post(&elsewhere, &fields).await;
    assert_eq!(sandbox.tally().redirects_followed, 1);
    sandbox.faults().clear_all();

    set(FaultName::TokenEndless, None);
    let address = url.split('/').nth(2).unwrap().parse().unwrap();
    let mut peer = Peer::clear(address).await;
    let path = format!("/{}/oauth2/v2.0/token", sandbox.tenant_id());
    peer.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")).await;
    peer.until(&"A".repeat(4096)).await;
    sandbox.faults().clear_all();

    set(FaultName::TokenHang, None);
    let before = sandbox.tally().token_requests.values().sum::<u64>();
    let hanging = tokio::time::timeout(Duration::from_millis(100), post(&url, &fields)).await;
    assert!(hanging.is_err(), "it answered");
    eventually("the request is counted", || sandbox.tally().token_requests.values().sum::<u64>() == before + 1).await;
    sandbox.faults().clear_all();

    set(FaultName::TokenDelay, Some("150"));
    let started = std::time::Instant::now();
    post(&url, &fields).await;
    assert!(started.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn introspection_tells_other_servers_whose_token_it_is() {
    let sandbox = start().await;
    let token = user_token(&sandbox, ALICE, "IMAP.AccessAsUser.All").await;
    let url = sandbox.introspection_url();
    let by_query = format!("{url}?token={token}");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    for (answer, how) in [
        (post(&url, &[("token", token.as_str())]).await, "post"),
        (request(&by_query, "GET", "", "").await, "get"),
        (request(&url, "GET", &bearer, "").await, "auth"),
    ] {
        let body: Value = serde_json::from_str(&answer.2).unwrap();
        assert_eq!((&body["active"], &body["username"]), (&Value::Bool(true), &Value::from(ALICE)), "{how}");
        assert!(body["exp"].as_i64().unwrap() > 0);
    }
    let body = post(&url, &[("token", "made-up")]).await.2;
    assert_eq!(body, "{\"active\":false}");
    let app = app_token(&sandbox).await;
    let body: Value = serde_json::from_str(&post(&url, &[("token", app.as_str())]).await.2).unwrap();
    assert_eq!((&body["active"], body.get("username")), (&Value::Bool(true), None));
}
