//! Microsoft Graph, where a message is sent by it.

use crate::base::Whose;
use crate::base::catalogue::{Area, Entry, Retry, Step, Told};

const GRAPH: Entry = Entry { told: Told::NOTHING, retry: Retry::Never, ..Entry::of(Area::Graph) };

/// Sending by Graph.
pub(super) static ENTRIES: &[Entry] = &[
    Entry {
        code: "graph-too-large",
        seen: "413",
        title: "the message is too large to be sent by Graph in one request",
        example: "HTTP 413 Request Entity Too Large",
        marks: &["413 Request Entity Too Large", "413 Payload Too Large", "413 Content Too Large"],
        what: "A request to Graph may have about 4 MB, so about 3 MB of message before it is encoded.",
        whose: Whose::User,
        remedy: &[Step::Do("Send it by SMTP, which takes more, or send less at once.")],
        source: "Graph: user: sendMail, Attach large files; Microsoft Q&A 1824204",
        ..GRAPH
    },
    Entry {
        code: "graph-throttled",
        seen: "429",
        title: "Graph is asked too much",
        example: "HTTP 429 Too Many Requests",
        marks: &["429 Too Many Requests"],
        what: "An application may ask 10,000 times in 10 minutes for one mailbox, upload 150 MB in 5 minutes, and ask 4 times at once.",
        whose: Whose::Nobody,
        remedy: &[Step::Note(
            "Nothing has to be done if it is rare. If it is frequent, spread the mail over more mailboxes.",
        )],
        retry: Retry::RetryAfter { otherwise_seconds: 60 },
        source: "Microsoft Graph service-specific throttling limits",
        ..GRAPH
    },
    Entry {
        code: "graph-bad-message",
        seen: "400 ErrorMimeContentInvalidBase64String",
        title: "Graph did not understand the message",
        example: "400 ErrorMimeContentInvalidBase64String",
        marks: &["ErrorMimeContentInvalidBase64String"],
        what: "The message was not encoded as Graph wants it.",
        remedy: &[Step::Do("Report it as a fault of Postern, with the lines of the log around it.")],
        source: "Graph: user: sendMail",
        ..GRAPH
    },
];
