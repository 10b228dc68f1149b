//! SMTP submission (RFC 5321, RFC 6409): login and, behind it, the mail transactions.
//!
//! A pipelined buffer is worked through one command at a time; a step that wants an answer stops it until the answer is there.

use std::mem;

use zeroize::Zeroize;

use crate::base::Answer;
use crate::front::exchange::{Exchange, RESPONSE_OCTETS, Turn};
use crate::front::patience::{Patience, client_name, is_http, is_tls};
use crate::front::steps::{Progress, Steps};
use crate::front::{Front, Setting, Step, Transact, WantOfTls, Welcome};
use crate::wire::answer;
use crate::wire::line::{Line, Lines};
use crate::wire::sasl::Claim;
use crate::wire::smtp::data::{Receiver, Unacceptable};
use crate::wire::smtp::{MailFrom, RcptTo, Reply, SIZE_LIMIT_OCTETS};

/// A client's connection.
#[derive(Debug)]
pub struct Smtp {
    setting: Setting,
    lines: Lines,
    steps: Steps,
    patience: Patience,
    /// How far the client has come.
    stage: Stage,
    /// What is awaited.
    awaits: Awaits,
    client_name: Option<String>,
    want_of_tls: Option<WantOfTls>,
}

/// How far a client has come: only from `LoggedIn` on is there a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has not said EHLO or HELO.
    Silent,
    /// It has.
    Greeted,
    LoggedIn,
    /// MAIL was accepted, and so many recipients.
    Transaction {
        recipients: usize,
        smtputf8: bool,
    },
}

#[derive(Debug)]
enum Awaits {
    Command,
    /// The client's response to a challenge.
    Response(Exchange),
    /// The verdict on a claim.
    Verdict,
    MailReply {
        smtputf8: bool,
    },
    RecipientReply,
    DataReply,
    /// The message.
    Content {
        receiver: Receiver,
        abandoned: bool,
    },
    EndReply,
    /// The end of a chunk that is not read (RFC 3030), and so many octets until then.
    ChunkEnd {
        missing: u64,
    },
    Handshake,
    /// Nothing: closed.
    Nothing,
}

/// As many as Exchange takes at most; more are sent in a second transaction (RFC 5321, section 4.5.3.1.10).
const MAX_RECIPIENTS: usize = 1000;
/// Lines other than AUTH: more than MAIL with all its parameters needs.
const COMMAND_OCTETS: usize = 2048;

impl Smtp {
    /// Begins a conversation; the greeting is the first step.
    pub fn new(setting: Setting) -> Self {
        let mut front = Self {
            setting,
            lines: Lines::new(RESPONSE_OCTETS),
            steps: Steps::default(),
            patience: Patience::default(),
            stage: Stage::Silent,
            awaits: Awaits::Command,
            client_name: None,
            want_of_tls: None,
        };
        let greeting = format!("{} ESMTP Postern", front.setting.hostname);
        front.say(220, greeting);
        front
    }

    fn may_log_in(&self) -> bool {
        self.setting.secured || self.setting.plaintext_login
    }

    fn offers_starttls(&self) -> bool {
        self.setting.starttls && !self.setting.secured && !self.logged_in()
    }

    fn logged_in(&self) -> bool {
        matches!(self.stage, Stage::LoggedIn | Stage::Transaction { .. })
    }

    fn advance(&mut self) -> Progress {
        if self.steps.ended() {
            return Progress::Waits;
        }
        match &self.awaits {
            Awaits::Command | Awaits::Response(_) => self.advance_line(),
            Awaits::Content { .. } => self.advance_content(),
            Awaits::ChunkEnd { .. } => self.advance_chunk(),
            _ => Progress::Waits,
        }
    }

    fn advance_line(&mut self) -> Progress {
        if is_tls(self.lines.waiting()) {
            self.close();
            return Progress::Moved;
        }
        let mut line = match self.lines.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => return Progress::Waits,
            Err(_) => {
                self.say(500, "5.5.6 The line is too long");
                self.close();
                return Progress::Moved;
            }
        };
        self.take_line(&line);
        line.bytes.zeroize();
        Progress::Moved
    }

    fn take_line(&mut self, line: &Line) {
        if line.bare {
            self.say(500, "5.5.2 A line must end in CRLF and hold no CR, LF or NUL");
            return self.close();
        }
        match mem::replace(&mut self.awaits, Awaits::Command) {
            Awaits::Response(exchange) => self.turn(exchange.answer(&line.bytes)),
            _ if is_http(&line.bytes) => self.close(),
            _ => self.command(&line.bytes),
        }
    }

    fn command(&mut self, line: &[u8]) {
        let (verb, argument) = match memchr::memchr(b' ', line) {
            Some(place) => {
                (line.get(..place).unwrap_or_default(), line.get(place + 1..).unwrap_or_default().trim_ascii())
            }
            None => (line, &[][..]),
        };
        let verb = verb.to_ascii_uppercase();
        if line.len() > COMMAND_OCTETS && verb != b"AUTH" {
            return self.bad(500, "5.5.2 The line is too long");
        }
        match verb.as_slice() {
            b"EHLO" => self.hello(argument, true),
            b"HELO" => self.hello(argument, false),
            b"STARTTLS" => self.start_tls(argument),
            b"AUTH" => self.authenticate(argument),
            b"MAIL" => self.mail(argument),
            b"RCPT" => self.recipient(argument),
            b"DATA" => self.data(argument),
            b"BDAT" => self.chunk(argument),
            b"RSET" => {
                self.forget_transaction();
                self.junk(250, "2.0.0 OK");
            }
            b"NOOP" => self.junk(250, "2.0.0 OK"),
            b"VRFY" => self.junk(252, "2.5.0 Send a message and see"),
            b"HELP" => self.junk(214, "2.0.0 See RFC 5321"),
            b"EXPN" | b"ETRN" | b"TURN" | b"SEND" | b"SOML" | b"SAML" => {
                self.bad(502, "5.5.1 The command is not offered")
            }
            b"QUIT" => {
                self.forget_transaction();
                self.say(221, "2.0.0 Goodbye");
                self.close();
            }
            _ => self.bad(500, "5.5.2 The command is not known"),
        }
    }

    /// EHLO and HELO (RFC 5321, section 4.1.1.1). The name may be anything: what old programs call themselves is often none.
    fn hello(&mut self, name: &[u8], extended: bool) {
        let Some(name) = client_name(name) else {
            return self.bad(501, "5.5.4 Your name is missing");
        };
        self.client_name = Some(name);
        self.forget_transaction();
        if self.stage == Stage::Silent {
            self.stage = Stage::Greeted;
        }
        let mut lines = vec![self.setting.hostname.clone().into_bytes()];
        if extended {
            let mut offer = |line: &str| lines.push(line.as_bytes().to_vec());
            offer(&format!("SIZE {SIZE_LIMIT_OCTETS}"));
            offer("PIPELINING");
            offer("DSN");
            offer("ENHANCEDSTATUSCODES");
            if self.offers_starttls() {
                offer("STARTTLS");
            }
            if self.may_log_in() && !self.logged_in() {
                offer("AUTH LOGIN PLAIN");
                // Outlook Express and Outlook up to 2003 look for this form.
                offer("AUTH=LOGIN PLAIN");
            }
            offer("8BITMIME");
            offer("SMTPUTF8");
            if !self.may_log_in() {
                self.want_of_tls.get_or_insert(WantOfTls::Shown);
            }
        }
        self.steps.say(Reply { code: 250, lines }.to_bytes());
        self.count_junk();
    }

    /// RFC 3207, section 4
    fn start_tls(&mut self, argument: &[u8]) {
        if !argument.is_empty() {
            return self.bad(501, "5.5.4 STARTTLS takes no argument");
        }
        if !self.offers_starttls() {
            return self.bad(503, "5.5.1 TLS cannot be started here");
        }
        self.say(220, "2.0.0 Begin TLS");
        // What was said in the clear counts for nothing inside, neither commands behind this one nor the name given before.
        self.lines.clear();
        self.stage = Stage::Silent;
        self.client_name = None;
        self.awaits = Awaits::Handshake;
        self.steps.then(Step::StartTls);
    }

    /// `AUTH SP mechanism [SP initial-response]` (RFC 4954, section 4)
    fn authenticate(&mut self, argument: &[u8]) {
        match self.stage {
            Stage::LoggedIn | Stage::Transaction { .. } => return self.bad(503, "5.5.1 You are logged in already"),
            Stage::Silent => return self.bad(503, "5.5.1 Say EHLO first"),
            Stage::Greeted => {}
        }
        if !self.may_log_in() {
            self.want_of_tls = Some(WantOfTls::Refused);
            self.steps.say(answer::smtp(Answer::PrivacyRequired).to_bytes());
            return self.count_bad();
        }
        if argument.is_empty() {
            return self.bad(501, "5.5.4 The mechanism is missing");
        }
        let (mechanism, initial) = match memchr::memchr(b' ', argument) {
            Some(place) => (argument.get(..place).unwrap_or_default(), argument.get(place + 1..)),
            None => (argument, None),
        };
        match Exchange::begin(mechanism, initial) {
            Some(turn) => self.turn(turn),
            None => self.bad(504, "5.5.4 The mechanism is not offered"),
        }
    }

    fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Ask(exchange, challenge) => {
                self.say(334, challenge);
                self.awaits = Awaits::Response(exchange);
            }
            Turn::Claim(claim) => self.check(claim),
            Turn::Cancelled => self.bad(501, "5.7.0 Login cancelled"),
            Turn::Malformed => self.bad(501, "5.5.2 The response is not well formed"),
        }
    }

    fn check(&mut self, claim: Claim) {
        self.steps.then(Step::Check(claim));
        self.awaits = Awaits::Verdict;
    }

    fn mail(&mut self, argument: &[u8]) {
        match self.stage {
            Stage::Silent | Stage::Greeted => return self.not_logged_in(),
            Stage::Transaction { .. } => return self.bad(503, "5.5.1 A transaction is open already"),
            Stage::LoggedIn => {}
        }
        let mail = match MailFrom::parse(argument) {
            Ok(mail) => mail,
            Err(refusal) => return self.steps.say(refusal.reply().to_bytes()),
        };
        if mail.size.is_some_and(|size| size > SIZE_LIMIT_OCTETS) {
            return self.say(552, TOO_LARGE);
        }
        self.awaits = Awaits::MailReply { smtputf8: mail.smtputf8 };
        self.steps.then(Step::Transact(Transact::Mail(mail)));
    }

    fn recipient(&mut self, argument: &[u8]) {
        let Stage::Transaction { recipients, smtputf8 } = self.stage else { return self.no_transaction() };
        let recipient = match RcptTo::parse(argument) {
            Ok(recipient) => recipient,
            Err(refusal) => return self.steps.say(refusal.reply().to_bytes()),
        };
        if recipient.path.needs_smtputf8() && !smtputf8 {
            return self.say(553, "5.6.7 The address needs SMTPUTF8");
        }
        if recipients >= MAX_RECIPIENTS {
            return self.say(452, "4.5.3 Too many recipients, send the rest in another transaction");
        }
        self.awaits = Awaits::RecipientReply;
        self.steps.then(Step::Transact(Transact::Recipient(recipient)));
    }

    fn data(&mut self, argument: &[u8]) {
        match self.stage {
            _ if !argument.is_empty() => self.bad(501, "5.5.4 DATA takes no argument"),
            Stage::Transaction { recipients: 0, .. } => self.bad(554, "5.5.1 No recipient was accepted"),
            Stage::Transaction { .. } => {
                self.awaits = Awaits::DataReply;
                self.steps.then(Step::Transact(Transact::Data));
            }
            _ => self.no_transaction(),
        }
    }

    fn advance_content(&mut self) -> Progress {
        let Awaits::Content { receiver, abandoned } = &mut self.awaits else { return Progress::Waits };
        let waiting = self.lines.waiting();
        if waiting.is_empty() {
            return Progress::Waits;
        }
        let mut content = Vec::with_capacity(waiting.len());
        let progress = receiver.feed(waiting, &mut content);
        self.lines.skip(progress.consumed);
        if !content.is_empty() {
            self.steps.then(Step::Transact(Transact::Content(content)));
        }
        let refused = receiver.refused();
        if refused.is_some() && !mem::replace(abandoned, true) {
            self.steps.then(Step::Transact(Transact::Abandon));
        }
        if progress.end {
            self.end_content(refused);
        }
        Progress::Moved
    }

    fn end_content(&mut self, refused: Option<Unacceptable>) {
        let reply = match refused {
            None => {
                self.awaits = Awaits::EndReply;
                return self.steps.then(Step::Transact(Transact::End));
            }
            Some(Unacceptable::Nul) => Reply::new(554, "5.6.0 The message holds a NUL"),
            Some(Unacceptable::TooLarge) => Reply::new(552, TOO_LARGE),
        };
        self.steps.then(Step::Transact(Transact::Reset));
        self.steps.say(reply.to_bytes());
        self.stage = Stage::LoggedIn;
        self.awaits = Awaits::Command;
    }

    /// `BDAT SP chunk-size [SP "LAST"]` (RFC 3030, section 2) is not offered. A client that sends it all the same sends the
    /// chunk right behind it, which must not pass as commands.
    fn chunk(&mut self, argument: &[u8]) {
        let word = argument.split(|octet| *octet == b' ').next().unwrap_or_default();
        let digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
        let size = std::str::from_utf8(word).ok().filter(|_| digits).and_then(|word| word.parse::<u64>().ok());
        match size {
            Some(missing) if missing <= SIZE_LIMIT_OCTETS && self.logged_in() => {
                self.awaits = Awaits::ChunkEnd { missing }
            }
            // Where the chunk ends is not known, or who sends it.
            _ => {
                self.say(502, NO_CHUNKS);
                self.close();
            }
        }
    }

    fn advance_chunk(&mut self) -> Progress {
        let Awaits::ChunkEnd { missing } = &mut self.awaits else { return Progress::Waits };
        let waiting = self.lines.waiting().len();
        let skipped = usize::try_from(*missing).unwrap_or(usize::MAX).min(waiting);
        *missing -= skipped as u64;
        self.lines.skip(skipped);
        if *missing > 0 {
            return Progress::Waits;
        }
        self.awaits = Awaits::Command;
        self.bad(502, NO_CHUNKS);
        Progress::Moved
    }

    fn forget_transaction(&mut self) {
        if matches!(self.stage, Stage::Transaction { .. }) {
            self.stage = Stage::LoggedIn;
            self.steps.then(Step::Transact(Transact::Reset));
        }
    }

    fn not_logged_in(&mut self) {
        if !self.may_log_in() {
            self.want_of_tls.get_or_insert(WantOfTls::Shown);
        }
        self.bad(530, "5.7.0 Log in first");
    }

    fn no_transaction(&mut self) {
        if self.logged_in() { self.bad(503, "5.5.1 Say MAIL first") } else { self.not_logged_in() }
    }

    fn say(&mut self, code: u16, text: impl Into<Vec<u8>>) {
        self.steps.say(Reply::new(code, text).to_bytes());
    }

    /// Answers a command that does nothing. After login it may come as often as the client likes.
    fn junk(&mut self, code: u16, text: &str) {
        self.say(code, text);
        self.count_junk();
    }

    fn count_junk(&mut self) {
        if !self.logged_in() && self.patience.junk_command() {
            self.lose_patience();
        }
    }

    fn bad(&mut self, code: u16, text: &str) {
        self.say(code, text);
        self.count_bad();
    }

    fn count_bad(&mut self) {
        if self.patience.bad_command() {
            self.lose_patience();
        }
    }

    fn lose_patience(&mut self) {
        if !self.steps.ended() {
            self.say(421, "4.7.0 Too many commands that lead nowhere");
            self.close();
        }
    }

    fn close(&mut self) {
        if !self.steps.ended() {
            self.forget_transaction();
            self.lines.clear();
            self.awaits = Awaits::Nothing;
            self.steps.then(Step::Close);
        }
    }
}

impl Front for Smtp {
    fn feed(&mut self, bytes: &[u8]) {
        if !matches!(self.awaits, Awaits::Handshake | Awaits::Nothing) {
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
        if !matches!(self.awaits, Awaits::Verdict) {
            return;
        }
        self.awaits = Awaits::Command;
        let answer = match verdict {
            Ok(_) => {
                self.stage = Stage::LoggedIn;
                self.patience.renew();
                return self.say(235, "2.7.0 Logged in");
            }
            Err(Answer::WrongPassword) if self.patience.wrong_password() => Answer::TooManyFailures,
            Err(answer) => answer,
        };
        self.steps.say(answer::smtp(answer).to_bytes());
        if answer::closes(answer) {
            self.close();
        }
    }

    fn reply(&mut self, reply: Reply) {
        match mem::replace(&mut self.awaits, Awaits::Command) {
            Awaits::MailReply { smtputf8 } if reply.is_positive() => {
                self.stage = Stage::Transaction { recipients: 0, smtputf8 };
            }
            Awaits::MailReply { .. } => {}
            Awaits::RecipientReply => {
                if let (Stage::Transaction { recipients, .. }, true) = (&mut self.stage, reply.is_positive()) {
                    *recipients += 1;
                }
            }
            // A refused DATA leaves the envelope as it is (RFC 5321, section 4.1.1.4): the client may say RSET or DATA again.
            Awaits::DataReply if reply.code == 354 => {
                self.awaits = Awaits::Content { receiver: Receiver::new(SIZE_LIMIT_OCTETS), abandoned: false };
            }
            Awaits::DataReply => {}
            Awaits::EndReply => {
                self.stage = Stage::LoggedIn;
                if reply.is_positive() {
                    self.patience.renew();
                }
            }
            awaits => {
                self.awaits = awaits;
                return;
            }
        }
        self.steps.say(reply.to_bytes());
        // 421 announces the end of the connection (RFC 5321, section 3.8), whoever says it.
        if reply.code == 421 {
            self.close();
        }
    }

    fn secured(&mut self) {
        self.setting.secured = true;
        self.want_of_tls = None;
        self.lines.clear();
        self.stage = Stage::Silent;
        self.awaits = Awaits::Command;
    }

    fn farewell(&self, answer: Answer) -> Vec<u8> {
        match self.awaits {
            Awaits::Handshake | Awaits::Nothing => Vec::new(),
            _ => answer::smtp(answer).to_bytes(),
        }
    }

    fn client_name(&self) -> Option<&str> {
        self.client_name.as_deref()
    }

    fn want_of_tls(&self) -> Option<WantOfTls> {
        self.want_of_tls
    }
}

const NO_CHUNKS: &str = "5.5.1 BDAT is not offered";
const TOO_LARGE: &str = "5.3.4 The message is too large";
