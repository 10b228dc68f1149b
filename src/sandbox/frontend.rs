//! What the front ends of Exchange call themselves.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;

/// The server that SMTP names itself.
pub(super) const SMTP_HOST: &str = "SY5P282CA0097.outlook.office365.com";

/// The server whose name the greetings of IMAP and POP3 carry.
const MAILBOX_HOST: &str = "SY5P282CA0097.AUSP282.PROD.OUTLOOK.COM";

/// What stands in brackets behind a refusal of SMTP: server, time, number of the session.
pub(super) fn trailer() -> String {
    format!("[{SMTP_HOST} {} {}]", Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ"), SESSION_ID)
}

/// The number of the session that SMTP shows since about 2025.
pub(super) const SESSION_ID: &str = "08DE2A6028D26C22";

/// The name of the mailbox server as the greetings show it: base64 of UTF-16LE.
pub(super) fn blob() -> String {
    let utf16: Vec<u8> = MAILBOX_HOST.encode_utf16().flat_map(u16::to_le_bytes).collect();
    STANDARD.encode(utf16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blob_of_the_greeting_is_the_name_of_the_server_in_utf16() {
        let octets = STANDARD.decode(blob()).unwrap();
        let units: Vec<u16> = octets.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        assert_eq!(String::from_utf16(&units).unwrap(), MAILBOX_HOST);
    }
}
