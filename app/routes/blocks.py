"""A report as blocks of HTML, once: for the first paint of its page, where no stream comes through, and to be read."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from starlette.responses import Response

from app.errors import NotFound
from app.markdown import Heading
from app.models import Artifact, Generation, TopicId, User
from app.queries import generations
from app.render import Block, Rendered
from app.routes.artifacts import content_of
from app.routes.auth import current_user, topic_id
from app.routes.events import NOWHERE, Position, blocks_of, followed, kept_text, position_of, settled
from app.routes.resource import Request, answer, resource
from app.routes.streams import flags
from app.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class View:
    """What there is of a report at one moment, from where a reader is: closed blocks, and the open text behind them.

    `id` is where its reader is then: the stream goes on from it. `contents` are known of what has ended.
    """

    snapshot: Snapshot
    blocks: tuple[Block, ...]
    open_offset: int
    open_text: str
    id: str
    contents: tuple[Heading, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "blocks": [asdict(block) for block in self.blocks],
            "open": {"offset": self.open_offset, "text": self.open_text},
            "id": self.id,
            "status": self.snapshot.document,
        }


async def get_blocks(request: Request) -> Response:
    user = await current_user(request)
    flags(request)
    view = await page_of(request, user, topic_id(request), position_of(request))
    return answer(view.document, headers={"Cache-Control": "no-store"})


async def page_of(request: Request, user: User, topic_id: TopicId, position: Position | None = None) -> View:
    """Return what there is of a topic's report beyond where a reader is, as the stream would tell. Raises NotFound.

    Of a generation that has ended the blocks are those of the whole report, with its footnotes and all definitions.
    """
    mark = position or NOWHERE
    snapshot = await followed(request, user, topic_id, mark, with_text=True)
    generation = snapshot.generation
    if generation is None:
        return View(snapshot, (), 0, "", str(replace(NOWHERE, blocks=0)))
    after = (mark.blocks or 0) if mark.generation_id == generation.id else 0
    if settled(request, snapshot):
        return await _ended(request, snapshot, generation, after)
    progress = await blocks_of(request, generation, after, ended=False)
    reached = Position(generation.id, progress.end + len(progress.tail), blocks=progress.end)
    return View(snapshot, tuple(progress.blocks), progress.end, progress.tail, str(reached))


async def reading(request: Request, artifact: Artifact) -> Rendered:
    """Return a version of a report, rendered to be read. Raises ArtifactLost, or NotFound for one just deleted."""
    place = artifact.topic_id, artifact.generation_id
    generation = await request.state["store"].read(generations.generation_of_topic, *place)
    if generation is None:
        raise NotFound

    async def read(offset: int) -> str:
        return "" if offset else (await content_of(request, artifact)).decode()

    return await request.state["renderings"].whole(generation.id, generation.language, read)


async def _ended(request: Request, snapshot: Snapshot, generation: Generation, after: int) -> View:
    """Return what there is of a report to which no text will come any more."""

    async def read(offset: int) -> str:
        return await kept_text(request, generation, offset)

    whole = await request.state["renderings"].whole(generation.id, generation.language, read)
    end = whole.blocks[-1].end if whole.blocks else 0
    left = tuple(block for block in whole.blocks if block.offset >= after)
    reached = Position(generation.id, end, done=True, blocks=end)
    return View(snapshot, left, end, "", str(reached), tuple(whole.contents))


routes = [resource("/api/topics/{id:id}/blocks", GET=get_blocks)]
