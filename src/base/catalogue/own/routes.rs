//! Failures of sending by Microsoft Graph.

use crate::base::Whose;
use crate::base::catalogue::own::{MEND, PASSES};
use crate::base::catalogue::{Entry, Retry, Step, Told};

const PERMISSION: &[Step] = &[
    Step::Do(
        "In Entra, App registrations, your application, API permissions: add Microsoft Graph, Mail.Send (an application permission with \
         client_credentials, else a delegated one), and grant the administrator's consent.",
    ),
    Step::Do("Where the application is limited to certain mailboxes in Exchange, add this one to them."),
    Step::Do("With a person's sign-in, sign in once more, so that the new permission is consented to:"),
    Step::Run("postern mailbox connect {mailbox}"),
    Step::Note("It may take an hour until it holds. Mail waits in the queue meanwhile."),
];

/// The failures.
pub(in crate::base::catalogue) static ROUTES: &[Entry] = &[
    Entry {
        code: "graph-busy",
        title: "Graph cannot take a message just now",
        what: "Microsoft Graph is throttling, overloaded or out of order.",
        ..PASSES
    },
    Entry {
        code: "graph-unreachable",
        title: "Graph cannot be reached",
        what: "No connection to Microsoft Graph came about.",
        ..PASSES
    },
    Entry {
        code: "graph-silent",
        title: "Graph did not say whether it has a message",
        what: "The connection broke, or nothing was heard any more, after the message was on its way.",
        ..PASSES
    },
    Entry {
        code: "graph-token-rejected",
        title: "Graph does not accept the token",
        what: "A new token was refused as well as the old one. Where it lasts, `scopes` or `graph` under [tenant.endpoints] may be of another cloud.",
        ..PASSES
    },
    Entry {
        code: "graph-unfit",
        title: "the message cannot be sent by Graph",
        what: "Graph has no envelope and takes up to 3 MB. A message whose header names others than its envelope, that some recipients have \
               already, or that is larger, goes by SMTP.",
        remedy: &[Step::Note(
            "Nothing has to be done where SMTP is a route too. With Graph alone such messages are refused.",
        )],
        told: Told::NOTHING,
        ..PASSES
    },
    Entry {
        code: "graph-denied",
        title: "Graph does not let the mailbox send",
        what: "The application, or whoever signed in, has no right to send as this mailbox by Graph, or Graph does not know the mailbox.",
        remedy: PERMISSION,
        told: Told::by_smtp("451 4.7.0 The mailbox needs your administrator"),
        ..MEND
    },
    Entry {
        code: "graph-not-configured",
        title: "the tenant has no address of Graph",
        what: "`routes` names Graph, and there is no address for it.",
        remedy: &[
            Step::Do("Name `graph` under [tenant.endpoints], or take \"graph\" out of `routes`; then:"),
            Step::Run("postern check"),
        ],
        told: Told::by_smtp("451 4.7.0 The mailbox needs your administrator"),
        ..MEND
    },
    Entry {
        code: "graph-refused",
        title: "Graph refused a message",
        what: "Microsoft Graph does not take this message, or not from this sender. Its words stand in the log.",
        whose: Whose::User,
        remedy: &[Step::Do("See what Graph said in the log, and change the message or its sender.")],
        told: Told::NOTHING,
        retry: Retry::Never,
        ..MEND
    },
    Entry {
        code: "message-not-sent",
        title: "a message that is not kept cannot be sent now",
        what: "The app password was issued with `--delivery direct`, so that the program keeps its messages itself, and there is no way to send this one \
               just now.",
        remedy: &[
            Step::Note("The line in the log has the reason, and the program tries again by itself."),
            Step::Do("Or issue it a password whose messages are kept:"),
            Step::Run("postern password issue {mailbox} --label TEXT --delivery assured"),
        ],
        told: Told::by_smtp("451 4.3.0 The mailbox cannot be reached now, try again later"),
        ..PASSES
    },
];
