#!/usr/bin/env bash
# mutt: sending with an attachment, and reading by IMAP and POP3 as a person with a terminal does.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_world

# The address is the user name; its @ is written %40 in an address of a server.
alice=${ALICE/@/%40}
bob=${BOB/@/%40}
cat >"$WORLD/muttrc" <<RC
set ssl_force_tls=yes ssl_starttls=yes ssl_verify_host=yes
set certificate_file="$CA" ssl_ca_certificates_file="$CA"
set tunnel="" header_cache="" message_cachedir="" record="" copy=no postponed="" folder="$WORLD"
set from="$ALICE" realname="Alice" use_envelope_from=yes envelope_from_address="$ALICE"
set smtp_pass="$ALICE_PASSWORD" imap_pass="$BOB_PASSWORD" pop_pass="$BOB_PASSWORD"
set send_charset="us-ascii:utf-8"
set connect_timeout=$PATIENCE_SECONDS
set confirmappend=no confirmcreate=no delete=yes move=no mark_old=no wait_key=no quit=yes resolve=no mbox_type=mbox
set pop_checkinterval=0 pop_delete=no beep=no beep_new=no
RC

send() { # SERVER MECHANISM SUBJECT ATTACHMENT
    printf 'Grüße from mutt.\n.\nA line with one dot stands above.\n' |
        timeout "$PATIENCE_SECONDS" mutt -F "$WORLD/muttrc" -e "set smtp_url=\"$1\" smtp_authenticators=\"$2\"" \
            -s "$3" -a "$4" -- "$BOB"
}

head -c 200000 /dev/urandom >"$WORLD/picture.bin"
check "a message with an attachment is sent after STARTTLS" \
    send "smtp://$alice@localhost:$SMTP_PORT" plain "starttls" "$WORLD/picture.bin"
check "and with implicit TLS, by AUTH LOGIN" \
    send "smtps://$alice@localhost:$SMTPS_PORT" login "implicit" "$WORLD/picture.bin"

# mutt wants a terminal: it is given one, and the keys that copy every message into a folder here.
read_all() { # FOLDER COPY [SETTINGS]
    TERM=xterm timeout "$PATIENCE_SECONDS" python3 -c \
        'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))' \
        mutt -F "$WORLD/muttrc" -e "${3:-}" -f "$1" \
        -e "push '<tag-pattern>~A<enter><tag-prefix><copy-message><kill-line>$2<enter><quit>'"
}

holds() { # COPY
    python3 - "$1" "$WORLD/picture.bin" <<'PYTHON'
import mailbox, pathlib, sys
messages = list(mailbox.mbox(sys.argv[1], create=False))
assert [message["Subject"] for message in messages] == ["starttls", "implicit"], [m["Subject"] for m in messages]
for message in messages:
    text, attached = message.get_payload()
    assert text.get_payload(decode=True).decode() == "Grüße from mutt.\n.\nA line with one dot stands above.\n", text
    assert attached.get_payload(decode=True) == pathlib.Path(sys.argv[2]).read_bytes()
PYTHON
}

check "an IMAP folder is read after STARTTLS" read_all "imap://$bob@localhost:$IMAP_PORT/INBOX" "$WORLD/by-imap"
check "everything is in it" holds "$WORLD/by-imap"
check "and with implicit TLS, by AUTHENTICATE PLAIN" \
    read_all "imaps://$bob@localhost:$IMAPS_PORT/INBOX" "$WORLD/by-imaps" 'set imap_authenticators="plain"'
check "everything is in it" holds "$WORLD/by-imaps"
check "POP3 is read after STLS, by USER and PASS" \
    read_all "pop://$bob@localhost:$POP3_PORT" "$WORLD/by-pop" 'set pop_authenticators="user"'
check "everything is in it" holds "$WORLD/by-pop"
check "and with implicit TLS, by AUTH PLAIN" \
    read_all "pops://$bob@localhost:$POP3S_PORT" "$WORLD/by-pops" 'set pop_authenticators="plain"'
check "everything is in it" holds "$WORLD/by-pops"

sed -i 's/^set smtp_pass=.*/set smtp_pass="wrong" imap_pass="wrong" pop_pass="wrong"/' "$WORLD/muttrc"
check_refused "a wrong password sends nothing" '[Aa]uthentication failed' \
    send "smtp://$alice@localhost:$SMTP_PORT" plain "wrong" "$WORLD/picture.bin"

# mutt files a copy of what it has sent, and so does the tenant, as Exchange does.
sent_copies() { # SUBJECT
    python3 - "$1" <<'PYTHON'
import imaplib, os, ssl, sys
trust = ssl.create_default_context(cafile=os.environ["CA"])
client = imaplib.IMAP4_SSL("localhost", int(os.environ["IMAPS_PORT"]), ssl_context=trust)
client.login(os.environ["ALICE"], os.environ["ALICE_PASSWORD"])
assert client.select('"Sent Items"', readonly=True)[0] == "OK"
found = client.search(None, "SUBJECT", sys.argv[1])[1][0].split()
print(len(found))
client.logout()
PYTHON
}

send_and_file() { # PASSWORD SUBJECT
    printf 'text\n' | timeout "$PATIENCE_SECONDS" mutt -F "$WORLD/muttrc" \
        -e "set smtp_url=\"smtp://$alice@localhost:$SMTP_PORT\" smtp_pass=\"$1\" imap_pass=\"$1\"" \
        -e "set copy=yes record=\"imaps://$alice@localhost:$IMAPS_PORT/Sent Items\"" -s "$2" -- "$BOB"
}

check "a message is sent and filed" send_and_file "$ALICE_PASSWORD" "twofold"
check "its copy is there twice" sent_copies twofold
check_said "its copy is there twice" '^2$'
check "a message is sent and filed with --drop-sent-append" send_and_file "$(issue "$ALICE" --drop-sent-append)" "single"
check "its copy is there once" sent_copies single
check_said "its copy is there once" '^1$'
