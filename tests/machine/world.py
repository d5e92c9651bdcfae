"""The world of one story: those who use the server, and what it has promised them so far."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import trio

from tests.claude import FakeClaude, claude_server
from tests.machine.actions import (
    PLANS,
    USERS,
    Action,
    Cancel,
    Change,
    Connect,
    Delete,
    Disconnect,
    Generate,
    Reconnect,
    Release,
    Repeat,
    Rest,
    Stop,
)
from tests.machine.author import Author, first, order_name
from tests.machine.reader import ENDED, Reader
from tests.machine.rules import MAX_CONCURRENT, MAX_PER_USER, MAX_QUEUED, SECTION_CONCURRENCY
from tests.machine.server import TOKENS, Run, Server
from tests.machine.store import Stored
from tests.service import UNFINISHED, settings_for

PATIENCE_SECONDS = 20.0
REST_SECONDS = 1.0

CANCELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "keep_partial": {"keep_partial": True},
    "finish": {"mode": "finish"},
}


@dataclass(eq=False)
class Slot:
    """Where one topic after the other is."""

    number: int
    topic_id: int | None = None
    turn: trio.Lock = field(default_factory=trio.Lock)

    @property
    def user(self) -> str:
        return USERS[self.number]


@dataclass(eq=False)
class Order:
    """A request to generate. `accepted` is what its 202 said."""

    topic_id: int
    user: str
    body: dict[str, Any]
    key: str | None
    accepted: dict[str, Any] | None = None


@dataclass(eq=False)
class World:
    """Does what a story says, and notes what it is told.

    `ends` are the ends of generations that anybody was shown, `doomed` the topics that somebody wanted to delete,
    `deleted` those that are. `alone`: nothing else is done at this moment.
    """

    claude: FakeClaude
    author: Author
    server: Server
    stored: Stored
    nursery: trio.Nursery
    alone: bool = True
    slots: list[Slot] = field(default_factory=lambda: [Slot(number) for number in range(len(USERS))])
    orders: list[Order] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    ends: dict[int, str] = field(default_factory=dict)
    finishing: set[int] = field(default_factory=set)
    doomed: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)

    async def step(self, actions: list[Action]) -> None:
        """Do several things at once."""
        self.alone = len(actions) == 1
        with trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                for action in actions:
                    nursery.start_soon(self.do, action)

    async def do(self, action: Action) -> None:
        await DOERS[type(action)](self, action)

    async def topic(self, slot: Slot) -> int | None:
        """Return a slot's topic, made where there is none."""
        async with slot.turn:
            if slot.topic_id is None:
                body = {"topic": f"Topic of slot {slot.number}", "plan": PLANS[0], "language": "en"}
                if answer := await self.server.ask(slot.user, "POST", "/api/topics", json=body):
                    slot.topic_id = answer.json()["data"]["id"]
            return slot.topic_id

    async def generate(self, action: Generate) -> None:
        slot = self.slots[action.slot]
        topic_id = await self.topic(slot)
        if topic_id is None:
            return
        number = len(self.orders)
        self.author.answers[slot.number] = deque(action.answers)
        new = {"mode": action.mode, "instructions": order_name(slot.number, number)}
        body = {"resume": True} if action.mode == "resume" else new
        order = Order(topic_id, slot.user, body, f"key-{number}" if action.keyed else None)
        self.orders.append(order)
        await self.send(order)

    async def send(self, order: Order) -> None:
        ended = set(self.ends)  # what ended before we ask is no reason to refuse us
        headers = {"Idempotency-Key": order.key} if order.key else {}
        path = f"/api/topics/{order.topic_id}/generate"
        answer = await self.server.ask(order.user, "POST", path, json=order.body, headers=headers)
        if answer is None:
            return
        if answer.status_code == 202:
            data = answer.json()["data"]
            if order.accepted and order.key:
                assert answer.headers.get("Idempotency-Replayed") == "true"
                assert data == order.accepted
            order.accepted = data
        else:
            assert not (order.accepted and order.key) or order.topic_id in self.doomed
            await self.check_refusal(order, answer.json(), ended)

    async def check_refusal(self, order: Order, problem: dict[str, Any], ended: set[int]) -> None:
        """Check that there was a reason to refuse a generation. With others at work, only some can be checked."""
        if problem["code"] == "not_found":
            assert order.topic_id in self.doomed
            return
        if problem["code"] == "generation_in_progress":
            assert problem["generation_id"] not in ended
            return
        if not self.alone:
            return
        generations = (await self.stored.look()).generations.values()
        possible = [row for row in generations if row["id"] not in ended]
        match problem["code"]:
            case "nothing_to_resume":
                latest = [row["status"] for row in generations if row["topic_id"] == order.topic_id][-1:]
                assert latest in ([], ["completed"])
            case "too_many_generations":
                user_id = self.stored.users[order.user]
                assert len([row for row in possible if row["user_id"] == user_id]) >= MAX_PER_USER
            case code:
                assert code == "queue_full", problem
                assert len(possible) >= MAX_CONCURRENT + MAX_QUEUED

    async def repeat(self, action: Repeat) -> None:
        if self.orders:
            await self.send(self.orders[action.order % len(self.orders)])

    async def cancel(self, action: Cancel) -> None:
        slot = self.slots[action.slot]
        topic_id = slot.topic_id
        if topic_id is None:
            return
        path, finish = f"/api/topics/{topic_id}/cancel", action.form == "finish"
        answer = await self.server.ask(slot.user, "POST", path, json=CANCELS[action.form])
        if answer is None:
            return
        if answer.status_code == 404:
            assert topic_id in self.doomed
        elif answer.status_code == 409:
            assert answer.json()["code"] == "nothing_to_cancel"
        else:
            data = answer.json()["data"]
            self.note(data)
            if finish and data["status"] in UNFINISHED:
                self.finishing.add(data["generation_id"])
            assert data["status"] in ENDED or finish or not self.alone
            assert answer.status_code == 202 or data["status"] in ENDED or not self.alone

    async def delete(self, action: Delete) -> None:
        slot = self.slots[action.slot]
        topic_id, slot.topic_id = slot.topic_id, None
        if topic_id is None:
            return
        self.doomed.add(topic_id)
        if answer := await self.server.ask(slot.user, "DELETE", f"/api/topics/{topic_id}"):
            assert answer.status_code == 204, answer.text
            self.deleted.add(topic_id)

    async def change(self, action: Change) -> None:
        slot, plan = self.slots[action.slot], PLANS[action.plan]
        topic_id = await self.topic(slot)
        words = {"topic": f"Topic with {plan.count('#') // 2} parts", "plan": plan}
        answer = await self.server.ask(slot.user, "PATCH", f"/api/topics/{topic_id}", json=words) if topic_id else None
        if answer and answer.status_code == 200:
            assert answer.json()["data"].items() >= words.items()
        elif answer:
            assert topic_id in self.doomed, answer.text

    async def stop(self, action: Stop) -> None:
        await self.server.restart(kill=action.kill)

    async def connect(self, action: Connect) -> None:
        slot = self.slots[action.slot]
        topic_id = await self.topic(slot)
        if topic_id is not None:
            self.readers.append(Reader(topic_id, slot.user))
            self.listen(self.readers[-1])

    async def disconnect(self, action: Disconnect) -> None:
        if self.readers:
            self.readers[action.reader % len(self.readers)].scope.cancel()

    async def reconnect(self, action: Reconnect) -> None:
        if self.readers:
            self.listen(self.readers[action.reader % len(self.readers)])

    async def release(self, action: Release) -> None:
        if held := self.author.held():
            held[action.hold % len(held)].set()

    def listen(self, reader: Reader) -> None:
        """Let a reader read, who does not yet."""
        if reader.ended.is_set():
            reader.ended, reader.scope = trio.Event(), trio.CancelScope()
            self.nursery.start_soon(self._listen, reader, self.server.run)

    async def _listen(self, reader: Reader, run: Run) -> None:
        try:
            with reader.scope:
                last = "done"
                while last == "done":  # of one generation; there may be a newer one, or nothing more
                    last = await reader.read(run.http[reader.user])
                assert last == "all" or run.ending or reader.topic_id in self.doomed, f"the stream ended after {last}"
        except httpx2.TransportError:
            assert run.ending, "the server broke a stream off"
        finally:
            for generation_id, status in reader.ends.items():
                self.note({"generation_id": generation_id, "status": status})
            reader.ended.set()

    async def rest(self, action: Rest) -> None:
        """Wait until what runs has ended or is held up; not for ever, for its place may be held by another."""
        topic_id = self.slots[action.slot].topic_id
        if topic_id is not None:
            with trio.move_on_after(REST_SECONDS):
                await first(lambda: self.author.waits(action.slot), lambda: self.ended(topic_id))

    async def ended(self, topic_id: int) -> dict[str, Any] | None:
        """Wait until nothing is under way for a topic and return its status; None when the server stopped."""
        etag = ""
        while True:
            path = f"/api/topics/{topic_id}/status?wait=20"
            answer = await self.server.ask("admin", "GET", path, headers={"If-None-Match": etag})
            if answer is None or answer.status_code == 404:
                return None
            if answer.status_code == 200:
                data: dict[str, Any] = answer.json()["data"]
                self.note(data)
                if data["status"] not in UNFINISHED:
                    return data
            etag = answer.headers["etag"]

    def note(self, status: dict[str, Any]) -> None:
        """Note what somebody was shown: an end is one for ever."""
        if status["status"] in ENDED:
            number = status["generation_id"]
            assert self.ends.setdefault(number, status["status"]) == status["status"], (
                f"generation {number} ended twice"
            )


DOERS: dict[type, Callable[[World, Any], Awaitable[None]]] = {
    Generate: World.generate,
    Repeat: World.repeat,
    Cancel: World.cancel,
    Delete: World.delete,
    Change: World.change,
    Stop: World.stop,
    Connect: World.connect,
    Disconnect: World.disconnect,
    Reconnect: World.reconnect,
    Release: World.release,
    Rest: World.rest,
}


@asynccontextmanager
async def new_world(directory: Path) -> AsyncIterator[World]:
    """Make a world with an empty data directory and start its server."""
    async with claude_server() as claude, AsyncExitStack() as stack, trio.open_nursery() as nursery:
        author = Author(claude)
        claude.default = author
        settings = settings_for(
            directory / "data",
            claude.url,
            max_concurrent=MAX_CONCURRENT,
            max_queued=MAX_QUEUED,
            max_per_user=MAX_PER_USER,
            section_concurrency=SECTION_CONCURRENCY,
            checkpoint_seconds=0.02,
            backoff_seconds=0.01,
            max_attempts=2,
        )
        stored = Stored(settings.data_dir)
        await stored.open(TOKENS)
        server = Server(settings, directory / "log", stored, stack)
        await server.start()
        yield World(claude, author, server, stored, nursery)
        nursery.cancel_scope.cancel()
