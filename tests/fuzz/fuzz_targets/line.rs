//! Any split gives the same lines, and together they are what was fed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::wire::line::Lines;

type Cut = (Vec<(Vec<u8>, bool)>, bool, Vec<u8>);

fn cut(input: &[u8], step: usize) -> Cut {
    let mut lines = Lines::new(512);
    let mut found = Vec::new();
    for piece in input.chunks(step.max(1)) {
        lines.feed(piece);
        loop {
            match lines.next_line() {
                Ok(Some(line)) => found.push((line.bytes, line.bare)),
                Ok(None) => break,
                Err(_) => return (found, true, Vec::new()),
            }
        }
    }
    (found, false, lines.take_rest())
}

fuzz_target!(|input: &[u8]| {
    let Some((&step, rest)) = input.split_first() else { return };
    let whole = cut(rest, rest.len());
    assert_eq!(whole, cut(rest, usize::from(step)));
    for (line, bare) in &whole.0 {
        assert!(!line.contains(&b'\n') && (*bare || !line.iter().any(|octet| matches!(octet, 0 | b'\r'))));
    }
});
