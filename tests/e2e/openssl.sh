#!/usr/bin/env bash
# openssl s_client, a TLS that is not rustls, through STARTTLS and STLS of each protocol.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_world

# talk PORT PROTOCOL|implicit LINE...: sends each line when the one before has been answered, and prints what came back.
talk() {
    local port=$1 protocol=$2 line count=0 input
    local options=(-connect "127.0.0.1:$port" -CAfile "$CA" -verify_return_error -verify_hostname localhost -quiet -crlf)
    shift 2
    [[ $protocol == implicit ]] || options+=(-starttls "$protocol")
    rm -f "$WORLD/fifo"
    mkfifo "$WORLD/fifo"
    : >"$WORLD/said"
    timeout "$PATIENCE_SECONDS" openssl s_client "${options[@]}" <"$WORLD/fifo" >"$WORLD/said" 2>"$WORLD/s_client.log" &
    local client=$!
    exec {input}>"$WORLD/fifo"
    for line in "$@"; do
        printf '%s\n' "$line" >&"$input"
        count=$((count + 1))
        until_true "an answer to line $count" answered "$count" "$client"
    done
    wait "$client" || true
    exec {input}>&-
    cat "$WORLD/said"
}

# Every line that is sent here has one answer that ends like this.
answered() {
    (($(grep -cE '^(2[0-9]{2} |[3-5][0-9]{2} |[a-z][0-9] |\+OK|-ERR)' "$WORLD/said") >= $1)) || ! kill -0 "$2"
}

plain=$(printf '\0%s\0%s' "$ALICE" "$ALICE_PASSWORD" | base64 -w0)
check "SMTP after STARTTLS" talk "$SMTP_PORT" smtp "EHLO e2e" "AUTH PLAIN $plain" QUIT
check_said "it offers AUTH and no second STARTTLS" '^250-AUTH LOGIN PLAIN'
check_said "it lets the password in" '^235 2\.7\.0 '
check_said "it says goodbye" '^221 2\.0\.0 '
check "there was no second STARTTLS" test "$(grep -c STARTTLS "$WORLD/said")" -eq 0

check "IMAP after STARTTLS" talk "$IMAP_PORT" imap "a1 LOGIN $ALICE $ALICE_PASSWORD" "a2 SELECT INBOX" "a3 LOGOUT"
check_said "it lets the password in and tells what it can" '^a1 OK \[CAPABILITY IMAP4'
check_said "the mailbox is open" '^a2 OK \[READ-WRITE\]'
check_said "it says goodbye" '^\* BYE'

check "POP3 after STLS" talk "$POP3_PORT" pop3 "USER $ALICE" "PASS $ALICE_PASSWORD" STAT QUIT
check_said "the mailbox is open" '^\+OK 0 0'

for listener in "smtp:$SMTPS_PORT" "imap:$IMAPS_PORT" "pop3:$POP3S_PORT"; do
    protocol=${listener%:*} port=${listener#*:}
    for version in 2 3; do
        check "TLS 1.$version around $protocol" bash -c "openssl s_client -connect 127.0.0.1:$port -CAfile '$CA' -tls1_$version \
            -verify_return_error -verify_hostname localhost </dev/null"
        check_said "the certificate is good" 'Verify return code: 0 \(ok\)'
        check_said "it is of an elliptic curve" 'Server public key is 256 bit'
    done
    check_refused "TLS 1.1 is refused around $protocol" 'alert|error' \
        openssl s_client -connect "127.0.0.1:$port" -CAfile "$CA" -tls1_1 -cipher 'DEFAULT:@SECLEVEL=0'
done
