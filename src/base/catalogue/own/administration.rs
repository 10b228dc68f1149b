//! Failures of commands, and of `serve` when it starts: mailboxes, app passwords, the queue, the set-up.

use crate::base::Whose;
use crate::base::catalogue::own::MEND;
use crate::base::catalogue::remedy::CONNECT;
use crate::base::catalogue::{Entry, Retry, Step, Told};

/// Nobody but the administrator sees it.
const COMMAND: Entry = Entry { told: Told::NOTHING, ..MEND };

const LIST_TENANTS: &[Step] =
    &[Step::Do("Name one of the configuration's tenants:"), Step::Run("postern mailbox add {mailbox} --tenant NAME")];

/// The failures.
pub(in crate::base::catalogue) static ADMINISTRATION: &[Entry] = &[
    Entry {
        code: "no-store",
        title: "there is no store in the data folder",
        what: "Neither `serve` nor `mailbox add` has run with this data folder, or the command looks at another one.",
        remedy: &[
            Step::Do(
                "Check that the command reads the configuration that `serve` reads (`--config`, or the variable POSTERN_CONFIG).",
            ),
            Step::Do("If nothing has run yet, begin with:"),
            Step::Run("postern mailbox add {mailbox}"),
        ],
        ..COMMAND
    },
    Entry {
        code: "no-sign-in-address",
        title: "the tenant has no address for this way of signing in",
        what: "The configuration names no `authorize_url` (browser) or `device_url` (code on another device); with `cloud = \"custom\"` they \
               have to be named.",
        remedy: &[Step::Do(
            "Name the address under [tenant.endpoints], or sign in the other way (`--device-code`, `--no-browser`).",
        )],
        ..COMMAND
    },
    Entry {
        code: "sign-in-not-finished",
        title: "the sign-in came to nothing",
        what: "It was broken off, took longer than it may, or what was pasted did not belong to it.",
        whose: Whose::User,
        remedy: &[
            Step::Do("Begin again:"),
            CONNECT,
            Step::Note("With `--no-browser` or `--device-code` the browser may be on another machine."),
        ],
        ..COMMAND
    },
    Entry {
        code: "signed-in-as-another",
        title: "another account has signed in than was expected",
        what: "The browser remembered another account, or the mailbox is opened by another account than its own. Nothing was kept.",
        whose: Whose::User,
        remedy: &[
            Step::Do("Sign in as the right account, in a private window, where no other account is remembered:"),
            CONNECT,
            Step::Do("If the other account is the one that opens the mailbox, say so and sign in again:"),
            Step::Run("postern mailbox add {mailbox} --sign-in-as ACCOUNT"),
            CONNECT,
        ],
        ..COMMAND
    },
    Entry {
        code: "no-tenant",
        title: "the configuration has no tenant yet",
        what: "A mailbox belongs to a tenant, and there is none.",
        remedy: &[
            Step::Do("Add one; it is asked for step by step:"),
            Step::Run("postern setup"),
            Step::Note("By hand: config/minimal.toml shows one, README how to get its values."),
        ],
        ..COMMAND
    },
    Entry {
        code: "tenant-ambiguous",
        title: "there are several tenants, and none was named",
        what: "With more than one tenant the command has to say which.",
        remedy: LIST_TENANTS,
        ..COMMAND
    },
    Entry {
        code: "mailbox-not-listed",
        title: "the mailbox is not on the list",
        what: "Nothing is reachable but the mailboxes on the list, and this one is not on it.",
        remedy: &[Step::Do("Add it:"), Step::Run("postern mailbox add {mailbox}")],
        ..COMMAND
    },
    Entry {
        code: "mailbox-of-another-tenant",
        title: "the mailbox is on the list for another tenant",
        what: "A mailbox belongs to one tenant.",
        remedy: &[
            Step::Do(
                "Take it off first, then add it for the other; that revokes its app passwords and destroys its sign-in:",
            ),
            Step::Run("postern mailbox remove {mailbox}"),
            Step::Run("postern mailbox add {mailbox} --tenant NAME"),
        ],
        ..COMMAND
    },
    Entry {
        code: "no-sign-in",
        title: "no sign-in exists for this mailbox, and none is needed",
        what: "In its tenant the application itself signs in (client_credentials).",
        remedy: &[Step::Note("Nothing has to be done: the mailbox can be used as it is.")],
        retry: Retry::Never,
        ..COMMAND
    },
    Entry {
        code: "login-taken",
        title: "the login name is taken",
        what: "An alias is unique over all mailboxes, and another one has this.",
        remedy: &[Step::Do("Choose another alias; `postern mailbox list` shows who has it.")],
        ..COMMAND
    },
    Entry {
        code: "alias-unfit",
        title: "this cannot be a login name",
        what: "A login name has 1 to 254 octets, and no space and no control character.",
        remedy: &[Step::Do("Use a name without spaces and control characters.")],
        ..COMMAND
    },
    Entry {
        code: "alias-unknown",
        title: "the mailbox has no such alias",
        what: "A command named an alias that the mailbox does not have.",
        remedy: &[Step::Do("See the aliases:"), Step::Run("postern mailbox show {mailbox}")],
        ..COMMAND
    },
    Entry {
        code: "label-unfit",
        title: "this cannot be a label",
        what: "A label has some characters, not more than 200, and no control characters.",
        remedy: &[Step::Do("Say in a few words which program or device uses it.")],
        ..COMMAND
    },
    Entry {
        code: "instance-unusable",
        title: "the name of this data folder cannot be read or made",
        what: "The file `instance` in `data_dir` holds the name that this installation has in the audit trail; it is made on first run.",
        remedy: &[
            Step::Do("Look at the owner and mode of the data folder and of that file."),
            Step::Do(
                "Where its content is lost, remove it: another name is made, and with it a new chain of the audit trail begins.",
            ),
        ],
        ..COMMAND
    },
    Entry {
        code: "end-before-start",
        title: "an app password would end before it begins",
        what: "`--expires` names a moment that is not after the one of `--not-before`.",
        remedy: &[Step::Do("Give a later end, or an earlier beginning.")],
        ..COMMAND
    },
    Entry {
        code: "read-only-sender",
        title: "an app password for reading only is to send",
        what: "`--read-only` is for IMAP and POP3; whoever sends by SMTP changes at least the folder of sent messages.",
        remedy: &[Step::Do("Leave `--protocol smtp` out, or issue one app password for sending and one for reading.")],
        ..COMMAND
    },
    Entry {
        code: "end-in-the-past",
        title: "the end has already passed",
        what: "An app password was to be issued with an end that lies in the past.",
        remedy: &[Step::Do("Give a later date, or a span such as 90d.")],
        ..COMMAND
    },
    Entry {
        code: "password-over",
        title: "an app password that has ended cannot be rotated",
        what: "Rotation keeps an app password working beside its successor, and this one is revoked or has ended.",
        remedy: &[Step::Do("Issue a new one:"), Step::Run("postern password issue {mailbox} --label TEXT")],
        ..COMMAND
    },
    Entry {
        code: "password-replaced",
        title: "the app password is being rotated already",
        what: "Another app password was issued in its place and is in force. Two successors of one would leave one of them unnoticed.",
        remedy: &[
            Step::Do("See which one it is, and rotate that one; or revoke it first, if nobody has it:"),
            Step::Run("postern password list"),
        ],
        ..COMMAND
    },
    Entry {
        code: "password-unknown",
        title: "there is no such app password",
        what: "A command named an ID that the store does not have, or an owner, a label, a mailbox or a tenant of which no app password is in \
               force.",
        remedy: &[Step::Do("See what there is:"), Step::Run("postern password list")],
        ..COMMAND
    },
    Entry {
        code: "held-by-administrator",
        title: "the administrator holds the message",
        what: "It was held by `postern queue hold`, together with what else was submitted with an app password when that was revoked \
               (`--hold-mail`), or when its mailbox was taken off the list. It does not age.",
        remedy: &[
            Step::Do("Look at it, and let it go or drop it:"),
            Step::Run("postern queue show ID"),
            Step::Run("postern queue release ID"),
            Step::Run("postern queue drop ID"),
        ],
        ..COMMAND
    },
    Entry {
        code: "secret-unfit",
        title: "the secret cannot be an app password",
        what: "It is empty, longer than 256 octets, or has a control character or more than one line: no login can carry it.",
        remedy: &[Step::Do("Give it as it is entered in the device: one line, and nothing else.")],
        ..COMMAND
    },
    Entry {
        code: "secret-weak",
        title: "the secret of a device is too easily guessed",
        what: "`postern password adopt` measures what somebody chose against how people choose, the names of the mailbox, the device and its owner. \
               Below ten thousand million guesses it is refused: strangers may try some 1,500 a day.",
        remedy: &[
            Step::Do("Let Postern make one, and enter that in the device:"),
            Step::Run("postern password issue {mailbox} --label TEXT"),
            Step::Do("If nobody can get at the device, bind the weak one to where it stands:"),
            Step::Run("postern password adopt {mailbox} --label TEXT --force-weak --network CIDR"),
        ],
        ..COMMAND
    },
    Entry {
        code: "secret-known",
        title: "the secret is an app password already",
        what: "It was adopted for this mailbox before, or it is one that Postern has made.",
        remedy: &[Step::Do("See what it is good for:"), Step::Run("postern password list")],
        ..COMMAND
    },
    Entry {
        code: "too-many-adopted",
        title: "the mailbox has as many secrets of devices as it may",
        what: "Each of them is worked out at a login that is none of Postern's own, so there are eight at most.",
        remedy: &[
            Step::Do("Revoke those of devices that are gone:"),
            Step::Run("postern password list --mailbox {mailbox}"),
            Step::Do("Or give several devices the same secret, or issue app passwords for them."),
        ],
        ..COMMAND
    },
    Entry {
        code: "nothing-to-explain",
        title: "nothing in this text is known",
        what: "`postern explain` found no AADSTS number, reply or text that the catalogue has.",
        remedy: &[
            Step::Do("Paste more of it: the whole line of the log, or the whole error mail:"),
            Step::Run("postern explain -"),
            Step::Note(
                "AADSTS numbers are explained by Microsoft as well: https://login.microsoftonline.com/error?code=NUMBER.",
            ),
        ],
        ..COMMAND
    },
    Entry {
        code: "reference-unknown",
        title: "the reference is not in the store that this command reads",
        what: "The store keeps what stood behind the newest references. This one is older, or belongs to another installation; the log of \
               `serve` may still have it.",
        remedy: &[
            Step::Do("Find the line. Under systemd:"),
            Step::Run("journalctl -u postern | grep REFERENCE"),
            Step::Do("Give that line to:"),
            Step::Run("postern explain -"),
        ],
        ..COMMAND
    },
    Entry {
        code: "spool-failed",
        title: "a message cannot be written to the spool, or read from it",
        what: "The folder `spool` in the data folder holds the messages that wait. A file in it could not be written, read or removed. A \
               message that could not be written was not acknowledged.",
        remedy: &[
            Step::Do("Look at the space and the health of that disk, and at the owner of the folder:"),
            Step::Run("df -h /var/lib/postern"),
        ],
        ..COMMAND
    },
    Entry {
        code: "spool-full",
        title: "there is no room to keep messages",
        what: "The disk that holds the data folder, or the quota `spool_bytes`, is more than 80 percent full. Messages that Exchange takes at \
               once go through all the while; what would have to be kept is refused for now.",
        remedy: &[
            Step::Do("See what waits, and why:"),
            Step::Run("postern queue list"),
            Step::Do("Make room on that disk, or raise `spool_bytes` under [delivery]."),
        ],
        ..COMMAND
    },
    Entry {
        code: "spool-left-over",
        title: "there are messages in the spool that the queue does not know",
        what: "At its start Postern found whole messages of which the store has no row any more. That happens where the store was restored from \
               a backup, emptied or replaced while mail was waiting. They were acknowledged, and are not delivered: their files lie in \
               `spool/left-over` in the data folder. From whom and for whom they were stood in the store.",
        remedy: &[
            Step::Do("See from whom and for whom they are, in the first lines of each file in that folder."),
            Step::Do(
                "Hand in again what has not arrived, with any mail program that sends files; then remove the files.",
            ),
        ],
        ..COMMAND
    },
    Entry {
        code: "report-not-made",
        title: "no report can be made about a message that was not delivered",
        what: "A message could not be delivered, and neither can the mail be built that tells its sender so. The message stays in the queue.",
        remedy: &[
            Step::Do("Look at the message, tell its sender, and drop it:"),
            Step::Run("postern queue show ID"),
            Step::Run("postern queue drop ID"),
        ],
        ..COMMAND
    },
    Entry {
        code: "report-undeliverable",
        title: "a delivery report cannot be delivered to the mailbox itself",
        what: "A message could not be delivered, and Exchange refuses the report about it as well. Nobody is told of a report, so it is held \
               where you see it.",
        remedy: &[
            Step::Do("Read why in the queue, and mend the cause:"),
            Step::Run("postern queue show ID"),
            Step::Do("Then let it go, or drop it and tell the sender:"),
            Step::Run("postern queue release ID"),
        ],
        ..COMMAND
    },
    Entry {
        code: "queue-unreadable",
        title: "the store does not say whom a message of the queue is for",
        what: "The row of a message that waits cannot be read: the store was damaged or changed by hand.",
        remedy: &[
            Step::Do("Restore the store from a backup, or drop the message:"),
            Step::Run("postern queue drop ID"),
        ],
        ..COMMAND
    },
    Entry {
        code: "queue-message-held",
        title: "the message is held",
        what: "A message that the administrator holds is not tried until it is released.",
        remedy: &[Step::Do("Let it go:"), Step::Run("postern queue release ID")],
        ..COMMAND
    },
    Entry {
        code: "queue-message-unknown",
        title: "no message waits under this ID",
        what: "A message that is delivered, returned to its sender or dropped is in the queue no more.",
        remedy: &[Step::Do("See what waits:"), Step::Run("postern queue list")],
        ..COMMAND
    },
    Entry {
        code: "application-certificate-not-made",
        title: "no certificate can be made for the application",
        what: "`postern setup` could not make a key and a certificate.",
        remedy: &[Step::Do("Look at the system's random number generator.")],
        ..COMMAND
    },
    Entry {
        code: "application-certificate-in-the-way",
        title: "files of the application's certificate are there and cannot be used",
        what: "`postern setup` found NAME.pem beside the configuration, from an earlier try or put there by somebody: it is near its end, or \
               its key is another one.",
        remedy: &[
            Step::Do("Move NAME.pem and NAME.key away and run it again, which makes new ones:"),
            Step::Run("postern setup"),
            Step::Note("A certificate that is uploaded already is no use without the key that belongs to it."),
        ],
        ..COMMAND
    },
    Entry {
        code: "setup-file",
        title: "a file of the first installation cannot be read or written",
        what: "`postern setup` could not write the configuration, a key, or the folder of them, or somebody else has changed the configuration \
               meanwhile. What was there is as it was.",
        remedy: &[
            Step::Do("Run it as a user that may write there, or name another place:"),
            Step::Run("postern setup --config FILE"),
        ],
        ..COMMAND
    },
    Entry {
        code: "tenant-not-appendable",
        title: "a tenant cannot be put at the end of the configuration",
        what: "`postern setup` changes nothing in a configuration but adds a [[tenant]] at its end, and in this one that would mean something \
               else, for instance because its tenants are written as a list in brackets.",
        remedy: &[Step::Do("Put the [[tenant]] into the file by hand; config/postern.toml shows every setting.")],
        ..COMMAND
    },
    Entry {
        code: "path-not-text",
        title: "a path cannot stand in the configuration",
        what: "The configuration is UTF-8, and the path is not.",
        remedy: &[Step::Do("Use a path of plain letters.")],
        ..COMMAND
    },
];
