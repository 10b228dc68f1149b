#!/usr/bin/env bash
# Thunderbird without a window: two IMAP accounts, one POP3 account and sending, driven over its own remote protocol.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_world
# Thunderbird files a copy of what it sends, and so does the tenant, as Exchange does.
ALICE_PASSWORD=$(issue "$ALICE" --drop-sent-append)
export ALICE_PASSWORD
run_python "$E2E/thunderbird_clients.py"
