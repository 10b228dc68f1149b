//! What happens while a person signs in: by browser, or by a code on another device.

use crate::base::Whose;
use crate::base::catalogue::aadsts::{MEND, WHILE_SIGNING_IN};
use crate::base::catalogue::remedy::{CONNECT, SIGN_IN_AGAIN};
use crate::base::catalogue::{Certainty, Entry, Retry, Step, Told};

const AFRESH: &[Step] = &[Step::Do("Begin the sign-in again, with a new code:"), CONNECT];

pub(super) static ENTRIES: &[Entry] = &[
    Entry {
        code: "AADSTS50011",
        title: "the address to return to is not registered",
        what: "After the sign-in the browser is to be sent to an address that the application's registration does not list.",
        remedy: REDIRECT,
        told: Told::NOTHING,
        ..MEND
    },
    Entry {
        code: "AADSTS65004",
        title: "the person did not agree",
        what: "At the page that shows the application's permissions somebody pressed «Cancel».",
        remedy: &[Step::Do("Sign in once more and accept:"), CONNECT],
        ..WHILE_SIGNING_IN
    },
    Entry {
        code: "AADSTS54005",
        title: "the code was already used",
        what: "The code that comes back from the sign-in counts once, and was redeemed before.",
        remedy: AFRESH,
        ..WHILE_SIGNING_IN
    },
    Entry {
        code: "AADSTS501481",
        title: "the code belongs to another sign-in",
        what: "The code that came back does not belong to the sign-in that was begun (PKCE), for instance because two were begun at once.",
        remedy: AFRESH,
        ..WHILE_SIGNING_IN
    },
    Entry {
        code: "AADSTS50134",
        title: "the code was entered in another data centre",
        what: "A sign-in by code has to reach the same data centre of Microsoft that gave out the code.",
        remedy: &[
            Step::Do("Begin again, and enter the code from the same network:"),
            CONNECT,
            Step::Note("Or sign in by browser (`grant = \"authorization_code\"`)."),
        ],
        ..WHILE_SIGNING_IN
    },
    Entry {
        code: "AADSTS70016",
        title: "the sign-in is not finished yet",
        what: "Somebody has still to enter the code at Microsoft's page. Postern asks again in the rhythm that Entra ID names.",
        whose: Whose::Nobody,
        retry: Retry::BackOff { seconds: 5 },
        remedy: &[Step::Do("Finish the sign-in in the browser; the code counts for 15 minutes.")],
        ..WHILE_SIGNING_IN
    },
    Entry {
        code: "AADSTS70018",
        title: "the code was mistyped",
        what: "The code that was typed at Microsoft's page is not the one that was given out.",
        remedy: AFRESH,
        ..WHILE_SIGNING_IN
    },
    Entry {
        code: "AADSTS90119",
        title: "no code was typed",
        what: "The field for the code was empty.",
        remedy: AFRESH,
        ..WHILE_SIGNING_IN
    },
    Entry {
        code: "AADSTS70019",
        title: "the code has expired",
        what: "The code was not entered within its 15 minutes.",
        remedy: SIGN_IN_AGAIN,
        ..WHILE_SIGNING_IN
    },
    Entry {
        code: "AADSTS500112",
        title: "the address to return to differs between the two steps of the sign-in",
        what: "The code was asked for with one address to return to, and redeemed with another.",
        remedy: AFRESH,
        certainty: Certainty::Reported,
        source: "public reports",
        ..WHILE_SIGNING_IN
    },
    Entry {
        code: "AADSTS900971",
        title: "the request names no address to return to",
        what: "The application has no address to return to in its registration, or the request names none.",
        remedy: REDIRECT,
        told: Told::NOTHING,
        ..MEND
    },
    Entry {
        code: "AADSTS50058",
        title: "nobody is signed in",
        what: "The sign-in was to happen without a question, and no account is signed in there. It is common in sign-in logs and means nothing \
               by itself.",
        remedy: SIGN_IN_AGAIN,
        ..WHILE_SIGNING_IN
    },
    Entry {
        code: "AADSTS70007",
        title: "the way the answer was to come back is not supported",
        what: "The request asked for a `response_mode` that Entra ID does not support.",
        remedy: PARAMETERS,
        told: Told::NOTHING,
        ..MEND
    },
    Entry {
        code: "AADSTS700054",
        title: "the kind of answer that was asked for is not enabled",
        what: "The request asked for a `response_type` that is not enabled for the application.",
        remedy: PARAMETERS,
        told: Told::NOTHING,
        ..MEND
    },
    Entry {
        code: "AADSTS501491",
        title: "the challenge of the sign-in has a wrong size",
        what: "The PKCE challenge in the request is too short or too long.",
        remedy: PARAMETERS,
        told: Told::NOTHING,
        ..MEND
    },
];

const REDIRECT: &[Step] = &[
    Step::Do(
        "Entra admin centre, App registrations, your application, Authentication, «Mobile and desktop applications»: add \
         `http://localhost`.",
    ),
    Step::Note("Upper and lower case and the path count; for `http://localhost` the port does not."),
];

const PARAMETERS: &[Step] = &[
    Step::Do("Remove `authorize_params` from the [[tenant]], if it is there."),
    Step::Do("If it is not, report it as a fault of Postern, with the text and its trace ID."),
];
