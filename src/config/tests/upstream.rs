//! `[upstream]`: the proxy and what is reached without it.

use super::{Folder, shown};
use crate::base::Proxy;
use crate::config::{Config, ProxySource};

fn upstream(lines: &str) -> String {
    format!("[upstream]\n{lines}\n")
}

fn proxy(config: &Config) -> Option<Proxy> {
    config.upstream.read_proxy().unwrap()
}

#[test]
fn a_proxy_is_read_from_the_configuration_or_from_a_file() {
    let folder = Folder::new();
    assert!(proxy(&folder.config("")).is_none());
    folder.write("way-out", "http://svc:hunter2@proxy.contoso.test:3128\r\n");
    #[cfg(unix)]
    folder.mode("way-out", 0o600);
    for (lines, shown) in [
        ("proxy = \"http://proxy.contoso.test:3128\"", "http://proxy.contoso.test:3128"),
        ("proxy = \"socks5://10.0.0.1\"", "socks5://10.0.0.1:1080"),
        ("proxy_file = \"way-out\"", "http://***@proxy.contoso.test:3128"),
    ] {
        assert_eq!(folder.warnings(&upstream(lines)), [""; 0], "{lines}");
        let config = folder.config(&upstream(lines));
        let proxy = proxy(&config).unwrap();
        assert_eq!(proxy.to_string(), shown);
        assert!(proxy.serves("outlook.office365.com") && proxy.serves("127.0.0.1"), "{lines}");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}

#[test]
fn hosts_and_domains_and_networks_may_be_reached_without_the_proxy() {
    let folder = Folder::new();
    folder.write("way-out", "socks5://proxy\n");
    #[cfg(unix)]
    folder.mode("way-out", 0o600);
    for source in ["proxy = \"http://proxy\"", "proxy_file = \"way-out\""] {
        let config =
            folder.config(&upstream(&format!("{source}\nno_proxy = [\"contoso.test\", \"127.0.0.0/8\", \"::1\"]")));
        let proxy = proxy(&config).unwrap();
        for (host, served) in [("mail.contoso.test", false), ("127.0.0.1", false), ("outlook.office365.com", true)] {
            assert_eq!(proxy.serves(host), served, "{source} {host}");
        }
    }
    assert_eq!(
        folder.faults(&upstream("proxy = \"http://proxy\"\nno_proxy = [\"*.contoso.test\", \"10.0.0.0/8\", 7]")),
        [
            "3 upstream.no_proxy[2]: this is a number, not a text",
            "3 upstream.no_proxy[0]: `*.contoso.test` is not a host, a domain or a network",
        ]
    );
    assert_eq!(
        folder.warnings(&upstream("no_proxy = [\"contoso.test\"]")),
        ["2 upstream.no_proxy: there is no proxy, so everything is reached without one"]
    );
}

#[test]
fn a_password_in_the_configuration_is_warned_about_and_never_repeated() {
    let folder = Folder::new();
    let text = upstream("proxy = \"http://svc:hunter2@proxy:3128\"");
    let loaded = folder.parse(&text).unwrap();
    assert_eq!(shown(&loaded.warnings).len(), 1);
    assert!(loaded.warnings[0].remedy.contains("proxy_file"), "{:?}", loaded.warnings);
    assert!(!format!("{loaded:?}").contains("hunter2"), "{loaded:?}");
    for wrong in
        ["https://svc:hunter2@proxy", "svc:hunter2@proxy:3128", "http://svc:hunter2#@proxy", "socks5://hunter2@proxy"]
    {
        let faulty = folder.parse(&upstream(&format!("proxy = \"{wrong}\""))).unwrap_err();
        assert_eq!(shown(&faulty.faults).len(), 1, "{wrong}");
        assert_eq!(faulty.faults[0].key, "upstream.proxy");
        assert!(!format!("{faulty:?}").contains("hunter2"), "{faulty:?}");
    }
}

#[test]
fn what_is_wrong_with_a_proxy_is_told_wherever_its_address_is() {
    let folder = Folder::new();
    folder.write("not-one", "proxy:3128\n");
    folder.write("not-utf8", [b'h', 0xff]);
    folder.write("empty", "\n");
    for name in ["not-one", "not-utf8", "empty"] {
        #[cfg(unix)]
        folder.mode(name, 0o600);
    }
    let at = |name: &str| folder.path(name).canonicalize().unwrap().display().to_string();
    for (lines, fault) in [
        ("proxy = \"\"", "2 upstream.proxy: this is empty".to_owned()),
        ("proxy = 3128", "2 upstream.proxy: this is a number, not a text".to_owned()),
        (
            "proxy = \"https://proxy:3128\"",
            "2 upstream.proxy: this is not the address of a proxy: https:// is not supported here: it would be TLS to the proxy itself"
                .to_owned(),
        ),
        (
            "proxy_file = \"not-one\"",
            format!(
                "2 upstream.proxy_file: what `{}` holds is not the address of a proxy: it begins neither with http:// nor with \
                 socks5://",
                at("not-one")
            ),
        ),
        ("proxy_file = \"not-utf8\"", format!("2 upstream.proxy_file: what `{}` holds is not UTF-8", at("not-utf8"))),
        ("proxy_file = \"empty\"", format!("2 upstream.proxy_file: `{}` is empty", at("empty"))),
        (
            "proxy_file = \"gone\"",
            format!("2 upstream.proxy_file: `{}` does not exist", folder.0.path().canonicalize().unwrap().join("gone").display()),
        ),
        (
            "proxy_env = \"PATH\"",
            "2 upstream.proxy_env: the environment variable `PATH` is not the address of a proxy: it begins neither with http:// nor \
             with socks5://"
                .to_owned(),
        ),
        (
            "proxy = \"http://proxy\"\nproxy_env = \"POSTERN_TEST_UNSET\"",
            "3 upstream.proxy_env: `upstream.proxy` is given as well".to_owned(),
        ),
    ] {
        assert_eq!(folder.faults(&upstream(lines)), [fault], "{lines}");
    }
}

#[test]
fn a_proxy_that_is_named_and_cannot_be_read_is_never_gone_around() {
    let folder = Folder::new();
    let text = upstream("proxy_env = \"POSTERN_TEST_UNSET\"");
    assert_eq!(
        folder.warnings(&text),
        ["2 upstream.proxy_env: the environment variable `POSTERN_TEST_UNSET` is not set here"]
    );
    let config = folder.config(&text);
    assert!(matches!(config.upstream.proxy, ProxySource::Env(_)));
    let error = config.upstream.read_proxy().unwrap_err().to_string();
    assert!(error.ends_with("environment variable `POSTERN_TEST_UNSET`: it is not set"), "{error}");

    folder.write("way-out", "http://svc:hunter2@proxy");
    let config = folder.config(&upstream("proxy_file = \"way-out\""));
    folder.write("way-out", "http://svc:hunter2@");
    let error = config.upstream.read_proxy().unwrap_err().to_string();
    assert!(error.contains("there is no host in it") && !error.contains("hunter2"), "{error}");
    std::fs::remove_file(folder.path("way-out")).unwrap();
    assert!(config.upstream.read_proxy().is_err());
}
