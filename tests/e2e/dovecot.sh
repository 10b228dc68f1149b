#!/usr/bin/env bash
# A real Dovecot as the far side of IMAP and POP3: a server that knows nothing of this project. It asks the simulated tenant whether a
# token is good (RFC 7662), and keeps its mail in Maildir, where what was filed can be compared octet for octet.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_world_at_dovecot
# What she says is followed, for copies of sent messages; and nothing else of it may change.
ALICE_PASSWORD=$(issue alice@contoso.test --drop-sent-append)
BOB_PASSWORD=$(issue bob@contoso.test)
export WORLD ALICE_PASSWORD BOB_PASSWORD PATIENCE_SECONDS
run_python "$E2E/dovecot_clients.py"
