//! Postern's own: what it tells mail programs, and the short names of its failures (`Fault::code`).

mod administration;
mod answers;
mod machine;
mod routes;

use crate::base::Whose;
use crate::base::catalogue::exchange::TOKEN_NOT_ACCEPTED;
use crate::base::catalogue::mailbox::NOT_CONNECTED;
use crate::base::catalogue::remedy::SIGN_IN_AGAIN;
use crate::base::catalogue::{Area, Certainty, Entry, Retry, Step, Told};

pub(super) use self::administration::ADMINISTRATION;
pub(super) use self::answers::ANSWERS;
pub(super) use self::machine::MACHINE;
pub(super) use self::routes::ROUTES;

/// A failure that someone has to mend.
const MEND: Entry = Entry { certainty: Certainty::Own, source: "Postern", ..Entry::of(Area::Own) };

/// A failure that passes.
const PASSES: Entry = Entry {
    whose: Whose::Nobody,
    told: Told::TRY_LATER,
    retry: Retry::BackOff { seconds: 5 },
    remedy: &[Step::Note(
        "Nothing has to be done if it passes. If it lasts, the line in the log has the far side's own words.",
    )],
    ..MEND
};

/// A sender that the app password does not allow.
pub(in crate::base::catalogue) const SENDER: &[Step] = &[
    Step::Do("Let the program name a sender that is allowed; they stand in:"),
    Step::Run("postern password show ID"),
    Step::Do("Or issue it a password for more senders, or one that puts the mailbox in the sender's place:"),
    Step::Run("postern password issue {mailbox} --label TEXT --sender @DOMAIN"),
    Step::Run("postern password issue {mailbox} --label TEXT --force-from"),
];

/// What to do about a recipient that an app password is not for.
pub(in crate::base::catalogue) const RECIPIENT: &[Step] = &[
    Step::Do("Let the program name a recipient that is allowed; they stand in:"),
    Step::Run("postern password show ID"),
    Step::Do("Or issue it a password for more recipients:"),
    Step::Run("postern password issue {mailbox} --label TEXT --recipient @DOMAIN"),
];

/// What to do about the limits of an app password.
pub(in crate::base::catalogue) const MESSAGES: &[Step] = &[
    Step::Do("See what the program sends, and whether that is meant:"),
    Step::Run("postern queue journal --mailbox {mailbox}"),
    Step::Do("If it is, issue a password with a higher limit; if it is not, revoke this one:"),
    Step::Run("postern password issue {mailbox} --label TEXT --max-per-minute 60"),
    Step::Run("postern password revoke ID --hold-mail"),
];

/// A message that comes back again and again.
pub(in crate::base::catalogue) const LOOP: &[Step] = &[Step::Do(
    "Look in its `Received` lines which two servers hand it to each other, and take the forwarding rule out of one of them.",
)];

const WAY_OUT: &[Step] = &[
    Step::Do("Look whether this machine finds and reaches the host that the log names, at its port:"),
    Step::Run("getent hosts smtp.office365.com"),
    Step::Run("openssl s_client -connect smtp.office365.com:587 -starttls smtp -brief"),
    Step::Do(
        "Check the firewall: 443 to login.microsoftonline.com, 587 to smtp.office365.com, 993 and 995 to outlook.office365.com.",
    ),
    Step::Do("If only IPv6 or only IPv4 works, set `family` under [upstream]."),
];

const PROXY: &[Step] = &[
    Step::Do("Check kind (http:// or socks5://), host and port of the proxy under [upstream]."),
    Step::Do("Look whether the proxy runs, and whether it reaches the host that the log names."),
];

const EXPLAIN_IT: &[Step] =
    &[Step::Do("Give the line of the log to this; its words say which cause it is:"), Step::Run("postern explain -")];

/// Failures between the login of a mail program and Exchange.
pub(super) static ROAD: &[Entry] = &[
    Entry {
        code: "token-refused",
        title: "the token service said no",
        what: "Entra ID refuses a token for this mailbox. The AADSTS number in the log says why.",
        remedy: EXPLAIN_IT,
        ..MEND
    },
    Entry {
        code: "token-service-out-of-order",
        title: "the token service cannot serve just now",
        what: "The token service is overloaded, answered with a passing error, or answered something that is not OAuth 2.0.",
        ..PASSES
    },
    Entry {
        code: "token-service-unreachable",
        title: "the token service cannot be reached",
        what: "No connection to the token service, or no answer from it.",
        remedy: &[
            Step::Do("Look whether this machine finds and reaches it:"),
            Step::Run("openssl s_client -connect login.microsoftonline.com:443 -brief"),
            Step::Do("Check the firewall (port 443), name resolution and this machine's clock."),
            Step::Do("If the network inspects TLS, put its CA into `ca_file` under [tenant.endpoints]."),
        ],
        ..PASSES
    },
    Entry {
        code: "token-malformed",
        title: "the token service gave a token of the wrong form",
        what: "What came as a token cannot stand in a login. Something between here and the token service changes its answers, or `token_url` \
               leads elsewhere.",
        remedy: &[Step::Do("Check `token_url` under [tenant.endpoints], and proxies on the way that open TLS.")],
        ..PASSES
    },
    Entry {
        code: "not-signed-in",
        title: "nobody has signed in for this mailbox",
        what: "The tenant's grant needs a person's sign-in, and there is none for this mailbox.",
        whose: Whose::User,
        remedy: SIGN_IN_AGAIN,
        ..MEND
    },
    Entry {
        code: "client-credential-unreadable",
        title: "the application's secret, certificate, key or token cannot be read",
        what: "The file, variable or systemd credential by which the application proves itself is missing, empty, or not readable by the \
               account that runs Postern.",
        remedy: &[
            Step::Do("Look at the path that the log names, and let the service's account read it:"),
            Step::Run("sudo chown postern: /etc/postern/client-secret && sudo chmod 600 /etc/postern/client-secret"),
            Step::Do("Check it as that account:"),
            Step::Run("sudo -u postern postern check"),
        ],
        ..MEND
    },
    Entry {
        code: "client-certificate-unusable",
        title: "the application's certificate cannot be used",
        what: "The certificate, its key or the passphrase in the configuration do not fit together, or are of a kind that Entra ID does not \
               take. The log says which.",
        remedy: &[
            Step::Do(
                "Give the certificate in PEM with its key in `key_file`, or PKCS#12 (.pfx) with the key inside; a passphrase stands in the \
                 file that `certificate_passphrase_file` names.",
            ),
            Step::Do("Use an RSA key of 2048 bits; Entra ID takes no other."),
            Step::Run("sudo -u postern postern check"),
        ],
        ..MEND
    },
    Entry {
        code: "tenant-unknown",
        title: "the configuration has no such tenant",
        what: "A mailbox on the list belongs to a tenant that is not in the configuration, or a command named one that is not.",
        remedy: &[
            Step::Do("Put the [[tenant]] of that name back, or correct the name."),
            Step::Do("Or move the mailbox:"),
            Step::Run("postern mailbox remove {mailbox}"),
            Step::Run("postern mailbox add {mailbox} --tenant NAME"),
        ],
        ..MEND
    },
    Entry {
        code: "token-rejected",
        title: "Exchange did not accept the token",
        what: "Entra ID gave a token, and Exchange does not take it for this mailbox: a permission, a right or a switch is missing, or Exchange \
               is out of order. Postern has tried a new token as well.",
        remedy: TOKEN_NOT_ACCEPTED,
        retry: Retry::OnceWithNewToken,
        ..MEND
    },
    Entry {
        code: "exchange-denied",
        title: "Exchange refuses the login for good",
        what: "A switch or a policy of the tenant forbids the login. Exchange's words in the log say which.",
        remedy: EXPLAIN_IT,
        ..MEND
    },
    Entry {
        code: "authenticated-but-not-connected",
        title: "Exchange let us in but did not connect the mailbox",
        what: "The token is good, and the mailbox is not there behind the login.",
        remedy: NOT_CONNECTED,
        ..PASSES
    },
    Entry {
        code: "exchange-busy",
        title: "Exchange cannot serve just now",
        what: "Exchange is overloaded, about to stop a server, throttling this mailbox, or out of order.",
        ..PASSES
    },
    Entry {
        code: "exchange-slow",
        title: "Exchange took too long",
        what: "Within a message Exchange did not answer in time.",
        ..PASSES
    },
    Entry {
        code: "exchange-limits",
        title: "the mailbox has sent as much as Exchange takes just now",
        what: "Exchange takes 3 messages at once, 30 in a minute and 10,000 recipients in a day from one mailbox. What is more waits, and goes \
               out by itself as soon as there is room.",
        remedy: &[
            Step::Note("Nothing has to be done. Where it is often so, spread the mail over several mailboxes."),
            Step::Do("See what waits:"),
            Step::Run("postern queue list"),
            Step::Note("Where Exchange takes more from the mailboxes of a tenant, [tenant.limits] says so."),
        ],
        ..PASSES
    },
    Entry {
        code: "outcome-unknown",
        title: "whether Exchange has a message is not known",
        what: "The connection was lost behind the final dot, and the message is not found among the sent ones of a mailbox that is known to keep \
               them, or cannot be looked for. [delivery] `unknown_outcome = \"hold\"` holds it then.",
        remedy: &[
            Step::Do("Ask a recipient whether it has arrived. If it has, take it out:"),
            Step::Run("postern queue drop ID"),
            Step::Do("If not, send it again:"),
            Step::Run("postern queue release ID"),
        ],
        told: Told::NOTHING,
        ..MEND
    },
    Entry {
        code: "sender-not-allowed",
        title: "the app password may not send as this sender",
        what: "It was issued for certain senders (`--sender`), and the envelope or the From of the message names another.",
        whose: Whose::User,
        remedy: SENDER,
        told: Told::by_smtp("550 5.7.1 This password may not send as that sender"),
        retry: Retry::Never,
        ..MEND
    },
    Entry {
        code: "recipient-not-allowed",
        title: "the app password may not send to this recipient",
        what: "It was issued for certain recipients (`--recipient`), and the envelope of the message names another.",
        whose: Whose::Administrator,
        remedy: RECIPIENT,
        told: Told::by_smtp("550 5.7.1 This password may not send to that recipient"),
        retry: Retry::Never,
        ..MEND
    },
    Entry {
        code: "too-many-messages",
        title: "the app password has sent as many messages as it may",
        what: "It has a limit (`--max-per-minute`, `--max-per-day`), and it is used up for now; the log says for how long.",
        remedy: MESSAGES,
        told: Told::by_smtp("450 4.7.1 Too many messages with this password, try again later"),
        retry: Retry::BackOff { seconds: 60 },
        ..PASSES
    },
    Entry {
        code: "too-many-sessions",
        title: "the app password has as many sessions open as it may",
        what: "It has a limit (`--max-sessions`). A mail program that has lost its connection may keep a place for some minutes.",
        remedy: &[
            Step::Do("Close a mail program that uses it, or issue each program an app password of its own:"),
            Step::Run("postern password issue {mailbox} --label TEXT"),
        ],
        told: Told {
            smtp: Some("421 4.7.0 Too many sessions with this password, close one or try again later"),
            imap: Some("NO [LIMIT] Too many sessions with this password, close one or try again later"),
            pop3: Some("-ERR [IN-USE] Too many sessions with this password, close one or try again later"),
        },
        retry: Retry::BackOff { seconds: 60 },
        ..PASSES
    },
    Entry {
        code: "app-password-elsewhere",
        title: "an app password is used in another network than the one it is bound to",
        what: "It is bound to the network of its first login (`--bind-first-use`), and somebody has given it, right, in another. Its owner may have \
               moved; or it was stolen. The mail program is told «wrong password».",
        remedy: &[
            Step::Do(
                "Ask the owner whether that was them; the log and `postern password show ID` name both places. If not, it is known to others:",
            ),
            Step::Run("postern password revoke ID --hold-mail"),
            Step::Do("If so, issue another one, which binds itself to the new place:"),
            Step::Run("postern password issue {mailbox} --label TEXT --bind-first-use"),
        ],
        told: Told {
            smtp: Some("535 5.7.8 Login name or password is wrong"),
            imap: Some("NO [AUTHENTICATIONFAILED] Login name or password is wrong"),
            pop3: Some("-ERR [AUTH] Login name or password is wrong"),
        },
        ..MEND
    },
    Entry {
        code: "sender-unclear",
        title: "who sends the message cannot be told",
        what: "The app password is for certain senders only, and the From of the message can be read in more than one way, or is too long.",
        whose: Whose::User,
        remedy: SENDER,
        told: Told::by_smtp("550 5.7.1 This password may not send as that sender"),
        retry: Retry::Never,
        ..MEND
    },
    Entry {
        code: "mail-loop",
        title: "the message goes round in circles",
        what: "It has passed fifty servers already (`Received`), which only a message does that is sent round and round.",
        remedy: LOOP,
        told: Told::by_smtp("554 5.4.6 The message goes round in circles"),
        retry: Retry::Never,
        ..MEND
    },
    Entry {
        code: "exchange-closed",
        title: "Exchange closed the connection",
        what: "The connection ended in the middle of a conversation.",
        ..PASSES
    },
    Entry {
        code: "exchange-refused",
        title: "Exchange refused a sender, a recipient or a message",
        what: "Exchange refused it for good, with a code that the catalogue does not have. Its words stand in the log.",
        whose: Whose::User,
        remedy: &[Step::Do(
            "Read Exchange's words in the line of the log; they are about this message, not about the set-up.",
        )],
        told: Told::by_smtp("Exchange's code and its first words"),
        retry: Retry::Never,
        ..MEND
    },
    Entry {
        code: "exchange-broke-off",
        title: "Exchange broke a message off",
        what: "Exchange answered before the message was complete. The log has its reply.",
        remedy: EXPLAIN_IT,
        ..PASSES
    },
    Entry {
        code: "exchange-protocol",
        title: "the far side does not keep to its protocol",
        what: "What answered is not Exchange, or something on the way changes what it says.",
        remedy: &[
            Step::Do(
                "Check the host and port that the log names, under [tenant.endpoints]; for Exchange Online leave them out.",
            ),
            Step::Do("Look for a firewall on the way that inspects SMTP, IMAP or POP3."),
        ],
        ..PASSES
    },
    Entry {
        code: "exchange-silent",
        title: "Exchange did not answer in time",
        what: "The connection stands, and no answer came.",
        remedy: WAY_OUT,
        ..PASSES
    },
    Entry {
        code: "exchange-tls",
        title: "there is no safe connection to Exchange",
        what: "The certificate of the far side does not hold, or there is no common version of TLS. Postern never goes on without.",
        remedy: &[
            Step::Do("If the network inspects TLS, put its CA into `ca_file` under [tenant.endpoints]."),
            Step::Do("Check this machine's clock, and that its package of CA certificates is up to date."),
        ],
        ..PASSES
    },
    Entry {
        code: "exchange-unreachable",
        title: "Exchange cannot be reached",
        what: "The host was not found, or took no connection.",
        remedy: WAY_OUT,
        ..PASSES
    },
    Entry {
        code: "proxy-unreachable",
        title: "the proxy on the way cannot be reached",
        what: "The configuration names a proxy to Microsoft, and it was not found or took no connection.",
        remedy: PROXY,
        ..PASSES
    },
    Entry {
        code: "proxy-silent",
        title: "the proxy on the way did not answer",
        what: "The proxy took the connection and did not answer in time: it is out of order, or does not reach the host.",
        remedy: PROXY,
        ..PASSES
    },
    Entry {
        code: "proxy-closed",
        title: "the proxy on the way closed the connection",
        what: "The proxy ended the connection instead of answering.",
        remedy: PROXY,
        ..PASSES
    },
    Entry {
        code: "proxy-not-through",
        title: "the proxy on the way does not reach the host",
        what: "The proxy answered that it could not reach Microsoft's host.",
        remedy: &[Step::Do(
            "If it lasts, ask whoever runs the proxy whether it reaches the host and port that the log names.",
        )],
        ..PASSES
    },
    Entry {
        code: "proxy-forbids",
        title: "the proxy on the way does not let Postern through",
        what: "The proxy's rules forbid the host or port that the log names. Many allow port 443 only; mail needs 587, 993 and 995.",
        remedy: &[
            Step::Do("Ask whoever runs the proxy to let this machine through to that host and port."),
            Step::Do("Or name the host in `no_proxy` under [upstream], if it can be reached without the proxy."),
        ],
        ..MEND
    },
    Entry {
        code: "proxy-login",
        title: "the proxy on the way wants a login, or refuses the one it was given",
        what: "The proxy asks for a user name and password, refuses those in the configuration, or wants a kind of login that Postern does not \
               have.",
        remedy: &[
            Step::Do(
                "Write the proxy's address with its login (http://USER:PASSWORD@HOST:PORT) into a file and name that as `proxy_file` under \
                 [upstream]; in user name and password `@`, `:`, `/` and `%` are written %40, %3A, %2F and %25.",
            ),
            Step::Do(
                "If it wants another login than Basic (HTTP) or user name and password (SOCKS5), ask for this machine to be let through without.",
            ),
            Step::Do("Start `serve` anew."),
        ],
        ..MEND
    },
    Entry {
        code: "proxy-protocol",
        title: "what answers is not the kind of proxy that it should be",
        what: "The answer is not that of an HTTP or SOCKS5 proxy, whichever the configuration names.",
        remedy: &[Step::Do("Check kind (http:// or socks5://), host and port of the proxy under [upstream].")],
        ..MEND
    },
    Entry {
        code: "no-host",
        title: "the tenant has no host for this protocol",
        what: "The configuration names none; with `cloud = \"custom\"` each one that is used has to be named.",
        remedy: &[Step::Do("Name the host as `smtp`, `imap` or `pop3` under [tenant.endpoints].")],
        ..MEND
    },
    Entry {
        code: "login-refused",
        title: "a login was refused",
        what: "The login name or the app password is wrong, or may not be used like this. The line in the log has the reason; the mail \
               program is told «wrong password» in every case.",
        whose: Whose::User,
        remedy: &[
            Step::Do("See why: the line in the log has the reason and what to do, and so has the audit trail:"),
            Step::Run("postern audit list --kind login-refused"),
            Step::Do("Those with a password that is nobody's stand there as well:"),
            Step::Run("postern audit list --kind strangers"),
            Step::Do("See the mailbox's login names and the app passwords:"),
            Step::Run("postern mailbox list"),
            Step::Run("postern password list"),
            Step::Do("If need be, issue another app password and enter it in the mail program:"),
            Step::Run("postern password issue {mailbox} --label TEXT"),
        ],
        told: Told {
            smtp: Some("535 5.7.8 Login name or password is wrong"),
            imap: Some("NO [AUTHENTICATIONFAILED] Login name or password is wrong"),
            pop3: Some("-ERR [AUTH] Login name or password is wrong"),
        },
        ..MEND
    },
    Entry {
        code: "too-many-failures",
        title: "too many wrong passwords",
        what: "A mail program keeps trying a wrong password for this login from this address. The right one is let in all the while.",
        remedy: &[Step::Do(
            "Enter the right app password in the mail program that keeps trying; the log names its address.",
        )],
        told: Told {
            smtp: Some("421 4.7.0 Too many failed logins, try again later"),
            imap: Some("NO [LIMIT] Too many failed logins, try again later"),
            pop3: Some("-ERR [LOGIN-DELAY] Too many failed logins, try again later"),
        },
        retry: Retry::BackOff { seconds: 600 },
        ..PASSES
    },
    Entry {
        code: "mailbox-disabled",
        title: "the mailbox is disabled here, or halted",
        what: "The administrator of Postern has disabled the mailbox, or halted its tenant or everything; the app password was right.",
        remedy: &[
            Step::Do("See which of them it is, and since when:"),
            Step::Run("postern status"),
            Step::Do("If it should be used again:"),
            Step::Run("postern mailbox enable {mailbox}"),
            Step::Do("Or, where its tenant (with `--tenant NAME`) or everything was halted:"),
            Step::Run("postern resume"),
        ],
        ..MEND
    },
    Entry {
        code: "app-password-ended",
        title: "the app password of an open session has ended",
        what: "It was revoked, its date has passed, or its mailbox was taken off the list.",
        whose: Whose::User,
        remedy: &[
            Step::Do("If that was not meant, issue another one and enter it in the mail program:"),
            Step::Run("postern password issue {mailbox} --label TEXT"),
        ],
        told: Told {
            smtp: Some("421 4.3.2 The login is no longer valid, log in again"),
            imap: Some("* BYE The login is no longer valid, log in again"),
            pop3: None,
        },
        ..MEND
    },
];
