"""Thunderbird against the proxy in front of the simulated tenant: IMAP with implicit TLS (Alice) and after STARTTLS (Bob),
POP3 (the shared mailbox), and sending. What it did is looked at from outside, by imaplib."""

import base64
import contextlib
import email
import imaplib
import os
import smtplib
import time

from checks import ALICE, BOB, PATIENCE_SECONDS, SHARED, WORLD, check, password, port, run, trust
from marionette import thunderbird

imaplib._MAXLINE = 10_000_000

PREFERENCES = {
    "mail.accountmanager.accounts": "account1,account2,account3,account4",
    "mail.accountmanager.defaultaccount": "account1",
    "mail.accountmanager.localfoldersserver": "server4",
    "mail.account.account4.server": "server4",
    "mail.server.server4.type": "none",
    "mail.server.server4.hostname": "Local Folders",
    "mail.server.server4.userName": "nobody",
    "mail.smtpservers": "smtp1,smtp2,smtp3",
    "mail.biff.show_alert": False,
    # It looks after nothing by itself: a message that arrives while it fetches others is not seen before it looks again.
    "mail.server.default.autosync_offline_stores": False,
    "mail.server.default.offline_download": False,
    "mail.warn_on_send_accel_key": False,
}

SETTLED = """
    const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
    globalThis.MailServices = MailServices;
    const authorities = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB);
    authorities.addCertFromBase64(given[0], "C,,");
    for (const [place, user, secret] of given[1]) {
        const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
        login.init(place, null, place, user, secret, "", "");
        await Services.logins.addLoginAsync(login);
    }

    const { setTimeout } = ChromeUtils.importESModule("resource://gre/modules/Timer.sys.mjs");
    // Asks until the answer is true.
    globalThis.until = async question => {
        let answer;
        while (!(answer = await question())) {
            await new Promise(resolve => setTimeout(resolve, 20));
        }
        return answer;
    };
    // What a listener of this kind is told when what `start` begins has ended; its other methods do nothing.
    const finished = (kind, stop, start) => new Promise(resolve => {
        const methods = { QueryInterface: ChromeUtils.generateQI([kind]), [stop]: (...told) => resolve(told) };
        start(new Proxy(methods, { get: (target, name) => target[name] ?? (() => {}) }));
    });
    // The status with which what `start` begins has ended.
    globalThis.url_ended = async start => (await finished("nsIUrlListener", "OnStopRunningUrl", start))[1];
    globalThis.copy_ended = async start => (await finished("nsIMsgCopyServiceListener", "onStopCopy", start))[0];
    globalThis.server = (user, kind = "imap") => MailServices.accounts.findServer(user, "localhost", kind);
    globalThis.folder = (user, name) => server(user).rootFolder.getChildNamed(name);
    globalThis.refreshed = async (user, name) => {
        const opened = folder(user, name);
        opened.QueryInterface(Ci.nsIMsgImapMailFolder);
        const status = await url_ended(l => opened.updateFolderWithListener(null, l));
        if (status) throw new Error(`${name} was not opened: ${status}`);
        return opened;
    };
    globalThis.message = (opened, subject) =>
        [...opened.messages].find(header => header.mime2DecodedSubject == subject);
"""


def accounts():
    """An account for each mailbox: kind, port, TLS (2: STARTTLS, 3: from the first octet)."""
    preferences = dict(PREFERENCES)
    for number, (user, kind, at, tls) in enumerate(
        [(ALICE, "imap", "IMAPS", 3), (BOB, "imap", "IMAP", 2), (SHARED, "pop3", "POP3S", 3)], start=1
    ):
        of_server = {
            "type": kind, "name": user, "hostname": "localhost", "port": port(at), "socketType": tls, "authMethod": 3,
            "userName": user, "login_at_startup": False, "check_new_mail": False, "leave_on_server": True,
        }  # fmt: skip
        of_smtp = {
            "hostname": "localhost", "port": port("SMTP"), "try_ssl": 2, "authMethod": 3, "username": user,
        }  # fmt: skip
        of_identity = {
            "fullName": user.partition("@")[0].title(), "useremail": user, "smtpServer": f"smtp{number}", "valid": True,
            "fcc": user == ALICE, "fcc_folder": f"imap://{ALICE.replace('@', '%40')}@localhost/Sent Items",
            "draft_folder": f"imap://{ALICE.replace('@', '%40')}@localhost/Drafts",
            "compose_html": False,
        }  # fmt: skip
        for group, values in [
            (f"mail.server.server{number}", of_server),
            (f"mail.smtpserver.smtp{number}", of_smtp),
            (f"mail.identity.id{number}", of_identity),
        ]:
            preferences |= {f"{group}.{name}": value for name, value in values.items()}
        preferences[f"mail.account.account{number}.server"] = f"server{number}"
        preferences[f"mail.account.account{number}.identities"] = f"id{number}"
    return preferences


def settle():
    """What a person does once: trusts the CA, and lets it remember the app passwords."""
    with open(os.environ["CA"], encoding="ascii") as file:
        authority = "".join(line.strip() for line in file if not line.startswith("-----"))
    secrets = {ALICE: password("ALICE"), BOB: password("BOB"), SHARED: password("SHARED")}
    logins = [
        [f"{scheme}://localhost", user, secret]
        for user, secret in secrets.items()
        for scheme in (["mailbox", "smtp"] if user == SHARED else ["imap", "smtp"])
    ]
    program.does(SETTLED, authority, logins)


@contextlib.contextmanager
def imap(user, name):
    with imaplib.IMAP4_SSL("localhost", port("IMAPS"), ssl_context=trust()) as client:
        client.login(user, password(name))
        yield client


def subjects(client, folder):
    """What is in a folder: subject and flags."""
    assert client.select(f'"{folder}"', readonly=True)[0] == "OK"
    found = {}
    for number in client.search(None, "ALL")[1][0].split():
        answer = client.fetch(number, "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
        header = email.message_from_bytes(answer[0][1])
        found.setdefault(header["Subject"], []).append(imaplib.ParseFlags(answer[0][0]))
    return found


def until(question):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not question():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def deliver(to, subject, body=b"text\r\n", more=b""):
    """Bob sends a message; its octets."""
    head = f"From: Bob <{BOB}>\r\nTo: <{to}>\r\nSubject: {subject}\r\nMessage-ID: <{subject.replace(' ', '.')}@e2e>\r\n"
    octets = head.encode() + more + b"\r\n" + body
    with smtplib.SMTP("localhost", port("SMTP")) as client:
        client.starttls(context=trust())
        client.login(BOB, password("BOB"))
        client.sendmail(BOB, [to], octets)
    return octets


@check
def both_imap_accounts_list_the_folders_and_no_folder_is_made():
    for user in (ALICE, BOB):
        names, trash = program.does(
            """
            const root = server(given[0]).rootFolder;
            const status = await url_ended(l => MailServices.imap.discoverAllFolders(root, l, null));
            if (status) throw new Error(`the folders were not listed: ${status}`);
            await until(() => root.subFolders.length >= 6);
            return [root.subFolders.map(found => found.name), root.getFolderWithFlags(Ci.nsMsgFolderFlags.Trash)?.name];
            """,
            user,
        )
        expected = ["Archive", "Deleted Items", "Drafts", "INBOX", "Junk Email", "Sent Items"]
        assert sorted(names, key=str.lower) == expected, f"{user}: {names}"
        assert trash == "Deleted Items", trash


@check
def a_message_with_an_attachment_is_read_octet_for_octet():
    attachment = base64.encodebytes(os.urandom(300_000)).replace(b"\n", b"\r\n")
    body = b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    body += base64.encodebytes("The code word is Zanzibar. Grüße".encode()).replace(b"\n", b"\r\n")
    body += b"--b\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    body += attachment + b"--b--\r\n"
    more = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n'
    octets = deliver(ALICE, "with a report", body, more)
    read = program.does(
        """
        const inbox = await refreshed(given[0], "INBOX");
        const header = await until(() => message(inbox, "with a report"));
        const uri = inbox.getUriForMsg(header);
        const pieces = [];
        await new Promise((resolve, reject) => {
            const listener = {
                QueryInterface: ChromeUtils.generateQI(["nsIStreamListener"]),
                onStartRequest() {},
                onStopRequest: (request, status) => (status ? reject(new Error(`not read: ${status}`)) : resolve()),
                onDataAvailable(request, stream, offset, count) {
                    const reader = Cc["@mozilla.org/binaryinputstream;1"].createInstance(Ci.nsIBinaryInputStream);
                    reader.setInputStream(stream);
                    pieces.push(reader.readBytes(count));
                },
            };
            MailServices.messageServiceFromURI(uri).streamMessage(uri, listener, null, null, false, "");
        });
        return btoa(pieces.join(""));
        """,
        ALICE,
    )
    read = base64.b64decode(read)
    assert read.endswith(octets), f"{len(read)} octets for {len(octets)}"


@check
def the_server_is_searched_for_a_word_in_an_encoded_body():
    for word, expected in [("zanzibar", ["with a report"]), ("samarkand", [])]:
        found = program.does(
            """
            const session = Cc["@mozilla.org/messenger/searchSession;1"].createInstance(Ci.nsIMsgSearchSession);
            session.addScopeTerm(Ci.nsMsgSearchScope.onlineMail, folder(given[0], "INBOX"));
            const term = session.createTerm();
            const value = term.value;
            value.attrib = term.attrib = Ci.nsMsgSearchAttrib.Body;
            value.str = given[1];
            term.value = value;
            term.op = Ci.nsMsgSearchOp.Contains;
            session.appendTerm(term);
            const hits = [];
            const status = await new Promise(resolve => {
                session.registerListener({
                    QueryInterface: ChromeUtils.generateQI(["nsIMsgSearchNotify"]),
                    onSearchHit: header => hits.push(header.mime2DecodedSubject),
                    onSearchDone: resolve,
                    onNewSearch() {},
                });
                session.search(null);
            });
            if (status) throw new Error(`the search failed: ${status}`);
            return hits;
            """,
            ALICE,
            word,
        )
        assert found == expected, f"{word}: {found}"


@check
def messages_are_flagged_moved_and_deleted():
    for subject in ("to be moved", "to be deleted"):
        deliver(ALICE, subject)
    program.does(
        """
        const inbox = await refreshed(given[0], "INBOX");
        const [moved, deleted] = await until(() => {
            const found = ["to be moved", "to be deleted"].map(subject => message(inbox, subject));
            return found.every(header => header) && found;
        });
        inbox.markMessagesFlagged([message(inbox, "with a report")], true);
        const archive = folder(given[0], "Archive");
        const copied = await copy_ended(l => MailServices.copy.copyMessages(inbox, [moved], archive, true, l, null, false));
        const removed = await copy_ended(l => inbox.deleteMessages([deleted], null, false, false, l, false));
        if (copied || removed) throw new Error(`moved: ${copied}, deleted: ${removed}`);
        """,
        ALICE,
    )
    with imap(ALICE, "ALICE") as client:
        until(lambda: b"\\Flagged" in subjects(client, "INBOX")["with a report"][0])
        until(lambda: list(subjects(client, "Archive")) == ["to be moved"])
        until(lambda: list(subjects(client, "Deleted Items")) == ["to be deleted"])
        assert list(subjects(client, "INBOX")) == ["with a report"]


def compose(subject, mode):
    """A message from Alice to Bob that is sent (nsMsgDeliverNow) or kept (nsMsgSaveAsDraft), and what becomes of its copy."""
    program.does(
        """
        const fields = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields);
        const identity = MailServices.accounts.getIdentity("id1");
        fields.from = identity.email;
        fields.to = given[0];
        fields.subject = given[1];
        const send = Cc["@mozilla.org/messengercompose/send;1"].createInstance(Ci.nsIMsgSend);
        const [status, text] = await new Promise((resolve, reject) => {
            const listener = {
                QueryInterface: ChromeUtils.generateQI(["nsIMsgSendListener", "nsIMsgCopyServiceListener"]),
                onStartSending() {}, onProgress() {}, onStatus() {}, onGetDraftFolderURI() {},
                onSendNotPerformed: (id, why) => reject(new Error(`not sent: ${why}`)),
                onTransportSecurityError: (id, why) => reject(new Error(`TLS: ${why}`)),
                onStopSending: (id, why, text) => why && resolve([why, text]),
                onStartCopy() {}, setMessageKey() {}, getMessageId() {},
                onStopCopy: why => resolve([why, "the copy"]),
            };
            const text = "Written by a person.\\n.\\nA dot stands above.\\n";
            send.createAndSendMessage(null, identity, "account1", fields, false, false, Ci.nsIMsgSend[given[2]],
                null, "text/plain", text, null, null, listener, "", "", Ci.nsIMsgCompType.New);
        });
        if (status) throw new Error(`not sent: ${status} ${text}`);
        """,
        BOB,
        subject,
        mode,
    )


@check
def a_message_is_sent_and_there_is_one_copy_of_it():
    compose("Grüße from Thunderbird", "nsMsgDeliverNow")
    with imap(BOB, "BOB") as client:
        assert client.select("INBOX")[0] == "OK"
        found = email.message_from_bytes(client.fetch("1", "(BODY.PEEK[])")[1][0][1])
        assert str(email.header.make_header(email.header.decode_header(found["Subject"]))) == "Grüße from Thunderbird"
        assert b".\r\nA dot stands above." in found.get_payload(decode=True)
    with imap(ALICE, "ALICE") as client:
        # By the tenant itself; Thunderbird's was taken for it.
        assert [len(found) for found in subjects(client, "Sent Items").values()] == [1]
    compose("not sent yet", "nsMsgSaveAsDraft")
    with imap(ALICE, "ALICE") as client:
        assert list(subjects(client, "Drafts")) == ["not sent yet"]


@check
def a_message_that_arrives_is_pushed_without_asking():
    for user, name in ((ALICE, "ALICE"), (BOB, "BOB")):
        program.does('await refreshed(given[0], "INBOX");', user)
        deliver(user, f"pushed to {name}")
        program.does("await until(() => message(folder(given[0], 'INBOX'), given[1]));", user, f"pushed to {name}")


@check
def pop3_fetches_what_is_new_and_leaves_it_there():
    deliver(SHARED, "by POP3")
    for _ in range(2):
        found = program.does(
            """
            const incoming = server(given[0], "pop3");
            const inbox = incoming.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);
            const status = await url_ended(l => MailServices.pop3.GetNewMail(null, l, inbox, incoming));
            if (status) throw new Error(`nothing was fetched: ${status}`);
            return [...inbox.messages].map(header => header.mime2DecodedSubject);
            """,
            SHARED,
        )
        assert found == ["by POP3"], found
    with imap(SHARED, "SHARED") as client:
        assert list(subjects(client, "INBOX")) == ["by POP3"]


def logs_on(user, kind, secret):
    """What the account's test of its settings says."""
    return program.does(
        """
        const incoming = server(given[0], given[1]);
        incoming.closeCachedConnections();
        incoming.password = given[2];
        return await url_ended(l => incoming.verifyLogon(l, null)) == 0;
        """,
        user,
        kind,
        secret,
    )


@check
def a_wrong_password_is_refused_and_the_right_one_is_not():
    for user, name, kind in ((ALICE, "ALICE", "imap"), (SHARED, "SHARED", "pop3")):
        assert not logs_on(user, kind, "abcde-fghij-klmno-pqrst"), kind
        assert logs_on(user, kind, password(name)), kind


with thunderbird(f"{WORLD}/thunderbird", accounts()) as program:
    settle()
    run()
