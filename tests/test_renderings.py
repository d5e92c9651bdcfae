"""Renderings that are shared: once for all readers, bounded, and the same when they are made anew."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from app.errors import DatabaseFailed
from app.metrics import Metrics
from app.models import GenerationId
from app.render import blocks, render
from app.renderings import Renderings
from app.threads import Threads

TEXT = "# 제목\n\n하나.\n\n둘[^1].\n\n[^1]: 각주.\n"
ALL = blocks(TEXT, "ko", whole=True)
ONE = GenerationId(1)


class Source:
    """A report's text that a test lets out; counts how often it is read."""

    def __init__(self, text: str = TEXT, shown: int | None = None) -> None:
        self.text = text
        self.shown = len(text) if shown is None else shown
        self.reads = 0

    async def read(self, offset: int) -> str:
        self.reads += 1
        await trio.lowlevel.checkpoint()
        return self.text[offset : self.shown][:7]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def renderings(metrics: Metrics) -> Renderings:
    return Renderings(Threads(4), metrics)


def rendered(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("longhand_blocks_rendered_total") or 0.0


async def at_once(call: Callable[[], Awaitable[object]], count: int = 5) -> list[object]:
    found: list[object] = []

    async def one() -> None:
        found.append(await call())

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return found


async def test_what_many_ask_for_at_once_is_rendered_once(renderings: Renderings, metrics: Metrics) -> None:
    source = Source()

    found = await at_once(lambda: renderings.progress(ONE, "ko", source.read, 0, ended=True))
    wholes = await at_once(lambda: renderings.whole(ONE, "ko", source.read))

    assert found == [(ALL, len(TEXT), "")] * 5
    assert rendered(metrics) == len(ALL)
    assert wholes == [render(TEXT, "ko")] * 5
    assert len({id(whole) for whole in wholes}) == 1


async def test_a_reader_is_given_what_it_has_not_got(renderings: Renderings) -> None:
    source = Source(shown=TEXT.index("둘") + 1)

    first = await renderings.progress(ONE, "ko", source.read, 0, ended=False)
    again = await renderings.progress(ONE, "ko", source.read, ALL[0].end, ended=False)
    source.shown = len(TEXT)
    rest = await renderings.progress(ONE, "ko", source.read, first.end, ended=True)

    assert first == (ALL[:2], ALL[1].end, "둘")
    assert again == (ALL[1:2], ALL[1].end, "둘")
    assert rest == (ALL[2:], len(TEXT), "")


async def test_what_is_remembered_is_bounded_and_what_was_forgotten_comes_out_the_same(
    renderings: Renderings, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.renderings.MAX_CHARACTERS", 3 * len(TEXT))
    for number in range(1, 20):
        await renderings.progress(GenerationId(number), "ko", Source().read, 0, ended=True)
        await renderings.progress(ONE, "ko", Source().read, 0, ended=True)  # asked for again and again: stays
    before = rendered(metrics)

    kept = await renderings.progress(ONE, "ko", Source().read, 0, ended=True)
    after_kept = rendered(metrics)
    anew = await renderings.progress(GenerationId(2), "ko", Source().read, 0, ended=True)

    assert kept == anew == (ALL, len(TEXT), "")
    assert (before, after_kept, rendered(metrics)) == (19 * len(ALL), 19 * len(ALL), 20 * len(ALL))


async def test_a_text_that_cannot_be_read_is_read_on_later(renderings: Renderings, metrics: Metrics) -> None:
    source = Source()

    async def fail(offset: int) -> str:
        if offset > 10:
            raise DatabaseFailed
        return await source.read(offset)

    for call in (renderings.progress(ONE, "ko", fail, 0, ended=True), renderings.whole(ONE, "ko", fail)):
        with pytest.raises(DatabaseFailed):
            await call

    assert await renderings.progress(ONE, "ko", source.read, 0, ended=True) == (ALL, len(TEXT), "")
    assert rendered(metrics) == len(ALL)
    assert await renderings.whole(ONE, "ko", source.read) == render(TEXT, "ko")


async def test_a_reader_who_leaves_takes_nothing_from_the_others(renderings: Renderings, metrics: Metrics) -> None:
    source, never = Source(), trio.Event()

    async def wait(offset: int) -> str:
        if offset > 10:
            await never.wait()
        return await source.read(offset)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: renderings.progress(ONE, "ko", wait, 0, ended=True))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert await renderings.progress(ONE, "ko", source.read, 0, ended=True) == (ALL, len(TEXT), "")
    assert rendered(metrics) == len(ALL)
