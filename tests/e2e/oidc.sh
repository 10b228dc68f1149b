#!/usr/bin/env bash
# A real authorization server, the certified oidc-provider for Node (oidc/server.mjs), as the token service, and a real Dovecot as the
# mail server, which asks it whether a token is good. Neither knows anything of this project. For each grant: a mail program logs in
# with an app password, and Dovecot lets it in by a token of that server.
bash "$(dirname "${BASH_SOURCE[0]}")/oidc/install" || exit 1
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
    # Else the address of the time before is found, for a moment.
    rm -f "$WORLD/cookies" "$WORLD/connect.log"
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

# is_in_state ADDRESS STATE: as `mailbox list` tells it.
is_in_state() {
    postern --json mailbox list | python3 -c '
import json, sys
states = {row["address"]: (row["state"], row.get("reason")) for row in json.load(sys.stdin)}
print(states[sys.argv[1]])
sys.exit(states[sys.argv[1]][0] != sys.argv[2])' "$1" "$2"
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

device_code() {
    local page form
    connecting alice@public.test --device-code
    local code
    code=$(grep -oE 'enter the code [A-Z0-9-]+' "$WORLD/connect.log" | cut -d' ' -f4)
    # As the person does: opens the page, enters the code, confirms it, and signs in.
    page=$(browse alice@public.test "$ADDRESS")
    form=$(grep -oE 'name="xsrf" value="[0-9a-f]+"' <<<"$page" | cut -d'"' -f4)
    check "the code is entered" browse alice@public.test "$ADDRESS" --data-urlencode "user_code=$code" --data "xsrf=$form"
    check "it is confirmed, and the person signs in" browse alice@public.test "$ADDRESS" \
        --data-urlencode "user_code=$code" --data "xsrf=$form" --data confirm=yes
    check_said "the page says so" 'Sign-in Success'
    check "the sign-in ends well" connected
    check "the device code was redeemed" did granted 'client:"public"' 'grant:"urn:ietf:params:oauth:grant-type:device_code"'
    works alice@public.test
}

# rotated ADDRESS NUMBER: a mail program comes once more, and the refresh token has been rotated so often.
rotated() {
    mail imap "$1" >"$WORLD/mail.out" 2>&1 || { cat "$WORLD/mail.out" >&2; exit 1; }
    did granted 'grant:"refresh_token"' "rotations:$2" "account:\"$1\""
}

rotation() {
    local number
    for number in 3 4 5; do
        until_true "rotation $number" rotated "$1" "$number"
        echo "ok - the refresh token was rotated for the time $number"
    done
    check "no refresh token was presented twice" never_refused "$1"
    check "the mailbox is ready" is_in_state "$1" ready
}

after_restart() {
    works "$1"
    until_true "a rotation after the restart" rotated "$1" 7
    check "no refresh token was presented twice" never_refused "$1"
    check "the mailbox is ready" is_in_state "$1" ready
}

never_refused() {
    ! did refused 'grant:"refresh_token"' "account:\"$1\"" && ! did revoked
}

# locked_out ADDRESS: the mail program is told that somebody must act, and the administrator what it is.
locked_out() {
    check_refused "the mail program hears that somebody must act" 'NO \[CONTACTADMIN\]' mail imap "$1"
    check_refused "by POP3 as well" '-ERR \[SYS/PERM\]' mail pop3 "$1"
    check "the mailbox needs a sign-in" is_in_state "$1" needs-sign-in
    check_said "and the reason is the token service's" 'invalid_grant'
}

withdrawn_consent() {
    check "the person takes the application's access away" curl --silent --fail --request POST "$ISSUER/withdraw?account=$1"
    check_refused "the mail program hears that somebody must act" 'NO \[CONTACTADMIN\]' mail imap "$1"
    locked_out "$1"
    connecting "$1"
    check "the person signs in again" browse "$1" "$ADDRESS"
    check "the sign-in ends well" connected
    check "the mailbox is ready" is_in_state "$1" ready
    works "$1"
}

# A refresh token had by a sign-in of its own, with PKCE, as another program would.
foreign_sign_in() {
    local verifier=a-verifier-of-forty-three-characters-or-more challenge end
    challenge=$(printf %s "$verifier" | openssl dgst -sha256 -binary | openssl base64 | tr '+/' '-_' | tr -d '=')
    rm -f "$WORLD/cookies"
    end=$(browse "$1" "$ISSUER/auth" --get --data client_id=public --data response_type=code --data prompt=consent \
        --data-urlencode "redirect_uri=http://localhost:9" --data-urlencode "scope=mail offline_access" \
        --data "code_challenge=$challenge" --data code_challenge_method=S256 \
        --output /dev/null --write-out '%{url_effective}' 2>/dev/null) || true
    curl --silent --fail "$ISSUER/token" --data grant_type=authorization_code --data client_id=public \
        --data "code_verifier=$verifier" --data-urlencode "redirect_uri=http://localhost:9" \
        --data "code=$(grep -oE '[?&]code=[^&]+' <<<"$end" | cut -d= -f2)" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["refresh_token"])'
}

present_again() {
    curl --silent --fail-with-body "$ISSUER/token" --data grant_type=refresh_token --data client_id=public \
        --data-urlencode "refresh_token@$WORLD/stolen"
}

reused_refresh_token() {
    (umask 077 && foreign_sign_in alice@public.test >"$WORLD/refresh-token")
    tr -d '\n' <"$WORLD/refresh-token" >"$WORLD/stolen"
    check "a refresh token of elsewhere is taken" \
        postern mailbox connect alice@public.test --refresh-token-file "$WORLD/refresh-token"
    works alice@public.test
    check_refused "a thief presents it after Postern did" invalid_grant present_again
    check "the token service noticed" did refused 'client:"public"' 'detail:"refresh token already used"'
    check_refused "the mail program hears that somebody must act" 'NO \[CONTACTADMIN\]' mail imap alice@public.test
    locked_out alice@public.test
}

jwt_account() {
    connecting alice@jwt.test
    check "somebody else signs in" browse bob@jwt.test "$ADDRESS"
    check_refused "which is refused" '^error: .*bob@jwt\.test' connected
    check "and nothing is kept" is_in_state alice@jwt.test needs-sign-in
    connecting alice@jwt.test
    check "the right person signs in" browse alice@jwt.test "$ADDRESS"
    check "the sign-in ends well" connected
    check "the mailbox is ready" is_in_state alice@jwt.test ready
}

denied_consent() {
    connecting alice@jwt.test
    check "the person says no" browse nobody "$ADDRESS"
    check_refused "which is told" '^error: .*access_denied' connected
    check "and changes nothing" is_in_state alice@jwt.test ready
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
grant "device code" device_code
grant "refresh token, rotated again and again" rotation alice@people.test
stop_proxy
start_proxy
grant "refresh token, after a restart" after_restart alice@people.test
grant "consent withdrawn, then signed in again" withdrawn_consent bob@people.test
grant "refresh token used twice, the grant is revoked" reused_refresh_token
grant "another account signs in (JWT access token)" jwt_account
grant "the person does not consent" denied_consent

echo
printf '%s\n' "${RESULTS[@]}"
[[ ${RESULTS[*]} != *FAILED* ]]
