//! What the tally keeps of a token request.

/// One request to the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenRequest {
    /// `grant_type`; empty if it was missing, as are the others.
    pub grant: String,
    /// `client_id`, as a field or by HTTP Basic.
    pub client_id: String,
    /// `scope`.
    pub scope: String,
    /// With what the application proved itself, or tried to.
    pub authentication: ClientAuthentication,
}

/// With what an application proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ClientAuthentication {
    /// An assertion signed with a certificate, by PS256.
    CertificatePs256,
    /// The same by RS256, the certificate named by `x5t#S256`.
    CertificateRs256,
    /// The same by RS256, the certificate named by the older `x5t`.
    CertificateRs256Sha1,
    /// A token of an external issuer.
    Federated,
    /// Nothing.
    None,
    /// A secret, as a field or by HTTP Basic.
    Secret,
    /// An assertion that is none of the above.
    Unreadable,
}
