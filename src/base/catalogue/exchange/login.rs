//! How Exchange refuses a login by SMTP.

use crate::base::catalogue::aadsts::SECURITY_DEFAULTS;
use crate::base::catalogue::exchange::{GO_THROUGH_POSTERN, TOKEN_NOT_ACCEPTED};
use crate::base::catalogue::{Area, Certainty, Entry, ReplyCode, Retry, Step, Told};

/// A refusal of the login.
const AT_LOGIN: Entry = Entry { told: Told::MUST_ACT.smtp_only(), ..Entry::of(Area::Smtp) };

/// What a mail program hears that goes past Postern.
const PAST_POSTERN: Entry = Entry { told: Told::NOTHING, remedy: GO_THROUGH_POSTERN, ..AT_LOGIN };

const SWITCH_ON: &[Step] = &[
    Step::Do("Switch SMTP AUTH on for this mailbox; it is needed with OAuth, too. In Exchange Online PowerShell:"),
    Step::PowerShell("Set-CASMailbox -Identity {mailbox} -SmtpClientAuthenticationDisabled $false"),
    Step::Note(
        "Or Microsoft 365 admin centre, Users, Active users, the user, Mail, Manage email apps: «Authenticated SMTP». It takes minutes; 20 \
         are reported.",
    ),
];

/// How Exchange refuses a login.
pub(in crate::base::catalogue) static LOGIN: &[Entry] = &[
    Entry {
        code: "smtp-auth-off-in-tenant",
        seen: "535 5.7.139",
        title: "SMTP AUTH is switched off in the organisation, and on for no mailbox in particular",
        example: "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit \
                  https://aka.ms/smtp_auth_disabled for more information.",
        marks: &["SmtpClientAuthentication is disabled for the Tenant"],
        replies: BAD_LOGIN,
        words_decide: true,
        what: "Exchange has a switch for authenticated submission. It is off for the organisation, as it is by default since 2020, and this \
               mailbox has no setting of its own. The token is good; the switch stops it all the same.",
        remedy: &[
            SWITCH_ON[0],
            SWITCH_ON[1],
            Step::Note(
                "The mailbox's own setting outranks the organisation's, which can stay off. Or Microsoft 365 admin centre, Users, Active \
                 users, the user, Mail, Manage email apps: «Authenticated SMTP». It takes minutes; 20 are reported.",
            ),
        ],
        certainty: Certainty::Reported,
        source: "email-oauth2-proxy #66 and #193, MailKit #700; the switches: Set-CASMailbox, Set-TransportConfig",
        ..AT_LOGIN
    },
    Entry {
        code: "smtp-auth-off-for-mailbox",
        seen: "535 5.7.139",
        title: "SMTP AUTH is switched off for this mailbox",
        example: "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit \
                  https://aka.ms/smtp_auth_disabled for more information.",
        marks: &["SmtpClientAuthentication is disabled for the Mailbox"],
        replies: BAD_LOGIN,
        words_decide: true,
        what: "Exchange has a switch for authenticated submission, and somebody has set it to off for this mailbox. The token is good; the \
               switch stops it all the same.",
        remedy: SWITCH_ON,
        certainty: Certainty::Reported,
        source: "email-oauth2-proxy #193, ZeroSMTP; the switch: Set-CASMailbox",
        ..AT_LOGIN
    },
    Entry {
        code: "smtp-basic-disabled",
        seen: "535 5.7.139",
        title: "a password reached Exchange, and it takes none any more",
        example: "535 5.7.139 Authentication unsuccessful, basic authentication is disabled.",
        marks: &["basic authentication is disabled"],
        replies: BAD_LOGIN,
        words_decide: true,
        what: "Somebody logged in at smtp.office365.com with a user name and a password. Postern logs in with a token, so this mail program \
               does not go through Postern.",
        certainty: Certainty::Reported,
        source: "public transcripts",
        ..PAST_POSTERN
    },
    Entry {
        code: "smtp-security-defaults",
        seen: "535 5.7.139",
        title: "security defaults of the tenant forbid the login",
        example: "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy. Contact your \
                  administrator.",
        marks: &["security defaults policy"],
        replies: BAD_LOGIN,
        words_decide: true,
        what: "The tenant has security defaults switched on, and Exchange refuses the login because of them. The text is known from logins \
               with a password; whether it is also given to a token is not verified.",
        remedy: SECURITY_DEFAULTS,
        certainty: Certainty::Secondary,
        source: "two public pages",
        ..AT_LOGIN
    },
    Entry {
        code: "smtp-criteria-not-met",
        seen: "535 5.7.139",
        title: "a rule of the tenant, such as Conditional Access, forbids the login",
        example: "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully. \
                  Contact your administrator.",
        marks: &["did not meet the criteria to be authenticated"],
        replies: BAD_LOGIN,
        words_decide: true,
        what: "Exchange passes on that a rule of the tenant does not let this login through: Conditional Access, or something like it.",
        remedy: &[
            Step::Do(
                "Entra admin centre, Monitoring & health, Sign-in logs: open the failed sign-in (for the application itself under «Service \
                 principal sign-ins»); its tab «Conditional Access» names the policy.",
            ),
            Step::Do(
                "Entra admin centre, Conditional Access, that policy: exclude the account or the application, or allow this machine's \
                 address towards the internet.",
            ),
        ],
        certainty: Certainty::Secondary,
        source: "bookyourpto documents",
        ..AT_LOGIN
    },
    Entry {
        code: "smtp-credentials-incorrect",
        seen: "535 5.7.139",
        title: "a wrong password reached Exchange",
        example: "535 5.7.139 Authentication unsuccessful, the user credentials were incorrect.",
        marks: &["the user credentials were incorrect"],
        replies: BAD_LOGIN,
        words_decide: true,
        what: "Somebody logged in at smtp.office365.com with a user name and a wrong password. Postern logs in with a token, so this mail \
               program does not go through Postern. An app password of Postern is unknown to Exchange.",
        certainty: Certainty::Secondary,
        source: "public pages",
        ..PAST_POSTERN
    },
    Entry {
        code: "smtp-federation",
        seen: "535 5.7.139",
        title: "the company's own sign-in server (AD FS) could not be used",
        example: "535 5.7.139 Authentication unsuccessful, federated STS service was unreachable.",
        marks: &["federated STS service was unreachable", "STS URL does not support HTTPS"],
        replies: BAD_LOGIN,
        words_decide: true,
        what: "The accounts of this domain are checked by a server of the company itself, and Exchange could not reach it, or not by HTTPS.",
        remedy: &[
            Step::Do(
                "Check that the company's federation server (AD FS) can be reached from the internet, by HTTPS with TLS 1.2.",
            ),
            Step::Note("Logins by client_credentials do not need it."),
        ],
        source: "Fix issues with printers, scanners, and LOB apps that send email",
        ..AT_LOGIN
    },
    Entry {
        code: "smtp-token-rejected",
        seen: "535 5.7.3",
        title: "Exchange did not accept the token",
        example: "535 5.7.3 Authentication unsuccessful",
        replies: &[ReplyCode::one(535, 5, 7, 3)],
        what: "Exchange says the same for a token of the wrong kind, for a missing permission or right, for the object ID of the wrong page, \
               and during an outage of its own.",
        remedy: TOKEN_NOT_ACCEPTED,
        retry: Retry::OnceWithNewToken,
        source: "Authenticate an IMAP, POP or SMTP connection using OAuth; causes: MailKit #1126, sasl-xoauth2 #43",
        ..AT_LOGIN
    },
    Entry {
        code: "hve-user-not-valid",
        seen: "501 5.5.124",
        title: "High Volume Email: the user in the login is not valid",
        example: "501 5.5.124 Invalid XOAUTH2 auth data - User address provided is not valid",
        replies: &[ReplyCode::one(501, 5, 5, 124)],
        what: "The address in the login is not one of a High Volume Email account that this token may use.",
        remedy: &[
            Step::Do("Check that {mailbox} is the account's primary address, as it stands in Exchange."),
            Step::Do("Let the application use the account; at most ten applications, effective after 5 minutes:"),
            Step::PowerShell("Add-HVEAppAccess -Identity {mailbox} -AppIds {client_id}"),
        ],
        retry: Retry::OnceWithNewToken,
        certainty: Certainty::Reported,
        source: "sasl-xoauth2 #110; Add-HVEAppAccess",
        ..AT_LOGIN
    },
    Entry {
        code: "hve-token-expires-soon",
        seen: "501 5.5.127",
        title: "High Volume Email: the token does not live long enough",
        example: "501 5.5.127 Invalid XOAUTH2 auth data - Token will expire soon",
        replies: &[ReplyCode::one(501, 5, 5, 127)],
        what: "High Volume Email refuses tokens with less than about 10 minutes left (8.5 minutes were refused). Postern gets a new one and \
               tries once more.",
        remedy: &[Step::Do(
            "If it comes back, look for a token lifetime policy that makes tokens short-lived (Entra ID, token lifetime policies), and check \
             this machine's clock.",
        )],
        retry: Retry::OnceWithNewToken,
        certainty: Certainty::Reported,
        source: "sasl-xoauth2 #98",
        ..AT_LOGIN
    },
    Entry {
        code: "smtp-mechanism-unknown",
        seen: "504 5.7.4",
        title: "the server does not know this kind of login",
        example: "504 5.7.4 Unrecognized authentication type",
        replies: &[ReplyCode::one(504, 5, 7, 4)],
        what: "Exchange takes XOAUTH2 and LOGIN by SMTP. PLAIN, which many programs try, is refused like this; so is XOAUTH2 by a server that \
               is not Exchange's submission.",
        remedy: &[
            Step::Do("In Postern's log: check `smtp` under [tenant.endpoints]; for Exchange Online leave it out."),
            Step::Do(
                "In a mail program: it speaks to Exchange itself. Enter Postern as its server, with an app password (docs/CLIENTS.md).",
            ),
        ],
        certainty: Certainty::Reported,
        source: "fluent-plugin-mail #44",
        ..AT_LOGIN
    },
    Entry {
        code: "smtp-basic-retired",
        seen: "550 5.7.30",
        title: "passwords are no longer taken for submission at all",
        example: "550 5.7.30 Basic authentication is not supported for Client Submission.",
        replies: &[ReplyCode::one(550, 5, 7, 30)],
        what: "This is the reply that Microsoft announced for the time when passwords are gone for good. A password reached Exchange, so this \
               mail program does not go through Postern.",
        source: "Exchange Team Blog: Exchange Online to retire Basic auth for Client Submission (SMTP AUTH)",
        ..PAST_POSTERN
    },
    Entry {
        code: "smtp-not-authenticated",
        seen: "530 5.7.57",
        title: "a message was to be sent without a login",
        example: "530 5.7.57 Client not authenticated to send mail.",
        replies: &[ReplyCode::one(530, 5, 7, 57)],
        what: "Exchange was asked to take a message by somebody who had not logged in: mostly a device that speaks to Exchange itself and has \
               no login set, or whose login failed just before.",
        remedy: &[
            GO_THROUGH_POSTERN[0],
            GO_THROUGH_POSTERN[1],
            Step::Note(
                "In Postern's own log it means that Exchange no longer counted Postern's session as logged in. The mail program is told to \
                 try again, and its next message gets a new session; if it stays, report it.",
            ),
        ],
        told: Told::NOT_LET_IN,
        certainty: Certainty::Reported,
        source: "email-oauth2-proxy #315, oauth2ms #5",
        ..PAST_POSTERN
    },
    Entry {
        code: "smtp-tls-first",
        seen: "451 5.7.3",
        title: "a message was to be sent without encryption",
        example: "451 5.7.3 STARTTLS is required to send mail",
        replies: &[ReplyCode::one(451, 5, 7, 3)],
        what: "Exchange takes nothing before STARTTLS. Postern always encrypts, so a mail program speaks to Exchange itself.",
        told: Told::NOT_LET_IN,
        certainty: Certainty::Reported,
        source: "hertzbeat #2365",
        ..PAST_POSTERN
    },
    Entry {
        code: "smtp-unrecognized",
        seen: "500 5.3.3",
        title: "Exchange did not understand a command",
        example: "500 5.3.3 Unrecognized command 'unknown'",
        replies: &[ReplyCode::one(500, 5, 3, 3)],
        what: "Something was said that Exchange does not take for a command. Postern writes every command anew, so this should not happen.",
        remedy: &[Step::Do(
            "Report it as a fault of Postern, with the log of the session (`postern serve -v`). If a device shows it that does not go \
             through Postern, correct its settings (docs/CLIENTS.md).",
        )],
        told: Told::by_smtp("500 5.3.3 Unrecognized command 'unknown'"),
        retry: Retry::Never,
        certainty: Certainty::Reported,
        source: "nodemailer #1484, email-oauth2-proxy #232 and #372",
        ..AT_LOGIN
    },
];

const BAD_LOGIN: &[ReplyCode] = &[ReplyCode::one(535, 5, 7, 139)];
