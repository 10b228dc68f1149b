//! Plays the files in `tests/transcripts` against the fronts.
//!
//! `C:` is a line of the client, `S:` one of the server (`...` at its end: however it goes on), `--` an event, `#` a comment.
//! Consecutive `C:` lines are sent as one. `\r \n \0 \s \\ \xHH` stand for octets, and `\c` at the end leaves out the line end.
//! A line `@` names the setting: `secured`, `no starttls`, `no plaintext`. Each file is played with whole turns, octet by
//! octet, and in pieces of three, which finds every parser that believes in packets.
//!
//! Events that the front must bring about: `checks LOGIN PASSWORD`, `starts tls`, `hands over OCTETS`, `closes`, `mail LINE`,
//! `recipient LINE`, `data`, `content LINE`, `end`, `abandon`, `reset`. What is done to it: `accepts CAPABILITY...`,
//! `refuses REASON`, `replies CODE TEXT`, `secured`, `farewell REASON TEXT`. What the log is told: `wants tls shown`, `wants tls refused`,
//! `wants tls no`.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use postern::base::{Answer, Reference};
use postern::front::imap::Imap;
use postern::front::pop3::Pop3;
use postern::front::smtp::Smtp;
use postern::front::{Front, Setting, Step, Transact, WantOfTls, Welcome};
use postern::wire::smtp::Reply;

#[test]
fn imap_transcripts_hold() {
    play_folder("imap", |setting| Box::new(Imap::new(setting)));
}

#[test]
fn pop3_transcripts_hold() {
    play_folder("pop3", |setting| Box::new(Pop3::new(setting)));
}

#[test]
fn smtp_transcripts_hold() {
    play_folder("smtp", |setting| Box::new(Smtp::new(setting)));
}

fn play_folder(protocol: &str, make: fn(Setting) -> Box<dyn Front>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(protocol);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(files.len() >= 10, "{} transcripts in {}", files.len(), folder.display());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.lines().filter(|line| line.starts_with("S:") || line.starts_with("--")).count() > 1,
            "{}",
            file.display()
        );
        for piece in [usize::MAX, 1, 3] {
            let setting = setting(&text);
            let front = make(setting);
            Player {
                front,
                piece,
                sent: VecDeque::new(),
                heard: Vec::new(),
                content: Vec::new(),
                held: None,
                ended: false,
                file: &file,
            }
            .play(&text);
        }
    }
}

fn setting(text: &str) -> Setting {
    let mut setting = Setting { hostname: "mail.local".into(), secured: false, starttls: true, plaintext_login: true };
    for word in text.lines().filter_map(|line| line.strip_prefix('@')) {
        match word.trim() {
            "secured" => setting.secured = true,
            "no starttls" => setting.starttls = false,
            "no plaintext" => setting.plaintext_login = false,
            other => panic!("no setting `{other}`"),
        }
    }
    setting
}

struct Player<'a> {
    front: Box<dyn Front>,
    piece: usize,
    /// What the client has sent and the front has not been given.
    sent: VecDeque<u8>,
    /// What the front has said and the file has not mentioned.
    heard: Vec<u8>,
    /// The message as far as the file has not mentioned it.
    content: Vec<u8>,
    held: Option<Step>,
    ended: bool,
    file: &'a Path,
}

impl Player<'_> {
    fn play(mut self, text: &str) {
        let mut client_turn = false;
        for (number, line) in text.lines().enumerate() {
            let place = format!("{}:{} (in pieces of {})", self.file.display(), number + 1, self.piece);
            if let Some(words) = line.strip_prefix("C:") {
                if !client_turn {
                    self.settle(&place);
                }
                client_turn = true;
                let words = words.strip_prefix(' ').unwrap_or(words);
                let (words, end) = words.strip_suffix("\\c").map_or((words, "\r\n"), |words| (words, ""));
                self.sent.extend(octets(words));
                self.sent.extend(end.as_bytes());
                continue;
            }
            if let Some(words) = line.strip_prefix("S:") {
                self.expect_line(&octets(words.strip_prefix(' ').unwrap_or(words)), &place);
            } else if let Some(event) = line.strip_prefix("-- ") {
                self.event(event, &place);
            } else {
                assert!(line.is_empty() || line.starts_with(['#', '@']), "{place}: what is `{line}`?");
                continue;
            }
            client_turn = false;
        }
        let place = format!("{}: at the end (in pieces of {})", self.file.display(), self.piece);
        self.settle(&place);
    }

    /// The next step that is not words to the client.
    fn next_event(&mut self, place: &str) -> Step {
        loop {
            match self.held.take().unwrap_or_else(|| self.front.step()) {
                Step::Write(words) => {
                    assert!(!words.is_empty(), "{place}: an empty write");
                    self.heard.extend(words);
                }
                Step::Read if !self.sent.is_empty() => {
                    let count = self.sent.len().min(self.piece);
                    let piece: Vec<u8> = self.sent.drain(..count).collect();
                    self.front.feed(&piece);
                }
                step => return step,
            }
        }
    }

    /// Nothing is left to be said or done before the client speaks again.
    fn settle(&mut self, place: &str) {
        if !self.ended {
            let step = self.next_event(place);
            assert!(matches!(step, Step::Read), "{place}: unexpected {step:?}, heard {}", self.heard.escape_ascii());
        }
        assert!(self.heard.is_empty(), "{place}: unexpected words {}", self.heard.escape_ascii());
        assert!(self.content.is_empty(), "{place}: unexpected content {}", self.content.escape_ascii());
        assert!(self.sent.is_empty(), "{place}: not read: {:?}", self.sent);
    }

    fn expect_line(&mut self, expected: &[u8], place: &str) {
        while !self.heard.contains(&b'\n') {
            match self.next_event(place) {
                step if self.heard.contains(&b'\n') => self.held = Some(step),
                step => panic!("{place}: {step:?} instead of `{}`", expected.escape_ascii()),
            }
        }
        let end = self.heard.iter().position(|octet| *octet == b'\n').unwrap();
        let line: Vec<u8> = self.heard.drain(..=end).collect();
        let line = line.strip_suffix(b"\r\n").unwrap_or_else(|| panic!("{place}: a bare LF"));
        let holds = match expected.strip_suffix(b"...") {
            Some(beginning) => line.starts_with(beginning),
            None => line == expected,
        };
        assert!(holds, "{place}:\n  heard    {}\n  expected {}", line.escape_ascii(), expected.escape_ascii());
    }

    fn event(&mut self, event: &str, place: &str) {
        let (name, rest) = event.split_once(' ').unwrap_or((event, ""));
        match name {
            "accepts" => {
                let capabilities = rest.split_ascii_whitespace().map(str::to_owned).collect();
                return self.front.judge(Ok(Welcome { capabilities }));
            }
            "refuses" => return self.front.judge(Err(answer(rest))),
            "replies" => {
                let (code, text) = rest.split_once(' ').unwrap_or((rest, ""));
                return self.front.reply(Reply::new(code.parse().unwrap(), text));
            }
            "secured" => return self.front.secured(),
            "wants" => {
                let expected = match rest {
                    "tls no" => None,
                    "tls shown" => Some(WantOfTls::Shown),
                    "tls refused" => Some(WantOfTls::Refused),
                    other => panic!("{place}: what is `{other}`?"),
                };
                assert_eq!(self.front.want_of_tls(), expected, "{place}");
                return;
            }
            "farewell" => {
                let (reason, words) = rest.split_once(' ').unwrap_or((rest, ""));
                let said = String::from_utf8(self.front.farewell(answer(reason))).unwrap();
                assert_eq!(said.trim_end(), words, "{place}");
                return;
            }
            "content" => {
                let (words, end) = rest.strip_suffix("\\c").map_or((rest, "\r\n"), |words| (words, ""));
                let expected = [octets(words).as_slice(), end.as_bytes()].concat();
                while self.content.len() < expected.len() {
                    match self.next_event(place) {
                        Step::Transact(Transact::Content(piece)) => self.content.extend(piece),
                        step => panic!("{place}: {step:?} instead of content, so far {}", self.content.escape_ascii()),
                    }
                }
                let found: Vec<u8> = self.content.drain(..expected.len()).collect();
                assert_eq!(found.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{place}");
                return;
            }
            _ => {}
        }
        let step = self.next_event(place);
        // An event comes behind all that was said before it.
        assert!(self.heard.is_empty(), "{place}: heard before `{event}`: {}", self.heard.escape_ascii());
        let line = |command: Vec<u8>| String::from_utf8(command).unwrap().trim_end().to_owned();
        let found = match step {
            Step::Check(claim) => [b"checks ", claim.login.as_slice(), b" ", claim.password.expose()].concat(),
            Step::StartTls => {
                // Whatever else the client sent in the clear is not a handshake.
                self.sent.clear();
                b"starts tls".to_vec()
            }
            Step::HandOver(rest) => {
                self.ended = true;
                let unread: Vec<u8> = self.sent.drain(..).collect();
                let bytes = [b"hands over ".as_slice(), &rest, &unread].concat();
                bytes.strip_suffix(b" ").map_or(bytes.clone(), <[u8]>::to_vec)
            }
            Step::Close => {
                self.ended = true;
                self.sent.clear();
                b"closes".to_vec()
            }
            Step::Transact(Transact::Mail(mail)) => format!("mail {}", line(mail.command())).into_bytes(),
            Step::Transact(Transact::Recipient(rcpt)) => format!("recipient {}", line(rcpt.command())).into_bytes(),
            Step::Transact(Transact::Data) => b"data".to_vec(),
            Step::Transact(Transact::End) => b"end".to_vec(),
            Step::Transact(Transact::Abandon) => b"abandon".to_vec(),
            Step::Transact(Transact::Reset) => b"reset".to_vec(),
            step => panic!("{place}: {step:?} instead of `{event}`"),
        };
        assert_eq!(found.escape_ascii().to_string(), octets(event).escape_ascii().to_string(), "{place}");
    }
}

fn answer(name: &str) -> Answer {
    let reference = Reference::from_random(0);
    match name {
        "wrong-password" => Answer::WrongPassword,
        "too-many-failures" => Answer::TooManyFailures,
        "too-many-sessions" => Answer::TooManySessions(reference),
        "try-later" => Answer::TryLater(reference),
        "must-act" => Answer::MustAct(reference),
        "ended" => Answer::Ended,
        "stopping" => Answer::Stopping,
        "goodbye" => Answer::GoodBye,
        other => panic!("no answer `{other}`"),
    }
}

fn octets(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        out.extend(before.bytes());
        let mut skipped = 1;
        match escape.as_bytes().first() {
            Some(b'r') => out.push(b'\r'),
            Some(b'n') => out.push(b'\n'),
            Some(b'0') => out.push(0),
            Some(b's') => out.push(b' '),
            Some(b'\\') => out.push(b'\\'),
            Some(b'x') => {
                out.push(u8::from_str_radix(&escape[1..3], 16).unwrap());
                skipped = 3;
            }
            _ => panic!("what is `\\{escape}`?"),
        }
        rest = &escape[skipped..];
    }
    out.extend(rest.bytes());
    out
}
