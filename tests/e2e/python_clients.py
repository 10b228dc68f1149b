"""smtplib, imaplib and poplib against the proxy in front of the simulated tenant."""

import base64
import contextlib
import imaplib
import poplib
import random
import smtplib
import socket

from checks import ALICE, BOB, SHARED, check, ends_with, password, port, refused, run, trust

imaplib._MAXLINE = 10_000_000
SENT = []


def message(subject, body):
    """A message from Alice to Bob, as octets with CRLF."""
    head = f"From: Alice <{ALICE}>\r\nTo: <{BOB}>\r\nSubject: {subject}\r\nMessage-ID: <{subject.replace(' ', '.')}@e2e>\r\n"
    return head.encode() + b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + body


@contextlib.contextmanager
def smtp(tls="starttls"):
    if tls == "implicit":
        client = smtplib.SMTP_SSL("localhost", port("SMTPS"), context=trust())
    else:
        client = smtplib.SMTP("localhost", port("SMTP" if tls == "starttls" else "SMTP_CLEAR"))
        if tls == "starttls":
            client.starttls(context=trust())
    with client:
        yield client


@contextlib.contextmanager
def imap(user=BOB, secret=None, tls="implicit"):
    if tls == "implicit":
        client = imaplib.IMAP4_SSL("localhost", port("IMAPS"), ssl_context=trust())
    else:
        client = imaplib.IMAP4("localhost", port("IMAP" if tls == "starttls" else "IMAP_CLEAR"))
        if tls == "starttls":
            assert client.starttls(ssl_context=trust())[0] == "OK"
    with client:
        client.login(user, secret or password("BOB"))
        yield client


def pop(tls="implicit"):
    if tls == "implicit":
        return poplib.POP3_SSL("localhost", port("POP3S"), context=trust())
    client = poplib.POP3("localhost", port("POP3" if tls == "starttls" else "POP3_CLEAR"))
    if tls == "starttls":
        client.stls(context=trust())
    return client


def send(client, content, **options):
    assert client.sendmail(ALICE, [BOB], content, **options) == {}
    SENT.append(content)


@check
def smtplib_sends_in_the_clear_after_starttls_and_with_implicit_tls():
    for tls in ["none", "starttls", "implicit"]:
        with smtp(tls) as client:
            client.login(ALICE, password("ALICE"))
            send(client, message(f"python {tls}", b"Hello\r\n.\r\n..\r\n.three dots came before this\r\n"))


@check
def every_form_of_auth_is_taken():
    for mechanism, initial in [("PLAIN", True), ("PLAIN", False), ("LOGIN", True), ("LOGIN", False)]:
        with smtp() as client:
            client.ehlo()
            client.user, client.password = ALICE, password("ALICE")
            method = client.auth_plain if mechanism == "PLAIN" else client.auth_login
            code, _ = client.auth(mechanism, method, initial_response_ok=initial)
            assert code == 235
            send(client, message(f"auth {mechanism} {initial}", b"text\r\n"))


@check
def a_body_of_eight_bits_and_utf8_headers_arrive_as_they_are():
    with smtp() as client:
        client.login(ALICE, password("ALICE"))
        body = "Grüße, 你好, مرحبا\r\n".encode() + bytes(octet for octet in range(128, 256)) + b"\r\n"
        send(client, message("eight bits", body), mail_options=["BODY=8BITMIME"])
        send(client, message("Grüße in the header", body), mail_options=["BODY=8BITMIME", "SMTPUTF8"])


@check
def many_messages_go_through_one_connection_and_a_reset_forgets_one():
    with smtp() as client:
        client.login(ALICE, password("ALICE"))
        for number in range(10):
            send(client, message(f"one of many {number}", b"x" * number + b"\r\n"))
        assert client.mail(ALICE)[0] == 250
        assert client.rcpt(BOB)[0] == 250
        assert client.rset()[0] == 250
        send(client, message("after the reset", b"text\r\n"))


@check
def lines_of_998_octets_and_an_empty_body_arrive():
    with smtp("implicit") as client:
        client.login(ALICE, password("ALICE"))
        send(client, message("long lines", (b"y" * 998 + b"\r\n") * 50))
        send(client, message("no body", b""))


@check
def a_large_message_arrives():
    octets = base64.encodebytes(random.randbytes(3_000_000)).replace(b"\n", b"\r\n")
    with smtp() as client:
        client.login(ALICE, password("ALICE"))
        send(client, message("large", octets))


@check
def a_wrong_password_is_535_and_the_connection_stays():
    with smtp() as client:
        error = refused(smtplib.SMTPAuthenticationError, client.login, ALICE, "wrong")
        assert (error.smtp_code, error.smtp_error[:6]) == (535, b"5.7.8 "), error
        client.login(ALICE, password("ALICE"))
        assert client.noop()[0] == 250


@check
def mail_before_login_is_530():
    with smtp() as client:
        client.ehlo()
        code, text = client.mail(ALICE)
        assert (code, text[:5]) == (530, b"5.7.0"), (code, text)


@check
def imaplib_reads_every_message_as_it_was_sent_in_all_three_modes():
    for tls in ["none", "starttls", "implicit"]:
        with imap(tls=tls) as client:
            status, (count,) = client.select("INBOX", readonly=True)
            assert (status, int(count)) == ("OK", len(SENT)), (status, count)
            for number, content in enumerate(SENT, 1):
                status, data = client.fetch(str(number), "(UID BODY.PEEK[])")
                assert status == "OK"
                ends_with(data[0][1], content)


@check
def a_password_may_come_as_a_quoted_string_or_a_literal_of_either_kind():
    secret = password("BOB").encode()
    for words in [
        [b'a1 LOGIN "%s" "%s"\r\n' % (BOB.encode(), secret)],
        [b"a1 LOGIN {%d}\r\n" % len(BOB), BOB.encode() + b" {%d}\r\n" % len(secret), secret + b"\r\n"],
        [b"a1 LOGIN {%d+}\r\n%s {%d+}\r\n%s\r\n" % (len(BOB), BOB.encode(), len(secret), secret)],
        [b"a1 AUTHENTICATE PLAIN\r\n", base64.b64encode(b"\0%s\0%s" % (BOB.encode(), secret)) + b"\r\n"],
        [b"a1 AUTHENTICATE PLAIN %s\r\n" % base64.b64encode(b"\0%s\0%s" % (BOB.encode(), secret))],
        [b"a1 AUTHENTICATE LOGIN\r\n", base64.b64encode(BOB.encode()) + b"\r\n", base64.b64encode(secret) + b"\r\n"],
    ]:
        with socket.create_connection(("localhost", port("IMAPS"))) as plain:
            with trust().wrap_socket(plain, server_hostname="localhost") as stream, stream.makefile("rb") as answers:
                assert answers.readline().startswith(b"* OK ")
                for word in words[:-1]:
                    stream.sendall(word)
                    answer = answers.readline()
                    assert answer.startswith(b"+ "), (word[:10], answer)
                stream.sendall(words[-1])
                answer = answers.readline()
                assert answer.startswith(b"a1 OK "), answer


@check
def an_appended_message_comes_back_octet_for_octet():
    with imap() as client:
        for size in [0, 1, 997, 70_000, 2_000_000]:
            content = message(f"append {size}", "ü".encode() * (size // 2) + b"\r\n")
            status, _ = client.append("Archive", "(\\Seen)", None, content)
            assert status == "OK"
        assert client.select("Archive")[0] == "OK"
        status, data = client.uid("SEARCH", "SUBJECT", '"append 2000000"')
        assert status == "OK" and len(data[0].split()) == 1, data
        status, data = client.uid("FETCH", data[0].decode(), "(FLAGS BODY.PEEK[])")
        assert data[0][1] == content, len(data[0][1])
        assert b"\\Seen" in data[0][0] + data[1]


@check
def flags_copies_and_expunge_go_through():
    with imap() as client:
        assert client.select("INBOX")[0] == "OK"
        assert client.create("Kept")[0] == "OK"
        assert client.copy("1:3", "Kept")[0] == "OK"
        status, data = client.store("2", "+FLAGS", "(\\Flagged)")
        assert status == "OK" and b"\\Flagged" in data[0], data
        assert client.select("Kept")[1] == [b"3"]
        assert client.store("1", "+FLAGS", "(\\Deleted)")[0] == "OK"
        assert client.expunge() == ("OK", [b"1"])
        assert client.select("Kept")[1] == [b"2"]
        assert any(b'"Sent Items"' in line for line in client.list()[1])
        assert client.status('"Sent Items"', "(MESSAGES UNSEEN)")[0] == "OK"


@check
def idle_tells_of_a_message_that_arrives():
    with imap() as client:
        count = int(client.select("INBOX")[1][0])
        client.send(b"idle1 IDLE\r\n")
        answer = client.readline()
        while not answer.startswith(b"+ "):
            assert answer.startswith(b"* "), answer
            answer = client.readline()
        with smtp() as sender:
            sender.login(ALICE, password("ALICE"))
            send(sender, message("while idle", b"text\r\n"))
        while client.readline() != b"* %d EXISTS\r\n" % (count + 1):
            pass
        client.send(b"DONE\r\n")
        while not (answer := client.readline()).startswith(b"idle1 "):
            assert answer.startswith(b"* "), answer
        assert answer.startswith(b"idle1 OK"), answer


@check
def the_name_of_a_shared_mailbox_may_stand_behind_the_users():
    with imap(BOB, password("BOB")) as client:
        client.select("INBOX")
    from_shared = message("from the shared mailbox", b"\r\n").replace(ALICE.encode(), SHARED.encode())
    for name in [f"{ALICE}\\{SHARED}", f"{ALICE}/{SHARED}", SHARED, SHARED.upper(), f"contoso\\{SHARED}"]:
        client = imaplib.IMAP4_SSL("localhost", port("IMAPS"), ssl_context=trust())
        status, _ = client.login(name, password("SHARED"))  # imaplib quotes the password, not the name
        assert status == "OK"
        client.append("INBOX", None, None, message("for the shared mailbox", name.encode() + b"\r\n"))
        client.logout()
        with smtp() as sender:
            sender.login(name, password("SHARED"))
            assert sender.sendmail(SHARED, [BOB], from_shared) == {}
        SENT.append(from_shared)
    with imap(SHARED, password("SHARED")) as client:
        assert client.select("INBOX")[1] == [b"5"]
    for name, secret in [(f"{ALICE}\\{SHARED}", "ALICE"), (SHARED, "ALICE"), (f"{SHARED}\\{ALICE}", "SHARED")]:
        client = imaplib.IMAP4_SSL("localhost", port("IMAPS"), ssl_context=trust())
        error = refused(imaplib.IMAP4.error, client.login, name, password(secret))
        assert "AUTHENTICATIONFAILED" in str(error), error
        client.shutdown()


@check
def an_alias_is_a_login_name():
    with imap("copier", password("ALICE")) as client:
        assert client.select('"Sent Items"')[0] == "OK"
    with smtp() as client:
        client.login("Copier", password("ALICE"))
        send(client, message("from the copier", b"text\r\n"))


@check
def a_wrong_imap_password_is_told_as_such():
    client = imaplib.IMAP4_SSL("localhost", port("IMAPS"), ssl_context=trust())
    error = refused(imaplib.IMAP4.error, client.login, BOB, "wrong")
    assert "[AUTHENTICATIONFAILED]" in str(error), error
    client.login(BOB, password("BOB"))
    client.logout()


@check
def poplib_reads_every_message_as_it_was_sent_in_all_three_modes():
    for tls in ["none", "starttls", "implicit"]:
        client = pop(tls)
        assert b"Microsoft Exchange POP3" in client.getwelcome()
        client.user(BOB)
        client.pass_(password("BOB"))
        count, total = client.stat()
        assert count == len(SENT) and total >= sum(map(len, SENT)), (count, len(SENT), total)
        assert len({line.split()[1] for line in client.uidl()[1]}) == count
        for number, content in enumerate(SENT, 1):
            _, lines, _ = client.retr(number)
            ends_with(b"".join(line + b"\r\n" for line in lines), content)
        client.quit()


@check
def capabilities_are_told_before_and_after_the_login():
    client = pop("starttls")
    before = client.capa()
    assert set(before["SASL"]) == {"PLAIN", "LOGIN"} and "USER" in before and "STLS" not in before, before
    assert "RESP-CODES" in before and "AUTH-RESP-CODE" in before, before
    client.user(BOB)
    client.pass_(password("BOB"))
    assert "UIDL" in client.capa()
    client.quit()
    client = poplib.POP3("localhost", port("POP3"))
    assert "STLS" in client.capa()
    client.quit()


@check
def deleting_by_pop3_takes_effect_at_quit():
    client = pop()
    client.user(BOB)
    client.pass_(password("BOB"))
    top = client.top(1, 0)[1]
    assert any(line == b"Subject: python none" for line in top), top
    client.dele(1)
    client.rset()
    client.dele(2)
    client.quit()
    del SENT[1]
    client = pop()
    client.user(BOB)
    client.pass_(password("BOB"))
    assert client.stat()[0] == len(SENT)
    client.quit()


@check
def a_wrong_pop3_password_is_told_as_such():
    client = pop()
    client.user(BOB)
    error = refused(poplib.error_proto, client.pass_, "wrong")
    assert b"-ERR [AUTH]" in error.args[0], error
    client.quit()


run()
