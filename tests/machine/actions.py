"""What may happen, as data: each value is one thing that somebody does."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from hypothesis import strategies as st

from tests.machine.author import PIECES, Answer, Trouble

USERS = ("admin", "admin", "admin", "somebody", "somebody")
"""Whose topics are in which slot. A slot has one topic; when that is deleted, the next action makes another."""

PLANS = ("## Part 1\n\n## Part 2", "## Part 1\n\n## Part 2\n\n## Part 3")


@dataclass(frozen=True)
class Generate:
    """Ask for a report. `answers` are what becomes of the first calls to Claude."""

    slot: int
    mode: Literal["single", "sections", "resume"]
    keyed: bool
    answers: list[Answer]


@dataclass(frozen=True)
class Repeat:
    """Send a request that carried an Idempotency-Key once more."""

    order: int


@dataclass(frozen=True)
class Cancel:
    slot: int
    form: Literal["plain", "keep_partial", "finish"]


@dataclass(frozen=True)
class Delete:
    slot: int


@dataclass(frozen=True)
class Change:
    """Give a topic other words."""

    slot: int
    plan: int


@dataclass(frozen=True)
class Stop:
    """Stop the server, with SIGTERM or with SIGKILL, and start it again."""

    kill: bool


@dataclass(frozen=True)
class Connect:
    """Open a stream of a topic's status and text."""

    slot: int


@dataclass(frozen=True)
class Disconnect:
    """Close one, in the middle of whatever it is told."""

    reader: int


@dataclass(frozen=True)
class Reconnect:
    """Open it again, with the id of the last event."""

    reader: int


@dataclass(frozen=True)
class Release:
    """Let a call that is held up go on."""

    hold: int


@dataclass(frozen=True)
class Rest:
    """Wait until what runs for a topic has ended, or waits for us."""

    slot: int


Action: TypeAlias = (
    Generate | Repeat | Cancel | Delete | Change | Stop | Connect | Disconnect | Reconnect | Release | Rest
)

SLOTS = st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, 3, 4, 4])
INDEX = st.integers(0, 5)
PLACES = st.integers(-2, PIECES + 2)
ANSWERS = st.builds(
    Answer,
    trouble=st.sampled_from([None, None, None, None, *Trouble]),
    at=PLACES,
    hold_at=st.none() | PLACES | st.integers(0, PIECES),
)
WEIGHTS = {
    Generate: 8,
    Release: 6,
    Cancel: 4,
    Rest: 4,
    Stop: 3,
    Connect: 3,
    Disconnect: 1,
    Reconnect: 2,
    Repeat: 2,
    Change: 1,
    Delete: 1,
}
KINDS: dict[type, st.SearchStrategy[Action]] = {
    Generate: st.builds(
        Generate,
        slot=SLOTS,
        mode=st.sampled_from(["single", "sections", "resume"]),
        keyed=st.booleans(),
        answers=st.lists(ANSWERS, max_size=5),
    ),
    Release: st.builds(Release, hold=INDEX),
    Cancel: st.builds(Cancel, slot=SLOTS, form=st.sampled_from(["plain", "keep_partial", "finish"])),
    Rest: st.builds(Rest, slot=SLOTS),
    Stop: st.builds(Stop, kill=st.booleans()),
    Connect: st.builds(Connect, slot=SLOTS),
    Disconnect: st.builds(Disconnect, reader=INDEX),
    Reconnect: st.builds(Reconnect, reader=INDEX),
    Repeat: st.builds(Repeat, order=INDEX),
    Change: st.builds(Change, slot=SLOTS, plan=st.integers(0, len(PLANS) - 1)),
    Delete: st.builds(Delete, slot=SLOTS),
}
ACTIONS = st.sampled_from([kind for kind, weight in WEIGHTS.items() for _ in range(weight)]).flatmap(KINDS.__getitem__)
STEPS = st.lists(ACTIONS, min_size=1, max_size=3)
STORIES: st.SearchStrategy[list[list[list[Action]]]] = st.lists(st.lists(STEPS, max_size=6), max_size=10)
"""Chapters of steps; the actions of one step are done at once. Chapters, for Hypothesis draws few long lists."""
