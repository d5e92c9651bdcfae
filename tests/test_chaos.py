"""Chaos, very short: that it tries what it says, sees what is broken on purpose, and leaves nothing behind."""

import json
import os
import signal
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import pytest
import trio

from app.chaos.kinds import KINDS, NeverWritten, report, rest
from app.chaos.play import Evidence, Play
from app.chaos.promises import Verdict, verdicts
from app.chaos.standin import StandIn
from tests.process import environment, started
from tests.test_bench import contents, is_running

PATIENT_MS = 10_000.0
"""What the p99 may be here, where tests run side by side: how fast is not tested."""


async def test_a_short_run_tries_every_promise_and_finds_that_they_hold(tmp_path: Path) -> None:
    arguments = ("chaos", "--seconds", "1", "--seed", "1", "--status-ms", "10000", "--json")

    async with started(*arguments, cwd=tmp_path, variables={"TMPDIR": str(tmp_path)}) as process:
        with trio.fail_after(120):
            await process.ended.wait()

    assert process.inner.returncode == 0, process.output + process.errors
    found = json.loads(process.output)
    assert (found["seed"], found["kills"], len(found["promises"])) == (1, 1, 10)
    assert [promise for promise in found["promises"] if not promise["held"]] == []
    assert "1 × kill -9" in process.errors
    assert contents(tmp_path) == {}


async def test_ctrl_c_ends_every_process_and_leaves_nothing(tmp_path: Path) -> None:
    async with started("chaos", cwd=tmp_path, variables={"TMPDIR": str(tmp_path)}) as process:
        server = (await process.line("the server runs as process")).rpartition(" ")[2]

        process.send(signal.SIGINT)

        assert await process.wait() == 130
        assert not is_running(server)
        assert "Interrupted" in process.errors
        assert "Traceback" not in process.errors
        assert contents(tmp_path) == {}


class Doubling(StandIn):
    """Says the last sentence of each report twice, as a server that doubles words would."""

    def text(self, request: dict[str, Any]) -> str:
        text = super().text(request)
        return text + text[text.rindex("This is") - 1 :] if text else text


def doubted(evidence: Evidence, **changes: object) -> list[str]:
    """Return the promises that do not hold by the evidence, with some of it changed."""
    changed = copy(evidence)
    for name, value in changes.items():
        setattr(changed, name, value)
    return [verdict.promise for verdict in verdicts(changed, PATIENT_MS) if not verdict.held]


async def test_what_is_broken_on_purpose_is_seen(tmp_path: Path) -> None:
    play = Play(1, tmp_path, environment({}), Doubling(), print)

    evidence = await play.run(1)

    assert doubted(evidence) == ["No word is lost or doubled"]
    right = {
        "reports": {name: report(name) for name in evidence.reports},
        "seen_at_kill": {name: report(name)[:9] for name in evidence.seen_at_kill},
    }
    assert doubted(evidence, **right) == []
    for promise, change in LIES.items():
        assert promise in doubted(evidence, **(right | change(evidence)))


def first(evidence: Evidence, kind: str) -> str:
    return next(name for name in evidence.topics if name.startswith(kind))


def ended(evidence: Evidence, kind: str, status: str, **more: object) -> dict[str, Any]:
    """Return the ends with that of the first of a kind changed."""
    name = first(evidence, kind)
    return {"ends": evidence.ends | {name: evidence.ends[name] | {"status": status, **more}}}


def lost(evidence: Evidence) -> dict[str, Any]:
    name = first(evidence, "plain")
    return {"ends": {other: end for other, end in evidence.ends.items() if other != name}}


def late_event(evidence: Evidence) -> dict[str, Any]:
    return {"cancelled": {name: at - 100 for name, at in evidence.cancelled.items()}}


def further_call(evidence: Evidence) -> dict[str, Any]:
    return {"calls_at_cancel": {name: calls - 1 for name, calls in evidence.calls_at_cancel.items()}}


LIES: dict[str, Callable[[Evidence], dict[str, Any]]] = {
    "An accepted report ends as it should, over any kill": lost,
    "Text that was seen is never taken back": lambda evidence: {"seen_at_kill": {first(evidence, "plain"): "# Other"}},
    "A cancelled report spends nothing more": late_event,
    "A cancel that was answered holds": lambda evidence: ended(evidence, "unwanted", "completed"),
    "A broken stream is resumed": lambda evidence: ended(evidence, "cut", "failed", error_code="claude_stream"),
    "429 and 529 are waited for": lambda evidence: ended(evidence, "limited", "failed", error_code="x"),
    "A failure says why": lambda evidence: ended(evidence, "down", "failed", error_message=""),
    "The status is answered meanwhile": lambda evidence: {"polls": [*evidence.polls, *[60.0] * len(evidence.polls)]},
    "No row without its file, nothing left over": lambda evidence: {"findings": ["a file is gone"]},
}
"""For each promise, how the evidence would be if it were broken."""


def test_what_was_never_tried_did_not_hold() -> None:
    found = verdicts(Evidence(StandIn()), PATIENT_MS)

    assert [verdict for verdict in found if verdict.held] == []
    assert {verdict.why for verdict in found} == {"it was not tried"}
    assert all(isinstance(verdict, Verdict) for verdict in found)


def test_a_reader_who_is_told_something_else_is_noticed() -> None:
    evidence = Evidence(StandIn())

    for offset, text in ((0, "abc"), (3, "def"), (0, "abcdefg"), (2, "cd")):
        evidence.hear("right", offset, text)
    evidence.hear("gap", 1, "b")
    evidence.hear("other", 0, "abc")
    evidence.hear("other", 1, "xc")

    assert evidence.seen["right"] == "abcdefg"
    assert evidence.taken_back == ["gap", "other"]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"sections"}))
def test_a_report_is_gone_on_from_wherever_it_stands(kind: str) -> None:
    topic = f"{kind} 7"
    brief = {"role": "user", "content": [{"type": "text", "text": f"<topic>\n{topic}\n</topic>"}]}
    whole = report(topic).rstrip()

    assert rest({"messages": [brief]}) == whole
    assert rest({"messages": [brief, {"role": "assistant", "content": whole[:50]}]}) == whole[50:]
    with pytest.raises(NeverWritten):
        rest({"messages": [brief, {"role": "assistant", "content": "# Another text"}]})


def test_no_setting_of_the_machine_reaches_the_server(tmp_path: Path) -> None:
    play = Play(
        1, tmp_path, {"LONGHAND_MAX_QUEUED": "0", "ANTHROPIC_API_KEY": "secret", "PATH": os.defpath}, StandIn(), print
    )

    assert play._environment == {"PATH": os.defpath}
