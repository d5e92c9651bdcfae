"""Spans, as a collector of ours gets them; and that there is nothing of them where none is configured."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from app.errors import SettingsError
from app.settings import DEFAULT_MODEL, Settings
from app.threads import Threads
from app.tracing import FLUSH_SECONDS, open_tracing
from tests.claude import FakeClaude, Fault, Script
from tests.collector import Collector, collecting
from tests.fairwatch import within
from tests.process import serving
from tests.reports import cancel, held
from tests.service import Service, running, settings_for

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as found:
        yield found


@pytest.fixture
def traced(collector: Collector, claude: FakeClaude, tmp_path: Path) -> Settings:
    more = {"otlp_endpoint": collector.url, "otlp_headers": "x-asked-for=a-secret-of-the-collector"}
    return settings_for(tmp_path / "data", claude.url, backoff_seconds=0.01).model_copy(update=more)


async def test_a_report_is_a_trace_of_its_own_with_its_calls_and_transactions(
    claude: FakeClaude, traced: Settings, collector: Collector
) -> None:
    async with running(claude, traced) as service:
        topic_id = await service.topic()
        answer = await service.http.post(f"/api/topics/{topic_id}/generate", headers={"traceparent": PARENT})
        await service.ended(topic_id)

    request = next(span for span in collector.spans if span.name == "POST /api/topics/{id}/generate")
    assert (request.trace, request.parent) == tuple(PARENT.split("-")[1:3])
    assert request.attributes["http.response.status_code"] == 202
    assert request.attributes["longhand.request_id"] == answer.headers["x-request-id"]
    (generation,) = collector.named("generation")
    assert generation.links == [(request.trace, request.id)]
    assert (generation.parent, generation.failed) == ("", False)
    assert generation.trace != request.trace
    assert generation.attributes == {
        "longhand.topic_id": topic_id, "longhand.generation_id": 1, "longhand.status": "completed"
    }  # fmt: skip
    (call,) = collector.named("claude")
    assert (call.trace, call.parent) == (generation.trace, generation.id)
    assert call.attributes["anthropic.request.id"] == claude.calls[0].request_id
    assert call.attributes["gen_ai.request.model"] == DEFAULT_MODEL
    assert call.attributes["gen_ai.usage.output_tokens"] > 0
    parents = {span.parent for span in collector.named("transaction")}
    assert {request.id, generation.id, call.id} <= parents
    assert collector.resource["service.name"] == "longhand"
    assert set(collector.paths) == {"/v1/traces"}
    assert collector.headers[0]["x-asked-for"] == "a-secret-of-the-collector"


async def test_a_failure_is_in_its_trace_by_its_code_and_never_by_its_words(
    claude: FakeClaude, traced: Settings, collector: Collector
) -> None:
    claude.script(Script(fault=Fault.CUT, at=5), Script.error(400, "invalid_request_error", "words: test-key"))
    async with running(claude, traced) as service:
        topic_id = await service.topic("The topic's own words")
        await service.generate(topic_id)
        await service.ended(topic_id)
        await service.http.get("/api/topics?token=a-token-in-a-query")

    (generation,) = collector.named("generation")
    broken, refused = collector.named("claude")
    assert (generation.failed, generation.attributes["error.type"]) == (True, "claude_request")
    assert (broken.failed, broken.attributes["error.type"]) == (True, "ClaudeStream")
    assert (refused.failed, refused.attributes["anthropic.request.id"]) == (True, claude.calls[1].request_id)
    assert not any(span.message for span in collector.spans)
    for words in (b"words", b"test-key", b"a-token-in-a-query", b"admin-token", b"a-secret-of-the-collector"):
        assert words not in collector.content


async def test_a_cancelled_report_ends_its_spans(claude: FakeClaude, traced: Settings, collector: Collector) -> None:
    claude.default = Script(hold=trio.Event(), hold_at=3)
    async with running(claude, traced) as service:
        topic_id = await service.topic()
        await service.generate(topic_id)
        await held(claude)
        await cancel(service, topic_id)

    assert [span.attributes["longhand.status"] for span in collector.named("generation")] == ["cancelled"]
    assert len(collector.named("claude")) == 1


async def test_a_collector_that_does_not_answer_holds_up_neither_a_report_nor_the_stop(
    claude: FakeClaude, traced: Settings, collector: Collector, blocked: list[str]
) -> None:
    collector.hold = True
    async with running(claude, traced) as service:
        topic_id = await service.topic()
        await service.generate(topic_id)
        assert (await service.ended(topic_id))["status"] == "completed"
        with within(FLUSH_SECONDS + 1, "the stop", blocked):
            await service.shut_down()


async def test_without_an_endpoint_there_is_nothing_of_it(service: Service) -> None:
    async with open_tracing(service.settings, Threads(4)) as tracer:
        assert tracer is None


def test_without_an_endpoint_nothing_of_the_sdk_is_imported() -> None:
    code = "import sys, app.cli; print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


async def test_an_endpoint_without_the_packages_stops_the_start_with_one_line(
    claude: FakeClaude, traced: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)

    with pytest.raises(SettingsError, match=r"pip install 'longhand\[otel\]'") as failed:
        async with open_tracing(traced, Threads(4)):
            pass

    assert failed.value.exit_code == 2
    assert len(str(failed.value).splitlines()) == 1


async def test_the_usual_variables_name_the_service_and_the_collector(
    claude: FakeClaude, collector: Collector, tmp_path: Path
) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "reports"}
    async with serving(tmp_path / "data", claude, **variables) as server:
        await server.http.get("/healthz", headers={"traceparent": "no such thing"})
        server.process.inner.terminate()
        assert await server.process.wait() == 0

    assert [span.parent for span in collector.named("GET /healthz")] == [""]
    assert collector.resource["service.name"] == "reports"
    assert "rror" not in server.process.errors
