#!/usr/bin/env bash
# msmtp, as scripts and cron use it in the place of sendmail.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_world

cat >"$WORLD/msmtprc" <<RC
defaults
auth on
host localhost
from $ALICE
user $ALICE
password $ALICE_PASSWORD
timeout $PATIENCE_SECONDS
tls on
tls_trust_file $CA

account starttls
port $SMTP_PORT
tls_starttls on

account implicit
port $SMTPS_PORT
tls_starttls off

account login
port $SMTP_PORT
auth login

account alias
port $SMTP_PORT
user copier

account wrong
port $SMTP_PORT
password not-the-password

account stranger
port $SMTP_PORT
# Another authority: the tenant's.
tls_trust_file $WORLD/ca.pem
RC
chmod 600 "$WORLD/msmtprc"

send() { # ACCOUNT MESSAGE
    msmtp --file="$WORLD/msmtprc" --account="$1" -- "$BOB" <"$2"
}

number=0
for account in starttls implicit login alias; do
    number=$((number + 1))
    message "$WORLD/sent-$number" "by msmtp $account" ".a dot first"
    check "a message is sent by the account '$account'" send "$account" "$WORLD/sent-$number"
    curl --silent --show-error --max-time "$PATIENCE_SECONDS" --cacert "$CA" --user "$BOB:$BOB_PASSWORD" \
        --url "pop3s://localhost:$POP3S_PORT/$number" >"$WORLD/read"
    check "it arrived as it was sent" ends_with "$WORLD/read" "$WORLD/sent-$number"
done

check "msmtp trusts the proxy's certificate and sees what it offers" \
    msmtp --file="$WORLD/msmtprc" --account=starttls --serverinfo
check_said "it is offered AUTH PLAIN and LOGIN" 'PLAIN LOGIN|LOGIN PLAIN'
check_refused "a wrong password is refused with 535" '535 5\.7\.8' send wrong "$WORLD/sent-1"
check_refused "without the proxy's CA nothing is sent" 'certificate' send stranger "$WORLD/sent-1"
