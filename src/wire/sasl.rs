//! SASL: PLAIN (RFC 4616) and LOGIN in; XOAUTH2 out, and its error answer back.

use crate::base::Secret;

/// Who a client says it is. Both parts are bytes as received: that they are UTF-8 is for `auth` to find out, so that a
/// login that is not is refused like any wrong one.
#[derive(Debug)]
pub struct Claim {
    /// The login name.
    pub login: Vec<u8>,
    /// The app password.
    pub password: Secret<Vec<u8>>,
}
