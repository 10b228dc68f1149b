//! Certificates in words: whom they are for, who issued them, until when, and whether the chain ends where Microsoft's do.

use chrono::DateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::x509::X509Name;

/// A certificate, as far as a person wants to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::admin::ops::doctor) struct Certificate {
    /// Whom it is for.
    pub(in crate::admin::ops::doctor) subject: String,
    /// Who issued it.
    pub(in crate::admin::ops::doctor) issuer: String,
    /// The organisation of the issuer, or its name where it says none.
    organisation: String,
    /// Its last day.
    pub(in crate::admin::ops::doctor) until: String,
    /// The hosts that it is good for.
    pub(in crate::admin::ops::doctor) hosts: Vec<String>,
}

impl Certificate {
    /// Reads one in DER.
    pub(in crate::admin::ops::doctor) fn read(der: &[u8]) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
        let until = DateTime::from_timestamp(parsed.validity().not_after.timestamp(), 0)?;
        Some(Self {
            subject: short_name(parsed.subject()),
            issuer: short_name(parsed.issuer()),
            organisation: first(parsed.issuer().iter_organization()).unwrap_or_else(|| short_name(parsed.issuer())),
            until: until.format("%Y-%m-%d").to_string(),
            hosts: hosts(&parsed),
        })
    }
}

/// Common name, else organisation, else everything.
fn short_name(name: &X509Name<'_>) -> String {
    first(name.iter_common_name()).or_else(|| first(name.iter_organization())).unwrap_or_else(|| name.to_string())
}

fn first<'a>(mut values: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>) -> Option<String> {
    values.next()?.as_str().ok().map(str::to_owned)
}

fn hosts(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let hosts = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => match <[u8; 4]>::try_from(*octets) {
            Ok(v4) => Some(std::net::Ipv4Addr::from(v4).to_string()),
            Err(_) => <[u8; 16]>::try_from(*octets).ok().map(|v6| std::net::Ipv6Addr::from(v6).to_string()),
        },
        _ => None,
    });
    hosts.collect()
}

/// The chain that a host presented, its own certificate first.
pub(in crate::admin::ops::doctor) fn read_chain(chain: &[Vec<u8>]) -> Vec<Certificate> {
    chain.iter().filter_map(|der| Certificate::read(der)).collect()
}

/// `outlook.com`, by `DigiCert Cloud Services CA-1`, by `DigiCert Global Root CA`, until 2027-01-31.
pub(in crate::admin::ops::doctor) fn in_words(chain: &[Certificate]) -> Option<String> {
    let own = chain.first()?;
    let mut text = format!("`{}`", own.subject);
    let mut last = &own.subject;
    for certificate in chain {
        if certificate.issuer != *last {
            text.push_str(&format!(", by `{}`", certificate.issuer));
        }
        last = &certificate.issuer;
    }
    text.push_str(&format!(", until {}", own.until));
    Some(text)
}

/// The organisations that the certificates of Microsoft's hosts come from, 21Vianet's included.
const MICROSOFTS_ISSUERS: [&str; 3] = ["DigiCert", "Microsoft", "Baltimore"];

/// The ends of the names of Microsoft's hosts.
const MICROSOFTS_HOSTS: [&str; 8] = [
    "office365.com",
    "office365.us",
    "microsoftonline.com",
    "microsoftonline.us",
    "microsoftonline.cn",
    "outlook.com",
    "outlook.cn",
    "office.com",
];

/// Who issued the certificate of a host of Microsoft's, if that is nobody whom Microsoft uses: a device that opens TLS on the way.
pub(in crate::admin::ops::doctor) fn inspector(host: &str, chain: &[Certificate]) -> Option<String> {
    let is_microsofts = MICROSOFTS_HOSTS
        .iter()
        .any(|end| host.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.')));
    let last = chain.last()?;
    let expected = chain
        .iter()
        .any(|certificate| MICROSOFTS_ISSUERS.iter().any(|known| certificate.organisation.starts_with(known)));
    (is_microsofts && !expected).then(|| last.issuer.clone())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    /// A certificate for a host, and the authority's, whose name and organisation are given.
    fn chain(host: &str, authority: &str, organisation: Option<&str>) -> Vec<Certificate> {
        let authority_key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, authority);
        if let Some(organisation) = organisation {
            parameters.distinguished_name.push(DnType::OrganizationName, organisation);
        }
        let issuer = Issuer::new(parameters, authority_key);
        let mut parameters = CertificateParams::new(vec![host.to_owned(), "192.0.2.7".to_owned()]).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, host);
        let own = parameters.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        read_chain(&[own.der().to_vec(), b"no certificate".to_vec()])
    }

    #[test]
    fn a_certificate_is_told_in_words() {
        let chain = chain("outlook.office365.com", "DigiCert Cloud Services CA-1", Some("DigiCert Inc"));
        assert_eq!(chain.len(), 1);
        assert_eq!(chain[0].hosts, ["outlook.office365.com", "192.0.2.7"]);
        let words = in_words(&chain).unwrap();
        let expected = format!("`outlook.office365.com`, by `DigiCert Cloud Services CA-1`, until {}", chain[0].until);
        assert_eq!(words, expected);
        assert_eq!(in_words(&[]), None);
    }

    #[test]
    fn a_chain_of_microsofts_host_that_ends_elsewhere_names_who_inspects() {
        for (host, authority, organisation, inspects) in [
            ("outlook.office365.com", "DigiCert Cloud Services CA-1", Some("DigiCert Inc"), None),
            ("login.microsoftonline.com", "Microsoft Azure RSA TLS Issuing CA 03", Some("Microsoft Corporation"), None),
            ("partner.outlook.cn", "DigiCert Basic RSA CN CA G2", Some("DigiCert Inc"), None),
            (
                "smtp.office365.com",
                "Zscaler Intermediate Root CA",
                Some("Zscaler Inc."),
                Some("Zscaler Intermediate Root CA"),
            ),
            ("smtp.office365.com", "proxy01", None, Some("proxy01")),
            // Other people's hosts may be certified by whom they like.
            ("imap.example.org", "proxy01", None, None),
            ("notoffice365.com", "proxy01", None, None),
        ] {
            assert_eq!(
                inspector(host, &chain(host, authority, organisation)).as_deref(),
                inspects,
                "{host} {authority}"
            );
        }
    }
}
