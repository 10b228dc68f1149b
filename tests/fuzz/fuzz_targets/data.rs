//! The receiver against a simple reference, and the stuffer against the receiver.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::wire::smtp::data::{Receiver, Stuffer};

fn receive(input: &[u8], step: usize) -> Option<(Vec<u8>, bool, usize)> {
    let (mut receiver, mut content, mut consumed) = (Receiver::new(u64::MAX), Vec::new(), 0);
    for piece in input.chunks(step.max(1)) {
        let progress = receiver.feed(piece, &mut content);
        consumed += progress.consumed;
        if progress.end {
            return Some((content, receiver.refused().is_some(), input.len() - consumed));
        }
    }
    None
}

/// Find the end in the whole, cut at received CRLFs, unstuff, then mend bare line ends; stop at a NUL.
fn reference(input: &[u8]) -> Option<(Vec<u8>, bool, usize)> {
    let whole = [b"\r\n", input].concat();
    let end = whole.windows(5).position(|window| window == b"\r\n.\r\n")?;
    let left = whole.len() - end - 5;
    let mut rest = whole.get(2..end + 2).unwrap_or_default();
    let mut content = Vec::new();
    while !rest.is_empty() {
        let length = rest.windows(2).position(|window| window == b"\r\n").unwrap_or(rest.len());
        let line = rest.get(..length).unwrap_or_default();
        rest = rest.get(length + 2..).unwrap_or_default();
        for &octet in line.strip_prefix(b".").unwrap_or(line) {
            match octet {
                0 => return Some((content, true, left)),
                b'\r' | b'\n' => content.extend(b"\r\n"),
                octet => content.push(octet),
            }
        }
        content.extend(b"\r\n");
    }
    Some((content, false, left))
}

fuzz_target!(|input: &[u8]| {
    let Some((&step, rest)) = input.split_first() else { return };
    let step = usize::from(step);
    let input = [rest, b"\r\n.\r\n"].concat();
    let received = receive(&input, input.len());
    assert_eq!(received, reference(&input));
    assert_eq!(received, receive(&input, step));
    if let Some((content, false, _)) = received {
        let (mut stuffer, mut wire) = (Stuffer::new(), Vec::new());
        content.chunks(step.max(1)).for_each(|piece| stuffer.push(piece, &mut wire));
        stuffer.finish(&mut wire);
        assert_eq!(receive(&wire, wire.len()), Some((content, false, 0)));
    }
});
