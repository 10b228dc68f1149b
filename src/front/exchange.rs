//! One SASL exchange, the same in all three protocols: PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login), and nothing
//! else, whatever a client offers.

use crate::base::Secret;
use crate::wire::sasl::{Claim, MalformedPlain, base64_decode_strict, decode_plain};

/// What the exchange waits for.
#[derive(Debug)]
pub(super) enum Exchange {
    /// The PLAIN message.
    PlainMessage,
    /// The login name of LOGIN.
    LoginName,
    /// The password of LOGIN.
    LoginPassword {
        /// The name that came before.
        login: Secret<Vec<u8>>,
    },
}

/// Where an exchange stands.
#[derive(Debug)]
pub(super) enum Turn {
    /// Ask the client for more, with this challenge (already base64).
    Ask(Exchange, &'static str),
    /// The claim is complete.
    Claim(Claim),
    /// The client gave up.
    Cancelled,
    /// What came could never be a login.
    Malformed,
}

/// The longest response that is read (RFC 4954, section 4).
pub(super) const RESPONSE_OCTETS: usize = 12_288;

impl Exchange {
    /// Begins with the mechanism of this name and the initial response, if the client sent one: `=` is an empty one
    /// (RFC 4954, section 4). `None` for a mechanism that is not offered: XOAUTH2 in particular is for us to speak.
    pub(super) fn begin(mechanism: &[u8], initial: Option<&[u8]>) -> Option<Turn> {
        let (exchange, challenge) = match mechanism.to_ascii_uppercase().as_slice() {
            b"PLAIN" => (Self::PlainMessage, ""),
            b"LOGIN" => (Self::LoginName, USERNAME),
            _ => return None,
        };
        Some(match initial {
            // A space behind the mechanism and nothing after it: no response, by anyone's reading.
            None | Some(b"") => Turn::Ask(exchange, challenge),
            Some(b"=") => exchange.take(Secret::new(Vec::new())),
            Some(response) => exchange.answer(response),
        })
    }

    /// Takes the client's response, still in base64.
    pub(super) fn answer(self, response: &[u8]) -> Turn {
        if response == b"*" {
            return Turn::Cancelled;
        }
        match base64_decode_strict(response) {
            Ok(response) => self.take(response),
            Err(_) => Turn::Malformed,
        }
    }

    fn take(self, response: Secret<Vec<u8>>) -> Turn {
        let claim: Result<Claim, MalformedPlain> = match self {
            Self::PlainMessage => decode_plain(response.expose()),
            Self::LoginName if response.expose().is_empty() => return Turn::Malformed,
            Self::LoginName => return Turn::Ask(Self::LoginPassword { login: response }, PASSWORD),
            Self::LoginPassword { login } => Claim::new(login.expose().clone(), response.expose().clone()),
        };
        claim.map_or(Turn::Malformed, Turn::Claim)
    }
}

/// `Username:`
const USERNAME: &str = "VXNlcm5hbWU6";
/// `Password:`
const PASSWORD: &str = "UGFzc3dvcmQ6";
