//! The way to each host: its addresses, the connection, the certificate; and the clock, which certificates and assertions depend on.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::client::danger::ServerCertVerifier;
use url::Url;

use crate::admin::ops::doctor::Doctor;
use crate::admin::ops::doctor::certificates::{self, Certificate};
use crate::admin::ops::doctor::environment;
use crate::admin::ops::doctor::step::{Check, Outcome, StepState, Teller};
use crate::base::{Family, Fault, HostKind, HostPort, Protocol, Proxy};
use crate::broker;
use crate::config::{Grant, Route, SmtpTls, Tenant};
use crate::foundation;
use crate::upstream::look::{self, Opening, Presented};
use crate::upstream::{Settings, UpstreamError};

/// A clock that is this far off is told; tokens and certificates still bear it.
const CLOCK_WARNING_SECONDS: i64 = 120;
/// Beyond this assertions and fresh tokens are refused.
const CLOCK_FAILURE_SECONDS: i64 = 300;

/// Which ways are open.
pub(in crate::admin::ops::doctor) struct Ways {
    /// To the token service.
    pub(in crate::admin::ops::doctor) token_service: bool,
    /// To the mail hosts.
    pub(in crate::admin::ops::doctor) mail: Vec<(Protocol, bool)>,
}

/// A host to look at.
struct Target<'a> {
    /// The steps: addresses, connection, certificate.
    checks: [Check; 3],
    protocol: Option<Protocol>,
    host: HostPort,
    /// How TLS begins; `None` is without TLS, which is accepted on loopback only.
    opening: Option<Opening>,
    settings: &'a Settings,
    /// Whether Postern itself cannot do without it.
    needed: bool,
}

impl Doctor<'_> {
    /// Looks at every host of a tenant.
    pub(in crate::admin::ops::doctor) async fn ways(&self, tenant: &Tenant, teller: &Teller) -> Ways {
        let verifier = match foundation::verifier(tenant) {
            Ok(verifier) => verifier,
            Err(error) => {
                teller.run::<()>(Check::Configuration, None, async { Outcome::of_fault(&error) }).await;
                return Ways { token_service: false, mail: Vec::new() };
            }
        };
        // The family of [upstream] is for mail; the HTTP client takes any.
        let http = Settings { family: Family::Auto, ..self.settings.clone() };
        let token_service = self.token_service(tenant, &http, &verifier, teller).await;
        self.sign_in_hosts(tenant, &http, &verifier, teller).await;
        let mut mail = Vec::new();
        for protocol in self.spoken() {
            let Some(host) = tenant.endpoints.host(protocol) else { continue };
            if protocol == Protocol::Smtp && !tenant.routes.contains(&Route::Smtp) {
                continue;
            }
            let start_tls = protocol == Protocol::Smtp && tenant.endpoints.smtp_tls == SmtpTls::Starttls;
            let target = Target {
                checks: [Check::Dns, Check::Tcp, Check::Tls],
                protocol: Some(protocol),
                host: host.clone(),
                opening: Some(if start_tls { Opening::SmtpStartTls } else { Opening::Implicit }),
                settings: &self.settings,
                needed: true,
            };
            mail.push((protocol, way(&target, &verifier, teller).await));
        }
        Ways { token_service, mail }
    }

    async fn token_service(
        &self,
        tenant: &Tenant,
        http: &Settings,
        verifier: &Arc<dyn ServerCertVerifier>,
        teller: &Teller,
    ) -> bool {
        let checks = [Check::TokenServiceDns, Check::TokenServiceTcp, Check::TokenServiceTls];
        let url = &tenant.endpoints.token_url;
        if let Some(host) = host_of(url) {
            let environments = match &self.proxy {
                None if url.scheme() == "https" => environment::proxy(&host, |name| std::env::var(name).ok()),
                _ => None,
            };
            if let Some(proxy) = environments {
                let why = format!(
                    "token requests go through {} of the environment ({}); mail does not: if only a proxy leads out, name it as \
                     `proxy` under [upstream]",
                    proxy.variable, proxy.address
                );
                checks.into_iter().for_each(|check| teller.skip(check, None, &why));
            } else {
                let opening = (url.scheme() == "https").then_some(Opening::Implicit);
                let target = Target { checks, protocol: None, host, opening, settings: http, needed: true };
                if !way(&target, verifier, teller).await {
                    teller.skip(Check::Clock, None, "there is no way to the token service");
                    return false;
                }
            }
        }
        let Some(settings) = self.tenants.get(&tenant.name) else { return false };
        let clock = async {
            match broker::hear(settings).await {
                Ok(heard) => clock(heard.clock_ahead_seconds),
                Err(error) => Outcome::of_fault(&error),
            }
        };
        teller.run(Check::Clock, None, clock).await.is_some()
    }

    /// The hosts where people sign in, where they are others than the token service.
    async fn sign_in_hosts(
        &self,
        tenant: &Tenant,
        http: &Settings,
        verifier: &Arc<dyn ServerCertVerifier>,
        teller: &Teller,
    ) {
        let mut known: Vec<HostPort> = host_of(&tenant.endpoints.token_url).into_iter().collect();
        for (grant, url) in [
            (Grant::AuthorizationCode, &tenant.endpoints.authorize_url),
            (Grant::DeviceCode, &tenant.endpoints.device_url),
        ] {
            let used = self.spoken().into_iter().any(|protocol| tenant.grants.of(protocol) == grant);
            let Some(url) = url.as_ref().filter(|_| used) else { continue };
            let Some(host) = host_of(url).filter(|host| !known.contains(host)) else { continue };
            known.push(host.clone());
            let target = Target {
                checks: [Check::SignInDns, Check::SignInTcp, Check::SignInTls],
                protocol: None,
                host,
                opening: (url.scheme() == "https").then_some(Opening::Implicit),
                settings: http,
                needed: false,
            };
            way(&target, verifier, teller).await;
        }
    }
}

/// Host and port of an address.
fn host_of(url: &Url) -> Option<HostPort> {
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    Some(HostPort { host, port: url.port_or_known_default()? })
}

/// Goes the way to a host, step by step; whether it is open.
async fn way(target: &Target<'_>, verifier: &Arc<dyn ServerCertVerifier>, teller: &Teller) -> bool {
    let [dns, tcp, tls] = target.checks;
    let (host, settings) = (&target.host, target.settings);
    let proxy = settings.proxy.as_ref().filter(|proxy| proxy.serves(&host.host));
    if teller.run(dns, target.protocol, async { target.soften(addresses(host, proxy, settings).await) }).await.is_none()
    {
        teller.skip(tcp, target.protocol, "its name leads nowhere");
        teller.skip(tls, target.protocol, "there is no connection");
        return false;
    }
    let connect = async { target.soften(connection(host, proxy, settings).await) };
    let Some(stream) = teller.run(tcp, target.protocol, connect).await else {
        teller.skip(tls, target.protocol, "there is no connection");
        return false;
    };
    let Some(opening) = target.opening else {
        let said = "without TLS, which is accepted on this machine alone".to_owned();
        teller.tell(tls, target.protocol, StepState::Ok, said, None);
        return true;
    };
    let handshake = async {
        let (presented, done) = look::handshake(stream, host, opening, Arc::clone(verifier), settings).await;
        target.soften(judge(host, &presented, done))
    };
    teller.run(tls, target.protocol, handshake).await.is_some()
}

impl Target<'_> {
    /// What people's browsers need, and Postern only while somebody signs in, is no failure of Postern's.
    fn soften<T>(&self, outcome: Outcome<T>) -> Outcome<T> {
        outcome.softened((!self.needed).then_some("needed only while somebody signs in"))
    }
}

async fn addresses(host: &HostPort, proxy: Option<&Proxy>, settings: &Settings) -> Outcome<()> {
    // Behind a proxy, the proxy is what has to be found here.
    let sought = proxy.map_or(host, Proxy::address);
    let said_before = match proxy {
        Some(proxy) => format!("the proxy {proxy} resolves {}; its own: ", host.host),
        None => format!("{}: ", host.host),
    };
    if !matches!(sought.kind(), HostKind::Name(_)) {
        let said = match proxy {
            Some(proxy) => format!("left to the proxy {proxy}"),
            None => format!("{} is an address, nothing has to be resolved", sought.host),
        };
        return Outcome::ok(said, ());
    }
    let name = &sought.host;
    let remedy = || {
        let key = if proxy.is_some() { "`proxy` under [upstream]" } else { "[tenant.endpoints]" };
        let through =
            "If only a proxy leads out of here, name it as `proxy` under [upstream]; it resolves names itself.";
        let own = format!(
            "Check the name (it stands under {key} or comes from `cloud`) and this machine's name resolution: `getent hosts {name}`."
        );
        Some(if proxy.is_some() { own } else { format!("{own} {through}") })
    };
    match look::addresses(sought, settings).await {
        Err(why) => Outcome::failed(format!("{name} cannot be resolved: {why}"), remedy()),
        Ok(found) => {
            let usable = |address: &&SocketAddr| match settings.family {
                Family::Auto => true,
                Family::Ipv4 => address.is_ipv4(),
                Family::Ipv6 => address.is_ipv6(),
            };
            let shown = shown(&found);
            match (found.iter().find(usable), settings.family) {
                (Some(_), Family::Auto) => Outcome::ok(format!("{said_before}{shown}"), ()),
                (Some(_), family) => {
                    Outcome::ok(format!("{said_before}{shown}; only {} is used", family_name(family)), ())
                }
                (None, Family::Auto) => Outcome::failed(format!("{name} has no address"), remedy()),
                (None, family) => Outcome::failed(
                    format!("{name} has no {} address, only {shown}", family_name(family)),
                    Some("Take `family` out of [upstream], or set it to \"auto\".".to_owned()),
                ),
            }
        }
    }
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::Auto => "IPv4 or IPv6",
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    }
}

/// The first of each family, and how many there are.
fn shown(found: &[SocketAddr]) -> String {
    let of = |name: &str, addresses: Vec<&SocketAddr>| {
        let first = addresses.first()?;
        let more = match addresses.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!("{name} {}{more}", first.ip()))
    };
    let (v4, v6): (Vec<&SocketAddr>, Vec<&SocketAddr>) = found.iter().partition(|address| address.is_ipv4());
    [of("IPv4", v4), of("IPv6", v6)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

async fn connection(host: &HostPort, proxy: Option<&Proxy>, settings: &Settings) -> Outcome<tokio::net::TcpStream> {
    match look::connection(host, settings).await {
        Ok(stream) => {
            let said = match (proxy, stream.peer_addr()) {
                (Some(proxy), _) => format!("{host} through the proxy {proxy}"),
                (None, Ok(peer)) if peer.ip().to_string() == host.host => host.to_string(),
                (None, Ok(peer)) => format!("{host} at {}", peer.ip()),
                (None, Err(_)) => host.to_string(),
            };
            Outcome::ok(said, stream)
        }
        Err(error @ UpstreamError::Proxy { .. }) => Outcome::of_fault(&error),
        Err(error) => {
            let port = host.port;
            let remedy = format!(
                "Ask whoever runs the firewall to let this machine out to {host}; some networks and hosting providers block port {port}. \
                 {}",
                error.remedy().unwrap_or_default()
            );
            Outcome::failed(error.to_string(), Some(remedy.trim_end().to_owned()))
        }
    }
}

/// Judges a handshake.
fn judge(host: &HostPort, presented: &Presented, done: Result<(), UpstreamError>) -> Outcome<()> {
    let chain = certificates::read_chain(&presented.chain);
    let shown = certificates::in_words(&chain);
    let inspector = certificates::inspector(&host.host, &chain);
    match done {
        Ok(()) => {
            let (version, suite) = presented.agreed.clone().unwrap_or_default();
            let said = format!("{version}, {suite}; {}", shown.unwrap_or_default());
            match inspector {
                None => Outcome::ok(said, ()),
                Some(issuer) => Outcome::warning(
                    format!("{said}. The chain does not end at Microsoft or DigiCert: `{issuer}` opens TLS on the way"),
                    format!(
                        "If `{issuer}` is your company's own, it reads tokens and mail; ask whoever runs it to leave {} out. If \
                         nobody knows it, stop here: somebody is in the way.",
                        host.host
                    ),
                    (),
                ),
            }
        }
        Err(error) => {
            let said = match &shown {
                Some(shown) => format!("{error}; presented was {shown}"),
                None => error.to_string(),
            };
            let remedy = match &presented.fault {
                Some(fault) => Some(remedy(host, fault, &chain, inspector.as_deref())),
                None if chain.is_empty() => Some(nothing_presented(host, &error)),
                None => error.remedy(),
            };
            Outcome::failed(said, remedy)
        }
    }
}

/// What to do where it did not come to a certificate.
fn nothing_presented(host: &HostPort, error: &UpstreamError) -> String {
    let port = "Check host and port under [tenant.endpoints]";
    match error {
        UpstreamError::Protocol { .. } => {
            format!(
                "{port}, and `smtp_tls` there: port 587 is \"starttls\", port 465 \"implicit\". Exchange's is smtp.office365.com:587."
            )
        }
        _ => format!(
            "No certificate was presented. {port}; if they are right, a firewall or proxy on the way lets connections to {host} through, \
             but not TLS: ask whoever runs it. It may also be an outage: Microsoft 365 admin centre, Health, Service health."
        ),
    }
}

fn remedy(host: &HostPort, fault: &CertificateError, chain: &[Certificate], inspector: Option<&str>) -> String {
    let own = chain.first();
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "Look at this machine's clock first. If it is right, the certificate of {host} has run out on {}: whoever runs that server \
             must renew it.",
            own.map_or("an earlier day", |own| own.until.as_str())
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "Set this machine's clock right; the certificate is not good yet by it.".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let names = own.map(|own| own.hosts.join(", ")).filter(|names| !names.is_empty());
            format!(
                "The certificate is for {}, not for {}. Correct the host under [tenant.endpoints]; if it is right, name resolution or a \
                 proxy leads to another server.",
                names.unwrap_or_else(|| "no host at all".to_owned()),
                host.host
            )
        }
        CertificateError::UnknownIssuer => {
            let issuer = inspector.or(chain.last().map(|last| last.issuer.as_str())).unwrap_or("its issuer");
            format!(
                "`{issuer}` is trusted neither by this system nor by `ca_file`. If that is your company's CA, which inspects TLS, put its \
                 certificate (PEM) into a file and name it as `ca_file` under [tenant.endpoints], or have {} left out of the inspection. \
                 If nobody knows it, do not trust it: somebody is in the way.",
                host.host
            )
        }
        _ => "If the network or a proxy inspects TLS, put its CA into `ca_file` under [tenant.endpoints]; check this machine's clock."
            .to_owned(),
    }
}

/// Judges this machine's clock.
fn clock(ahead_seconds: Option<i64>) -> Outcome<()> {
    let Some(ahead) = ahead_seconds else {
        return Outcome::ok("the token service answers, but does not say what time it is", ());
    };
    let off = ahead.abs();
    let how = if ahead > 0 { "behind" } else { "ahead of" };
    let said = match off {
        0..=2 => "it agrees with the token service's".to_owned(),
        _ => format!("it is {off} s {how} the token service's"),
    };
    let remedy = "Set it right and keep it so: `timedatectl set-ntp true`, on Windows `w32tm /resync`.";
    if off > CLOCK_FAILURE_SECONDS {
        let remedy =
            format!("{remedy} With a clock as wrong as this, assertions, tokens and certificates are refused.");
        Outcome::failed_going_on(said, remedy, ())
    } else if off > CLOCK_WARNING_SECONDS {
        Outcome::warning(said, remedy, ())
    } else {
        Outcome::ok(said, ())
    }
}
