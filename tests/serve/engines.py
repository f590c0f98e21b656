"""Three browsers for tests, driven alike.

Chromium: by Playwright. Firefox: by WebDriver BiDi at its own socket. WebKitGTK: by plain WebDriver
(WebKitWebDriver under Xvfb). Each skips its test where it is missing.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request

import pytest

from tests.serve.pages import chromium

ENTER = "\ue007"
ESCAPE = "\ue00c"
NAMES = {ENTER: "Enter", ESCAPE: "Escape"}
PATIENCE = 120_000  # milliseconds that a script may wait
MINI_BROWSER = "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser"


class Tab:
    """A page, by a protocol of WebDriver. command: sends a command, and returns the answer."""

    def __init__(self, command):
        self._command = command

    def run(self, body, *values):
        """What an async function's body returns; it has the values as `values`."""
        return json.loads(
            self._run(
                f"const values = {json.dumps(values)};"
                f"const found = await (async () => {{ {body} }})();"
                "return JSON.stringify(found ?? null);"
            )
        )

    def wait(self, condition, *values):
        """Waits until an expression of the page holds."""
        self.run(
            "await new Promise((done) => {"
            f"  const look = () => ({condition}) ? done() : setTimeout(look, 20);"
            "  look();"
            "});",
            *values,
        )

    def press(self, keys):
        """Presses keys, one after another."""
        presses = []
        for key in keys:
            presses += [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._act([{"type": "key", "id": "keys", "actions": presses}])


class ChromiumTab:
    """A page of Playwright's."""

    def __init__(self, page):
        self._page = page

    def open(self, address):
        """Loads a page."""
        self._page.goto(address)

    def run(self, body, *values):
        """What an async function's body returns; it has the values as `values`."""
        return self._page.evaluate(f"async (values) => {{ {body} }}", values)

    def wait(self, condition, *values):
        """Waits until an expression of the page holds."""
        self._page.wait_for_function(f"(values) => {condition}", arg=values)

    def press(self, keys):
        """Presses keys, one after another."""
        for key in keys:
            self._page.keyboard.press(NAMES.get(key, key))


class FirefoxTab(Tab):
    """A tab of Firefox."""

    def __init__(self, command):
        super().__init__(command)
        self._context = command("browsingContext.getTree")["contexts"][0]["context"]

    def open(self, address):
        """Loads a page."""
        self._command(
            "browsingContext.navigate", context=self._context, url=address, wait="complete"
        )

    def _run(self, body):
        answer = self._command(
            "script.callFunction",
            functionDeclaration=f"async () => {{ {body} }}",
            target={"context": self._context},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        return answer["result"]["value"]

    def _act(self, actions):
        self._command("input.performActions", context=self._context, actions=actions)


class WebKitTab(Tab):
    """A window of WebKit's MiniBrowser."""

    def open(self, address):
        """Loads a page."""
        self._command("POST", "/url", url=address)

    def _run(self, body):
        return self._command(
            "POST", "/execute/sync", script=f"return (async () => {{ {body} }})();", args=[]
        )

    def _act(self, actions):
        self._command("POST", "/actions", actions=actions)


@contextlib.contextmanager
def ending(*commands, **options):
    """A program that is ended afterwards."""
    process = subprocess.Popen(commands, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def chromium_tab():
    """A page in Chromium."""
    with chromium() as browser, browser.new_context() as session:
        session.set_default_timeout(PATIENCE)
        yield ChromiumTab(session.new_page())


@contextlib.contextmanager
def firefox_tab(folder):
    """A page in Firefox. folder: for its profile."""
    client = pytest.importorskip("websockets.sync.client")
    if shutil.which("firefox-esr") is None:
        pytest.skip("Firefox is not installed")
    options = ["--headless", "--profile", str(folder), "--remote-debugging-port", "0"]
    errors = subprocess.PIPE
    with ending("firefox-esr", *options, stderr=errors, text=True) as process:
        said = "WebDriver BiDi listening on "
        address = next(line for line in process.stderr if line.startswith(said))
        address = address.removeprefix(said).strip()
        with client.connect(f"{address}/session", max_size=None) as line:
            command = _bidi(line)
            command("session.new", capabilities={})
            yield FirefoxTab(command)


def _bidi(line):
    """Commands over Firefox's socket."""
    numbers = iter(range(1, 2**31))

    def command(method, **params):
        number = next(numbers)
        line.send(json.dumps({"id": number, "method": method, "params": params}))
        for message in line:
            answer = json.loads(message)
            if answer.get("id") == number:
                assert answer["type"] == "success", answer
                return answer["result"]
        raise AssertionError("Firefox has gone")

    return command


@contextlib.contextmanager
def webkit_tab(*options):
    """A page in WebKit. options: of its browser."""
    programs = ("WebKitWebDriver", "Xvfb", MINI_BROWSER)
    if not all(shutil.which(program) for program in programs):
        pytest.skip("WebKitGTK's driver or Xvfb is not installed")
    with contextlib.ExitStack() as open_until_then:
        # 1. A screen, which says its own number once it is there.
        reading, writing = os.pipe()
        screen = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x900x24"]
        quiet = subprocess.DEVNULL
        open_until_then.enter_context(ending(*screen, pass_fds=[writing], stderr=quiet))
        os.close(writing)
        with os.fdopen(reading) as told:
            display = f":{told.readline().strip()}"
        # 2. The driver, once it listens; it has a sandbox that root cannot have.
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        env = {**os.environ, "DISPLAY": display, "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1"}
        driver = ending("WebKitWebDriver", f"--port={port}", env=env, stderr=quiet)
        process = open_until_then.enter_context(driver)
        while not _listens(port):
            assert process.poll() is None, "WebKitWebDriver has ended"
        # 3. A session.
        command = _webdriver(f"http://127.0.0.1:{port}/session")
        browser = {"binary": MINI_BROWSER, "args": ["--automation", *options]}
        wanted = {"webkitgtk:browserOptions": browser, "timeouts": {"script": PATIENCE}}
        session = command("POST", capabilities={"alwaysMatch": wanted})["sessionId"]
        command = _webdriver(f"http://127.0.0.1:{port}/session/{session}")
        yield WebKitTab(command)
        command("DELETE")


def _listens(port):
    """Whether a program listens at a port of this machine."""
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def _webdriver(session):
    """Commands of a WebDriver session."""

    def command(method, path="", **body):
        data = json.dumps(body).encode() if method == "POST" else None
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(session + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(asked) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    return command
