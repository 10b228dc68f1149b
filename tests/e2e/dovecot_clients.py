"""IMAP and POP3 through Postern to a real Dovecot, compared with Dovecot's own files and with going there directly."""

import base64
import imaplib
import json
import os
import pathlib
import poplib
import random
import ssl
import urllib.parse
import urllib.request

from checks import ALICE, BOB, WORLD, check, run

MAIL = pathlib.Path(os.environ["DOVECOT"]) / "mail"
PASSWORDS = {ALICE: os.environ["ALICE_PASSWORD"], BOB: os.environ["BOB_PASSWORD"]}
random.seed(20261124)
poplib._MAXLINE = 1 << 20  # the library takes lines of 2048 octets, real mail has longer ones


def trust(file):
    return ssl.create_default_context(cafile=file)


def imap(user=ALICE):
    """Through Postern, with an app password."""
    client = imaplib.IMAP4_SSL("localhost", int(os.environ["IMAPS_PORT"]), ssl_context=trust(os.environ["CA"]))
    client.login(user, PASSWORDS[user])
    return client


def access_token(user, scope):
    """What Postern would present, had at the token service by this script itself."""
    refresh_token = pathlib.Path(WORLD, f"refresh-token-{user}").read_text().strip()
    text = pathlib.Path(WORLD, "postern.toml").read_text()
    client_id = text.split('client_id = "')[1].split('"')[0]
    secret = pathlib.Path(WORLD, "client-secret").read_text().strip()
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": client_id,
            "client_secret": secret, "scope": scope}
    body = urllib.parse.urlencode(form).encode()
    with urllib.request.urlopen(os.environ["TOKEN_URL"], body) as answer:
        return json.load(answer)["access_token"]


def direct(user=ALICE):
    """Straight to Dovecot, with a token."""
    token = access_token(user, "https://outlook.office.com/IMAP.AccessAsUser.All offline_access")
    client = imaplib.IMAP4_SSL("127.0.0.1", int(os.environ["DOVECOT_IMAP"]),
                               ssl_context=trust(os.environ["DOVECOT"] + "/ca.pem"))
    # In one step: imaplib's own way sends the response in two pieces, which this Dovecot does not put together.
    response = base64.b64encode(f"user={user}\1auth=Bearer {token}\1\1".encode()).decode()
    assert client._simple_command("AUTHENTICATE", "XOAUTH2", response)[0] == "OK"
    client.state = "AUTH"
    return client


def message(number):
    """A message with what breaks relays: dots, 8-bit octets, long lines, empty lines, things that look like IMAP."""
    lines = [f"From: {ALICE}".encode(), f"To: {BOB}".encode(), f"Subject: number {number}".encode(), b""]
    oddities = [b".", b"..", b"", b"A1 OK done", b"* BYE", b"{12}", b"+ ", b"x" * 3000, bytes(range(128, 256)), b"From me"]
    for _ in range(random.randrange(1, 60)):
        lines.append(random.choice(oddities) if random.random() < 0.5 else random.randbytes(40).hex().encode())
    return b"\r\n".join(lines) + b"\r\n"


MESSAGES = [message(number) for number in range(50)]


@check
def dovecot_serves_a_login_with_an_app_password():
    client = imap()
    # After the login it is Dovecot that answers.
    capabilities = client.capability()[1][0].split()
    assert b"IMAP4rev1" in capabilities and b"ESEARCH" in capabilities, capabilities
    assert client.select("INBOX") == ("OK", [b"0"])
    client.logout()


@check
def what_is_appended_is_in_the_maildir_octet_for_octet():
    client = imap()
    for content in MESSAGES:
        status, answer = client.append("INBOX", None, None, content)
        assert status == "OK", answer
    client.logout()
    stored = {path.read_bytes() for folder in ("new", "cur") for path in (MAIL / ALICE / folder).iterdir()}
    assert stored == set(MESSAGES), "the Maildir holds something else"


@check
def fifty_messages_are_the_same_through_postern_and_directly():
    through, straight = imap(), direct()
    for client in (through, straight):
        assert client.select("INBOX", readonly=True) == ("OK", [b"50"])
    for number in range(1, 51):
        ours = through.fetch(str(number), "(UID FLAGS BODY.PEEK[] BODYSTRUCTURE ENVELOPE)")
        theirs = straight.fetch(str(number), "(UID FLAGS BODY.PEEK[] BODYSTRUCTURE ENVELOPE)")
        assert ours == theirs, number
        assert ours[1][0][1] == MESSAGES[number - 1], number
    whole = through.fetch("1:50", "(BODY.PEEK[])")
    assert whole == straight.fetch("1:50", "(BODY.PEEK[])")
    through.logout()
    straight.logout()


@check
def searching_flagging_and_expunging_work():
    client = imap()
    client.select("INBOX")
    assert client.search(None, "SUBJECT", '"number 7"')[1] == [b"8"]
    assert client.store("8", "+FLAGS", "\\Deleted")[0] == "OK"
    assert client.expunge() == ("OK", [b"8"])
    assert client.select("INBOX") == ("OK", [b"49"])
    client.logout()


@check
def idle_hears_of_a_new_message():
    waiting, other = imap(), imap()
    waiting.select("INBOX")
    tag = waiting._new_tag()
    waiting.send(tag + b" IDLE\r\n")
    assert waiting.readline().startswith(b"+ ")
    assert other.append("INBOX", None, None, message(50))[0] == "OK"
    heard = waiting.readline()
    while b"EXISTS" not in heard:
        heard = waiting.readline()
    assert heard == b"* 50 EXISTS\r\n", heard
    waiting.send(b"DONE\r\n")
    while not heard.startswith(tag):
        heard = waiting.readline()
    assert b" OK" in heard, heard
    other.logout()


@check
def a_message_of_five_megabytes_goes_both_ways():
    large = b"Subject: large\r\n\r\n" + base64.encodebytes(random.randbytes(4 * 1024 * 1024)).replace(b"\n", b"\r\n")
    client = imap(BOB)
    assert client.append("INBOX", None, None, large)[0] == "OK"
    client.select("INBOX")
    assert client.fetch("1", "(BODY.PEEK[])")[1][0][1] == large
    client.logout()


@check
def what_is_filed_among_the_sent_ones_and_was_sent_elsewhere_is_there_octet_for_octet():
    large = base64.encodebytes(random.randbytes(2 * 1024 * 1024)).replace(b"\n", b"\r\n")
    filed = [f"Message-ID: <{number}@e2e.test>\r\n".encode() + message(number) for number in range(60, 70)]
    filed += [b"Message-ID: <large@e2e.test>\r\nSubject: large\r\n\r\n" + large, b"Subject: without one\r\n\r\ntext\r\n"]
    client = imap()
    assert client.create('"Sent Items"')[0] == "OK"
    for content in filed:
        status, answer = client.append('"Sent Items"', "(\\Seen)", None, content)
        # The UID is Dovecot's.
        assert status == "OK" and b"APPENDUID" in answer[0], answer
    assert client.select('"Sent Items"', readonly=True) == ("OK", [str(len(filed)).encode()])
    client.logout()
    (folder,) = (found for found in (MAIL / ALICE).iterdir() if found.name.lstrip(".") == "Sent Items")
    stored = {path.read_bytes() for part in ("new", "cur") for path in (folder / part).iterdir()}
    assert stored == set(filed), "the Maildir holds something else"


@check
def pop3_lists_and_retrieves_the_same_octets():
    client = poplib.POP3_SSL("localhost", int(os.environ["POP3S_PORT"]), context=trust(os.environ["CA"]))
    client.user(ALICE)
    client.pass_(PASSWORDS[ALICE])
    count, _ = client.stat()
    assert count == 50, count
    remaining = MESSAGES[:7] + MESSAGES[8:]
    for number, content in enumerate(remaining, start=1):
        lines = client.retr(number)[1]
        assert b"\r\n".join(lines) + b"\r\n" == content, number
    client.dele(50)
    client.quit()


@check
def a_wrong_password_does_not_reach_dovecot():
    log = pathlib.Path(WORLD, "dovecot-own.log")
    before = log.read_text().count("Login:")
    client = imaplib.IMAP4_SSL("localhost", int(os.environ["IMAPS_PORT"]), ssl_context=trust(os.environ["CA"]))
    try:
        client.login(ALICE, "wrong")
    except imaplib.IMAP4.error as error:
        assert "AUTHENTICATIONFAILED" in str(error), error
    else:
        raise AssertionError("it was let in")
    text = log.read_text()
    assert before > 0 and text.count("Login:") == before
    assert "auth failed" not in text and "Authentication failure" not in text


run()
