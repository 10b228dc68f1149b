"""Thunderbird without a window, told what to do in its own JavaScript over Marionette.

The protocol is JSON behind its length: a command is `[0, id, name, parameters]`, its answer `[1, id, error, result]`.
"""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

from checks import PATIENCE_SECONDS

# No question to the person, no visit to the network that the checks did not ask for.
QUIET = {
    "app.donation.eoy.version.viewed": 999,
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "datareporting.policy.firstRunURL": "",
    "extensions.update.enabled": False,
    "extensions.systemAddon.update.enabled": False,
    "mail.inappnotifications.enabled": False,
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.shell.checkDefaultClient": False,
    "mail.spotlight.firstRunDone": True,
    "mail.rights.version": 1,
    "mailnews.start_page.enabled": False,
    "mailnews.start_page_override.mstone": "ignore",
    "marionette.port": 0,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.proxy.type": 0,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}


class Thunderbird:
    """A running Thunderbird."""

    def __init__(self, connection):
        self._connection = connection
        self._unread = b""
        self._commands = 0
        self._answer()  # who it is
        self._command("WebDriver:NewSession", {})
        self._command("Marionette:SetContext", {"value": "chrome"})
        self._command("WebDriver:SetTimeouts", {"script": int(PATIENCE_SECONDS * 1000)})

    def does(self, script, *arguments):
        """Runs the body of an asynchronous function, and gives what it returns. `given` holds the arguments."""
        wrapped = (
            "const [given, done] = [[...arguments].slice(0, -1), arguments[arguments.length - 1]];"
            f"(async () => {{{script}}})()"
            ".then(value => done([true, value]), error => done([false, `${error}\\n${error?.stack}`]));"
        )
        options = {"script": wrapped, "args": list(arguments), "sandbox": "system", "newSandbox": False}
        went_well, value = self._command("WebDriver:ExecuteAsyncScript", options)["value"]
        assert went_well, value
        return value

    def quit(self):
        self._command("Marionette:Quit", {"flags": ["eForceQuit"]})

    def _command(self, name, parameters):
        self._commands += 1
        command = json.dumps([0, self._commands, name, parameters]).encode()
        self._connection.sendall(b"%d:%s" % (len(command), command))
        _, _, error, result = self._answer()
        assert error is None, f"{name}: {error}"
        return result

    def _answer(self):
        while b":" not in self._unread:
            self._receive()
        size, _, self._unread = self._unread.partition(b":")
        while len(self._unread) < int(size):
            self._receive()
        answer, self._unread = self._unread[: int(size)], self._unread[int(size) :]
        return json.loads(answer)

    def _receive(self):
        octets = self._connection.recv(1 << 16)
        assert octets, "Thunderbird closed the connection"
        self._unread += octets


@contextlib.contextmanager
def thunderbird(profile, preferences):
    """Starts it with a profile of its own; it ends with the block, whatever happens in it."""
    profile = pathlib.Path(profile)
    profile.mkdir()
    preferences = {**QUIET, **preferences}
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()]
    (profile / "user.js").write_text("".join(lines))
    command = ["thunderbird", "--headless", "--marionette", "--remote-allow-system-access", "--no-remote"]
    command += ["--profile", profile]
    with open(profile.with_suffix(".log"), "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        with socket.create_connection(("127.0.0.1", _port(process, profile / "MarionetteActivePort"))) as connection:
            program = Thunderbird(connection)
            yield program
            program.quit()
        process.wait(PATIENCE_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _port(process, file):
    """The port it has chosen, which it writes into a file."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"Thunderbird ended with status {process.returncode}"
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int(file.read_text())
        time.sleep(0.05)
    raise AssertionError("Thunderbird did not start")
