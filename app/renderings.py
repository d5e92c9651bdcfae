"""Reports as they were rendered: one rendering of each, for all of its readers."""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import NamedTuple

from anyio import Lock

from app.metrics import Metrics
from app.models import GenerationId
from app.render import Block, Growing, Rendered, render
from app.threads import Threads

MAX_CHARACTERS = 16_000_000
"""How much Markdown the renderings that are remembered were made of, when another one begins: some hundred reports."""

Read = Callable[[int], Awaitable[str]]
"""Reads the text of a report from an offset on, as much of it as is at hand; nothing: that was all."""


class Progress(NamedTuple):
    """What a reader has not got yet: blocks, and the text of the open block behind them, whose place is `end`."""

    blocks: list[Block]
    end: int
    tail: str


class Renderings:
    """The renderings of reports, live or not, by generation.

    Promises: a block is rendered once for all readers, in a thread, as long as its report is remembered, and one reader
    never waits for another one's connection. Which are remembered is bounded; what was forgotten is rendered anew, and
    comes out the same.
    """

    def __init__(self, threads: Threads, metrics: Metrics) -> None:
        self._threads = threads
        self._metrics = metrics
        self._recent: OrderedDict[tuple[str, GenerationId], _Live | _Whole] = OrderedDict()

    async def progress(
        self, generation_id: GenerationId, language: str, read: Read, after: int, *, ended: bool
    ) -> Progress:
        """Return the blocks that begin at `after` or later, of all the text there is; `ended`: no more will come."""
        live = self._recent.get(("live", generation_id))
        if not isinstance(live, _Live):
            live = _Live(language)
        self._remember(("live", generation_id), live)
        async with live.lock:  # cancelled in a thread's turn: the thread is waited for, and the text was taken in
            while not live.ended and (text := await read(live.growing.length)):
                if live.growing.add(text):
                    await self._threads.render(self._extend, live)
            if ended and not live.ended:
                await self._threads.render(self._end, live)
            first = bisect_left(live.blocks, after, key=attrgetter("offset"))
            return Progress(live.blocks[first:], live.growing.end, live.growing.tail)

    async def whole(self, generation_id: GenerationId, language: str, read: Read) -> Rendered:
        """Return a report that has ended, rendered as a whole."""
        whole = self._recent.get(("whole", generation_id))
        if not isinstance(whole, _Whole):
            whole = _Whole()
        self._remember(("whole", generation_id), whole)
        async with whole.lock:
            if whole.rendered is None:
                text = ""
                while piece := await read(len(text)):
                    text += piece
                whole.rendered = await self._threads.render(render, text, language)
                whole.length = len(text)
            return whole.rendered

    def _extend(self, live: "_Live") -> None:
        self._count(live, live.growing.closed())

    def _end(self, live: "_Live") -> None:
        self._count(live, live.growing.finish())
        live.ended = True

    def _count(self, live: "_Live", found: list[Block]) -> None:
        live.blocks += found
        self._metrics.blocks.inc(len(found))

    def _remember(self, key: tuple[str, GenerationId], rendering: "_Live | _Whole") -> None:
        """Remember a rendering; before another one is, the oldest are forgotten that are too much."""
        if key not in self._recent:
            characters = sum(known.length for known in self._recent.values())
            while self._recent and characters > MAX_CHARACTERS:
                characters -= self._recent.popitem(last=False)[1].length
        self._recent[key] = rendering
        self._recent.move_to_end(key)


class _Live:
    """A report that grows, or did: its blocks so far. Changed under its lock alone."""

    def __init__(self, language: str) -> None:
        self.growing = Growing(language)
        self.blocks: list[Block] = []
        self.ended = False
        self.lock = Lock()

    @property
    def length(self) -> int:
        return self.growing.length


class _Whole:
    """A report that has ended."""

    def __init__(self) -> None:
        self.rendered: Rendered | None = None
        self.length = 0
        self.lock = Lock()
