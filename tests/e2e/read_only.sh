#!/usr/bin/env bash
# App passwords for reading only, before a real Dovecot: a sync program that would send changes back, and mail clients that would mark and
# delete, read everything, and the server's files are the same before and after.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_world_at_dovecot
ALICE=alice@contoso.test
ALICE_PASSWORD=$(issue "$ALICE")
READING_PASSWORD=$(issue "$ALICE" --read-only)
export WORLD ALICE ALICE_PASSWORD READING_PASSWORD

# fill: twenty messages in two folders, some of them read.
fill() {
    python3 - <<'PYTHON'
import imaplib, os, ssl
client = imaplib.IMAP4_SSL("localhost", int(os.environ["IMAPS_PORT"]), ssl_context=ssl.create_default_context(cafile=os.environ["CA"]))
client.login(os.environ["ALICE"], os.environ["ALICE_PASSWORD"])
assert client.create("Archive")[0] == "OK"
assert client.subscribe("Archive")[0] == "OK"
for number in range(20):
    text = f"From: bob@contoso.test\r\nSubject: number {number}\r\nMessage-ID: <{number}@e2e.test>\r\n\r\n{'x' * number * 1000}\r\n.\r\n"
    folder = "Archive" if number % 3 == 0 else "INBOX"
    assert client.append(folder, "(\\Seen)" if number % 2 else None, None, text.encode())[0] == "OK"
for folder in ("INBOX", "Archive"):
    # So that nothing is new any more, which reading alone may change.
    assert client.select(folder)[0] == "OK"
    assert client.close()[0] == "OK"
client.logout()
PYTHON
}

# state: everything that Dovecot keeps of Alice's mail, but its caches.
state() {
    (cd "$DOVECOT/mail/$ALICE" && find . -type f ! -name 'dovecot.index*' ! -name 'dovecot.list.index*' -print0 | sort -z | xargs -0 sha256sum)
}

unchanged() {
    state >"$WORLD/after"
    [[ -s $WORLD/before ]] && diff "$WORLD/before" "$WORLD/after"
}

check "twenty messages are filed" fill
state >"$WORLD/before"
check "they are there" test "$(grep -c '/cur/' "$WORLD/before")" = 20

cat >"$WORLD/mbsyncrc" <<RC
IMAPAccount far
Host localhost
Port $IMAPS_PORT
User $ALICE
Pass $READING_PASSWORD
SSLType IMAPS
CertificateFile $CA
Timeout $PATIENCE_SECONDS

IMAPStore far
Account far

MaildirStore near
Path $WORLD/near/
Inbox $WORLD/near/INBOX
SubFolders Verbatim

Channel mail
Far :far:
Near :near:
Patterns INBOX Archive
Sync All
Create Near
Expunge Both
SyncState *
RC
mkdir -p "$WORLD/near"
sync_mail() {
    timeout "$PATIENCE_SECONDS" mbsync -c "$WORLD/mbsyncrc" mail
}

# local_copies: the subjects of what has been fetched.
local_copies() {
    cat "$WORLD"/near/{INBOX,Archive}/{cur,new}/* 2>/dev/null | grep -ac '^Subject: number '
}

check "mbsync fetches both folders" sync_mail
check "all twenty are here" test "$(local_copies)" = 20
check "and nothing has changed on the server" unchanged

# Now this side has a message of its own, one that is flagged, and one that is deleted.
printf 'From: alice@contoso.test\nSubject: mine\nMessage-ID: <mine@e2e.test>\n\nmine\n' >"$WORLD/near/INBOX/new/1.mine"
flagged=$(find "$WORLD/near/INBOX" -name '*:2,' | head -n 1)
mv "$flagged" "${flagged}FS"
rm "$(find "$WORLD/near/Archive" -name '*:2,S' | head -n 1)"
sync_mail >"$WORLD/sync.out" 2>&1 </dev/null || true
check "mbsync in both directions changes nothing on the server" unchanged
check "and is told why" grep -q 'for reading only' "$WORLD/sync.out"

address=${ALICE/@/%40}
cat >"$WORLD/muttrc" <<RC
set ssl_force_tls=yes ssl_verify_host=yes certificate_file="$CA" ssl_ca_certificates_file="$CA"
set imap_pass="$READING_PASSWORD" pop_pass="$READING_PASSWORD" folder="$WORLD" header_cache="" message_cachedir=""
set connect_timeout=$PATIENCE_SECONDS confirmappend=no confirmcreate=no delete=yes move=no mark_old=no wait_key=no quit=yes mbox_type=mbox
set pop_checkinterval=0 pop_delete=yes beep=no
RC
# in_mutt FOLDER KEYS [SECONDS]: opens the folder and types the keys. Where what they ask for is refused, mutt waits for somebody to read that.
in_mutt() {
    TERM=xterm timeout "${3:-$PATIENCE_SECONDS}" python3 -c \
        'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))' \
        mutt -F "$WORLD/muttrc" -f "$1" -e "push '$2'"
}

check "mutt copies a whole folder" in_mutt "imaps://$address@localhost:$IMAPS_PORT/INBOX" \
    "<tag-pattern>~A<enter><tag-prefix><copy-message><kill-line>$WORLD/copy<enter><quit>"
check "everything is in the copy" test "$(grep -ac '^Subject: number ' "$WORLD/copy")" = 13
in_mutt "imaps://$address@localhost:$IMAPS_PORT/INBOX" \
    "<tag-pattern>~A<enter><tag-prefix><set-flag>!<tag-pattern>~A<enter><tag-prefix><delete-message><sync-mailbox><exit>" 12 \
    >"$WORLD/mutt.out" 2>&1 </dev/null || true
check "what mutt flags and deletes stays as it was" unchanged
in_mutt "pops://$address@localhost:$POP3S_PORT" "<tag-pattern>~A<enter><tag-prefix><delete-message><quit>" 12 \
    >"$WORLD/mutt.out" 2>&1 </dev/null || true
check "also by POP3" unchanged

# every_command: what would change something, one after the other, and then everything is read.
every_command() {
    python3 - <<'PYTHON'
import imaplib, os, poplib, ssl
trust = ssl.create_default_context(cafile=os.environ["CA"])
client = imaplib.IMAP4_SSL("localhost", int(os.environ["IMAPS_PORT"]), ssl_context=trust)
client.login(os.environ["ALICE"], os.environ["READING_PASSWORD"])
# Else the library takes it for an error that a SELECT is answered with READ-ONLY.
client.is_readonly = True
kind, said = client._simple_command("SELECT", "INBOX")
assert kind == "OK" and b"READ-ONLY" in said[0], said
client.state = "SELECTED"
for name, arguments in [
    ("STORE", ("1:*", "+FLAGS", "(\\Deleted)")), ("EXPUNGE", ()), ("COPY", ("1", "Archive")), ("CREATE", ("x",)), ("DELETE", ("Archive",)),
    ("RENAME", ("Archive", "y")), ("SUBSCRIBE", ("INBOX",)), ("UNSUBSCRIBE", ("Archive",)),
]:
    kind, said = client._simple_command(name, *arguments)
    assert kind == "NO" and b"for reading only" in said[0], (name, kind, said)
kind, said = client.uid("MOVE", "1:*", "Archive")
assert kind == "NO", said
try:
    kind, said = client.append("INBOX", None, None, b"Subject: x\r\n\r\nx\r\n")
    assert kind == "NO", said
except imaplib.IMAP4.error as error:
    assert "for reading only" in str(error), error
kind, found = client.fetch("1:*", "(FLAGS BODY[])")
assert kind == "OK" and sum(isinstance(one, tuple) for one in found) == 13, found
assert client.close()[0] == "OK"
client.logout()
poplib._MAXLINE = 1 << 20  # the library takes lines of 2048 octets
client = poplib.POP3_SSL("localhost", int(os.environ["POP3S_PORT"]), context=trust)
client.user(os.environ["ALICE"])
client.pass_(os.environ["READING_PASSWORD"])
for number in range(1, 14):
    try:
        client.dele(number)
        raise AssertionError("DELE")
    except poplib.error_proto as error:
        assert "for reading only" in str(error), error
    assert any(line.startswith(b"Subject: number ") for line in client.retr(number)[1])
client.quit()
PYTHON
}
check "each command that changes something is refused, and everything can be read" every_command
check "and nothing has changed" unchanged
