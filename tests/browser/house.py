"""The service as a process, for tests that are not async; it can be killed and started again in the same place."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.browser.author import PATIENCE_SECONDS, Author
from tests.process import environment
from tests.service import ADMIN_TOKEN

Json = dict[str, Any]
WAITS = {"LONGHAND_CHECKPOINT_SECONDS": "0.1", "LONGHAND_BACKOFF_SECONDS": "0.05", "LONGHAND_MAX_RETRY_AFTER": "600"}
ENDED = "It has ended."
URL = re.compile(r"Running on (http://\S+)")


class House:
    """A running `longhand serve`. `http` is signed in as admin; `port` stays the same over a restart."""

    def __init__(self, data_dir: Path, author: Author, **variables: str) -> None:
        self.author = author
        self.port = 0
        self._data_dir = data_dir
        self._variables = variables
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        usual = {
            "ANTHROPIC_API_KEY": "test-key",
            "ANTHROPIC_BASE_URL": self.author.url,
            "LONGHAND_ADMIN_TOKEN": ADMIN_TOKEN,
            "LONGHAND_DRAIN_SECONDS": "0",
            **WAITS,
        }
        self._lines = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--bind", f"127.0.0.1:{self.port}", "--data-dir", self._data_dir],
            cwd=self._data_dir.parent,
            env=environment(usual | self._variables),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,))
        self._reader.start()
        found = URL.search(self.line("Running on http", 2 * PATIENCE_SECONDS))
        assert found
        self.url = found[1]
        self.port = int(self.url.rpartition(":")[2])
        self.http = httpx2.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}, timeout=PATIENCE_SECONDS
        )

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it as `kill -9` does, or with another signal, and wait until it is gone."""
        assert self._process is not None
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
        self._process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        assert self._process.stderr is not None
        self._process.stderr.close()
        self.http.close()

    def line(self, text: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Wait for a line on standard error that contains `text`, and return it."""

        def found() -> str | None:
            return next((line for line in self._lines if text in line or line is ENDED), None)

        with self._changed:
            line = self._changed.wait_for(found, seconds) or ENDED
            assert line is not ENDED, f"no {text!r} in {''.join(self._lines)}"
            return line

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self._note(line)
        self._note(ENDED)

    def _note(self, line: str) -> None:
        with self._changed:
            self._lines.append(line)
            self._changed.notify_all()

    def post(self, path: str, **body: Any) -> Json:
        """Call the API as admin, and return what the answer says."""
        answer = self.http.post(path, json=body)
        assert answer.status_code < 300, answer.text
        data: Json = answer.json()["data"]
        return data

    def topic(self, topic: str = "A topic", **more: Any) -> int:
        """Add a topic and return its id."""
        return int(self.post("/api/topics", topic=topic, **more)["id"])

    def generate(self, topic_id: int, **more: Any) -> Json:
        """Start a generation and return what the 202 says."""
        return self.post(f"/api/topics/{topic_id}/generate", **more)

    def wait_for(self, topic_id: int, fits: Callable[[Json], object]) -> Json:
        """Follow a topic's status by long polls until it fits, and return it."""
        etag, quiet = "", 0
        while quiet < PATIENCE_SECONDS / 10:
            answer = self.http.get(
                f"/api/topics/{topic_id}/status", params={"wait": 10}, headers={"If-None-Match": etag}
            )
            quiet += answer.status_code == 304
            if answer.status_code == 200:
                etag, data = answer.headers["etag"], answer.json()["data"]
                if fits(data):
                    found: Json = data
                    return found
        raise AssertionError("it never came to that")

    def ended(self, topic_id: int) -> Json:
        """Wait for the end of a topic's generation and return the last status."""
        return self.wait_for(topic_id, lambda data: data["status"] in {"completed", "failed", "cancelled"})

    def report(self, topic_id: int) -> str:
        """Return the Markdown of a topic's finished report."""
        answer = self.http.get(f"/api/artifacts/{self.ended(topic_id)['artifact_id']}/download")
        assert answer.status_code == 200, answer.text
        return answer.text


@contextmanager
def house(data_dir: Path, author: Author, **variables: str) -> Iterator[House]:
    """Run a service for as long as the block lasts."""
    running = House(data_dir, author, **variables)
    running.start()
    try:
        yield running
    finally:
        running.kill()
