"""The parts by themselves: hot polls, wake-ups of long polls, chunks of event streams, submits.

    python -m app.bench.probes '{"probe": "hot", "url": …, "token": …, "pid": …, "seconds": 5}'

Each gives its result as one line of JSON.
"""

import json
import random
import sys
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import trio

from app.bench.child import Job, end_with_parent, tell
from app.bench.client import Answer, Connection, Lockstep, Site
from app.bench.load import PLAN, Load
from app.bench.meter import Meter
from app.bench.stats import summarise

CONNECTIONS = 64
WAITERS = 1000
READERS = 200
SETTLE_SECONDS = 2.0

Result = dict[str, Any]


class Probe:
    """What every part needs: the server, its meter, how long to measure."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.site = Site.at(job["url"], job["token"])
        self.meter = Meter(job["pid"])
        self.seconds = float(job["seconds"])
        self.rate = float(job.get("polls", 0))
        self.topic_count = int(job.get("topics", 0))
        self.load = Load(Job(job["url"], job["token"], job["pid"]), self.site, self.meter)

    async def hot(self) -> Result:
        """Poll one running report's status as fast as the server answers."""
        topic = await self.load.submit("held 1")
        await trio.sleep(SETTLE_SECONDS / 2)
        return self._flood(f"/api/topics/{topic}/status")

    async def bare(self) -> Result:
        return self._flood("/")

    def _flood(self, path: str) -> Result:
        lockstep, request = Lockstep(self.site, CONNECTIONS), self.site.request("GET", path)
        lockstep.round([request] * CONNECTIONS)
        began, cpu, answered = monotonic(), self.meter.cpu(), 0
        while monotonic() - began < self.seconds:
            answers = lockstep.round([request] * CONNECTIONS)
            assert {answer.status for answer in answers} == {200}
            answered += len(answers)
        took, used = monotonic() - began, self.meter.cpu() - cpu
        lockstep.close()
        return {"requests": answered, "seconds": took, "cpu_seconds": used, "connections": CONNECTIONS}

    async def topics(self) -> Result:
        """Go through the list of topics page by page, and look at the statuses of any, one after the other."""
        lockstep, choose = Lockstep(self.site, 1), random.Random(1)  # noqa: S311 - any will do

        def page(answer: Answer | None) -> str:
            cursor = json.loads(answer.body)["next_cursor"] if answer else None
            return f"/api/topics?cursor={cursor}" if cursor else "/api/topics"

        def status(_: Answer | None) -> str:
            return f"/api/topics/{choose.randint(1, self.topic_count)}/status"

        found = {"list": self._one_by_one(lockstep, page), "status": self._one_by_one(lockstep, status)}
        lockstep.close()
        return found

    def _one_by_one(self, lockstep: Lockstep, path: Callable[[Answer | None], str]) -> Result:
        took: list[float] = []
        answer: Answer | None = None
        cpu, began = self.meter.cpu(), monotonic()
        while monotonic() - began < self.seconds / 2:
            asked, request = monotonic(), self.site.request("GET", path(answer))
            [answer] = lockstep.round([request])
            assert answer.status == 200
            took.append(monotonic() - asked)
        return {**summarise(took), "cpu_seconds": self.meter.cpu() - cpu}

    async def polls(self) -> Result:
        """Poll at a steady rate while nothing else runs."""
        cpu = self.meter.cpu()
        with trio.move_on_after(self.seconds):
            await self.load.poll(self.rate, lambda: [1])
        used = self.meter.cpu() - cpu
        return {"status": summarise(took for _, took in self.load.polls), "cpu_seconds": used}

    async def wakeups(self) -> Result:
        """Have many wait for the changes of one report, each asking again when it was answered."""
        topic = await self.load.submit("paced 1")
        path = f"/api/topics/{topic}/status?wait=60"
        answered = [0] * WAITERS

        async def wait(number: int) -> None:
            connection, etag = await Connection.to(self.site), ""
            while True:
                answer = await connection.ask(self.site.request("GET", path, if_none_match=etag))
                answered[number] += 1
                etag = answer.etag

        return await self._watched(wait, WAITERS, lambda: {"answers": sum(answered), "waiters": WAITERS})

    async def streams(self) -> Result:
        """Have many read one report while it is written."""
        topic = await self.load.submit("paced 1")
        request = self.site.request("GET", f"/api/topics/{topic}/status/stream?text=1")
        counts = {"status": 0, "text": 0}

        async def read(_: int) -> None:
            connection = await Connection.to(self.site)
            async for events in connection.events(request):
                for name, _data in events:
                    counts[name] += 1

        return await self._watched(read, READERS, lambda: {**counts, "readers": READERS})

    async def _watched(self, one: Callable[[int], Awaitable[None]], many: int, counts: Callable[[], Result]) -> Result:
        """Run many at once, and measure what the server's time is spent on once they are settled."""
        async with trio.open_nursery() as nursery:
            for number in range(many):
                nursery.start_soon(one, number)
                await trio.sleep(0.001)
            await trio.sleep(SETTLE_SECONDS)
            before, cpu, began = counts(), self.meter.cpu(), monotonic()
            await trio.sleep(self.seconds)
            after, used, took = counts(), self.meter.cpu() - cpu, monotonic() - began
            nursery.cancel_scope.cancel()
        fixed = {"waiters", "readers"}
        changed = {name: after[name] - (0 if name in fixed else before[name]) for name in after}
        return {**changed, "cpu_seconds": used, "seconds": took}

    async def submits(self) -> Result:
        """Have generations accepted, each in a topic of its own, behind one that holds the only slot."""
        await self.load.submit("held 1")
        lockstep = Lockstep(self.site, CONNECTIONS)
        body = {"topic": "paced 1", "plan": PLAN, "language": "en"}
        accepted, took, used = 0, 0.0, 0.0
        began = monotonic()
        while monotonic() - began < self.seconds:
            added = lockstep.round([self.site.request("POST", "/api/topics", body)] * CONNECTIONS)
            paths = [f"/api/topics/{answer.data['id']}/generate" for answer in added]
            start, cpu = monotonic(), self.meter.cpu()
            answers = lockstep.round([self.site.request("POST", path, {}) for path in paths])
            took, used = took + monotonic() - start, used + self.meter.cpu() - cpu
            assert {answer.status for answer in answers} == {202}
            accepted += len(answers)
        lockstep.close()
        return {"accepted": accepted, "seconds": took, "cpu_seconds": used, "connections": CONNECTIONS}


async def run(job: dict[str, Any]) -> None:
    measure: Callable[[], Awaitable[Result]] = getattr(Probe(job), job["probe"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_with_parent, nursery.cancel_scope)
        tell(result=await measure())
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(run, json.loads(sys.argv[1]))
