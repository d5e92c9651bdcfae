"""Holds the world against the rules: after each step, and at the end, when all is released and nothing goes wrong."""

import re
from collections import Counter
from collections.abc import Iterable

import trio

from tests.machine.author import first, order_of
from tests.machine.reader import ENDED, Reader
from tests.machine.rules import (
    MAX_CONCURRENT,
    MAX_QUEUED,
    SECTION_CONCURRENCY,
    Row,
    check_arrows,
    check_files,
    check_report,
)
from tests.machine.store import Look
from tests.machine.world import PATIENCE_SECONDS, World

RANKS = {"idle": 0, "queued": 1, "generating": 2} | dict.fromkeys(ENDED, 3)

FAILURES = {"claude_stream", "claude_unavailable", "claude_auth", "refused"}
"""What the troubles of the machine may lead to."""

ERROR = re.compile(r"^\d+ (?:ERROR|CRITICAL) (?!\[BACKGROUND\] Report generation failed ).*", re.MULTILINE)


async def check_now(world: World, slots: Iterable[int]) -> Look:
    """Check what must be so at any moment; what the API shows, for the topics in some slots."""
    await check_limits(world)
    asked = [order_of(call.body) for call in world.author.calls]
    topics = [(world.slots[slot].topic_id, world.slots[slot].user) for slot in slots]
    shown = [await world.server.get(f"/api/topics/{topic_id}/status", user) for topic_id, user in topics if topic_id]
    ends = dict(world.ends)
    look = await world.stored.look()  # after what it has to know of
    assert not look.wrong, look.wrong
    if not world.author.limited:  # what waits because Claude is limiting holds no place
        assert len(look.unfinished) <= MAX_CONCURRENT + MAX_QUEUED
    check_arrows(look.journal)
    check_files(world.stored.reports, look.artifacts, look.unfinished)
    for status in shown:
        if status["status"] != "idle":
            row = look.generations[status["generation_id"]]
            assert RANKS[status["status"]] <= RANKS[row["status"]], "the status is ahead of the store"
            world.note(status)
    for row in look.generations.values():
        world.note({"generation_id": row["id"], "status": row["status"]})
    check_promises(world, look, ends)
    check_calls(world, look, asked)
    return look


async def check_limits(world: World) -> None:
    """Check that no more is written at once than may be, as Claude sees it; a cut connection is seen a little later."""
    with trio.move_on_after(PATIENCE_SECONDS) as patience:
        while True:
            running = [call for call in world.author.calls if not call.finished.is_set()]
            calls = Counter(order_of(call.body) for call in running)
            if len(calls) <= MAX_CONCURRENT and max(calls.values(), default=0) <= SECTION_CONCURRENCY:
                return
            await first(*(call.finished.wait for call in running))
    assert not patience.cancelled_caught, f"too much at once: {calls}"


def check_promises(world: World, look: Look, ends: dict[int, str]) -> None:
    """Check that whatever was answered holds."""
    assert not world.deleted & set(look.topics), "a topic that was deleted is there again"
    for order in world.orders:
        if order.accepted and order.topic_id not in world.doomed:
            assert look.generations[order.accepted["generation_id"]]["topic_id"] == order.topic_id
    for number, status in ends.items():
        if row := look.generations.get(number):
            assert row["status"] == status, f"generation {number} was shown as {status}"
    for number in world.finishing & set(look.generations):
        assert look.generations[number]["finish"], "the wish to finish is forgotten"


def check_calls(world: World, look: Look, asked: list[str]) -> None:
    """Check that Claude was asked for nothing without a row for it, and to go on from nothing that nobody wrote."""
    assert not world.author.strange, world.author.strange
    rows = Counter(row["topic_id"] for row in look.calls)
    orders = {order.body.get("instructions"): order.topic_id for order in world.orders}
    assert Counter(orders[order] for order in asked) <= rows, "a call to Claude without a row in the ledger"


async def check_end(world: World) -> None:
    """Let everything end, and check what must be so then."""
    world.author.set_free()
    await let_all_end(world)
    topics = list((await world.stored.look()).topics.values())
    world.readers += [Reader(topic["id"], "admin") for topic in topics]
    await let_all_read(world, {topic["id"] for topic in topics if topic["status"] != "idle"})
    look = await check_now(world, range(len(world.slots)))
    assert not [row for row in look.calls if row["state"] == "open"]
    for generation in look.generations.values():
        check_generation(world, look, generation)
    for reader in world.readers:
        topic = look.topics.get(reader.topic_id)
        assert topic is None or topic["generation_id"] is None or topic["generation_id"] in reader.heard
        for number, text in reader.texts.items():
            if row := look.generations.get(number):
                check_heard(world, look, row, text, whole=number in reader.heard)
    for topic in topics:
        await check_shown(world, look, topic)
    await world.server.run.process.stop()
    assert not (found := ERROR.findall(world.server.log.read_text())), found


async def let_all_end(world: World) -> None:
    with trio.move_on_after(PATIENCE_SECONDS) as patience:
        while unfinished := (await world.stored.look()).unfinished:
            for row in unfinished:
                await world.ended(row["topic_id"])
    assert not patience.cancelled_caught, f"these never end: {unfinished}"


async def let_all_read(world: World, busy: set[int]) -> None:
    """Let every reader read to the end, where there is one."""
    with trio.move_on_after(PATIENCE_SECONDS) as patience:
        for reader in world.readers:
            if reader.topic_id in busy:
                world.listen(reader)
            else:
                reader.scope.cancel()
        for reader in world.readers:
            await reader.ended.wait()
    assert not patience.cancelled_caught, "a stream does not end"


def check_generation(world: World, look: Look, row: Row) -> None:
    """Check what a generation has left."""
    assert row["status"] in ENDED
    assert row["error_code"] in (FAILURES if row["status"] == "failed" else {None})
    for artifact in look.artifacts:
        if artifact["generation_id"] == row["id"]:
            report = report_of(world, look, row)
            check_report(row, report, partial=bool(artifact["partial"]))
            assert row["characters"] == len(report) - 1
    said = [message["content"] for message in look.messages if message["generation_id"] == row["id"]][1:]
    assert said == ([report_of(world, look, row)] if row["status"] == "completed" else [])
    if kept := visible(look, row):
        check_report(row, kept, partial=True)


def check_heard(world: World, look: Look, row: Row, text: str, *, whole: bool) -> None:
    """Check that a reader heard a report from its beginning, and `whole`, if the stream said that this was all."""
    report = report_of(world, look, row) or visible(look, row)
    if report and not (row["finish"] and row["status"] != "completed"):
        assert text == report if whole else report.startswith(text), (row["id"], text, report)
    elif text:
        check_report(row, text, partial=True)


def report_of(world: World, look: Look, row: Row) -> str:
    """Return the report that a generation has left, whole or partial; nothing where there is none."""
    paths = [artifact["path"] for artifact in look.artifacts if artifact["generation_id"] == row["id"]]
    return (world.stored.reports / paths[0]).read_text() if paths else ""


def visible(look: Look, row: Row) -> str:
    """Return what a reader may see of what is kept of a generation: up to the first section that is not whole."""
    texts: dict[int, str] = {}
    for piece in look.texts:
        if piece["generation_id"] == row["id"]:
            assert piece["start"] == len(texts.get(piece["section"], "")), "a gap or a repeat in what is kept"
            texts[piece["section"]] = texts.get(piece["section"], "") + piece["text"]
    if row["mode"] == "single":
        return texts.get(0, "")
    done = [strand["section"] for strand in look.strands if strand["generation_id"] == row["id"] and strand["done"]]
    seen = f"# {row['topic']}" if 0 in texts else ""
    for number, text in sorted(texts.items()):
        if any(before not in done for before in range(number)):
            break
        seen += f"\n\n{text}"
    return seen


async def check_shown(world: World, look: Look, topic: Row) -> None:
    """Check that the API shows what the store says, of each generation of a topic; and the sums of its calls."""
    shown = await world.server.get(f"/api/topics/{topic['id']}/generations?limit=100")
    rows = [row for row in look.generations.values() if row["topic_id"] == topic["id"]]
    assert [status["generation_id"] for status in shown] == [row["id"] for row in rows[::-1]]
    latest = await world.server.get(f"/api/topics/{topic['id']}/status")
    assert latest == shown[0] if shown else latest["status"] == "idle"
    for told in shown:
        row = look.generations[told["generation_id"]]
        for name in ("status", "progress_percent", "characters", "sections_done", "artifact_id", "error_code"):
            assert told[name] == row[name]
        assert told["attempt"] == row["attempt"] + row["retries"]
        for name in ("input_tokens", "output_tokens"):
            counts = [
                call[name] for call in look.calls if call["generation_id"] == row["id"] and call[name] is not None
            ]
            assert told["usage"][name] == (sum(counts) if counts else None)
