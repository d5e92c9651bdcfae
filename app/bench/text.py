"""The text that the stand-in sends: the same in every report, so that an offset tells which events have arrived."""

from dataclasses import dataclass
from itertools import accumulate, cycle, islice

from app import wire
from app.models import Tokens

TITLE = "# A report of the benchmark\n\n"
FILLER = (
    "Two surveys of the same year differ by a third because one of them leaves out small firms. "
    "조사 대상이 다르면 결과도 다르다. What both agree on is the direction of the change, and that it began early.\n\n"
)


@dataclass(frozen=True, slots=True)
class Text:
    """One report in pieces, one piece for each event."""

    pieces: tuple[str, ...]

    @property
    def whole(self) -> str:
        return "".join(self.pieces)

    @property
    def ends(self) -> list[int]:
        """For each event, the code points that a reader has once it has seen all of it.

        White space at the end of a text is held back by the server until more follows, so it does not count.
        """
        whole = self.whole
        return [len(whole[:end].rstrip()) for end in accumulate(map(len, self.pieces))]

    @property
    def answer(self) -> wire.Answer:
        tokens = Tokens(input=600, output=wire.estimated_tokens(self.pieces), cache_read=0, cache_write=0)
        return wire.Answer("msg_bench", "claude-bench", self.pieces, tokens)


def make_text(events: int, characters: int) -> Text:
    """Make a text of so many events and about so many characters, at least one in each event."""
    size, longer = divmod(max(characters, events), events)
    lengths = [size + (number < longer) for number in range(events)]
    whole = TITLE + "".join(islice(cycle(FILLER), max(characters, events)))
    starts = [0, *accumulate(lengths)]
    pieces = [whole[start : start + length] for start, length in zip(starts, lengths, strict=False)]
    if not pieces[-1].strip():
        pieces[-1] = "." * len(pieces[-1])
    return Text(tuple(pieces))
