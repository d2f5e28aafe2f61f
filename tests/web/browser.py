"""A headless Chromium, by the DevTools protocol over two pipes: nothing else is needed."""

import contextlib
import json
import os
import shutil
import signal
import time
from base64 import b64decode

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-extensions", "--disable-background-networking", "--remote-debugging-pipe",
)  # fmt: skip


def program():
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Tab:
    """One page of the browser; `told` collects what its console and its network complain of."""

    def __init__(self, reading, writing):
        self._reading, self._writing = reading, writing
        self._last, self._loads, self._session, self.told = 0, 0, None, []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.send(f"{domain}.enable")

    def send(self, method, **params):
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._writing.write(json.dumps(message).encode() + b"\0")
        self._writing.flush()
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self):
        """The next message; what it tells by the way is noted."""
        read = bytearray()
        while (byte := self._reading.read(1)) != b"\0":
            assert byte, "the browser has ended"
            read += byte
        message = json.loads(read)
        if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
            self.told.append(json.dumps(message["params"]))
        self._loads += message.get("method") == "Page.loadEventFired"
        return message

    def size(self, width, height, dark=False):
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[theme])

    def open(self, url):
        before = self._loads
        self.send("Page.navigate", url=url)
        while self._loads == before:
            self._next()

    def run(self, script):
        """The value of a script; an element is its text."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, script, seconds=60):
        """Until a script gives something true, which is returned."""
        until = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < until, (
                script,
                self.told,
                self.run("document.body.innerText"),
            )
            time.sleep(0.05)
        return value

    def choose(self, selector, path):
        """Choose a file, as a person does in the dialog."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def press(self, key):
        codes = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, ""), " ": (32, " ")}
        number, text = codes[key]
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=number,
                **({"text": text} if text and kind == "keyDown" else {}),
            )  # fmt: skip

    def picture(self, path, clip=None):
        options = {"clip": {**clip, "scale": 1}} if clip else {}
        kind = {"format": "png", "captureBeyondViewport": True}
        path.write_bytes(b64decode(self.send("Page.captureScreenshot", **kind, **options)["data"]))


@contextlib.contextmanager
def opened(profile):
    """A tab of a browser of its own, with a folder for what it keeps."""
    commands, answers = os.pipe(), os.pipe()
    # By way of higher numbers, as 3 and 4, which the browser uses, may be among the pipes' own.
    moves = [(commands[0], 100), (answers[1], 101), (100, 3), (101, 4)]
    quiet = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0) for n in (1, 2)]
    # No subprocess: with a function between fork and exec JAX warns of forking.
    process = os.posix_spawn(
        program(),
        [program(), *FLAGS, f"--user-data-dir={profile}"],
        os.environ,
        file_actions=[*((os.POSIX_SPAWN_DUP2, *move) for move in moves), *quiet],
    )
    os.close(commands[0])
    os.close(answers[1])
    try:
        with open(answers[0], "rb") as reading, open(commands[1], "wb") as writing:
            tab = Tab(reading, writing)
            yield tab
            tab._session = None
            tab.send("Browser.close")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
        os.waitpid(process, 0)
