"""The event stream of one topic: its status, and the text as it is written."""

import re
from dataclasses import asdict, dataclass, replace

from anyio import Event
from starlette.responses import Response

from app.draft import report_text
from app.errors import NotFound
from app.models import ArtifactId, Generation, GenerationId, StatusName, TopicId, User
from app.queries import artifacts, generations, texts
from app.renderings import Progress
from app.routes.auth import current_user, topic_id
from app.routes.resource import Request, resource
from app.routes.status import look
from app.routes.streams import RETRY, Flags, Reader, encoded, event, event_id, events_of, flags, stream
from app.snapshot import Snapshot

TEXT_CHARACTERS = 65_536
"""How much text one event holds at most; a reader who is far behind takes several."""

POSITION = re.compile(r"([0-9]{1,18})-([0-9]{1,18})(?:-([0-9]{1,18}))?(-done)?")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reader is: in which generation, how many code points of its text it has, and whether it saw the end.

    `blocks` is where the last block ends that it has; None: it was never one of blocks.
    """

    generation_id: GenerationId
    offset: int
    done: bool = False
    blocks: int | None = None

    def __str__(self) -> str:
        blocks = "" if self.blocks is None else f"-{self.blocks}"
        return f"{self.generation_id}-{self.offset}{blocks}{'-done' if self.done else ''}"


NOWHERE = Position(GenerationId(0), 0)


async def stream_status(request: Request) -> Response:
    user = await current_user(request)
    asked = flags(request, "text", "html", "ping")
    snapshot = await look(request, user, topic_id(request))
    position = position_of(request)
    if position.done and snapshot.generation and snapshot.generation.id == position.generation_id:
        if settled(request, snapshot):
            return Response(status_code=204)
        position = replace(position, done=False)
    elif position.done:
        position = NOWHERE
    source = TopicSource(request, topic_id(request), position, asked)
    return stream(request, events_of(source, request.state["statuses"], asked, RETRY + b"\n"))


class TopicSource:
    """Tells of one topic: the whole status first, then each change, to the end of one generation.

    Promises:
    - `done` comes when the store knows the end, and after all of the text.
    - A reader who is in an earlier generation is told the rest of that one; it comes back for the next. Where its
      text is kept no longer (only a completed report, or a partial one that was kept, outlives the next generation;
      the text of any other is dropped then, or goes on under the id of the one that resumes it), a reader of the text
      is taken on to the newest generation, whose text begins at 0.
    - Who is not to see the topic any more, or one that is deleted, is told nothing more.
    """

    def __init__(self, request: Request, topic_id: TopicId, position: Position, flags: Flags) -> None:
        self.mark = replace(position, blocks=position.blocks or 0) if "html" in flags else position
        self._request = request
        self._statuses = request.state["statuses"]
        self._reader = Reader(request)
        self._topic_id = topic_id
        self._with_text, self._with_html = "text" in flags, "html" in flags
        self._reads = self._with_text or self._with_html
        self._shown: str | None = None

    def next_change(self) -> Event:
        return self._statuses.next_change(self._topic_id)

    async def step(self) -> bytes | None:
        snapshot = None if self.mark.done else await self._look()
        while snapshot is not None:
            ended = settled(self._request, snapshot)  # no await since the look
            news = await self._news(snapshot, ended=ended)
            if news or not ended:
                return news
            again = await self._look()
            if again is not None and again.etag == snapshot.etag:  # what was read in between was all of the text
                self.mark = replace(self.mark, done=True)
                return event("done", snapshot.json, self.mark)
            snapshot = again
        return None

    async def _news(self, snapshot: Snapshot, *, ended: bool) -> bytes:
        """Return what brings the reader further, if there is anything: the status if it has changed, text and blocks.

        Both go together where the text is at hand: a send costs more than what it sends.
        """
        generation, status = snapshot.generation, b""
        if generation and generation.id != self.mark.generation_id:
            self.mark = Position(generation.id, 0, blocks=None if self.mark.blocks is None else 0)
        if snapshot.etag != self._shown:
            self._shown = snapshot.etag
            status = event("status", snapshot.json, self.mark)
        if generation is None or not self._reads:
            return status
        live = self._statuses.text(generation)
        if live is not None and self._with_text:
            status += self._text(live.since(self.mark.offset)[:TEXT_CHARACTERS])
        elif live is None and self._with_text:
            status = status or self._text(await kept_text(self._request, generation, self.mark.offset))
        return await self._blocks(generation, ended=ended) if self._with_html and not status else status

    async def _blocks(self, generation: Generation, *, ended: bool) -> bytes:
        """Return the events that tell of the next blocks: of those whose text was told, where the reader has that."""
        after = self.mark.blocks or 0
        progress = await blocks_of(self._request, generation, after, ended=ended)
        events, size = [], 0
        for block in progress.blocks:
            if size > TEXT_CHARACTERS or (self._with_text and block.end > self.mark.offset):
                break
            self.mark = replace(self.mark, blocks=block.end)
            events.append(event("block", encoded(asdict(block)), self.mark))
            size += len(block.html)
        return b"".join(events)

    def _text(self, text: str) -> bytes:
        """Return the event that tells of what comes next of the text; nothing where there is none."""
        if not text:
            return b""
        offset = self.mark.offset
        self.mark = replace(self.mark, offset=offset + len(text))
        return event("text", encoded({"offset": offset, "text": text}), self.mark)

    async def _look(self) -> Snapshot | None:
        """Return the status of the generation that the reader is in, or else of the newest; None: there is no more."""
        user = await self._reader.user()
        if user is None:
            return None
        try:
            return await followed(self._request, user, self._topic_id, self.mark, with_text=self._reads)
        except NotFound:
            return None


async def followed(request: Request, user: User, topic_id: TopicId, mark: Position, *, with_text: bool) -> Snapshot:
    """Return the status of the generation that a reader is in the middle of, or of the newest. Raises NotFound."""
    newest = await look(request, user, topic_id)
    if newest.generation is None or mark.done or mark.generation_id in {0, newest.generation.id}:
        return newest
    store = request.state["store"]
    earlier = await store.read(generations.generation_of_topic, topic_id, mark.generation_id)
    if earlier is None or (with_text and not _keeps_text(earlier)):
        return newest
    return Snapshot(topic_id, earlier)


async def blocks_of(request: Request, generation: Generation, after: int, *, ended: bool) -> Progress:
    """Return the blocks of a report from an offset on, and what is open; `ended`: it is settled, and none is."""
    statuses, renderings = request.state["statuses"], request.state["renderings"]

    async def read(offset: int) -> str:
        live = statuses.text(generation)
        return live.since(offset) if live is not None else await kept_text(request, generation, offset)

    return await renderings.progress(generation.id, generation.language, read, after, ended=ended)


async def kept_text(request: Request, generation: Generation, offset: int) -> str:
    """Return what is kept of a report that is not being written, from an offset on, at most one event's worth."""
    store, end = request.state["store"], offset + TEXT_CHARACTERS
    if generation.status is StatusName.COMPLETED:
        return (await store.read(artifacts.report_text, generation.id) or "")[offset:end]
    if generation.artifact_id is not None:
        return (await _partial_report(request, generation.artifact_id))[offset:end]
    kept = report_text(generation, await store.read(texts.kept_strands, generation.id))
    return kept.since(offset)[:TEXT_CHARACTERS]


async def _partial_report(request: Request, artifact_id: ArtifactId) -> str:
    """Return a partial report: all that was written, later sections included. Nothing when it is deleted meanwhile."""
    found = await request.state["store"].read(artifacts.artifact, artifact_id)
    try:
        return (await request.state["files"].read(found[0].path)).decode() if found else ""
    except FileNotFoundError:
        return ""


def _keeps_text(generation: Generation) -> bool:
    """Whether the text of a generation that is not the newest is still kept."""
    return generation.status is StatusName.COMPLETED or generation.artifact_id is not None


def settled(request: Request, snapshot: Snapshot) -> bool:
    """Whether a generation has ended and the store knows it: only then is its live status forgotten."""
    if snapshot.generation is None or snapshot.status.unfinished:
        return False
    live = request.state["statuses"].get(snapshot.topic_id)
    return live is None or live.generation is None or live.generation.id != snapshot.generation.id


def position_of(request: Request) -> Position:
    """Read where the reader is; nowhere yet without an id. Raises Invalid."""
    found = event_id(request, POSITION)
    if found is None:
        return NOWHERE
    blocks = None if found[3] is None else int(found[3])
    return Position(GenerationId(int(found[1])), int(found[2]), done=bool(found[4]), blocks=blocks)


routes = [resource("/api/topics/{id:id}/status/stream", GET=stream_status)]
