"""From what was measured to the figures that are shown: name, value, target, and how the naive variant compares."""

from dataclasses import dataclass
from typing import Any

from app.bench.options import Options

Document = dict[str, Any]

TARGETS: dict[int, dict[str, float]] = {
    200: {"status_p99": 3, "status_max": 50, "submit_p99": 50, "all_done": 10.4, "cpu": 9, "memory": 70},
    1000: {"status_p99": 6, "status_max": 50, "submit_p99": 60, "all_done": 11.2, "cpu": 7, "memory": 60, "text": 400},
    3000: {"status_p99": 50, "status_max": 200, "submit_p99": 150, "all_done": 16, "cpu": 7, "memory": 60},
}
"""By the number of reports of 200 events and 10 seconds, the server on a core of its own."""

TARGET_HOT_RATIO = 4.0
TARGET_WAKEUP = 150.0
TARGET_CHUNK = 50.0
TARGET_SUBMITS = 1000.0
TARGET_CPU_RATIO = 3.0
"""How much less CPU a report is to cost than with the naive variant, whatever the machine."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. `baseline` is the same of the naive variant or the bare app; `ratio` how many times better ours is.

    `target` is for the value, `target_ratio` for the ratio; either may be missing.
    """

    key: str
    label: str
    value: float | None
    unit: str
    more_is_better: bool = False
    target: float | None = None
    baseline: float | None = None
    target_ratio: float | None = None

    @property
    def ratio(self) -> float | None:
        if not self.value or not self.baseline:
            return None
        return self.value / self.baseline if self.more_is_better else self.baseline / self.value

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none, or nothing to hold against it."""
        if self.target_ratio is not None and self.ratio is not None:
            return self.ratio >= self.target_ratio
        if self.target is None or self.value is None:
            return None
        return self.value >= self.target if self.more_is_better else self.value <= self.target

    @property
    def bad(self) -> bool:
        """Whether the ratio is worse than half its target: what ends the short form with 1."""
        return self.target_ratio is not None and self.ratio is not None and self.ratio < self.target_ratio / 2


def figures(found: Document, options: Options) -> list[Figure]:
    """Return all figures of a benchmark, in the order in which they are shown."""
    listed = []
    if "longhand" in found["runs"]:
        listed += of_reports(found, options)
    return [*listed, *of_probes(found["probes"])]


def of_reports(found: Document, options: Options) -> list[Figure]:
    """Return the figures of the burst."""
    targets = targets_for(options, pinned=found["machine"]["pinned"])
    ours, naive = values(found["runs"]["longhand"], options), None
    if "naive" in found["runs"]:
        naive = values(found["runs"]["naive"], options)

    def figure(key: str, label: str, unit: str, **more: Any) -> Figure:
        baseline = naive[key] if naive else None
        return Figure(key, label, ours[key], unit, target=targets.get(key), baseline=baseline, **more)

    return [
        figure("status_p50", "status p50", "ms"),
        figure("status_p90", "status p90", "ms"),
        figure("status_p99", "status p99", "ms"),
        figure("status_max", "status max", "ms"),
        figure("idle_p99", "status p99, nothing running", "ms"),
        figure("submit_p50", "submit p50", "ms"),
        figure("submit_p90", "submit p90", "ms"),
        figure("submit_p99", "submit p99", "ms"),
        figure("submit_max", "submit max", "ms"),
        figure("burst", "all accepted after", "s"),
        figure("all_done", f"all done (ideal {options.seconds:g} s)" if not options.claude_url else "all done", "s"),
        figure("cpu", "CPU per report, polls included", "ms", target_ratio=TARGET_CPU_RATIO if options.short else None),
        figure("memory", "memory per report in flight", "KB"),
        figure("events", "events per CPU second", "", more_is_better=True),
        *([figure("text", "text delay p99", "ms")] if options.readers else []),
        figure("idle_cpu", "CPU while idle", "ms/s"),
        figure("memory_left", "memory kept, per report", "KB"),
    ]


def values(run: Document, options: Options) -> dict[str, float | None]:
    """Return the values of one run by the keys of the figures; None for what could not be measured."""
    done = run["statuses"].get("completed", 0)
    whole = done == options.reports and run["in_time"]
    found: dict[str, float | None] = {
        f"{kind}_{name}": run[kind][name] for kind in ("status", "submit") for name in ("p50", "p90", "p99", "max")
    }
    together = run["burst_seconds"] is not None and (run["burst_seconds"] < options.seconds or options.claude_url)
    delay = run.get("text", {}).get("delay", {"count": 0})
    return found | {
        "idle_p99": run["idle_status"]["p99"],
        "burst": run["burst_seconds"],
        "all_done": run["all_done_seconds"] if whole else None,
        "cpu": run["cpu_seconds"] * 1000 / done if whole else None,
        "memory": (run["peak_memory"] - run["idle_memory"]) / 1024 / options.reports if together else None,
        "events": done * options.events / run["cpu_seconds"] if whole and run["cpu_seconds"] else None,
        "text": delay["p99"] if delay["count"] else None,
        "idle_cpu": run["idle_cpu"] * 1000,
        "memory_left": (run["memory_after"] - run["idle_memory"]) / 1024 / options.reports,
    }


def of_probes(probes: Document) -> list[Figure]:
    """Return the figures of the parts by themselves."""
    listed = []
    if "hot" in probes:
        rates = {who: per_second(run["requests"], run["cpu_seconds"]) for who, run in probes["hot"].items()}
        against = {"baseline": rates["bare"], "target_ratio": TARGET_HOT_RATIO}
        listed.append(Figure("hot", "hot polls per CPU second", rates["longhand"], "", more_is_better=True, **against))
    if "wakeups" in probes:
        run = probes["wakeups"]["longhand"]
        label = f"CPU per wake-up ({run['waiters']:,} wait)"
        listed.append(Figure("wakeup", label, micros(run["cpu_seconds"], run["answers"]), "µs", target=TARGET_WAKEUP))
    if "streams" in probes:
        run = probes["streams"]["longhand"]
        chunks = run["text"] + run["status"]
        label = f"CPU per event and reader ({run['readers']:,})"
        listed.append(Figure("chunk", label, micros(run["cpu_seconds"], chunks), "µs", target=TARGET_CHUNK))
    if "submits" in probes:
        run = probes["submits"]["longhand"]
        rate = per_second(run["accepted"], run["seconds"])
        listed.append(Figure("submits", "submits per second", rate, "", more_is_better=True, target=TARGET_SUBMITS))
    if "topics" in probes:
        listed += of_past(probes["topics"])
    return listed


def of_past(found: Document) -> list[Figure]:
    """Return the figures of a server whose database has a past."""
    many = f"{found['topics']:,} topics"
    listed = [Figure("start", f"start with {many}", found["longhand_start"], "s", baseline=found["empty_start"])]
    for kind in ("list", "status"):
        run = found["longhand"][kind]
        listed += [Figure(f"{kind}_{name}", f"{kind} {name}, {many}", run[name], "ms") for name in ("p50", "p99")]
        listed.append(Figure(f"{kind}_cpu", f"CPU per {kind}", micros(run["cpu_seconds"], run["count"]), "µs"))
    return listed


def targets_for(options: Options, *, pinned: bool) -> dict[str, float]:
    """Return the targets that hold for these options; none where they are others than the targets are for."""
    usual = (options.events, options.seconds, options.polls) == (200, 10.0, 200.0)
    return TARGETS.get(options.reports, {}) if usual and pinned and options.tls and not options.claude_url else {}


def per_second(many: int, seconds: float) -> float | None:
    return many / seconds if seconds else None


def micros(seconds: float, many: int) -> float | None:
    return seconds / many * 1_000_000 if many else None


def notes(found: Document, options: Options) -> list[str]:
    """Say what these figures are worth: the machine, and whatever was not as it should be."""
    machine = found["machine"]
    pinned = "the server on a core of its own" if machine["pinned"] else "nothing pinned to a core"
    cores = "1 core" if machine["cores"] == 1 else f"{machine['cores']} cores"
    listed = [f"{machine['processor']}, {cores}, {machine['system']}, Python {machine['python']}; {pinned}."]
    if machine["cores"] < 2:
        listed.append("There is one core alone: server, stand-in and load take it from each other.")
    if machine["load_before"] > 0.5:
        listed.append(f"The machine was busy before (load {machine['load_before']:g}): these figures are worse for it.")
    for name, run in found["runs"].items():
        listed += [f"{name}: {note}" for note in notes_of_run(run, options)]
    return listed


def notes_of_run(run: Document, options: Options) -> list[str]:
    listed = []
    statuses = run.get("statuses", {})
    if "statuses" in run and statuses.get("completed", 0) != options.reports:
        told = ", ".join(f"{count:,} {word}" for word, count in sorted(statuses.items())) or "none was accepted"
        reasons = "".join(f" ({count:,} x {text})" for text, count in run["errors"].items())
        listed.append(f"not all reports were completed: {told}{reasons}.")
    if not run.get("in_time", True):
        listed.append(f"given up after {run['measured_seconds']:.0f} s; what was not done by then has no figure.")
    if run.get("failed_polls"):
        listed.append(f"{run['failed_polls']:,} polls failed or had no answer in 20 s.")
    if run.get("dispatch", {}).get("p99", 0) > 5:
        listed.append(f"the load itself was late: p99 {run['dispatch']['p99']:.1f} ms, which counts as latency here.")
    if stand_in := run.get("stand_in"):
        late = stand_in["late"]
        listed.append(f"the stand-in's events were late by p50 {late['p50']:.1f}, p99 {late['p99']:.1f} ms.")
        if stand_in["held_back"]:
            listed.append(f"{stand_in['held_back']:,} sends had to wait because the server did not read.")
    if (text := run.get("text")) and text["whole"] != text["readers"]:
        listed.append(f"only {text['whole']} of {text['readers']} readers had the whole text at the end.")
    return listed
