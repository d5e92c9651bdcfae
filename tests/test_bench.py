"""The benchmark, very small: that it measures what it says, and leaves nothing behind. How fast is not tested here."""

import json
import os
import re
import signal
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import httpx2
import pytest
import trio
from anthropic import AsyncAnthropic, NotFoundError
from click.testing import CliRunner

from app.bench.client import answer_in, chunks_in
from app.bench.figures import Figure, figures, notes
from app.bench.options import Options
from app.bench.plot import svg
from app.bench.processes import Cores, choose_cores, make_certificate
from app.bench.show import number, table
from app.bench.standin import StandIn, tls_context
from app.bench.stats import Bucket, summarise, summarise_counts, timeline
from app.bench.text import make_text
from app.cli import main
from tests.process import longhand, started

SMALL = ("bench", "--reports", "5", "--events", "10", "--seconds", "0.5", "--long-polls", "1", "--readers", "2")
TEXT = make_text(8, 300)

# The whole of it


async def test_a_small_benchmark_measures_everything_and_keeps_it(tmp_path: Path) -> None:
    files = ("--json", "found.json", "--svg", "found.svg")

    code, process = await longhand(*SMALL, *files, "--baseline", cwd=tmp_path, variables={"TMPDIR": str(tmp_path)})

    assert code == 0, process.errors
    assert "CPU per report" in process.output
    found = json.loads(contents(tmp_path)["found.json"])
    check_run(found["runs"]["longhand"], calls=25)
    check_run(found["runs"]["naive"], calls=25)
    assert found["runs"]["longhand"]["text"]["whole"] == 2
    assert found["runs"]["longhand"]["text"]["delay"]["count"] == 20
    assert found["runs"]["longhand"]["long_polls_answered"] > 0
    assert found["runs"]["bare"]["status"]["count"] > 0
    assert found["options"]["reports"] == 5
    assert ET.fromstring(contents(tmp_path)["found.svg"]).tag.endswith("svg")
    assert set(contents(tmp_path)) == {"found.json", "found.svg"}


def check_run(run: dict[str, Any], calls: int) -> None:
    """Check what must hold of the figures of five small reports, however slow the machine is."""
    assert run["statuses"] == {"completed": 5}
    assert run["failed_polls"] == 0
    assert run["in_time"]
    assert run["errors"] == {}
    assert run["stand_in"]["calls"] == calls
    assert run["stand_in"]["sent"] == run["stand_in"]["late"]["count"] == 50
    assert run["all_done_seconds"] >= 0.5
    assert run["cpu_seconds"] > 0
    assert run["peak_memory"] >= run["idle_memory"] > 0
    assert sum(bucket["count"] for bucket in run["timeline"]) == run["status"]["count"] > 0
    assert run["submit"]["count"] == run["topic"]["count"] == 5
    for kind in ("status", "submit", "topic", "idle_status", "dispatch"):
        assert 0 <= run[kind]["p50"] <= run[kind]["p90"] <= run[kind]["p99"] <= run[kind]["max"]


async def test_a_server_with_a_past_is_measured(tmp_path: Path) -> None:
    arguments = ("bench", "--topics", "30", "--probe-seconds", "0.2", "--json", "found.json")

    code, process = await longhand(*arguments, cwd=tmp_path, variables={"TMPDIR": str(tmp_path)})

    assert code == 0, process.errors
    assert "list p99, 30 topics" in process.output
    found = json.loads(contents(tmp_path)["found.json"])["probes"]["topics"]
    assert found["topics"] == 30
    assert found["longhand_start"] > 0
    assert found["empty_start"] > 0
    assert found["longhand"]["list"]["count"] > 0
    assert found["longhand"]["status"]["count"] > 0


async def test_ctrl_c_ends_every_process_and_leaves_nothing(tmp_path: Path) -> None:
    arguments = ("bench", "--reports", "2", "--readers", "0", "--seconds", "60")
    async with started(*arguments, cwd=tmp_path, variables={"TMPDIR": str(tmp_path)}) as process:
        await process.line("2 reports, longhand")
        children = children_of(process.inner.pid)

        process.send(signal.SIGINT)

        assert await process.wait() == 130
        assert len(children) == 3
        assert not [pid for pid in children if is_running(pid)]
        assert "Interrupted" in process.errors
        assert "Traceback" not in process.errors
        assert contents(tmp_path) == {}


def contents(directory: Path) -> dict[str, str]:
    """Return what is in a directory, temporary directories included."""
    return {path.name: path.read_text() if path.is_file() else "" for path in directory.iterdir()}


def is_running(pid: str) -> bool:
    return Path("/proc", pid).exists()


def children_of(pid: int) -> list[str]:
    return [child for file in Path("/proc", str(pid), "task").glob("*/children") for child in file.read_text().split()]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--reports", "0"], "Invalid value for '--reports'"),
        (["--seconds", "0"], "Invalid value for '--seconds'"),
        (["--reports", "5", "--readers", "6"], "There are more --readers and --long-polls than --reports."),
        (["--claude-url", "http://127.0.0.1:9", "--baseline"], "--claude-url measures the reports alone"),
        (["--claude-url", "http://127.0.0.1:9"], "--claude-url needs the key in ANTHROPIC_API_KEY."),
        (["--json", "nowhere/found.json"], "There is no directory nowhere for found.json."),
    ],
)
def test_wrong_arguments_are_told_before_anything_runs(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)

    result = CliRunner().invoke(main, ["bench", *arguments])

    assert result.exit_code in {1, 2}
    assert sentence in result.stderr


def test_what_costs_money_is_asked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")

    result = CliRunner().invoke(main, ["bench", "--claude-url", "http://127.0.0.1:9"], input="n\n")

    assert "200 whole reports will be written by http://127.0.0.1:9. That costs money." in result.output
    assert result.exit_code == 1


# The stand-in


@contextmanager
def standing_in(context: ssl.SSLContext | None = None) -> Iterator[StandIn]:
    """Run a stand-in in a thread for as long as the block lasts."""
    stand_in = StandIn(TEXT, 0.2, context)
    ours, its = socket.socketpair()
    thread = threading.Thread(target=stand_in.serve_until_readable, args=(its,))
    thread.start()
    try:
        yield stand_in
    finally:
        ours.send(b".")
        thread.join()
        for sock in [ours, its, stand_in.listener, *(key.fileobj for key in stand_in.selector.get_map().values())]:
            if not isinstance(sock, int):
                sock.close()  # type: ignore[attr-defined]
        stand_in.selector.close()


@asynccontextmanager
async def sdk(url: str, verify: ssl.SSLContext | bool = False) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(
        api_key="none", base_url=url, max_retries=0, http_client=httpx2.AsyncClient(verify=verify, trust_env=False)
    ) as client:
        yield client


def request_for(topic: str) -> Any:
    message = {"role": "user", "content": f"<topic>\n{topic}\n</topic>\n\nWrite."}
    return {"model": "claude-bench", "max_tokens": 1000, "messages": [message]}


async def test_the_sdk_reads_from_the_stand_in_over_tls_what_was_to_be_sent(tmp_path: Path) -> None:
    certificate = await make_certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=certificate)

    with standing_in(tls_context(str(certificate))) as stand_in:
        async with sdk(stand_in.url, trusting) as client:
            for topic in ("watched 7", "warm 1"):  # over the same connection
                async with client.messages.stream(**request_for(topic)) as stream:
                    message = await stream.get_final_message()
                assert message.content[0].type == "text"
                assert message.content[0].text == TEXT.whole
                assert message.stop_reason == "end_turn"
                assert message.usage.input_tokens == 600
                assert message.usage.output_tokens == TEXT.answer.tokens.output
                assert str(stream.request_id).startswith("req_bench_")

    report = stand_in.report
    assert (report["calls"], report["sent"], report["late"]["count"]) == (2, 8, 8)
    times = report["watched"][7]
    assert len(times) == 8
    assert times == sorted(times)
    assert stand_in.wheel == [[]] * len(stand_in.wheel)


async def test_a_held_answer_stops_after_its_first_event_and_a_client_that_goes_is_noticed() -> None:
    with standing_in() as stand_in:
        async with sdk(stand_in.url) as client:
            async with client.messages.stream(**request_for("held 1")) as stream:
                first = await anext(aiter(stream.text_stream))
                with trio.move_on_after(0.1) as pause:
                    await anext(aiter(stream.text_stream))
            async with client.messages.stream(**request_for("warm 1")) as stream:
                await stream.get_final_text()

    assert (first, pause.cancelled_caught) == (TEXT.pieces[0], True)
    assert stand_in.report["gone"] == 1


async def test_the_stand_in_refuses_what_the_benchmark_does_not_ask() -> None:
    with standing_in() as stand_in:
        async with sdk(stand_in.url) as client:
            with pytest.raises(NotFoundError, match="only streams"):
                await client.messages.count_tokens(model="m", messages=[{"role": "user", "content": "Hello"}])


@pytest.mark.parametrize(("events", "characters"), [(1, 1), (10, 1), (200, 8000), (7, 1000)])
def test_a_text_has_its_length_and_an_end_for_each_event(events: int, characters: int) -> None:
    text = make_text(events, characters)

    assert len(text.pieces) == events
    assert all(text.pieces)
    assert len(text.whole) == max(events, characters)
    assert text.ends == sorted(text.ends)
    assert text.ends[-1] == len(text.whole.rstrip())


# Figures


def test_percentiles_are_values_that_were_measured() -> None:
    assert summarise(n / 1000 for n in range(1, 101)) == {"count": 100, "p50": 51, "p90": 91, "p99": 100, "max": 100}
    assert summarise([]) == {"count": 0, "p50": 0, "p90": 0, "p99": 0, "max": 0}
    assert summarise_counts([90, 0, 10], 0.001) == {"count": 100, "p50": 1, "p90": 1, "p99": 3, "max": 3}
    assert summarise_counts([0, 0], 0.001)["count"] == 0


def test_a_timeline_has_a_bucket_for_each_tenth_of_a_second_in_which_something_was_measured() -> None:
    buckets = timeline([(0.01, 0.002), (0.05, 0.004), (0.31, 0.001)])

    assert [(bucket["at"], bucket["count"], bucket["max"]) for bucket in buckets] == [(0.0, 2, 4.0), (0.3, 1, 1.0)]


def test_a_ratio_says_how_many_times_better_and_is_bad_under_half_its_target() -> None:
    less = Figure("cpu", "CPU", 2.0, "ms", baseline=8.0, target_ratio=4)
    more = Figure("hot", "polls", 1.9, "", more_is_better=True, baseline=1.0, target_ratio=4)

    assert (less.ratio, less.met, less.bad) == (4.0, True, False)
    assert (more.ratio, more.met, more.bad) == (1.9, False, True)
    assert Figure("x", "x", None, "ms", target=3).met is None
    assert Figure("x", "x", 3, "ms", target=3).met


def probed() -> dict[str, Any]:
    polls = {"requests": 500, "seconds": 1.0, "cpu_seconds": 0.5}
    return {
        "runs": {},
        "probes": {
            "hot": {"longhand": polls, "bare": {**polls, "cpu_seconds": 1.0}},
            "wakeups": {"longhand": {"answers": 1000, "waiters": 1000, "cpu_seconds": 0.1}},
            "streams": {"longhand": {"text": 900, "status": 100, "readers": 200, "cpu_seconds": 0.1}},
            "submits": {"longhand": {"accepted": 500, "seconds": 0.5}},
        },
        "machine": {
            "processor": "A", "cores": 1, "load_before": 2.0, "system": "Linux 6", "python": "3.11.7", "pinned": False,
        },
    }  # fmt: skip


def test_the_parts_come_to_a_figure_each() -> None:
    listed = figures(probed(), Options(hot=True))

    assert {figure.key: figure.value for figure in listed} == {
        "hot": 1000, "wakeup": pytest.approx(100), "chunk": pytest.approx(100), "submits": 1000,
    }  # fmt: skip
    assert [figure.met for figure in listed] == [False, True, False, True]
    assert table(listed, compared=True).row_count == 4


def test_the_notes_say_what_the_figures_are_not_worth() -> None:
    run = {
        "statuses": {"completed": 3, "failed": 2},
        "errors": {"Claude API timeout": 2},
        "failed_polls": 4,
        "in_time": False,
        "measured_seconds": 110.2,
        "dispatch": {"p99": 9.0},
        "stand_in": {"late": {"p50": 0.5, "p99": 7.0}, "held_back": 6},
        "text": {"whole": 1, "readers": 2},
    }

    told = "\n".join(notes({**probed(), "runs": {"longhand": run}}, Options(reports=5)))

    assert "1 core, " in told
    assert "nothing pinned" in told
    assert "one core alone" in told
    assert "busy before (load 2)" in told
    assert "3 completed, 2 failed (2 x Claude API timeout)" in told
    assert "4 polls failed" in told
    assert "given up after 110 s" in told
    assert "load itself was late: p99 9.0" in told
    assert "late by p50 0.5, p99 7.0 ms" in told
    assert "6 sends" in told
    assert "only 1 of 2" in told


def test_the_targets_are_shown_only_where_they_are_meant() -> None:
    assert number(None, "ms") == "–"
    assert number(1234.5, "ms") == "1,234 ms"
    assert number(0.01234, "") == "0.0123"


def test_a_server_on_a_core_of_its_own_leaves_the_rest_to_the_others() -> None:
    cores = choose_cores(pin=True)

    assert choose_cores(pin=False) == Cores(None, None)
    if len(os.sched_getaffinity(0)) > 1:
        assert cores.server
        assert cores.others
        assert not cores.server & cores.others


def test_a_plot_is_well_formed_whatever_it_is_called_and_without_anything_measured() -> None:
    bucket = Bucket(at=0.1, count=3, p50=1.0, p99=20.0, max=500.0)

    drawn = ET.fromstring(svg("<A & B>", [bucket, {**bucket, "at": 0.2}], [(0.15, "done & over")]))
    ET.fromstring(svg("Nothing", [], []))

    points = [float(value) for line in drawn.iter() for value in re.findall(r"[\d.]+", line.get("points", ""))]
    assert len(points) == 8
    assert all(0 <= value <= 900 for value in points)


# The client


def test_answers_are_read_out_of_whatever_pieces_they_come_in() -> None:
    raw = b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nETag: "x"\r\n\r\nabcHTTP/1.1 304 Not Modified\r\n\r\n'

    for cut in range(raw.index(b"abc") + 3):
        assert answer_in(raw[:cut]) == (None, raw[:cut])
    first, rest = answer_in(raw)
    second, rest = answer_in(rest)

    assert first
    assert second
    assert (first.status, first.body, first.etag, second.status, second.body, rest) == (
        200,
        b"abc",
        '"x"',
        304,
        b"",
        b"",
    )


def test_chunks_are_read_out_of_whatever_pieces_they_come_in() -> None:
    raw = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

    assert chunks_in(raw) == (b"abcde", b"", True)
    assert chunks_in(raw[:9]) == (b"abc", b"2", False)
    assert chunks_in(b"3\r\nab") == (b"", b"3\r\nab", False)
