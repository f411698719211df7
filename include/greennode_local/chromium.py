"""A headless Chromium, driven over its DevTools protocol: for tests of pages, and their pictures in the docs."""

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from greennode_local.local_error import LocalError

_START_SECONDS = 30.0
_COMMAND_SECONDS = 20.0
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """The browser's program, or None where none is installed."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Page:
    """One tab. `problems` are what its console said in anger: exceptions, and what its policy has blocked."""

    def __init__(self, socket: ClientConnection) -> None:
        self.problems: list[str] = []
        self._socket = socket
        self._ids = itertools.count(1)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        until = time.monotonic() + _COMMAND_SECONDS
        while True:
            try:
                # Events keep coming in beside: the time is the command's, not a message's.
                message = json.loads(self._socket.recv(timeout=max(until - time.monotonic(), 0)))
            except TimeoutError:
                raise LocalError(f"Chromium did not answer {method} within {_COMMAND_SECONDS:.0f} s") from None
            if message.get("id") == number:
                if "error" in message:
                    raise LocalError(f"Chromium refuses {method}: {message['error'].get('message')}")
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def goto(self, url: str) -> None:
        """Open an address; follow it with `wait_for`."""
        self.call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression, which may be a promise of it."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise LocalError(f"{script[:200]}: {details.get('exception', {}).get('description', details['text'])}")
        return found["result"].get("value")

    def wait_for(self, condition: str, *, seconds: float = 30) -> Any:
        """Wait until a JavaScript expression is true; what it is then. Goes on waiting where the page is left."""
        until = time.monotonic() + seconds
        while True:
            # A page that is being left, or has no frame yet, has nothing to say.
            with contextlib.suppress(LocalError):
                if found := self.evaluate(condition):
                    return found
            if time.monotonic() > until:
                text = self.evaluate("document.body && document.body.innerText.slice(0, 1500)")
                raise LocalError(f"not seen after {seconds:.0f} s: {condition}\n{text}")
            time.sleep(0.1)

    def press(self, key: str, code: int) -> None:
        """A key on the keyboard, by its name and its number, such as Escape, 27."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def resize(self, width: int, height: int, *, is_phone: bool = False) -> None:
        """The size of the window; a phone has two pixels for one."""
        scale = 2 if is_phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=is_phone
        )

    def prefer_dark(self, *, is_dark: bool) -> None:
        """What the system's theme is."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, path: Path, *, height: int) -> None:
        """A picture of the page from its top, as high as that and as wide as the window, as PNG."""
        clip = {"x": 0, "y": 0, "width": self.evaluate("innerWidth"), "height": height, "scale": 1}
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(taken["data"]))

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Runtime.exceptionThrown":
            details = message["params"]["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])
        if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            entry = message["params"]["entry"]
            self.problems.append(f"{entry['text']} {entry.get('url', '')}")


@contextlib.contextmanager
def chromium_page() -> Iterator[Page]:
    """A tab of a browser that has never been anywhere. Raises LocalError where no browser is installed."""
    program = find_chromium()
    if program is None:
        raise LocalError(f"no Chromium is installed: looked for {', '.join(_NAMES)}")
    with tempfile.TemporaryDirectory(prefix="greennode-chromium-", ignore_cleanup_errors=True) as profile:
        command = [
            program,
            "--headless=new",
            "--no-sandbox",  # as root, and in containers, it has none to offer
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--window-size=1440,900",
            "--no-first-run",
            "--no-proxy-server",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603
            try:
                with connect(_page_address(Path(profile), process), max_size=None, proxy=None) as socket:
                    yield Page(socket)
            finally:
                process.kill()


def _page_address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    port_file = profile / "DevToolsActivePort"
    until = time.monotonic() + _START_SECONDS
    while not (port_file.exists() and port_file.read_text().count("\n") == 1):
        if process.poll() is not None or time.monotonic() > until:
            raise LocalError("Chromium did not start")
        time.sleep(0.05)
    port = port_file.read_text().splitlines()[0]
    with httpx.Client(trust_env=False) as http:
        found = http.get(f"http://127.0.0.1:{port}/json/list").json()
    address: str = next(target["webSocketDebuggerUrl"] for target in found if target["type"] == "page")
    return address
