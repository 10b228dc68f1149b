//! What the fuzz targets share: driving a front through every state, and comparing two ways of cutting the same input.
//!
//! Run one with `cargo fuzz run --fuzz-dir tests/fuzz imap`; seeds are made from the transcripts when it is built.

use postern::base::{Answer, Reference};
use postern::front::{Front, Setting, Step, Transact, Welcome};
use postern::wire::smtp::Reply;

/// Plays the input twice, cut differently, and asks that the same happened. The first octet chooses the setting, the cut and
/// the verdicts.
pub fn drive<F: Front>(input: &[u8], make: impl Fn(Setting) -> F) {
    let Some((&choice, rest)) = input.split_first() else { return };
    let whole = play(make(setting(choice)), choice, std::iter::once(rest));
    let split = play(make(setting(choice)), choice, rest.chunks(usize::from(choice >> 5) + 1));
    assert_eq!(whole, split);
}

fn setting(choice: u8) -> Setting {
    Setting {
        hostname: "mail.local".into(),
        secured: choice & 1 != 0,
        starttls: choice & 2 != 0,
        plaintext_login: choice & 4 != 0,
    }
}

/// What happened, in octets; consecutive writes, and pieces of content, are one.
fn play<'a>(mut front: impl Front, choice: u8, mut pieces: impl Iterator<Item = &'a [u8]>) -> Vec<(u8, Vec<u8>)> {
    let mut done: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut note = |kind: u8, octets: Vec<u8>| match done.last_mut() {
        Some((last, so_far)) if *last == kind && (kind == b'w' || kind == b'c') => so_far.extend(octets),
        _ => done.push((kind, octets)),
    };
    let mut verdicts = 0u8;
    loop {
        match front.step() {
            Step::Read => match pieces.next() {
                Some(piece) => front.feed(piece),
                None => break,
            },
            Step::Write(words) => {
                assert!(words.ends_with(b"\r\n") && !words.contains(&0), "{}", words.escape_ascii());
                note(b'w', words);
            }
            Step::StartTls => {
                // What is left of the input is not a handshake.
                note(b't', Vec::new());
                break;
            }
            Step::Check(claim) => {
                let octets = [claim.login.as_slice(), b" ", claim.password.expose()].concat();
                assert!(!octets.iter().any(|octet| matches!(octet, 0 | 1 | b'\r' | b'\n')));
                note(b'k', octets);
                verdicts = verdicts.wrapping_add(1);
                front.judge(verdict(choice, verdicts));
            }
            Step::HandOver(rest) => {
                note(b'h', pieces.fold(rest, |rest, piece| [&rest, piece].concat()));
                break;
            }
            Step::Close => {
                note(b'x', Vec::new());
                break;
            }
            Step::Transact(transact) => {
                let reply = |positive: u16| Reply::new(if choice & 16 == 0 { positive } else { 550 }, "2.0.0 so");
                match transact {
                    Transact::Mail(mail) => {
                        note(b'm', clean(mail.command()));
                        front.reply(Reply::new(250, "2.1.0 so"));
                    }
                    Transact::Recipient(rcpt) => {
                        note(b'r', clean(rcpt.command()));
                        front.reply(reply(250));
                    }
                    Transact::Data => {
                        note(b'd', Vec::new());
                        front.reply(reply(354));
                    }
                    Transact::Content(piece) => {
                        assert!(!piece.contains(&0));
                        note(b'c', piece);
                    }
                    Transact::End => {
                        note(b'e', Vec::new());
                        front.reply(reply(250));
                    }
                    Transact::Abandon => note(b'a', Vec::new()),
                    Transact::Reset => note(b'o', Vec::new()),
                }
            }
        }
    }
    done
}

fn verdict(choice: u8, number: u8) -> Result<Welcome, Answer> {
    let reference = Reference::from_random(u32::from(number));
    match (choice >> 3) & 1 {
        1 if number > 1 => Ok(Welcome::default()),
        1 => Err(Answer::TryLater(reference)),
        _ => Err(Answer::WrongPassword),
    }
}

/// A command to Exchange is one line.
fn clean(line: Vec<u8>) -> Vec<u8> {
    let body = line.strip_suffix(b"\r\n").unwrap_or(b"\r");
    assert!(!body.iter().any(|octet| *octet < b' ' || *octet == 0x7f), "{}", line.escape_ascii());
    line
}
