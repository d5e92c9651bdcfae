"""The text of a report as it grows: strands, seams, and what of it readers may see. Pure; offsets are code points."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator

SEAM_WINDOW = 2000
"""How far back a continuation is looked for that repeats what stands already."""

SEAM_MINIMUM, SEAM_MINIMUM_AT_WORD = 12, 5
"""The shortest repeat that is cut, in bytes of UTF-8: anywhere, and where it begins with a word."""

HEADING = re.compile(r"#{2,6}(?:\s|$)")
"""How a heading begins that a continuation may begin with; `#12` is none, and `C# ` may go on from a `C`."""


class GrowingText:
    """A text that only grows.

    Invariants: it begins with no white space; white space at its end is held back until more text follows, so that
    every value it ever had is the beginning of the last one.
    """

    def __init__(self, text: str = "") -> None:
        self._pieces: list[str] = []
        self._starts: list[int] = []
        self._space = ""
        self.length = 0
        self.add(text)

    def __str__(self) -> str:
        return "".join(self._pieces)

    def add(self, piece: str) -> None:
        """Add a piece at the end."""
        whole = (self._space + piece) if self.length else piece.lstrip()
        text = whole.rstrip()
        self._space = whole[len(text) :]
        if text:
            self._pieces.append(text)
            self._starts.append(self.length)
            self.length += len(text)

    def since(self, start: int, end: int | None = None) -> str:
        """Return the text from one offset to another, by default to the end."""
        stop = self.length if end is None else min(end, self.length)
        if start >= stop:
            return ""
        first = max(bisect_right(self._starts, start) - 1, 0)
        last = bisect_right(self._starts, stop - 1)
        offset = self._starts[first]
        return "".join(self._pieces[first:last])[start - offset : stop - offset]

    def join(self, continuation: str) -> None:
        """Add the beginning of a continuation, with the white space that fits.

        A heading and a row of a table stand on lines of their own, and a continuation brings no empty line between two
        rows.
        """
        body = continuation.lstrip()
        lead = continuation[: len(continuation) - len(body)]
        space = max(self._space, lead, key=lambda space: (space.count("\n"), len(space)))
        if HEADING.match(body) and "\n" not in space and not str(self).endswith("#"):
            space = "\n\n"
        elif body.startswith("|") and self._ends_in_row():
            space = self._space if "\n" in self._space else "\n"
        self._space = ""
        self.add(space + body)

    def _ends_in_row(self) -> bool:
        """Whether the last line is a whole row of a table."""
        line = str(self).rpartition("\n")[2].lstrip()
        return len(line) > 1 and line.startswith("|") and line.endswith("|")


class Seam:
    """Finds where a continuation that arrives in pieces goes beyond the text that it continues.

    A model that is asked to go on may begin by repeating the end; the longest beginning of the continuation that the
    text ends with is cut. A heading at the end is repeated as a whole line or not at all: what comes behind it often
    begins with its words. Pieces are held back only as long as they may still be such a repeat, or bring white space
    and `#` alone behind one: which white space fits is known with the first word.
    """

    def __init__(self, before: str) -> None:
        self._before = before[-SEAM_WINDOW:]
        self._held = ""
        self.decided = not before

    def feed(self, piece: str) -> str | None:
        """Take in a piece; returns what is new once that is decided, and None until then."""
        self._held += piece
        if self._held.lstrip() in self._before or not self._new().replace("#", "").strip():
            return None
        return self.end()

    def end(self) -> str:
        """Decide with what there is, and return what is new."""
        self.decided = True
        return self._new()

    def _new(self) -> str:
        held = self._held.lstrip()
        for size in range(min(len(held), len(self._before)), 0, -1):
            if self._before.endswith(held[:size]):
                return held[size:] if self._is_repeat(held[:size]) else self._held
        return self._held

    def _is_repeat(self, text: str) -> bool:
        begin = len(self._before) - len(text)
        last_line = self._before.rpartition("\n")[2]
        if HEADING.match(last_line):
            return begin <= len(self._before) - len(last_line)
        at_word = begin == 0 or not self._before[begin - 1].isalnum()
        return len(text.encode()) >= (SEAM_MINIMUM_AT_WORD if at_word else SEAM_MINIMUM)


class Strand:
    """One text that Claude writes, in one call or several: a whole report, or one section of it.

    `kept` is how much of it the store holds, and `kept_done` whether it holds it as whole. `done`: it is whole. `seams`
    are the offsets at which a later call went on.
    """

    def __init__(
        self, number: int, heading: str = "", text: str = "", *, done: bool = False, seams: Iterable[int] = ()
    ) -> None:
        self.number = number
        self.heading = heading
        self.text = GrowingText(text or (f"## {heading}\n\n" if heading else ""))
        self.kept = len(text)
        self.done = self.kept_done = done
        self.seams = list(seams)
        self._seam: Seam | None = None

    @property
    def written(self) -> int:
        """How many characters Claude has written, the heading that we set not counted."""
        return self.text.length - (len(self.heading) + 3 if self.heading else 0)

    def begin_call(self) -> None:
        """A call begins: what it brings goes on from here."""
        self._seam = Seam(str(self.text)) if self.text.length else None

    def add(self, piece: str) -> None:
        """Add a piece of the call's text."""
        if self._seam is None:
            self.text.add(piece)
        elif (fresh := self._seam.feed(piece)) is not None:
            self._go_on(fresh)

    def end_call(self, *, whole: bool = True) -> None:
        """The call has ended. Of one that broke off, what may still be a repeat is dropped: it will be asked for."""
        if self._seam is not None:
            self._go_on(self._seam.end() if whole else "")

    def _go_on(self, fresh: str) -> None:
        self._seam = None
        if fresh.strip():
            if self.written:
                self.seams.append(self.text.length)
            self.text.join(fresh)


class ReportText:
    """A report of one strand, or of a title and several strands in order.

    Readers see what the store holds, so that nothing they have seen is ever taken back: whole strands in order, and
    the first one that the store does not hold as whole.
    """

    def __init__(self, title: str, strands: list[Strand]) -> None:
        self.strands = strands
        self._head = f"# {title}" if strands and strands[0].heading else ""

    @property
    def characters(self) -> int:
        """How long the text is; 0 until something is written, for a title alone is none."""
        lengths = [strand.text.length for strand in self.strands if strand.written]
        if not lengths:
            return 0
        return sum(lengths) + 2 * (len(lengths) - 1) + (len(self._head) + 2 if self._head else 0)

    def __str__(self) -> str:
        """The whole text, kept or not, of all strands in which something was written."""
        texts = [str(strand.text) for strand in self.strands if strand.written]
        return "\n\n".join([self._head, *texts] if self._head else texts)

    def since(self, offset: int) -> str:
        """Return what readers may see from an offset on."""
        seen, parts = 0, []
        for length, cut in self._segments():
            if offset < seen + length:
                parts.append(cut(max(offset - seen, 0), length))
            seen += length
        return "".join(parts)

    def _segments(self) -> Iterator[tuple[int, Callable[[int, int], str]]]:
        """Give what may be seen, piece by piece: its length, and what cuts it from one offset to another."""
        for number, strand in enumerate(self.strands):
            if not strand.kept:
                return
            if self._head and not number:
                yield _constant(self._head)
            if self._head or number:
                yield _constant("\n\n")
            yield strand.kept, strand.text.since
            if not strand.kept_done:
                return


def _constant(text: str) -> tuple[int, Callable[[int, int], str]]:
    return len(text), lambda start, end: text[start:end]
