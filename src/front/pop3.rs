//! POP3 up to login (RFC 1939, section 4; RFC 2449; RFC 2595, section 4; RFC 5034).

use std::mem;

use zeroize::Zeroize;

use crate::base::{Answer, Secret};
use crate::front::exchange::{Exchange, RESPONSE_OCTETS, Turn};
use crate::front::patience::{Patience, is_http, is_tls};
use crate::front::steps::{Progress, Steps};
use crate::front::{Front, Setting, Step, WantOfTls, Welcome};
use crate::wire::answer;
use crate::wire::line::{Line, Lines};
use crate::wire::sasl::Claim;

/// A client's connection before login.
#[derive(Debug)]
pub struct Pop3 {
    setting: Setting,
    lines: Lines,
    steps: Steps,
    patience: Patience,
    state: State,
    want_of_tls: Option<WantOfTls>,
}

#[derive(Debug)]
enum State {
    /// Greeted, and no name given.
    Open,
    /// USER has come.
    Named { login: Secret<Vec<u8>> },
    /// AUTH has come, and the client's response is awaited.
    Responding(Exchange),
    /// The claim is being checked.
    Checking,
    /// The TLS handshake is awaited.
    Handshaking,
    /// Logged in or closed.
    Ended,
}

impl Pop3 {
    /// Begins a conversation; the greeting is the first step.
    pub fn new(setting: Setting) -> Self {
        let mut steps = Steps::default();
        // Clients choose their quirks by these words.
        steps.say("+OK The Microsoft Exchange POP3 service is ready.\r\n");
        let lines = Lines::new(RESPONSE_OCTETS);
        Self { setting, lines, steps, patience: Patience::default(), state: State::Open, want_of_tls: None }
    }

    fn may_log_in(&self) -> bool {
        self.setting.secured || self.setting.plaintext_login
    }

    fn offers_stls(&self) -> bool {
        self.setting.starttls && !self.setting.secured
    }

    fn advance(&mut self) -> Progress {
        if self.steps.ended() || matches!(self.state, State::Checking | State::Handshaking | State::Ended) {
            return Progress::Waits;
        }
        if is_tls(self.lines.waiting()) {
            self.close();
            return Progress::Moved;
        }
        let mut line = match self.lines.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => return Progress::Waits,
            Err(_) => {
                self.close_with("-ERR The line is too long\r\n");
                return Progress::Moved;
            }
        };
        self.take_line(&line);
        line.bytes.zeroize();
        Progress::Moved
    }

    fn take_line(&mut self, line: &Line) {
        if line.bare {
            return self.close_with("-ERR A line must end in CRLF and hold no CR, LF or NUL\r\n");
        }
        if is_http(&line.bytes) {
            return self.close();
        }
        // The state is taken out and put back, so that no arm can forget to decide what comes next.
        self.state = match mem::replace(&mut self.state, State::Open) {
            State::Responding(exchange) => self.turn(exchange.answer(&line.bytes)),
            state if line.bytes.len() > COMMAND_OCTETS && !is_auth(&line.bytes) => {
                self.refuse("-ERR The line is too long\r\n");
                state
            }
            state => self.command(state, &line.bytes),
        };
        if self.steps.ended() {
            self.state = State::Ended;
        }
    }

    fn command(&mut self, state: State, line: &[u8]) -> State {
        let (verb, argument) = match memchr::memchr(b' ', line) {
            Some(place) => (line.get(..place).unwrap_or_default(), line.get(place + 1..)),
            None => (line, None),
        };
        match (verb.to_ascii_uppercase().as_slice(), argument, state) {
            (b"QUIT", None, _) => {
                self.close_with("+OK Goodbye\r\n");
                State::Ended
            }
            (b"CAPA", None, state) => {
                self.capabilities();
                state
            }
            (b"STLS", None, _) if self.offers_stls() => {
                self.steps.say("+OK Begin TLS\r\n");
                // What was said in the clear counts for nothing inside: no name, and no command behind this one.
                self.lines.clear();
                self.steps.then(Step::StartTls);
                State::Handshaking
            }
            (b"STLS", _, state) => {
                self.refuse("-ERR TLS cannot be started here\r\n");
                state
            }
            (b"USER" | b"PASS" | b"AUTH", Some(_), _) if !self.may_log_in() => {
                self.want_of_tls = Some(WantOfTls::Refused);
                self.refuse(answer::pop3(Answer::PrivacyRequired));
                State::Open
            }
            // A second USER takes the place of the first.
            (b"USER", Some(name), _) if !name.is_empty() => {
                self.steps.say("+OK\r\n");
                State::Named { login: Secret::new(name.to_vec()) }
            }
            // All behind the one space is the password, spaces included (RFC 1939, section 7).
            (b"PASS", Some(password), State::Named { login }) => {
                match Claim::new(login.expose().clone(), password.to_vec()) {
                    Ok(claim) => self.check(claim),
                    Err(_) => {
                        self.refuse("-ERR The name or the password is empty or holds a control character\r\n");
                        State::Open
                    }
                }
            }
            (b"PASS", _, state) => {
                self.refuse("-ERR Say USER and a name first\r\n");
                state
            }
            // Some clients ask so for the list of mechanisms.
            (b"AUTH", None, state) => {
                self.note_what_is_shown();
                self.steps.say(if self.may_log_in() { "+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n" } else { "+OK\r\n.\r\n" });
                self.count_junk();
                state
            }
            (b"AUTH", Some(argument), state) => self.authenticate(state, argument),
            (_, _, state) => {
                self.refuse("-ERR Not a command to give before login\r\n");
                state
            }
        }
    }

    /// `AUTH mechanism [initial-response]` (RFC 5034, section 4)
    fn authenticate(&mut self, state: State, argument: &[u8]) -> State {
        let mut words = argument.splitn(2, |octet| *octet == b' ');
        let mechanism = words.next().unwrap_or_default();
        match Exchange::begin(mechanism, words.next()) {
            Some(turn) => self.turn(turn),
            None => {
                self.refuse("-ERR The mechanism is not offered\r\n");
                state
            }
        }
    }

    fn turn(&mut self, turn: Turn) -> State {
        match turn {
            Turn::Ask(exchange, challenge) => {
                self.steps.say(format!("+ {challenge}\r\n"));
                State::Responding(exchange)
            }
            Turn::Claim(claim) => self.check(claim),
            Turn::Cancelled => {
                self.refuse("-ERR Login cancelled\r\n");
                State::Open
            }
            Turn::Malformed => {
                self.refuse("-ERR The response is not well formed\r\n");
                State::Open
            }
        }
    }

    fn check(&mut self, claim: Claim) -> State {
        self.steps.then(Step::Check(claim));
        State::Checking
    }

    /// What is shown is what the client may use now (RFC 2449, section 5); TOP and UIDL are what Exchange has.
    fn capabilities(&mut self) {
        let mut list = "+OK\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n".to_owned();
        if self.offers_stls() {
            list.push_str("STLS\r\n");
        }
        if self.may_log_in() {
            list.push_str("USER\r\nSASL PLAIN LOGIN\r\n");
        }
        list.push_str(".\r\n");
        self.steps.say(list);
        self.note_what_is_shown();
        self.count_junk();
    }

    fn note_what_is_shown(&mut self) {
        if !self.may_log_in() {
            self.want_of_tls.get_or_insert(WantOfTls::Shown);
        }
    }

    fn count_junk(&mut self) {
        if self.patience.junk_command() {
            self.close_with("-ERR Too many commands without a login\r\n");
        }
    }

    fn refuse(&mut self, words: impl AsRef<[u8]>) {
        self.steps.say(words);
        if self.patience.bad_command() {
            self.close_with("-ERR Too many bad commands\r\n");
        }
    }

    fn close_with(&mut self, words: &str) {
        self.steps.say(words);
        self.close();
    }

    fn close(&mut self) {
        if !self.steps.ended() {
            self.lines.clear();
            self.steps.then(Step::Close);
            self.state = State::Ended;
        }
    }
}

impl Front for Pop3 {
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
        if !matches!(self.state, State::Checking) {
            return;
        }
        self.state = State::Open;
        let answer = match verdict {
            Ok(_) => {
                self.steps.say("+OK Logged in\r\n");
                self.steps.then(Step::HandOver(self.lines.take_rest()));
                self.state = State::Ended;
                return;
            }
            Err(Answer::WrongPassword) if self.patience.wrong_password() => Answer::TooManyFailures,
            Err(answer) => answer,
        };
        self.steps.say(answer::pop3(answer));
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
            _ => answer::pop3(answer),
        }
    }

    /// POP3 clients do not say what they are.
    fn client_name(&self) -> Option<&str> {
        None
    }

    fn want_of_tls(&self) -> Option<WantOfTls> {
        self.want_of_tls
    }
}

/// Beyond what RFC 2449, section 4 allows (255), for long names and passwords. An AUTH line may be as long as a SASL response.
const COMMAND_OCTETS: usize = 2048;

fn is_auth(line: &[u8]) -> bool {
    line.get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"AUTH "))
}
