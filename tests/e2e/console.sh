#!/usr/bin/env bash
# The console in a real browser (Chromium): signing in, what ends soon, and what other pages in the same browser cannot do.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_world

CONSOLE=$(sed -n 's/^console http \([^ ]*\) .*/\1/p' "$WORLD/serve.log")
LABEL='<script>document.title="run"</script>'
check "an app password that ends in 20 days" postern password issue "$ALICE" --label "$LABEL" --owner '"><b>Alice</b>' --expires 20d
ID=$(postern --json password list 2>/dev/null | python3 -c '
import json, sys
print([row["id"] for row in json.load(sys.stdin) if row["expires_at"]][0])')
# As if it had been issued long ago: one that was to live for 20 days is not spoken of 30 days ahead.
python3 - "$WORLD/data/postern.db" <<'PYTHON'
import sqlite3, sys
store = sqlite3.connect(sys.argv[1])
store.execute("UPDATE app_password SET created_at = created_at - 8640000000")
store.commit()
PYTHON
LINK=$(postern console 2>/dev/null)
export CONSOLE ID LABEL LINK

cat >"$WORLD/browse.py" <<'PYTHON'
import http.server, os, sys, threading
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

console, password_id, label = os.environ["CONSOLE"], os.environ["ID"], os.environ["LABEL"]
port = console.rsplit(":", 1)[1]
patience = int(os.environ["PATIENCE_SECONDS"])


class Other(http.server.BaseHTTPRequestHandler):
    """Somebody else's web server on the same machine."""

    cookies = []
    page = ""

    def do_GET(self):
        Other.cookies.append(self.headers.get("Cookie"))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(Other.page.encode())

    def log_message(self, *arguments):
        pass


other = http.server.HTTPServer(("127.0.0.1", 0), Other)
threading.Thread(target=other.serve_forever, daemon=True).start()

options = webdriver.ChromeOptions()
for argument in [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--window-size=1300,900",
    "--host-resolver-rules=MAP evil.example 127.0.0.1",
    "--user-data-dir=" + os.environ["WORLD"] + "/browser",
]:
    options.add_argument(argument)
options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
browser = webdriver.Chrome(options=options)


def holds(sentence, condition):
    if not condition:
        print(f"not ok - {sentence}: {browser.current_url}\n{browser.page_source}")
        sys.exit(1)
    print(f"ok - {sentence}", flush=True)


def until(sentence, condition):
    # In the middle of going to another page what is looked at vanishes.
    WebDriverWait(browser, patience, ignored_exceptions=[WebDriverException]).until(lambda _: condition(), sentence)
    holds(sentence, True)


def text():
    return browser.find_element(By.TAG_NAME, "body").text


def fits():
    return browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def button(name):
    return browser.find_element(By.XPATH, f"//button[text()='{name}']")


try:
    browser.get(os.environ["LINK"])
    holds("the link leads to a button and to nothing else", "Sign in" in browser.title and "contoso" not in text())
    button("Sign in").click()
    until("the button signs in", lambda: "/s/" in browser.current_url)
    place = browser.current_url
    holds("the link is not in the address any more", "link=" not in place)
    holds("what ends soon stands in front", password_id in text() and "19 days" in text() and label in text())
    holds("there is a style sheet", browser.find_element(By.TAG_NAME, "nav").value_of_css_property("display") == "flex")
    holds("everything fits", fits())
    browser.find_element(By.LINK_TEXT, password_id).click()
    until("its page says what to do", lambda: f"postern password rotate {password_id} --overlap 7d" in text())
    holds("what somebody called it is text", label in text() and browser.title != "run")
    for page, words in [
        ("passwords", "backup"),
        ("mailboxes", "alice@contoso.test"),
        ("queue", "No mail is waiting"),
        ("sent", "journal"),
        ("audit", "console sign-in"),
        ("bans", "No address is banned"),
        ("explain?text=AADSTS7000222", "client secret"),
    ]:
        browser.get(place + page)
        holds(f"the page {page} is there", words in text() or page == "passwords" and password_id in text())
    browser.set_window_size(400, 800)
    browser.get(place)
    holds("everything fits on a telephone", fits())
    holds("no page broke a rule of its own", not browser.get_log("browser"))

    Other.page = f"""<form method=post action="{place}sign-out"><button>Win</button></form>"""
    browser.get(f"http://127.0.0.1:{other.server_port}/")
    browser.get(f"http://127.0.0.1:{other.server_port}/s/")
    holds("another web server on this machine gets no cookie", set(Other.cookies) == {None})
    button("Win").click()
    until("nor can its pages do anything", lambda: "another page" in text())
    browser.get(place)
    holds("the session goes on", "What there is" in text())
    browser.get(place.replace("127.0.0.1", "evil.example"))
    holds("under another name nothing is answered", "not the host" in text())
    browser.get(f"http://127.0.0.1:{other.server_port}/")
    browser.execute_script(f"document.body.innerHTML = '<iframe src=\"{place}\"></iframe>'")
    browser.switch_to.frame(0)
    holds("nor within another page", "What there is" not in browser.page_source)
    browser.switch_to.default_content()

    browser.get(place)
    button("Sign out").click()
    until("signing out leads to the beginning", lambda: browser.current_url == f"http://{console}/")
    browser.get(place)
    holds("and nobody is in any more", "You are not signed in" in text())
    browser.get(os.environ["LINK"])
    button("Sign in").click()
    until("nor does the link let in twice", lambda: "was used already" in text())
finally:
    browser.quit()
PYTHON
export PATIENCE_SECONDS WORLD
# The browser module of Debian belongs to Debian's Python.
status=0
/usr/bin/python3 "$WORLD/browse.py" 2>"$WORLD/browse.log" || status=$?
((status == 0)) || exit "$status"
check "with another one in its place it is not spoken of" postern password rotate "$ID" --overlap 7d
