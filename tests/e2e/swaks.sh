#!/usr/bin/env bash
# swaks as an SMTP client that says every step: mechanisms, TLS, pipelining, a wrong password, a large attachment.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_world

swaks_() {
    swaks --server 127.0.0.1 --timeout "$PATIENCE_SECONDS" --from "$ALICE" --to "$BOB" --auth-user "$ALICE" "$@"
}
verified=(--tls-verify --tls-ca-path "$CA")

expected=0
for mechanism in PLAIN LOGIN; do
    check "AUTH $mechanism in the clear on loopback" \
        swaks_ --port "$SMTP_CLEAR_PORT" --auth "$mechanism" --auth-password "$ALICE_PASSWORD" --header "Subject: clear $mechanism"
    check "AUTH $mechanism after STARTTLS" \
        swaks_ --port "$SMTP_PORT" --tls "${verified[@]}" --auth "$mechanism" --auth-password "$ALICE_PASSWORD" \
        --header "Subject: starttls $mechanism"
    check "AUTH $mechanism with implicit TLS" \
        swaks_ --port "$SMTPS_PORT" --tlsc "${verified[@]}" --auth "$mechanism" --auth-password "$ALICE_PASSWORD" \
        --header "Subject: implicit $mechanism"
    expected=$((expected + 3))
done
check "commands sent together are answered in order" \
    swaks_ --port "$SMTP_PORT" --tls --auth PLAIN --auth-password "$ALICE_PASSWORD" --pipeline --header "Subject: pipelined"
expected=$((expected + 1))

head -c $((5 * 1024 * 1024)) /dev/urandom >"$WORLD/attachment"
check "a message with 5 MiB attached is sent" \
    swaks_ --port "$SMTP_PORT" --tls --auth PLAIN --auth-password "$ALICE_PASSWORD" --header "Subject: large" \
    --attach-type application/octet-stream --attach-name random.bin --attach "@$WORLD/attachment"
expected=$((expected + 1))

read_attachment() {
    curl --silent --show-error --max-time "$PATIENCE_SECONDS" --cacert "$CA" --user "$BOB:$BOB_PASSWORD" \
        --url "imaps://localhost:$IMAPS_PORT/INBOX;MAILINDEX=$expected" >"$WORLD/large"
    python3 - "$WORLD/large" "$WORLD/attachment" <<'PYTHON'
import email, email.policy, pathlib, sys
message = email.message_from_bytes(pathlib.Path(sys.argv[1]).read_bytes(), policy=email.policy.default)
attached = [part.get_payload(decode=True) for part in message.walk() if part.get_filename() == "random.bin"]
assert message["Subject"] == "large", message["Subject"]
assert attached == [pathlib.Path(sys.argv[2]).read_bytes()], "the attachment has changed"
PYTHON
}
check "its attachment arrived octet for octet" read_attachment

# 28: every attempt to log in failed.
refused() {
    local status=0
    swaks_ "$@" || status=$?
    test "$status" -eq 28
}
check "a wrong password is refused" refused --port "$SMTP_PORT" --tls --auth PLAIN --auth-password wrong
check_said "it hears 535 5.7.8" '^<~\* +535 5\.7\.8 '
check "the password of another mailbox is refused" \
    refused --port "$SMTP_PORT" --tls --auth LOGIN --auth-password "$BOB_PASSWORD"
check_refused "mail without a login is refused with 530" '^<~\* +530 5\.7\.0' \
    swaks --server 127.0.0.1 --port "$SMTP_PORT" --tls --timeout "$PATIENCE_SECONDS" --from "$ALICE" --to "$BOB"

curl --silent --show-error --max-time "$PATIENCE_SECONDS" --cacert "$CA" --user "$BOB:$BOB_PASSWORD" \
    --url "pop3s://localhost:$POP3S_PORT/" >"$WORLD/list"
check "every message that was accepted arrived once" test "$(wc -l <"$WORLD/list")" -eq "$expected"
