use proptest::prelude::*;

use super::*;

/// What a message comes to: its content, why it was refused, and how many octets were left over; `None` without an end.
type Outcome = Option<(Vec<u8>, Option<Unacceptable>, usize)>;

fn receive(input: &[u8], step: usize, limit: u64) -> Outcome {
    let mut receiver = Receiver::new(limit);
    let mut content = Vec::new();
    let mut consumed = 0;
    for chunk in input.chunks(step) {
        let progress = receiver.feed(chunk, &mut content);
        consumed += progress.consumed;
        if progress.end {
            return Some((content, receiver.refused(), input.len() - consumed));
        }
        assert_eq!(progress.consumed, chunk.len());
    }
    None
}

/// The same by looking at the whole: find the end, then cut at received CRLFs, then unstuff, then mend the rest.
fn reference(input: &[u8]) -> Outcome {
    let whole = [b"\r\n", input].concat();
    let end = whole.windows(5).position(|window| window == b"\r\n.\r\n")?;
    let message = &whole[2..(end + 2).max(2)];
    let mut content = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let line_end = rest.windows(2).position(|window| window == b"\r\n").unwrap_or(rest.len());
        let (line, behind) = rest.split_at(line_end);
        rest = behind.get(2..).unwrap_or(&[]);
        let line = line.strip_prefix(b".").unwrap_or(line);
        for octet in line {
            if matches!(octet, b'\r' | b'\n') {
                content.extend(b"\r\n");
            } else {
                content.push(*octet);
            }
        }
        content.extend(b"\r\n");
    }
    let refused = content.contains(&0).then_some(Unacceptable::Nul);
    if refused.is_some() {
        content.truncate(content.iter().position(|octet| *octet == 0).unwrap_or(0));
    }
    Some((content, refused, whole.len() - end - 5))
}

fn on_the_wire(content: &[u8], step: usize) -> Vec<u8> {
    let mut stuffer = Stuffer::new();
    let mut out = Vec::new();
    content.chunks(step).for_each(|chunk| stuffer.push(chunk, &mut out));
    stuffer.finish(&mut out);
    out
}

#[test]
fn only_crlf_dot_crlf_as_received_ends_a_message_in_24_forms() {
    const FORMS: [&[u8]; 24] = [
        b"\n.\n",
        b"\n.\r\n",
        b"\n.\r",
        b"\r.\r",
        b"\r.\n",
        b"\r.\r\n",
        b"\r\n.\n",
        b"\r\n.\r",
        b"\n\n.\r\n",
        b"\r\r\n.\r\r\n",
        b"\r\n.\r\r\n",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\n.\r\0\n",
        b"\r\n. \r\n",
        b"\r\n.\t\r\n",
        b"\r\n .\r\n",
        b"\r\n..\r\n",
        b"\r\n.\x0b\r\n",
        b"\r\n.\xc2\x85",
        b"\xc2\x85.\xc2\x85",
        b"\xe2\x80\xa8.\xe2\x80\xa8",
        b"\x85.\x85",
        b"\r\n.\x0c\r\n",
    ];
    for form in FORMS {
        let smuggled = b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n";
        let input = [b"text", form, smuggled].concat();
        for step in [1, 2, 3, 7, input.len()] {
            let (content, refused, left) = receive(&input, step, 1 << 20).expect("it has one true end");
            assert_eq!(left, b"QUIT\r\n".len(), "{form:?} ended the message early");
            assert_eq!(refused.is_some(), form.contains(&0), "{form:?}");
            assert_eq!(
                refused.is_none(),
                memchr::memmem::find(&content, b"MAIL FROM:<evil@x.test>").is_some(),
                "{form:?}"
            );
            let wire = on_the_wire(&content, step);
            assert_eq!(memchr::memmem::find_iter(&wire, b"\r\n.\r\n").count(), 1, "{form:?} is two messages upstream");
            for (place, octet) in wire.iter().enumerate() {
                match octet {
                    b'\r' => assert_eq!(wire.get(place + 1), Some(&b'\n'), "{form:?}"),
                    b'\n' => assert_eq!(wire.get(place.wrapping_sub(1)), Some(&b'\r'), "{form:?}"),
                    octet => assert_ne!(*octet, 0, "{form:?}"),
                }
            }
        }
    }
}

#[test]
fn a_message_is_given_with_its_lines_ended_and_its_dots_unstuffed() {
    for (input, content) in [
        (&b".\r\n"[..], &b""[..]),
        (b"\r\n.\r\n", b"\r\n"),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"), // not stuffed: the dot is lost (RFC 5321, section 4.5.2)
        (b"a\n.b\r\n.\r\n", b"a\r\n.b\r\n"), // behind a bare LF it is text
        (b"a\rb\n\rc\r\n.\r\n", b"a\r\nb\r\n\r\nc\r\n"),
        (b"a\r\r\n.\r\n", b"a\r\n\r\n"),
        (b"\xff\x80\r\n.\r\n", b"\xff\x80\r\n"),
    ] {
        for step in 1..=input.len() {
            assert_eq!(receive(input, step, 100), Some((content.to_vec(), None, 0)), "{input:?} by {step}");
        }
    }
}

#[test]
fn a_refused_message_is_read_to_its_true_end() {
    for step in 1..12 {
        assert_eq!(receive(b"a\0b\r\n.\r\nRSET\r\n", step, 100), Some((b"a".to_vec(), Some(Unacceptable::Nul), 6)));
        assert_eq!(
            receive(b"abcd\r\n.\r\nRSET\r\n", step, 5),
            Some((b"abcd\r".to_vec(), Some(Unacceptable::TooLarge), 6))
        );
        assert_eq!(receive(b"abc\r\n.\r\nRSET\r\n", step, 5), Some((b"abc\r\n".to_vec(), None, 6)));
    }
}

#[test]
fn the_end_is_found_at_every_edge_of_a_buffer() {
    for size in [1024usize, 4096, 8192, 16_384, 32_768, 65_536] {
        for shift in 0..6 {
            let mut input = vec![b'x'; size - shift];
            input.extend_from_slice(b"\r\n.\r\nQUIT\r\n");
            let (content, refused, left) = receive(&input, size, 1 << 20).unwrap();
            assert_eq!((content.len(), refused), (size - shift + 2, None));
            // What is left in this chunk and the next is the command.
            assert_eq!(left, 6);
        }
    }
}

#[test]
fn over_94_bodies_of_dots_empty_lines_and_8_bit_arrive_octet_for_octet() {
    let lines: [&[u8]; 8] = [b"", b".", b"..", b".a", b"a.", b"\xff\xfe.", b"From x", b" "];
    let mut bodies = 0;
    for first in lines {
        for second in lines {
            for edge in [0usize, 1, 4093] {
                if edge != 0 && (first.len() + second.len()) % 2 == 0 {
                    continue;
                }
                let body = [vec![b'y'; edge].as_slice(), first, b"\r\n", second, b"\r\n"].concat();
                for step in [1, 2, 5, 4096] {
                    assert_eq!(
                        receive(&on_the_wire(&body, step), step, 1 << 20),
                        Some((body.clone(), None, 0)),
                        "{body:?}"
                    );
                }
                bodies += 1;
            }
        }
    }
    assert!(bodies >= 94, "{bodies}");
}

#[test]
fn the_final_dot_stands_on_a_line_of_its_own_and_no_empty_line_before_it() {
    for (content, expected) in [
        (&b""[..], &b".\r\n"[..]),
        (b"a", b"a\r\n.\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a\r", b"a\r\n.\r\n"),
        (b"a\n.b\r.c", b"a\r\n..b\r\n..c\r\n.\r\n"),
        (b".\r\n..\r\n", b"..\r\n...\r\n.\r\n"),
    ] {
        for step in 1..8 {
            assert_eq!(on_the_wire(content, step), expected, "{content:?} by {step}");
        }
    }
}

/// The octets that decide, more often than others.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(
        prop_oneof![8 => Just(b'\r'), 8 => Just(b'\n'), 8 => Just(b'.'), 6 => Just(b'a'), 1 => Just(0), 1 => any::<u8>()],
        0..40,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_split_agrees_with_the_reference(input in octets(), step in 1usize..9) {
        let input = [input.as_slice(), b"\r\n.\r\nQUIT"].concat();
        let expected = reference(&input);
        prop_assert_eq!(receive(&input, input.len(), 1 << 20), expected.clone());
        prop_assert_eq!(receive(&input, step, 1 << 20), expected);
    }

    #[test]
    fn what_is_stuffed_is_received_as_it_was(input in octets(), step in 1usize..9) {
        let Some((content, None, _)) = receive(&[input.as_slice(), b"\r\n.\r\n"].concat(), 64, 1 << 20) else { return Ok(()) };
        let wire = on_the_wire(&content, step);
        prop_assert_eq!(receive(&wire, step, 1 << 20), Some((content, None, 0)));
    }
}
