"""The server of `python -m src.play`, and its page in a browser."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.commands import PROJECT, TIME_LIMIT, CommandResult, environ, free_port

BROWSER_TIMEOUT_MS = 600_000  # milliseconds


class PlaygroundServer:
    """`python -m src.play` in a new process, with its page ready."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.port, self.out, self.err = free_port(), folder / "play.out", folder / "play.err"
        environment = {key: value for key, value in environ().items() if key != "PYTEST_CURRENT_TEST"}
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "src.play", f"port={self.port}", *arguments],
                cwd=PROJECT,
                env=environment,  # NiceGUI behaves differently under pytest
                stdout=out,
                stderr=err,
            )
        self.url = f"http://127.0.0.1:{self.port}/"
        deadline = time.monotonic() + TIME_LIMIT
        while f"open {self.url}" not in self.out.read_text():
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < deadline, "the page does not respond"
            time.sleep(0.1)

    def stop(self) -> CommandResult:
        """Stop the server with Ctrl-C and return its result."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            rc = self.process.wait(60)
        finally:
            self.process.kill()
        return CommandResult(rc, self.out.read_text(), self.err.read_text())


class PlaygroundPage:
    """The page in a browser; `requested_urls` has every URL that the browser requested."""

    def __init__(self, browser: Any, url: str) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 900})
        self.page = self.context.new_page()
        self.page.set_default_timeout(BROWSER_TIMEOUT_MS)
        self.requested_urls: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requested_urls.append(request.url))
        self.page.on("websocket", lambda socket: self.requested_urls.append(socket.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url, timeout=BROWSER_TIMEOUT_MS)
        self.page.get_by_role("button", name="Write").wait_for()

    def fill(self, **values: Any) -> None:
        for label, value in values.items():
            self.page.get_by_label(label.replace("_", "-"), exact=True).fill(str(value))

    def stop(self) -> None:
        """Stop the long texts with which the page opens."""
        self.wait_until(lambda: min(map(len, self.texts())) > 0, "the page opens with two texts")
        button = self.page.get_by_role("button", name="Stop")
        button.click()
        self.wait_until(button.is_disabled, "stopped")

    def write(self) -> None:
        self.page.get_by_role("button", name="Write").click()

    def choose(self, side: str, run: str) -> None:
        self.page.get_by_label(f"Run on the {side}").click()
        self.page.get_by_role("option", name=re.compile(run)).click()

    def column(self, side: str) -> Any:
        return self.page.get_by_label(f"{side} run", exact=True)

    def text(self, side: str) -> str:
        return str(self.page.get_by_label(f"{side} text").text_content())

    def rate(self, side: str) -> str:
        return str(self.column(side).locator(".rate").text_content())

    def texts(self) -> tuple[str, str]:
        return self.text("left"), self.text("right")

    def wait_for_lengths(self, length: int, description: str) -> None:
        """Wait until both texts have this length."""
        self.wait_until(lambda: [len(text) for text in self.texts()] == [length] * 2, description)

    def wait_for_more_than(self, length: int) -> None:
        """Wait until both texts are longer than this."""
        self.wait_until(lambda: min(map(len, self.texts())) > length, f"more than {length} characters")

    def wait_until(self, condition: Callable[[], bool], description: str) -> None:
        deadline = time.monotonic() + BROWSER_TIMEOUT_MS / 1000
        while not condition():
            assert time.monotonic() < deadline, f"{description}: {self.texts()} {self.errors}"
            self.page.wait_for_timeout(50)
