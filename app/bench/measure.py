"""One whole benchmark: starts the processes, has the load measure, and puts together what they say."""

import json
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from app import __version__
from app.bench.meter import machine
from app.bench.options import ADMIN_TOKEN, Options
from app.bench.processes import Child, Cores, choose_cores, make_certificate, running
from app.bench.stats import summarise
from app.bench.text import make_text
from app.directory import DATABASE

Document = dict[str, Any]
Tell = Callable[[str, float], None]
"""Is told what is being done, and how much of it is behind us, from 0 to 1."""

SERVING = "Running on "


@dataclass(frozen=True, slots=True)
class Bench:
    """What all parts of a benchmark share."""

    options: Options
    directory: Path
    environment: Mapping[str, str]
    cores: Cores
    certificate: Path | None
    tell: Tell

    @asynccontextmanager
    async def stand_in(self, **changed: Any) -> AsyncIterator[tuple[Child, str]]:
        """Run the stand-in, and give its URL."""
        chosen = {name: getattr(self.options, name) for name in ("events", "seconds", "characters")}
        job = {**chosen, "cert": str(self.certificate) if self.certificate else None, **changed}
        async with self.child("stand-in", "standin", json.dumps(job)) as child:
            yield child, (await child.message())["url"]

    @asynccontextmanager
    async def server(
        self, claude_url: str, data: Path | None = None, /, **variables: object
    ) -> AsyncIterator[tuple[Child, str]]:
        """Run the real server in front of Claude or the stand-in, in a data directory of its own; give its URL."""
        data = data or self.directory / f"data-{len(list(self.directory.iterdir()))}"
        environment = {**self._to_claude(claude_url), **self._limits(), **{k: str(v) for k, v in variables.items()}}
        arguments = ["app", "serve", "--bind", "127.0.0.1:0", "--data-dir", str(data)]
        async with running("server", arguments, self.directory, environment, self.cores.server) as child:
            line = await child.line(SERVING)
            yield child, line.partition(SERVING)[2].split()[0]

    @asynccontextmanager
    async def naive(self, claude_url: str) -> AsyncIterator[tuple[Child, str]]:
        database = str(self.directory / "naive.db")
        arguments = ["app.bench.naive", database]
        environment = self._to_claude(claude_url)
        async with running("naive server", arguments, self.directory, environment, self.cores.server) as child:
            yield child, (await child.message())["url"]

    @asynccontextmanager
    async def bare(self) -> AsyncIterator[tuple[Child, str]]:
        arguments = ["app.bench.bare"]
        async with running("bare app", arguments, self.directory, self.environment, self.cores.server) as child:
            yield child, (await child.message())["url"]

    async def load(self, module: str, job: Document, step: str, seconds: float) -> Document:
        """Run a load to its end and return its result; meanwhile say how far it is."""
        async with self.child("load", module, json.dumps(job)) as child:
            self.tell(step, 0.0)
            while "result" not in (message := await child.message()):
                self.tell(step, min(message["seconds"] / seconds, 1.0))
            self.tell(step, 1.0)
            result: Document = message["result"]
            return result

    @asynccontextmanager
    async def child(self, name: str, module: str, job: str) -> AsyncIterator[Child]:
        arguments = [f"app.bench.{module}", job]
        async with running(name, arguments, self.directory, self.environment, self.cores.others) as child:
            yield child

    def _to_claude(self, url: str) -> dict[str, str]:
        """Return the environment of a server that is to use Claude at this address."""
        trusted = {"SSL_CERT_FILE": str(self.certificate)} if self.certificate else {}
        key = {} if self.options.claude_url else {"ANTHROPIC_API_KEY": "none"}
        told = {"LONGHAND_LOG_LEVEL": "info"}  # by a line of the log it says where it serves
        return {**self.environment, **key, "ANTHROPIC_BASE_URL": url, **trusted, **told}

    def _limits(self) -> dict[str, str]:
        """Return the settings that let all reports run at once."""
        room = str(self.options.reports + 10_000)
        names = ("LONGHAND_MAX_CONCURRENT", "LONGHAND_MAX_QUEUED", "LONGHAND_MAX_PER_USER")
        unbounded = ("LONGHAND_RATE_PER_TOKEN", "LONGHAND_MAX_CONNECTIONS_PER_ADDRESS")
        limits = dict.fromkeys(names, room) | dict.fromkeys(unbounded, "0") | {"LONGHAND_MAX_CONNECTIONS": room}
        limits |= {"LONGHAND_ADMIN_TOKEN": ADMIN_TOKEN, "LONGHAND_DRAIN_SECONDS": "0"}
        return limits | ({"LONGHAND_MAX_CONCURRENT": str(at_once)} if (at_once := self.options.concurrent) else {})


async def run(options: Options, environment: Mapping[str, str], directory: Path, tell: Tell) -> Document:
    """Run the benchmark and return everything that was measured, ready to be kept as JSON. Raises BenchFailed."""
    certificate = await make_certificate(directory) if options.tls and not options.claude_url else None
    cores = choose_cores(pin=options.pin)
    bench = Bench(options, directory, environment, cores, certificate, tell)
    found: Document = {
        "longhand": __version__,
        "machine": {**machine(), "pinned": cores.server is not None},
        "options": asdict(options),
        "runs": {},
        "probes": {},
    }
    if options.whole and options.baseline:
        found["runs"]["bare"] = await bare(bench)
        found["runs"]["naive"] = await burst(bench, "naive")
    if options.whole:
        found["runs"]["longhand"] = await burst(bench, "longhand")
    for name in options.probes:
        found["probes"][name] = await (past(bench) if name == "topics" else probe(bench, name))
    return found


async def burst(bench: Bench, which: str) -> Document:
    """Measure the burst of reports against the real server or the naive one."""
    options = bench.options
    given = options.claude_url
    async with nullcontext((None, given)) if given else bench.stand_in() as (stand_in, claude_url):
        server = bench.server(claude_url or "") if which == "longhand" else bench.naive(claude_url or "")
        async with server as (child, url):
            job = {name: getattr(options, name) for name in ("reports", "polls", "submitters", "long_polls", "readers")}
            job |= {"url": url, "token": ADMIN_TOKEN, "pid": child.pid, "limit": options.limit}
            job |= {"ideal": 0.0 if given else options.seconds, "warm": 1 if given else 20}
            job |= {"idle": min(options.seconds / 2, 1.0)}
            if which == "naive":
                job |= {"readers": 0, "long_polls": 0}
            result = await bench.load("load", job, f"{options.reports:,} reports, {which}", options.seconds + 4)
        if stand_in is not None:
            told = await stand_in.finish()
            result["text"] = text_delay(options, result, told.pop("watched"))
            result["stand_in"] = told
    for bulky in ("seen", "texts"):
        del result[bulky]
    return result


async def bare(bench: Bench) -> Document:
    """Poll the bare app for as long as reports would take, at the same rate."""
    async with bench.bare() as (child, url):
        job = {"url": url, "token": ADMIN_TOKEN, "pid": child.pid, "polls": bench.options.polls}
        seconds = min(bench.options.seconds, 5.0)
        job |= {"seconds": seconds, "probe": "polls"}
        return await bench.load("probes", job, "polls, bare app", seconds)


async def probe(bench: Bench, name: str) -> Document:
    """Measure one part by itself; beside it the bare app, where that can do the same."""
    seconds = bench.options.probe_seconds
    job: Document = {"token": ADMIN_TOKEN, "seconds": seconds, "probe": name}
    found: Document = {}
    # One event a second for everybody who waits; more than enough of them.
    pace = {"events": 600, "seconds": 600.0 if name == "wakeups" else 150.0, "characters": 30_000}
    variables = {"LONGHAND_MAX_CONCURRENT": 1} if name == "submits" else {}
    async with (
        bench.stand_in(**pace) as (_, claude_url),
        bench.server(claude_url, LONGHAND_CLAUDE_TIMEOUT=3600, **variables) as (child, url),
    ):
        found["longhand"] = await bench.load("probes", {**job, "url": url, "pid": child.pid}, name, seconds)
    if name == "hot":
        async with bench.bare() as (child, url):
            job |= {"url": url, "pid": child.pid, "probe": "bare"}
            found["bare"] = await bench.load("probes", job, f"{name}, bare app", seconds)
    return found


async def past(bench: Bench) -> Document:
    """Measure a server whose database has a past, and how long one without takes to start."""
    data, many = bench.directory / "past", bench.options.topics
    bench.tell("filling the database", 0.0)
    async with bench.child("past", "past", json.dumps({"database": str(data / DATABASE), "topics": many})) as child:
        await child.message()
    bench.tell("filling the database", 1.0)
    job: Document = {"token": ADMIN_TOKEN, "seconds": bench.options.probe_seconds, "probe": "topics", "topics": many}
    found: Document = {"topics": many}
    for name, directory in (("empty", None), ("longhand", data)):
        began = monotonic()
        async with bench.server("http://127.0.0.1:9", directory) as (child, url):
            found[f"{name}_start"] = monotonic() - began
            if directory:
                step = f"{many:,} topics"
                found["longhand"] = await bench.load(
                    "probes", {**job, "url": url, "pid": child.pid}, step, job["seconds"]
                )
    return found


def text_delay(options: Options, result: Document, sent: Mapping[str, list[float]]) -> Document:
    """Compare when the stand-in sent each event with when a reader had all of its text."""
    text = make_text(options.events, options.characters)
    ends, delays, right = text.ends, [], 0
    for number, seen in result["seen"].items():
        told = 0
        for when, reached in seen:
            known = min(bisect_right(ends, reached), len(sent[number]))
            delays += [when - at for at in sent[number][told:known]]
            told = max(told, known)
        right += result["texts"].get(number, "").rstrip() == text.whole.rstrip()
    return {"delay": summarise(delays), "readers": len(result["seen"]), "whole": right}
