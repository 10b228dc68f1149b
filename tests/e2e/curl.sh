#!/usr/bin/env bash
# curl as SMTP, IMAP and POP3 client, in the clear, with STARTTLS and with implicit TLS.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_world

# With --cacert the proxy's CA is the only one that is trusted; --ssl-reqd refuses to go on without STARTTLS.
curl_() {
    curl --silent --show-error --max-time "$PATIENCE_SECONDS" --cacert "$CA" "$@"
}

send() { # URL MESSAGE [OPTION...]
    local url=$1 file=$2
    shift 2
    curl_ --url "$url" --user "$ALICE:$ALICE_PASSWORD" --mail-from "$ALICE" --mail-rcpt "$BOB" --upload-file "$file" "$@"
}

number=0
for way in "smtp:$SMTP_CLEAR_PORT" "smtp:$SMTP_PORT --ssl-reqd" "smtps:$SMTPS_PORT"; do
    read -r -a words <<<"$way"
    number=$((number + 1))
    message "$WORLD/sent-$number" "by curl $number" "..two dots, and umlauts: äöü"
    check "a message is sent by ${words[0]%%:*} ${words[*]:1}" \
        send "${words[0]/:/://localhost:}" "$WORLD/sent-$number" "${words[@]:1}"
done
for mechanism in PLAIN LOGIN; do
    number=$((number + 1))
    message "$WORLD/sent-$number" "by curl $number"
    check "a message is sent with AUTH $mechanism" \
        send "smtp://localhost:$SMTP_PORT" "$WORLD/sent-$number" --ssl-reqd --login-options "AUTH=$mechanism"
done

read_all() { # URL-WITHOUT-NUMBER [OPTION...]
    local url=$1 index
    shift
    for ((index = 1; index <= number; index++)); do
        curl_ --user "$BOB:$BOB_PASSWORD" --url "$url$index" "$@" >"$WORLD/read"
        ends_with "$WORLD/read" "$WORLD/sent-$index"
    done
}

check "all are read by imap as they were sent" read_all "imap://localhost:$IMAP_CLEAR_PORT/INBOX;MAILINDEX="
check "all are read by imap --ssl-reqd as they were sent" read_all "imap://localhost:$IMAP_PORT/INBOX;MAILINDEX=" --ssl-reqd
check "all are read by imaps as they were sent" read_all "imaps://localhost:$IMAPS_PORT/INBOX;MAILINDEX="
check "all are read by pop3 as they were sent" read_all "pop3://localhost:$POP3_CLEAR_PORT/"
check "all are read by pop3 --ssl-reqd as they were sent" read_all "pop3://localhost:$POP3_PORT/" --ssl-reqd
check "all are read by pop3s as they were sent" read_all "pop3s://localhost:$POP3S_PORT/"

message "$WORLD/appended" "appended by curl"
check "a message is appended by IMAP" curl_ --user "$BOB:$BOB_PASSWORD" --url "imaps://localhost:$IMAPS_PORT/Archive" \
    --upload-file "$WORLD/appended"
curl_ --user "$BOB:$BOB_PASSWORD" --url "imaps://localhost:$IMAPS_PORT/Archive;MAILINDEX=1" >"$WORLD/read"
check "it is there, octet for octet" same "$WORLD/appended" "$WORLD/read"
curl_ --user "$BOB:$BOB_PASSWORD" --url "imaps://localhost:$IMAPS_PORT/INBOX?SUBJECT%20curl" >"$WORLD/found" # a SEARCH
check "a search finds every message" grep -Eq '^\* SEARCH 1 2 3 4 5.?$' "$WORLD/found"
curl_ --user "$BOB:$BOB_PASSWORD" --url "imaps://localhost:$IMAPS_PORT/" --request 'LIST "" "*"' >"$WORLD/folders"
check "the folders are listed" grep -q '"Sent Items"' "$WORLD/folders"
curl_ --user "$BOB:$BOB_PASSWORD" --url "pop3s://localhost:$POP3S_PORT/" --request UIDL >"$WORLD/uidl"
check "POP3 tells the unique ids" test "$(wc -l <"$WORLD/uidl")" -eq "$number"

# 67 is curl's status for a login that was refused.
for url in "smtp://localhost:$SMTP_PORT --ssl-reqd --mail-from $ALICE --mail-rcpt $BOB --upload-file $WORLD/sent-1" \
    "imaps://localhost:$IMAPS_PORT/INBOX;MAILINDEX=1" "pop3s://localhost:$POP3S_PORT/1"; do
    read -r -a words <<<"$url"
    status=0
    curl_ --user "$ALICE:wrong-password" --url "${words[@]}" >"$WORLD/check.out" 2>&1 || status=$?
    check "a wrong password is refused by ${words[0]%%:*}" test "$status" -eq 67
done

check_refused "who does not trust the proxy's CA is not spoken to" 'SSL|certificate' \
    curl --silent --show-error --max-time "$PATIENCE_SECONDS" --user "$BOB:$BOB_PASSWORD" --url "imaps://localhost:$IMAPS_PORT/"
