//! Failures of what Postern stands on: its store, its keys, its certificates, its ports.

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

/// The failures.
pub(in crate::base::catalogue) static MACHINE: &[Entry] = &[
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
        code: "address-banned",
        title: "an address has guessed too much and is turned away",
        what: "A hundred different passwords came from it within an hour and no right one. Its connections are answered \
               `421 4.7.0 Too many failed logins` (IMAP and POP3 likewise) for 15 minutes, four times as long the next time, up to a day. \
               A program that tries one old password again and again is no reason, nor is this machine, nor an address from where an app \
               password was used.",
        remedy: &[
            Step::Do("If strangers can reach Postern who need not, let a firewall keep them out. See who is banned:"),
            Step::Run("postern ban list"),
            Step::Do("If it was somebody of yours:"),
            Step::Run("postern ban lift ADDRESS"),
        ],
        ..COMMAND
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
                "When that is done, stop Postern, settle it, and start Postern again; a new chain begins, and the old one is named and no longer called broken:",
            ),
            Step::Run("postern audit settle --reason TEXT"),
        ],
        ..COMMAND
    },
    Entry {
        code: "no-console",
        title: "there is no console",
        what: "The configuration that is served has no [console], so that there is nothing to sign in to. What it would show, the lists and \
               `postern status` show as well.",
        remedy: &[
            Step::Do(
                "Put `[console]` with `address = \"127.0.0.1:8587\"` into the configuration, and start Postern anew.",
            ),
            Step::Run("sudo systemctl restart postern"),
        ],
        ..COMMAND
    },
    Entry {
        code: "not-running",
        title: "nobody serves this data folder",
        what: "What was to be done needs Postern running, and no process serves the data folder of this configuration.",
        remedy: &[Step::Do("Start it:"), Step::Run("postern serve")],
        ..COMMAND
    },
    Entry {
        code: "still-serving",
        title: "that can only be done while Postern is stopped",
        what: "A process serves this data folder, and would go on with what is to end.",
        remedy: &[
            Step::Do("Stop it, do this, and start it again:"),
            Step::Run("sudo systemctl stop postern"),
            Step::Run("sudo systemctl start postern"),
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
];

const NEW_CA: &[Step] = &[
    Step::Do("Put the file back from a backup, if it is missing."),
    Step::Do(
        "Or make a new CA: stop `serve`, remove the folder `certificates` in the data folder, and start it again.",
    ),
    Step::Do("Then let every client trust the new one:"),
    Step::Run("postern certificate"),
];
