//! Exchange Online by IMAP and POP3.

use crate::base::Whose;
use crate::base::catalogue::exchange::{
    FULL_ACCESS, GO_THROUGH_POSTERN, OUTAGE, PERMISSION, PERSON, PRINCIPAL, TOKEN_NOT_ACCEPTED,
};
use crate::base::catalogue::{Area, Certainty, Entry, Retry, Step, Told};

/// A refusal of the login by IMAP.
const IMAP_LOGIN: Entry = Entry { told: Told::MUST_ACT.imap_only(), ..Entry::of(Area::Imap) };

/// What Exchange says to a mail program after the login; it passes unchanged.
const IMAP_SESSION: Entry = Entry { whose: Whose::User, retry: Retry::Never, ..IMAP_LOGIN };

/// What the login needs so that the mailbox is there behind it.
pub(super) const NOT_CONNECTED: &[Step] = &[
    Step::Do("If others work and it lasts: give the right to open it, in Exchange Online PowerShell:"),
    Step::PowerShell(
        "Add-MailboxPermission -Identity {mailbox} -User {object_id_of_the_enterprise_application} -AccessRights FullAccess",
    ),
    Step::Do(
        "Check that IMAP is on. For a shared mailbox that a person opens, that person's own setting counts, so put their address \
         here:",
    ),
    Step::PowerShell("Get-CASMailbox -Identity {mailbox} | Format-List ImapEnabled"),
    Step::PowerShell("Set-CASMailbox -Identity {mailbox} -ImapEnabled $true"),
    Step::Do("If it comes and goes: let the mail programs open fewer connections to this mailbox."),
    Step::Note("With a person's sign-in, name that person after -User."),
];

/// By IMAP.
pub(super) static IMAP: &[Entry] = &[
    Entry {
        code: "imap-not-connected",
        seen: "User is authenticated but not connected",
        title: "the login succeeded, but the mailbox is not there behind it",
        example: "BAD User is authenticated but not connected.",
        marks: &["authenticated but not connected"],
        what: "Exchange says OK to the token and then refuses every command. Reported causes: no right on the mailbox that was named, IMAP \
               switched off for the account, too many connections in a short time, trouble with the mailbox server. Postern finds it out \
               before it answers the mail program.",
        remedy: NOT_CONNECTED,
        told: Told::TRY_LATER.imap_only(),
        whose: Whose::Nobody,
        retry: Retry::OnceWithNewToken,
        certainty: Certainty::Reported,
        source: "MailKit #1496, node-imap #523 and #689, php-imap #464, email-oauth2-proxy #275",
        ..IMAP_LOGIN
    },
    Entry {
        code: "imap-authenticate-failed",
        seen: "NO AUTHENTICATE failed",
        title: "Exchange did not accept the token",
        example: "NO AUTHENTICATE failed.",
        marks: &["AUTHENTICATE failed"],
        what: "Exchange says the same for a token of the wrong kind, for a missing permission or right, for the object ID of the wrong page, \
               and during an outage of its own.",
        remedy: TOKEN_NOT_ACCEPTED,
        retry: Retry::OnceWithNewToken,
        source: "Authenticate an IMAP, POP or SMTP connection using OAuth",
        ..IMAP_LOGIN
    },
    Entry {
        code: "imap-login-failed",
        seen: "NO LOGIN failed",
        title: "a password reached Exchange, and it takes none any more",
        example: "NO LOGIN failed.",
        marks: &["NO LOGIN failed"],
        what: "Somebody logged in at outlook.office365.com with a user name and a password. Postern logs in with a token, so this mail program \
               does not go through Postern.",
        remedy: GO_THROUGH_POSTERN,
        told: Told::NOTHING,
        certainty: Certainty::Reported,
        source: "node-imap #561, imapsync FAQ",
        ..IMAP_LOGIN
    },
    Entry {
        code: "imap-token-expired",
        seen: "BYE AccessTokenExpired",
        title: "the token of this session has reached its end",
        example: "* BYE Session invalidated - AccessTokenExpired",
        marks: &["AccessTokenExpired"],
        what: "A session lives as long as its token, about an hour, and cannot be given a new one. Exchange ends it, in the middle of work if \
               need be. Mail programs connect again by themselves.",
        whose: Whose::Nobody,
        remedy: &[Step::Note(
            "Nothing has to be done. If the mail program shows it as a failure, shorten the time after which it looks for new mail, or let \
             it connect anew each time.",
        )],
        told: Told::by_imap("* BYE Session invalidated - AccessTokenExpired"),
        retry: Retry::BackOff { seconds: 1 },
        certainty: Certainty::Reported,
        source: "imapsync #250",
        ..IMAP_LOGIN
    },
    Entry {
        code: "imap-throttled",
        seen: "NO or BAD Request is throttled",
        title: "the mailbox has been asked too much, and Exchange names a pause",
        example: "NO Request is throttled. Suggested Backoff Time: 299609 milliseconds",
        marks: &["Request is throttled", "Suggested Backoff Time"],
        what: "Exchange limits the work that a mailbox's sessions cause. It names the pause in milliseconds, mostly about five minutes, and \
               ends the session if the program goes on. Answers after the login reach the mail program unchanged.",
        whose: Whose::Nobody,
        remedy: &[
            Step::Note("Nothing has to be done if it is rare: programs try again."),
            Step::Do(
                "If it is frequent: let the program look for mail less often, over fewer connections, and leave out folders that it does not \
                 need. First synchronisations of large mailboxes pass.",
            ),
        ],
        told: Told::by_imap("NO [UNAVAILABLE] …; after the login Exchange's own words, unchanged"),
        retry: Retry::Named { otherwise_seconds: 300 },
        certainty: Certainty::Reported,
        source: "imapsync #198 and #272, imap_tools #135, email-oauth2-proxy #191",
        ..IMAP_LOGIN
    },
    Entry {
        code: "imap-server-unavailable",
        seen: "Server Unavailable. 15",
        title: "Exchange cannot serve just now",
        example: "Server Unavailable. 15",
        marks: &["Server Unavailable. 15"],
        what: "The server that holds the mailbox could not be reached inside Exchange. The connection is closed.",
        whose: Whose::Nobody,
        remedy: &[Step::Note("Nothing has to be done: programs try again.")],
        told: Told::TRY_LATER.imap_only(),
        retry: Retry::BackOff { seconds: 60 },
        certainty: Certainty::Secondary,
        source: "imapsync FAQ, node-imap #561",
        ..IMAP_LOGIN
    },
    Entry {
        code: "imap-connection-closed",
        seen: "BYE Connection closed. 14",
        title: "Exchange ended the session",
        example: "* BYE Connection closed. 14",
        marks: &["BYE Connection closed. 14"],
        what: "It follows other refusals: throttling, «authenticated but not connected», or about ten commands in a row that were wrong. What \
               counts is the line before it.",
        whose: Whose::Nobody,
        remedy: &[Step::Do("Look at the lines before it, and explain those:"), Step::Run("postern explain -")],
        told: Told::by_imap("* BYE Connection closed. 14"),
        retry: Retry::BackOff { seconds: 60 },
        certainty: Certainty::Reported,
        source: "email-oauth2-proxy #191; ten errors: imapsync FAQ",
        ..IMAP_LOGIN
    },
    Entry {
        code: "imap-invalid-state",
        seen: "BAD Command received in Invalid state",
        title: "a command came at a time when it is not possible",
        example: "BAD Command received in Invalid state.",
        marks: &["Command received in Invalid state"],
        what: "The program asked for something that needs a login or an opened folder, for instance after its session had been invalidated.",
        remedy: &[Step::Do(
            "Let the mail program connect anew; if it goes on, its log of the session shows what it sends.",
        )],
        told: Told::by_imap("BAD Command received in Invalid state."),
        certainty: Certainty::Reported,
        source: "imapsync #250",
        ..IMAP_SESSION
    },
    Entry {
        code: "imap-argument-error",
        seen: "BAD Command Argument Error. 11",
        title: "Exchange did not take the argument of a command",
        example: "BAD Command Argument Error. 11",
        marks: &["Command Argument Error. 11"],
        what: "Reported causes: a message to be stored that is too large or has lines of more than about 10,500 characters, a full mailbox, \
               or an odd folder name or search.",
        remedy: &[
            Step::Do(
                "If it was a message to be stored: look at its size, at lines without end, and at the room in the mailbox.",
            ),
            Step::Do("If it was a search: let the program search in US-ASCII."),
        ],
        told: Told::by_imap("BAD Command Argument Error. 11"),
        certainty: Certainty::Secondary,
        source: "imapsync FAQ",
        ..IMAP_SESSION
    },
    Entry {
        code: "imap-append-too-large",
        seen: "NO Maximum size of appendable message",
        title: "the message is too large to be stored",
        example: "NO Maximum size of appendable message has been exceeded",
        marks: &["Maximum size of appendable message has been exceeded"],
        what: "A program wanted to file a message in a folder that is larger than the mailbox may hold, 35 MB unless set otherwise.",
        remedy: &[
            Step::Do("Leave that message out, or file it without its attachments."),
            Step::Do(
                "Or allow the mailbox larger messages, up to 150 MB; whether that raises this limit as well is not verified:",
            ),
            Step::PowerShell("Set-Mailbox -Identity {mailbox} -MaxSendSize 150MB -MaxReceiveSize 150MB"),
        ],
        told: Told::by_imap("NO Maximum size of appendable message has been exceeded"),
        certainty: Certainty::Secondary,
        source: "imapsync FAQ; the limits: Set-Mailbox",
        ..IMAP_SESSION
    },
    Entry {
        code: "imap-folder-reserved",
        seen: "NO Folder name is reserved",
        title: "Exchange keeps this folder name for itself",
        example: "NO Folder name is reserved",
        marks: &["Folder name is reserved"],
        what: "A program wanted to make a folder whose name Exchange uses for something of its own.",
        remedy: &[Step::Do("Choose another name for the folder, or map it to the one that is there.")],
        told: Told::by_imap("NO Folder name is reserved"),
        certainty: Certainty::Secondary,
        source: "imapsync FAQ",
        ..IMAP_SESSION
    },
    Entry {
        code: "imap-bad-charset",
        seen: "NO [BADCHARSET]",
        title: "Exchange does not search in this character set",
        example: "NO [BADCHARSET (US-ASCII)] The specified charset is not supported.",
        marks: &["[BADCHARSET"],
        what: "A program wanted to search for words in another character set than US-ASCII.",
        remedy: &[Step::Do("Let the program search without a character set, or in what it has already fetched.")],
        told: Told::by_imap("NO [BADCHARSET (US-ASCII)] …"),
        certainty: Certainty::Reported,
        source: "MailKit #808",
        ..IMAP_SESSION
    },
];

/// By POP3.
pub(super) static POP3: &[Entry] = &[
    Entry {
        code: "pop3-authentication-failed",
        seen: "-ERR Authentication failure",
        title: "Exchange did not accept the token, or POP3 is switched off",
        example: "-ERR Authentication failure: unknown user name or bad password.",
        marks: &["Authentication failure: unknown user name or bad password"],
        what: "Exchange says the same when POP3 is off for the mailbox, when a permission or right is missing, for the object ID of the wrong \
               page, and for a token of the wrong kind. No password is involved, whatever it says.",
        remedy: POP3_NOT_ACCEPTED,
        told: Told::MUST_ACT.pop3_only(),
        retry: Retry::OnceWithNewToken,
        source: "Authenticate an IMAP, POP or SMTP connection using OAuth; causes: email-oauth2-proxy #160 and #238",
        ..Entry::of(Area::Pop3)
    },
    Entry {
        code: "pop3-protocol-error",
        seen: "-ERR Protocol error. 10",
        title: "Exchange did not understand the login",
        example: "-ERR Protocol error. Connection is closed. 10",
        marks: &["Protocol error. Connection is closed. 10"],
        what: "Exchange says so when the login comes in one line instead of two; Postern sends two. It has also been reported for tokens of more \
               than 4,096 characters, which accounts in very many groups get (not confirmed by Microsoft).",
        remedy: &[
            Step::Do(
                "Look at the groups of the account that signs in: fewer groups make a shorter token. Or let the application sign in \
                 (`grant = \"client_credentials\"`), whose tokens hold no groups.",
            ),
            Step::Do("Let the mail program use IMAP instead, if it can."),
        ],
        told: Told::MUST_ACT.pop3_only(),
        retry: Retry::OnceWithNewToken,
        certainty: Certainty::Reported,
        source: "getmail6 #256; long tokens: MailKit #1948",
        ..Entry::of(Area::Pop3)
    },
];

const POP3_NOT_ACCEPTED: &[Step] = &[
    Step::Do(
        "Switch POP3 on. For a shared mailbox that a person opens, that person's own setting counts, so put their address here. In \
         Exchange Online PowerShell:",
    ),
    Step::PowerShell("Get-CASMailbox -Identity {mailbox} | Format-List PopEnabled"),
    Step::PowerShell("Set-CASMailbox -Identity {mailbox} -PopEnabled $true"),
    PERMISSION,
    PRINCIPAL[0],
    PRINCIPAL[1],
    PRINCIPAL[2],
    PRINCIPAL[3],
    Step::Do("Rights: Full Access to the mailbox:"),
    FULL_ACCESS,
    PERSON,
    OUTAGE,
];
