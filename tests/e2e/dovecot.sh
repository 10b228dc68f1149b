#!/usr/bin/env bash
# A real Dovecot as the far side of IMAP and POP3: a server that knows nothing of this project. It asks the simulated tenant whether a
# token is good (RFC 7662), and keeps its mail in Maildir, where what was filed can be compared octet for octet.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

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
ALICE_PASSWORD=$(issue alice@contoso.test)
BOB_PASSWORD=$(issue bob@contoso.test)
export WORLD ALICE_PASSWORD BOB_PASSWORD PATIENCE_SECONDS
run_python "$E2E/dovecot_clients.py"
