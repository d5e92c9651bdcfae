"""What is shown while a report is written: a bar on a terminal, otherwise lines; and its text, where asked for."""

import os
import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from app.client import DoneEvent, Event, Outage, Status, StatusEvent, TextEvent, Watch
from app.terminal.words import clean, details, now, one_line, step


class Show:
    """Shows the progress of one report on standard error and, with `live`, its text on standard output.

    `wanted`: the text is all that is wanted, so that who stops to read it ends this; otherwise only the printing of it
    ends. The bar gives way to the text where both would be on one terminal. What comes from a server is made harmless
    first.
    """

    def __init__(self, *, live: bool = False, wanted: bool = False) -> None:
        self.live = live
        self._wanted = wanted
        self.console = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
        self._text_on_terminal = live and sys.stdout.isatty()
        self._quiet = self._text_on_terminal and self.console.is_terminal
        self._lines = not self.console.is_terminal
        columns = (
            TextColumn("{task.description:<9}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[more]}", markup=False),
        )
        self._bar = Progress(*columns, console=self.console, disable=self._lines or self._quiet)
        self._task = self._bar.add_task("queued", total=100, more="")
        self._shown = ("", 0)
        self._mid_line = False

    def __enter__(self) -> Self:
        self.go_on()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.pause()

    def pause(self) -> None:
        """Leave the terminal to others."""
        self._bar.stop()
        if self._mid_line:
            self._mid_line = False
            print(flush=True)

    def go_on(self) -> None:
        """Take the terminal again."""
        self._bar.start()

    def say(self, line: str) -> None:
        """Print a line of our own."""
        self.console.print(clean(line))

    async def follow(self, watch: Watch[Event]) -> Status:
        """Show what a watch gives, to its end, and return the last status."""
        async for event in watch:
            match event:
                case DoneEvent(status):
                    self.status(status)
                    return status
                case StatusEvent(status):
                    self.status(status)
                case TextEvent(offset=offset, text=text):
                    self.text(offset, text)
                case Outage(reason, seconds):
                    self.say(f"{reason} Trying again in {seconds:.0f} s.")
        raise AssertionError("a watch ends with the status or raises")

    def status(self, status: Status) -> None:
        word, percent = step(status), status.progress_percent
        more = " · ".join(details(status, now()))
        self._bar.update(self._task, description=word, completed=percent, more=more)
        if self._lines and self._shown != (word, percent // 10):
            self._shown = (word, percent // 10)
            self.say(f"{word} ({percent} %)")

    def text(self, offset: int, text: str) -> None:
        broken = "\n" if offset == 0 and self._mid_line else ""
        try:
            sys.stdout.write(broken + (clean(text) if self._text_on_terminal else text))
            sys.stdout.flush()
        except BrokenPipeError:
            if self._wanted:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that nothing fails at exit, either
        self._mid_line = not text.endswith("\n")


def summary(status: Status) -> str:
    """Say in one sentence how a report ended."""
    match status.status:
        case "failed":
            return one_line(f"{status.error_message} ({status.error_code}).")
        case "cancelled":
            return "Cancelled."
        case _:
            return f"{status.characters:,} characters."
