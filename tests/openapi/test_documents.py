"""Every document that is answered has exactly the members that the description tells of."""

import json
from typing import Any

import httpx2
import pytest
from jsonschema_rs import Draft202012Validator

from app.main import create_app
from app.openapi.build import description
from tests.claude import Script
from tests.events import list_reader, status_reader
from tests.routes.streams import completed, shown_halfway
from tests.service import Service

LIST, STATUS = "GET /api/topics/stream", "GET /api/topics/{id}/status/stream"


def closed(schema: Any) -> Any:
    """Allow no member that is not described: `description` itself does, for clients that are older than the server."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: closed(part) for name, part in schema.items()}
    return parts | {"additionalProperties": False} if "properties" in parts and parts.get("type") == "object" else parts


class Description:
    """The description of a service, to hold answers against."""

    def __init__(self, service: Service) -> None:
        routes = create_app(service.settings, None).routes
        self._document = closed(json.loads(json.dumps(description(routes, service.settings.models))))

    def errors(self, call: str, answer: httpx2.Response) -> list[str]:
        """Return what of an answer the description of its call does not say."""
        method, path = call.split()
        told = self._document["paths"][path][method.lower()]["responses"][str(answer.status_code)]
        media = answer.headers.get("content-type", "").partition(";")[0]
        assert (media in told["content"]) == bool(media), (call, media)
        needed = {name.lower() for name, header in told["headers"].items() if header.get("required")}
        found = self.faults(told["content"][media]["schema"], answer.json()) if media.endswith("json") else []
        return [*(f"{name} is missing" for name in needed - set(answer.headers)), *found]

    def faults(self, schema: Any, document: Any) -> list[str]:
        whole = schema | {"components": self._document["components"]}
        return [
            f"{error.instance_path}: {error.message}"
            for error in Draft202012Validator(whole, validate_formats=True).iter_errors(document)
        ]

    def of_event(self, call: str, name: str, data: Any) -> list[str]:
        method, path = call.split()
        stream = self._document["paths"][path][method.lower()]["responses"]["200"]["content"]["text/event-stream"]
        told = {event["properties"]["event"]["const"]: event for event in stream["schema"]["oneOf"]}
        return self.faults(told[name]["properties"]["data"]["contentSchema"], data)


@pytest.fixture
def told(service: Service) -> Description:
    return Description(service)


async def check_status(service: Service, told: Description, topic_id: int, *words: str) -> None:
    """Wait for a status, and check every document that tells of it."""
    assert (await service.wait_until(topic_id, *words))["status"] in words
    for call in (
        "GET /api/topics/{id}",
        "GET /api/topics/{id}/status",
        "GET /api/topics/{id}/generations",
        "GET /api/topics/{id}/messages",
        "GET /api/topics/{id}/artifacts",
    ):
        answer = await service.http.get(call.split()[1].format(id=topic_id))
        assert answer.status_code == 200
        assert told.errors(call, answer) == []
    assert told.errors("GET /api/topics", await service.http.get("/api/topics?limit=1")) == []


async def test_a_status_is_as_described_at_every_word(service: Service, told: Description) -> None:
    idle = await service.topic()
    done = await completed(service)
    half = await shown_halfway(service)
    service.claude.script(Script.error(401, "authentication_error", "No"))
    failed = await service.topic()
    await service.generate(failed)

    await check_status(service, told, idle, "idle")
    await check_status(service, told, done, "completed")
    await check_status(service, told, half, "generating")
    await check_status(service, told, failed, "failed")
    cancelled = await service.http.post(f"/api/topics/{half}/cancel", json={"keep_partial": True})
    assert told.errors("POST /api/topics/{id}/cancel", cancelled) == []
    await check_status(service, told, half, "cancelled")


async def test_a_status_that_waits_is_as_described(service: Service, told: Description) -> None:
    service.claude.default = Script.error(529, "overloaded_error", "Overloaded", 200)
    topic_id = await service.topic()
    await service.generate(topic_id)

    waits = await service.wait_until(topic_id, "generating", phase="waiting")

    assert waits["retry_at"]
    await check_status(service, told, topic_id, "generating")


async def test_what_is_answered_once_is_as_described(service: Service, told: Description) -> None:
    http = service.http
    added = await http.post("/api/topics", json={"topic": "A topic"})
    started = await http.post("/api/topics/1/generate", headers={"Idempotency-Key": "k"})
    artifact = (await service.ended(1))["artifact_id"]
    again = await http.post("/api/topics/1/generate", headers={"Idempotency-Key": "k"})

    answers = {
        "POST /api/topics": [added, await http.post("/api/topics", json={})],
        "POST /api/topics/{id}/generate": [started, again],
        "PATCH /api/topics/{id}": [await http.patch("/api/topics/1", json={"plan": "## A"})],
        "GET /api/artifacts/{id}": [await http.get(f"/api/artifacts/{artifact}")],
        "GET /api/artifacts/{id}/download": [
            await http.get(f"/api/artifacts/{artifact}/download", headers=headers)
            for headers in ({}, {"Range": "bytes=0-9"}, {"Range": "bytes=99999-"}, {"If-None-Match": "*"})
        ],
        "GET /healthz": [await http.get("/healthz")],
        "GET /readyz": [await http.get("/readyz")],
        "GET /openapi.json": [await http.get("/openapi.json")],
        "GET /docs": [await http.get("/docs")],
        "DELETE /api/topics/{id}": [await http.delete("/api/topics/1")],
    }

    faults = {call: [told.errors(call, one) for one in these] for call, these in answers.items()}
    assert {call for call, found in faults.items() if any(found)} == set(), faults


async def test_problems_with_more_members_are_as_described(service: Service, told: Description) -> None:
    half = await shown_halfway(service)
    call = "POST /api/topics/{id}/generate"

    in_progress = await service.http.post(f"/api/topics/{half}/generate")
    invalid = await service.http.post(f"/api/topics/{half}/generate", json={"mode": "none", "colour": 1})

    assert (in_progress.status_code, invalid.status_code) == (409, 422)
    assert told.errors(call, in_progress) == told.errors(call, invalid) == []
    for answer, name in ((in_progress, "generation_id"), (invalid, "errors")):
        document = answer.json()
        del document[name]
        assert told.errors(call, httpx2.Response(answer.status_code, headers=answer.headers, json=document))


async def test_every_event_is_as_described(service: Service, told: Description) -> None:
    topic_id = await completed(service)
    listed = list_reader(service)
    async with listed.connected():
        half = await shown_halfway(service)
        of_list = await listed.until("topic")
        await service.http.delete(f"/api/topics/{half}")
        of_list += await listed.until("deleted")
    of_topic = await status_reader(service, topic_id).visit()

    assert {event.name for event in of_topic} == {"status", "text", "done"}
    for call, events in {LIST: of_list, STATUS: of_topic}.items():
        assert [told.of_event(call, event.name, event.data) for event in events] == [[]] * len(events)
