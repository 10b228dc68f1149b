//! What the tenant's rules demand: Conditional Access, a second factor, devices, security defaults.

use crate::base::catalogue::aadsts::{MEND, SIGN_IN};
use crate::base::catalogue::remedy::CONNECT;
use crate::base::catalogue::{Entry, Step};

const WHICH_POLICY: Step = Step::Do(
    "Entra admin centre, Monitoring & health, Sign-in logs: open the failed sign-in (for the application itself under «Service \
     principal sign-ins», for a person also under «User sign-ins (non-interactive)»); its tab «Conditional Access» names the policy.",
);

const LET_POSTERN_THROUGH: Step = Step::Do(
    "Entra admin centre, Conditional Access, that policy: exclude the account or the application, or allow them from the address by which \
     this machine reaches the internet (a named location).",
);

const APPLICATION_INSTEAD: Step = Step::Note(
    "Or let the application open the mailbox without a person: `grant = \"client_credentials\"`, as README shows under «Your tenant».",
);

const BLOCKED: &[Step] = &[
    WHICH_POLICY,
    LET_POSTERN_THROUGH,
    Step::Note(
        "Sign-ins by device code are blocked in many tenants by a policy that Microsoft manages; sign in by browser then \
         (`grant = \"authorization_code\"`, on another machine with `--no-browser`).",
    ),
];

const DEVICE: &[Step] = &[
    WHICH_POLICY,
    LET_POSTERN_THROUGH,
    Step::Note("A program on a server cannot satisfy a policy about the user's device."),
    APPLICATION_INSTEAD,
];

const SECOND_FACTOR: &[Step] = &[
    Step::Do("Sign the mailbox in again, with the second factor:"),
    CONNECT,
    Step::Note("If it is asked for again and again, exclude this service's account from that policy."),
    APPLICATION_INSTEAD,
];

const REGISTER: &[Step] = &[
    Step::Do("Let the user register a second factor at https://aka.ms/mfasetup."),
    Step::Do("Then sign the mailbox in again:"),
    CONNECT,
    APPLICATION_INSTEAD,
];

pub(super) static ENTRIES: &[Entry] = &[
    Entry {
        code: "AADSTS53003",
        title: "a Conditional Access policy blocks it",
        what: "A policy of the tenant does not let this account or application have a token from here.",
        remedy: BLOCKED,
        ..MEND
    },
    Entry {
        code: "AADSTS50131",
        title: "Conditional Access blocks it",
        what: "A policy about devices, suspicious activity, access or security does not let this sign-in through.",
        remedy: BLOCKED,
        ..MEND
    },
    Entry {
        code: "AADSTS530032",
        title: "a security policy of the tenant blocks it",
        what: "The administrator of the tenant has set a security policy that this request does not satisfy.",
        remedy: BLOCKED,
        ..MEND
    },
    Entry {
        code: "AADSTS53000",
        title: "a Conditional Access policy demands a compliant device",
        what: "The policy lets in only devices that the company's device management reports as compliant.",
        remedy: DEVICE,
        ..MEND
    },
    Entry {
        code: "AADSTS53001",
        title: "a Conditional Access policy demands a domain-joined device",
        what: "The policy lets in only devices that are joined to the company's domain.",
        remedy: DEVICE,
        ..MEND
    },
    Entry {
        code: "AADSTS53002",
        title: "a Conditional Access policy demands an approved application",
        what: "The policy lets in only applications from Microsoft's list of approved ones; your own registration is never on it.",
        remedy: &[WHICH_POLICY, LET_POSTERN_THROUGH, APPLICATION_INSTEAD],
        ..MEND
    },
    Entry {
        code: "AADSTS50097",
        title: "the device has to authenticate",
        what: "A policy demands a device that is known to Entra ID.",
        remedy: DEVICE,
        ..MEND
    },
    Entry {
        code: "AADSTS50129",
        title: "the device has to be registered",
        what: "A policy demands a device that is joined to the workplace.",
        remedy: DEVICE,
        ..MEND
    },
    Entry {
        code: "AADSTS50155",
        title: "the device did not authenticate",
        what: "A policy demands a device that is known to Entra ID, and this one did not prove to be.",
        remedy: DEVICE,
        ..MEND
    },
    Entry {
        code: "AADSTS530035",
        title: "security defaults block it",
        what: "The tenant has security defaults switched on, and they took the request for legacy authentication or for unsafe. \
               Microsoft's page says that they block older protocols, IMAP, SMTP and POP3 by name; whether that includes OAuth over \
               these protocols is not verified.",
        remedy: SECURITY_DEFAULTS,
        ..MEND
    },
    Entry {
        code: "AADSTS50072",
        title: "the user has to register a second factor",
        what: "A rule of the tenant demands a second factor, and the user has none yet.",
        remedy: REGISTER,
        ..SIGN_IN
    },
    Entry {
        code: "AADSTS50079",
        title: "the user has to register a second factor",
        what: "A rule of the tenant demands a second factor: because an administrator changed something, or because the sign-in comes from \
               another place than before.",
        remedy: REGISTER,
        ..SIGN_IN
    },
    Entry {
        code: "AADSTS50074",
        title: "a second factor is needed and was not given",
        what: "A rule of the tenant demands a second factor now, and only a person can give it.",
        remedy: SECOND_FACTOR,
        ..SIGN_IN
    },
    Entry {
        code: "AADSTS50076",
        title: "a second factor is needed now",
        what: "A rule of the tenant demands a second factor: a Conditional Access policy, a setting of the user, or because the sign-in \
               comes from another place than before.",
        remedy: SECOND_FACTOR,
        ..SIGN_IN
    },
    Entry {
        code: "AADSTS50078",
        title: "the second factor was given too long ago",
        what: "A policy of the tenant says how long a second factor counts, and that time has passed.",
        remedy: SECOND_FACTOR,
        ..SIGN_IN
    },
    Entry {
        code: "AADSTS50158",
        title: "a second factor of another provider was not given",
        what: "The tenant sends users to another company's second factor, and this sign-in has not been there.",
        remedy: SECOND_FACTOR,
        ..SIGN_IN
    },
    Entry {
        code: "AADSTS70043",
        title: "the sign-in is older than the tenant allows",
        what: "A Conditional Access policy sets a sign-in frequency, and the sign-in that Postern kept is older than that.",
        remedy: &[
            Step::Do("Sign the mailbox in again:"),
            CONNECT,
            Step::Do(
                "So that it does not come back: Entra admin centre, Conditional Access, the policy with a sign-in frequency: \
                 exclude this account.",
            ),
            APPLICATION_INSTEAD,
        ],
        ..SIGN_IN
    },
];

/// Also what Exchange's own words about security defaults lead to.
pub(in crate::base::catalogue) const SECURITY_DEFAULTS: &[Step] = &[
    Step::Do(
        "Entra admin centre, Monitoring & health, Sign-in logs: make sure that the refused sign-in is Postern's, by its application ID \
         {client_id}.",
    ),
    Step::Do(
        "Replace security defaults by Conditional Access policies that demand the same of people and leave this service out: Entra admin \
         centre, Overview, Properties, Manage security defaults.",
    ),
    Step::Note(
        "Switching them off without such policies takes the second factor away from everybody. Conditional Access needs Entra ID P1.",
    ),
];
