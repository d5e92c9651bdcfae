"""The text of a report on its page: its blocks, what is still open, where a stream goes on, its contents."""

from dataclasses import dataclass, replace

from app.markdown import Heading
from app.models import TopicId, User
from app.render import Block, blocks, render
from app.routes.events import TEXT_CHARACTERS, kept_text
from app.routes.resource import Request
from app.routes.status import look


@dataclass(frozen=True, slots=True)
class Text:
    """`after` is the id from which a stream goes on; `open_text` begins at `open_offset`, where the blocks end."""

    blocks: list[Block]
    contents: list[Heading]
    open_offset: int
    open_text: str
    after: str


async def text_of(request: Request, user: User, topic_id: TopicId, language: str) -> Text:
    """Return the text of a topic's latest report, as far as it is written."""
    snapshot = await look(request, user, topic_id)
    generation = snapshot.generation
    if generation is None:
        return Text([], [], 0, "", "")
    live = request.state["statuses"].text(generation)
    text = live.since(0) if live else ""
    while live is None and (more := await kept_text(request, generation, len(text))):
        text += more
        if len(more) < TEXT_CHARACTERS:
            break
    after = f"{generation.id}-{len(text)}"
    if snapshot.status.unfinished:
        found = await request.state["threads"].files(_closed, text, language)
        end = found[-1].end if found else 0
        return Text(found, [], end, text[end:], after)
    return replace(await rendered(request, text, language), after=after)


async def rendered(request: Request, text: str, language: str) -> Text:
    """Render a whole report."""
    found = await request.state["threads"].files(render, text, language)
    return Text(found.blocks, below_title(found.contents), len(text), "", "")


def below_title(contents: list[Heading]) -> list[Heading]:
    """Return the contents without the title of the report, where one heading stands above all others."""
    first = contents[:1]
    alone = first and first[0].level == 2 and all(heading.level > 2 for heading in contents[1:])
    return [replace(heading, level=heading.level - 1) for heading in contents[1:]] if alone else contents


def _closed(text: str, language: str) -> list[Block]:
    return blocks(text, language, whole=False)
