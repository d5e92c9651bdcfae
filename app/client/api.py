"""The client: one method for each thing that Longhand can be asked."""

from contextlib import suppress
from math import inf
from typing import Any, Literal, Self, TypeVar
from uuid import uuid4

from anyio import current_time, move_on_after, sleep
from httpx2 import Response, codes

from app.client.connection import Connection, pauses
from app.client.errors import ClientError, LonghandProblem, NotLonghand, heals
from app.client.events import Event, ListEvent, read_event, read_list_event
from app.client.nouns import Accepted, Artifact, Noun, Status, Topic
from app.client.watch import LEAVE_SECONDS, Watch

WAIT_SECONDS = 30
PAGE = 100
PATIENCE_SECONDS = 30.0
EARLY_SECONDS = 1.0
"""A server that is about to stop answers a long poll at once: one that comes back this early is no news."""

N = TypeVar("N", bound=Noun)
E = TypeVar("E")


class Client:
    """A client of one server, signed in with an access token. Serves asyncio and Trio.

    Every method raises LonghandProblem where the server refuses, Unreachable where there is none, NotLonghand where
    something else answers. What is safe to repeat is repeated for `patience` seconds: after a broken connection, and
    after 429 and 503 when those say `Retry-After`. `url` may be `localhost:8000`. Raises ValueError where it or the
    token can be none.
    """

    def __init__(self, url: str, token: str, *, patience: float = PATIENCE_SECONDS) -> None:
        self._connection = Connection(url, token, patience)
        self._watches: list[Watch[Any]] = []

    @property
    def url(self) -> str:
        """The server's address, with its scheme."""
        return str(self._connection.url)

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        with move_on_after(LEAVE_SECONDS, shield=True):
            for watch in self._watches:
                await watch.aclose()
            await self._connection.__aexit__(*error)

    # Topics

    async def topics(self, *, status: str | None = None, most: int | None = None) -> list[Topic]:
        """Return your topics, the newest first: those with this status, at most so many."""
        return await self._list(Topic, "/api/topics", most, {"status": status} if status else {})

    async def topic(self, topic_id: int) -> Topic:
        return self._noun(Topic, await self._connection.ask("GET", f"/api/topics/{topic_id}"))

    async def add_topic(self, topic: str, *, plan: str = "", language: str = "ko") -> Topic:
        """Add a topic. Never repeated once the server may have heard of it, as that would make two."""
        body = {"topic": topic, "plan": plan, "language": language}
        return self._noun(Topic, await self._connection.ask("POST", "/api/topics", body, again=False))

    async def change_topic(
        self, topic_id: int, *, topic: str | None = None, plan: str | None = None, language: str | None = None
    ) -> Topic:
        """Change what is given, and nothing else."""
        body = _given(topic=topic, plan=plan, language=language)
        return self._noun(Topic, await self._connection.ask("PATCH", f"/api/topics/{topic_id}", body))

    async def delete_topic(self, topic_id: int) -> None:
        """Delete a topic with its reports; cancels what runs."""
        try:
            await self._connection.ask("DELETE", f"/api/topics/{topic_id}")
        except LonghandProblem as problem:
            if not (problem.status == codes.NOT_FOUND and problem.repeated):
                raise

    # Generations

    async def generate(
        self, topic_id: int, *, topic: str | None = None, plan: str | None = None, instructions: str | None = None,
        mode: Literal["single", "sections"] | None = None, model: str | None = None, resume: bool = False,
        key: str | None = None,
    ) -> Accepted:  # fmt: skip
        """Start to write the topic's report; what is None is left to the server.

        However often it has to be repeated, one generation is started: `key` says which, without it each call is one.
        """
        body = _given(topic=topic, plan=plan, instructions=instructions, mode=mode, model=model)
        headers = {"Idempotency-Key": key or str(uuid4())}
        path = f"/api/topics/{topic_id}/generate"
        answer = await self._connection.ask("POST", path, body | ({"resume": True} if resume else {}), headers=headers)
        return self._noun(Accepted, answer)

    async def resume(self, topic_id: int, *, model: str | None = None) -> Accepted:
        """Go on with a report that failed or was cancelled, from the text that stands."""
        return await self.generate(topic_id, model=model, resume=True)

    async def status(self, topic_id: int) -> Status:
        return self._noun(Status, await self._connection.ask("GET", f"/api/topics/{topic_id}/status"))

    async def wait(self, topic_id: int) -> Status:
        """Wait until the topic's generation has ended, and return its last status; outages are waited out."""
        etag, growing = "", pauses()
        while True:
            asked_at = current_time()
            try:
                answer = await self._connection.ask(
                    "GET", f"/api/topics/{topic_id}/status", params={"wait": WAIT_SECONDS},
                    headers={"If-None-Match": etag}, patience=inf, seconds=WAIT_SECONDS + 15,
                )  # fmt: skip
            except ClientError as error:
                if not (self._connection.reached and heals(error)):
                    raise
                await sleep(next(growing))
                continue
            if answer.status_code != codes.NOT_MODIFIED:
                etag, status = answer.headers.get("etag", ""), self._noun(Status, answer)
                if not status.unfinished:
                    return status
            elif current_time() - asked_at < EARLY_SECONDS:
                await sleep(next(growing))

    async def cancel(self, topic_id: int, *, keep_partial: bool = False) -> Status:
        """Stop writing; nothing more is spent. `keep_partial`: what stands becomes a version of the report."""
        return await self._cancel(topic_id, {"keep_partial": True} if keep_partial else {})

    async def finish(self, topic_id: int) -> Status:
        """Have the report ended now, with the section in hand and a closing one."""
        return await self._cancel(topic_id, {"mode": "finish"})

    async def generations(self, topic_id: int, *, most: int | None = None) -> list[Status]:
        """Return every generation of a topic, the newest first."""
        return await self._list(Status, f"/api/topics/{topic_id}/generations", most)

    # Reports

    async def artifacts(self, topic_id: int, *, most: int | None = None) -> list[Artifact]:
        """Return the versions of a topic's report, the newest first."""
        return await self._list(Artifact, f"/api/topics/{topic_id}/artifacts", most)

    async def artifact(self, artifact_id: int) -> Artifact:
        return self._noun(Artifact, await self._connection.ask("GET", f"/api/artifacts/{artifact_id}"))

    async def download(self, artifact_id: int) -> str:
        """Return the Markdown of one version."""
        answer = await self._connection.ask("GET", f"/api/artifacts/{artifact_id}/download")
        if not answer.headers.get("content-type", "").startswith("text/markdown"):
            raise NotLonghand(f"What answers at {self.url} is not Longhand. Check the address.")
        return answer.content.decode()

    # Event streams

    def watch(
        self, topic_id: int, *, text: bool = False, after: str | None = None, outages: bool = False
    ) -> Watch[Event]:
        """Follow one generation to its end: `async for event in client.watch(topic_id, text=True)`.

        `text`: with the report as it is written. `after`: the `position` of an earlier watch. `outages`: tell of lost
        connections as well.
        """
        path, params = f"/api/topics/{topic_id}/status/stream", {"text": int(text)}
        return self._keep(Watch(self._connection, path, params, read_event, after, outages=outages))

    def watch_topics(self, *, after: str | None = None, outages: bool = False) -> Watch[ListEvent]:
        """Follow every change of your topics, without an end."""
        return self._keep(Watch(self._connection, "/api/topics/stream", {}, read_list_event, after, outages=outages))

    # The server

    async def version(self) -> str:
        """Return the server's version, as its description of itself tells; needs no token."""
        answer = await self._connection.ask("GET", "/openapi.json")
        with suppress(ValueError, TypeError, KeyError):
            info = answer.json()["info"]
            if info["title"] == "Longhand":
                return str(info["version"])
        raise NotLonghand(f"What answers at {self.url} is not Longhand. Check the address, and the path in it.")

    async def ready(self) -> None:
        """Ask whether the server can work. Raises LonghandProblem with the reason where it cannot."""
        await self._connection.ask("GET", "/readyz", again=False)

    async def first_byte(self, seconds: float) -> float | None:
        """Return after how many seconds the first byte of an event stream came; None where none came in time.

        A server sends it at once, so something on the way holds it back then.
        """
        watch, began_at = self.watch_topics(), current_time()
        try:
            with move_on_after(seconds):
                await watch.begin()
                return current_time() - began_at
            return None
        finally:
            await watch.aclose()

    def _keep(self, watch: Watch[E]) -> Watch[E]:
        self._watches = [open_one for open_one in self._watches if not open_one.over] + [watch]
        return watch

    async def _cancel(self, topic_id: int, body: dict[str, Any]) -> Status:
        return self._noun(Status, await self._connection.ask("POST", f"/api/topics/{topic_id}/cancel", body))

    async def _list(self, kind: type[N], path: str, most: int | None, params: dict[str, Any] | None = None) -> list[N]:
        found: list[N] = []
        cursor: str | None = ""
        while cursor is not None and (most is None or len(found) < most):
            limit = PAGE if most is None else min(PAGE, most - len(found))
            asked = (params or {}) | {"limit": limit} | ({"cursor": cursor} if cursor else {})
            document = self._connection.document(await self._connection.ask("GET", path, params=asked))
            found.extend(self._made(kind, one) for one in document["data"])
            cursor = document.get("next_cursor")
        return found

    def _noun(self, kind: type[N], answer: Response) -> N:
        return self._made(kind, self._connection.data(answer))

    def _made(self, kind: type[N], document: Any) -> N:
        try:
            return kind.of(document)
        except (TypeError, ValueError, AttributeError) as error:
            raise NotLonghand(f"What comes from {self.url} is not what Longhand answers.") from error


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
