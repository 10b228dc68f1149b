//! What Postern tells mail programs; `wire::answer` has the words.

use crate::base::Whose;
use crate::base::catalogue::own::{LOOP, MESSAGES, RECIPIENT, SENDER};
use crate::base::catalogue::{Area, Certainty, Entry, ReplyCode, Retry, Step, Told};

const ANSWER: Entry = Entry { certainty: Certainty::Own, source: "Postern", ..Entry::of(Area::Answer) };

const LOOK_INTO_LOG: &[Step] = &[
    Step::Do(
        "Look for the six characters behind «ref» in the log of `serve`; that line has the whole reason and a remedy. Under systemd:",
    ),
    Step::Run("journalctl -u postern | grep REFERENCE"),
    Step::Do("If the line holds words of Exchange or Entra ID, give all of it to:"),
    Step::Run("postern explain -"),
];

/// The answers.
pub(in crate::base::catalogue) static ANSWERS: &[Entry] = &[
    Entry {
        code: "answer-wrong-password",
        seen: "535 5.7.8, [AUTHENTICATIONFAILED], -ERR [AUTH]",
        title: "the login name or the app password is wrong",
        example: "535 5.7.8 Login name or password is wrong",
        marks: &["Login name or password is wrong"],
        replies: &[ReplyCode::one(535, 5, 7, 8)],
        what: "The app password is unknown, revoked, expired, another mailbox's, or may not be used from this network or for this protocol. \
               The mail program is told the same in each case, on purpose; the log has the reason.",
        whose: Whose::User,
        remedy: &[
            Step::Do(
                "See why, in the audit trail; or in the log of `serve`, in the line that begins with «login refused»:",
            ),
            Step::Run("postern audit list --kind login-refused"),
            Step::Do("Those with a password that is nobody's stand there as well:"),
            Step::Run("postern audit list --kind strangers"),
            Step::Do("If the password is lost or has ended, issue another one and enter it in the mail program:"),
            Step::Run("postern password issue {mailbox} --label TEXT"),
            Step::Note("The password of the Microsoft account is never right here."),
        ],
        told: Told {
            smtp: Some("535 5.7.8 Login name or password is wrong"),
            imap: Some("NO [AUTHENTICATIONFAILED] Login name or password is wrong"),
            pop3: Some("-ERR [AUTH] Login name or password is wrong"),
        },
        ..ANSWER
    },
    Entry {
        code: "answer-disk-guard",
        seen: "452 4.3.1",
        title: "there is no room to keep a message that Exchange cannot take now",
        example: "452 4.3.1 There is no room for the message now, try again later",
        marks: &["There is no room for the message now"],
        what: "Exchange could not take the message at once, and the disk or the quota of the queue is too full to keep it. Messages that \
               Exchange takes at once go through all the while.",
        remedy: &[
            Step::Do("See what waits, and why:"),
            Step::Run("postern queue list"),
            Step::Do("Make room on the disk that holds `data_dir`, or raise `spool_bytes` under [delivery]."),
        ],
        told: Told::by_smtp("452 4.3.1 There is no room for the message now, try again later"),
        retry: Retry::BackOff { seconds: 300 },
        ..ANSWER
    },
    Entry {
        code: "answer-sender",
        seen: "550 5.7.1",
        title: "the password may not send as the sender that the message names",
        example: "550 5.7.1 This password may not send as that sender",
        marks: &["may not send as that sender"],
        what: "The app password was issued for certain senders (`--sender`), and the envelope or the From of the message names another.",
        remedy: SENDER,
        told: Told::by_smtp("550 5.7.1 This password may not send as that sender"),
        retry: Retry::Never,
        ..ANSWER
    },
    Entry {
        code: "answer-recipient",
        seen: "550 5.7.1",
        title: "the password may not send to the recipient that the message names",
        example: "550 5.7.1 This password may not send to that recipient",
        marks: &["may not send to that recipient"],
        what: "The app password was issued for certain recipients (`--recipient`), and the envelope names another.",
        remedy: RECIPIENT,
        told: Told::by_smtp("550 5.7.1 This password may not send to that recipient"),
        retry: Retry::Never,
        ..ANSWER
    },
    Entry {
        code: "answer-messages",
        seen: "450 4.7.1",
        title: "as many messages were sent with the password as may be",
        example: "450 4.7.1 Too many messages with this password, try again later",
        marks: &["Too many messages with this password"],
        what: "The app password has a limit (`--max-per-minute`, `--max-per-day`), and it is used up for now.",
        remedy: MESSAGES,
        told: Told::by_smtp("450 4.7.1 Too many messages with this password, try again later"),
        retry: Retry::BackOff { seconds: 60 },
        ..ANSWER
    },
    Entry {
        code: "answer-loop",
        seen: "554 5.4.6",
        title: "the message goes round in circles",
        example: "554 5.4.6 The message goes round in circles",
        marks: &["The message goes round in circles"],
        what: "It has passed fifty servers already (`Received`), which only a message does that is sent round and round.",
        remedy: LOOP,
        told: Told::by_smtp("554 5.4.6 The message goes round in circles"),
        retry: Retry::Never,
        ..ANSWER
    },
    Entry {
        code: "answer-tls-first",
        seen: "538 5.7.11, [PRIVACYREQUIRED]",
        title: "a login without encryption is not allowed here",
        example: "538 5.7.11 Turn on TLS first, a login without it is not allowed",
        marks: &["Turn on TLS first", "it came without TLS"],
        replies: &[ReplyCode::one(538, 5, 7, 11)],
        what: "The mail program wanted to log in without TLS, from an address that is not allowed to.",
        whose: Whose::User,
        remedy: &[
            Step::Do("Set the mail program to STARTTLS on this port, or to SSL/TLS on the port for it:"),
            Step::Run("postern status"),
            Step::Do(
                "For a device that cannot: allow its network under `plaintext_from` of the [[listener]], if you trust that network.",
            ),
        ],
        told: Told {
            smtp: Some("538 5.7.11 Turn on TLS first, a login without it is not allowed"),
            imap: Some("NO [PRIVACYREQUIRED] Turn on TLS first, a login without it is not allowed"),
            pop3: Some("-ERR [AUTH] Turn on TLS first, a login without it is not allowed"),
        },
        ..ANSWER
    },
    Entry {
        code: "answer-too-many-failures",
        seen: "421 4.7.0, [LIMIT], [LOGIN-DELAY]",
        title: "too many wrong passwords",
        example: "421 4.7.0 Too many failed logins, try again later",
        marks: &["Too many failed logins"],
        replies: &[ReplyCode::one(421, 4, 7, 0)],
        words_decide: true,
        what: "Ten logins on this connection, or of this login name from this address within ten minutes, had a wrong password. The right one is \
               let in all the while; the secret of a device (`password adopt`) at a new address only when fewer are tried.",
        whose: Whose::User,
        remedy: &[Step::Do(
            "Enter the right app password in the mail program that keeps trying; the log names its address.",
        )],
        told: Told {
            smtp: Some("421 4.7.0 Too many failed logins, try again later"),
            imap: Some("NO [LIMIT] Too many failed logins, try again later"),
            pop3: Some("-ERR [LOGIN-DELAY] Too many failed logins, try again later"),
        },
        retry: Retry::BackOff { seconds: 600 },
        ..ANSWER
    },
    Entry {
        code: "answer-too-many-connections",
        seen: "421 4.7.0, [LIMIT], [SYS/TEMP]",
        title: "too many connections",
        example: "421 4.7.0 Too many connections, try again later",
        marks: &["Too many connections, try again later"],
        replies: &[ReplyCode::one(421, 4, 7, 0)],
        words_decide: true,
        what: "Postern has as many connections as it may: in all, or from this address before a login.",
        whose: Whose::Nobody,
        remedy: &[Step::Do(
            "If it lasts: look for what opens so many, then raise `connections` or `per_address_before_login` under [limits].",
        )],
        told: Told {
            smtp: Some("421 4.7.0 Too many connections, try again later"),
            imap: Some("* BYE Too many connections, try again later"),
            pop3: Some("-ERR [SYS/TEMP] Too many connections, try again later"),
        },
        retry: Retry::BackOff { seconds: 60 },
        ..ANSWER
    },
    Entry {
        code: "answer-too-many-sessions",
        seen: "421 4.7.0, [LIMIT], [IN-USE]",
        title: "too many sessions with this app password",
        example: "421 4.7.0 Too many sessions with this password, close one or try again later, ref 7F3K2Q",
        marks: &["Too many sessions with this password"],
        replies: &[ReplyCode::one(421, 4, 7, 0)],
        words_decide: true,
        what: "This app password has as many sessions open as one may have.",
        whose: Whose::Nobody,
        remedy: &[
            Step::Do("Close programs that use it, or issue each program an app password of its own:"),
            Step::Run("postern password issue {mailbox} --label TEXT"),
        ],
        told: Told {
            smtp: Some("421 4.7.0 Too many sessions with this password, close one or try again later"),
            imap: Some("NO [LIMIT] Too many sessions with this password, close one or try again later"),
            pop3: Some("-ERR [IN-USE] Too many sessions with this password, close one or try again later"),
        },
        retry: Retry::BackOff { seconds: 60 },
        ..ANSWER
    },
    Entry {
        code: "answer-try-later",
        seen: "451 4.3.0, [UNAVAILABLE], [SYS/TEMP]",
        title: "Microsoft cannot be reached or is out of order just now",
        example: "451 4.3.0 The mailbox cannot be reached now, try again later, ref 7F3K2Q",
        marks: &["The mailbox cannot be reached now"],
        replies: &[ReplyCode::one(451, 4, 3, 0)],
        what: "The app password was right. The way from Postern to the mailbox does not work at the moment: the network, the token service or \
               Exchange.",
        whose: Whose::Nobody,
        remedy: LOOK_INTO_LOG,
        told: Told::TRY_LATER,
        retry: Retry::BackOff { seconds: 60 },
        ..ANSWER
    },
    Entry {
        code: "answer-must-act",
        seen: "451 4.7.0, [CONTACTADMIN], [SYS/PERM]",
        title: "somebody has to mend something before this mailbox can be used",
        example: "451 4.7.0 The mailbox needs your administrator, ref 7F3K2Q",
        marks: &["The mailbox needs your administrator"],
        replies: &[ReplyCode::one(451, 4, 7, 0)],
        words_decide: true,
        what: "The app password was right. Exchange or Entra ID refuses for a reason that does not pass by itself: an expired secret, a missing \
               right, a switch, or a sign-in that has ended.",
        remedy: &[
            Step::Do("See which mailboxes need whom, with the reason:"),
            Step::Run("postern mailbox list"),
            LOOK_INTO_LOG[0],
            LOOK_INTO_LOG[1],
        ],
        ..ANSWER
    },
    Entry {
        code: "answer-daily-limit",
        seen: "451 4.7.1",
        title: "the mailbox has written to too many recipients today",
        example: "451 4.7.1 The daily sending limit is reached, try again later, ref 7F3K2Q",
        marks: &["The daily sending limit is reached"],
        replies: &[ReplyCode::one(451, 4, 7, 1)],
        what: "Exchange takes 10,000 recipients of a mailbox in any 24 hours. It refuses for good what passes by tomorrow, so Postern makes it \
               temporary.",
        whose: Whose::Nobody,
        remedy: &[
            Step::Do("If so much was not meant to be sent, revoke the app password that sends it:"),
            Step::Run("postern password revoke ID"),
        ],
        told: Told::DAILY_LIMIT,
        retry: Retry::BackOff { seconds: 3600 },
        ..ANSWER
    },
    Entry {
        code: "answer-not-let-in",
        seen: "451 4.7.0",
        title: "Exchange did not count Postern as logged in",
        example: "451 4.7.0 The message cannot be sent now, ref 7F3K2Q",
        marks: &["The message cannot be sent now"],
        replies: &[ReplyCode::one(451, 4, 7, 0)],
        words_decide: true,
        what: "The app password was right. Exchange answered within a message that the login does not hold; the mail program is not to blame and \
               may try again.",
        remedy: LOOK_INTO_LOG,
        told: Told::NOT_LET_IN,
        retry: Retry::BackOff { seconds: 60 },
        ..ANSWER
    },
    Entry {
        code: "answer-login-first",
        seen: "530 5.7.0",
        title: "a message was to be sent without a login",
        example: "530 5.7.0 Log in first",
        replies: &[ReplyCode::one(530, 5, 7, 0)],
        what: "The mail program wants to send without logging in to Postern.",
        whose: Whose::User,
        remedy: &[Step::Do(
            "Switch the login for outgoing mail on in the mail program («my outgoing server requires authentication»), with the mailbox's \
             address and an app password.",
        )],
        told: Told::by_smtp("530 5.7.0 Log in first"),
        ..ANSWER
    },
    Entry {
        code: "answer-stopping",
        seen: "421 4.3.2, BYE",
        title: "Postern is stopping",
        example: "421 4.3.2 The service is stopping, try again later",
        marks: &["The service is stopping, try again later"],
        replies: &[ReplyCode::one(421, 4, 3, 2)],
        words_decide: true,
        what: "`serve` was told to stop. POP3 has no words for it and is just closed.",
        whose: Whose::Nobody,
        remedy: &[Step::Note("Nothing has to be done: mail programs connect again.")],
        told: Told {
            smtp: Some("421 4.3.2 The service is stopping, try again later"),
            imap: Some("* BYE The service is stopping, try again later"),
            pop3: None,
        },
        retry: Retry::BackOff { seconds: 5 },
        ..ANSWER
    },
    Entry {
        code: "answer-ended",
        seen: "421 4.3.2, BYE",
        title: "the login of this session is no longer valid",
        example: "421 4.3.2 The login is no longer valid, log in again",
        marks: &["The login is no longer valid"],
        replies: &[ReplyCode::one(421, 4, 3, 2)],
        words_decide: true,
        what: "The app password of an open session was revoked or has expired, or its mailbox was disabled or taken off the list. The mail \
               program is not told which; POP3 has no words for it and is just closed.",
        whose: Whose::User,
        remedy: &[
            Step::Do("See what became of the app password and the mailbox:"),
            Step::Run("postern password list"),
            Step::Run("postern mailbox list"),
            Step::Do("If that was not meant, issue another one and enter it in the mail program:"),
            Step::Run("postern password issue {mailbox} --label TEXT"),
        ],
        told: Told {
            smtp: Some("421 4.3.2 The login is no longer valid, log in again"),
            imap: Some("* BYE The login is no longer valid, log in again"),
            pop3: None,
        },
        ..ANSWER
    },
    Entry {
        code: "answer-goodbye",
        seen: "421 4.4.2",
        title: "the mail program was silent for too long, or sent what it may not",
        example: "421 4.4.2 Closing the connection",
        marks: &[
            "421 4.4.2 Closing the connection",
            "NO Closing the connection",
            "BYE Closing the connection",
            "-ERR Closing the connection",
        ],
        replies: &[ReplyCode::one(421, 4, 4, 2)],
        what: "A connection has a time to log in (60 s unless set otherwise) and a time that it may be silent; this one passed it. Mail programs \
               connect again by themselves.",
        whose: Whose::Nobody,
        remedy: &[Step::Note(
            "Nothing has to be done. A device that needs longer for its login gets it by `login_seconds` under [limits].",
        )],
        told: Told {
            smtp: Some("421 4.4.2 Closing the connection"),
            imap: Some("* BYE Closing the connection"),
            pop3: Some("-ERR Closing the connection"),
        },
        retry: Retry::BackOff { seconds: 1 },
        ..ANSWER
    },
];
