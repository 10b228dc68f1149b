//! The application: whether it is known, its credential, its permissions and the consent to them.

use crate::base::catalogue::aadsts::MEND;
use crate::base::catalogue::{Certainty, Entry, Step};

/// The application is not found, or not allowed.
pub(super) const FIND_APPLICATION: &[Step] = &[
    Step::Do(
        "Compare `client_id` and `tenant_id` with the application's page: Entra admin centre, App registrations, your application, \
         Overview.",
    ),
    Step::Do("Check `cloud`: an application of one cloud does not exist in another."),
    Step::Do(
        "If it is registered in another tenant, it has to be let into this one: open, in the global cloud, \
         https://login.microsoftonline.com/{tenant}/adminconsent?client_id={client_id} as an administrator of this tenant.",
    ),
];

const ENABLE_APPLICATION: &[Step] = &[
    Step::Do(
        "Entra admin centre, Enterprise applications, your application, Properties: set «Enabled for users to sign-in?» to Yes.",
    ),
    Step::Note(
        "Somebody may have switched it off on purpose: ask first. The audit log of Entra ID says who did and when.",
    ),
];

/// Somebody with the right to has to consent.
pub(super) const CONSENT: &[Step] = &[
    Step::Do(
        "Entra admin centre, App registrations, your application, API permissions: check that the permissions for SMTP, IMAP and POP \
         are there, then press «Grant admin consent».",
    ),
    Step::Do(
        "If the application is registered in another tenant, open instead, in the global cloud, \
         https://login.microsoftonline.com/{tenant}/adminconsent?client_id={client_id} as an administrator of this tenant.",
    ),
    Step::Note(
        "In tenants on Microsoft's own consent policy users cannot consent to programs that read mail since November 2025; an \
         administrator has to.",
    ),
];

const ADD_PERMISSION: &[Step] = &[
    Step::Do(
        "Entra admin centre, App registrations, your application, API permissions, Add a permission. For client_credentials: «APIs my \
         organization uses», Office 365 Exchange Online, Application permissions: SMTP.SendAsApp, IMAP.AccessAsApp, POP.AccessAsApp. \
         For a person's sign-in: Microsoft Graph, Delegated permissions: SMTP.Send, IMAP.AccessAsUser.All, POP.AccessAsUser.All, \
         offline_access.",
    ),
    Step::Do("Press «Grant admin consent» on the same page."),
    Step::Do("Remove `scopes` under [tenant.endpoints], if it is there, so that the cloud's own are asked for."),
];

const ENTER_SECRET: &[Step] = &[
    Step::Do(
        "Put the secret's value into the file that `client_secret_file` names. Entra shows «Value» once, when the secret is made; \
         «Secret ID» is another thing and is often pasted instead.",
    ),
    Step::Do(
        "If the value is lost: Entra admin centre, App registrations, your application, Certificates & secrets, New client secret.",
    ),
    Step::Note("Postern reads the file anew at each renewal; it need not be restarted."),
];

const CERTIFICATE: &[Step] = &[
    Step::Do(
        "Entra admin centre, App registrations, your application, Certificates & secrets, Certificates: compare the thumbprint with \
         that of the certificate in the configuration, and upload the one in use.",
    ),
    Step::Do("Check that the key in the configuration is the one of that certificate."),
    CLOCK,
];

const CLOCK: Step = Step::Do("Check this machine's clock: `timedatectl` on Linux, `w32tm /query /status` on Windows.");

pub(super) static ENTRIES: &[Entry] = &[
    Entry {
        code: "AADSTS700016",
        title: "the tenant does not have the application",
        what: "No application with this `client_id` exists in the tenant of the configuration, or nobody has consented to it there.",
        remedy: FIND_APPLICATION,
        ..MEND
    },
    Entry {
        code: "AADSTS700011",
        title: "the tenant does not have the application",
        what: "No application with this `client_id` exists in the tenant of the configuration.",
        remedy: FIND_APPLICATION,
        ..MEND
    },
    Entry {
        code: "AADSTS70001",
        title: "the application is disabled, or the tenant does not have it",
        what: "The application may not be used in this tenant.",
        remedy: &[
            Step::Do(
                "Entra admin centre, Enterprise applications, your application, Properties: set «Enabled for users to sign-in?» to Yes.",
            ),
            Step::Do("If it is not in that list, compare `client_id`, `tenant_id` and `cloud` with its registration."),
        ],
        ..MEND
    },
    Entry {
        code: "AADSTS7000112",
        title: "the application is disabled",
        what: "The application exists in the tenant and has been switched off there.",
        remedy: ENABLE_APPLICATION,
        ..MEND
    },
    Entry {
        code: "AADSTS7000222",
        title: "the client secret has expired",
        what: "The secret by which Postern proves to be the application has passed its last day. Nothing is lost: mailboxes, app passwords \
               and sign-ins stay as they are.",
        remedy: &[
            Step::Do(
                "Entra admin centre, App registrations, your application, Certificates & secrets, New client secret. Copy its «Value», \
                 not its «Secret ID».",
            ),
            Step::Do(
                "Put the value into the file that `client_secret_file` names. Postern reads it anew at the next renewal; it need not be \
                 restarted.",
            ),
            Step::Do("Write its last day as `client_secret_expires`, so that `serve` and `check` warn in time:"),
            Step::Run("postern check"),
        ],
        ..MEND
    },
    Entry {
        code: "AADSTS7000215",
        title: "the client secret is wrong",
        what: "The application does not have this secret. Often the secret's ID was pasted for its value.",
        remedy: ENTER_SECRET,
        ..MEND
    },
    Entry {
        code: "AADSTS70002",
        title: "the client secret is wrong",
        what: "The client secret that was sent is not the application's.",
        remedy: ENTER_SECRET,
        ..MEND
    },
    Entry {
        code: "AADSTS7000218",
        title: "the application has to prove who it is, and no secret was sent",
        what: "The application is registered as one that has a credential, and the configuration names none.",
        remedy: &[
            Step::Do("With client_credentials: name the credential, for instance `client_secret_file`."),
            Step::Do(
                "With a person's sign-in and no credential: Entra admin centre, App registrations, your application, Authentication, \
                 «Allow public client flows»: Yes. The redirect address stands under «Mobile and desktop applications».",
            ),
        ],
        ..MEND
    },
    Entry {
        code: "AADSTS700025",
        title: "a secret was sent for an application that has none",
        what: "The application is registered as a public client, and those may not present a credential.",
        remedy: &[
            Step::Do("Remove `client_secret_file` (or its like) from the [[tenant]]."),
            Step::Do(
                "Or make it confidential: register the redirect address under «Web» and set «Allow public client flows» to No (App \
                 registrations, your application, Authentication).",
            ),
        ],
        ..MEND
    },
    Entry {
        code: "AADSTS50012",
        title: "the application's certificate was not accepted",
        what: "The proof that was signed with the certificate's key does not hold: the certificate is not registered, has expired, or the \
               signature is wrong.",
        remedy: CERTIFICATE,
        ..MEND
    },
    Entry {
        code: "AADSTS700027",
        title: "the signature of the application's certificate was not accepted",
        what: "The proof was signed with a key that belongs to no certificate registered for the application.",
        remedy: CERTIFICATE,
        ..MEND
    },
    Entry {
        code: "AADSTS700024",
        title: "the application's proof lies outside its time",
        what: "The proof that is signed with the certificate's key counts for some minutes, and Entra ID got it before or after them: the \
               clocks differ.",
        remedy: &[CLOCK],
        certainty: Certainty::Unverified,
        source: "no source at hand",
        ..MEND
    },
    Entry {
        code: "AADSTS65001",
        title: "nobody has consented to the application's permissions",
        what: "The permissions are in the application's registration, and nobody has agreed to them for this tenant or this user.",
        remedy: CONSENT,
        ..MEND
    },
    Entry {
        code: "AADSTS90094",
        title: "an administrator has to consent",
        what: "The application asks for permissions that users may not give.",
        remedy: CONSENT,
        ..MEND
    },
    Entry {
        code: "AADSTS90095",
        title: "an administrator has to consent, and was asked to",
        what: "The tenant lets users ask an administrator for consent, and this one was sent that way. A request may be waiting.",
        remedy: &[
            Step::Do(
                "Entra admin centre, Enterprise applications, Admin consent requests: approve the request of this application.",
            ),
            Step::Do(
                "Or grant it at once: App registrations, your application, API permissions, «Grant admin consent».",
            ),
        ],
        ..MEND
    },
    Entry {
        code: "AADSTS65002",
        title: "the client ID is one of Microsoft's own",
        what: "The `client_id` belongs to Microsoft, such as Outlook's, and Microsoft does not let other programs use it.",
        remedy: &[
            Step::Do("Register an application of your own, as README shows under «Your tenant»."),
            Step::Do("Enter its application (client) ID as `client_id`."),
        ],
        ..MEND
    },
    Entry {
        code: "AADSTS65005",
        title: "the application's registration lacks the permission",
        what: "A token was asked for a service that the application's registration does not list.",
        remedy: ADD_PERMISSION,
        ..MEND
    },
    Entry {
        code: "AADSTS650056",
        title: "the application's registration lacks the permission, or the consent",
        what: "The registration lists no permission for Exchange Online, or nobody has consented, or `client_id` or the certificate is not \
               the application's.",
        remedy: ADD_PERMISSION,
        ..MEND
    },
    Entry {
        code: "AADSTS650057",
        title: "the application's registration does not list this service",
        what: "A token was asked for a service that the application's registration does not list; the text names both.",
        remedy: ADD_PERMISSION,
        ..MEND
    },
    Entry {
        code: "AADSTS50105",
        title: "the account is not assigned to the application",
        what: "The application lets in only accounts that are assigned to it, and this one is not.",
        remedy: &[
            Step::Do("Entra admin centre, Enterprise applications, your application, Users and groups: add {mailbox}."),
            Step::Do("Or under Properties there: set «Assignment required?» to No."),
        ],
        ..MEND
    },
    Entry {
        code: "AADSTS50013",
        title: "the application's proof is not valid",
        what: "What the application presented as proof of itself is malformed, expired, or not meant for this token service.",
        remedy: CERTIFICATE,
        ..MEND
    },
    Entry {
        code: "AADSTS50027",
        title: "the application's proof is malformed",
        what: "What the application presented is no token that Entra ID can read, or is outside its time.",
        remedy: CERTIFICATE,
        ..MEND
    },
    Entry {
        code: "AADSTS5002738",
        title: "the application's proof is signed in a way that is not supported",
        what: "Entra ID takes proofs that are signed by an RSA key (RS256 or PS256).",
        remedy: &[Step::Do(
            "Use a certificate with an RSA key of 2048 bits, and upload it to the application's registration.",
        )],
        certainty: Certainty::Reported,
        source: "public reports",
        ..MEND
    },
    Entry {
        code: "AADSTS700021",
        title: "the application's proof names another application",
        what: "The proof was made for another application ID than the `client_id` of the request.",
        remedy: FEDERATION,
        certainty: Certainty::Reported,
        source: "public reports",
        ..MEND
    },
    Entry {
        code: "AADSTS700023",
        title: "the application's proof is meant for another token service, or the scope names no service",
        what: "Reported for a proof whose audience is not this token service. Microsoft's page gives the number to a scope that names no \
               service.",
        remedy: &[
            Step::Do("Check `tenant_id`, `cloud` and, if it is there, `token_url` under [tenant.endpoints]."),
            Step::Do("Remove `scopes` under [tenant.endpoints], so that the cloud's own are used."),
        ],
        certainty: Certainty::Reported,
        source: "public reports; Microsoft Entra authentication and authorization error codes",
        ..MEND
    },
    Entry {
        code: "AADSTS70021",
        title: "no federated credential of the application fits the token",
        what: "The token in `federated_token_file` does not fit any federated credential of the application by issuer, subject and audience.",
        remedy: FEDERATION,
        certainty: Certainty::Reported,
        source: "public reports",
        ..MEND
    },
    Entry {
        code: "AADSTS700211",
        title: "no federated credential of the application has this issuer",
        what: "The token in `federated_token_file` comes from an issuer that the application's federated credentials do not name. The text has it.",
        remedy: FEDERATION,
        certainty: Certainty::Reported,
        source: "public reports",
        ..MEND
    },
    Entry {
        code: "AADSTS700212",
        title: "no federated credential of the application has this audience",
        what: "The token in `federated_token_file` is meant for another audience than the application's federated credentials name. The text \
               has it.",
        remedy: FEDERATION,
        certainty: Certainty::Reported,
        source: "public reports",
        ..MEND
    },
    Entry {
        code: "AADSTS700213",
        title: "no federated credential of the application has this subject",
        what: "The token in `federated_token_file` is for a subject that the application's federated credentials do not name. The text has it; \
               it has to be the same to the letter.",
        remedy: FEDERATION,
        certainty: Certainty::Reported,
        source: "public reports",
        ..MEND
    },
    Entry {
        code: "AADSTS650053",
        title: "a permission that was asked for does not exist",
        what: "The scope names a permission that the service does not have: a misspelt one, or one of another service.",
        remedy: &[Step::Do("Remove `scopes` under [tenant.endpoints], so that the cloud's own are asked for.")],
        certainty: Certainty::Reported,
        source: "public reports",
        ..MEND
    },
];

const FEDERATION: &[Step] = &[
    Step::Do(
        "Entra admin centre, App registrations, your application, Certificates & secrets, Federated credentials: compare issuer, subject and \
         audience with those of the token (`iss`, `sub`, `aud`), letter by letter.",
    ),
    Step::Do(
        "Check that `federated_token_file` is the file that the cluster or machine keeps up to date, and `client_id` that application.",
    ),
];
