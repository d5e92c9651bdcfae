from collections.abc import Callable

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from app.pace import START_SECONDS, STARTS_AT_ONCE, Pace


class Starts:
    """Calls that start in turn; `began` is when each did, and none is answered but by the test."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.began: list[float] = []
        self.answer: list[Callable[[], None]] = []

    async def start(self) -> None:
        turn = await self.pace.turn()
        self.began.append(turn.began)
        self.answer.append(turn.answered.set)


async def test_at_most_so_many_calls_start_at_once_and_silent_ones_hold_nobody_up_for_long(
    autojump_clock: MockClock,
) -> None:
    starts = Starts()
    began = trio.current_time()

    async with trio.open_nursery() as nursery:
        for _ in range(3 * STARTS_AT_ONCE):
            nursery.start_soon(starts.start)

    waited = [round(start - began, 6) for start in starts.began]
    assert waited == [wait * START_SECONDS for wait in (0, 1, 2) for _ in range(STARTS_AT_ONCE)]


async def test_an_answer_lets_the_next_call_start_at_once(mock_clock: MockClock) -> None:
    starts = Starts()
    for _ in range(STARTS_AT_ONCE):
        await starts.start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(starts.start)
        await wait_all_tasks_blocked()
        before = len(starts.began)

        starts.answer[0]()

    assert before == STARTS_AT_ONCE
    assert len(set(starts.began)) == 1


async def test_a_call_that_is_cancelled_in_its_turn_lets_nobody_through(mock_clock: MockClock) -> None:
    starts = Starts()
    for _ in range(STARTS_AT_ONCE):
        await starts.start()
    for _ in range(3):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(starts.start)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(starts.start)
        await wait_all_tasks_blocked()
        before = len(starts.began)
        mock_clock.jump(START_SECONDS)

    assert before == STARTS_AT_ONCE
    assert len(starts.began) == STARTS_AT_ONCE + 1
