"""The load: submits reports in a burst, polls statuses at a steady rate, reads along; says what it measured.

    python -m app.bench.load '{"url": …, "token": …, "pid": …, …}'

It prints lines of JSON: how far it is, and last of all the result. It ends when its standard input does.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from time import monotonic, time
from typing import Any

import trio

from app.bench.child import Job, end_with_parent, tell
from app.bench.client import GONE, Answer, Connection, Site
from app.bench.meter import Meter
from app.bench.stats import summarise, timeline

ANSWER_SECONDS = 20.0
"""A poll without an answer so long after it was due has failed."""

POLLS_AT_ONCE = 256
"""How many polls are under way at most. Those that are due meanwhile wait, which counts as their latency."""

LOOK_SECONDS = 0.1
LAST_LOOK_SECONDS = 60.0
LONG_POLL_SECONDS = 30
PLAN = "## Where things stand\n\n## What follows\n\n## Conclusions"


@dataclass(eq=False)
class Load:
    """The load and what it has measured so far. Times are seconds of the system's monotonic clock."""

    job: Job
    site: Site
    meter: Meter
    topics: list[int] = field(default_factory=list)
    submits: dict[str, list[float]] = field(default_factory=lambda: {"topic": [], "generate": []})
    polls: list[tuple[float, float]] = field(default_factory=list)
    dispatched: list[float] = field(default_factory=list)
    failed_polls: int = 0
    woken: int = 0
    seen: dict[int, list[tuple[float, int]]] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    idle_connections: list[Connection] = field(default_factory=list)
    under_way: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(POLLS_AT_ONCE))

    async def ask(self, request: bytes) -> Answer:
        """Ask over a connection that is free, or a further one; over a new one where the server has closed it."""
        while self.idle_connections:
            with suppress(*GONE):
                return await self._ask(self.idle_connections.pop(), request)
        return await self._ask(await Connection.to(self.site), request)

    async def _ask(self, connection: Connection, request: bytes) -> Answer:
        try:
            answer = await connection.ask(request)
        except BaseException:
            connection.forget()
            raise
        if connection.open:
            self.idle_connections.append(connection)
        return answer

    async def submit(self, name: str) -> int:
        """Add a topic and have it written; return its id."""
        body = {"topic": name, "plan": PLAN, "language": "en"}
        topic = await self._timed("topic", self.site.request("POST", "/api/topics", body), 201)
        path = f"/api/topics/{topic.data['id']}/generate"
        await self._timed("generate", self.site.request("POST", path, {}), 202)
        return int(topic.data["id"])

    async def _timed(self, step: str, request: bytes, expected: int) -> Answer:
        began = monotonic()
        answer = await self.ask(request)
        self.submits[step].append(monotonic() - began)
        if answer.status != expected:
            raise RuntimeError(f"a submit was answered {answer.status}: {answer.body.decode()[:300]}")
        return answer

    async def warm_up(self) -> int:
        """Have some reports written that come at once, and return the last one's topic: what is measured is no first
        time of anything."""
        topics: list[int] = []

        async def one(number: int) -> None:
            topics.append(await self.submit(f"warm {number}"))

        async with trio.open_nursery() as nursery:
            for number in range(self.job.warm):
                nursery.start_soon(one, number)
        await until_done(self)
        for times in self.submits.values():
            times.clear()
        return topics[-1]

    async def unfinished(self) -> bool:
        """Ask whether any report is queued or being written."""
        for status in ("generating", "queued"):
            answer = await self.ask(self.site.request("GET", f"/api/topics?status={status}&limit=1"))
            if answer.data:
                return True
        return False

    async def burst(self, readers: trio.Nursery) -> float:
        """Submit all reports, some at a time; return how long that took. Who reads along is started in `readers`."""
        began, numbers = monotonic(), iter(range(self.job.reports))

        async def submitter() -> None:
            for number in numbers:
                watched = number < self.job.readers
                topic = await self.submit(f"{'watched' if watched else 'paced'} {number}")
                self.topics.append(topic)
                if watched:
                    readers.start_soon(self.read_along, topic, number)
                elif number < self.job.readers + self.job.long_polls:
                    readers.start_soon(self.wait_along, topic)

        async with trio.open_nursery() as nursery:
            for _ in range(self.job.submitters):
                nursery.start_soon(submitter)
        return monotonic() - began

    async def poll(self, rate: float, topics: Callable[[], list[int]]) -> None:
        """Poll statuses at a rate, one topic after the other, until cancelled. A poll counts from when it was due."""
        began = monotonic()
        async with trio.open_nursery() as nursery:
            for number in count():
                due = began + number / rate
                await trio.sleep(max(due - monotonic(), 0))
                known = topics()
                if known:
                    nursery.start_soon(self.poll_once, due, known[number % len(known)])

    async def poll_once(self, due: float, topic: int) -> None:
        self.dispatched.append(monotonic() - due)
        answer = None
        with trio.move_on_after(max(due + ANSWER_SECONDS - monotonic(), 0)), suppress(*GONE):
            async with self.under_way:
                answer = await self.ask(self.site.request("GET", f"/api/topics/{topic}/status"))
        self.polls.append((due, monotonic() - due))
        self.failed_polls += answer is None or answer.status != 200

    async def read_along(self, topic: int, number: int) -> None:
        """Read a report while it is written; keep when how much of the text had come."""
        request = self.site.request("GET", f"/api/topics/{topic}/status/stream?text=1")
        connection = await Connection.to(self.site)
        seen, pieces = self.seen.setdefault(number, []), []
        async for events in connection.events(request):
            now = monotonic()
            for name, data in events:
                if name == "text":
                    document = json.loads(data)
                    pieces.append(document["text"])
                    seen.append((now, document["offset"] + len(document["text"])))
        self.texts[number] = "".join(pieces)
        connection.forget()

    async def wait_along(self, topic: int) -> None:
        """Wait for each change of a status by long polls, until the report is done."""
        connection, etag = await Connection.to(self.site), ""
        path = f"/api/topics/{topic}/status?wait={LONG_POLL_SECONDS}"
        while True:
            answer = await connection.ask(self.site.request("GET", path, if_none_match=etag))
            if answer.status == 200:
                self.woken += bool(etag)
                etag = answer.etag
                if answer.data["status"] not in {"queued", "generating"}:
                    break
        connection.forget()

    async def look_at_all(self) -> list[dict[str, Any]]:
        """Return the last status of every report; `unknown` for those that the server does not tell in time."""
        found: list[dict[str, Any]] = []
        topics = iter(self.topics)

        async def looker() -> None:
            for topic in topics:
                answer = await self.ask(self.site.request("GET", f"/api/topics/{topic}/status"))
                found.append(answer.data)

        with trio.move_on_after(LAST_LOOK_SECONDS):
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(looker)
        unknown = {"status": "unknown", "completed_at": None, "error_message": None}
        return [*found, *[unknown] * (len(self.topics) - len(found))]


async def measure(job: Job) -> dict[str, Any]:
    """Warm up, look at the idle server, then submit the burst and measure until all reports are done."""
    load = Load(job, Site.at(job.url, job.token), Meter(job.pid))
    warm = await load.warm_up()
    result = await idle(load, warm) | {"burst_seconds": None}
    load.meter.peak = 0
    async with trio.open_nursery() as background:
        background.start_soon(load.meter.watch)
        background.start_soon(load.poll, job.polls, lambda: load.topics or [warm])
        background.start_soon(tell_progress, load)
        began, wall, cpu = monotonic(), time(), load.meter.cpu()
        async with trio.open_nursery() as readers:
            with trio.move_on_after(job.limit) as patience:
                result["burst_seconds"] = await load.burst(readers)
                await trio.sleep(max(began + job.ideal - monotonic(), 0))  # nothing is done before
                await until_done(load)
            result["cpu_seconds"] = load.meter.cpu() - cpu
            result |= {"measured_seconds": monotonic() - began, "in_time": not patience.cancelled_caught}
            readers.cancel_scope.deadline = trio.current_time() + 2
        background.cancel_scope.cancel()
    result["peak_memory"] = load.meter.peak
    result |= polled(load, began)
    result |= ended(await load.look_at_all(), wall)
    await trio.sleep(job.idle)
    result["memory_after"] = load.meter.memory()
    return result


async def idle(load: Load, topic: int) -> dict[str, Any]:
    """Look at the server while it does nothing, then while it answers nothing but polls."""
    await trio.sleep(load.job.idle / 2)
    cpu = await load.meter.rate(load.job.idle)
    memory, before = load.meter.memory(), load.meter.cpu()
    with trio.move_on_after(load.job.idle):
        await load.poll(load.job.polls, lambda: [topic])
    per_poll = (load.meter.cpu() - before) / max(len(load.polls), 1)
    status = summarise(took for _, took in load.polls)
    for measured in (load.polls, load.dispatched):
        measured.clear()
    return {"idle_cpu": cpu, "idle_memory": memory, "idle_status": status, "cpu_per_idle_poll": per_poll}


async def until_done(load: Load) -> None:
    """Ask again and again until no report is unfinished."""
    while await load.unfinished():  # noqa: ASYNC110 - it is another process that is asked
        await trio.sleep(LOOK_SECONDS)


async def tell_progress(load: Load) -> None:
    began = monotonic()
    while True:
        tell(accepted=len(load.topics), seconds=round(monotonic() - began, 1))
        await trio.sleep(0.25)


def polled(load: Load, began: float) -> dict[str, Any]:
    """Sum up what was measured from request to answer."""
    return {
        "topic": summarise(load.submits["topic"]),
        "submit": summarise(load.submits["generate"]),
        "status": summarise(took for _, took in load.polls),
        "dispatch": summarise(load.dispatched),
        "failed_polls": load.failed_polls,
        "long_polls_answered": load.woken,
        "timeline": timeline((due - began, took) for due, took in load.polls),
        "seen": load.seen,
        "texts": load.texts,
    }


def ended(statuses: list[dict[str, Any]], began: float) -> dict[str, Any]:
    """Sum up how the reports ended; `all_done_seconds` is None where some are not done."""
    words = Counter(status["status"] for status in statuses)
    ends = [datetime.fromisoformat(status["completed_at"]).timestamp() for status in statuses if status["completed_at"]]
    errors = Counter(status["error_message"] for status in statuses if status["error_message"])
    done = 0 < len(ends) == len(statuses)
    return {
        "statuses": dict(words),
        "errors": dict(errors.most_common(5)),
        "all_done_seconds": max(ends) - began if done else None,
    }


async def run(job: Job) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_with_parent, nursery.cancel_scope)
        tell(result=await measure(job))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(run, Job(**json.loads(sys.argv[1])))
