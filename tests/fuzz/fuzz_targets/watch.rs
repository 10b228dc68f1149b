//! What an app password for reading only lets through, whatever client and server say: whole lines with a command that reads, and literals.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::base::Protocol;
use postern::wire::watch::Watch;

/// Each octet 0xFE and 0xFF changes sides.
fn play(input: &[u8], protocol: Protocol) -> Vec<u8> {
    let Some(mut watch) = Watch::of(protocol) else { return Vec::new() };
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
            if watch.answer().is_none() {
                break;
            }
        }
    }
    onward
}

fuzz_target!(|input: &[u8]| {
    let onward = play(input, Protocol::Pop3);
    for line in onward.split_inclusive(|octet| *octet == b'\n') {
        let text = String::from_utf8_lossy(line).to_ascii_uppercase();
        let verb = text.trim_end().split(' ').next().unwrap_or_default();
        let reads = ["STAT", "NOOP", "RSET", "LAST", "RETR", "TOP", "CAPA", "LIST", "UIDL"].contains(&verb);
        assert!(reads && line.ends_with(b"\r\n"), "{text:?}");
    }
    // The model of a server that reads commands is in the property test; here nothing may go on that no part of a command can be.
    let onward = play(input, Protocol::Imap);
    assert!(onward.len() <= input.len() + 64 + 7 * input.len() / 8);
});
