#!/usr/bin/env bash
# Python's smtplib, imaplib and poplib: what most scripts that send and read mail are made with.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_world
run_python "$E2E/python_clients.py"
