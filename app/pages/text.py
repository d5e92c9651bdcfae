"""The text of a report on its page: its blocks, what is still open, where a stream goes on, its contents."""

from dataclasses import dataclass

from app.markdown import Heading
from app.models import TopicId, User
from app.render import Block
from app.routes.blocks import page_of
from app.routes.resource import Request


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
    view = await page_of(request, user, topic_id)
    return Text(list(view.blocks), list(view.contents), view.open_offset, view.open_text, view.id)
