//! Failures of commands, and of `serve` when it starts: store, keys, certificates, ports, mailboxes, app passwords.

use crate::base::Whose;
use crate::base::catalogue::own::MEND;
use crate::base::catalogue::remedy::CONNECT;
use crate::base::catalogue::{Entry, Retry, Step, Told};

/// Nobody but the administrator sees it.
const COMMAND: Entry = Entry { told: Told::NOTHING, ..MEND };

const DISK: &[Step] = &[
    Step::Do(
        "Look at the space on the disk of the data folder, and at who owns it; it belongs to the account that runs `serve`:",
    ),
    Step::Run("df -h /var/lib/postern && ls -la /var/lib/postern"),
];

const KEYS_FROM_BACKUP: &[Step] = &[
    Step::Do(
        "Put back the `keys` folder (or the key that [keys] names) that belongs to this store, from the backup; docs/OPERATING.md shows how.",
    ),
    Step::Note("Without it no app password and no sign-in in the store can be used. Nothing was changed."),
];

const LIST_TENANTS: &[Step] =
    &[Step::Do("Name one of the configuration's tenants:"), Step::Run("postern mailbox add {mailbox} --tenant NAME")];

/// The failures.
pub(in crate::base::catalogue) static ADMINISTRATION: &[Entry] = &[
    Entry {
        code: "store-cannot-be-opened",
        title: "the store cannot be opened",
        what: "The database in the data folder cannot be made, read or written.",
        remedy: DISK,
        ..COMMAND
    },
    Entry {
        code: "store-failed",
        title: "the store does not answer as it should",
        what: "Reading or writing the database failed while Postern was running.",
        remedy: DISK,
        told: Told::TRY_LATER,
        retry: Retry::BackOff { seconds: 5 },
        ..MEND
    },
    Entry {
        code: "audit-broken",
        title: "the audit trail was changed past Postern",
        what: "The end of this instance's chain is not the one that Postern noted: somebody has written to the store, or has put an older one \
               back beside a running process. Entries are still added; the chain is never called intact again.",
        remedy: &[
            Step::Do("See at which entry it shows, and keep what there is:"),
            Step::Run("postern audit verify; postern audit export > audit.jsonl"),
            Step::Do(
                "Find out who can write to the data folder. Compare with what was exported before, and with the log.",
            ),
            Step::Do(
                "When that is settled, begin a new chain: stop Postern, move the file `instance` out of the data folder, and start it again.",
            ),
        ],
        ..COMMAND
    },
    Entry {
        code: "store-too-new",
        title: "the store was made by a newer version",
        what: "A newer version of Postern has changed the store, and this one would misread it. Nothing was changed.",
        remedy: &[Step::Do("Install that newer version again, or restore the store from before the update.")],
        ..COMMAND
    },
    Entry {
        code: "store-value-unreadable",
        title: "the store holds something that cannot be",
        what: "A value in the database is not what Postern writes there: it was changed from outside, or the disk has damaged it.",
        remedy: &[Step::Do("Restore the store from a backup, or remove what that row describes.")],
        ..COMMAND
    },
    Entry {
        code: "data-dir-unusable",
        title: "the data folder cannot be used",
        what: "The data folder, or a file in it, cannot be made or written.",
        remedy: DISK,
        ..COMMAND
    },
    Entry {
        code: "already-served",
        title: "another `serve` has this data folder",
        what: "Only one process may serve a data folder; the message names the other.",
        remedy: &[
            Step::Do("See what runs, and stop it or use it:"),
            Step::Run("postern status"),
            Step::Do("Or give this one a `data_dir` of its own."),
        ],
        ..COMMAND
    },
    Entry {
        code: "cannot-listen",
        title: "a port cannot be opened",
        what: "Another program has it, it is below 1024 and the account may not open it, or this machine does not have the address.",
        remedy: &[
            Step::Do("Find what has the port:"),
            Step::Run("ss -ltnp"),
            Step::Do(
                "Stop that, or choose another port in the configuration. docs/OPERATING.md shows three ways to ports below 1024.",
            ),
        ],
        ..COMMAND
    },
    Entry {
        code: "key-missing",
        title: "the master key is missing",
        what: "The store holds what was made with a master key, and that key is not there.",
        remedy: KEYS_FROM_BACKUP,
        ..COMMAND
    },
    Entry {
        code: "key-wrong",
        title: "the master key is another one",
        what: "The master key does not open what is in the store: one of the two is from another installation or another time.",
        remedy: KEYS_FROM_BACKUP,
        told: Told::MUST_ACT,
        ..MEND
    },
    Entry {
        code: "key-unreadable",
        title: "the master key cannot be read",
        what: "The file, variable or systemd credential that [keys] names is missing, not readable, or not 32 octets in base64.",
        remedy: &[
            Step::Do("Look at [keys] in the configuration and at who may read the key."),
            Step::Do("With a systemd credential, run the command with the running service's own:"),
            Step::Run("sudo CREDENTIALS_DIRECTORY=/run/credentials/postern.service postern password list"),
        ],
        ..COMMAND
    },
    Entry {
        code: "keys-busy",
        title: "another process has been changing the keys for a long time",
        what: "A change of the master key is under way in another process and does not end.",
        remedy: &[
            Step::Do("Look for a `postern key rotate` that hangs, and end it; nothing is lost by that."),
            Step::Run("postern key status"),
        ],
        ..COMMAND
    },
    Entry {
        code: "new-key-needed",
        title: "the new master key has to be made by you",
        what: "The present master key comes from a place where Postern cannot put a new one: a file, variable, credential or command of yours.",
        remedy: &[
            Step::Do("Make the new key and change to it; the command tells what to do next:"),
            Step::Run("(umask 077; openssl rand -base64 32 > new.key)"),
            Step::Run("postern key rotate --new-key-file new.key"),
        ],
        ..COMMAND
    },
    Entry {
        code: "new-key-is-the-old-one",
        title: "the new master key is the present one",
        what: "The key that was given is the one in use.",
        remedy: &[Step::Do("Give another one:"), Step::Run("(umask 077; openssl rand -base64 32 > new.key)")],
        ..COMMAND
    },
    Entry {
        code: "sealed-by-another-key",
        title: "something was sealed by a key that is not known here",
        what: "One sealed value, such as a sign-in, was sealed by another master key than the one that is here, while others open.",
        remedy: &[
            Step::Do("See which key opens what:"),
            Step::Run("postern key status"),
            Step::Do("Put that key back from a backup; if it is lost, sign the mailbox in again:"),
            CONNECT,
        ],
        told: Told::MUST_ACT,
        ..MEND
    },
    Entry {
        code: "sealed-value-damaged",
        title: "something sealed is damaged",
        what: "The octets of a sealed value are not those that were written: the disk or somebody has changed them. The message says which.",
        remedy: &[Step::Do("Restore it from a backup. If it was a sign-in, it can be had anew:"), CONNECT],
        told: Told::MUST_ACT,
        ..MEND
    },
    Entry {
        code: "key-cannot-be-written",
        title: "the keys cannot be written",
        what: "The `keys` folder in the data folder, or a file in it, cannot be made.",
        remedy: DISK,
        ..COMMAND
    },
    Entry {
        code: "no-randomness",
        title: "the system has no randomness to give",
        what: "The system's random number generator failed. No key and no app password is made without it.",
        remedy: &[Step::Do(
            "Look at the system's random number generator (`/dev/urandom`), above all in containers and after a fresh boot.",
        )],
        ..COMMAND
    },
    Entry {
        code: "trust-anchors-unusable",
        title: "the trusted CAs cannot be used",
        what: "`ca_file` under [tenant.endpoints] cannot be read or holds no certificate, or the system has no CA certificates.",
        remedy: &[
            Step::Do("Check that `ca_file` is a PEM file that the account running Postern can read."),
            Step::Do("On a system without CA certificates, install their package (ca-certificates)."),
        ],
        ..COMMAND
    },
    Entry {
        code: "ca-expired",
        title: "the CA that Postern made has expired",
        what: "The CA lives ten years, and those are over. It is not replaced by itself, since every client would have to trust the new one.",
        remedy: NEW_CA,
        ..COMMAND
    },
    Entry {
        code: "ca-key-missing",
        title: "the key of the CA is missing",
        what: "The CA's certificate is there and its key is not, and a new server certificate is due.",
        remedy: NEW_CA,
        ..COMMAND
    },
    Entry {
        code: "certificate-damaged",
        title: "a certificate or key file is damaged",
        what: "The file that the message names is not what it should be.",
        remedy: &[Step::Do(
            "Put it back from a backup, or make it anew. `server.pem` and `server.key` may simply be removed.",
        )],
        ..COMMAND
    },
    Entry {
        code: "certificate-file",
        title: "a certificate or key file cannot be read or written",
        what: "The account that runs Postern has no access to the file that the message names.",
        remedy: &[
            Step::Do("Look at the owner and mode of the file and of every folder above it, as that account:"),
            Step::Run("sudo -u postern postern check"),
        ],
        ..COMMAND
    },
    Entry {
        code: "certificate-key-mismatch",
        title: "the key belongs to another certificate",
        what: "`key_file` under [tls] is not the key of the certificate in `certificate_file`.",
        remedy: &[Step::Do("Name the key that the certificate was made for; after a renewal both files change.")],
        ..COMMAND
    },
    Entry {
        code: "certificate-key-unusable",
        title: "the key of the certificate cannot be used for TLS",
        what: "The key is of a kind that TLS does not know here.",
        remedy: &[Step::Do("Use an ECDSA (P-256) or RSA key in PEM.")],
        ..COMMAND
    },
    Entry {
        code: "certificate-not-made",
        title: "no certificate can be made",
        what: "Postern could not make its certificate with the names that it was given.",
        remedy: &[Step::Do("Correct `names` under [tls]: host names or IP addresses.")],
        ..COMMAND
    },
    Entry {
        code: "proxy-unusable",
        title: "the proxy's address cannot be used",
        what: "The file or variable that holds the proxy's address under [upstream] cannot be read, or holds no such address. Without the proxy \
               nothing is connected to.",
        remedy: &[
            Step::Do(
                "Put the address there, such as http://USER:PASSWORD@HOST:PORT, where the service's account can read it:",
            ),
            Step::Run("sudo -u postern postern check"),
        ],
        ..COMMAND
    },
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
        title: "there is no app password with this ID",
        what: "A command named an app password that the store does not have.",
        remedy: &[Step::Do("See the IDs:"), Step::Run("postern password list")],
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

const NEW_CA: &[Step] = &[
    Step::Do("Put the file back from a backup, if it is missing."),
    Step::Do(
        "Or make a new CA: stop `serve`, remove the folder `certificates` in the data folder, and start it again.",
    ),
    Step::Do("Then let every client trust the new one:"),
    Step::Run("postern certificate"),
];
