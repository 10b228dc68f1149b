//! Failures of the proxy on the way out.

use crate::base::catalogue::own::{MEND, PASSES};
use crate::base::catalogue::{Entry, Step, Told};

const IS_IT_THERE: &[Step] = &[
    Step::Do("Check kind (http:// or socks5://), host and port of the proxy under [upstream]."),
    Step::Do("Look whether the proxy runs, and whether this machine reaches it."),
    Step::Do("Ask whoever runs the proxy whether it reaches the host that the log names, at its port."),
];

/// The failures.
pub(in crate::base::catalogue) static PROXY: &[Entry] = &[
    Entry {
        code: "proxy-closed",
        title: "the proxy closed the connection instead of answering",
        what: "The proxy took the connection and ended it without a word about the host that it was asked for.",
        remedy: IS_IT_THERE,
        ..PASSES
    },
    Entry {
        code: "proxy-forbids",
        title: "the proxy does not allow the way to Exchange",
        what: "The proxy refuses to lead to this host and port, or not for this machine. Many proxies allow port 443 only; IMAP needs \
               993, POP3 995, and SMTP 587.",
        remedy: &[
            Step::Do("Ask whoever runs the proxy to let this machine through to the host and port that the log names."),
            Step::Do("If the host is to be reached without the proxy, name it in `no_proxy` under [upstream]."),
        ],
        ..MEND
    },
    Entry {
        code: "proxy-login",
        title: "the proxy does not accept the login, or wants one",
        what: "The proxy wants a user name and a password and has none, or they are wrong, or it wants a login of another kind than Basic (for \
               SOCKS5: user name and password).",
        remedy: &[
            Step::Do(
                "Write the proxy's address with its login into a file that only Postern may read, http://USER:PASSWORD@HOST:PORT, and name \
                 the file as `proxy_file` under [upstream]. In user name and password `@` is written %40, `:` %3A, `/` %2F and `%` %25.",
            ),
            Step::Do("Start Postern anew."),
            Step::Note("A proxy that takes Negotiate or NTLM only has to let this machine through by its address."),
        ],
        ..MEND
    },
    Entry {
        code: "proxy-not-through",
        title: "the proxy did not reach Exchange",
        what: "The proxy answers, but it did not find the host, got no connection to it, or is out of order.",
        remedy: &[Step::Do(
            "If it lasts, ask whoever runs the proxy whether it reaches the host that the log names, at its port.",
        )],
        ..PASSES
    },
    Entry {
        code: "proxy-protocol",
        title: "the proxy does not speak what it was taken for",
        what: "What answers under the proxy's address is no HTTP proxy (http://), or no SOCKS5 proxy (socks5://).",
        remedy: &[Step::Do("Check kind, host and port of the proxy under [upstream].")],
        ..MEND
    },
    Entry {
        code: "proxy-silent",
        title: "the proxy did not answer in time",
        what: "The proxy did not take the connection or gave no answer. Many proxies keep silent while they wait for a host that a firewall keeps \
               them from.",
        remedy: IS_IT_THERE,
        ..PASSES
    },
    Entry {
        code: "proxy-unreachable",
        title: "the proxy cannot be reached",
        what: "The proxy's name was not found, or it took no connection. Nothing goes around it.",
        remedy: IS_IT_THERE,
        ..PASSES
    },
    Entry {
        code: "proxy-unusable",
        title: "the address of the proxy cannot be read",
        what: "The file, variable or credential that [upstream] names does not hold the address of a proxy, or cannot be read by this process. \
               Postern does not start, since without the proxy it would go another way than the one that was set.",
        remedy: &[
            Step::Do(
                "Put the proxy's address there, such as http://USER:PASSWORD@HOST:PORT, readable for the account that runs `serve`.",
            ),
            Step::Do("Let this look at it:"),
            Step::Run("postern check"),
        ],
        told: Told::NOTHING,
        ..MEND
    },
];
