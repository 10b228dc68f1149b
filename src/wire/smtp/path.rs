//! Reverse and forward paths (RFC 5321, section 4.1.2).
//!
//! The rules: the address keeps its octets as received, quoted local parts included. A source route is dropped (RFC 5321,
//! section 4.1.1.3 and appendix F.2). An address without a domain is let through, since Exchange decides what it means.
//! Printers and scripts write addresses without brackets, and a space before them; both are taken, and written cleanly.

use std::fmt;

use crate::base::Mailbox;
use crate::wire::smtp::Refusal;

/// An address, or nobody (`<>`). It holds no CR, LF, NUL, control character or angle bracket, so it can stand in a command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path(String);

impl Path {
    /// `<>`: nobody, the sender of reports.
    pub fn null() -> Self {
        Self(String::new())
    }

    /// The path to a mailbox.
    pub fn of_mailbox(mailbox: &Mailbox) -> Self {
        Self(mailbox.as_str().to_owned())
    }

    /// The address, or `None` for `<>`.
    pub fn address(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(self.0.as_str())
    }

    /// Whether it needs SMTPUTF8 (RFC 6531).
    pub fn needs_smtputf8(&self) -> bool {
        !self.0.is_ascii()
    }

    /// Takes the path off the front of the arguments, and gives the parameters that follow it.
    pub(super) fn split_from(arguments: &[u8]) -> Result<(Self, &[u8]), Refusal> {
        let arguments = arguments.trim_ascii_start();
        let Some(inside) = arguments.strip_prefix(b"<") else {
            let end = memchr::memchr(b' ', arguments).unwrap_or(arguments.len());
            let (word, rest) = arguments.split_at_checked(end).ok_or(Refusal::Path)?;
            if word.is_empty() {
                return Err(Refusal::Path);
            }
            return Ok((Self::read(word)?, rest));
        };
        let end = closing_bracket(inside).ok_or(Refusal::Path)?;
        let address = inside.get(..end).ok_or(Refusal::Path)?;
        let rest = inside.get(end + 1..).ok_or(Refusal::Path)?;
        if !(rest.is_empty() || rest.starts_with(b" ")) {
            return Err(Refusal::Path);
        }
        if address.is_empty() {
            return Ok((Self::null(), rest));
        }
        Ok((Self::read(without_route(address)?)?, rest))
    }

    fn read(address: &[u8]) -> Result<Self, Refusal> {
        if address.len() > MAX_ADDRESS_OCTETS {
            return Err(Refusal::Path);
        }
        let text = std::str::from_utf8(address).map_err(|_| Refusal::Path)?;
        if is_address(text) { Ok(Self(text.to_owned())) } else { Err(Refusal::Path) }
    }
}

/// A bare address, without brackets; the empty text is nobody.
impl std::str::FromStr for Path {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() { Ok(Self::null()) } else { Self::read(text.as_bytes()) }
    }
}

/// With its brackets, as in a command.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.0)
    }
}

/// A local part of 64 octets, the `@`, and a domain of 255 (RFC 5321, section 4.5.3.1).
const MAX_ADDRESS_OCTETS: usize = 320;

/// Where the bracket is that closes the path: one inside a quoted string is not it.
fn closing_bracket(inside: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (place, octet) in inside.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(place),
            _ => {}
        }
    }
    None
}

/// `A-d-l ":"`, as in `@one,@two:ann@three`, is dropped.
fn without_route(address: &[u8]) -> Result<&[u8], Refusal> {
    if !address.starts_with(b"@") {
        return Ok(address);
    }
    let end = memchr::memchr(b':', address).ok_or(Refusal::Path)?;
    let (route, behind) = address.split_at_checked(end).ok_or(Refusal::Path)?;
    let hops_fine = route
        .split(|octet| *octet == b',')
        .all(|hop| hop.strip_prefix(b"@").and_then(|domain| std::str::from_utf8(domain).ok()).is_some_and(is_domain));
    if hops_fine { behind.strip_prefix(b":").ok_or(Refusal::Path) } else { Err(Refusal::Path) }
}

/// `Mailbox = Local-part "@" ( Domain / address-literal )`, or a local part alone.
fn is_address(text: &str) -> bool {
    if let Some(quoted) = text.strip_prefix('"') {
        let Some(length) = quoted_length(quoted) else { return false };
        // An empty quoted name is nobody's, and has crashed servers.
        let (name, rest) = quoted.split_at(length);
        let rest = rest.strip_prefix('"').unwrap_or_default();
        return !name.is_empty() && (rest.is_empty() || rest.strip_prefix('@').is_some_and(is_domain));
    }
    match text.split_once('@') {
        Some((local, domain)) => is_dot_string(local) && is_domain(domain),
        None => is_dot_string(text),
    }
}

/// How long the inside of a quoted string is, whose opening quote is gone. `QcontentSMTP` (RFC 5321, section 4.1.2)
fn quoted_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (place, c) in text.char_indices() {
        match c {
            c if c.is_control() => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(place),
            _ => {}
        }
    }
    None
}

/// Atoms and dots. Dots that stand wrongly are let through: mobile operators have given out such addresses.
fn is_dot_string(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| !c.is_control() && !c.is_whitespace() && !"<>()[]\\,;:\"@".contains(c))
}

/// A name, or an address literal such as `[192.0.2.1]`.
fn is_domain(text: &str) -> bool {
    if let Some(literal) = text.strip_prefix('[') {
        let inside = literal.strip_suffix(']').unwrap_or_default();
        return !inside.is_empty()
            && inside.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".:-".contains(&octet));
    }
    // `_` is in no host name, but in many domains of Windows networks.
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c) || (!c.is_ascii() && c.is_alphanumeric());
    !text.is_empty() && text.len() <= 255 && text.chars().all(fits) && !text.starts_with('.') && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_with_its_octets_or_refused() {
        for (arguments, expected) in [
            (&b"<ann@contoso.test>"[..], Some("<ann@contoso.test>")),
            (b" <Ann@Contoso.test>", Some("<Ann@Contoso.test>")), // a space before the path
            (b"ann@contoso.test", Some("<ann@contoso.test>")),    // no brackets
            (b"<>", Some("<>")),
            (b"<scanner>", Some("<scanner>")),
            (b"<o'neil+tag=x@contoso.test>", Some("<o'neil+tag=x@contoso.test>")),
            (b"<a..b.@x.test>", Some("<a..b.@x.test>")),
            (b"<\"a b\"@x.test>", Some("<\"a b\"@x.test>")),
            (b"<\"a>b\"@x.test>", Some("<\"a>b\"@x.test>")),
            (b"<\"a\\\"@b\"@x.test>", Some("<\"a\\\"@b\"@x.test>")),
            (b"<ann@[192.0.2.1]>", Some("<ann@[192.0.2.1]>")),
            (b"<ann@[IPv6:2001:db8::1]>", Some("<ann@[IPv6:2001:db8::1]>")),
            (b"<@one.test,@two.test:ann@x.test>", Some("<ann@x.test>")),
            ("<jörg@x.test>".as_bytes(), Some("<jörg@x.test>")),
            (b"", None),
            (b"<", None),
            (b"<ann@x.test", None),
            (b"<ann@x.test>x", None),
            (b"<\"\"@x.test>", None),
            (b"<\"a@x.test>", None),
            (b"<\"a\"b@x.test>", None),
            (b"<a b@x.test>", None),
            (b"<a@b@x.test>", None),
            (b"<a@>", None),
            (b"<@x.test>", None),
            (b"<@one:>", None),
            (b"<@one,two:ann@x>", None),
            (b"<a\x7f@x.test>", None),
            (b"<\"a\x01\"@x.test>", None),
            (b"<ann@x.test\x00>", None),
            (b"<ann@\xff>", None),
            (b"<<ann@x.test>>", None),
            (b"<ann@x..test>", None),
            (b"<ann@[]>", None),
            (b"<ann@[1] 2]>", None),
        ] {
            let found = Path::split_from(arguments).ok().map(|(path, _)| path.to_string());
            assert_eq!(found.as_deref(), expected, "{}", String::from_utf8_lossy(arguments));
        }
        assert!(Path::split_from(format!("<{}@x>", "a".repeat(400)).as_bytes()).is_err());
    }
}
