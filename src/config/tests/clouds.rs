//! What each cloud presets, and what overrides it.

use super::*;

#[test]
fn each_cloud_sets_what_the_file_does_not() {
    let folder = Folder::new();
    for (cloud, token_host, mailbox_host, smtp_host, scope) in [
        (
            "global",
            "login.microsoftonline.com",
            "outlook.office365.com",
            "smtp.office365.com",
            "https://outlook.office365.com/.default",
        ),
        (
            "gcc-high",
            "login.microsoftonline.us",
            "outlook.office365.us",
            "outlook.office365.us",
            "https://outlook.office365.us/.default",
        ),
        (
            "dod",
            "login.microsoftonline.us",
            "outlook-dod.office365.us",
            "outlook-dod.office365.us",
            "https://outlook.office365.us/.default",
        ),
        (
            "china",
            "login.partner.microsoftonline.cn",
            "partner.outlook.cn",
            "smtp.partner.outlook.cn",
            "https://partner.outlook.cn/.default",
        ),
    ] {
        let config = folder.config(&format!("{TENANT}cloud = \"{cloud}\"\n"));
        let Endpoints { token_url, imap, pop3, smtp, smtp_tls, scopes, .. } = &config.tenants[0].endpoints;
        let path = "11111111-2222-3333-4444-555555555555/oauth2/v2.0/token";
        assert_eq!(token_url.as_str(), format!("https://{token_host}/{path}"));
        assert_eq!(imap.as_ref().unwrap().to_string(), format!("{mailbox_host}:993"));
        assert_eq!(pop3.as_ref().unwrap().to_string(), format!("{mailbox_host}:995"));
        assert_eq!(smtp.as_ref().unwrap().to_string(), format!("{smtp_host}:587"));
        assert_eq!(*smtp_tls, SmtpTls::Starttls);
        for protocol in Protocol::ALL {
            assert_eq!(scopes.of(protocol), scope, "{cloud}");
        }
    }
}

#[test]
fn delegated_grants_ask_for_the_permission_of_each_protocol() {
    let text = r#"
[[tenant]]
name = "home"
cloud = "personal"
client_id = "66666666-7777-8888-9999-000000000000"
grant = { smtp = "device_code", imap = "authorization_code", pop3 = "device_code" }
"#;
    let tenant = Folder::new().config(text).tenants.remove(0);
    assert_eq!(tenant.tenant_id.as_deref(), Some("consumers"));
    assert_eq!(tenant.credential, Credential::None);
    assert_eq!(tenant.grants.of(Protocol::Imap), Grant::AuthorizationCode);
    assert_eq!(tenant.endpoints.token_url.as_str(), "https://login.microsoftonline.com/consumers/oauth2/v2.0/token");
    assert_eq!(tenant.endpoints.scopes.smtp, "https://outlook.office.com/SMTP.Send offline_access");
    assert_eq!(tenant.endpoints.scopes.imap, "https://outlook.office.com/IMAP.AccessAsUser.All offline_access");
    assert_eq!(tenant.endpoints.scopes.pop3, "https://outlook.office.com/POP.AccessAsUser.All offline_access");
    assert_eq!(tenant.endpoints.smtp.unwrap().to_string(), "smtp-mail.outlook.com:587");
}

#[test]
fn a_custom_cloud_needs_only_what_its_grants_and_listeners_use() {
    let folder = Folder::new();
    let text = |more: &str| {
        format!(
            "[[listener]]\nprotocol = \"imap\"\naddress = \"127.0.0.1:0\"\n\
             [[tenant]]\nname = \"x\"\ncloud = \"custom\"\nclient_id = \"x\"\ngrant = \"device_code\"\n{more}"
        )
    };
    assert_eq!(
        folder.faults(&text("")),
        [
            "4 tenant[0].endpoints.token_url: this is missing, and every grant needs it",
            "4 tenant[0].endpoints.device_url: this is missing, and the grant device_code needs it",
            "4 tenant[0].endpoints.imap: this is missing, and a listener speaks imap",
        ]
    );
    let full = text(
        "[tenant.endpoints]\ntoken_url = \"http://127.0.0.1:8080/token\"\ndevice_url = \"https://x.test/device\"\n\
         imap = \"[::1]:993\"\nscopes = { imap = \"a  b\" }\n",
    );
    let tenant = folder.config(&full).tenants.remove(0);
    assert_eq!(tenant.endpoints.imap.unwrap().to_string(), "[::1]:993");
    assert_eq!(tenant.endpoints.smtp, None);
    assert_eq!(tenant.endpoints.scopes.imap, "a b");
    assert!(folder.warnings(&full).is_empty());
}

#[test]
fn each_endpoint_overrides_the_preset() {
    let text = format!(
        "{TENANT}[tenant.endpoints]\ntoken_url = \"https://proxy.test/t\"\nimap = \"Relay.Test:1993\"\n\
         smtp = \"10.0.0.1:465\"\nsmtp_tls = \"implicit\"\nscopes = {{ smtp = \"https://x/.default\" }}\n"
    );
    let endpoints = Folder::new().config(&text).tenants.remove(0).endpoints;
    assert_eq!(endpoints.token_url.as_str(), "https://proxy.test/t");
    assert_eq!(endpoints.imap.unwrap().to_string(), "relay.test:1993");
    assert_eq!(endpoints.pop3.unwrap().to_string(), "outlook.office365.com:995");
    assert_eq!(endpoints.smtp.unwrap().to_string(), "10.0.0.1:465");
    assert_eq!(endpoints.smtp_tls, SmtpTls::Implicit);
    assert_eq!(endpoints.scopes.smtp, "https://x/.default");
    assert_eq!(endpoints.scopes.imap, "https://outlook.office365.com/.default");
}

/// Left over from `client_credentials`: `check` would be satisfied, and every sign-in would end in vain.
#[test]
fn a_scope_that_no_person_stays_signed_in_with_is_warned_about() {
    let folder = Folder::new();
    let text = |grant: &str, scope: &str| {
        let tenant = TENANT.replace("grant = \"client_credentials\"", &format!("grant = \"{grant}\""));
        format!("{tenant}[tenant.endpoints]\nscopes = {{ imap = \"{scope}\" }}\n")
    };
    let app_only = "https://outlook.office365.com/.default";
    let kept = format!("{app_only} offline_access");
    for (grant, scope, warned) in [
        ("client_credentials", app_only, false),
        ("device_code", app_only, true),
        ("device_code", &kept, false),
        // Google's, which takes `access_type=offline` in its place.
        ("authorization_code", "https://mail.google.com/", false),
    ] {
        let warnings = folder.warnings(&text(grant, scope));
        assert_eq!(warnings.len(), usize::from(warned), "{grant} {scope}: {warnings:?}");
        assert!(warnings.iter().all(|one| one.contains("tenant[0].endpoints.scopes.imap: ")), "{warnings:?}");
    }
}
