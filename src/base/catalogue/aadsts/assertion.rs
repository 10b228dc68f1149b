//! What an application proves itself with, beyond a secret: assertions of a certificate or of another issuer; and the form of sign-ins.

use crate::base::catalogue::aadsts::{MEND, WHILE_SIGNING_IN};
use crate::base::catalogue::{Certainty, Entry, Step};

const CERTIFICATE: &[Step] = &[
    Step::Do(
        "Compare the thumbprint of `certificate_file` with app registration, Certificates & secrets, Certificates:",
    ),
    Step::Run("openssl x509 -in CERTIFICATE -noout -fingerprint -sha1"),
    Step::Do("Check this machine's clock (`timedatectl`): an assertion is good for five minutes before and after."),
];

const ADDRESSES: &[Step] = &[
    Step::Do(
        "Remove `token_url` from [tenant.endpoints], so that the cloud's own is used, or put the tenant's own ID into it.",
    ),
    Step::Do("Compare `client_id` with the application (client) ID of the registration."),
];

const FEDERATION: &[Step] = &[
    Step::Do("Open the app registration, Certificates & secrets, Federated credentials."),
    Step::Do(
        "Compare issuer, subject identifier and audience with those in the token: they are compared to the letter, and the audience is \
         api://AzureADTokenExchange unless set otherwise.",
    ),
    Step::Note("The middle part of the token, decoded from base64url, shows `iss`, `sub` and `aud`."),
];

const PARAMETERS: &[Step] = &[
    Step::Do("Remove what `authorize_params` of the [[tenant]] adds, and sign in again."),
    Step::Do("If it goes on, report it as a fault of Postern, with the text and its trace ID."),
];

const REDIRECT: &[Step] = &[
    Step::Do(
        "App registration, Authentication, Add a platform, Mobile and desktop applications: add http://localhost. The port does not matter, \
         the path does.",
    ),
    Step::Do("Sign in again:"),
    Step::Run("postern mailbox connect {mailbox}"),
];

pub(super) static ENTRIES: &[Entry] = &[
    Entry {
        code: "AADSTS50013",
        title: "the application's assertion is not accepted",
        what: "The signed statement with which the application proves itself is malformed, was used before, or was signed by another key.",
        remedy: CERTIFICATE,
        ..MEND
    },
    Entry {
        code: "AADSTS50027",
        title: "the application's assertion is malformed",
        what: "What was sent as an assertion is no JWT that can be read. With a federated credential the file may hold something else.",
        remedy: &[
            Step::Do(
                "With `federated_token_file`: look whether the file holds one token (three parts with dots between) and nothing else.",
            ),
            Step::Do("With a certificate: report it as a fault of Postern, with the text and its trace ID."),
        ],
        ..MEND
    },
    Entry {
        code: "AADSTS5002738",
        title: "the signature of the assertion is of a kind that is not taken",
        what: "Entra ID takes RS256 and PS256. Postern signs by PS256, and by RS256 where that is refused.",
        remedy: &[Step::Do("With `federated_token_file`: let the other issuer sign by RS256.")],
        certainty: Certainty::Reported,
        ..MEND
    },
    Entry {
        code: "AADSTS700021",
        title: "the assertion names another application",
        what: "The application in the assertion is not the `client_id` of the request.",
        remedy: ADDRESSES,
        ..MEND
    },
    Entry {
        code: "AADSTS700023",
        title: "the assertion is for another address",
        what: "The assertion names another token service as its audience than the one that was asked.",
        remedy: ADDRESSES,
        ..MEND
    },
    Entry {
        code: "AADSTS70021",
        title: "no federated credential fits the token",
        what: "The application has no federated credential with the issuer, subject and audience of the token that was presented.",
        remedy: FEDERATION,
        ..MEND
    },
    Entry {
        code: "AADSTS700211",
        title: "no federated credential has this issuer",
        what: "The `iss` of the token that was presented stands in no federated credential of the application.",
        remedy: FEDERATION,
        certainty: Certainty::Reported,
        ..MEND
    },
    Entry {
        code: "AADSTS700212",
        title: "no federated credential has this audience",
        what: "The `aud` of the token that was presented stands in no federated credential of the application.",
        remedy: FEDERATION,
        certainty: Certainty::Reported,
        ..MEND
    },
    Entry {
        code: "AADSTS700213",
        title: "no federated credential has this subject",
        what: "The `sub` of the token that was presented stands in no federated credential of the application.",
        remedy: FEDERATION,
        certainty: Certainty::Reported,
        ..MEND
    },
    Entry {
        code: "AADSTS500112",
        title: "the redirect address is not the one of the sign-in",
        what: "The code was redeemed with another redirect address than the one that the browser was sent with.",
        remedy: REDIRECT,
        ..WHILE_SIGNING_IN
    },
    Entry {
        code: "AADSTS900971",
        title: "no redirect address is registered",
        what: "The application has no redirect address, so no browser can be sent back.",
        remedy: REDIRECT,
        ..WHILE_SIGNING_IN
    },
    Entry {
        code: "AADSTS50058",
        title: "nobody is signed in in this browser",
        what: "The sign-in was asked for without showing a page (prompt=none), and the browser has no session.",
        remedy: &[
            Step::Do("Remove `prompt` from `authorize_params` of the [[tenant]], and sign in again:"),
            Step::Run("postern mailbox connect {mailbox}"),
        ],
        ..WHILE_SIGNING_IN
    },
    Entry {
        code: "AADSTS501491",
        title: "the PKCE challenge has the wrong form",
        what: "The challenge that goes with the sign-in is too short, too long, or not base64url.",
        remedy: PARAMETERS,
        ..WHILE_SIGNING_IN
    },
    Entry {
        code: "AADSTS700054",
        title: "this kind of answer is not switched on for the application",
        what: "A `response_type` was asked for that the registration does not permit. Postern asks for `code`.",
        remedy: PARAMETERS,
        ..WHILE_SIGNING_IN
    },
    Entry {
        code: "AADSTS70007",
        title: "the answer was asked for in an unknown form",
        what: "`response_mode` has a value that Entra ID does not know.",
        remedy: PARAMETERS,
        ..WHILE_SIGNING_IN
    },
    Entry {
        code: "AADSTS9000411",
        title: "a parameter stands twice in the request",
        what: "The request names a parameter more than once.",
        remedy: PARAMETERS,
        ..MEND
    },
    Entry {
        code: "AADSTS650053",
        title: "the service has no such permission",
        what: "A scope was asked for that the service does not have: a misspelt one, or one of another service.",
        remedy: &[
            Step::Do("Remove `scopes` under [tenant.endpoints], so that the cloud's own are used."),
            Step::Note(
                "Permissions of Exchange's mail protocols stand under Microsoft Graph in the portal, but are asked for under the address https://outlook.office.com.",
            ),
        ],
        ..MEND
    },
];
