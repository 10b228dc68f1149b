//! What goes on is read by a server of the worst kind, and is compared with what may.

use proptest::prelude::*;

use super::*;
use crate::wire::imap::literal_at_end;

fn imap() -> Watch {
    Watch::of(Protocol::Imap).unwrap()
}

fn pop3() -> Watch {
    Watch::of(Protocol::Pop3).unwrap()
}

/// A conversation: `C:` the client says, `S:` the server says, `>` the server has got, `<` the client is told by us; `?` a message is asked
/// about (Message-ID, octets, and whether it is filed already). `\e` is an empty line.
pub(super) fn play(mut watch: Watch, conversation: &str, piece: usize) {
    let (mut got, mut client) = (Vec::new(), Vec::new());
    let octets = |text: &str| {
        format!("{}\r\n", text.replace("\\r", "\r").replace("\\t", "\t").replace("\\0", "\0").replace("\\e", ""))
            .into_bytes()
    };
    for line in conversation.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (who, text) = line.split_at(2);
        let text = octets(text.strip_prefix(' ').unwrap_or(text));
        match who {
            "C:" => client.extend(text),
            "S:" => text.chunks(piece).for_each(|piece| watch.server(piece)),
            "> " => {
                step(&mut watch, &mut client, &mut got, piece);
                assert!(got.starts_with(&text), "{line}: the server got {:?}", String::from_utf8_lossy(&got));
                got.drain(..text.len());
            }
            "< " => {
                step(&mut watch, &mut client, &mut got, piece);
                let told = watch.answer().map(|told| String::from_utf8_lossy(&told).into_owned());
                assert_eq!(told, Some(String::from_utf8(text).unwrap()), "{line}");
            }
            "? " => {
                step(&mut watch, &mut client, &mut got, piece);
                let [id, octets, is_filed] = line[2..].split(' ').collect::<Vec<_>>().try_into().unwrap();
                let copy = SentCopy { message_id: id.to_owned(), octets: octets.parse().unwrap() };
                assert_eq!(watch.question(), Some(copy), "{line}");
                assert!(watch.is_behind());
                watch.told(is_filed == "yes");
            }
            _ => panic!("{line}"),
        }
    }
    step(&mut watch, &mut client, &mut got, piece);
    assert!(got.is_empty() && client.is_empty(), "{:?} {:?}", String::from_utf8_lossy(&got), client);
    assert_eq!(watch.answer(), None);
}

pub(super) fn step(watch: &mut Watch, client: &mut Vec<u8>, got: &mut Vec<u8>, piece: usize) {
    loop {
        let piece = client.get(..piece.min(client.len())).unwrap().to_vec();
        let taken = watch.client(&piece, got);
        client.drain(..taken);
        if taken == 0 {
            return;
        }
    }
}

#[test]
fn what_reads_goes_on_and_everything_else_is_answered_in_its_turn() {
    let conversation = "
        C: a1 SELECT \"INBOX\"
        > a1 EXAMINE \"INBOX\"
        S: * 2 EXISTS
        C: a2 STORE 1 +FLAGS (\\Deleted)
        S: * FLAGS (\\Seen)
        S: a1 OK [READ-ONLY] done
        < a2 NO [NOPERM] This app password is for reading only
        C: a3 uid fetch 1:* (FLAGS BODY.PEEK[])
        > a3 uid fetch 1:* (FLAGS BODY.PEEK[])
        C: a4 EXPUNGE
        S: * 1 FETCH (UID 1 BODY[] {9}
        S: a3 OK x
        S: )
        S: a3 OK done
        < a4 NO [NOPERM] This app password is for reading only
        C: a5 UID MOVE 1 Trash
        < a5 NO [NOPERM] This app password is for reading only
        C: a6 COMPRESS DEFLATE
        < a6 NO [NOPERM] This app password is for reading only
        C: a7 XYZZY
        < a7 NO [NOPERM] This app password is for reading only
        C: a8 CLOSE
        C: a9 LOGOUT
        > a8 CLOSE
        > a9 LOGOUT
    ";
    for piece in [1, 2, 7, 4096] {
        play(imap(), conversation, piece);
    }
}

#[test]
fn a_literal_goes_on_only_when_the_server_takes_it() {
    let conversation = "
        C: a1 SEARCH SUBJECT {9}
        > a1 SEARCH SUBJECT {9}
        C: a2 STORE
        S: a1 BAD I do not like this
        < a2 NO [NOPERM] This app password is for reading only
        C: a3 EXAMINE {7}
        > a3 EXAMINE {7}
        S: + go on
        C: b1 STOR (CONDSTORE)
        > b1 STOR (CONDSTORE)
        S: a3 OK done
        C: a4 SELECT {5+}
        C: INBOX
        < a4 BAD Write the literal as {n} and wait, this app password is for reading only
        C: a5 APPEND Sent {9}
        < a5 NO [NOPERM] This app password is for reading only
        C: a6 APPEND Sent (\\Seen) {9+}
        C: a7 NOOP\\r {3+}
        C: abc {2}
        < a6 NO [NOPERM] This app password is for reading only
        C: a8 NOOP
        > a8 NOOP
    ";
    for piece in [1, 3, 4096] {
        play(imap(), conversation, piece);
    }
}

#[test]
fn while_the_client_idles_it_says_done_and_nothing_else() {
    let conversation = "
        C: a1 NOOP
        > a1 NOOP
        C: a2 IDLE
        S: a1 OK done
        > a2 IDLE
        S: + idling
        S: * 3 EXISTS
        C: DONE
        > DONE
        C: a3 NOOP
        > a3 NOOP
        S: a2 OK done
        S: a3 OK done
        C: a4 IDLE
        > a4 IDLE
        S: + idling
        C: a5 STORE 1 FLAGS x
        > DONE
        S: a4 OK done
        < * BAD Expected DONE
        C: a6 IDLE
        > a6 IDLE
        C: DONE
        S: a6 NO not here
        < * BAD Invalid tag
        C: b1 IDLE
        > b1 IDLE
        S: + idling
        S: b1 OK that is long enough
        C: DONE
        C: b2 NOOP
        > b2 NOOP
        S: b2 OK done
        C: b3 IDLE
        > b3 IDLE
        S: + idling
        C: DONE
        > DONE
        C: b4 SEARCH SUBJECT {2}
        S: b3 OK that was long enough before it came
        > b4 SEARCH SUBJECT {2}
        S: DONE BAD what
        S: + go on
        C: xy
        > xy
        S: b4 OK done
        C: a7 IDLE now
        < a7 BAD The command is malformed
    ";
    for piece in [1, 5, 4096] {
        play(imap(), conversation, piece);
    }
}

#[test]
fn what_could_be_read_in_two_ways_does_not_go_on() {
    for (command, told) in [
        ("a1 NOOP\na2 EXPUNGE\r\n", "a1 BAD Bare "),
        ("a1 NOOP\ra2 EXPUNGE\r\n", "a1 BAD Bare "),
        ("a1 LIST \"\" \"x\0\"\r\n", "a1 BAD Bare "),
        ("a1 SEARCH SUBJECT \"x {5}\r\n", "a1 BAD The command is malformed"),
        ("a1 SEARCH SUBJECT \"x\\\" {5}\r\n", "a1 BAD The command is malformed"),
        ("a1 SEARCH SUBJECT x{5}\r\n", "a1 BAD The command is malformed"),
        ("a1 SEARCH SUBJECT ~{5}\r\n", "a1 BAD The command is malformed"),
        ("a1 SEARCH SUBJECT {5 }\r\n", "a1 BAD The command is malformed"),
        ("a1 SEARCH SUBJECT {99999999999999999999}\r\n", "a1 BAD The command is malformed"),
        ("a1 SEARCH SUBJECT {1000000}\r\n", "a1 BAD The command is malformed"),
        ("+ NOOP\r\n", "* BAD Invalid tag"),
        ("* NOOP\r\n", "* BAD Invalid tag"),
        ("\r\n", "* BAD Invalid tag"),
        (" a1 NOOP\r\n", "* BAD Invalid tag"),
        ("a1  NOOP\r\n", "a1 BAD The command is malformed"),
        ("a1\r\n", "a1 BAD The command is malformed"),
        ("a1 STORE\tx\r\n", "a1 NO [NOPERM] "),
    ] {
        let (mut watch, mut onward) = (imap(), Vec::new());
        watch.client(command.as_bytes(), &mut onward);
        let answer = String::from_utf8(watch.answer().unwrap()).unwrap();
        assert!(answer.starts_with(told), "{command:?}: {answer}");
        assert_eq!(onward, b"", "{command:?}");
        assert_eq!(watch.refused(), 1);
    }
    // A literal of which the server is not asked, where it may not read it.
    let mut watch = imap();
    let mut onward = Vec::new();
    watch.client(b"a1 SELECT {5+}\r\nINBOX\r\na2 NOOP\r\n", &mut onward);
    assert!(watch.answer().unwrap().starts_with(b"a1 "));
    watch.client(b"a2 NOOP\r\n", &mut onward);
    assert_eq!(onward, b"a2 NOOP\r\n");
    // What sticks to the end of a literal, of which half has gone on.
    let (mut watch, mut onward) = (imap(), Vec::new());
    watch.client(b"a1 SEARCH SUBJECT {1}\r\n", &mut onward);
    watch.server(b"+ go on\r\n");
    watch.client(b"xa2 EXPUNGE\r\n", &mut onward);
    assert!(watch.end().is_some());
    assert_eq!(onward, b"a1 SEARCH SUBJECT {1}\r\nx");
    // A literal is waited for that nobody has announced.
    let mut watch = imap();
    watch.server(b"+ go on\r\n");
    assert!(watch.end().is_some());
}

#[test]
fn a_command_that_is_too_long_is_refused_and_the_next_one_is_not() {
    let (mut watch, mut onward) = (imap(), Vec::new());
    let long = format!("a1 FETCH {} FLAGS\r\na2 NOOP\r\n", "1,".repeat(40_000));
    let taken = watch.client(long.as_bytes(), &mut onward);
    assert_eq!(watch.answer().unwrap(), b"a1 BAD The command is too long\r\n");
    watch.client(&long.as_bytes()[taken..], &mut onward);
    assert_eq!(onward, b"a2 NOOP\r\n");
}

#[test]
fn pop3_reads_and_deletes_nothing() {
    let conversation = "
        C: UIDL
        C: DELE 1
        > UIDL
        S: +OK
        S: 1 abc
        S: .
        < -ERR This app password is for reading only
        C: RETR 1
        C: LIST 1
        C: dele 1
        > RETR 1
        > LIST 1
        S: +OK
        S: ..
        S: +OK this is the mail
        S: .
        S: +OK 1 120
        < -ERR This app password is for reading only
        C: RETR 9
        > RETR 9
        C: AUTH PLAIN
        S: -ERR no such message
        < -ERR This app password is for reading only
        C: NOOP\\rDELE 1
        < -ERR Control characters and bare CR and LF are not allowed
        C: LIST \\tx
        < -ERR Control characters and bare CR and LF are not allowed
        C: QUIT
        < +OK Goodbye
    ";
    for piece in [1, 3, 4096] {
        play(pop3(), conversation, piece);
    }
    let (mut watch, mut onward) = (pop3(), Vec::new());
    watch.client(b"NOOP\nDELE 1\r\n", &mut onward);
    assert_eq!((onward.as_slice(), watch.refused()), (&b""[..], 1));
    let (mut watch, mut onward) = (pop3(), Vec::new());
    let long = format!("RETR {}\r\nNOOP\r\n", "1".repeat(2000));
    let taken = watch.client(long.as_bytes(), &mut onward);
    assert!(watch.answer().unwrap().starts_with(b"-ERR The command is too long"));
    watch.client(&long.as_bytes()[taken..], &mut onward);
    assert_eq!(onward, b"NOOP\r\n");
}

/// Reads what goes on as a server does, and keeps the commands that it has read. It refuses literals and IDLE as it likes, ends IDLE by itself,
/// and does not read a literal of which it was not asked.
struct Server {
    input: Vec<u8>,
    whims: u64,
    commands: Vec<Vec<u8>>,
    command: Vec<u8>,
    literal: usize,
    idles: bool,
}

impl Server {
    fn whim(&mut self) -> bool {
        self.whims = self.whims.rotate_left(1);
        self.whims & 1 == 1
    }

    fn read(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        let tag = |line: &[u8]| line.split(|octet| *octet == b' ').next().unwrap().to_vec();
        loop {
            if self.idles && self.whim() {
                self.idles = false;
                said.extend([tag(&self.command).as_slice(), b" OK long enough\r\n"].concat());
                self.command.clear();
            }
            if self.literal > 0 {
                let now = self.literal.min(self.input.len());
                self.input.drain(..now);
                self.literal -= now;
                if self.literal > 0 {
                    return said;
                }
            }
            let Some(end) = self.input.iter().position(|octet| *octet == b'\n') else { return said };
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let line = line.strip_suffix(b"\r\n").unwrap_or(&line);
            if self.idles {
                self.idles = false;
                said.extend([tag(&self.command).as_slice(), b" OK done\r\n"].concat());
                self.command.clear();
                continue;
            }
            if self.command.is_empty() {
                self.commands.push(line.to_vec());
            }
            self.command.extend_from_slice(line);
            let first = tag(&self.command);
            let verb = line.split(|octet| *octet == b' ').nth(1).unwrap_or_default().to_ascii_uppercase();
            match literal_at_end(line) {
                Some(octets) if !line.ends_with(b"+}") && self.whim() => {
                    said.extend_from_slice(b"+ go on\r\n");
                    self.literal = usize::try_from(octets).unwrap();
                    continue;
                }
                Some(_) => said.extend([first.as_slice(), b" BAD no\r\n"].concat()),
                None if verb == b"IDLE" && self.whim() => {
                    said.extend_from_slice(b"+ idling\r\n* 1 EXISTS\r\n");
                    self.idles = true;
                    continue;
                }
                None if verb.is_empty() => said.extend([first.as_slice(), b" BAD what\r\n"].concat()),
                None => said.extend([&b"* 1 FETCH (BODY[] {4}\r\n+ x\n)\r\n"[..], &first, b" OK done\r\n"].concat()),
            }
            self.command.clear();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn whatever_a_client_says_a_server_reads_nothing_but_reading_commands(
        words in prop::collection::vec(prop::sample::select(vec![
            "a1 ", "b ", "c3 ", "NOOP", "SELECT ", "UID ", "FETCH ", "STORE ", "SEARCH ", "EXPUNGE", "IDLE\r\n", "DONE\r\n", "APPEND ", "\r\n",
            "\r\n", "\r\n", "\n", "\r", "{3}\r\n", "{3+}\r\n", "{12}", "{12+}", "{0+}", "{0}", "\"", "\\", " ", "(", ")", "x", "abc", "~", "+",
            "* ", "d4 IDLE\r\n", "e5 SEARCH {9}\r\n", "f6 STORE 1 FLAGS x\r\n", "g7 EXPUNGE\r\n",
        ]), 0..40),
        whims: u64,
        piece in 1usize..30,
        delays in prop::collection::vec(0usize..60, 1..20),
    ) {
        let (mut watch, mut onward) = (imap(), Vec::new());
        let mut server =
            Server { input: Vec::new(), whims, commands: Vec::new(), command: Vec::new(), literal: 0, idles: false };
        let mut client = words.concat().into_bytes();
        let (mut told, mut on_its_way, mut to_server) = (0, Vec::new(), Vec::new());
        let mut quiet = 0;
        for round in 0..20_000 {
            let first = client.get(..piece.min(client.len())).unwrap().to_vec();
            let taken = watch.client(&first, &mut onward);
            client.drain(..taken);
            // A session that is over sends nothing more.
            if watch.end().is_some() {
                break;
            }
            // Both directions take their time, so that what is said on one side crosses what is said on the other.
            to_server.append(&mut onward);
            let arrives = delays[round % delays.len()].min(to_server.len());
            server.input.extend(to_server.drain(..arrives));
            on_its_way.extend(server.read());
            let comes = delays[(round + 1) % delays.len()].min(on_its_way.len());
            let said: Vec<u8> = on_its_way.drain(..comes).collect();
            watch.server(&said);
            let answered = watch.answer().is_some();
            told += usize::from(answered);
            let moved = taken > 0 || arrives > 0 || comes > 0 || answered;
            quiet = if moved { 0 } else { quiet + 1 };
            if quiet > 200 {
                break;
            }
        }
        let is_over = watch.end().is_some();
        let can_move = delays.iter().any(|delay| *delay > 0);
        prop_assert!(
            client.is_empty() || is_over || !can_move,
            "nobody is left waiting: {:?} {:?} {:?}", String::from_utf8_lossy(&client), server.commands, watch
        );
        if client.is_empty() && can_move && !is_over {
            prop_assert_eq!(watch.refused() as usize, told, "each refusal is told");
        }
        for command in &server.commands {
            let text = String::from_utf8_lossy(command).to_ascii_uppercase();
            let mut words = text.split(' ').skip(1);
            let reads = match words.next() {
                // One that met a server which had ended the waiting by itself.
                None => text == "DONE",
                Some("NOOP" | "FETCH" | "SEARCH" | "IDLE" | "EXAMINE") => true,
                Some("UID") => matches!(words.next(), Some("FETCH" | "SEARCH")),
                Some(_) => false,
            };
            prop_assert!(reads && !text.ends_with("+}"), "{:?}", text);
        }
    }

    #[test]
    fn what_a_server_says_confuses_no_watcher(octets in prop::collection::vec(any::<u8>(), 0..200), client in prop::collection::vec(any::<u8>(), 0..200)) {
        for mut watch in [imap(), pop3()] {
            let mut onward = Vec::new();
            watch.client(&client, &mut onward);
            watch.server(&octets);
            watch.client(&client, &mut onward);
            prop_assert!(onward.len() <= 2 * client.len() + 32);
        }
    }
}
