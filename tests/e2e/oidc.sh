#!/usr/bin/env bash
# A real authorization server, the certified oidc-provider for Node (oidc/server.mjs), as the token service, and a real Dovecot as the
# mail server, which asks it whether a token is good. Neither knows anything of this project. For each grant: a mail program logs in
# with an app password, and Dovecot lets it in by a token of that server.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# How long its access tokens live: so short that a session of today renews them several times.
TOKEN_SECONDS=5
SECRET="the client's secret & more=100%"
RESULTS=()

# grant NAME COMMAND: what is checked of one grant. A failure ends this grant only, and the table tells it.
grant() {
    local name=$1 status
    shift
    echo "# $name"
    set +e
    (set -e && "$@")
    status=$?
    set -e
    RESULTS+=("$(((status == 0)) && echo passed || echo FAILED)  $name")
    echo "${RESULTS[-1]}"
}

installed() {
    # `npm ci` wants exactly what the lock file names, by its hashes.
    local folder=$E2E/oidc
    command -v npm >/dev/null 2>&1 && command -v node >/dev/null 2>&1 ||
        { echo "node or npm is missing: install Debian's nodejs and npm, version 18 or newer"; return 1; }
    if ! same "$folder/package-lock.json" "$folder/node_modules/.installed"; then
        npm ci --prefix "$folder" --no-fund --no-audit --ignore-scripts ||
            { echo "the npm package oidc-provider could not be installed; it takes a way to the npm registry"; return 1; }
        cp "$folder/package-lock.json" "$folder/node_modules/.installed"
    fi
}

# start_provider: the authorization server; where it is, is then in ISSUER.
start_provider() {
    CERTIFICATE=$WORLD/client.pem TOKEN_SECONDS=$TOKEN_SECONDS node "$E2E/oidc/server.mjs" \
        >"$WORLD/provider.log" 2>"$WORLD/provider.err" </dev/null &
    PROCESSES+=("$!")
    until_true "the authorization server to be ready" did ready
    ISSUER=$(grep -oE 'http://127\.0\.0\.1:[0-9]+' "$WORLD/provider.log" | head -n 1)
}

# did EVENT [FIELD:VALUE...]: the authorization server has done this, by its own account. A value is JSON.
did() {
    local pattern="^\\{\"event\":\"$1\"" field
    shift
    for field in "$@"; do
        pattern+=".*\"${field%%:*}\":${field#*:}[,}]"
    done
    grep -E -- "$pattern" "$WORLD/provider.log"
}

# tenant NAME GRANT SCOPE LINE...: one tenant of the configuration.
tenant() {
    local name=$1 grant=$2 scope=$3
    shift 3
    printf '\n[[tenant]]\nname = "%s"\ncloud = "custom"\nclient_id = "%s"\ngrant = "%s"\n' "$name" "$name" "$grant"
    printf '%s\n' "$@"
    cat <<CONF
[tenant.endpoints]
token_url = "$ISSUER/token"
authorize_url = "$ISSUER/auth"
device_url = "$ISSUER/device/auth"
imap = "127.0.0.1:$DOVECOT_IMAP"
pop3 = "127.0.0.1:$DOVECOT_POP3"
ca_file = "$DOVECOT/ca.pem"
scopes = { imap = "$scope", pop3 = "$scope" }
CONF
}

configuration() {
    cat <<CONF
data_dir = "$WORLD/data"
[[listener]]
protocol = "imap"
address = "127.0.0.1:0"
tls = "implicit"
[[listener]]
protocol = "pop3"
address = "127.0.0.1:0"
tls = "implicit"
CONF
    local person="mail offline_access" consent='authorize_params = { prompt = "consent" }'
    tenant secret client_credentials application.mail "client_secret_file = \"$WORLD/secret\""
    tenant ps256 client_credentials application.mail "certificate_file = \"$WORLD/client.pem\"" "key_file = \"$WORLD/client.key\""
    tenant rs256 client_credentials application.mail "certificate_file = \"$WORLD/client.pem\"" "key_file = \"$WORLD/client.key\""
    tenant people authorization_code "$person" "client_secret_file = \"$WORLD/secret\"" "$consent"
    tenant public authorization_code "$person" "$consent"
    tenant jwt authorization_code "$person" "$consent"
}

# What Dovecot asks. A person's token opens that person's mailbox; one of an application, those of its domain.
dovecot_tokens() {
    local file
    for file in person application; do
        cat >"$DOVECOT/$file.conf" <<CONF
introspection_mode = post
introspection_url = http://dovecot:dovecot@${ISSUER#http://}/token/introspection
username_attribute = username
active_attribute = active
active_value = true
CONF
    done
    echo 'scope = mail' >>"$DOVECOT/person.conf"
    printf 'scope = application.mail\nusername_format = %%d\n' >>"$DOVECOT/application.conf"
}

# add ADDRESS TENANT: lets a mailbox be used; its app password is then in the file of its name.
add() {
    postern mailbox add "$1" --tenant "$2" && issue "$1" >"$WORLD/password-$1"
}

# mail PROTOCOL ADDRESS: a mail program logs in and asks for something that only the mail server knows.
mail() {
    local port request=()
    case $1 in
    imap) port=$IMAPS_PORT request=(--request 'STATUS INBOX (MESSAGES)') ;;
    pop3) port=$POP3S_PORT request=(--request STAT --head) ;;
    esac
    curl --silent --show-error --verbose --max-time 30 --cacert "$CA" --user "$2:$(<"$WORLD/password-$2")" \
        "${request[@]}" "$1s://localhost:$port/"
}

works() {
    check "$1 has mail by IMAP" mail imap "$1"
    check_said "Dovecot answers" '^(< )?\* STATUS INBOX \(MESSAGES 0\)'
    check "$1 has mail by POP3" mail pop3 "$1"
    check_said "Dovecot answers" '^(< )?\+OK 0 0'
}

# browse PERSON ADDRESS [OPTION...]: what a browser does, with cookies of its own; prints the page that it ends at.
browse() {
    local person=$1 address=$2
    shift 2
    curl --silent --show-error --location --max-redirs 20 --max-time 30 --header "Sign-In-As: $person" \
        --cookie "$WORLD/cookies" --cookie-jar "$WORLD/cookies" "$@" "$address"
}

# connecting ADDRESS [OPTION...]: begins a sign-in; its process is then in SIGN_IN, and the address for the browser in ADDRESS.
connecting() {
    local mailbox=$1
    shift
    rm -f "$WORLD/cookies"
    postern mailbox connect "$mailbox" "$@" >"$WORLD/connect.out" 2>"$WORLD/connect.log" <"${PASTED:-/dev/null}" &
    SIGN_IN=$!
    until_true "the address for the browser" grep -E "^(error:|$ISSUER/|open $ISSUER/)" "$WORLD/connect.log"
    ADDRESS=$(grep -m 1 -oE "$ISSUER/[^ ]+" "$WORLD/connect.log" || true)
}

# connected: the sign-in that was begun has come to its end.
connected() {
    local status=0
    wait "$SIGN_IN" || status=$?
    cat "$WORLD/connect.log"
    return "$status"
}

# state_of ADDRESS: as `mailbox list` tells it.
state_of() {
    postern --json mailbox list | python3 -c '
import json, sys
document = json.load(sys.stdin)
for mailbox in document["mailboxes"]:
    if mailbox["address"] == sys.argv[1]:
        print(json.dumps(mailbox))' "$1"
}

needs_sign_in() {
    state_of "$1" | grep -E '"(state|status)": "needs-sign-in"'
}

client_secret() {
    works alice@secret.test
    check "the application's own token was had" did granted 'client:"secret"' 'grant:"client_credentials"' 'scope:"application.mail"'
}

certificate_ps256() {
    works alice@ps256.test
    check "its assertion was signed by PS256" did granted 'client:"ps256"' 'grant:"client_credentials"' 'algorithm:"PS256"'
}

certificate_rs256() {
    works alice@rs256.test
    check "PS256 was tried" did refused 'client:"rs256"' 'algorithm:"PS256"' 'error:"invalid_client"'
    check "RS256 was taken" did granted 'client:"rs256"' 'algorithm:"RS256"'
}

loopback_redirect() {
    connecting alice@people.test
    check "the browser is shown that Postern has the answer" browse alice@people.test "$ADDRESS"
    check_said "it is" 'Postern has the answer'
    check "the sign-in ends well" connected
    check "a code was redeemed" did granted 'client:"people"' 'grant:"authorization_code"'
    works alice@people.test
}

pasted_redirect() {
    local end
    mkfifo "$WORLD/keyboard"
    exec 9<>"$WORLD/keyboard"
    PASTED=$WORLD/keyboard connecting bob@people.test --no-browser
    # Nothing listens there: the browser shows an error, with the address in its bar.
    end=$(browse bob@people.test "$ADDRESS" --output /dev/null --write-out '%{url_effective}' 2>/dev/null) || true
    [[ $end == http://localhost:*code=* ]] || { echo "not ok - the browser ended at $end"; exit 1; }
    echo "$end" >&9
    check "the address is pasted, and the sign-in ends well" connected
    works bob@people.test
}

make_client() {
    umask 077
    openssl req -x509 -newkey rsa:2048 -nodes -days 100 -subj "/CN=Postern test" -keyout "$WORLD/client.key" -out "$WORLD/client.pem"
}

# A desktop's browser is not to be started by a test.
mkdir -p "$WORLD/bin"
printf '#!/bin/sh\n' >"$WORLD/bin/xdg-open"
chmod +x "$WORLD/bin/xdg-open"
PATH=$WORLD/bin:$PATH

check "oidc-provider is installed" installed
check "a certificate for the applications is made" make_client
(umask 077 && echo "$SECRET" >"$WORLD/secret")
make_dovecot
start_provider
dovecot_tokens
start_dovecot person.conf application.conf
configuration >"$WORLD/postern.toml"
check "the configuration is sound" postern check
for name in secret ps256 rs256 people public jwt; do
    check "alice@$name.test is put on the list" add "alice@$name.test" "$name"
done
check "bob@people.test is put on the list" add bob@people.test people
start_proxy

grant "client credentials, secret" client_secret
grant "client credentials, certificate (PS256)" certificate_ps256
grant "client credentials, certificate (RS256 only)" certificate_rs256
grant "authorization code, PKCE, loopback redirect" loopback_redirect
grant "authorization code, PKCE, pasted redirect" pasted_redirect

echo
printf '%s\n' "${RESULTS[@]}"
[[ ${RESULTS[*]} != *FAILED* ]]
