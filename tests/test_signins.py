"""Sign-ins that failed: the first are free, the next are slowed, nobody is locked out, the log is not filled."""

import logging

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from app.refusals import RateLimited
from app.signins import FREE, LONGEST_PAUSE, MOST_WAITING, SIZE, WINDOW_SECONDS, SignIns

HERE, THERE = "192.0.2.1", "192.0.2.2"


def fail(sign_ins: SignIns, times: int, client: str = HERE) -> None:
    for _ in range(times):
        sign_ins.failed(client)


async def pause(sign_ins: SignIns, client: str = HERE) -> float:
    """Wait as an attempt has to, and return for how long."""
    began = trio.current_time()
    await sign_ins.pause(client)
    return trio.current_time() - began


async def test_the_first_failures_are_free_and_the_next_attempts_wait(autojump_clock: MockClock) -> None:
    sign_ins = SignIns()

    fail(sign_ins, FREE - 1)
    assert not sign_ins.slows(HERE)
    fail(sign_ins, 1)

    assert sign_ins.slows(HERE)
    assert not sign_ins.slows(THERE)


async def test_the_pause_grows_up_to_its_longest(autojump_clock: MockClock) -> None:
    sign_ins = SignIns()
    fail(sign_ins, FREE)

    pauses = []
    for _ in range(2000):
        pauses.append(round(await pause(sign_ins), 3))
        sign_ins.failed(HERE)
        if trio.current_time() > WINDOW_SECONDS / 2:
            break

    assert 0 < pauses[0] < pauses[1] < pauses[2]
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE)


async def test_it_is_over_when_the_window_is(autojump_clock: MockClock) -> None:
    sign_ins = SignIns()
    fail(sign_ins, 2 * FREE)

    await trio.sleep(WINDOW_SECONDS)
    over = not sign_ins.slows(HERE)
    fail(sign_ins, 1)

    assert over
    assert not sign_ins.slows(HERE)


async def test_no_more_wait_at_once_than_may(autojump_clock: MockClock) -> None:
    sign_ins = SignIns()
    fail(sign_ins, 2 * FREE)

    async with trio.open_nursery() as nursery:
        for _ in range(MOST_WAITING):
            nursery.start_soon(sign_ins.pause, HERE)
        await wait_all_tasks_blocked()
        with pytest.raises(RateLimited) as refused:
            await sign_ins.pause(HERE)
        fail(sign_ins, 2 * FREE, THERE)
        nursery.start_soon(sign_ins.pause, THERE)

    await sign_ins.pause(HERE)
    assert int(refused.value.headers["Retry-After"]) >= LONGEST_PAUSE


async def test_a_client_that_leaves_in_its_pause_makes_room(autojump_clock: MockClock) -> None:
    sign_ins = SignIns()
    fail(sign_ins, 2 * FREE)

    for _ in range(2 * MOST_WAITING):
        with trio.move_on_after(LONGEST_PAUSE / 10):
            await sign_ins.pause(HERE)


async def test_an_address_is_one_line_in_the_log_a_window(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    sign_ins = SignIns()

    for _ in range(2):
        for _ in range(int(WINDOW_SECONDS / 2) - 1):  # as a client does that polls every two seconds
            sign_ins.failed(HERE)
            await trio.sleep(2)
        await trio.sleep(2)
    fail(sign_ins, FREE, THERE)

    assert caplog.messages == [
        f"10 sign-ins from {client} failed; more within 10 minutes are slowed" for client in (HERE, HERE, THERE)
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


async def test_the_addresses_that_are_remembered_are_bounded() -> None:
    sign_ins = SignIns()

    for number in range(SIZE + 10):
        sign_ins.failed(str(number))

    assert len(sign_ins._windows) == SIZE
