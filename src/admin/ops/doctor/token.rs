//! What an access token says of itself, against what the configuration wants. Exchange decides; this tells a mistake in words.

use crate::admin::ops::doctor::step::{Check, StepState};
use crate::base::{Mailbox, Protocol};
use crate::broker::Claims;
use crate::config::Cloud;

/// Beyond this many characters POP3 at Exchange has answered with a protocol error.
const LONGEST_FOR_POP3: usize = 4096;

/// What the configuration says of the tenant.
pub(in crate::admin::ops::doctor) struct Expected<'a> {
    pub(in crate::admin::ops::doctor) cloud: Cloud,
    pub(in crate::admin::ops::doctor) tenant_id: Option<&'a str>,
    pub(in crate::admin::ops::doctor) client_id: &'a str,
    /// The account that signs in; none where the application itself does.
    pub(in crate::admin::ops::doctor) account: Option<&'a Mailbox>,
    /// What the token is to be used for, and the scopes asked for each.
    pub(in crate::admin::ops::doctor) protocols: &'a [(Protocol, String)],
}

/// Something seen in a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::admin::ops::doctor) struct Seen {
    pub(in crate::admin::ops::doctor) check: Check,
    pub(in crate::admin::ops::doctor) protocol: Option<Protocol>,
    pub(in crate::admin::ops::doctor) state: StepState,
    pub(in crate::admin::ops::doctor) said: String,
    pub(in crate::admin::ops::doctor) remedy: Option<String>,
}

/// What the claims lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::admin::ops::doctor) struct Verdict {
    /// Everything that was seen, in the order to tell it.
    pub(in crate::admin::ops::doctor) seen: Vec<Seen>,
    /// The object ID of the enterprise application, for the commands of Exchange Online PowerShell.
    pub(in crate::admin::ops::doctor) object_id: Option<String>,
    /// Protocols for which the login cannot succeed with this token, each with the reason.
    pub(in crate::admin::ops::doctor) hopeless: Vec<(Protocol, String)>,
    /// Protocols whose permission was not found, though there is another way to have it.
    pub(in crate::admin::ops::doctor) without_permission: Vec<Protocol>,
}

/// What is to be told of a token's length, for POP3.
pub(in crate::admin::ops::doctor) fn too_long_for_pop3(length: usize, protocols: &[Protocol]) -> Option<String> {
    (protocols.contains(&Protocol::Pop3) && length > LONGEST_FOR_POP3).then(|| {
        "Tokens of over 4,096 characters have been refused by POP3 with `-ERR Protocol error`. Take groups and optional claims out of \
         the token: App registrations, your application, Token configuration; and let the account be in fewer groups. Or use IMAP."
            .to_owned()
    })
}

/// Judges claims.
pub(in crate::admin::ops::doctor) fn judge(claims: &Claims, expected: &Expected<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    let by_microsoft = expected.cloud != Cloud::Custom || (claims.tid.is_some() && claims.appid.is_some());
    audience(claims, expected, &mut verdict);
    tenant(claims, expected, &mut verdict);
    application(claims, expected, &mut verdict);
    account(claims, expected, &mut verdict);
    if by_microsoft && verdict.hopeless.is_empty() {
        permissions(claims, expected, &mut verdict);
    }
    verdict
}

impl Verdict {
    fn add(&mut self, check: Check, state: StepState, said: String, remedy: Option<&str>) {
        let remedy = remedy.map(str::to_owned);
        self.seen.push(Seen { check, protocol: None, state, said, remedy });
    }
}

/// The resources that stand for Exchange, by address or number.
const EXCHANGE: [&str; 6] = [
    "https://outlook.office365.com",
    "https://outlook.office.com",
    "https://outlook.office365.us",
    "https://ps.outlook.com",
    "https://partner.outlook.cn",
    "00000002-0000-0ff1-ce00-000000000000",
];

/// Those that stand for Microsoft Graph.
const GRAPH: [&str; 5] = [
    "https://graph.microsoft.com",
    "https://graph.microsoft.us",
    "https://dod-graph.microsoft.us",
    "https://microsoftgraph.chinacloudapi.cn",
    "00000003-0000-0000-c000-000000000000",
];

fn audience(claims: &Claims, expected: &Expected<'_>, verdict: &mut Verdict) {
    let is_one_of = |known: &[&str]| claims.aud.iter().any(|aud| known.contains(&aud.trim_end_matches('/')));
    let shown = claims.aud.join(", ");
    let asked = expected.protocols.first().map_or("", |(_, scopes)| scopes.as_str());
    let hopeless = |verdict: &mut Verdict, why: &str| {
        verdict.hopeless.extend(expected.protocols.iter().map(|(protocol, _)| (*protocol, why.to_owned())));
    };
    if claims.aud.is_empty() {
        verdict.add(Check::TokenAudience, StepState::Ok, "the token does not say what it is for".to_owned(), None);
    } else if is_one_of(&EXCHANGE) {
        verdict.add(Check::TokenAudience, StepState::Ok, format!("{shown}: Exchange"), None);
    } else if is_one_of(&GRAPH) {
        let said =
            format!("{shown}: this is Microsoft Graph, and Exchange refuses such a token by IMAP, POP3 and SMTP");
        let remedy = format!(
            "Tokens were asked for with the scope `{asked}`. Leave `scopes` out of [tenant.endpoints], so that they are asked for \
             https://outlook.office365.com. In the portal the permissions of users stand under Microsoft Graph all the same."
        );
        verdict.add(Check::TokenAudience, StepState::Failed, said, Some(&remedy));
        hopeless(verdict, "the token is for Microsoft Graph");
    } else if expected.cloud == Cloud::Custom {
        verdict.add(Check::TokenAudience, StepState::Ok, shown, None);
    } else {
        let said = format!("{shown}: this is not Exchange");
        let remedy = format!(
            "Tokens were asked for with the scope `{asked}`. Leave `scopes` out of [tenant.endpoints], so that they are asked for \
             Exchange."
        );
        verdict.add(Check::TokenAudience, StepState::Failed, said, Some(&remedy));
        hopeless(verdict, "the token is not for Exchange");
    }
}

fn tenant(claims: &Claims, expected: &Expected<'_>, verdict: &mut Verdict) {
    // A custom cloud has none, and personal accounts have one that nobody writes down.
    let (Some(tid), Some(wanted)) = (&claims.tid, expected.tenant_id) else { return };
    if matches!(expected.cloud, Cloud::Custom | Cloud::Personal) {
        return;
    }
    if tid.eq_ignore_ascii_case(wanted) {
        verdict.add(Check::TokenTenant, StepState::Ok, tid.clone(), None);
    } else if !is_id(wanted) {
        // A domain stands for its tenant, and only the token service knows which one that is.
        verdict.add(Check::TokenTenant, StepState::Ok, format!("{tid}, which `{wanted}` stands for"), None);
    } else {
        let said = format!("the token is from the tenant {tid}, the configuration says {wanted}");
        let remedy = "Correct `tenant_id`: it is the directory (tenant) ID on the overview of the app registration. Where people sign in, \
                      let them use an account of that tenant.";
        verdict.add(Check::TokenTenant, StepState::Failed, said, Some(remedy));
    }
}

fn application(claims: &Claims, expected: &Expected<'_>, verdict: &mut Verdict) {
    let Some(appid) = &claims.appid else { return };
    if !appid.eq_ignore_ascii_case(expected.client_id) {
        let said =
            format!("the token was issued to the application {appid}, the configuration says {}", expected.client_id);
        let remedy = "Correct `client_id`: it is the application (client) ID on the overview of the app registration.";
        verdict.add(Check::TokenApplication, StepState::Failed, said, Some(remedy));
        return;
    }
    let object_id = claims.oid.as_ref().filter(|oid| is_id(oid));
    if expected.account.is_some() {
        verdict.add(Check::TokenApplication, StepState::Ok, appid.clone(), None);
        return;
    }
    let said = match object_id {
        Some(oid) if is_id(appid) => format!(
            "{appid}; the object ID of its enterprise application is {oid}, and by that Exchange has to know it:\n    \
             New-ServicePrincipal -AppId {appid} -ObjectId {oid} -DisplayName \"Postern\""
        ),
        _ => appid.clone(),
    };
    verdict.object_id = object_id.cloned();
    verdict.add(Check::TokenApplication, StepState::Ok, said, None);
}

/// Whether this is an ID that can stand in a command as it is: hexadecimal digits and hyphens, as a GUID has.
fn is_id(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|octet| octet.is_ascii_hexdigit() || octet == b'-')
}

fn account(claims: &Claims, expected: &Expected<'_>, verdict: &mut Verdict) {
    let Some(account) = expected.account else { return };
    let names: Vec<&str> = [&claims.upn, &claims.preferred_username, &claims.unique_name]
        .into_iter()
        .filter_map(|name| name.as_deref())
        .collect();
    let Some(first) = names.first() else { return };
    if names.iter().any(|name| name.eq_ignore_ascii_case(account.as_str())) {
        verdict.add(Check::TokenAccount, StepState::Ok, format!("{account} has signed in"), None);
        return;
    }
    let said = format!("{first} has signed in, and the mailbox is opened as {account}");
    let remedy = format!(
        "If {first} is the same person under the name for signing in, nothing has to be done. If not, sign in again as {account}, or say \
         whose account opens the mailbox with `postern mailbox add ADDRESS --sign-in-as ACCOUNT`."
    );
    verdict.add(Check::TokenAccount, StepState::Warning, said, Some(&remedy));
}

/// What an application needs for a protocol, and what a user does.
fn permission(protocol: Protocol, by_person: bool) -> &'static str {
    match (protocol, by_person) {
        (Protocol::Imap, false) => "IMAP.AccessAsApp",
        (Protocol::Pop3, false) => "POP.AccessAsApp",
        (Protocol::Smtp, false) => "SMTP.SendAsApp",
        (Protocol::Imap, true) => "IMAP.AccessAsUser.All",
        (Protocol::Pop3, true) => "POP.AccessAsUser.All",
        (Protocol::Smtp, true) => "SMTP.Send",
    }
}

fn permissions(claims: &Claims, expected: &Expected<'_>, verdict: &mut Verdict) {
    let by_person = expected.account.is_some();
    let has = |wanted: &str| {
        let of_user = || claims.scp.iter().flat_map(|scp| scp.split(' '));
        if by_person { of_user().any(|one| one == wanted) } else { claims.roles.iter().any(|one| one == wanted) }
    };
    for (protocol, _) in expected.protocols {
        let wanted = permission(*protocol, by_person);
        let mut see = |state, said: String, remedy: Option<String>| {
            verdict.seen.push(Seen { check: Check::TokenPermission, protocol: Some(*protocol), state, said, remedy });
        };
        if has(wanted) {
            see(StepState::Ok, wanted.to_owned(), None);
        } else if by_person {
            let said = format!("the token does not have the permission {wanted}");
            let remedy = format!(
                "Entra admin centre, App registrations, your application, API permissions, Add a permission, Microsoft Graph, Delegated \
                 permissions: {wanted}; then «Grant admin consent», and sign in again: `postern mailbox connect ADDRESS`."
            );
            verdict.hopeless.push((*protocol, said.clone()));
            see(StepState::Failed, said, Some(remedy));
        } else {
            let add = format!(
                "Entra admin centre, App registrations, your application, API permissions, Add a permission, APIs my organization uses, Office \
                 365 Exchange Online, Application permissions: {wanted}; then «Grant admin consent», so that its status is «Granted». A \
                 new token has it, within the hour."
            );
            // Permissions can also be given in Exchange, and then must not stand here; but for SMTP alone.
            if *protocol == Protocol::Smtp {
                let said = format!("the token does not have the permission {wanted}");
                let rbac = "With RBAC for Applications that is as it should be.";
                verdict.without_permission.push(*protocol);
                see(StepState::Warning, said, Some(format!("{rbac} Without: {add}")));
            } else {
                let said = format!("the token does not have the permission {wanted}");
                verdict.hopeless.push((*protocol, said.clone()));
                see(StepState::Failed, said, Some(add));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "11111111-2222-3333-4444-555555555555";
    const APPLICATION: &str = "66666666-7777-8888-9999-000000000000";
    const OBJECT: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";

    fn claims(audience: &str, roles: &[&str]) -> Claims {
        Claims {
            aud: vec![audience.to_owned()],
            appid: Some(APPLICATION.to_owned()),
            tid: Some(TENANT.to_owned()),
            oid: Some(OBJECT.to_owned()),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            ..Claims::default()
        }
    }

    fn protocols() -> Vec<(Protocol, String)> {
        Protocol::ALL.map(|protocol| (protocol, "https://outlook.office365.com/.default".to_owned())).to_vec()
    }

    fn expected<'a>(protocols: &'a [(Protocol, String)], account: Option<&'a Mailbox>) -> Expected<'a> {
        Expected { cloud: Cloud::Global, tenant_id: Some(TENANT), client_id: APPLICATION, account, protocols }
    }

    const ALL_ROLES: [&str; 3] = ["SMTP.SendAsApp", "IMAP.AccessAsApp", "POP.AccessAsApp"];

    fn found(verdict: &Verdict, check: Check) -> Vec<&Seen> {
        verdict.seen.iter().filter(|seen| seen.check == check).collect()
    }

    #[test]
    fn a_right_token_shows_the_command_that_makes_exchange_know_the_application() {
        let protocols = protocols();
        let verdict = judge(&claims("https://outlook.office365.com", &ALL_ROLES), &expected(&protocols, None));
        assert!(verdict.seen.iter().all(|seen| seen.state == StepState::Ok && seen.remedy.is_none()), "{verdict:?}");
        assert_eq!(verdict.object_id.as_deref(), Some(OBJECT));
        let application = &found(&verdict, Check::TokenApplication)[0].said;
        let command =
            format!("    New-ServicePrincipal -AppId {APPLICATION} -ObjectId {OBJECT} -DisplayName \"Postern\"");
        assert_eq!(application.lines().last(), Some(command.as_str()));
        assert_eq!(found(&verdict, Check::TokenPermission).len(), 3);
        assert!(verdict.hopeless.is_empty());
    }

    #[test]
    fn an_object_id_that_a_shell_would_act_on_is_not_put_into_a_command() {
        let protocols = protocols();
        let mut claims = claims("https://outlook.office365.com", &ALL_ROLES);
        claims.oid = Some("$(id)".to_owned());
        let verdict = judge(&claims, &expected(&protocols, None));
        assert_eq!(verdict.object_id, None);
        assert_eq!(found(&verdict, Check::TokenApplication)[0].said, APPLICATION);
    }

    #[test]
    fn a_token_for_something_else_than_exchange_is_hopeless_and_names_the_scope() {
        let protocols = protocols();
        for (audience, cloud, failed) in [
            ("https://graph.microsoft.com", Cloud::Global, true),
            ("00000003-0000-0000-c000-000000000000", Cloud::Global, true),
            ("https://graph.microsoft.com/", Cloud::Custom, true),
            ("https://management.azure.com", Cloud::Global, true),
            ("postern", Cloud::Custom, false),
            ("00000002-0000-0ff1-ce00-000000000000", Cloud::Global, false),
            ("https://outlook.office.com/", Cloud::Global, false),
        ] {
            let verdict = judge(&claims(audience, &ALL_ROLES), &Expected { cloud, ..expected(&protocols, None) });
            let seen = found(&verdict, Check::TokenAudience)[0];
            assert_eq!(seen.state == StepState::Failed, failed, "{audience} {seen:?}");
            assert_eq!(verdict.hopeless.len(), if failed { 3 } else { 0 }, "{audience}");
            if failed {
                assert!(seen.remedy.as_ref().unwrap().contains("outlook.office365.com/.default"), "{seen:?}");
            }
        }
    }

    #[test]
    fn another_tenant_or_application_than_the_configurations_is_told() {
        let protocols = protocols();
        let mut claims = claims("https://outlook.office365.com", &ALL_ROLES);
        claims.tid = Some("99999999-2222-3333-4444-555555555555".to_owned());
        let verdict = judge(&claims, &expected(&protocols, None));
        assert_eq!(found(&verdict, Check::TokenTenant)[0].state, StepState::Failed);
        // A domain name stands for a tenant that only the token service knows.
        let by_domain = Expected { tenant_id: Some("contoso.com"), ..expected(&protocols, None) };
        assert_eq!(found(&judge(&claims, &by_domain), Check::TokenTenant)[0].state, StepState::Ok);
        let custom = Expected { cloud: Cloud::Custom, ..expected(&protocols, None) };
        assert!(found(&judge(&claims, &custom), Check::TokenTenant).is_empty());
        claims.appid = Some("another".to_owned());
        let verdict = judge(&claims, &expected(&protocols, None));
        assert_eq!(found(&verdict, Check::TokenApplication)[0].state, StepState::Failed);
        assert!(found(&verdict, Check::TokenApplication)[0].remedy.as_ref().unwrap().contains("client_id"));
    }

    #[test]
    fn each_missing_permission_is_named_and_only_smtp_may_have_it_from_elsewhere() {
        let protocols = protocols();
        let verdict =
            judge(&claims("https://outlook.office365.com", &["IMAP.AccessAsApp"]), &expected(&protocols, None));
        let states: Vec<_> =
            found(&verdict, Check::TokenPermission).iter().map(|seen| (seen.protocol.unwrap(), seen.state)).collect();
        assert!(states.contains(&(Protocol::Imap, StepState::Ok)), "{states:?}");
        assert!(states.contains(&(Protocol::Pop3, StepState::Failed)), "{states:?}");
        assert!(states.contains(&(Protocol::Smtp, StepState::Warning)), "{states:?}");
        assert_eq!(verdict.hopeless.len(), 1);
        assert_eq!(verdict.without_permission, [Protocol::Smtp]);

        let account: Mailbox = "alice@contoso.test".parse().unwrap();
        let mut claims = claims("https://outlook.office.com", &ALL_ROLES);
        claims.scp = Some("IMAP.AccessAsUser.All SMTP.Send".to_owned());
        let verdict = judge(&claims, &expected(&protocols, Some(&account)));
        assert_eq!(verdict.hopeless.len(), 1, "{verdict:?}");
        assert!(verdict.hopeless[0].1.contains("POP.AccessAsUser.All"));
    }

    #[test]
    fn somebody_else_who_has_signed_in_is_told() {
        let protocols = protocols();
        let account: Mailbox = "alice@contoso.test".parse().unwrap();
        let mut claims = claims("https://outlook.office.com", &[]);
        claims.upn = Some("bob@contoso.test".to_owned());
        let verdict = judge(&claims, &expected(&protocols, Some(&account)));
        let seen = found(&verdict, Check::TokenAccount)[0];
        assert_eq!(seen.state, StepState::Warning);
        assert!(seen.said.starts_with("bob@contoso.test has signed in"), "{seen:?}");
        assert!(seen.remedy.as_ref().unwrap().contains("--sign-in-as"), "{seen:?}");
        claims.preferred_username = Some("Alice@contoso.test".to_owned());
        assert_eq!(
            found(&judge(&claims, &expected(&protocols, Some(&account))), Check::TokenAccount)[0].state,
            StepState::Ok
        );
    }

    #[test]
    fn a_long_token_matters_to_pop3_alone() {
        assert!(too_long_for_pop3(4097, &Protocol::ALL).is_some());
        assert!(too_long_for_pop3(4096, &Protocol::ALL).is_none());
        assert!(too_long_for_pop3(9000, &[Protocol::Smtp, Protocol::Imap]).is_none());
    }
}
