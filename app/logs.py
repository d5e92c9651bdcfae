"""The log: whoever logs never waits; a thread of its own makes the lines, clears them of secrets and writes them."""

import logging
import re
import select
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from os import write
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import gmtime
from types import MappingProxyType
from typing import Any, Literal

from app.redact import Redactor

Format = Literal["console", "json"]

MAX_LINES = 10_000
"""How many lines may wait to be written; further ones are dropped and counted."""

BATCH = 50
"""How many lines are written at once at most: as long as they are made, nobody else runs."""

GATHER_SECONDS = 0.05
"""How long a first line waits for others: to wake the thread for each would cost the loop more than the line."""

FLUSH_SECONDS = 2.0
"""How long the end waits for the last lines to be written: who reads them may have stopped reading."""

OURS = "longhand"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
IN_THE_MESSAGE = frozenset({"method", "status", "duration_ms"})
"""Fields of a request's line that its message tells as well."""

_bound: ContextVar[Mapping[str, object]] = ContextVar("longhand_log", default=MappingProxyType({}))


def bind(**names: object) -> None:
    """Let every line that this task, and whatever it starts from now on, logs carry these names."""
    _bound.set({**_bound.get(), **names})


class QueueingHandler(logging.Handler):
    """Takes each line in the time that a queue takes, and writes it in a thread.

    Promises: `emit` never waits, whatever becomes of the lines; at most `MAX_LINES` wait; what is dropped, or cannot be
    written, is counted in `dropped`, and the log says how many there were once it can be written again.

    A line's arguments are read later, in the thread: they are not to change.
    """

    def __init__(self, fd: int, render: Callable[[logging.LogRecord], str]) -> None:
        super().__init__()
        self.dropped = 0
        self._fd = fd
        self._render = render
        self._told = 0
        self._queue: SimpleQueue[logging.LogRecord | None] = SimpleQueue()
        self._stopping = Event()
        self._thread = Thread(target=self._work, name="longhand-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        if self._queue.qsize() >= MAX_LINES:
            self.dropped += 1
            return
        record.bound = _bound.get()  # that of the task that logs, which the thread has not
        self._queue.put(record)

    def stop(self) -> None:
        """Write what waits, for as long as `FLUSH_SECONDS`; blocks."""
        self._stopping.set()
        self._queue.put(None)
        self._thread.join(FLUSH_SECONDS)

    def _work(self) -> None:
        goes_on = True
        while goes_on:
            records, goes_on = self._take()
            self._write(records)
            if self.dropped > self._told:
                self._told, count = self.dropped, self.dropped - self._told
                line = "%d lines were dropped: they came faster than they could be written"
                self._write([logging.LogRecord(f"{OURS}.log", logging.WARNING, "", 0, line, (count,), None)])

    def _take(self) -> tuple[list[logging.LogRecord], bool]:
        """Wait for a line and take all that are there; tell whether more may come."""
        record, records = self._queue.get(), []
        if self._queue.empty():
            self._stopping.wait(GATHER_SECONDS)
        try:
            while record is not None:
                records.append(record)
                if len(records) == BATCH:
                    return records, True
                record = self._queue.get_nowait()
        except Empty:
            return records, True
        return records, False

    def _write(self, records: list[logging.LogRecord]) -> None:
        lines = []
        for record in records:
            try:
                lines.append(self._render(record))
            except Exception as error:  # noqa: BLE001 - a line that cannot be made must not end the log, nor show itself
                lines.append(f"A line of {record.name} could not be made: {type(error).__name__}\n")
        try:
            _write_all(self._fd, "".join(lines).encode(errors="backslashreplace"))
        except OSError:  # nobody reads any more
            self.dropped += len(records)


def dropped_lines() -> int:
    """Return how many lines this process has dropped."""
    return sum(handler.dropped for handler in logging.getLogger().handlers if isinstance(handler, QueueingHandler))


@contextmanager
def open_logs(fd: int, form: Format, level: str, redact: Redactor, *, colors: bool = False) -> Iterator[None]:
    """Write the log to a file descriptor for as long as the block lasts: our own lines from `level` on, those of
    libraries from WARNING on, for theirs may quote requests."""
    root, ours = logging.getLogger(), logging.getLogger(OURS)
    before = root.level, ours.level
    handler = QueueingHandler(fd, renderer(form, redact, colors=colors))
    root.addHandler(handler)
    root.setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
    ours.setLevel(level.upper())
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before[0])
        ours.setLevel(before[1])
        handler.stop()


def renderer(form: Format, redact: Redactor, *, colors: bool = False) -> Callable[[logging.LogRecord], str]:
    """Return what makes a line of a record: it never holds a secret."""
    import structlog  # noqa: PLC0415 - only who writes a log needs it

    formatter = logging.Formatter()
    formatter.converter = gmtime
    if form == "json":
        make: Any = structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
    else:
        make = structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0, pad_level=False)

    def render(record: logging.LogRecord) -> str:
        event = _event(record, formatter)
        return redact(str(make(None, "", event if form == "json" else _for_eyes(event)))) + "\n"

    return render


def _event(record: logging.LogRecord, formatter: logging.Formatter) -> dict[str, Any]:
    """Return what a line says, by name."""
    event: dict[str, Any] = {
        "timestamp": f"{formatter.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{record.msecs:03.0f}Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": record.getMessage(),
        **getattr(record, "bound", {}),
        **getattr(record, "fields", {}),
    }
    if record.exc_info and record.exc_info[0] is not None:
        event["exception"] = formatter.formatException(record.exc_info)
    return event


def _for_eyes(event: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the message says itself, and make control characters harmless: they may move a cursor."""
    told = {name for name in event if f"{name}=" in event["event"]} | IN_THE_MESSAGE
    safe = {name: CONTROL.sub(_escaped, value) if isinstance(value, str) else value for name, value in event.items()}
    if "exception" in event:
        safe["exception"] = "\n".join(CONTROL.sub(_escaped, line) for line in event["exception"].split("\n"))
    return {name: value for name, value in safe.items() if name not in told}


def _escaped(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"


def _write_all(fd: int, data: bytes) -> None:
    """Write all, however long it takes. Not through a stream: its lock, held by a thread, breaks the process's end."""
    while data:
        try:
            data = data[write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [])
