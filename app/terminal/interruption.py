"""Ctrl-C and SIGTERM, and what a person wants by them."""

import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

LETTERS = "[c]ancel it, [l]eave it running, or [g]o on watching?"


class Scope(Protocol):
    """What can be cancelled."""

    def cancel(self) -> object: ...


S = TypeVar("S", bound=Scope)


@dataclass(eq=False)
class Interruption(Generic[S]):
    """Ctrl-C or SIGTERM: cancels what runs in `scope`. `exit_code` is what shells expect then."""

    scope: S
    exit_code: int = 0

    async def listen(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            self.exit_code = self.exit_code or 128 + number
            self.scope.cancel()


class Wish(StrEnum):
    """What is to become of a report that somebody watched."""

    CANCEL = "c"
    LEAVE = "l"
    GO_ON = "g"


def ask_wish(topic_id: int) -> Wish:
    """Ask on the terminal, which waits for the answer: nothing else goes on meanwhile, and nothing is lost.

    A second Ctrl-C, and the end of the input, leave the report running.
    """
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        while True:
            print(f"\nThe report of topic {topic_id} is being written: {LETTERS} ", end="", file=sys.stderr, flush=True)
            answer = sys.stdin.readline()
            if not answer:
                return Wish.LEAVE
            for wish in Wish:
                if answer.strip().lower()[:1] == wish:
                    return wish
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return Wish.LEAVE
    finally:
        signal.signal(signal.SIGINT, usual)
