//! What every error must carry before it crosses a module: a code, an answer for the mail program, a remedy for the operator.

use std::fmt;

/// An error with two readers: the mail program, which hears [`answer`](Fault::answer), and the operator, who reads the error
/// itself and its [`remedy`](Fault::remedy).
pub trait Fault: std::error::Error {
    /// A short fixed name, such as `token-refused`; a heading in the documents.
    fn code(&self) -> &'static str;

    /// Who has to do something.
    fn whose(&self) -> Whose;

    /// What to do about it: a sentence in the imperative, or `None` if it passes by itself.
    fn remedy(&self) -> Option<String>;

    /// What the mail program is told after a right app password.
    fn answer(&self, reference: Reference) -> Answer {
        match self.whose() {
            Whose::Nobody => Answer::TryLater(reference),
            Whose::Administrator | Whose::User => Answer::MustAct(reference),
        }
    }
}

/// Whose move it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// It passes by itself: try later.
    Nobody,
    /// Someone must change the set-up here, in Entra ID or in Exchange.
    Administrator,
    /// The owner of the mailbox must sign in again.
    User,
}

/// What a mail program is told instead of being served. `wire::answer` puts it into the words of each protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Wrong, unknown, revoked, expired, or outside a scope that does not pass by itself: all alike.
    WrongPassword,
    /// A login without TLS where that is not allowed.
    PrivacyRequired,
    /// Too many wrong passwords on this connection, or for this login from this address.
    TooManyFailures,
    /// Too many connections: in all, or not yet logged in from this address.
    TooManyConnections,
    /// The app password has as many sessions open as it may.
    TooManySessions(Reference),
    /// The token service or Exchange cannot be had now.
    TryLater(Reference),
    /// Someone must act before this can work.
    MustAct(Reference),
    /// The disk has no room for a message.
    DiskGuard(Reference),
    /// The message names a sender that it may not name.
    SenderNotAllowed(Reference),
    /// The message names a recipient that it may not name.
    RecipientNotAllowed(Reference),
    /// As many messages were sent as may be for now.
    TooManyMessages(Reference),
    /// The message goes round in circles.
    MailLoop(Reference),
    /// The login of this session holds no more: its app password was revoked or has expired, or its mailbox was disabled or taken off
    /// the list.
    Ended,
    /// We are stopping.
    Stopping,
    /// The client took too long, or sent what it may not, and the connection ends.
    GoodBye,
}

impl Answer {
    /// The reference in it, where there is one.
    pub fn reference(self) -> Option<Reference> {
        match self {
            Self::TooManySessions(reference)
            | Self::TryLater(reference)
            | Self::MustAct(reference)
            | Self::DiskGuard(reference)
            | Self::SenderNotAllowed(reference)
            | Self::RecipientNotAllowed(reference)
            | Self::TooManyMessages(reference)
            | Self::MailLoop(reference) => Some(reference),
            _ => None,
        }
    }
}

/// Six letters and digits that lead from what a person saw to the full reason in the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reference([u8; 6]);

impl Reference {
    /// Letters and digits without those that are mistaken for one another on paper.
    const ALPHABET: &'static [u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

    /// A new reference.
    pub fn fresh() -> Self {
        let mut random = [0; 4];
        // Without randomness the reference is only less distinct; the text beside it in the log is the same.
        if aws_lc_rs::rand::fill(&mut random).is_err() {
            random = (std::process::id().wrapping_mul(2_654_435_761)).to_ne_bytes();
        }
        Self::from_random(u32::from_ne_bytes(random))
    }

    /// Makes a reference of 30 random bits. Any number will do; it only has to differ from the others of the same week.
    pub fn from_random(random: u32) -> Self {
        let mut letters = [0; 6];
        for (place, letter) in letters.iter_mut().enumerate() {
            *letter = Self::ALPHABET[((random >> (5 * place)) & 31) as usize];
        }
        Self(letters)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0 {
            write!(f, "{}", char::from(letter))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::Reference;

    #[test]
    fn references_are_six_plain_letters_or_digits() {
        assert_eq!(Reference::from_random(0).to_string(), "222222");
        assert_eq!(Reference::from_random(u32::MAX).to_string(), "ZZZZZZ");
        assert_ne!(Reference::from_random(7).to_string(), Reference::from_random(8).to_string());
    }
}
