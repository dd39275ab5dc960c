"""A headless Chromium, driven over its DevTools protocol."""

import base64
import contextlib
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import pytest
from websockets.sync.client import connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_S = 60


class Browser:
    """One page. `microphone`: a WAV file that the page hears for a microphone."""

    def __init__(self, folder: Path, microphone: Path | None = None):
        if CHROMIUM is None:
            pytest.skip("no Chromium on this machine")
        heard = [f"--use-file-for-fake-audio-capture={microphone}"] if microphone else []
        self.process = subprocess.Popen(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"),
                *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", f"--user-data-dir={folder}"),
                *(*heard, "about:blank"),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.calls, self.messages, self.stack = 0, [], contextlib.ExitStack()

    def __enter__(self) -> Self:
        address = next(line for line in self.process.stderr if "DevTools listening on" in line).split()[-1]
        self.socket = self.stack.enter_context(connect(address, max_size=None))
        self.session = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self._call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()
        self.process.kill()
        self.process.wait()

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        self.calls += 1
        session = {"sessionId": self.session} if self.session else {}
        self.socket.send(json.dumps({"id": self.calls, "method": method, "params": parameters} | session))
        while True:
            message = json.loads(self.socket.recv(timeout=PATIENCE_S))
            if message.get("id") == self.calls:
                assert "error" not in message, message["error"]
                return message["result"]
            self.messages.append(message)

    def problems(self) -> list[str]:
        """What the page's console complained of."""
        self._call("Runtime.evaluate", expression="1")
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(m["params"]) for m in self.messages if m.get("method") in kinds]

    def open(self, address: str) -> None:
        self._call("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Waits until an expression of the page is true."""
        give_up = time.monotonic() + PATIENCE_S
        while not self.run(condition):
            assert time.monotonic() < give_up, f"{condition} is still not true"
            time.sleep(0.05)

    def choose_file(self, selector: str, path: Path) -> None:
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))
