//! What Entra ID, Exchange Online and Postern itself say when they say no: what happened, whose move it is, and what to do.
//!
//! This is data. Whether something is tried again is decided where the refusal arrives, by OAuth error, HTTP status, Retry-After
//! and reply code; numbers and texts only choose the words for the administrator, since Microsoft may change them. What has not
//! been confirmed by Microsoft says so ([`Certainty`]) and claims no more.
//!
//! `postern explain` shows the entries, `docs/ERRORS.md` is made of them, and the remedies in the log are theirs.

mod aadsts;
mod exchange;
mod graph;
mod mailbox;
mod own;
mod remedy;
mod search;

use std::time::Duration;

use crate::base::Whose;

pub use self::exchange::{APPLICATION_NOT_LET_IN, PERSON_NOT_LET_IN};
pub use self::remedy::{Places, Step, is_numbered, text as steps_text};
pub use self::search::{Found, Match, Search, exchange_reply, mailbox_answer, search};

/// One refusal.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name, which no other entry has and which never changes: `AADSTS7000222`, `smtp-send-as-denied`, `token-refused`.
    pub code: &'static str,
    /// How it is written where it is seen, if that is not its name: `535 5.7.139`.
    pub seen: &'static str,
    /// Where it comes from.
    pub area: Area,
    /// What it is, in a few words that can stand behind a colon.
    pub title: &'static str,
    /// The literal text, as far as it is known.
    pub example: &'static str,
    /// Words by which it is told from others with the same code; each is enough, wherever it stands.
    pub marks: &'static [&'static str],
    /// The SMTP replies that it comes with.
    pub replies: &'static [ReplyCode],
    /// Whether the replies alone do not tell it, as they come with other causes, too.
    pub words_decide: bool,
    /// What happened.
    pub what: &'static str,
    /// Whose move it is.
    pub whose: Whose,
    /// What to do.
    pub remedy: &'static [Step],
    /// What the mail program is told.
    pub told: Told,
    /// Whether and when to try again.
    pub retry: Retry,
    /// How well the meaning is known.
    pub certainty: Certainty,
    /// Where it was read.
    pub source: &'static str,
}

/// Where a refusal comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The token service, by number.
    Entra,
    /// The token service, by the class that the number stands under.
    OAuth,
    /// Exchange Online, SMTP.
    Smtp,
    /// Exchange Online, IMAP.
    Imap,
    /// Exchange Online, POP3.
    Pop3,
    /// Microsoft Graph.
    Graph,
    /// What Postern tells mail programs.
    Answer,
    /// Postern's own failures, as they stand in its log and its documents.
    Own,
}

impl Area {
    /// All of them, in the order of a reader who looks for something.
    pub const ALL: [Self; 8] =
        [Self::Answer, Self::Smtp, Self::Imap, Self::Pop3, Self::Graph, Self::Entra, Self::OAuth, Self::Own];

    /// What a list of its entries is headed with.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Entra => "Entra ID: AADSTS numbers",
            Self::OAuth => "Entra ID: OAuth errors",
            Self::Smtp => "Exchange Online: SMTP",
            Self::Imap => "Exchange Online: IMAP",
            Self::Pop3 => "Exchange Online: POP3",
            Self::Graph => "Microsoft Graph",
            Self::Answer => "What Postern tells mail programs",
            Self::Own => "Postern's own failures",
        }
    }
}

/// How well the meaning of a refusal is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// Microsoft's own pages say it, or the standard does.
    Documented,
    /// Users have shown it; Microsoft has not confirmed it.
    Reported,
    /// Other people's documents say it; Microsoft has not confirmed it.
    Secondary,
    /// Nobody could show it.
    Unverified,
    /// It is Postern's own.
    Own,
}

impl Certainty {
    /// The word in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Reported => "reported",
            Self::Secondary => "secondary",
            Self::Unverified => "unverified",
            Self::Own => "own",
        }
    }

    /// The same for people, before the source.
    pub fn words(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Reported => "reported by users, not confirmed by Microsoft",
            Self::Secondary => "from other people's documents, not confirmed by Microsoft",
            Self::Unverified => "not verified",
            Self::Own => "Postern's own",
        }
    }
}

/// Whether and when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same again brings the same.
    Never,
    /// Once the remedy has been applied, and not before.
    WhenMended,
    /// Once at once, with a new token; Postern does that by itself. After that when it has been mended.
    OnceWithNewToken,
    /// It passes: after so many seconds at the earliest, then at growing intervals.
    BackOff {
        /// The first wait.
        seconds: u32,
    },
    /// When the time in Retry-After has passed.
    RetryAfter {
        /// The wait where there is no such header.
        otherwise_seconds: u32,
    },
    /// When the milliseconds that the text names have passed, see [`pause`].
    Named {
        /// The wait where it names none.
        otherwise_seconds: u32,
    },
}

impl Retry {
    /// The word in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::WhenMended => "when-mended",
            Self::OnceWithNewToken => "once-with-new-token",
            Self::BackOff { .. } => "back-off",
            Self::RetryAfter { .. } => "retry-after",
            Self::Named { .. } => "named",
        }
    }

    /// The seconds in it.
    pub fn seconds(self) -> Option<u32> {
        match self {
            Self::Never | Self::WhenMended | Self::OnceWithNewToken => None,
            Self::BackOff { seconds } => Some(seconds),
            Self::RetryAfter { otherwise_seconds } | Self::Named { otherwise_seconds } => Some(otherwise_seconds),
        }
    }

    /// The same for people.
    pub fn words(self) -> String {
        let span = |seconds: u32| match seconds {
            0..=119 => format!("{seconds} s"),
            120..=7199 => format!("{} min", seconds / 60),
            _ => format!("{} h", seconds / 3600),
        };
        match self {
            Self::Never => "no: the same again brings the same answer".to_owned(),
            Self::WhenMended => "when it has been mended, not before".to_owned(),
            Self::OnceWithNewToken => {
                "Postern tries once more by itself, with a new token; after that when it has been mended".to_owned()
            }
            Self::BackOff { seconds } => {
                format!("yes, after {} at the earliest, then at growing intervals", span(seconds))
            }
            Self::RetryAfter { otherwise_seconds } => format!(
                "yes, when the seconds in Retry-After have passed; where there is none, after {}",
                span(otherwise_seconds)
            ),
            Self::Named { otherwise_seconds } => format!(
                "yes, when the milliseconds that it names have passed; where it names none, after {}",
                span(otherwise_seconds)
            ),
        }
    }
}

/// What the mail program is told, by protocol; `None` where it is told nothing. References are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The reply. A login by SMTP is answered from the app password alone, so this answers MAIL, RCPT, DATA or the message.
    pub smtp: Option<&'static str>,
    /// The answer, without its tag.
    pub imap: Option<&'static str>,
    /// The answer.
    pub pop3: Option<&'static str>,
}

impl Told {
    /// Nothing: it is not seen where mail programs are.
    pub const NOTHING: Self = Self { smtp: None, imap: None, pop3: None };

    /// It passes by itself.
    pub const TRY_LATER: Self = Self {
        smtp: Some("451 4.3.0 The mailbox cannot be reached now, try again later"),
        imap: Some("NO [UNAVAILABLE] The mailbox cannot be reached now, try again later"),
        pop3: Some("-ERR [SYS/TEMP] The mailbox cannot be reached now, try again later"),
    };

    /// Someone must act.
    pub const MUST_ACT: Self = Self {
        smtp: Some("451 4.7.0 The mailbox needs your administrator"),
        imap: Some("NO [CONTACTADMIN] The mailbox needs your administrator"),
        pop3: Some("-ERR [SYS/PERM] The mailbox needs your administrator"),
    };

    /// The daily limit becomes temporary.
    pub const DAILY_LIMIT: Self = Self::by_smtp("451 4.7.1 The daily sending limit is reached, try again later");

    /// Exchange does not count us as logged in, within a transaction.
    pub const NOT_LET_IN: Self = Self::by_smtp("451 4.7.0 The message cannot be sent now");

    /// Only SMTP knows it.
    pub(in crate::base::catalogue) const fn by_smtp(reply: &'static str) -> Self {
        Self { smtp: Some(reply), ..Self::NOTHING }
    }

    /// Only IMAP knows it.
    pub(in crate::base::catalogue) const fn by_imap(answer: &'static str) -> Self {
        Self { imap: Some(answer), ..Self::NOTHING }
    }

    /// The part of it that IMAP hears.
    pub(in crate::base::catalogue) const fn imap_only(self) -> Self {
        Self { imap: self.imap, ..Self::NOTHING }
    }

    /// The part of it that POP3 hears.
    pub(in crate::base::catalogue) const fn pop3_only(self) -> Self {
        Self { pop3: self.pop3, ..Self::NOTHING }
    }

    /// The part of it that SMTP hears.
    pub(in crate::base::catalogue) const fn smtp_only(self) -> Self {
        Self { smtp: self.smtp, ..Self::NOTHING }
    }

    /// The protocols that hear something, by name.
    pub fn lines(&self) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
        [("SMTP", self.smtp), ("IMAP", self.imap), ("POP3", self.pop3)]
            .into_iter()
            .filter_map(|(protocol, line)| Some((protocol, line?)))
    }
}

/// A reply code with an enhanced code, or a range of them (RFC 5321, section 4.2; RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyCode {
    /// The three digits, where they are known.
    pub code: Option<u16>,
    /// Class and subject.
    pub class: (u8, u16),
    /// The first and the last detail.
    pub details: (u16, u16),
}

impl ReplyCode {
    /// One code.
    pub(in crate::base::catalogue) const fn one(code: u16, class: u8, subject: u16, detail: u16) -> Self {
        Self { code: Some(code), class: (class, subject), details: (detail, detail) }
    }

    /// A range.
    pub(in crate::base::catalogue) const fn range(code: u16, class: u8, subject: u16, details: (u16, u16)) -> Self {
        Self { code: Some(code), class: (class, subject), details }
    }
}

impl Entry {
    /// What the entries of an area begin with; each names the rest.
    pub(in crate::base::catalogue) const fn of(area: Area) -> Self {
        Self {
            code: "",
            seen: "",
            area,
            title: "",
            example: "",
            marks: &[],
            replies: &[],
            words_decide: false,
            what: "",
            whose: Whose::Administrator,
            remedy: &[],
            told: Told::MUST_ACT,
            retry: Retry::WhenMended,
            certainty: Certainty::Documented,
            source: "",
        }
    }

    /// How it is written where it is seen.
    pub fn name(&self) -> &'static str {
        if self.seen.is_empty() { self.code } else { self.seen }
    }

    /// Whether it is met by mail programs that speak to Exchange themselves, so that its remedy is no help to one that goes through Postern.
    pub fn is_about_others(&self) -> bool {
        self.remedy.first() == exchange::GO_THROUGH_POSTERN.first()
    }

    /// What to do, each step with its places filled, for a screen or a document.
    pub fn steps(&self, places: &Places<'_>) -> Vec<(Step, String)> {
        self.remedy.iter().map(|step| (*step, places.fill(step.template()))).collect()
    }

    /// What to do, in one line, for the log.
    pub fn remedy_line(&self, places: &Places<'_>) -> String {
        remedy::line(self.remedy, places)
    }

    /// What to do, in lines: the steps numbered if there are several, commands alone and indented.
    pub fn remedy_text(&self, places: &Places<'_>) -> String {
        remedy::text(self.remedy, places)
    }
}

/// Whose move it is, in words.
pub fn whose_words(whose: Whose) -> &'static str {
    match whose {
        Whose::Nobody => "nobody's, it passes by itself",
        Whose::Administrator => "the administrator's",
        Whose::User => "the user's",
    }
}

/// Whose move it is, the word in documents.
pub fn whose_name(whose: Whose) -> &'static str {
    match whose {
        Whose::Nobody => "nobody",
        Whose::Administrator => "administrator",
        Whose::User => "user",
    }
}

/// Every entry, area by area in the order of [`Area::ALL`].
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    [own::ANSWERS, exchange::LOGIN, exchange::MESSAGE, mailbox::IMAP, mailbox::POP3, graph::ENTRIES]
        .into_iter()
        .chain(aadsts::NUMBERS.iter().copied())
        .chain([aadsts::ERRORS, own::ROAD, own::ROUTES, own::MACHINE, own::ADMINISTRATION])
        .flatten()
}

/// The entry of this name; ASCII case does not matter.
pub fn by_code(code: &str) -> Option<&'static Entry> {
    entries().find(|entry| entry.code.eq_ignore_ascii_case(code))
}

/// The entry of an AADSTS number.
pub fn aadsts(number: u64) -> Option<&'static Entry> {
    let code = format!("AADSTS{number}");
    aadsts::NUMBERS.iter().copied().flatten().find(|entry| entry.code == code)
}

/// The entry of an OAuth error, for when the number says nothing.
pub fn oauth_error(error: &str) -> Option<&'static Entry> {
    aadsts::ERRORS.iter().find(|entry| entry.code == error || entry.marks.contains(&error))
}

/// The shortest and the longest pause that is taken from a text.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// The pause that a throttling answer names: `Suggested Backoff Time: 299609 milliseconds`. It is at least a second and at most
/// an hour, whatever the text says, so that a mistaken far side neither makes us spin nor keeps a mailbox shut for days.
pub fn pause(text: &str) -> Option<Duration> {
    const BEFORE: &str = "suggested backoff time:";
    let lower = text.to_ascii_lowercase();
    let rest = lower.split_once(BEFORE)?.1.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, unit) = rest.split_at_checked(end)?;
    if digits.is_empty() || !unit.trim_start().starts_with("millisecond") {
        return None;
    }
    // So many digits that they are no number any more are a long time.
    let milliseconds = digits.parse().unwrap_or(u64::MAX);
    Some(Duration::from_millis(milliseconds).clamp(PAUSES.0, PAUSES.1))
}

#[cfg(test)]
mod tests;
