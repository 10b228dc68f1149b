//! What an app password for reading only lets through, whatever client and server say: whole lines with a command that reads, and literals;
//! and what one lets through that drops copies of sent messages: everything else, as it was said.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::base::Protocol;
use postern::wire::watch::{SentFolder, SentWatch, Watch};

/// Each octet 0xFE and 0xFF changes sides.
fn play(input: &[u8], mut watch: Watch) -> Vec<u8> {
    let (mut said, mut onward) = (Vec::new(), Vec::new());
    for (number, part) in input.split(|octet| *octet >= 0xFE).enumerate() {
        if number % 2 == 0 {
            said.extend_from_slice(part);
        } else {
            watch.server(part);
        }
        loop {
            let taken = watch.client(&said, &mut onward);
            said.drain(..taken);
            if let Some(copy) = watch.question() {
                watch.told(copy.octets % 2 == 0);
                continue;
            }
            if watch.answer().is_none() {
                break;
            }
        }
    }
    onward
}

fuzz_target!(|input: &[u8]| {
    let Some((pop3, imap)) = Watch::of(Protocol::Pop3).zip(Watch::of(Protocol::Imap)) else { return };
    let onward = play(input, pop3);
    for line in onward.split_inclusive(|octet| *octet == b'\n') {
        let text = String::from_utf8_lossy(line).to_ascii_uppercase();
        let verb = text.trim_end().split(' ').next().unwrap_or_default();
        let reads = ["STAT", "NOOP", "RSET", "LAST", "RETR", "TOP", "CAPA", "LIST", "UIDL"].contains(&verb);
        assert!(reads && line.ends_with(b"\r\n"), "{text:?}");
    }
    // The model of a server that reads commands is in the property test; here nothing may go on that no part of a command can be.
    let onward = play(input, imap);
    assert!(onward.len() <= input.len() + 64 + 7 * input.len() / 8);
    // Nothing is put in but the `+` of an announcement, and what is said is left out in whole commands only.
    let onward = play(input, Watch::Sent(Box::new(SentWatch::new(SentFolder::OneOf(&["Sent"]), true))));
    let mut said = input.iter().filter(|octet| **octet < 0xFE);
    assert!(onward.iter().all(|octet| *octet == b'+' || said.any(|other| other == octet)), "{onward:?}");
});
