//! Sessions whose commands are looked at behind the login: those of app passwords for reading only, and those that are to file no copies of
//! what they have sent ([`SentWatch`]).
//!
//! What is for reading only lets a client say little.
//!
//! The client's side is an allow-list: whole lines are read, and what changes nothing goes on; SELECT goes on as EXAMINE. Everything else is
//! answered here. The server's side passes as it is, and is followed only as far as it takes to know what it has answered and where it
//! stands between two responses, as an answer of ours may stand nowhere else.
//!
//! Two programs that disagree about where a command ends can be made to disagree about which command it is. So nothing goes on that could be
//! read in two ways: no bare CR or LF, no quoted string that does not end, no literal that the server may not read as one, and nothing
//! behind a literal or IDLE before the server has said whether it takes it.

mod command;
mod imap;
mod pop3;
mod sent;

pub use self::imap::ImapWatch;
pub use self::pop3::Pop3Watch;
pub use self::sent::{SentCopy, SentFolder, SentWatch};

use crate::base::Protocol;

/// A watcher of a session behind its login. It does no I/O: octets in, octets out.
#[derive(Debug)]
pub enum Watch {
    /// IMAP, for reading only.
    Imap(Box<ImapWatch>),
    /// POP3, for reading only.
    Pop3(Pop3Watch),
    /// IMAP, without copies of what was sent.
    Sent(Box<SentWatch>),
}

/// Why a session that is watched ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEnd {
    /// The client has taken its leave.
    Quit,
    /// It has said what cannot be taken back or answered.
    Refused,
}

impl Watch {
    /// One for a session by this protocol that may only read; none for SMTP, which has no session behind the login that could be watched.
    pub fn of(protocol: Protocol) -> Option<Self> {
        match protocol {
            Protocol::Imap => Some(Self::Imap(Box::default())),
            Protocol::Pop3 => Some(Self::Pop3(Pop3Watch::new())),
            Protocol::Smtp => None,
        }
    }

    /// Takes octets of the client, and puts behind `onward` what the server gets of them. Returns how many were taken: of the rest is
    /// decided when the server has said more, or an answer of ours was taken.
    pub fn client(&mut self, octets: &[u8], onward: &mut Vec<u8>) -> usize {
        match self {
            Self::Imap(watch) => watch.client(octets, onward),
            Self::Pop3(watch) => watch.client(octets, onward),
            Self::Sent(watch) => watch.client(octets, onward),
        }
    }

    /// Follows octets of the server.
    pub fn server(&mut self, octets: &[u8]) {
        match self {
            Self::Imap(watch) => watch.server(octets),
            Self::Pop3(watch) => watch.server(octets),
            Self::Sent(watch) => watch.server(octets),
        }
    }

    /// What the client is to be told now, where the octets of the server that were followed have all reached it.
    pub fn answer(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Imap(watch) => watch.answer(),
            Self::Pop3(watch) => watch.answer(),
            Self::Sent(watch) => watch.answer(),
        }
    }

    /// Whether the server's side stands between two responses.
    pub fn between_responses(&self) -> bool {
        match self {
            Self::Imap(watch) => watch.between_responses(),
            Self::Pop3(watch) => watch.between_responses(),
            Self::Sent(watch) => watch.between_responses(),
        }
    }

    /// Why the session has to end, once everything that was said has been passed on.
    pub fn end(&self) -> Option<WatchEnd> {
        match self {
            Self::Imap(watch) => watch.is_over().then_some(WatchEnd::Refused),
            Self::Pop3(watch) => watch.quits().then_some(WatchEnd::Quit),
            Self::Sent(_) => None,
        }
    }

    /// Whether something that the client has said is still to be decided, or to be answered by us.
    pub fn is_behind(&self) -> bool {
        match self {
            Self::Imap(watch) => watch.is_behind(),
            Self::Pop3(watch) => watch.is_behind(),
            Self::Sent(watch) => watch.is_behind(),
        }
    }

    /// How many commands were not let through.
    pub fn refused(&self) -> u64 {
        match self {
            Self::Imap(watch) => watch.refused(),
            Self::Pop3(watch) => watch.refused(),
            Self::Sent(_) => 0,
        }
    }

    /// A message of which it has to be known whether it is filed already, before anything more is said: see [`told`](Self::told).
    pub fn question(&mut self) -> Option<SentCopy> {
        if let Self::Sent(watch) = self { watch.question() } else { None }
    }

    /// Whether the message that was asked about is filed already.
    pub fn told(&mut self, is_filed: bool) {
        if let Self::Sent(watch) = self {
            watch.told(is_filed);
        }
    }

    /// Whether everything passes, as what was said could not be followed with certainty.
    pub fn has_given_up(&self) -> bool {
        if let Self::Sent(watch) = self { watch.has_given_up() } else { false }
    }

    /// How many copies of sent messages were dropped.
    pub fn dropped(&self) -> u64 {
        if let Self::Sent(watch) = self { watch.dropped() } else { 0 }
    }
}

/// What of a server's capabilities a client is shown behind its login: not those that would be refused, so that it does not try them.
pub fn reading_capabilities(shown: Vec<String>) -> Vec<String> {
    let is_of_no_use = |word: &String| {
        let word = word.to_ascii_uppercase();
        word.starts_with("COMPRESS=") || matches!(word.as_str(), "LITERAL+" | "LITERAL-" | "MOVE" | "UIDPLUS")
    };
    shown.into_iter().filter(|word| !is_of_no_use(word)).collect()
}

/// The same for a client whose copies of sent messages are looked at: without what would hide them.
pub fn legible_capabilities(shown: Vec<String>) -> Vec<String> {
    let hides = |word: &String| {
        let word = word.to_ascii_uppercase();
        word.starts_with("COMPRESS=") || matches!(word.as_str(), "BINARY" | "CATENATE" | "MULTIAPPEND")
    };
    shown.into_iter().filter(|word| !hides(word)).collect()
}

#[cfg(test)]
mod sent_tests;
#[cfg(test)]
mod tests;
