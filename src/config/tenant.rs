//! `[[tenant]]` and `[tenant.endpoints]`: the presets of its cloud, and what the file puts in their place.

use std::collections::HashMap;
use std::net::IpAddr;

use chrono::{DateTime, NaiveDate, Utc};
use url::{Host, Url};

use crate::base::is_host_name;
use crate::base::{Protocol, TenantName};
use crate::config::cloud::{self, Preset};
use crate::config::credential;
use crate::config::files::{self, Base};
use crate::config::model::{
    Cloud, Credential, Endpoints, Grant, Grants, HostPort, MailboxLimits, Route, Scopes, SmtpService, SmtpTls, Tenant,
};
use crate::config::raw::{Report, Section, TextOrTable, Written, choose};

/// What the checks of a tenant need to know of the rest.
pub(super) struct Around<'a> {
    /// Where relative paths are taken from.
    pub(super) base: &'a Base,
    /// The protocols that some listener speaks.
    pub(super) spoken: &'a [Protocol],
    /// The time.
    pub(super) now: DateTime<Utc>,
}

/// Reads every `[[tenant]]`.
pub(super) fn tenants(root: &Section<'_>, around: &Around<'_>) -> Vec<Tenant> {
    let mut names: HashMap<String, String> = HashMap::new();
    let mut tenants = Vec::new();
    for section in root.tables("tenant") {
        let place = section.place_of("name");
        let name = name(&section);
        if let Some(name) = &name {
            if let Some(earlier) = names.get(name) {
                let message = format!("`{earlier}` has the name `{}` too", name.escape_debug());
                section.report().fault(&place, message, "Give each tenant a name of its own.");
            }
            names.entry(name.clone()).or_insert(place.key);
        }
        tenants.extend(tenant(section, name, around));
    }
    tenants
}

fn name(section: &Section<'_>) -> Option<String> {
    let name = section.required_text("name", "Give the tenant a short name, such as \"contoso\".")?;
    if name.value.chars().any(|c| c.is_control() || c.is_whitespace()) {
        section.report().fault(&name.place, "the name has a space or control character in it", "Write one word.");
        return None;
    }
    Some(name.value.to_owned())
}

fn tenant(section: Section<'_>, name: Option<String>, around: &Around<'_>) -> Option<Tenant> {
    let report = section.report();
    let written_cloud = section.word("cloud", &Cloud::ALL.map(|cloud| (cloud.name(), cloud)));
    let cloud_wrong = section.has("cloud") && written_cloud.is_none();
    let cloud = written_cloud.map_or(Cloud::Global, |cloud| cloud.value);
    let grants = grants(&section, around.spoken);
    let tenant_id = tenant_id(&section, cloud, grants);
    let client_id = client_id(&section, cloud);
    let credential = application_credential(&section, grants, cloud, around);
    let client_secret_expires = client_secret_expires(&section, around.now);
    let routes = routes(&section);
    let sent_folder = section.filled_text("sent_folder", "Write the name of the folder, such as \"Sent Items\".");
    let sent_folder = sent_folder.map(|name| name.value.to_owned());
    let authorize_params = authorize_params(&section);
    let smtp_service = smtp_service(&section, routes.as_deref());
    let limits = smtp_service.limits();
    let mailbox_limits = section.table("limits").map_or(limits, |section| mailbox_limits(section, limits));
    let endpoints = match section.table("endpoints") {
        // With an unknown cloud nobody can say what is missing; what is there is read all the same.
        written if !cloud_wrong => endpoints(
            &section,
            written,
            (cloud, smtp_service),
            tenant_id.as_deref(),
            grants.unwrap_or(Grants::all(Grant::ClientCredentials)),
            around,
        ),
        Some(written) => {
            endpoints(
                &section,
                Some(written),
                (Cloud::Global, smtp_service),
                Some("unknown"),
                Grants::all(Grant::ClientCredentials),
                around,
            );
            None
        }
        None => None,
    };
    section.finish();
    // Every `?` below stands for a fault that has been noted.
    debug_assert!(report.has_faults() || (name.is_some() && grants.is_some() && endpoints.is_some()));
    Some(Tenant {
        name: TenantName::new(name?),
        cloud,
        tenant_id,
        client_id: client_id?,
        grants: grants?,
        credential,
        client_secret_expires,
        authorize_params,
        smtp_service,
        routes: routes?,
        sent_folder,
        mailbox_limits,
        endpoints: endpoints?,
    })
}

fn tenant_id(section: &Section<'_>, cloud: Cloud, grants: Option<Grants>) -> Option<String> {
    let report = section.report();
    let remedy = "Copy the directory (tenant) ID from the overview of the app registration.";
    match cloud {
        Cloud::Custom => {
            section.text("tenant_id");
            None
        }
        Cloud::Personal => {
            if let Some(id) = section.text("tenant_id").filter(|id| id.value != "consumers") {
                report.warning(
                    &id.place,
                    "personal accounts have no tenant of their own; this is not used",
                    "Remove it.",
                );
            }
            Some("consumers".to_owned())
        }
        Cloud::Global | Cloud::GccHigh | Cloud::Dod | Cloud::China => {
            let id = section.required_text("tenant_id", remedy)?;
            if is_left_from_the_instructions(report, &id, remedy) {
                return None;
            }
            if !is_host_name(id.value) {
                let message = format!("`{}` is neither a tenant's number nor its domain", id.value.escape_debug());
                report.fault(&id.place, message, remedy);
                return None;
            }
            match id.value {
                "consumers" => {
                    report.fault(
                        &id.place,
                        "`consumers` is the tenant of personal accounts",
                        "Write cloud = \"personal\".",
                    );
                }
                "common" | "organizations" if grants.is_some_and(has_app_only) => {
                    let message = format!(
                        "with client_credentials the token service must be told which tenant; `{}` is none",
                        id.value
                    );
                    report.fault(&id.place, message, remedy);
                }
                _ => {}
            }
            Some(id.value.to_owned())
        }
    }
}

fn has_app_only(grants: Grants) -> bool {
    Protocol::ALL.into_iter().any(|protocol| !grants.of(protocol).is_delegated())
}

fn client_id(section: &Section<'_>, cloud: Cloud) -> Option<String> {
    let remedy = "Copy the application (client) ID from the overview of the app registration.";
    let id = section.required_text("client_id", remedy)?;
    if id.value.chars().any(|c| c.is_control() || c.is_whitespace()) {
        section.report().fault(&id.place, "the client_id has a space or control character in it", remedy);
        return None;
    }
    if cloud == Cloud::Custom {
        return Some(id.value.to_owned());
    }
    if is_left_from_the_instructions(section.report(), &id, remedy) {
        return None;
    }
    if !is_uuid(id.value) {
        let message = format!("`{}` does not look like an application (client) ID", id.value.escape_debug());
        section.report().warning(&id.place, message, remedy);
    }
    Some(id.value.to_owned())
}

/// Whether an ID is still a word of README.md, which is a fault. The number of zeros in the samples has the form of an ID, so
/// about that one is only warned.
fn is_left_from_the_instructions(report: &Report, id: &Written<&str>, remedy: &str) -> bool {
    if id.value == "00000000-0000-0000-0000-000000000000" {
        let message = "this is the placeholder of the samples, and no token can be had with it";
        report.warning(&id.place, message, remedy);
    }
    let left = ["DIRECTORY-ID", "CLIENT-ID"].iter().any(|word| id.value.eq_ignore_ascii_case(word));
    if left {
        let message = format!("`{}` is a placeholder of the instructions", id.value.escape_debug());
        report.fault(&id.place, message, remedy);
    }
    left
}

/// Whether `text` has the shape of a UUID, `8-4-4-4-12` hexadecimal digits, as every ID in Entra has.
pub fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

fn named_grants() -> [(&'static str, Grant); 3] {
    Grant::ALL.map(|grant| (grant.name(), grant))
}

fn grants(section: &Section<'_>, spoken: &[Protocol]) -> Option<Grants> {
    let report = section.report();
    let place = section.place_of("grant");
    if !section.has("grant") {
        report.fault(
            &place,
            "this is missing",
            "Write grant = \"client_credentials\", \"authorization_code\" or \"device_code\".",
        );
    }
    match section.text_or_table("grant")? {
        TextOrTable::Text(text) => choose(report, &text.place, text.value, &named_grants()).map(Grants::all),
        TextOrTable::Table(table) => {
            let mut wrong = false;
            let mut grant = |key: &'static str| {
                let grant = table.word(key, &named_grants()).map(|grant| grant.value);
                wrong |= table.has(key) && grant.is_none();
                grant
            };
            let (smtp, imap, pop3) = (grant("smtp"), grant("imap"), grant("pop3"));
            for (protocol, grant) in [(Protocol::Smtp, smtp), (Protocol::Imap, imap), (Protocol::Pop3, pop3)] {
                if grant.is_none() && !table.has(protocol.name()) && spoken.contains(&protocol) {
                    let message = format!("this is missing, and a listener speaks {protocol}");
                    report.fault(&table.place_of(protocol.name()), message, "Name the grant of every protocol in use.");
                    wrong = true;
                }
            }
            table.finish();
            // A protocol that nobody speaks takes the grant of another: it is never asked for.
            let any = smtp.or(imap).or(pop3);
            if any.is_none() && !wrong {
                report.fault(&place, "no grant is named", "Name the grant of every protocol in use.");
            }
            let any = any.filter(|_| !wrong)?;
            Some(Grants { smtp: smtp.unwrap_or(any), imap: imap.unwrap_or(any), pop3: pop3.unwrap_or(any) })
        }
    }
}

fn application_credential(
    section: &Section<'_>,
    grants: Option<Grants>,
    cloud: Cloud,
    around: &Around<'_>,
) -> Credential {
    let report = section.report();
    let written = credential::of_application(section, around.base, around.now);
    if grants.is_some_and(has_app_only) {
        if cloud == Cloud::Personal {
            let remedy = "Write grant = \"authorization_code\" or \"device_code\".";
            report.fault(&section.place_of("grant"), "personal accounts know no client_credentials", remedy);
        } else if !credential::is_named(section) {
            let message = "client_credentials needs a client secret or a certificate, and none is named";
            let remedy = "Name it with client_secret_file, client_secret_env or client_secret_credential, with certificate_file and \
                          key_file, or with federated_token_file.";
            report.fault(&section.place_of("client_secret_file"), message, remedy);
        }
    }
    written.unwrap_or(Credential::None)
}

fn client_secret_expires(section: &Section<'_>, now: DateTime<Utc>) -> Option<NaiveDate> {
    let date = section.date("client_secret_expires")?;
    let days = (date.value - now.date_naive()).num_days();
    let remedy = "Make a new client secret in the app registration, put it in place, and change this date.";
    if days < 0 {
        section.report().warning(&date.place, format!("the client secret expired on {}", date.value), remedy);
    } else if days <= 60 {
        section.report().warning(&date.place, format!("the client secret expires on {}", date.value), remedy);
    }
    Some(date.value)
}

/// What else a browser takes along to the sign-in: a table of texts. What the flow itself sets cannot be set here.
fn authorize_params(section: &Section<'_>) -> Vec<(String, String)> {
    const OURS: [&str; 7] =
        ["client_id", "code_challenge", "code_challenge_method", "redirect_uri", "response_type", "scope", "state"];
    let Some(table) = section.table("authorize_params") else { return Vec::new() };
    let mut found = Vec::new();
    for (name, text) in table.into_texts() {
        if OURS.contains(&name.as_str()) {
            let message = "the sign-in sets this itself";
            section.report().fault(&text.place, message, "Remove it; scopes stand under [tenant.endpoints.scopes].");
        } else {
            found.push((name, text.value.to_owned()));
        }
    }
    found
}

/// `[tenant.limits]`. More than Exchange takes only moves the waiting to its refusals, but who knows what it takes in a year.
fn mailbox_limits(section: Section<'_>, default: MailboxLimits) -> MailboxLimits {
    let count = |key, most| section.number(key, 1, most).map(|number| number.value);
    let size = |count: Option<u64>, default| count.and_then(|count| usize::try_from(count).ok()).unwrap_or(default);
    let limits = MailboxLimits {
        at_once: size(count("at_once", 1000), default.at_once),
        per_minute: size(count("per_minute", 1_000_000), default.per_minute),
        recipients_per_day: count("recipients_per_day", 1_000_000_000).unwrap_or(default.recipients_per_day),
    };
    section.finish();
    limits
}

/// `smtp_service`.
fn smtp_service(section: &Section<'_>, routes: Option<&[Route]>) -> SmtpService {
    let services = [("mailboxes", SmtpService::Mailboxes), ("high-volume", SmtpService::HighVolume)];
    let Some(service) = section.word("smtp_service", &services) else { return SmtpService::default() };
    let by_graph = routes.is_some_and(|routes| routes.contains(&Route::Graph));
    if service.value == SmtpService::HighVolume && by_graph {
        let message = "accounts of High Volume Email have no mailbox that Graph could send from";
        section.report().fault(&section.place_of("routes"), message, "Write routes = [\"smtp\"], or remove it.");
    }
    service.value
}

/// `routes`; `None` stands for a fault that has been noted.
fn routes(section: &Section<'_>) -> Option<Vec<Route>> {
    const REMEDY: &str = "Write routes = [\"smtp\"], [\"smtp\", \"graph\"], [\"graph\", \"smtp\"] or [\"graph\"].";
    if !section.has("routes") {
        return Some(vec![Route::Smtp]);
    }
    let routes = section.texts("routes")?;
    let mut found = Vec::new();
    let mut wrong = routes.value.is_empty();
    if wrong {
        section.report().fault(&routes.place, "no route is named", REMEDY);
    }
    for route in &routes.value {
        let known = match route.value {
            "smtp" => Route::Smtp,
            "graph" => Route::Graph,
            other => {
                let message = format!("`{}` is not a route", other.escape_debug());
                section.report().fault(&route.place, message, REMEDY);
                wrong = true;
                continue;
            }
        };
        if found.contains(&known) {
            section.report().fault(&route.place, "this route is named twice", REMEDY);
            wrong = true;
        }
        found.push(known);
    }
    (!wrong).then_some(found)
}

fn endpoints(
    tenant: &Section<'_>,
    section: Option<Section<'_>>,
    (cloud, service): (Cloud, SmtpService),
    tenant_id: Option<&str>,
    grants: Grants,
    around: &Around<'_>,
) -> Option<Endpoints> {
    let report = tenant.report();
    let preset = cloud::preset(cloud);
    let written = section.as_ref();
    let delegated = |grant| Protocol::ALL.into_iter().any(|p| around.spoken.contains(&p) && grants.of(p) == grant);

    let at_authority = |path: &str| {
        let url = format!("{}/{}/oauth2/v2.0/{path}", preset?.authority, tenant_id?);
        Url::parse(&url).ok()
    };
    let token_url = written.and_then(|s| url(s, "token_url")).or_else(|| at_authority("token"));
    let authorize_url = written.and_then(|s| url(s, "authorize_url")).or_else(|| at_authority("authorize"));
    let device_url = written.and_then(|s| url(s, "device_url")).or_else(|| at_authority("devicecode"));
    let graph = written.and_then(|s| url(s, "graph")).or_else(|| Url::parse(preset?.graph).ok());

    let on = |host: &str, port: u16| HostPort { host: host.to_owned(), port };
    let imap = written.and_then(|s| host(s, "imap")).or_else(|| Some(on(preset?.mailbox_host, 993)));
    let pop3 = written.and_then(|s| host(s, "pop3")).or_else(|| Some(on(preset?.mailbox_host, 995)));
    let smtp_host = match service {
        SmtpService::Mailboxes => preset.map(|preset| preset.smtp_host),
        SmtpService::HighVolume => Some(cloud::HIGH_VOLUME_HOST).filter(|_| cloud == Cloud::Global),
    };
    if smtp_host.is_none() && preset.is_some() && written.is_none_or(|section| !section.has("smtp")) {
        let message = format!("where High Volume Email is in the cloud `{}` is not known", cloud.name());
        report.fault(&tenant.place_of("smtp_service"), message, "Name `smtp` under [tenant.endpoints].");
    }
    let smtp = written.and_then(|s| host(s, "smtp")).or_else(|| Some(on(smtp_host?, 587)));
    let smtp_tls = smtp_tls(written, smtp.as_ref());
    let ca_file = written.and_then(|s| ca_file(s, around.base));
    let mut scopes = scopes(written, preset, grants, around.spoken);
    if let (None, Some(graph)) = (&scopes.graph, &graph) {
        let origin = graph.origin().ascii_serialization();
        let delegated = grants.of(Protocol::Smtp).is_delegated();
        let permission = if delegated { "Mail.Send offline_access" } else { ".default" };
        scopes.graph = Some(format!("{origin}/{permission}"));
    }

    if preset.is_none() {
        let place = |key: &str| match written {
            Some(section) => section.place_of(key),
            None => tenant.place_of(&format!("endpoints.{key}")),
        };
        let require = |key: &str, used_by: &str| {
            if written.is_none_or(|section| !section.has(key)) {
                let message = format!("this is missing, and {used_by}");
                report.fault(&place(key), message, format!("Name `{key}` under [tenant.endpoints]."));
            }
        };
        require("token_url", "every grant needs it");
        if delegated(Grant::AuthorizationCode) {
            require("authorize_url", "the grant authorization_code needs it");
        }
        if delegated(Grant::DeviceCode) {
            require("device_url", "the grant device_code needs it");
        }
        for protocol in around.spoken {
            require(protocol.name(), &format!("a listener speaks {protocol}"));
        }
    }
    if let Some(section) = section {
        section.finish();
    }
    Some(Endpoints {
        token_url: token_url?,
        authorize_url,
        device_url,
        imap,
        pop3,
        smtp,
        smtp_tls,
        graph,
        ca_file,
        scopes,
    })
}

/// An `https://` address; `http://` only where it never leaves this machine.
fn url(section: &Section<'_>, key: &'static str) -> Option<Url> {
    let text = section.filled_text(key, "Write an address that starts with https://.")?;
    let report = section.report();
    let url = match Url::parse(text.value) {
        Ok(url) if url.has_host() => url,
        _ => {
            let message = format!("`{}` is not an address", text.value.escape_debug());
            report.fault(&text.place, message, "Write an address that starts with https://.");
            return None;
        }
    };
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => {
            let message = "a plain http:// address is taken on loopback only: it would carry secrets in the clear";
            report.fault(&text.place, message, "Write it with https://.");
            return None;
        }
        other => {
            report.fault(&text.place, format!("`{other}` is not https"), "Write an address that starts with https://.");
            return None;
        }
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        report.fault(
            &text.place,
            "the address holds a user name, a password or a `#`",
            "Write the address without them.",
        );
        return None;
    }
    Some(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

fn host(section: &Section<'_>, key: &'static str) -> Option<HostPort> {
    let text = section.filled_text(key, "Write a host and a port, such as \"outlook.office365.com:993\".")?;
    match text.value.parse::<HostPort>() {
        Ok(host) => Some(host),
        Err(message) => {
            let remedy = "Write a host and a port, such as \"outlook.office365.com:993\".";
            section.report().fault(&text.place, message, remedy);
            None
        }
    }
}

fn smtp_tls(written: Option<&Section<'_>>, smtp: Option<&HostPort>) -> SmtpTls {
    let modes = [("starttls", SmtpTls::Starttls), ("implicit", SmtpTls::Implicit)];
    let Some(section) = written else { return SmtpTls::Starttls };
    let mode = section.word("smtp_tls", &modes);
    if smtp.is_some_and(|smtp| smtp.port == 465) && !section.has("smtp_tls") {
        let message = "port 465 speaks TLS from the first byte, and `smtp_tls` says starttls unless set";
        section.report().warning(&section.place_of("smtp"), message, "Write smtp_tls = \"implicit\".");
    }
    mode.map_or(SmtpTls::Starttls, |mode| mode.value)
}

fn ca_file(section: &Section<'_>, base: &Base) -> Option<std::path::PathBuf> {
    let file = section.filled_text("ca_file", "Write the path of the file.")?.map(|path| base.resolve(path));
    files::check_trust_anchors(&file, section.report());
    Some(file.value)
}

fn scopes(written: Option<&Section<'_>>, preset: Option<Preset>, grants: Grants, spoken: &[Protocol]) -> Scopes {
    let section = written.and_then(|section| section.table("scopes"));
    let read = |key: &'static str| section.as_ref().and_then(|section| scope(section, key));
    let of = |protocol: Protocol| {
        let default = preset.unwrap_or(cloud::GLOBAL).scope(protocol, grants.of(protocol));
        match (read(protocol.name()), written) {
            (Some(scope), _) => {
                let asks_for = |wanted: &str| scope.split(' ').any(|one| one.ends_with(wanted));
                // What an application asks for, left over from another grant. With it a person signs in, and nothing is kept of it.
                if grants.of(protocol).is_delegated()
                    && asks_for("/.default")
                    && !asks_for("offline_access")
                    && let Some(section) = &section
                {
                    let message = "with this scope nobody stays signed in: it asks for no refresh token";
                    let remedy =
                        format!("Write the permission of {protocol} and `offline_access`, such as `{default}`.");
                    section.report().warning(&section.place_of(protocol.name()), message, remedy);
                }
                scope
            }
            (None, Some(endpoints)) if preset.is_none() && spoken.contains(&protocol) => {
                if section.as_ref().is_none_or(|section| !section.has(protocol.name())) {
                    let place = section.as_ref().unwrap_or(endpoints).place_of(&scope_key(section.is_some(), protocol));
                    let message = format!("no scope is named; `{default}` is asked for, as in the global cloud");
                    endpoints.report().warning(&place, message, "Name the scope that this token service knows.");
                }
                default
            }
            _ => default,
        }
    };
    let scopes =
        Scopes { smtp: of(Protocol::Smtp), imap: of(Protocol::Imap), pop3: of(Protocol::Pop3), graph: read("graph") };
    if let Some(section) = section {
        section.finish();
    }
    scopes
}

fn scope_key(in_scopes: bool, protocol: Protocol) -> String {
    if in_scopes { protocol.name().to_owned() } else { format!("scopes.{protocol}") }
}

/// `scope = scope-token *( SP scope-token )`, of printable ASCII without `"` and `\` (RFC 6749, section 3.3).
fn scope(section: &Section<'_>, key: &'static str) -> Option<String> {
    let text: Written<&str> = section.filled_text(key, "Write the scope.")?;
    let report: &Report = section.report();
    if !text.value.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\') {
        report.fault(
            &text.place,
            "the scope has a character that no scope has",
            "Write scopes separated by single spaces.",
        );
        return None;
    }
    Some(text.value.split(' ').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "))
}
