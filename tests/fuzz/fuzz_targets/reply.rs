//! What servers say: SMTP replies and their shortening, IMAP responses and their boundaries, POP3 status lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::base::Reference;
use postern::wire::imap::{Boundary, Response, literal_at_end, parse_capabilities, welcome_capabilities};
use postern::wire::smtp::{Extensions, ReplyReader, shorten};
use postern::wire::{line::Lines, pop3};

fuzz_target!(|input: &[u8]| {
    let Some((&step, rest)) = input.split_first() else { return };
    let mut lines = Lines::new(ReplyReader::MAX_LINE_OCTETS);
    lines.feed(rest);
    let mut reader = ReplyReader::new(ReplyReader::MAX_LINE_OCTETS, 64);
    while let Ok(Some(line)) = lines.next_line() {
        if let Ok(Some(reply)) = reader.push(&line.bytes) {
            let _ = Extensions::from_ehlo(&reply);
            let short = shorten(&reply, Reference::from_random(0)).to_bytes();
            let body = short.strip_suffix(b"\r\n").unwrap_or(b"\r");
            assert!(short.len() <= 512 && body.iter().all(|octet| (b' '..=b'~').contains(octet)));
            assert!(matches!(short.first(), Some(b'4' | b'5')));
        }
        let _ = (Response::parse(&line.bytes), literal_at_end(&line.bytes), pop3::status(&line.bytes));
        let shown = welcome_capabilities(&parse_capabilities(&line.bytes)).join(" ");
        assert!(shown.bytes().all(|octet| (b' '..=b'~').contains(&octet) && octet != b']'));
    }
    let (mut whole, mut split) = (Boundary::new(), Boundary::new());
    whole.observe(rest);
    rest.chunks(usize::from(step).max(1)).for_each(|piece| split.observe(piece));
    assert_eq!(whole.between_responses(), split.between_responses());
});
