//! `[upstream]`: how Exchange is reached, and through which proxy.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::base::proxy::{Direct, Proxy};
use crate::base::{Family, is_host_name};
use crate::config::credential;
use crate::config::files::{self, Base};
use crate::config::model::{ProxySource, Upstream};
use crate::config::raw::{Place, Report, Section};

/// The keys that name a proxy; only one of them may.
const PROXY_KEYS: [&str; 4] = ["proxy", "proxy_file", "proxy_env", "proxy_credential"];

/// Reads the section.
pub(super) fn upstream(section: Section<'_>, base: &Base) -> Upstream {
    let families = [("auto", Family::Auto), ("ipv4", Family::Ipv4), ("ipv6", Family::Ipv6)];
    let family = section.word("family", &families).map(|family| family.value).unwrap_or_default();
    let hostname = section.filled_text("hostname", "Write a host name, or remove it.").and_then(|name| {
        if is_host_name(name.value) {
            return Some(name.value.to_owned());
        }
        let message = format!("`{}` is not a host name", name.value.escape_debug());
        section.report().fault(&name.place, message, "Write it as \"mail.contoso.com\".");
        None
    });
    let proxy = proxy(&section, base);
    let no_proxy = no_proxy(&section);
    section.finish();
    Upstream { family, hostname, proxy, no_proxy }
}

fn proxy(section: &Section<'_>, base: &Base) -> ProxySource {
    let report = section.report();
    let mut found = Vec::new();
    if let Some(text) = section.filled_text("proxy", "Write http://HOST:PORT or socks5://HOST:PORT, or remove it.")
        && let Some(proxy) = check_address(&text.place, "this", text.value, report)
    {
        if proxy.login().is_some() {
            let message =
                "the proxy's password stands in the configuration, which more people read than need to know it";
            let remedy =
                "Put the whole address into a file that only Postern may read, and name the file as proxy_file.";
            report.warning(&text.place, message, remedy);
        }
        found.push((text.place, ProxySource::Address(proxy)));
    }
    if let Some(file) = section.filled_text("proxy_file", "Write the path of the file.") {
        let file = file.map(|path| base.resolve(path));
        if let Some(octets) = files::read_secret(&file, report) {
            check_octets(&file.place, &format!("what `{}` holds", file.value.display()), &octets, report);
        }
        found.push((file.place, ProxySource::File(file.value)));
    }
    if let Some(name) = credential::variable(section, "proxy_env") {
        // That it is not set here has been told; the service may have it all the same.
        if let Some(value) = std::env::var_os(&name.value).filter(|value| !value.is_empty()) {
            let octets = Zeroizing::new(value.into_encoded_bytes());
            check_octets(&name.place, &format!("the environment variable `{}`", name.value), &octets, report);
        }
        found.push((name.place, ProxySource::Env(name.value)));
    }
    if let Some(name) = credential::systemd_credential(section, "proxy_credential") {
        let file = std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(&name.value));
        if let Some(octets) = file.filter(|file| file.is_file()).and_then(|file| std::fs::read(file).ok()) {
            let octets = Zeroizing::new(octets);
            check_octets(&name.place, &format!("the systemd credential `{}`", name.value), &octets, report);
        }
        found.push((name.place, ProxySource::Credential(name.value)));
    }
    credential::only_one(report, found).map_or(ProxySource::None, |(_, source)| source)
}

/// Whether `text`, which `what` names, is the address of a proxy. It is not repeated in a fault.
fn check_address(place: &Place, what: &str, text: &str, report: &Report) -> Option<Proxy> {
    match Proxy::parse(text.trim()) {
        Ok(proxy) => Some(proxy),
        Err(error) => {
            report.fault(place, format!("{what} is not the address of a proxy: {error}"), error.remedy());
            None
        }
    }
}

fn check_octets(place: &Place, what: &str, octets: &[u8], report: &Report) {
    match std::str::from_utf8(octets) {
        Ok(text) => drop(check_address(place, what, text, report)),
        Err(_) => report.fault(place, format!("{what} is not UTF-8"), "Write the proxy's address in UTF-8."),
    }
}

fn no_proxy(section: &Section<'_>) -> Vec<Direct> {
    let report = section.report();
    let Some(list) = section.texts("no_proxy") else { return Vec::new() };
    if !PROXY_KEYS.iter().any(|key| section.has(key)) {
        let message = "there is no proxy, so everything is reached without one";
        report.warning(&list.place, message, "Name a proxy, or remove `no_proxy`.");
    }
    let mut direct = Vec::new();
    for text in list.value {
        match text.value.parse() {
            Ok(one) => direct.push(one),
            Err(message) => {
                let remedy = "Write a host or a domain (what is below it is meant too) such as \"contoso.com\", or a network such as \
                              \"10.0.0.0/8\".";
                report.fault(&text.place, message, remedy);
            }
        }
    }
    direct
}

/// The proxy cannot be had from where the configuration says it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proxy's address cannot be used from {place}: {reason}")]
pub struct NoProxyAddress {
    /// The file, variable or credential.
    pub place: String,
    /// What is wrong; not what stands there.
    pub reason: String,
}

impl Upstream {
    /// The proxy, from where it is now; `None` if none is named. What `check` could not see may be wrong here: a variable that is not set
    /// for this process, a file that has changed since.
    ///
    /// # Errors
    /// [`NoProxyAddress`]. To go on without the proxy would be another way out than the one that was configured.
    pub fn read_proxy(&self) -> Result<Option<Proxy>, NoProxyAddress> {
        let from_file = |path: &Path| std::fs::read_to_string(path).map_err(|error| error.to_string());
        let (place, read) = match &self.proxy {
            ProxySource::None => return Ok(None),
            ProxySource::Address(proxy) => return Ok(Some(proxy.clone().except(&self.no_proxy))),
            ProxySource::File(path) => (format!("`{}`", path.display()), from_file(path)),
            ProxySource::Env(name) => {
                let value = std::env::var(name).map_err(|error| match error {
                    std::env::VarError::NotPresent => "it is not set".to_owned(),
                    std::env::VarError::NotUnicode(_) => "it is not UTF-8".to_owned(),
                });
                (format!("the environment variable `{name}`"), value)
            }
            ProxySource::Credential(name) => {
                let path = std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| PathBuf::from(folder).join(name));
                let read = match path {
                    Some(path) => from_file(&path),
                    None => Err("systemd gave no credentials to this process".to_owned()),
                };
                (format!("the systemd credential `{name}`"), read)
            }
        };
        let failed = |reason: String| NoProxyAddress { place: place.clone(), reason };
        let text = Zeroizing::new(read.map_err(failed)?);
        let proxy = Proxy::parse(text.trim()).map_err(|error| failed(error.to_string()))?;
        Ok(Some(proxy.except(&self.no_proxy)))
    }
}
