//! What was asked for and where: tenant, cloud, service, form; and the token service's own troubles.

use crate::base::Whose;
use crate::base::catalogue::aadsts::{MEND, PASSES};
use crate::base::catalogue::{Certainty, Entry, Retry, Step, Told};

const TENANT_ID: &[Step] = &[
    Step::Do(
        "Enter the tenant's own ID as `tenant_id` (Entra admin centre, Overview, Tenant ID), not `common`, `organizations` or \
         `consumers`.",
    ),
    Step::Do("If `token_url` stands under [tenant.endpoints], put the ID there as well."),
];

const CLOUD: &[Step] = &[
    Step::Do(
        "Choose the `cloud` of this tenant: global, gcc-high, dod or china; GCC without «High» should be global, which is not verified.",
    ),
    Step::Do(
        "Register the application in that cloud: each has its own registrations, and a token of one is worthless in another.",
    ),
];

const SCOPE: &[Step] = &[
    Step::Do("Remove `scopes` under [tenant.endpoints], so that the cloud's own are used."),
    Step::Note(
        "With client_credentials it is exactly one service and `/.default`: https://outlook.office365.com/.default in the global cloud.",
    ),
];

const MALFORMED: &[Step] = &[
    Step::Do("Check `token_url` and `authorize_params` of the [[tenant]], if they are there."),
    Step::Do("If they are right, report it as a fault of Postern, with the text and its trace ID."),
];

pub(super) static ENTRIES: &[Entry] = &[
    Entry {
        code: "AADSTS90002",
        title: "there is no such tenant in this cloud",
        what: "Entra ID does not find the tenant: `tenant_id` is wrong, or it belongs to another cloud.",
        remedy: &[
            Step::Do("Compare `tenant_id` with Entra admin centre, Overview, Tenant ID."),
            Step::Do("Check `cloud`: global, gcc-high, dod or china."),
        ],
        ..MEND
    },
    Entry {
        code: "AADSTS50059",
        title: "the request does not say which tenant",
        what: "Nothing in the request leads to a tenant.",
        remedy: TENANT_ID,
        ..MEND
    },
    Entry {
        code: "AADSTS90019",
        title: "the request does not say which tenant",
        what: "Nothing in the request leads to a tenant.",
        remedy: TENANT_ID,
        ..MEND
    },
    Entry {
        code: "AADSTS50194",
        title: "an application of one tenant was asked for at `common`",
        what: "The application is registered for its own tenant only, and the request went to the address for all tenants.",
        remedy: TENANT_ID,
        ..MEND
    },
    Entry {
        code: "AADSTS9001023",
        title: "this grant needs a tenant of its own",
        what: "Client credentials cannot be used at `common` or `consumers`.",
        remedy: TENANT_ID,
        ..MEND
    },
    Entry {
        code: "AADSTS90124",
        title: "this service cannot be asked for at `common` or `consumers`",
        what: "The service that the token is for needs the tenant's own address.",
        remedy: TENANT_ID,
        ..MEND
    },
    Entry {
        code: "AADSTS90130",
        title: "this application cannot be used at `common` or `consumers`",
        what: "The application needs the tenant's own address.",
        remedy: TENANT_ID,
        ..MEND
    },
    Entry {
        code: "AADSTS90038",
        title: "the tenant belongs to a national cloud",
        what: "The tenant is in another cloud than the one that was asked, and the two do not trust each other.",
        remedy: CLOUD,
        ..MEND
    },
    Entry {
        code: "AADSTS90043",
        title: "the code belongs to another national cloud",
        what: "A sign-in of one cloud was to be redeemed in another, and that is switched off.",
        remedy: CLOUD,
        ..MEND
    },
    Entry {
        code: "AADSTS900382",
        title: "an application with a secret cannot ask across clouds",
        what: "The application, or the account, belongs to another cloud than the one that was asked.",
        remedy: CLOUD,
        ..MEND
    },
    Entry {
        code: "AADSTS900432",
        title: "an application with a secret cannot ask across clouds",
        what: "The application, or the account, belongs to another cloud than the one that was asked.",
        remedy: CLOUD,
        ..MEND
    },
    Entry {
        code: "AADSTS500011",
        title: "the tenant does not have the service that was asked for",
        what: "The service in the scope does not exist in this tenant: another cloud's address, a misspelt one, or Exchange Online is not \
               set up here.",
        remedy: SERVICE,
        ..MEND
    },
    Entry {
        code: "AADSTS50001",
        title: "the service that was asked for is disabled or does not exist",
        what: "The service in the scope cannot be had in this tenant.",
        remedy: SERVICE,
        ..MEND
    },
    Entry {
        code: "AADSTS70011",
        title: "the scope is not valid",
        what: "What the token was to be good for is not written as Entra ID wants it.",
        remedy: SCOPE,
        ..MEND
    },
    Entry {
        code: "AADSTS1002012",
        title: "the scope of client credentials must end in `/.default`",
        what: "With client credentials the scope is one service and `/.default`; single permissions cannot be asked for.",
        remedy: SCOPE,
        certainty: Certainty::Reported,
        source: "several public threads",
        ..MEND
    },
    Entry {
        code: "AADSTS700022",
        title: "the scope names more than one service",
        what: "A token is good for one service; the scope names permissions of several, such as Outlook's and Graph's.",
        remedy: ONE_SERVICE,
        ..MEND
    },
    Entry {
        code: "AADSTS28000",
        title: "the scope names more than one service",
        what: "A token is good for one service; the scope names permissions of several.",
        remedy: ONE_SERVICE,
        certainty: Certainty::Unverified,
        source: "no source at hand",
        ..MEND
    },
    Entry {
        code: "AADSTS90014",
        title: "something is missing in the request",
        what: "A field that Entra ID expects is not there.",
        remedy: MALFORMED,
        ..MEND
    },
    Entry {
        code: "AADSTS900144",
        title: "a parameter is missing in the request",
        what: "A parameter is missing; the text names it. It has been reported for `scope` when a token is renewed.",
        remedy: MALFORMED,
        ..MEND
    },
    Entry {
        code: "AADSTS9002313",
        title: "the request is malformed",
        what: "Entra ID cannot read the request.",
        remedy: MALFORMED,
        ..MEND
    },
    Entry {
        code: "AADSTS9000411",
        title: "a parameter of the request is there twice",
        what: "Entra ID found a parameter twice in the request.",
        remedy: MALFORMED,
        certainty: Certainty::Reported,
        source: "public reports",
        ..MEND
    },
    Entry {
        code: "AADSTS70003",
        title: "this kind of grant is not supported",
        what: "The token service does not know the grant that was asked for, or the application may not use it.",
        remedy: MALFORMED,
        ..MEND
    },
    Entry {
        code: "AADSTS50196",
        title: "the same request came in a loop",
        what: "Entra ID saw the same request too often in too short a time and stops answering it for a while. Asking on makes it longer, \
               so Postern waits a minute at least.",
        whose: Whose::Nobody,
        told: Told::TRY_LATER,
        retry: Retry::RetryAfter { otherwise_seconds: 60 },
        remedy: &[
            Step::Do(
                "Look for a second program that uses the same application, and for a process that is started again and again.",
            ),
            Step::Note("If it is Postern alone, report it as a fault of Postern, with the log of the minutes before."),
        ],
        ..MEND
    },
    Entry {
        code: "AADSTS90055",
        title: "the tenant is asking too much",
        what: "So many requests come from this tenant that Entra ID refuses some of them.",
        retry: Retry::RetryAfter { otherwise_seconds: 60 },
        remedy: &[Step::Note(
            "Postern waits and asks again. If it lasts, some other program of the tenant asks too often: Entra admin centre, Monitoring & \
             health, Sign-in logs, sorted by application.",
        )],
        ..PASSES
    },
    Entry { code: "AADSTS50033", title: "a passing error of the token service", what: PASSING, ..PASSES },
    Entry { code: "AADSTS50087", title: "a passing error while a second factor was checked", what: PASSING, ..PASSES },
    Entry { code: "AADSTS90006", title: "the token service cannot be had just now", what: PASSING, ..PASSES },
    Entry { code: "AADSTS90012", title: "the token service took too long", what: PASSING, ..PASSES },
    Entry { code: "AADSTS90024", title: "a passing error of the token service", what: PASSING, ..PASSES },
    Entry { code: "AADSTS90033", title: "Microsoft's directory cannot be had just now", what: PASSING, ..PASSES },
    Entry { code: "AADSTS90090", title: "Microsoft's directory cannot be had just now", what: PASSING, ..PASSES },
];

const PASSING: &str =
    "Something inside Microsoft's service did not work this time. Tokens that Postern already has stay in use.";

const SERVICE: &[Step] = &[
    Step::Do("Remove `scopes` under [tenant.endpoints], and check `cloud`."),
    Step::Do("Check that the tenant has Exchange Online at all: Microsoft 365 admin centre, Billing, Licenses."),
];

const ONE_SERVICE: &[Step] = &[
    Step::Do("Remove `scopes` under [tenant.endpoints], or name permissions of one service for each protocol."),
    Step::Note("Mail protocols need Outlook's (https://outlook.office.com/…), never Graph's."),
];
