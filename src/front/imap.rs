//! IMAP up to login (RFC 3501, section 6.1 and 6.2; RFC 2971; RFC 4959; RFC 7888).

use std::mem;

use zeroize::Zeroize;

use crate::base::Answer;
use crate::front::exchange::{Exchange, Turn};
use crate::front::imap_command::{Announced, Gathered, Pair, TEXT_OCTETS};
use crate::front::patience::{Patience, client_name, is_http, is_tls};
use crate::front::steps::{Progress, Steps};
use crate::front::{Front, Setting, Step, WantOfTls, Welcome};
use crate::wire::answer;
use crate::wire::imap::welcome_capabilities;
use crate::wire::line::{Line, Lines};
use crate::wire::sasl::Claim;

/// A client's connection before login.
#[derive(Debug)]
pub struct Imap {
    setting: Setting,
    lines: Lines,
    steps: Steps,
    patience: Patience,
    state: State,
    client_name: Option<String>,
    want_of_tls: Option<WantOfTls>,
}

#[derive(Debug)]
enum State {
    /// A command is awaited.
    Open,
    /// A literal of this command is awaited.
    Literal { command: Gathered, octets: Vec<u8>, missing: usize },
    /// What follows a literal of this command is awaited.
    BehindLiteral { command: Gathered },
    /// AUTHENTICATE has come, and the client's response is awaited.
    Responding { tag: Vec<u8>, exchange: Exchange },
    /// The claim is being checked.
    Checking { tag: Vec<u8> },
    /// The TLS handshake is awaited.
    Handshaking,
    /// Logged in or closed.
    Ended,
}

impl Imap {
    /// Begins a conversation; the greeting is the first step.
    pub fn new(setting: Setting) -> Self {
        let mut front = Self {
            setting,
            lines: Lines::new(TEXT_OCTETS),
            steps: Steps::default(),
            patience: Patience::default(),
            state: State::Open,
            client_name: None,
            want_of_tls: None,
        };
        // Clients choose their quirks by these words.
        let greeting =
            format!("* OK [CAPABILITY {}] The Microsoft Exchange IMAP4 service is ready.\r\n", front.capabilities());
        front.steps.say(greeting);
        front
    }

    fn may_log_in(&self) -> bool {
        self.setting.secured || self.setting.plaintext_login
    }

    fn offers_starttls(&self) -> bool {
        self.setting.starttls && !self.setting.secured
    }

    /// What Exchange shows before login, but with our ways to log in. What old clients look for here only, such as IDLE, is
    /// there after login.
    fn capabilities(&self) -> String {
        let mut list = "IMAP4 IMAP4rev1".to_owned();
        if self.offers_starttls() {
            list.push_str(" STARTTLS");
        }
        list.push_str(if self.may_log_in() { " AUTH=PLAIN AUTH=LOGIN" } else { " LOGINDISABLED" });
        list.push_str(" SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+");
        list
    }

    fn advance(&mut self) -> Progress {
        if self.steps.ended() {
            return Progress::Waits;
        }
        match &mut self.state {
            State::Checking { .. } | State::Handshaking | State::Ended => return Progress::Waits,
            State::Literal { octets, missing, .. } if *missing > 0 => {
                let waiting = self.lines.waiting();
                if waiting.is_empty() {
                    return Progress::Waits;
                }
                let piece = waiting.get(..waiting.len().min(*missing)).unwrap_or_default();
                octets.extend_from_slice(piece);
                let taken = piece.len();
                *missing -= taken;
                self.lines.skip(taken);
                return Progress::Moved;
            }
            _ => {}
        }
        if let State::Literal { .. } = self.state
            && let State::Literal { mut command, octets, .. } = mem::replace(&mut self.state, State::Open)
        {
            command.literal(octets);
            self.state = State::BehindLiteral { command };
            return Progress::Moved;
        }
        if matches!(self.state, State::Open) && is_tls(self.lines.waiting()) {
            self.close();
            return Progress::Moved;
        }
        let mut line = match self.lines.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => return Progress::Waits,
            Err(_) => {
                self.close_with("* BAD The line is too long\r\n");
                return Progress::Moved;
            }
        };
        self.take_line(&line);
        line.bytes.zeroize();
        Progress::Moved
    }

    fn take_line(&mut self, line: &Line) {
        if line.bare {
            return self.close_with("* BAD A line must end in CRLF and hold no CR, LF or NUL\r\n");
        }
        // The state is taken out and put back, so that no arm can forget to decide what comes next.
        self.state = match mem::replace(&mut self.state, State::Open) {
            State::Responding { tag, exchange } => self.turn(tag, exchange.answer(&line.bytes)),
            State::BehindLiteral { mut command } => {
                let (text, announced) = Announced::split_from(&line.bytes);
                match command.go_on(text) {
                    Ok(()) => self.gathered(command, announced),
                    Err(_) => {
                        self.close_with("* BAD The command is too long\r\n");
                        State::Ended
                    }
                }
            }
            _ if is_http(&line.bytes) => {
                self.close();
                State::Ended
            }
            _ => {
                let (text, announced) = Announced::split_from(&line.bytes);
                self.gathered(Gathered::begin(text), announced)
            }
        };
        if self.steps.ended() {
            self.state = State::Ended;
        }
    }

    /// Asks for the literal that was announced, or carries the command out.
    fn gathered(&mut self, mut command: Gathered, announced: Option<Announced>) -> State {
        let Some(announced) = announced else { return self.command(command) };
        let takes_strings = matches!(command.verb.as_slice(), b"LOGIN" | b"ID");
        let refused_anyway = command.malformed || !takes_strings || (command.verb == b"LOGIN" && !self.may_log_in());
        if announced.waits && refused_anyway {
            // The client has not sent the literal, so nothing of it is there to be skipped. A password is not asked for.
            return self.command(command);
        }
        match command.expect(announced) {
            Ok(missing) => {
                if announced.waits {
                    self.steps.say("+ Ready\r\n");
                }
                // No room is made for what was only announced.
                State::Literal { command, octets: Vec::new(), missing }
            }
            Err(_) if announced.waits => {
                self.bad(command.tag.as_deref(), "The literal is too long");
                State::Open
            }
            // It is on its way, and is not read: what is in it must not pass as commands.
            Err(_) => {
                self.bad(command.tag.as_deref(), "The literal is too long");
                self.close_with("");
                State::Ended
            }
        }
    }

    fn command(&mut self, mut command: Gathered) -> State {
        let Some(tag) = command.tag.take() else {
            self.bad(None, "The command is not known");
            return State::Open;
        };
        let alone = command.arguments.is_empty();
        if !self.may_log_in() && command.verb != b"STARTTLS" {
            // The greeting has shown it already; now it is a mail program that has seen it, and not somebody who looks at ports.
            self.want_of_tls.get_or_insert(WantOfTls::Shown);
        }
        match command.verb.as_slice() {
            b"CAPABILITY" if alone => {
                let list = format!("* CAPABILITY {}\r\n", self.capabilities());
                self.steps.say(list);
                self.done(&tag, "Done");
            }
            b"NOOP" if alone => self.done(&tag, "Done"),
            b"ID" => match command.pairs() {
                Some(pairs) => {
                    self.note_client(&pairs);
                    self.steps.say("* ID (\"name\" \"Postern\")\r\n");
                    self.done(&tag, "Done");
                }
                None => self.bad(Some(&tag), "The arguments are not well formed"),
            },
            b"LOGOUT" if alone => {
                self.steps.say("* BYE Goodbye\r\n");
                self.steps.say(&tag);
                self.steps.say(" OK Done\r\n");
                self.close();
            }
            b"STARTTLS" if alone && self.offers_starttls() => {
                self.steps.say(&tag);
                self.steps.say(" OK Begin TLS\r\n");
                // What was said in the clear counts for nothing inside, the client's name included.
                self.lines.clear();
                self.client_name = None;
                self.steps.then(Step::StartTls);
                return State::Handshaking;
            }
            b"STARTTLS" => self.bad(Some(&tag), "TLS cannot be started here"),
            b"LOGIN" | b"AUTHENTICATE" if !self.may_log_in() => {
                self.want_of_tls = Some(WantOfTls::Refused);
                self.steps.say(answer::imap(Some(&tag), Answer::PrivacyRequired));
                self.count_bad();
            }
            b"LOGIN" => return self.log_in(tag, &command),
            b"AUTHENTICATE" => return self.authenticate(tag, &command),
            b"CAPABILITY" | b"NOOP" | b"LOGOUT" => self.bad(Some(&tag), "The command takes no arguments"),
            _ => self.bad(Some(&tag), "Not a command to give before login"),
        }
        State::Open
    }

    /// `login = "LOGIN" SP userid SP password` (RFC 3501, section 6.2.3)
    fn log_in(&mut self, tag: Vec<u8>, command: &Gathered) -> State {
        let claim = command.two_strings().and_then(|(login, password)| Claim::new(login, password).ok());
        match claim {
            Some(claim) => self.check(tag, claim),
            None => {
                self.bad(Some(&tag), "The name or the password is not well formed");
                State::Open
            }
        }
    }

    /// `authenticate = "AUTHENTICATE" SP auth-type [SP (base64 / "=")]` (RFC 4959, section 7)
    fn authenticate(&mut self, tag: Vec<u8>, command: &Gathered) -> State {
        let Some((mechanism, initial)) = command.one_or_two_atoms() else {
            self.bad(Some(&tag), "The arguments are not well formed");
            return State::Open;
        };
        match Exchange::begin(mechanism, initial) {
            Some(turn) => self.turn(tag, turn),
            None => {
                self.steps.say(&tag);
                self.steps.say(" NO The mechanism is not offered\r\n");
                self.count_bad();
                State::Open
            }
        }
    }

    fn turn(&mut self, tag: Vec<u8>, turn: Turn) -> State {
        match turn {
            Turn::Ask(exchange, challenge) => {
                self.steps.say(format!("+ {challenge}\r\n"));
                State::Responding { tag, exchange }
            }
            Turn::Claim(claim) => self.check(tag, claim),
            Turn::Cancelled => {
                self.bad(Some(&tag), "Login cancelled");
                State::Open
            }
            Turn::Malformed => {
                self.bad(Some(&tag), "The response is not well formed");
                State::Open
            }
        }
    }

    fn check(&mut self, tag: Vec<u8>, claim: Claim) -> State {
        self.steps.then(Step::Check(claim));
        State::Checking { tag }
    }

    fn note_client(&mut self, pairs: &[Pair]) {
        let value = |wanted: &[u8]| {
            let pair = pairs.iter().find(|(field, _)| field.eq_ignore_ascii_case(wanted));
            pair.and_then(|(_, value)| value.clone())
        };
        let told = [value(b"name"), value(b"version")].into_iter().flatten().collect::<Vec<_>>().join(&b' ');
        self.client_name = client_name(&told);
    }

    /// Says the tagged OK of a command that counts for nothing.
    fn done(&mut self, tag: &[u8], words: &str) {
        self.steps.say(tag);
        self.steps.say(format!(" OK {words}\r\n"));
        if self.patience.junk_command() {
            self.close_with("");
        }
    }

    fn bad(&mut self, tag: Option<&[u8]>, words: &str) {
        self.steps.say(tag.unwrap_or(b"*"));
        self.steps.say(format!(" BAD {words}\r\n"));
        self.count_bad();
    }

    fn count_bad(&mut self) {
        if self.patience.bad_command() {
            self.close_with("");
        }
    }

    /// Says these words, and BYE behind them.
    fn close_with(&mut self, words: &str) {
        if !self.steps.ended() {
            self.steps.say(words);
            self.steps.say(answer::imap(None, Answer::GoodBye));
            self.close();
        }
    }

    fn close(&mut self) {
        if !self.steps.ended() {
            self.lines.clear();
            self.steps.then(Step::Close);
            self.state = State::Ended;
        }
    }
}

impl Front for Imap {
    fn feed(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Handshaking | State::Ended) {
            self.lines.feed(bytes);
        }
    }

    fn step(&mut self) -> Step {
        loop {
            if let Some(step) = self.steps.next_settled() {
                return step;
            }
            if self.advance() == Progress::Waits {
                return self.steps.next().unwrap_or(Step::Read);
            }
        }
    }

    fn judge(&mut self, verdict: Result<Welcome, Answer>) {
        let tag = match mem::replace(&mut self.state, State::Open) {
            State::Checking { tag } => tag,
            state => {
                self.state = state;
                return;
            }
        };
        let answer = match verdict {
            Ok(welcome) => {
                let list = welcome_capabilities(&welcome.capabilities).join(" ");
                self.steps.say(&tag);
                self.steps.say(format!(" OK [CAPABILITY {list}] Logged in\r\n"));
                self.steps.then(Step::HandOver(self.lines.take_rest()));
                self.state = State::Ended;
                return;
            }
            Err(Answer::WrongPassword) if self.patience.wrong_password() => Answer::TooManyFailures,
            Err(answer) => answer,
        };
        self.steps.say(answer::imap(Some(&tag), answer));
        if answer::closes(answer) {
            self.close();
        }
    }

    fn secured(&mut self) {
        self.setting.secured = true;
        self.want_of_tls = None;
        self.lines.clear();
        self.state = State::Open;
    }

    fn farewell(&self, answer: Answer) -> Vec<u8> {
        match self.state {
            State::Handshaking | State::Ended => Vec::new(),
            _ => answer::imap(None, answer),
        }
    }

    fn client_name(&self) -> Option<&str> {
        self.client_name.as_deref()
    }

    fn want_of_tls(&self) -> Option<WantOfTls> {
        self.want_of_tls
    }
}
