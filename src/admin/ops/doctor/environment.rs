//! The proxy that the environment names. Token requests go through it where the configuration names none; mail does not.

use crate::base::HostPort;

/// A proxy of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::admin::ops::doctor) struct EnvironmentProxy {
    /// The variable.
    pub(in crate::admin::ops::doctor) variable: &'static str,
    /// Host and port alone: there may be a password in the rest.
    pub(in crate::admin::ops::doctor) address: String,
}

/// The one that a request to this host by HTTPS goes through, by what `variable` says.
pub(in crate::admin::ops::doctor) fn proxy(
    host: &HostPort,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<EnvironmentProxy> {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let exceptions = set("NO_PROXY").or_else(|| set("no_proxy")).unwrap_or_default();
    if exceptions.split(',').any(|exception| is_excepted(&host.host, exception.trim())) {
        return None;
    }
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let (variable, value) = names.into_iter().find_map(|name| Some((name, set(name)?)))?;
    let rest = value.split_once("://").map_or(value.as_str(), |(_, rest)| rest);
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let address = place.split(['/', '?', '#']).next().unwrap_or_default().to_owned();
    Some(EnvironmentProxy { variable, address })
}

fn is_excepted(host: &str, exception: &str) -> bool {
    let domain = exception.trim_start_matches('.');
    exception == "*"
        || (!domain.is_empty()
            && host.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_proxy_is_named_without_its_password() {
        let found = |host: &str, set: &[(&str, &str)]| {
            let host = HostPort { host: host.to_owned(), port: 443 };
            let set: Vec<(String, String)> = set.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            proxy(&host, |name| set.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()))
                .map(|proxy| format!("{} {}", proxy.variable, proxy.address))
        };
        let login = "login.microsoftonline.com";
        assert_eq!(found(login, &[]), None);
        assert_eq!(found(login, &[("HTTPS_PROXY", "")]), None);
        let with_password = [("https_proxy", "http://svc:p@ss@proxy.corp:3128/")];
        assert_eq!(found(login, &with_password).as_deref(), Some("https_proxy proxy.corp:3128"));
        assert_eq!(found(login, &[("ALL_PROXY", "proxy:80")]).as_deref(), Some("ALL_PROXY proxy:80"));
        for excepted in ["*", "localhost,.microsoftonline.com", "microsoftonline.com", login] {
            assert_eq!(found(login, &[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", excepted)]), None, "{excepted}");
        }
        assert!(found(login, &[("HTTPS_PROXY", "http://p:1"), ("no_proxy", "online.com")]).is_some());
    }
}
