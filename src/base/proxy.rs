//! The proxy through which the way out leads: its address as it is written, its login, and what is reached without it.
//!
//! Names are always resolved by the proxy, for SOCKS5 too: where a proxy is needed, the names of the outside are often unknown
//! inside. So `socks5://` means here what other programs write as `socks5h://`, which is taken as well.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::base::{HostPort, Secret, is_host_name};

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// HTTP, asked with CONNECT (RFC 9110, section 9.3.6); the login is Basic (RFC 7617).
    Http,
    /// SOCKS version 5 (RFC 1928); the login is a user name and a password (RFC 1929).
    Socks5,
}

impl ProxyKind {
    /// What its address begins with.
    fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Socks5 => "socks5",
        }
    }

    /// The port where none is written: that of `http` addresses, and the one registered for SOCKS.
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Socks5 => 1080,
        }
    }
}

/// A proxy. Neither its user name nor its password is ever printed; a clone shares them.
#[derive(Clone)]
pub struct Proxy {
    kind: ProxyKind,
    address: HostPort,
    login: Option<Arc<ProxyLogin>>,
    direct: Arc<[Direct]>,
}

/// How we log in to a proxy.
#[derive(Debug)]
pub struct ProxyLogin {
    /// The user name. With some services it is a key, so it is not printed either.
    pub user: Secret<String>,
    /// The password.
    pub password: Secret<String>,
}

/// The address of a proxy cannot be used as it is written. It is not repeated, since it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// Host or port are wrong.
    #[error("there is no host in it, or one that cannot be, or no port from 1 to 65535")]
    Address,
    /// A path, a query or a fragment.
    #[error("something stands behind the host and port")]
    Behind,
    /// White space or a control character, in the clear or percent-encoded.
    #[error("there is a space or a control character in it")]
    Character,
    /// RFC 7617, section 2: a colon ends the user name.
    #[error("there is a colon in the user name, which HTTP's Basic login does not allow")]
    Colon,
    /// TLS to the proxy itself.
    #[error("https:// is not supported here: it would be TLS to the proxy itself")]
    Encrypted,
    /// An `@` without a user name.
    #[error("there is no user name in front of the `@`")]
    NoUser,
    /// A `%` that no two hexadecimal digits follow, or what is not UTF-8 when decoded.
    #[error("there is a `%` in the user name or password that stands for no character")]
    Percent,
    /// `/`, `?` or `#` in front of the `@`.
    #[error("there is a `/`, `?` or `#` in the user name or password")]
    Reserved,
    /// Another scheme, or none.
    #[error("it begins neither with http:// nor with socks5://")]
    Scheme,
    /// RFC 1929, section 2: each has 1 to 255 octets.
    #[error("a SOCKS5 proxy takes a user name and a password of 1 to 255 octets each")]
    SocksLogin,
    /// SOCKS version 4, or SOCKS without its version.
    #[error("only version 5 of SOCKS is spoken here")]
    SocksVersion,
}

impl ProxyError {
    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Address | Self::Behind | Self::Scheme => {
                "Write http://HOST:PORT or socks5://HOST:PORT, for instance \"http://proxy.contoso.com:3128\"."
            }
            Self::Character => "Write the address on one line; a space in a password is written %20.",
            Self::Colon | Self::NoUser => "Write http://USER:PASSWORD@HOST:PORT.",
            Self::Encrypted => {
                "Write http://: what passes through the proxy is TLS to the far side in any case. Only the proxy's own login would gain."
            }
            Self::Percent => "Write a `%` itself as %25, and letters beyond ASCII in UTF-8.",
            Self::Reserved => "Write `/` as %2F, `?` as %3F, `#` as %23, `@` as %40 and `:` as %3A.",
            Self::SocksLogin => "Write socks5://USER:PASSWORD@HOST:PORT.",
            Self::SocksVersion => {
                "Write socks5://, if the proxy speaks it; version 4 can neither resolve names nor take a password."
            }
        }
    }
}

impl Proxy {
    /// Reads `http://HOST[:PORT]` or `socks5://HOST[:PORT]`, with `USER:PASSWORD@` in front of the host where there is a login.
    /// User name and password are percent-encoded (RFC 3986, section 2.1); without a port it is 80, or 1080 for SOCKS.
    ///
    /// # Errors
    /// [`ProxyError`], each variant.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(ProxyError::Character);
        }
        let (scheme, rest) = text.split_once("://").ok_or(ProxyError::Scheme)?;
        let kind = match scheme.to_ascii_lowercase().as_str() {
            "http" => ProxyKind::Http,
            "socks5" | "socks5h" => ProxyKind::Socks5,
            "https" => return Err(ProxyError::Encrypted),
            "socks" | "socks4" | "socks4a" => return Err(ProxyError::SocksVersion),
            _ => return Err(ProxyError::Scheme),
        };
        let (authority, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        match behind {
            "" | "/" => {}
            _ if behind.contains('@') => return Err(ProxyError::Reserved),
            _ => return Err(ProxyError::Behind),
        }
        // No host has an `@`, so the last one is the one that counts, even if one in a password was not encoded.
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(Arc::new(ProxyLogin::parse(kind, login)?)), address),
            None => (None, authority),
        };
        let has_port = address.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        let address = match has_port {
            true => address.parse(),
            false => format!("{address}:{}", kind.default_port()).parse(),
        };
        Ok(Self { kind, address: address.map_err(|_| ProxyError::Address)?, login, direct: Arc::default() })
    }

    /// The same proxy, but these hosts are reached without it.
    #[must_use]
    pub fn except(self, direct: &[Direct]) -> Self {
        Self { direct: direct.into(), ..self }
    }

    /// Whether the way to this host leads through the proxy. `host` is a name, or an address with or without brackets. There is no
    /// other exception than those that were named: not this machine either.
    pub fn serves(&self, host: &str) -> bool {
        !self.direct.iter().any(|direct| direct.covers(host))
    }

    /// What it speaks.
    pub fn kind(&self) -> ProxyKind {
        self.kind
    }

    /// Where it is.
    pub fn address(&self) -> &HostPort {
        &self.address
    }

    /// How we log in to it.
    pub fn login(&self) -> Option<&ProxyLogin> {
        self.login.as_deref()
    }

    /// The whole address in the form that HTTP clients take (curl, reqwest): user name and password percent-encoded, and SOCKS as
    /// `socks5h`, so that they leave names to the proxy too.
    pub fn url(&self) -> Secret<String> {
        let scheme = match self.kind {
            ProxyKind::Http => "http",
            ProxyKind::Socks5 => "socks5h",
        };
        // Room for all of it at once: growing would leave copies behind.
        let login_octets = self.login().map_or(0, |login| login.user.expose().len() + login.password.expose().len());
        let mut url = String::with_capacity(3 * login_octets + self.address.host.len() + 32);
        url.push_str(scheme);
        url.push_str("://");
        if let Some(login) = self.login() {
            percent_encode(login.user.expose(), &mut url);
            url.push(':');
            percent_encode(login.password.expose(), &mut url);
            url.push('@');
        }
        url.push_str(&self.address.to_string());
        Secret::new(url)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = if self.login.is_some() { "***@" } else { "" };
        write!(f, "{}://{login}{}", self.kind.scheme(), self.address)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl ProxyLogin {
    fn parse(kind: ProxyKind, text: &str) -> Result<Self, ProxyError> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let login = Self { user: percent_decode(user)?, password: percent_decode(password)? };
        let (user, password) = (login.user.expose(), login.password.expose());
        if user.is_empty() {
            return Err(ProxyError::NoUser);
        }
        // Only now: percent-encoded ones are meant too. RFC 7617, section 2 forbids them; a line break would end the header.
        if user.chars().chain(password.chars()).any(char::is_control) {
            return Err(ProxyError::Character);
        }
        match kind {
            ProxyKind::Http if user.contains(':') => Err(ProxyError::Colon),
            ProxyKind::Socks5 if user.len() > 255 || !(1..=255).contains(&password.len()) => {
                Err(ProxyError::SocksLogin)
            }
            ProxyKind::Http | ProxyKind::Socks5 => Ok(login),
        }
    }
}

fn percent_decode(text: &str) -> Result<Secret<String>, ProxyError> {
    let mut octets = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        let octet = match first {
            b'%' => {
                let (digits, behind) = rest.split_at_checked(2).ok_or(ProxyError::Percent)?;
                rest = behind;
                let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                match digits {
                    [high, low] => digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low),
                    _ => None,
                }
                .ok_or(ProxyError::Percent)?
            }
            octet => octet,
        };
        octets.push(octet);
    }
    let text = std::str::from_utf8(&octets).map_err(|_| ProxyError::Percent)?;
    Ok(Secret::new(text.to_owned()))
}

/// Encodes everything but the unreserved characters of RFC 3986, section 2.3.
fn percent_encode(text: &str, into: &mut String) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            into.push(char::from(octet));
        } else {
            into.push('%');
            into.extend([octet >> 4, octet & 15].into_iter().filter_map(|digit| DIGITS.get(usize::from(digit))));
        }
    }
}

/// What is reached without the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Direct {
    /// A host, and every host below it if it is a domain.
    Name(String),
    /// Hosts that are named by an address of this network. Names are not resolved for the purpose.
    Network(IpNet),
}

impl FromStr for Direct {
    type Err = String;

    /// Reads `mail.contoso.test`, `contoso.test` or `.contoso.test` (the same), `10.0.0.0/8`, `::1`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        let name = text.strip_prefix('.').unwrap_or(text);
        if is_host_name(name) {
            return Ok(Self::Name(name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()));
        }
        Err(format!("`{}` is not a host, a domain or a network", text.escape_debug()))
    }
}

impl Direct {
    fn covers(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        match (self, bare.parse::<IpAddr>()) {
            (Self::Network(network), Ok(address)) => network.contains(&address.to_canonical()),
            (Self::Name(name), Err(_)) => {
                let host = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
                host.strip_suffix(name.as_str()).is_some_and(|front| front.is_empty() || front.ends_with('.'))
            }
            (Self::Network(_), Err(_)) | (Self::Name(_), Ok(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn login(proxy: &Proxy) -> Option<(&str, &str)> {
        proxy.login().map(|login| (login.user.expose().as_str(), login.password.expose().as_str()))
    }

    #[test]
    fn an_address_is_read_with_its_kind_port_and_login() {
        for (text, shown, user_and_password) in [
            ("http://proxy.contoso.test:3128", "http://proxy.contoso.test:3128", None),
            ("HTTP://Proxy.Contoso.Test:3128/", "http://proxy.contoso.test:3128", None),
            ("http://proxy", "http://proxy:80", None),
            ("socks5://10.0.0.1", "socks5://10.0.0.1:1080", None),
            ("socks5h://[2001:DB8::1]", "socks5://[2001:db8::1]:1080", None),
            ("http://[::1]:8080", "http://[::1]:8080", None),
            ("http://svc:s3cret@proxy:3128", "http://***@proxy:3128", Some(("svc", "s3cret"))),
            ("http://svc@proxy:3128", "http://***@proxy:3128", Some(("svc", ""))),
            ("http://CONTOSO%5Csvc:a%3Ab%40c%2f%25@proxy", "http://***@proxy:80", Some(("CONTOSO\\svc", "a:b@c/%"))),
            ("http://svc:p@ss:word@proxy:1", "http://***@proxy:1", Some(("svc", "p@ss:word"))),
            ("socks5://j%C3%B6rg:x@proxy", "socks5://***@proxy:1080", Some(("jörg", "x"))),
            ("socks5://a%3Ab:x@proxy", "socks5://***@proxy:1080", Some(("a:b", "x"))),
        ] {
            let proxy = Proxy::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((proxy.to_string().as_str(), login(&proxy)), (shown, user_and_password), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_address_is_told_without_repeating_it() {
        let long = "x".repeat(256);
        for (text, error) in [
            ("", ProxyError::Scheme),
            ("proxy:3128", ProxyError::Scheme),
            ("svc:s3cret@proxy:3128", ProxyError::Scheme),
            ("http:/proxy", ProxyError::Scheme),
            ("ftp://svc:s3cret@proxy", ProxyError::Scheme),
            ("https://svc:s3cret@proxy:3128", ProxyError::Encrypted),
            ("socks4://proxy", ProxyError::SocksVersion),
            ("socks://proxy", ProxyError::SocksVersion),
            ("http://", ProxyError::Address),
            ("http://svc:s3cret", ProxyError::Address),
            ("http://proxy:", ProxyError::Address),
            ("http://proxy:0", ProxyError::Address),
            ("http://proxy:s3cret", ProxyError::Address),
            ("http://proxy:65536", ProxyError::Address),
            ("http://::1:80", ProxyError::Address),
            ("http://svc:s3cret@", ProxyError::Address),
            ("http://pro xy", ProxyError::Character),
            ("http://proxy:3128\nhttp://other", ProxyError::Character),
            ("http://svc:s3cret%0d%0aX:y@proxy", ProxyError::Character),
            ("socks5://svc:s3%00cret@proxy", ProxyError::Character),
            ("http://proxy:3128/path", ProxyError::Behind),
            ("http://proxy:3128?x", ProxyError::Behind),
            ("http://svc:s3/cret@proxy:3128", ProxyError::Reserved),
            ("http://svc:s3#cret@proxy:3128", ProxyError::Reserved),
            ("http://svc:s3cret%@proxy", ProxyError::Percent),
            ("http://svc:s3cret%4@proxy", ProxyError::Percent),
            ("http://svc:s3cret%zz@proxy", ProxyError::Percent),
            ("http://svc:s3cret%ff@proxy", ProxyError::Percent),
            ("http://a%3Ab:s3cret@proxy", ProxyError::Colon),
            ("http://:s3cret@proxy", ProxyError::NoUser),
            ("http://@proxy", ProxyError::NoUser),
            ("socks5://svc@proxy", ProxyError::SocksLogin),
            (&format!("socks5://{long}:s3cret@proxy"), ProxyError::SocksLogin),
            (&format!("socks5://svc:{long}@proxy"), ProxyError::SocksLogin),
        ] {
            assert_eq!(Proxy::parse(text).unwrap_err(), error, "{text}");
            let told = format!("{error} {}", error.remedy());
            assert!(!told.contains("s3cret") && told.ends_with('.'), "{told}");
        }
    }

    #[test]
    fn no_user_name_and_no_password_is_printed() {
        let proxy = Proxy::parse("http://svc-key:hunter2@proxy:3128").unwrap();
        let shown = format!("{proxy} {proxy:?} {proxy:#?} {:?}", Some(&proxy));
        assert!(!shown.contains("hunter2") && !shown.contains("svc-key"), "{shown}");
        assert!(shown.contains("***@proxy:3128"), "{shown}");
    }

    #[test]
    fn only_what_was_named_is_reached_without_the_proxy() {
        let named = ["contoso.test", ".Corp.Example.", "10.0.0.0/8", "::1", "localhost"];
        let direct: Vec<Direct> = named.iter().map(|text| text.parse().unwrap()).collect();
        let proxy = Proxy::parse("http://proxy:3128").unwrap();
        for host in ["outlook.office365.com", "localhost", "127.0.0.1", "contoso.test"] {
            assert!(proxy.serves(host), "{host}");
        }
        let proxy = proxy.except(&direct);
        for (host, served) in [
            ("contoso.test", false),
            ("Mail.Contoso.TEST", false),
            ("mail.contoso.test.", false),
            ("notcontoso.test", true),
            ("contoso.test.evil.example", true),
            ("corp.example", false),
            ("a.b.corp.example", false),
            ("10.1.2.3", false),
            ("11.1.2.3", true),
            ("::ffff:10.1.2.3", false),
            ("::1", false),
            ("[::1]", false),
            ("::2", true),
            ("localhost", false),
            ("127.0.0.1", true),
            ("outlook.office365.com", true),
        ] {
            assert_eq!(proxy.serves(host), served, "{host}");
        }
        for wrong in ["", "*", "*.contoso.test", "contoso.test:443", "10.0.0.0/33", "a b", "http://x"] {
            assert!(wrong.parse::<Direct>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_address_for_http_clients_leaves_names_to_the_proxy() {
        let url = |text: &str| Proxy::parse(text).unwrap().url().expose().clone();
        assert_eq!(url("http://proxy:3128"), "http://proxy:3128");
        assert_eq!(url("socks5://[::1]"), "socks5h://[::1]:1080");
        assert_eq!(url("http://svc:p@ss:w%2Frd@proxy"), "http://svc:p%40ss%3Aw%2Frd@proxy:80");
    }

    proptest! {
        #[test]
        fn any_login_survives_being_written_and_read(user in "[^\\p{Cc}]{1,20}", password in "[^\\p{Cc}]{1,20}") {
            let mut text = "socks5://".to_owned();
            percent_encode(&user, &mut text);
            text.push(':');
            percent_encode(&password, &mut text);
            text.push_str("@proxy");
            let proxy = Proxy::parse(&text).unwrap();
            prop_assert_eq!(login(&proxy), Some((user.as_str(), password.as_str())));
            let again = Proxy::parse(proxy.url().expose()).unwrap();
            prop_assert_eq!(login(&again), login(&proxy));
        }

        #[test]
        fn no_text_brings_the_reading_down(text in ".{0,60}", rest in ".{0,60}") {
            drop(Proxy::parse(&text));
            drop(Proxy::parse(&format!("http://{rest}")));
            drop(Proxy::parse(&format!("socks5://{rest}@proxy")));
        }
    }
}
