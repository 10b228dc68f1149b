//! Entra ID: the AADSTS numbers that matter to Postern, and the OAuth errors they stand under.
//!
//! Each number has an entry of its own, since that is what people look for, even where several mean the same.

mod account;
mod application;
mod policy;
mod request;
mod sign_in;

use crate::base::Whose;
use crate::base::catalogue::remedy::SIGN_IN_AGAIN;
use crate::base::catalogue::{Area, Entry, Retry, Step, Told};

pub(super) use self::policy::SECURITY_DEFAULTS;

/// The numbers, by what they are about.
pub(super) static NUMBERS: &[&[Entry]] =
    &[account::ENTRIES, policy::ENTRIES, application::ENTRIES, request::ENTRIES, sign_in::ENTRIES];

/// Where the meaning of the numbers was read.
const LIST: &str = "Microsoft Entra authentication and authorization error codes";

/// Something that the administrator has to mend.
const MEND: Entry = Entry { source: LIST, ..Entry::of(Area::Entra) };

/// Something that a sign-in anew mends.
const SIGN_IN: Entry = Entry { whose: Whose::User, remedy: SIGN_IN_AGAIN, ..MEND };

/// Something that happens while a person signs in, when no mail program waits.
const WHILE_SIGNING_IN: Entry = Entry { whose: Whose::User, told: Told::NOTHING, ..MEND };

/// Something that passes by itself.
const PASSES: Entry = Entry {
    whose: Whose::Nobody,
    told: Told::TRY_LATER,
    retry: Retry::RetryAfter { otherwise_seconds: 5 },
    remedy: &[Step::Note(
        "Nothing has to be done: Postern asks again by itself. If it lasts for hours, look at Microsoft 365 admin centre, Health, \
         Service health.",
    )],
    ..MEND
};

/// What a class of refusals has in common.
const CLASS: Entry = Entry {
    source: "RFC 6749, section 5.2, and Microsoft's page named above",
    remedy: &[Step::Do(
        "Look for the AADSTS number in the text behind it and look that up: postern explain NUMBER, or \
         https://login.microsoftonline.com/error.",
    )],
    ..Entry::of(Area::OAuth)
};

/// The OAuth errors (RFC 6749, section 5.2; RFC 8628, section 3.5). They decide what Postern does; these are the words for when the
/// number says nothing.
pub(super) static ERRORS: &[Entry] = &[
    Entry {
        code: "invalid_grant",
        title: "what was presented for a token is not valid any more",
        what: "The refresh token, or the code of a sign-in, has expired, was revoked, or does not satisfy a policy.",
        whose: Whose::User,
        remedy: SIGN_IN_AGAIN,
        ..CLASS
    },
    Entry {
        code: "interaction_required",
        marks: &["login_required"],
        title: "a person has to sign in",
        what: "A policy demands something that only a person can give, such as a second factor.",
        whose: Whose::User,
        remedy: SIGN_IN_AGAIN,
        ..CLASS
    },
    Entry {
        code: "consent_required",
        title: "nobody has consented to the application's permissions",
        what: "The permissions are in the application's registration, and nobody has agreed to them for this tenant.",
        remedy: application::CONSENT,
        ..CLASS
    },
    Entry {
        code: "invalid_client",
        title: "the application did not prove who it is",
        what: "The client secret or certificate is wrong, expired or missing, or one was sent where none is wanted.",
        remedy: &[
            Step::Do("Compare `client_id` in the configuration with the application's registration."),
            Step::Do(
                "Look at its credential: Entra admin centre, App registrations, your application, Certificates & secrets. \
                 `client_secret_file` holds the secret's value, not its ID.",
            ),
        ],
        ..CLASS
    },
    Entry {
        code: "unauthorized_client",
        title: "the application is not known in this tenant, or may not do this",
        what: "The tenant does not have the application, has disabled it, or does not let it use this kind of grant.",
        remedy: application::FIND_APPLICATION,
        ..CLASS
    },
    Entry {
        code: "invalid_scope",
        marks: &["invalid_resource", "invalid_target"],
        title: "the permission or service that was asked for does not exist there",
        what: "`scopes` or `cloud` in the configuration do not fit the tenant, or the service is not set up in it.",
        remedy: &[
            Step::Do("Remove `scopes` under [tenant.endpoints], so that the cloud's own are used."),
            Step::Do("Check `cloud` and `tenant_id`."),
        ],
        ..CLASS
    },
    Entry {
        code: "access_denied",
        marks: &["authorization_declined"],
        title: "somebody said no, or the tenant's rules did",
        what: "The person did not agree, the account is not assigned to the application, or an administrator's consent is needed.",
        ..CLASS
    },
    Entry {
        code: "invalid_request",
        marks: &["unsupported_grant_type"],
        title: "the request was not in order",
        what: "Something in it is missing or not allowed for this tenant: mostly a wrong `tenant_id`, `cloud` or `token_url`.",
        remedy: &[
            Step::Do("Check `tenant_id`, `cloud` and, if it is there, `token_url` under [tenant.endpoints]."),
            Step::Do("If they are right, report it as a fault of Postern, with the number and the trace ID."),
        ],
        ..CLASS
    },
    Entry {
        code: "temporarily_unavailable",
        marks: &["server_error", "slow_down"],
        title: "the token service cannot serve just now",
        what: "It is overloaded or out of order, or was asked too often.",
        source: CLASS.source,
        area: Area::OAuth,
        ..PASSES
    },
];
