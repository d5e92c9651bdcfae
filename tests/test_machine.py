"""Whatever people, Claude and the machine do, in whatever order: every promise holds, and every rule."""

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
from hypothesis import HealthCheck, given, note, settings
from trio.testing import wait_all_tasks_blocked

from tests.claude import BEFORE_HEADERS, Fault, Script
from tests.machine.actions import STORIES, Action
from tests.machine.judge import check_end, check_now
from tests.machine.world import new_world
from tests.reports import QUICK, cancel, held, plan, writing
from tests.service import Service, locked_database

BOUNDS = settings(
    max_examples=int(os.environ.get("STORIES", "35")),
    deadline=None,
    database=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""As many stories as half a minute holds, other ones each time; STORIES=2000 in the environment tells more."""


@BOUNDS
@given(story=STORIES)
async def test_whatever_happens_in_whatever_order_every_promise_holds(story: list[list[list[Action]]]) -> None:
    with TemporaryDirectory() as directory:
        async with new_world(Path(directory)) as world:
            try:
                for actions in chain.from_iterable(story):
                    await world.step(actions)
                    await check_now(world, {action.slot for action in actions if hasattr(action, "slot")})
                await check_end(world)
            finally:
                note(world.server.log.read_text())


# What it found.


async def test_a_section_that_fails_while_its_report_is_cancelled_takes_no_other_report_along(
    start: Callable[..., AbstractAsyncContextManager[Service]],
) -> None:
    go, fail = trio.Event(), trio.Event()
    fails = Script(status=401, error_type="authentication_error", fault=Fault.STATUS, hold=fail, hold_at=BEFORE_HEADERS)
    hangs = Script(hold=trio.Event(), hold_at=5)
    async with start(**QUICK) as service:
        service.claude.default = writing({"Title/Part 1": [hangs], "Title/Part 2": [fails]}, Script(hold=go, hold_at=5))
        topic_id, other = await service.topic("Title", plan=plan(2)), await service.topic("Other")
        await service.generate(topic_id, mode="sections")
        await service.generate(other)
        await held(service.claude, 3)

        async with trio.open_nursery() as nursery, locked_database(service.settings.data_dir):
            fail.set()  # which the ledger cannot take in now, so that the cancel comes before the failure is told
            await wait_all_tasks_blocked(0.05)
            nursery.start_soon(cancel, service, topic_id)
            await wait_all_tasks_blocked(0.05)
        go.set()

        assert (await service.ended(other))["status"] == "completed"
        assert (await service.ended(topic_id))["status"] == "failed"
