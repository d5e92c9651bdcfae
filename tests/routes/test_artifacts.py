"""What a completed generation leaves: messages, artifacts, files to download."""

import hashlib
import logging
from base64 import b64encode
from urllib.parse import unquote

import httpx2
import pytest

from tests.claude import Script
from tests.routes.client import TIME, pointers, problem
from tests.service import Service
from tests.visiting import ends_of

TEXT = "# 전기차\n\n## 충전\n\n보고서의 본문입니다.\n"
CONTENT = TEXT.encode()
SIZE = len(CONTENT)

NAMES = {
    "전기차 충전 인프라": "전기차 충전 인프라.md",
    'He said "50% off" (a/b\\c): why?': "He said 50% off (a b c) why.md",
    "../../etc/passwd": "etc passwd.md",
    "tab\tand\nnewline": "tab and newline.md",
    "it's; a=b, *c* & 😀": "it's; a=b, c & 😀.md",
    "...": "report.md",
    "a" * 200: "a" * 80 + ".md",
}

RANGES = {
    "bytes=0-0": (0, 0),
    "bytes=0-9": (0, 9),
    "bytes=5-": (5, SIZE - 1),
    "bytes=-4": (SIZE - 4, SIZE - 1),
    f"bytes=-{SIZE + 5}": (0, SIZE - 1),
    f"bytes={SIZE - 1}-": (SIZE - 1, SIZE - 1),
    f"bytes=10-{SIZE + 99}": (10, SIZE - 1),
    "Bytes=0-0": (0, 0),
}
UNSATISFIABLE = (f"bytes={SIZE}-", f"bytes={SIZE + 1}-{SIZE + 2}", "bytes=-0", "bytes=999999999999999999-")
NO_RANGES = (
    "bytes=",
    "bytes=-",
    "bytes=5-2",
    "bytes=a-b",
    "bytes=0-1,3-4",
    "lines=0-1",
    "bytes 0-1",
    "bytes=0-" + "9" * 40,
)


@pytest.fixture
async def report(service: Service) -> str:
    """The address of a report whose content is CONTENT."""
    service.claude.script(Script(text=TEXT))
    topic_id = await service.topic("전기차")
    await service.generate(topic_id)
    return f"/api/artifacts/{(await service.ended(topic_id))['artifact_id']}/download"


async def get(service: Service, report: str, **headers: str) -> httpx2.Response:
    return await service.http.get(report, headers={name.replace("_", "-"): value for name, value in headers.items()})


def digest() -> str:
    return f"sha-256=:{b64encode(hashlib.sha256(CONTENT).digest()).decode()}:"


async def test_the_conversation_holds_what_was_asked_and_what_was_written(service: Service, report: str) -> None:
    answer = (await service.http.get("/api/topics/1/messages")).json()

    user, assistant = answer["data"]
    assert set(user) == set(assistant) == {"id", "seq_no", "role", "content", "created_at"}
    assert [(user["seq_no"], user["role"]), (assistant["seq_no"], assistant["role"])] == [(1, "user"), (2, "assistant")]
    assert "전기차" in user["content"]
    assert assistant["content"] == TEXT
    assert TIME.fullmatch(user["created_at"])
    assert answer["next_cursor"] is None


async def test_the_conversation_goes_on_in_order_and_in_pages(service: Service) -> None:
    topic_id, found, query = await service.topic(), [], "limit=3"
    for _ in range(2):
        await service.generate(topic_id)
        await service.ended(topic_id)

    while query:
        answer = (await service.http.get(f"/api/topics/{topic_id}/messages?{query}")).json()
        found += [(message["seq_no"], message["role"]) for message in answer["data"]]
        query = f"limit=3&cursor={answer['next_cursor']}" if answer["next_cursor"] else ""

    assert found == [(1, "user"), (2, "assistant"), (3, "user"), (4, "assistant")]


async def test_a_failed_generation_leaves_no_message_and_no_artifact(service: Service) -> None:
    service.claude.script(Script.error_event("invalid_request_error", "No", at=20))
    topic_id = await service.topic()
    await service.generate(topic_id)

    status = await service.ended(topic_id)

    assert status["status"] == "failed"
    for path in ("messages", "artifacts"):
        assert (await service.http.get(f"/api/topics/{topic_id}/{path}")).json()["data"] == []


async def test_an_artifact_tells_what_its_file_is(service: Service, report: str) -> None:
    generation = await service.status(1)

    (artifact,) = (await service.http.get("/api/topics/1/artifacts")).json()["data"]

    created_at = artifact.pop("created_at")
    assert artifact == {
        "id": generation["artifact_id"],
        "topic_id": 1,
        "generation_id": generation["generation_id"],
        "version": 1,
        "kind": "md",
        "filename": "전기차.md",
        "size": SIZE,
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "model": service.settings.model,
        "partial": False,
    }
    assert TIME.fullmatch(created_at)


async def test_one_artifact_answers_as_it_does_in_the_list(service: Service, report: str) -> None:
    (listed,) = (await service.http.get("/api/topics/1/artifacts")).json()["data"]

    answer = await service.http.get(f"/api/artifacts/{listed['id']}")

    assert (answer.status_code, answer.json()) == (200, {"data": listed})


async def test_each_report_is_a_version_of_its_own_newest_first_in_pages(service: Service) -> None:
    topic_id, found, query = await service.topic(), [], "limit=2"
    texts = [f"# Version {version}\n" for version in (1, 2, 3)]
    for text in texts:
        service.claude.script(Script(text=text))
        await service.generate(topic_id)
        await service.ended(topic_id)

    while query:
        answer = (await service.http.get(f"/api/topics/{topic_id}/artifacts?{query}")).json()
        found += answer["data"]
        query = f"limit=2&cursor={answer['next_cursor']}" if answer["next_cursor"] else ""
    files = [(await service.http.get(f"/api/artifacts/{artifact['id']}/download")).text for artifact in found]

    assert [artifact["version"] for artifact in found] == [3, 2, 1]
    assert files == texts[::-1]


async def test_versions_are_counted_by_topic(service: Service) -> None:
    for _ in range(2):
        topic_id = await service.topic()
        await service.generate(topic_id)
        await service.ended(topic_id)
        (artifact,) = (await service.http.get(f"/api/topics/{topic_id}/artifacts")).json()["data"]
        assert artifact["version"] == 1


async def test_a_download_is_the_file_with_its_name_type_and_digest(service: Service, report: str) -> None:
    answer = await service.http.get(report)

    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["etag"] == f'"{hashlib.sha256(CONTENT).hexdigest()}"'
    assert answer.headers["content-digest"] == digest()
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"].startswith("attachment;")


async def test_a_download_has_its_topic_as_its_name(service: Service) -> None:
    names = {}
    for topic in NAMES:
        topic_id = await service.topic(topic)
        await service.generate(topic_id)
        artifact_id = (await service.ended(topic_id))["artifact_id"]
        answer = await service.http.get(f"/api/artifacts/{artifact_id}/download")

        kind, plain, extended = answer.headers["content-disposition"].split("; file")
        charset, language, encoded = extended.removeprefix("name*=").split("'")
        name = plain.removeprefix('name="').removesuffix('"')
        assert (kind, charset, language) == ("attachment", "UTF-8", "")
        assert encoded.isascii()
        assert not set(encoded) & set(" \"'()*,/:;<=>?@[]\\{}")
        assert name.isascii()
        assert not set(name) & set('"\\%/')
        names[topic] = unquote(encoded, errors="strict")

    assert names == NAMES


async def test_a_known_file_is_a_304_without_a_body(service: Service, report: str) -> None:
    etag = (await service.http.get(report)).headers["etag"]

    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = await get(service, report, if_none_match=known)
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert (await get(service, report, if_none_match='"other"')).status_code == 200
    assert (await get(service, report, if_none_match=etag, range="bytes=0-1")).status_code == 304


async def test_md_is_the_one_format(service: Service, report: str) -> None:
    assert (await service.http.get(f"{report}?format=md")).content == CONTENT
    for other in ("html", "docx", "pdf", "hwpx", "MD", "", "exe"):
        assert pointers(await service.http.get(report, params={"format": other})) == ["/format"]


async def test_a_part_can_be_downloaded_alone(service: Service, report: str) -> None:
    for asked, (first, last) in RANGES.items():
        answer = await get(service, report, range=asked)
        assert (answer.status_code, answer.content) == (206, CONTENT[first : last + 1]), asked
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{SIZE}"
        assert answer.headers["content-length"] == str(last - first + 1)
        assert answer.headers["etag"] == f'"{hashlib.sha256(CONTENT).hexdigest()}"'
        assert answer.headers.get("content-digest") != digest() or (first, last) == (0, SIZE - 1)


async def test_a_part_beyond_the_end_is_a_416_that_tells_the_size(service: Service, report: str) -> None:
    for asked in UNSATISFIABLE:
        answer = await get(service, report, range=asked)
        problem(answer, 416, "range_not_satisfiable")
        assert answer.headers["content-range"] == f"bytes */{SIZE}"


async def test_what_is_no_single_range_of_bytes_is_answered_whole(service: Service, report: str) -> None:
    for asked in NO_RANGES:
        answer = await get(service, report, range=asked)
        assert (answer.status_code, answer.content) == (200, CONTENT), asked
        assert "content-range" not in answer.headers


async def test_a_part_of_another_version_is_answered_whole(service: Service, report: str) -> None:
    etag = (await service.http.get(report)).headers["etag"]

    same = await get(service, report, range="bytes=0-1", if_range=etag)
    others = [
        await get(service, report, range="bytes=0-1", if_range=other)
        for other in ('"other"', f"W/{etag}", "Sun, 22 Nov 2026 10:00:00 GMT")
    ]

    assert (same.status_code, same.content) == (206, CONTENT[:2])
    assert [(answer.status_code, answer.content) for answer in others] == [(200, CONTENT)] * 3


async def test_head_tells_what_a_download_would_be_and_knows_no_ranges(service: Service, report: str) -> None:
    whole = await service.http.get(report)

    for headers in ({}, {"Range": "bytes=0-1"}, {"Range": f"bytes={SIZE}-"}):
        head = await service.http.head(report, headers=headers)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("content-length", "content-type", "content-disposition", "content-digest", "etag"):
            assert head.headers[name] == whole.headers[name]


async def test_an_artifact_that_there_is_not_is_a_404(service: Service, report: str) -> None:
    for path in ("/api/artifacts/2", "/api/artifacts/2/download", "/api/artifacts/0", "/api/artifacts/0/download"):
        problem(await service.http.get(path), 404, "not_found")


async def test_a_report_whose_file_is_gone_is_a_410_that_is_logged(
    service: Service, report: str, caplog: pytest.LogCaptureFixture
) -> None:
    (path,) = (service.settings.data_dir / "reports").rglob("*.md")
    path.unlink()

    answer = await service.http.get(report)
    known = await service.http.get(report.removesuffix("/download"))

    problem(answer, 410, "artifact_lost")
    assert str(service.settings.data_dir) not in answer.text
    assert known.status_code == 200
    (record,) = (record for record in caplog.records if record.levelno >= logging.ERROR)
    assert record.getMessage().startswith("The file of artifact=1 topic=1 is gone")


async def test_whatever_is_read_of_a_topic_that_is_deleted_meanwhile_is_there_or_a_404(
    service: Service, report: str
) -> None:
    of_topic = ("", "/status", "/status/stream?text=1", "/blocks", "/messages", "/artifacts", "/generations")
    paths = [f"/api/topics/1{what}" for what in of_topic] + [report, report.removesuffix("/download")]

    ends = await ends_of(service.http, paths, lambda: service.http.delete("/api/topics/1"))

    assert ends == dict.fromkeys(paths, 404)
