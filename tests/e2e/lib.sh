# What every script here shares: a simulated tenant and a proxy on free ports, in processes of their own, and the checks.
# To be sourced. It ends with every process and file it made, also when a check fails.
# shellcheck shell=bash

set -euo pipefail

E2E=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
POSTERN=${POSTERN:-$E2E/../../target/debug/postern}
[[ -x $POSTERN ]] || { echo "there is no program at $POSTERN: run \`cargo build\`, or name it in POSTERN" >&2; exit 1; }

# How long anything may take. What is waited for is looked for again and again, so this costs nothing on a fast machine.
PATIENCE_SECONDS=${POSTERN_TEST_PATIENCE_SECONDS:-60}

# No setting of the person who runs this may change what the programs here do.
unset POSTERN_CONFIG POSTERN_LOG RUST_LOG NO_COLOR http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
WORLD=$(mktemp -d "${TMPDIR:-/tmp}/postern-e2e.XXXXXX")
export HOME=$WORLD LC_ALL=C.UTF-8
PROCESSES=()
FURTHER_FOLDERS=()
CHECKS=0

end_world() {
    local status=$? process
    trap - EXIT
    for process in "${PROCESSES[@]}"; do
        kill -TERM "$process" 2>/dev/null || true
    done
    for process in "${PROCESSES[@]}"; do
        wait "$process" 2>/dev/null || true
    done
    if ((status != 0)); then
        echo "not ok - $(basename "$0") ended with status $status after $CHECKS checks"
        for log in "$WORLD"/*.log; do
            [[ -s $log ]] && { echo "--- $(basename "$log")"; tail -n 40 "$log"; }
        done
    fi
    rm -rf "$WORLD" "${FURTHER_FOLDERS[@]}"
    exit "$status"
}
trap end_world EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# check SENTENCE COMMAND...: the command succeeds. Its output is shown only if it does not.
check() {
    local sentence=$1 status=0
    shift
    "$@" >"$WORLD/check.out" 2>&1 </dev/null || status=$?
    if ((status != 0)); then
        echo "not ok - $sentence (status $status): $*"
        sed 's/^/    /' "$WORLD/check.out"
        exit 1
    fi
    CHECKS=$((CHECKS + 1))
    echo "ok - $sentence"
}

# check_said SENTENCE PATTERN: some line of what the command of the last check said matches.
check_said() {
    if ! grep -Eq -- "$2" "$WORLD/check.out"; then
        echo "not ok - $1: no line matches $2"
        sed 's/^/    /' "$WORLD/check.out"
        exit 1
    fi
    CHECKS=$((CHECKS + 1))
    echo "ok - $1"
}

# check_refused SENTENCE PATTERN COMMAND...: the command fails, and some line of what it says matches.
check_refused() {
    local sentence=$1 pattern=$2
    shift 2
    if "$@" >"$WORLD/check.out" 2>&1 </dev/null; then
        echo "not ok - $sentence: it succeeded: $*"
        sed 's/^/    /' "$WORLD/check.out"
        exit 1
    fi
    check_said "$sentence" "$pattern"
}

# ends_with FILE FILE: the first ends with the whole of the second. The tenant puts lines of its own before a message.
ends_with() {
    tail -c "$(stat -c %s "$2")" "$1" | cmp - "$2"
}

# same FILE FILE: both have the same octets.
same() {
    cmp -- "$1" "$2"
}

# until_true WHAT COMMAND...: asks again and again until the command succeeds.
until_true() {
    local what=$1 deadline=$((SECONDS + PATIENCE_SECONDS))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            echo "not ok - waited in vain for $what"
            exit 1
        fi
        sleep 0.05
    done
}

# start NAME LINE COMMAND...: starts a process and waits until it has said LINE on stderr.
start() {
    local name=$1 line=$2 process
    shift 2
    # What one of this name said before is not to be taken for this one's.
    : >"$WORLD/$name.log"
    "$@" >"$WORLD/$name.out" 2>"$WORLD/$name.log" </dev/null &
    process=$!
    PROCESSES+=("$process")
    until_true "$name to be ready" started "$process" "$line" "$WORLD/$name.log"
    kill -0 "$process" 2>/dev/null || { echo "not ok - $name did not start"; exit 1; }
}

started() {
    # One that has ended is waited for no longer; `start` tells.
    grep -qxF -- "$2" "$3" || ! kill -0 "$1" 2>/dev/null
}

postern() {
    "$POSTERN" --config "$WORLD/postern.toml" --color never "$@"
}

# start_tenant: the simulated tenant; its configuration is in $WORLD/postern.toml, every listener on a free port.
start_tenant() {
    start sandbox "the simulated tenant is ready" "$POSTERN" sandbox --json --dir "$WORLD" "$@"
    sed -i -E 's/^address = "127\.0\.0\.1:[0-9]+"/address = "127.0.0.1:0"/' "$WORLD/postern.toml"
}

# add_listener PROTOCOL TLS: one more listener in the configuration.
add_listener() {
    printf '\n[[listener]]\nprotocol = "%s"\naddress = "127.0.0.1:0"\ntls = "%s"\n' "$1" "$2" >>"$WORLD/postern.toml"
}

# start_proxy: the proxy; its ports are then in SMTP_PORT (STARTTLS), SMTPS_PORT, SMTP_CLEAR_PORT and so on.
start_proxy() {
    local name port
    start serve "postern is ready" "$POSTERN" --config "$WORLD/postern.toml" -v --json serve
    PROXY=${PROCESSES[-1]}
    # Read from the document on stdout, which is what scripts are told to read.
    while read -r name port; do
        printf -v "$name" '%s' "$port"
        export "${name?}"
    done < <(grep -oE '\{"protocol":"[a-z0-9]+","tls":"[a-z]+","address":"[^"]+"' "$WORLD/serve.out" |
        sed -E 's/.*"protocol":"([a-z0-9]+)","tls":"([a-z]+)","address":".*:([0-9]+)"/\1 \2 \3/' |
        while read -r protocol tls port; do
            case $tls in
                starttls) echo "${protocol^^}_PORT $port" ;;
                implicit) echo "${protocol^^}S_PORT $port" ;;
                none) echo "${protocol^^}_CLEAR_PORT $port" ;;
            esac
        done)
    postern certificate >"$WORLD/proxy-ca.pem" 2>/dev/null
    CA=$WORLD/proxy-ca.pem
    export CA
}

# stop_proxy: ends it as a service manager does, and waits until it has ended.
stop_proxy() {
    kill -TERM "$PROXY"
    wait "$PROXY"
}

# issue MAILBOX [SCOPES...]: an app password, as a script gets it: alone on stdout.
issue() {
    local mailbox=$1
    shift
    postern password issue "$mailbox" --label e2e "$@" 2>/dev/null
}

# start_world: tenant, proxy, three mailboxes with an app password each.
start_world() {
    start_tenant
    add_listener smtp none
    add_listener imap none
    add_listener pop3 none
    postern mailbox add alice@contoso.test --alias copier 2>/dev/null
    postern mailbox add bob@contoso.test 2>/dev/null
    postern mailbox add shared@contoso.test 2>/dev/null
    start_proxy
    ALICE=alice@contoso.test BOB=bob@contoso.test SHARED=shared@contoso.test
    ALICE_PASSWORD=$(issue "$ALICE")
    BOB_PASSWORD=$(issue "$BOB")
    SHARED_PASSWORD=$(issue "$SHARED")
    export WORLD POSTERN ALICE BOB SHARED ALICE_PASSWORD BOB_PASSWORD SHARED_PASSWORD PATIENCE_SECONDS
}

# message FILE SUBJECT [LINE]: writes a small message from Alice to Bob with CRLF line ends.
message() {
    printf 'From: Alice <alice@contoso.test>\r\nTo: Bob <bob@contoso.test>\r\nSubject: %s\r\n' "$2" >"$1"
    printf 'Message-ID: <%s@e2e.test>\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\n%s\r\n' \
        "${2// /.}" "${3:-One line of text.}" >>"$1"
}

# run_python FILE [ARGUMENT...]: checks written in Python, each of which prints a line like those of `check`.
run_python() {
    python3 -B "$@" </dev/null
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# make_dovecot: the folder DOVECOT for a Dovecot of our own, with a certificate for it (ca.pem is to be trusted).
make_dovecot() {
    PATH=$PATH:/usr/sbin
    # Dovecot's own users have to reach its folder, which the world's is closed to.
    DOVECOT=$(mktemp -d "${TMPDIR:-/tmp}/postern-dovecot.XXXXXX")
    export DOVECOT
    chmod 755 "$DOVECOT"
    FURTHER_FOLDERS+=("$DOVECOT")
    check "a certificate for Dovecot is made" make_dovecot_certificate
}

make_dovecot_certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=Dovecot test CA" \
        -keyout "$DOVECOT/ca.key" -out "$DOVECOT/ca.pem"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" \
        -keyout "$DOVECOT/server.key" -out "$DOVECOT/server.csr"
    openssl x509 -req -in "$DOVECOT/server.csr" -CA "$DOVECOT/ca.pem" -CAkey "$DOVECOT/ca.key" -CAcreateserial -days 2 \
        -extfile <(printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n') -out "$DOVECOT/server.pem"
}

# start_dovecot FILE...: starts it on the free ports DOVECOT_IMAP and DOVECOT_POP3 (TLS from the first byte). A token is good if it is by
# one of the files, which stand in its folder and say how the token service is asked (dovecot-oauth2.conf.ext).
start_dovecot() {
    local owner login_user internal_user internal_group file passdbs=
    if ((EUID == 0)); then
        owner=nobody login_user=dovenull internal_user=dovecot internal_group=dovecot
    else
        owner=$(id -un) login_user=$(id -un) internal_user=$(id -un) internal_group=$(id -gn)
    fi
    mkdir -p "$DOVECOT/mail"
    chown "$owner" "$DOVECOT/mail"
    DOVECOT_IMAP=$(free_port)
    DOVECOT_POP3=$(free_port)
    export DOVECOT_IMAP DOVECOT_POP3
    for file in "$@"; do
        passdbs+=$(printf '\npassdb {\n  driver = oauth2\n  mechanisms = xoauth2\n  args = %s\n}' "$DOVECOT/$file")
    done
    cat >"$DOVECOT/dovecot.conf" <<CONF
base_dir = $DOVECOT/run
state_dir = $DOVECOT/run
log_path = $WORLD/dovecot-own.log
protocols = imap pop3
listen = 127.0.0.1
default_login_user = $login_user
default_internal_user = $internal_user
default_internal_group = $internal_group
first_valid_uid = 1
ssl = required
ssl_cert = <$DOVECOT/server.pem
ssl_key = <$DOVECOT/server.key
mail_location = maildir:$DOVECOT/mail/%u
mail_save_crlf = yes
auth_mechanisms = xoauth2
$passdbs
userdb {
  driver = static
  args = uid=$owner gid=$(id -g "$owner") home=$DOVECOT/mail/%u
}
service imap-login {
  chroot =
  inet_listener imap {
    port = 0
  }
  inet_listener imaps {
    port = $DOVECOT_IMAP
    ssl = yes
  }
}
service pop3-login {
  chroot =
  inet_listener pop3 {
    port = 0
  }
  inet_listener pop3s {
    port = $DOVECOT_POP3
    ssl = yes
  }
}
service anvil {
  chroot =
}
CONF
    dovecot -F -c "$DOVECOT/dovecot.conf" >"$WORLD/dovecot.log" 2>&1 </dev/null &
    PROCESSES+=("$!")
    until_true "Dovecot to listen" bash -c ": </dev/tcp/127.0.0.1/$DOVECOT_IMAP && : </dev/tcp/127.0.0.1/$DOVECOT_POP3"
}

# start_world_at_dovecot: a real Dovecot behind the proxy for IMAP and POP3, which asks the simulated tenant whether a token is good (RFC 7662);
# Alice and Bob are signed in.
start_world_at_dovecot() {
    local address INTROSPECTION_URL
    make_dovecot
    start_tenant
    TOKEN_URL=$(grep -E '^token_url' "$WORLD/postern.toml" | cut -d'"' -f2)
    # http://127.0.0.1:PORT/TENANT/oauth2/v2.0/token
    INTROSPECTION_URL=$(cut -d/ -f1-3 <<<"$TOKEN_URL")/introspect
    export TOKEN_URL
    cat >"$DOVECOT/oauth2.conf" <<CONF
introspection_mode = post
introspection_url = $INTROSPECTION_URL
username_attribute = username
active_attribute = active
active_value = true
CONF

    start_dovecot oauth2.conf

    # The tenant's mail hosts are Dovecot, its token service stays; each mailbox signs in for itself.
    cat "$DOVECOT/ca.pem" >>"$WORLD/ca.pem"
    sed -i -E \
        -e "s/^imap = \"127.*/imap = \"127.0.0.1:$DOVECOT_IMAP\"/" \
        -e "s/^pop3 = \"127.*/pop3 = \"127.0.0.1:$DOVECOT_POP3\"/" \
        -e 's/^grant = .*/grant = "device_code"/' \
        -e '/^scopes = /d' \
        "$WORLD/postern.toml"
    grep -q '^device_url' "$WORLD/postern.toml" ||
        sed -i "s#^token_url = .*#&\ndevice_url = \"${TOKEN_URL%token}devicecode\"#" "$WORLD/postern.toml"
    for address in alice@contoso.test bob@contoso.test; do
        check "$address is put on the list" postern mailbox add "$address"
        check "$address is signed in" postern mailbox connect "$address" --refresh-token-file "$WORLD/refresh-token-$address"
    done
    start_proxy
}
