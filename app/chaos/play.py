"""The play: the server is started, loaded, killed and started again; everything that was promised is written down."""

import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from app.bench.client import GONE, Connection, Site
from app.bench.processes import BenchFailed, Child, running
from app.chaos.kinds import KINDS, UNWANTED, plan_of
from app.chaos.standin import StandIn
from app.keeping.check import look

TOKEN = "the-token-of-the-chaos"  # noqa: S105 - of a server that lives for this run alone
SERVING = "Running on "
SETTINGS = {
    "ANTHROPIC_API_KEY": "none",
    "LONGHAND_ADMIN_TOKEN": TOKEN,
    "LONGHAND_CLAUDE_TIMEOUT": "3",
    "LONGHAND_BACKOFF_SECONDS": "0.05",
    "LONGHAND_CHECKPOINT_SECONDS": "0.3",
    "LONGHAND_MAX_RESUMES": "1000",
    "LONGHAND_MAX_PER_USER": "10000",
    "LONGHAND_DRAIN_SECONDS": "0",
}
ENDED = {"completed", "failed", "cancelled"}
POLLERS = 2
POLL_SECONDS = 0.02
READERS = 12
LATEST_SECONDS = 60.0
"""How long after the last kill everything must have ended."""

Tell = Callable[[str], None]


@dataclass(eq=False)
class Evidence:
    """What was promised, what was seen, and what came of it. Topics are named as `kinds` names them."""

    stand_in: StandIn
    topics: dict[str, int] = field(default_factory=dict)
    """The id of each topic whose report was accepted with a 202."""
    kills: int = 0
    polls: list[float] = field(default_factory=list)
    """How long each status took, in seconds."""
    refused_polls: list[str] = field(default_factory=list)
    cancelled: dict[str, float] = field(default_factory=dict)
    """When the cancel was answered."""
    calls_at_cancel: dict[str, int] = field(default_factory=dict)
    killed_after_cancel: set[str] = field(default_factory=set)
    seen: dict[str, str] = field(default_factory=dict)
    """The text that a reader has of each topic."""
    seen_at_kill: dict[str, str] = field(default_factory=dict)
    taken_back: list[str] = field(default_factory=list)
    ends: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The last status of each."""
    reports: dict[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    findings: list[str] = field(default_factory=list)
    """What `longhand check` finds at the end."""

    def hear(self, topic: str, offset: int, text: str) -> None:
        """Note what a reader is told, and whether it contradicts what one was told before."""
        seen = self.seen.get(topic, "")
        if offset > len(seen) or seen[offset : offset + len(text)] != text[: len(seen) - offset]:
            self.taken_back.append(topic)
        elif offset + len(text) > len(seen):
            self.seen[topic] = seen[:offset] + text


class Play:
    """One run. `rng` decides what is ordered and when the server is killed."""

    def __init__(
        self, seed: int, directory: Path, environment: Mapping[str, str], stand_in: StandIn, tell: Tell
    ) -> None:
        self.evidence = Evidence(stand_in)
        self._tell = tell
        self._stand_in = stand_in
        self._rng = random.Random(seed)  # noqa: S311 - a run that can be repeated
        self._directory = directory
        self._data = directory / "data"
        ours = ("LONGHAND_", "ANTHROPIC_")
        self._environment = {name: value for name, value in environment.items() if not name.startswith(ours)}
        self._ordered = 0

    async def run(self, seconds: float) -> Evidence:
        """Play for about so many seconds and return the evidence. Raises BenchFailed where the server cannot start."""
        evidence, began = self.evidence, trio.current_time()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._stand_in.serve)
            names = [*KINDS, UNWANTED]
            while not evidence.kills or trio.current_time() - began < 0.6 * seconds:
                await self._until_killed(names)
                self._tell(f"{len(evidence.topics)} reports accepted, {evidence.kills} × kill -9")
                names = [*self._rng.sample(sorted(KINDS), 4), "plain", UNWANTED]
            await self._to_the_end()
            nursery.cancel_scope.cancel()
        found = await trio.to_thread.run_sync(lambda: look(self._data, running=False))
        evidence.findings = [finding.sentence for finding in found.findings] + found.notes
        return evidence

    async def _until_killed(self, names: list[str]) -> None:
        """Start the server, order reports, watch, cancel, and kill it at some moment."""
        evidence = self.evidence
        async with self._serving() as (child, site), trio.open_nursery() as nursery:
            self._watch(nursery, site)
            fresh = [name for name in [await self._order(site, name) for name in names] if name]
            for name in fresh[:READERS]:
                nursery.start_soon(self._read, site, name)
            await trio.sleep(self._rng.uniform(0.2, 1.0))
            for number, name in enumerate(name for name in fresh if name.startswith(UNWANTED)):
                with trio.move_on_after(LATEST_SECONDS):
                    await self._stand_in.has_sent(name, 4)
                    await self._cancel(site, name)
                if number:
                    await trio.sleep(0.3)  # so that it is seen whether the call goes on, before the kill ends it anyway
            child.inner.kill()
            await child.inner.wait()
            nursery.cancel_scope.cancel()
        evidence.kills += 1
        evidence.killed_after_cancel |= set(evidence.cancelled)
        evidence.seen_at_kill |= evidence.seen

    async def _to_the_end(self) -> None:
        """Start the server for the last time and let everything come to its end; then stop it cleanly."""
        evidence = self.evidence
        async with self._serving() as (child, site):
            async with trio.open_nursery() as nursery:
                self._watch(nursery, site)
                with trio.move_on_after(LATEST_SECONDS):
                    while len(evidence.ends) < len(evidence.topics):
                        self._tell(f"{len(evidence.ends)} of {len(evidence.topics)} ended")
                        await trio.sleep(0.5)
                nursery.cancel_scope.cancel()
            await self._download(site)
        evidence.exit_code = child.inner.returncode

    def _watch(self, nursery: trio.Nursery, site: Site) -> None:
        """Poll all statuses, and read some of the reports that have not ended."""
        for _ in range(POLLERS):
            nursery.start_soon(self._poll, site)
        unfinished = [name for name in self.evidence.topics if name not in self.evidence.ends]
        self.evidence.ends.clear()  # what has ended is asked for again: it must still be so
        for name in unfinished[:READERS]:
            nursery.start_soon(self._read, site, name)

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[tuple[Child, Site]]:
        arguments = ["app", "serve", "--bind", "127.0.0.1:0", "--data-dir", str(self._data)]
        environment = {**self._environment, **SETTINGS, "ANTHROPIC_BASE_URL": self._stand_in.url}
        async with running("server", arguments, self._directory, environment, None) as child:
            line = await child.line(SERVING)
            self._tell(f"the server runs as process {child.pid}")
            yield child, Site.at(line.partition(SERVING)[2].split()[0], TOKEN)

    async def _order(self, site: Site, kind: str) -> str:
        """Order a report; returns its topic's name."""
        self._ordered += 1
        name = f"{kind} {self._ordered}"
        topic = {"topic": name, "plan": plan_of(name), "language": "en"}
        mode = {"mode": "sections"} if KINDS[kind].sections else {}
        async with connected(site) as connection:
            topic_id = (await connection.ask(site.request("POST", "/api/topics", topic))).data["id"]
            answer = await connection.ask(site.request("POST", f"/api/topics/{topic_id}/generate", mode))
        if answer.status != 202:
            raise BenchFailed(f"A report was answered {answer.status}: {answer.body.decode()}")
        self.evidence.topics[name] = topic_id
        return name

    async def _cancel(self, site: Site, name: str) -> None:
        async with connected(site) as connection:
            answer = await connection.ask(site.request("POST", f"/api/topics/{self.evidence.topics[name]}/cancel", {}))
        if answer.status == 202:
            self.evidence.cancelled[name] = trio.current_time()
            self.evidence.calls_at_cancel[name] = len(self._stand_in.calls_of(name))

    async def _poll(self, site: Site) -> None:
        """Ask for one status after the other, and note how long each takes, until cancelled or the server is gone."""
        evidence = self.evidence
        with suppress(*GONE):
            async with connected(site) as connection:
                while True:
                    for name in list(evidence.topics):
                        await self._ask(connection, site, name)
                    await trio.sleep(POLL_SECONDS)

    async def _ask(self, connection: Connection, site: Site, name: str) -> None:
        began = trio.current_time()
        answer = await connection.ask(site.request("GET", f"/api/topics/{self.evidence.topics[name]}/status"))
        self.evidence.polls.append(trio.current_time() - began)
        if answer.status != 200:
            self.evidence.refused_polls.append(f"{answer.status} for {name}")
        elif answer.data["status"] in ENDED:
            self.evidence.ends[name] = answer.data
        await trio.sleep(POLL_SECONDS)

    async def _read(self, site: Site, name: str) -> None:
        """Read a report from its beginning while it is written."""
        path = f"/api/topics/{self.evidence.topics[name]}/status/stream?text=1"
        with suppress(*GONE):
            async with connected(site) as connection:
                async for events in connection.events(site.request("GET", path)):
                    for piece in [json.loads(data) for kind, data in events if kind == "text"]:
                        self.evidence.hear(name, piece["offset"], piece["text"])

    async def _download(self, site: Site) -> None:
        completed = {name: end["artifact_id"] for name, end in self.evidence.ends.items() if end["artifact_id"]}
        async with connected(site) as connection:
            for name, artifact_id in completed.items():
                answer = await connection.ask(site.request("GET", f"/api/artifacts/{artifact_id}/download"))
                self.evidence.reports[name] = answer.body.decode()


@asynccontextmanager
async def connected(site: Site) -> AsyncIterator[Connection]:
    """Give a connection, and close it whatever happens: one that is left open would hold up the server's stop."""
    connection = await Connection.to(site)
    try:
        yield connection
    finally:
        connection.forget()
