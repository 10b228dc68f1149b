"""What the checks written in Python share: the world that lib.sh made, and messages."""

import os
import socket
import ssl
import traceback

ALICE, BOB, SHARED = "alice@contoso.test", "bob@contoso.test", "shared@contoso.test"
PATIENCE_SECONDS = float(os.environ.get("PATIENCE_SECONDS", "60"))
WORLD = os.environ["WORLD"]
socket.setdefaulttimeout(PATIENCE_SECONDS)

_checks = []


def check(function):
    """Marks a function as a check. Its name is the sentence."""
    _checks.append(function)
    return function


def run():
    """Runs every check in the order in which they stand; ends at the first that fails."""
    for function in _checks:
        sentence = function.__name__.replace("_", " ")
        try:
            function()
        except Exception:
            print(f"not ok - {sentence}\n{traceback.format_exc()}", flush=True)
            raise SystemExit(1)
        print(f"ok - {sentence}", flush=True)


def port(name):
    """The port of a listener: SMTP, IMAP or POP3, with `S` behind it for implicit TLS, `_CLEAR` for none."""
    return int(os.environ[f"{name}_PORT"])


def password(name):
    """The app password of ALICE, BOB or SHARED."""
    return os.environ[f"{name}_PASSWORD"]


def trust(file=None):
    """TLS that trusts one authority and nothing else: the proxy's, or the one in the file."""
    return ssl.create_default_context(cafile=file or os.environ["CA"])


def refused(kind, function, *arguments):
    """The exception of this kind that the call ends with."""
    try:
        function(*arguments)
    except kind as error:
        return error
    raise AssertionError("it was not refused")


def ends_with(whole, end):
    """The tenant puts lines of its own before a message; what was sent is the rest."""
    assert whole.endswith(end), f"{len(whole)} octets: {whole[:300]!r} … {whole[-100:]!r} for {len(end)} of {end[:200]!r}"
