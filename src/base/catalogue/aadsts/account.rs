//! The account that signs in: locked, disabled, unknown, and what has become of its sign-in.

use crate::base::catalogue::aadsts::{MEND, SIGN_IN};
use crate::base::catalogue::remedy::CONNECT;
use crate::base::catalogue::{Entry, Step};

const OTHER_DIRECTORY: &[Step] = &[
    Step::Do(
        "Compare `tenant_id` with the tenant that the mailbox belongs to (Entra admin centre, Overview, Tenant ID).",
    ),
    Step::Do("Look for a misspelt address:"),
    Step::Run("postern mailbox list"),
    Step::Note("A guest of this tenant has no mailbox in it: use the [[tenant]] of the guest's own organisation."),
];

const HOME_TENANT: &[Step] = &[
    Step::Do("Sign in with an account of this tenant, not one of another organisation or a personal one."),
    Step::Do(
        "For a mailbox of another organisation add a [[tenant]] with that organisation's `tenant_id` and an application of theirs.",
    ),
];

const NEW_SIGN_IN: &str = "The sign-in that Postern kept for this account has ended, as it does when the password is changed or somebody ends all sessions.";

pub(super) static ENTRIES: &[Entry] = &[
    Entry {
        code: "AADSTS50014",
        title: "the account is not in this tenant, or its invitation was never accepted",
        what: "The account belongs to another organisation, and this tenant does not have it as a finished guest.",
        remedy: HOME_TENANT,
        ..MEND
    },
    Entry {
        code: "AADSTS50020",
        title: "the account belongs to another organisation",
        what: "The account that signed in is another identity provider's, such as another tenant's or a personal Microsoft account, and \
               may not use the application here.",
        remedy: HOME_TENANT,
        ..MEND
    },
    Entry {
        code: "AADSTS50034",
        title: "this tenant does not have the account",
        what: "Entra ID looked for the account in the tenant of the configuration and did not find it.",
        remedy: OTHER_DIRECTORY,
        ..MEND
    },
    Entry {
        code: "AADSTS51004",
        title: "this tenant does not have the account",
        what: "Entra ID looked for the account in the tenant of the configuration and did not find it.",
        remedy: OTHER_DIRECTORY,
        ..MEND
    },
    Entry {
        code: "AADSTS90072",
        title: "an account from outside is not a member of this tenant",
        what: "The account that signed in does not exist in this tenant, so it cannot satisfy its rules for a second factor. With \
               accounts synchronised from Active Directory it can also mean that the two directories disagree about the account.",
        remedy: HOME_TENANT,
        ..MEND
    },
    Entry {
        code: "AADSTS50053",
        title: "the account is locked, or the sign-in came from a suspicious address",
        what: "Either too many wrong passwords were tried for the account, or Microsoft holds the address that the sign-in came from for \
               malicious. Entra ID gives both the same number.",
        remedy: &[
            Step::Do(
                "Entra admin centre, Monitoring & health, Sign-in logs: open the failed sign-in with the error code 50053 and read \
                 «Failure reason».",
            ),
            Step::Do("If the account is locked: unblock the user, and find out who tries passwords."),
            Step::Do(
                "If the address is blocked: it is the one by which this machine reaches the internet; find out what else comes from \
                 there, or send Postern's traffic out by another.",
            ),
        ],
        ..MEND
    },
    Entry {
        code: "AADSTS50055",
        title: "the password has expired",
        what: "The password of the account that signs in has expired, and its sessions with it.",
        remedy: &[
            Step::Do(
                "Let the user set a new password, or reset it in the Entra admin centre (Users, the account, Reset password).",
            ),
            Step::Do("Then sign the mailbox in again:"),
            CONNECT,
        ],
        ..SIGN_IN
    },
    Entry {
        code: "AADSTS50144",
        title: "the password in Active Directory has expired",
        what: "The account comes from the company's own Active Directory, and its password there has expired.",
        remedy: &[
            Step::Do("Set a new password in Active Directory, or by self-service reset if the company has it."),
            Step::Do("Then sign the mailbox in again:"),
            CONNECT,
        ],
        ..SIGN_IN
    },
    Entry {
        code: "AADSTS50057",
        title: "the account is disabled",
        what: "The account that signs in has been disabled in Entra ID or in the Active Directory that it comes from. The account of a \
               shared mailbox usually is, on purpose.",
        remedy: &[
            Step::Do(
                "If it is a shared mailbox: leave its account disabled and let somebody sign in who has Full Access to it, or let the \
                 application open it (`grant = \"client_credentials\"`).",
            ),
            Step::Run("postern mailbox add {mailbox} --sign-in-as DELEGATE"),
            CONNECT,
            Step::Do(
                "Otherwise enable the account: Entra admin centre, Users, the account, Account status; or in Active Directory, if it \
                 comes from there.",
            ),
            Step::Do("If it is meant to be disabled, take the mailbox off the list:"),
            Step::Run("postern mailbox remove {mailbox}"),
        ],
        ..MEND
    },
    Entry {
        code: "AADSTS50126",
        title: "a user name or password was wrong",
        what: "Somebody typed a wrong password at Microsoft's sign-in page, or guesses. Postern never sends a person's password to Entra \
               ID, so this is seen in the tenant's sign-in log, not in Postern's.",
        remedy: &[
            Step::Do("Sign in once more with the right password:"),
            CONNECT,
            Step::Do(
                "If nobody tried to sign in, look at the address in the sign-in log: somebody guesses this password.",
            ),
            Step::Note("If it stands in Postern's own log, report it as a fault of Postern."),
        ],
        ..SIGN_IN
    },
    Entry {
        code: "AADSTS50132",
        title: "the sign-in has ended: the password expired or was changed",
        what: NEW_SIGN_IN,
        ..SIGN_IN
    },
    Entry {
        code: "AADSTS50133",
        title: "the sign-in has ended: the password expired or was changed",
        what: NEW_SIGN_IN,
        ..SIGN_IN
    },
    Entry {
        code: "AADSTS50173",
        title: "the sign-in was revoked",
        what: "The user or an administrator has revoked the sessions of this account, or its password was changed or reset.",
        remedy: &[
            Step::Do("Find out why, if nobody expected it: a stolen account is handled like this."),
            Step::Do("Then sign the mailbox in again:"),
            CONNECT,
        ],
        ..SIGN_IN
    },
    Entry {
        code: "AADSTS50089",
        title: "the sign-in has expired",
        what: "The code, the token or the session that was presented is too old.",
        ..SIGN_IN
    },
    Entry {
        code: "AADSTS70000",
        title: "the refresh token is not valid",
        what: "Entra ID does not accept the refresh token that Postern kept. It is also reported where a token is asked for a service \
               whose permission the sign-in never included (not confirmed by Microsoft).",
        remedy: &[
            Step::Do(
                "Check that the application has the permissions for every protocol in use: Entra admin centre, App registrations, your \
                 application, API permissions.",
            ),
            Step::Do("Then sign the mailbox in again:"),
            CONNECT,
        ],
        ..SIGN_IN
    },
    Entry {
        code: "AADSTS70008",
        title: "the refresh token or code has expired or was revoked",
        what: "What was presented has been unused for too long, or somebody revoked it.",
        ..SIGN_IN
    },
    Entry {
        code: "AADSTS700082",
        title: "the sign-in was not used for 90 days",
        what: "A refresh token that nobody uses for 90 days expires.",
        remedy: &[
            Step::Do("Sign the mailbox in again:"),
            CONNECT,
            Step::Do("Or, if nobody opens the mailbox for months, take it off the list:"),
            Step::Run("postern mailbox remove {mailbox}"),
        ],
        ..SIGN_IN
    },
    Entry {
        code: "AADSTS700084",
        title: "the sign-in lived 24 hours only: the application is registered as a web page",
        what: "The redirect address of the application is registered for a single-page application. Refresh tokens of those die after 24 \
               hours and cannot be prolonged.",
        remedy: &[
            Step::Do(
                "Entra admin centre, App registrations, your application, Authentication: remove the address under «Single-page \
                 application» and add `http://localhost` under «Mobile and desktop applications».",
            ),
            Step::Do("Then sign the mailbox in again:"),
            CONNECT,
        ],
        ..MEND
    },
    Entry {
        code: "AADSTS53011",
        title: "the user is held for compromised",
        what: "Identity Protection sees a risk with this account and blocks it.",
        remedy: RISK,
        ..MEND
    },
    Entry {
        code: "AADSTS50135",
        title: "the password has to be changed, because the account may be compromised",
        what: "Identity Protection holds the password of this account for known to others.",
        remedy: RISK,
        ..MEND
    },
];

const RISK: &[Step] = &[
    Step::Do("Entra admin centre, ID Protection, Risky users: look into the risk of this account."),
    Step::Do("Let the user change the password, or dismiss the risk if it is none."),
    Step::Do("Then sign the mailbox in again:"),
    CONNECT,
];
