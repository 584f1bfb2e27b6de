"""A headless Chromium without a network, and what a test asks of it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from websocket import create_connection

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]  # fmt: skip
_PATIENCE_S = 20.0


class Chromium:
    """One tab. `heard` collects what the page says: console messages, errors, and requests for other files."""

    def __init__(self, profile: Path):
        command = [PROGRAM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = self._port(profile / "DevToolsActivePort")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=_PATIENCE_S) as answer:
            tabs = json.load(answer)
        address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        self._socket = create_connection(address, timeout=_PATIENCE_S, suppress_origin=True)
        self._n, self._events, self.heard = 0, [], []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)

    def _port(self, file: Path) -> str:
        end_s = time.monotonic() + _PATIENCE_S
        while not file.is_file() or not file.read_text().strip():
            assert time.monotonic() < end_s and self.process.poll() is None, "Chromium does not start"
            time.sleep(0.05)
        return file.read_text().split()[0]

    def close(self) -> None:
        self._socket.close()
        self.process.terminate()
        self.process.wait(_PATIENCE_S)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command of the protocol."""
        self._n += 1
        self._socket.send(json.dumps({"id": self._n, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._n:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        self._events.append(message["method"])
        params = message.get("params", {})
        if message["method"] == "Runtime.consoleAPICalled":
            self.heard.append(f"console: {[arg.get('value') for arg in params['args']]}")
        elif message["method"] == "Runtime.exceptionThrown":
            self.heard.append(f"error: {params['exceptionDetails'].get('exception', params['exceptionDetails'])}")
        elif message["method"] == "Log.entryAdded":
            self.heard.append(f"log: {params['entry']['text']}")
        elif message["method"] == "Network.requestWillBeSent" and params["type"] != "Document":
            self.heard.append(f"asks for {params['request']['url'][:80]}")

    def open(self, page: Path) -> None:
        """Load a page and wait until it is there."""
        self._events, self.heard = [], []
        self.call("Page.navigate", url=page.resolve().as_uri())
        while "Page.loadEventFired" not in self._events:
            self._note(json.loads(self._socket.recv()))

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def look(self, width: int = 1100, dark: bool = False, media: str = "") -> None:
        """The width of the window, the scheme of colours, and the medium; "": a screen, or paper when it is printed."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def press(self, key: str, code: int, text: str = "") -> None:
        """A key, as a person at a keyboard presses it."""
        for kind in ("keyDown", "keyUp"):
            said = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **said)

    def drag(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        """The mouse, pressed at one place of the window and let go at another."""
        for kind, (x, y) in (
            ("mouseMoved", begin),
            ("mousePressed", begin),
            ("mouseMoved", end),
            ("mouseReleased", end),
        ):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def printed(self) -> bytes:
        """The page as a PDF, on the paper that its style sheet asks for."""
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"])

    def picture(self, path: Path, height: int = 0) -> None:
        """A PNG of the page: its first `height` px, or all of it."""
        size = self.run("[document.documentElement.clientWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": height or size[1], "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))
