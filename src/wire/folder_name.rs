//! The names of IMAP's mailboxes, in modified UTF-7 (RFC 3501, section 5.1.3).

use base64::Engine as _;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// A folder's name out of modified UTF-7 (RFC 3501, section 5.1.3); as it stands where it is none.
pub fn decoded(name: &str) -> String {
    let configuration = GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let base64 = GeneralPurpose::new(&IMAP_MUTF7, configuration);
    let mut text = String::new();
    let mut rest = name;
    while let Some((plain, coded)) = rest.split_once('&') {
        text.push_str(plain);
        let Some((coded, behind)) = coded.split_once('-') else { return name.to_owned() };
        rest = behind;
        if coded.is_empty() {
            text.push('&');
            continue;
        }
        let Ok(octets) = base64.decode(coded) else { return name.to_owned() };
        let units: Vec<u16> = octets.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
        match String::from_utf16(&units) {
            Ok(decoded) => text.push_str(&decoded),
            Err(_) => return name.to_owned(),
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_folders_are_read_in_every_script() {
        for (coded, name) in [
            ("Sent Items", "Sent Items"),
            ("&AMk-l&AOk-ments envoy&AOk-s", "Éléments envoyés"),
            ("Elementy wys&AUI-ane", "Elementy wysłane"),
            ("&kAFP4W4IMH8wojCkMMYw4A-", "送信済みアイテム"),
            ("A &- B", "A & B"),
            ("broken &", "broken &"),
            ("broken &!!-", "broken &!!-"),
        ] {
            assert_eq!(decoded(coded), name, "{coded}");
        }
    }
}
