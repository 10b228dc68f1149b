//! Why a login, or what is done in a session, was refused: for the log, for the administrator, and for the client.

use std::time::Duration;

use crate::auth::sessions::SessionEnd;
use crate::base::{Answer, Fault, Mailbox, Reference, Whose};
use crate::store::StoreError;

/// A login was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The client is told "wrong password", the log says what it was.
    #[error("{reason}")]
    Refused {
        /// What it was.
        reason: Refusal,
        /// The mailbox, where the login name is one.
        mailbox: Option<Mailbox>,
        /// The public ID of the app password, where the right one was given.
        password_id: Option<String>,
    },
    /// It is used in another network than that of its first login, to which it is bound: perhaps it was stolen.
    #[error("the app password {password_id} of {mailbox} is bound to {bound_to}, where it was first used")]
    Elsewhere {
        /// The network of its first login.
        bound_to: ipnet::IpNet,
        /// The mailbox.
        mailbox: Mailbox,
        /// The public ID of the app password.
        password_id: String,
    },
    /// As many sessions as the app password may have are open.
    #[error("the app password {password_id} has as many sessions open as it may: {limit}")]
    TooManySessions {
        /// How many it may have.
        limit: u32,
        /// The mailbox.
        mailbox: Mailbox,
        /// The public ID of the app password.
        password_id: String,
    },
    /// The app password has sent as many messages as it may for now.
    #[error("the app password {password_id} of {mailbox} has sent as many messages as it may; the next one in {} s", wait.as_secs())]
    TooManyMessages {
        /// How long until another one may be sent.
        wait: Duration,
        /// The mailbox.
        mailbox: Mailbox,
        /// The public ID of the app password.
        password_id: String,
    },
    /// The app password is not for this recipient.
    #[error("the app password {password_id} of {mailbox} may not send to {recipient}")]
    RecipientNotAllowed {
        /// The recipient.
        recipient: String,
        /// The mailbox.
        mailbox: Mailbox,
        /// The public ID of the app password.
        password_id: String,
    },
    /// Too many wrong passwords for this login from this address.
    #[error("too many failed logins from this address, the last one: {last}")]
    TooManyFailures {
        /// What the last one was.
        last: Box<Self>,
    },
    /// The administrator has disabled the mailbox, or halted its tenant or everything.
    #[error("the mailbox {mailbox} is {}", if *.is_halted { "not in use: its tenant, or everything, is halted" } else { "disabled" })]
    MailboxDisabled {
        /// The mailbox.
        mailbox: Mailbox,
        /// It would be in use if nothing were halted.
        is_halted: bool,
        /// The public ID of the app password, where one was given.
        password_id: Option<String>,
    },
    /// A mailbox whose mail waits is not on the list any more.
    #[error("the mailbox {mailbox} is not on the list any more")]
    MailboxGone {
        /// The mailbox.
        mailbox: Mailbox,
    },
    /// The app password of an open session was revoked or has ended, or its mailbox is off the list.
    #[error("the login with the app password {password_id} is no longer valid: {reason}")]
    Ended {
        /// The public ID of the app password.
        password_id: String,
        /// Why not.
        reason: SessionEnd,
    },
    /// The app password is not for this sender.
    #[error("the app password {password_id} of {mailbox} may not send as {sender}")]
    SenderNotAllowed {
        /// The sender.
        sender: String,
        /// The mailbox.
        mailbox: Mailbox,
        /// The public ID of the app password.
        password_id: String,
    },
    /// The store cannot be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was wrong with a login that is answered as a wrong password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The app password has ended by its date.
    #[error("the app password has expired")]
    Expired,
    /// The app password has ended, and another one has its place.
    #[error("the app password has ended, as another one was issued in its place")]
    Replaced,
    /// The app password was not used in the time in which it had to be used for the first time.
    #[error("the app password was not used in the time given for its first use, and has lapsed")]
    Lapsed,
    /// The app password is not to be used yet.
    #[error("the app password may not be used yet")]
    NotYet,
    /// The login name holds what no login name may.
    #[error("the login name is malformed")]
    MalformedLogin,
    /// Whether it is a secret that a device brought along was not asked: too many were tried.
    #[error("too many were tried, so that nobody asked whether this is the secret of a device")]
    NotChecked,
    /// The client's address is outside the networks of the app password.
    #[error("the app password may not be used from this network")]
    Network,
    /// The app password is right, but for another mailbox.
    #[error("the app password belongs to another mailbox")]
    OtherMailbox,
    /// The app password may not be used for this protocol.
    #[error("the app password may not be used for this protocol")]
    Protocol,
    /// The app password was revoked.
    #[error("the app password was revoked")]
    Revoked,
    /// No mailbox has this login name.
    #[error("no mailbox has this login name")]
    UnknownLogin,
    /// No app password is like this.
    #[error("the password is wrong")]
    WrongPassword,
}

impl AuthError {
    /// The public ID of the app password that is meant, where the right one was given.
    pub fn password_id(&self) -> Option<&str> {
        match self {
            Self::Refused { password_id, .. } | Self::MailboxDisabled { password_id, .. } => password_id.as_deref(),
            Self::Elsewhere { password_id, .. }
            | Self::TooManySessions { password_id, .. }
            | Self::TooManyMessages { password_id, .. }
            | Self::RecipientNotAllowed { password_id, .. }
            | Self::SenderNotAllowed { password_id, .. }
            | Self::Ended { password_id, .. } => Some(password_id),
            Self::TooManyFailures { last } => last.password_id(),
            _ => None,
        }
    }

    /// The mailbox that is meant, where it is known.
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Refused { mailbox, .. } => mailbox.as_ref(),
            Self::TooManyFailures { last } => last.mailbox(),
            Self::Elsewhere { mailbox, .. }
            | Self::TooManySessions { mailbox, .. }
            | Self::TooManyMessages { mailbox, .. }
            | Self::RecipientNotAllowed { mailbox, .. }
            | Self::SenderNotAllowed { mailbox, .. }
            | Self::MailboxDisabled { mailbox, .. }
            | Self::MailboxGone { mailbox } => Some(mailbox),
            _ => None,
        }
    }
}

impl Fault for AuthError {
    fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "login-refused",
            Self::Elsewhere { .. } => "app-password-elsewhere",
            Self::TooManySessions { .. } => "too-many-sessions",
            Self::TooManyMessages { .. } => "too-many-messages",
            Self::RecipientNotAllowed { .. } => "recipient-not-allowed",
            // That a right one is used elsewhere is worth more than how often.
            Self::TooManyFailures { last } if matches!(**last, Self::Elsewhere { .. }) => last.code(),
            Self::TooManyFailures { .. } => "too-many-failures",
            Self::MailboxDisabled { .. } => "mailbox-disabled",
            Self::MailboxGone { .. } => "mailbox-not-listed",
            Self::Ended { .. } => "app-password-ended",
            Self::SenderNotAllowed { .. } => "sender-not-allowed",
            Self::Store(error) => error.code(),
        }
    }

    fn whose(&self) -> Whose {
        match self {
            Self::Refused { .. }
            | Self::Ended { .. }
            | Self::SenderNotAllowed { .. }
            | Self::RecipientNotAllowed { .. } => Whose::User,
            Self::TooManyFailures { last } if matches!(**last, Self::Elsewhere { .. }) => last.whose(),
            Self::TooManyFailures { .. } | Self::TooManySessions { .. } | Self::TooManyMessages { .. } => Whose::Nobody,
            Self::MailboxDisabled { .. } | Self::MailboxGone { .. } | Self::Elsewhere { .. } => Whose::Administrator,
            Self::Store(error) => error.whose(),
        }
    }

    fn remedy(&self) -> Option<String> {
        match self {
            Self::Refused { reason, mailbox, .. } => Some(match reason {
                Refusal::Expired | Refusal::Lapsed | Refusal::Revoked | Refusal::WrongPassword => match mailbox {
                    Some(mailbox) => format!(
                        "Issue a new one with `postern password issue {mailbox} --label TEXT` and enter it in the mail program."
                    ),
                    None => "Issue an app password and enter it in the mail program.".to_owned(),
                },
                Refusal::MalformedLogin | Refusal::UnknownLogin => {
                    "Use the mailbox address as the user name, or add it with `postern mailbox add`; `postern mailbox list` shows \
                     the login names."
                        .to_owned()
                }
                Refusal::Replaced => {
                    "Enter the one that has its place in the mail program: `postern password show ID` names it.".to_owned()
                }
                Refusal::NotYet => "Wait for the day from which it works (`postern password show ID`).".to_owned(),
                Refusal::NotChecked => {
                    "If it is a device of yours at a new address, try again in some minutes, or issue it an app password that Postern has made; \
                     those are never kept waiting."
                        .to_owned()
                }
                Refusal::Network => "Issue an app password for that network (`--network`).".to_owned(),
                Refusal::OtherMailbox => "Enter the login name that belongs to this app password.".to_owned(),
                Refusal::Protocol => {
                    "Issue an app password for that protocol (`--protocol`); `postern password show ID` says whether this one is bound to the \
                     protocol of its first login."
                        .to_owned()
                }
            }),
            Self::Elsewhere { password_id, .. } => Some(format!(
                "Ask the owner whether that was them. If not: `postern password revoke {password_id} --hold-mail`. If so: issue another one for \
                 the new place, or with `--network`."
            )),
            Self::TooManySessions { .. } => Some(
                "Close a mail program that uses it, or issue each program an app password of its own; sessions that broke off end within \
                 minutes."
                    .to_owned(),
            ),
            Self::TooManyMessages { password_id, .. } => Some(format!(
                "If that many are meant to be sent, issue one with a higher limit (`--max-per-minute`, `--max-per-day`). If not, see what sends \
                 with {password_id}: `postern queue journal`."
            )),
            Self::RecipientNotAllowed { mailbox, .. } => Some(format!(
                "Name an allowed recipient, or issue another app password: `postern password issue {mailbox} --label TEXT --recipient \
                 ADDRESS-or-@DOMAIN`."
            )),
            Self::TooManyFailures { last } if matches!(**last, Self::Elsewhere { .. }) => last.remedy(),
            Self::TooManyFailures { last } if matches!(**last, Self::Refused { reason: Refusal::NotChecked, .. }) => {
                last.remedy()
            }
            Self::TooManyFailures { .. } => {
                Some("Enter the right app password in the mail program that keeps trying.".to_owned())
            }
            Self::MailboxDisabled { is_halted: true, .. } => {
                Some("Let it go on with the command that `postern status` names; it says what is halted, and why.".to_owned())
            }
            Self::MailboxDisabled { mailbox, .. } => {
                Some(format!("Let it be used again: `postern mailbox enable {mailbox}`."))
            }
            Self::MailboxGone { mailbox } => Some(format!(
                "Put it back with `postern mailbox add {mailbox}`, or drop its mail (`postern queue list`, `postern queue drop ID`)."
            )),
            Self::Ended { .. } => None,
            Self::SenderNotAllowed { mailbox, .. } => Some(format!(
                "Name an allowed sender in that program, or issue it another app password: `postern password issue {mailbox} --label TEXT \
                 --sender ADDRESS-or-@DOMAIN`, with `--force-from` if it cannot name another."
            )),
            Self::Store(error) => error.remedy(),
        }
    }

    fn answer(&self, reference: Reference) -> Answer {
        match self {
            Self::Refused { .. } | Self::Elsewhere { .. } => Answer::WrongPassword,
            Self::TooManySessions { .. } => Answer::TooManySessions(reference),
            Self::TooManyMessages { .. } => Answer::TooManyMessages(reference),
            Self::RecipientNotAllowed { .. } => Answer::RecipientNotAllowed(reference),
            Self::TooManyFailures { .. } => Answer::TooManyFailures,
            Self::MailboxDisabled { .. } | Self::MailboxGone { .. } => Answer::MustAct(reference),
            Self::Ended { .. } => Answer::Ended,
            Self::SenderNotAllowed { .. } => Answer::SenderNotAllowed(reference),
            Self::Store(error) => error.answer(reference),
        }
    }
}
