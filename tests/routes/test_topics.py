"""Topics: what may be written, how they are listed, and that a deleted one is gone."""

import unicodedata
from base64 import urlsafe_b64encode

import httpx2
import trio

from tests.claude import Ending, Script
from tests.routes.client import TIME, pointers, problem
from tests.service import Service

MAX_TOPIC, MAX_PLAN = 200, 100_000

TAGS = ("ko", "en", "en-GB", "zh-Hant-TW", "de-CH-1901", "sr-Latn-RS", "es-419", "tlh")
NO_TAGS = ("", " ", "k", "korean language", "en_GB", "en-", "-en", "123", "한국어", "en-abcdefghi", "a" * 36, "ko\nen")

CONTROL = ("\0", "\x07", "\x08", "\x1b", "\x7f", "\x80", "\x9f", "\\ud800", "\\udfff")
"""Control characters, and halves of characters as JSON writes them."""

LIMITS = ("0", "101", "-1", "1.5", "", "one", "+5", " 5", "1e1", "٥", "9" * 30)
FORGED = (
    "",
    "1",
    "nonsense",
    "v1:1",
    "djE6MQ==",
    urlsafe_b64encode(b"v2:1").decode().rstrip("="),
    urlsafe_b64encode(b"v1:-1").decode().rstrip("="),
    urlsafe_b64encode(b"v1:01").decode().rstrip("="),
    urlsafe_b64encode(b"v1:1 OR 1=1").decode().rstrip("="),
    urlsafe_b64encode(b"v1:" + b"9" * 30).decode().rstrip("="),
    "커서",
)
NO_IDS = ("0", "404", str(2**63 - 1), str(2**63), str(2**64), str(2**70), "9" * 5000)


async def listed(http: httpx2.AsyncClient, query: str = "") -> list[str]:
    answer = await http.get(f"/api/topics?{query}")
    assert answer.status_code == 200, answer.text
    return [topic["topic"] for topic in answer.json()["data"]]


async def test_a_new_topic_is_answered_whole_with_its_address(service: Service) -> None:
    given = {"topic": "A topic", "plan": "## A\n\n- one\n\n## B", "language": "en"}

    answer = await service.http.post("/api/topics", json=given)
    topic = answer.json()["data"]

    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/topics/{topic['id']}"
    assert set(topic) == {"id", "topic", "plan", "language", "status", "created_at", "updated_at"}
    assert {name: topic[name] for name in given} == given
    assert topic["status"] == "idle"
    assert topic["created_at"] == topic["updated_at"]
    assert TIME.fullmatch(topic["created_at"])
    assert (await service.http.get(answer.headers["location"])).json() == answer.json()


async def test_a_topic_is_korean_and_without_a_plan_unless_given(service: Service) -> None:
    topic = (await service.http.post("/api/topics", json={"topic": "전기차"})).json()["data"]

    assert (topic["plan"], topic["language"]) == ("", "ko")


async def test_texts_are_trimmed_and_normalised(service: Service) -> None:
    decomposed = unicodedata.normalize("NFD", "전기차 café")

    given = {"topic": f" \n{decomposed}\t ", "plan": "\r\n## A\r\n\tone\rtwo\n\n", "language": " ko "}
    topic = (await service.http.post("/api/topics", json=given)).json()["data"]

    assert topic["topic"] == "전기차 café"
    assert topic["plan"] == "## A\n\tone\ntwo"
    assert topic["language"] == "ko"


async def test_control_characters_are_refused_but_newline_and_tab(service: Service) -> None:
    for character in CONTROL:
        content = f'{{"topic": "a{character}b", "plan": "a{character}b"}}'.replace("\0", "\\u0000")
        for number in range(0x20):
            content = content.replace(chr(number), f"\\u{number:04x}")
        answer = await service.http.post(
            "/api/topics", content=content.encode(), headers={"Content-Type": "application/json"}
        )
        assert pointers(answer) == ["/topic", "/plan"], ascii(character)

    for edge in ("\x0b", "\x0c", "\x1c", "\x85"):  # white space to Python, and no text to us
        answer = await service.http.post("/api/topics", json={"topic": f"{edge}a", "plan": f"a{edge}"})
        assert pointers(answer) == ["/topic", "/plan"], ascii(edge)
    assert await service.topic("one\ttwo\nthree", plan="one\ttwo\nthree")


async def test_lengths_are_counted_in_code_points_after_trimming_and_normalising(service: Service) -> None:
    longest = {"topic": "😀" * MAX_TOPIC, "plan": "한" * MAX_PLAN}
    padded = {"topic": unicodedata.normalize("NFD", "  " + "한" * MAX_TOPIC + "  "), "plan": "\n" * 9 + "a" * MAX_PLAN}
    longer = {"topic": "a" * (MAX_TOPIC + 1), "plan": "a" * (MAX_PLAN + 1)}

    answers = [await service.http.post("/api/topics", json=given) for given in (longest, padded, longer)]

    assert [answer.status_code for answer in answers] == [201, 201, 422]
    assert answers[0].json()["data"]["plan"] == longest["plan"]
    assert pointers(answers[2]) == ["/topic", "/plan"]


async def test_a_topic_needs_a_text(service: Service) -> None:
    for given in ({}, {"topic": ""}, {"topic": " \n\t"}, {"topic": None}, {"topic": 5}, {"topic": ["A topic"]}):
        assert pointers(await service.http.post("/api/topics", json=given)) == ["/topic"]


async def test_a_language_is_a_bcp_47_tag(service: Service) -> None:
    good = [await service.http.post("/api/topics", json={"topic": "A topic", "language": tag}) for tag in TAGS]
    bad = [await service.http.post("/api/topics", json={"topic": "A topic", "language": tag}) for tag in NO_TAGS]

    assert [answer.json()["data"]["language"] for answer in good] == list(TAGS)
    assert [pointers(answer) for answer in bad] == [["/language"]] * len(NO_TAGS)


async def test_any_of_a_topics_texts_can_be_changed_alone(service: Service) -> None:
    topic_id = await service.topic("Old", plan="## Old", language="en")
    before = (await service.http.get(f"/api/topics/{topic_id}")).json()["data"]

    for name, value in {"topic": "New", "plan": "## New", "language": "ko"}.items():
        answer = await service.http.patch(f"/api/topics/{topic_id}", json={name: value})
        after = answer.json()["data"]
        assert answer.status_code == 200
        assert after == {**before, name: value, "updated_at": after["updated_at"]}
        assert after["updated_at"] >= before["updated_at"]
        before = after

    assert (await service.http.get(f"/api/topics/{topic_id}")).json()["data"] == before


async def test_a_change_of_several_texts_is_one_and_of_none_is_none(service: Service) -> None:
    topic_id = await service.topic("Old", plan="## Old")

    changed = await service.http.patch(f"/api/topics/{topic_id}", json={"topic": "New", "plan": "", "language": "en"})
    unchanged = await service.http.patch(f"/api/topics/{topic_id}", json={})

    texts = [[answer.json()["data"][name] for name in ("topic", "plan", "language")] for answer in (changed, unchanged)]
    assert texts == [["New", "", "en"]] * 2


async def test_a_change_is_checked_as_a_new_topic_is(service: Service) -> None:
    topic_id = await service.topic("Old")
    bad = {"topic": " ", "plan": "a" * (MAX_PLAN + 1), "language": "korean language", "id": 5, "status": "completed"}

    answer = await service.http.patch(f"/api/topics/{topic_id}", json=bad)

    assert sorted(pointers(answer)) == ["/id", "/language", "/plan", "/status", "/topic"]
    assert (await service.http.get(f"/api/topics/{topic_id}")).json()["data"]["topic"] == "Old"


async def test_topics_are_listed_newest_first_twenty_at_once(service: Service) -> None:
    for number in range(22):
        await service.topic(f"Topic {number}")

    answer = (await service.http.get("/api/topics")).json()

    assert [topic["topic"] for topic in answer["data"]] == [f"Topic {number}" for number in range(21, 1, -1)]
    assert isinstance(answer["next_cursor"], str)


async def test_a_list_has_as_many_topics_as_its_limit_says(service: Service) -> None:
    for number in range(3):
        await service.topic(f"Topic {number}")

    assert await listed(service.http, "limit=1") == ["Topic 2"]
    assert await listed(service.http, "limit=100") == ["Topic 2", "Topic 1", "Topic 0"]


async def test_a_limit_that_is_no_number_from_1_to_100_is_a_422(service: Service) -> None:
    for limit in LIMITS:
        assert pointers(await service.http.get("/api/topics", params={"limit": limit})) == ["/limit"], limit


async def test_following_the_cursors_misses_and_repeats_nothing_while_topics_are_added(service: Service) -> None:
    for number in range(7):
        await service.topic(f"Topic {number}")
    found, query = [], "limit=2"

    while query:
        answer = (await service.http.get(f"/api/topics?{query}")).json()
        found += [topic["topic"] for topic in answer["data"]]
        query = f"limit=2&cursor={answer['next_cursor']}" if answer["next_cursor"] else ""
        await service.topic("In between")

    assert found == [f"Topic {number}" for number in range(6, -1, -1)]


async def test_the_last_page_says_so_even_when_it_is_full(service: Service) -> None:
    for number in range(4):
        await service.topic(f"Topic {number}")

    first = (await service.http.get("/api/topics?limit=2")).json()
    last = (await service.http.get("/api/topics", params={"limit": 2, "cursor": first["next_cursor"]})).json()

    assert [len(page["data"]) for page in (first, last)] == [2, 2]
    assert last["next_cursor"] is None


async def test_a_cursor_that_no_list_gave_is_a_422(service: Service) -> None:
    topic_id = await service.topic()

    for cursor in FORGED:
        for path in ("/api/topics", f"/api/topics/{topic_id}/messages", f"/api/topics/{topic_id}/generations"):
            assert pointers(await service.http.get(path, params={"cursor": cursor})) == ["/cursor"], cursor


async def test_a_list_can_be_of_one_status(service: Service) -> None:
    service.claude.script(Script(), Script.error(400, "invalid_request_error", "No"), Script(hold=trio.Event()))
    idle, completed, failed, generating = [
        await service.topic(name) for name in ("idle", "completed", "failed", "generating")
    ]
    for topic_id in (completed, failed):
        await service.generate(topic_id)
        await service.ended(topic_id)
    await service.generate(generating)

    for status in ("idle", "completed", "failed", "generating"):
        assert await listed(service.http, f"status={status}") == [status]
    for status in ("queued", "cancelled"):
        assert await listed(service.http, f"status={status}") == []
    assert pointers(await service.http.get("/api/topics?status=done")) == ["/status"]
    assert (await service.http.get(f"/api/topics/{idle}")).json()["data"]["status"] == "idle"


async def test_a_search_is_refused_rather_than_overlooked(service: Service) -> None:
    for query in ("q=tides", "q="):
        assert pointers(await service.http.get(f"/api/topics?{query}")) == ["/q"]


async def test_a_list_of_one_status_has_pages_too(service: Service) -> None:
    for number in range(3):
        await service.topic(f"Topic {number}")

    first = (await service.http.get("/api/topics?status=idle&limit=2")).json()

    assert await listed(service.http, f"status=idle&limit=2&cursor={first['next_cursor']}") == ["Topic 0"]


async def test_each_listed_topic_has_its_latest_status(service: Service) -> None:
    topic_id = await service.topic()
    service.claude.script(Script.error(400, "invalid_request_error", "No"), Script())
    statuses = []

    for _ in range(2):
        await service.generate(topic_id)
        await service.ended(topic_id)
        statuses += [topic["status"] for topic in (await service.http.get("/api/topics")).json()["data"]]

    assert statuses == ["failed", "completed"]


async def test_a_deleted_topic_is_gone_with_everything_of_it(service: Service) -> None:
    topic_id = await service.topic()
    await service.generate(topic_id)
    artifact_id = (await service.ended(topic_id))["artifact_id"]

    answer = await service.http.delete(f"/api/topics/{topic_id}")

    assert (answer.status_code, answer.content) == (204, b"")
    paths = ["", "/status", "/messages", "/artifacts", "/generations"]
    gone = [await service.http.get(f"/api/topics/{topic_id}{path}") for path in paths]
    gone += [await service.http.get(f"/api/artifacts/{artifact_id}{path}") for path in ("", "/download")]
    gone += [await service.http.delete(f"/api/topics/{topic_id}")]
    for each in gone:
        problem(each, 404, "not_found")
    assert await listed(service.http) == []
    assert service.files() == []
    for table in ("generations", "messages", "artifacts", "checkpoints"):
        assert await service.rows(f"SELECT * FROM {table}") == []


async def test_a_deletion_leaves_the_neighbours_alone(service: Service) -> None:
    doomed, kept = await service.topic("Doomed"), await service.topic("Kept")
    for topic_id in (doomed, kept):
        await service.generate(topic_id)
        await service.ended(topic_id)

    await service.http.delete(f"/api/topics/{doomed}")

    artifact_id = (await service.status(kept))["artifact_id"]
    assert (await service.http.get(f"/api/artifacts/{artifact_id}/download")).status_code == 200
    assert len((await service.http.get(f"/api/topics/{kept}/messages")).json()["data"]) == 2


async def test_a_deletion_cancels_what_runs(service: Service) -> None:
    service.claude.default = Script(hold=trio.Event(), hold_at=5)
    topic_id = await service.topic()
    await service.generate(topic_id)
    call = await service.claude.next_call()
    await call.held.wait()

    answer = await service.http.delete(f"/api/topics/{topic_id}")

    with trio.fail_after(5):
        await call.gone.wait()
    assert answer.status_code == 204
    assert call.ending is Ending.GONE
    assert service.files() == []
    problem(await service.http.get(f"/api/topics/{topic_id}/status"), 404, "not_found")


async def test_an_id_that_no_topic_has_is_a_404_however_large(service: Service) -> None:
    await service.topic()

    for topic_id in NO_IDS:
        for path in (f"/api/topics/{topic_id}", f"/api/topics/{topic_id}/status", f"/api/artifacts/{topic_id}"):
            problem(await service.http.get(path), 404, "not_found")


async def test_leading_zeros_make_no_other_id(service: Service) -> None:
    topic_id = await service.topic()

    assert (await service.http.get(f"/api/topics/000{topic_id}")).json()["data"]["id"] == topic_id


async def test_a_search_is_refused_rather_than_ignored(service: Service) -> None:
    answer = await service.http.get("/api/topics", params={"q": "수소"})

    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/q"]
