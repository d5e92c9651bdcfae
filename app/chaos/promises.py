"""What Longhand promises, held against what was seen. Pure: from the evidence to a verdict on each promise."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.bench.stats import summarise
from app.chaos.kinds import BROKEN_STREAMS, KINDS, LIMITING, UNWANTED, kind_of, report
from app.chaos.play import Evidence

CLOSING_SECONDS = 0.25
"""How long after a cancel was answered an event may still be under way to a connection that is closed."""

MAX_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """A promise, how it was tried, and whether it held; `why` not."""

    promise: str
    tried: str
    held: bool
    why: str = ""


def verdicts(evidence: Evidence, status_ms: float) -> list[Verdict]:
    """Judge every promise; one that was not tried did not hold."""
    return [
        accepted_reports_end(evidence),
        seen_text_stays(evidence),
        cancelled_spend_nothing(evidence),
        cancels_hold(evidence),
        broken_streams_are_resumed(evidence),
        no_word_is_lost(evidence),
        limits_are_waited_for(evidence),
        failures_say_why(evidence),
        status_is_answered(evidence, status_ms),
        rows_have_files(evidence),
    ]


def verdict(promise: str, tried: str, count: int, faults: Iterable[str]) -> Verdict:
    """Make a verdict of the faults that were found in so many tries."""
    found = list(faults)
    more = f" and {len(found) - MAX_SHOWN} more" if len(found) > MAX_SHOWN else ""
    why = "; ".join(found[:MAX_SHOWN]) + more if count else "it was not tried"
    return Verdict(promise, tried, held=count > 0 and not found, why=why)


def end_of(evidence: Evidence, name: str) -> str:
    """Return how a report ended: completed, cancelled, the code of its failure, or that it did not."""
    status = evidence.ends.get(name)
    if status is None:
        return "no end"
    return str(status["error_code"] if status["status"] == "failed" else status["status"])


def of_kinds(evidence: Evidence, *kinds: str) -> list[str]:
    return [name for name in evidence.topics if name.partition(" ")[0] in kinds]


def accepted_reports_end(evidence: Evidence) -> Verdict:
    wanted = [name for name in evidence.topics if not name.startswith(UNWANTED)]
    faults = [
        f"'{name}' came to {end_of(evidence, name)} and not to {kind_of(name).ends}"
        for name in wanted
        if end_of(evidence, name) != kind_of(name).ends
    ]
    faults += [f"'{name}' has no end" for name in of_kinds(evidence, UNWANTED) if name not in evidence.ends]
    tried = f"{len(evidence.topics)} accepted, {evidence.kills} × kill -9"
    return verdict("An accepted report ends as it should, over any kill", tried, evidence.kills, faults)


def seen_text_stays(evidence: Evidence) -> Verdict:
    faults = [f"a reader of '{name}' was told something else later" for name in sorted(set(evidence.taken_back))]
    followed = {name: text for name, text in evidence.seen_at_kill.items() if text}
    faults += [
        f"'{name}' does not begin with what was seen of it"
        for name, text in followed.items()
        if name in evidence.reports and not evidence.reports[name].startswith(text)
    ]
    tried = f"{len(followed)} reports read while the server was killed"
    return verdict("Text that was seen is never taken back", tried, len(followed), faults)


def cancelled_spend_nothing(evidence: Evidence) -> Verdict:
    faults = []
    for name, answered in evidence.cancelled.items():
        if further := len(evidence.stand_in.calls_of(name)) - evidence.calls_at_cancel[name]:
            faults.append(f"'{name}' was asked for {further} times more")
        if late := sum(at > answered + CLOSING_SECONDS for at in evidence.stand_in.events_of(name)):
            faults.append(f"{late} events were sent for '{name}'")
    calls = len(evidence.cancelled)
    return verdict("A cancelled report spends nothing more", f"{calls} cancelled in mid-text", calls, faults)


def cancels_hold(evidence: Evidence) -> Verdict:
    tried = sorted(evidence.killed_after_cancel)
    faults = [f"'{name}' is {end_of(evidence, name)}" for name in tried if end_of(evidence, name) != "cancelled"]
    return verdict("A cancel that was answered holds", f"{len(tried)} followed by a kill -9", len(tried), faults)


def broken_streams_are_resumed(evidence: Evidence) -> Verdict:
    names = of_kinds(evidence, *BROKEN_STREAMS)
    faults = [f"'{name}' came to {end_of(evidence, name)}" for name in names if end_of(evidence, name) != "completed"]
    faults += [f"'{name}' was asked for once" for name in names if len(evidence.stand_in.calls_of(name)) < 2]
    faults += [
        f"Claude was asked to go on from what it never wrote: {strange}" for strange in evidence.stand_in.strange
    ]
    return verdict("A broken stream is resumed", f"{len(names)} cut, malformed, truncated, silent", len(names), faults)


def no_word_is_lost(evidence: Evidence) -> Verdict:
    reports = evidence.reports
    faults = [f"'{name}' is not the text that was sent" for name, text in reports.items() if text != report(name)]
    return verdict("No word is lost or doubled", f"{len(reports)} reports compared", len(reports), faults)


def limits_are_waited_for(evidence: Evidence) -> Verdict:
    names = of_kinds(evidence, *LIMITING)
    turned_away = sum(call.status in {429, 529} for call in evidence.stand_in.calls)
    faults = [f"'{name}' came to {end_of(evidence, name)}" for name in names if end_of(evidence, name) != "completed"]
    return verdict("429 and 529 are waited for", f"{turned_away} calls turned away", turned_away, faults)


def failures_say_why(evidence: Evidence) -> Verdict:
    names = of_kinds(evidence, *(name for name, kind in KINDS.items() if kind.ends not in {"completed", "cancelled"}))
    faults = [
        f"'{name}' came to {end_of(evidence, name)}"
        for name in names
        if end_of(evidence, name) != kind_of(name).ends or not evidence.ends[name]["error_message"]
    ]
    return verdict("A failure says why", f"{len(names)} that Claude fails", len(names), faults)


def status_is_answered(evidence: Evidence, status_ms: float) -> Verdict:
    spread = summarise(evidence.polls)
    faults = sorted(set(evidence.refused_polls))
    if spread["p99"] > status_ms:
        faults.append(f"p99 is over {status_ms:g} ms")
    tried = f"{spread['count']:,} polls: p99 {spread['p99']:.1f} ms, max {spread['max']:.1f} ms"
    return verdict("The status is answered meanwhile", tried, spread["count"], faults)


def rows_have_files(evidence: Evidence) -> Verdict:
    faults = list(evidence.findings)
    if evidence.exit_code:
        faults.append(f"the last stop ended with {evidence.exit_code}")
    tried = f"longhand check of {len(evidence.reports)} reports"
    return verdict("No row without its file, nothing left over", tried, len(evidence.reports), faults)
