//! No claim and no token leaves its place in a SASL string.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::base::{Mailbox, Secret};
use postern::wire::sasl::{base64_decode_strict, decode_plain, xoauth2};

fuzz_target!(|input: &[u8]| {
    let message = base64_decode_strict(input);
    for message in [message.as_ref().map_or(&[][..], |message| message.expose()), input] {
        if let Ok(claim) = decode_plain(message) {
            let octets = [claim.login.as_slice(), claim.password.expose()].concat();
            assert!(!octets.iter().any(|octet| matches!(octet, 0 | 1 | b'\r' | b'\n')));
            assert!(!claim.login.is_empty() && !claim.password.expose().is_empty());
        }
    }
    let text = String::from_utf8_lossy(input);
    let (user, token) = text.split_once(' ').unwrap_or(("ann@x.test", &text));
    if let (Ok(user), token) = (user.parse::<Mailbox>(), Secret::new(token.to_owned()))
        && let Ok(response) = xoauth2(&user, &token)
        && let Ok(message) = base64_decode_strict(response.expose().as_bytes())
    {
        assert_eq!(message.expose().iter().filter(|octet| **octet == 1).count(), 3);
    }
});
