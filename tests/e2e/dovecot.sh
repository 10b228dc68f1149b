#!/usr/bin/env bash
# A real Dovecot as the far side of IMAP and POP3: a server that knows nothing of this project. It asks the simulated tenant whether a
# token is good (RFC 7662), and keeps its mail in Maildir, where what was filed can be compared octet for octet.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PATH=$PATH:/usr/sbin

# Dovecot's own users have to reach its folder, which the world's is closed to.
DOVECOT=$(mktemp -d "${TMPDIR:-/tmp}/postern-dovecot.XXXXXX")
export DOVECOT
chmod 755 "$DOVECOT"
FURTHER_FOLDERS+=("$DOVECOT")
mkdir -p "$DOVECOT/mail"
if ((EUID == 0)); then
    OWNER=nobody LOGIN_USER=dovenull INTERNAL_USER=dovecot INTERNAL_GROUP=dovecot
else
    OWNER=$(id -un) LOGIN_USER=$(id -un) INTERNAL_USER=$(id -un) INTERNAL_GROUP=$(id -gn)
fi
chown "$OWNER" "$DOVECOT/mail"

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

make_certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=Dovecot test CA" \
        -keyout "$DOVECOT/ca.key" -out "$DOVECOT/ca.pem"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" \
        -keyout "$DOVECOT/server.key" -out "$DOVECOT/server.csr"
    openssl x509 -req -in "$DOVECOT/server.csr" -CA "$DOVECOT/ca.pem" -CAkey "$DOVECOT/ca.key" -CAcreateserial -days 2 \
        -extfile <(printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n') -out "$DOVECOT/server.pem"
}
check "a certificate for Dovecot is made" make_certificate

start_tenant
TOKEN_URL=$(grep -E '^token_url' "$WORLD/postern.toml" | cut -d'"' -f2)
# http://127.0.0.1:PORT/TENANT/oauth2/v2.0/token
INTROSPECTION_URL=$(cut -d/ -f1-3 <<<"$TOKEN_URL")/introspect
export TOKEN_URL
DOVECOT_IMAP=$(free_port)
DOVECOT_POP3=$(free_port)
export DOVECOT_IMAP DOVECOT_POP3

cat >"$DOVECOT/dovecot.conf" <<CONF
base_dir = $DOVECOT/run
state_dir = $DOVECOT/run
log_path = $WORLD/dovecot-own.log
protocols = imap pop3
listen = 127.0.0.1
default_login_user = $LOGIN_USER
default_internal_user = $INTERNAL_USER
default_internal_group = $INTERNAL_GROUP
first_valid_uid = 1
ssl = required
ssl_cert = <$DOVECOT/server.pem
ssl_key = <$DOVECOT/server.key
mail_location = maildir:$DOVECOT/mail/%u
mail_save_crlf = yes
auth_mechanisms = xoauth2
passdb {
  driver = oauth2
  mechanisms = xoauth2
  args = $DOVECOT/oauth2.conf
}
userdb {
  driver = static
  args = uid=$OWNER gid=$(id -g "$OWNER") home=$DOVECOT/mail/%u
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
cat >"$DOVECOT/oauth2.conf" <<CONF
introspection_mode = post
introspection_url = $INTROSPECTION_URL
username_attribute = username
active_attribute = active
active_value = true
CONF

dovecot -F -c "$DOVECOT/dovecot.conf" >"$WORLD/dovecot.log" 2>&1 </dev/null &
PROCESSES+=("$!")
until_true "Dovecot to listen" bash -c ": </dev/tcp/127.0.0.1/$DOVECOT_IMAP && : </dev/tcp/127.0.0.1/$DOVECOT_POP3"

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
ALICE_PASSWORD=$(issue alice@contoso.test)
BOB_PASSWORD=$(issue bob@contoso.test)
export WORLD ALICE_PASSWORD BOB_PASSWORD PATIENCE_SECONDS
run_python "$E2E/dovecot_clients.py"
