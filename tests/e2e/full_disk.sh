#!/usr/bin/env bash
# The crash harness on a disk that is too small for the mail: it may be refused for now, but nothing that was acknowledged is lost.
# POSTERN_CRASH_KILLS sets how often Postern is killed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
CARGO=${CARGO:-cargo}

as_root=()
((EUID == 0)) || as_root=(sudo -n)
folder=$(mktemp -d "${TMPDIR:-/tmp}/postern-full-disk.XXXXXX")
end() {
    local status=$?
    trap - EXIT
    "${as_root[@]}" umount "$folder" 2>/dev/null || true
    rmdir "$folder"
    rm -f "$folder.log"
    exit "$status"
}
trap end EXIT

if ! "${as_root[@]}" mount -t tmpfs -o "size=${POSTERN_CRASH_DISK:-6m},mode=0700,uid=$(id -u)" tmpfs "$folder" 2>/dev/null; then
    echo "skipped: nobody may mount a disk here"
    exit 0
fi
POSTERN_CRASH_DATA=$folder "$CARGO" test --locked --test it -- crash:: --nocapture 2>&1 | tee "$folder.log"
grep -q "^test result: ok. 1 passed" "$folder.log"
