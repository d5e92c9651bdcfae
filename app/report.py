"""Markdown in; sections and progress out. Pure functions."""

import re
import unicodedata

SECTION = re.compile(r"^##[ \t]+(\S(?:.*[^\s#])?)(?:[^\S\n]|#)*$", re.MULTILINE)
FENCE = re.compile(r"^((`|~)\2\2).*?(?:^\1\2*[ \t\r]*$|\Z)", re.MULTILINE | re.DOTALL)

TELLING_LINE = re.compile(r"^(?:##|```|~~~).*$", re.MULTILINE)
"""A line that may begin a section, or begin or end fenced code."""

TYPICAL_SECTIONS = 5
TYPICAL_CHARACTERS = {"ko": 900, "ja": 900, "zh": 700}
"""Characters of one section where no history tells; other languages: 2,000. From drafts of Claude Sonnet."""


def sections(markdown: str) -> list[str]:
    """Return the headings of the `## ` sections in order; what stands in fenced code is no heading."""
    return SECTION.findall(FENCE.sub("", markdown))


def expected_characters(plan: str, language: str, typical_section: int | None) -> int:
    """Return how long a report is likely to be, in characters.

    `typical_section` is the length of one section in past reports of this language; None where there are none.
    """
    a_section = typical_section or TYPICAL_CHARACTERS.get(language.split("-", maxsplit=1)[0].lower(), 2000)
    return a_section * (len(sections(plan)) or TYPICAL_SECTIONS)


def progress_percent(characters: int, expected: int) -> int:
    """Return 0 to 99: proportional up to 90 at the expected length, then ever slower. 100 is for the end alone."""
    if characters <= expected:
        return 90 * characters // max(expected, 1)
    return 99 - round(9 * expected / characters)


class HeadingCounter:
    """Counts the `## ` headings in the whole lines of a text that arrives in pieces.

    Promises: it agrees with `sections`, however the text is cut; each character is looked at once.
    """

    def __init__(self) -> None:
        self.headings = 0
        self._line: list[str] = []
        self._fence = ""

    def feed(self, piece: str) -> None:
        end, newline, rest = piece.partition("\n")
        self._line.append(end)
        if newline:
            self._read("".join(self._line))
            lines, _, start = rest.rpartition("\n")
            for line in TELLING_LINE.findall(lines):
                self._read(line)
            self._line = [start]

    def _read(self, line: str) -> None:
        if self._fence:
            if line.startswith(self._fence) and not line.rstrip(" \t\r").strip(self._fence[0]):
                self._fence = ""
        elif line.startswith(("```", "~~~")):
            self._fence = line[:3]
        elif SECTION.match(line):
            self.headings += 1


def sections_done(headings: int, total: int) -> int:
    """Return how many of the plan's sections are closed when `headings` were begun: all but the one in hand."""
    return min(max(headings - 1, 0), total)


def filename(topic: str) -> str:
    """Return a file name for a report: the topic without what file systems refuse, and `.md`.

    At most 80 characters and 240 bytes of the topic, as Linux allows 255 and what is written beside has a longer name.
    """
    kept = "".join(" " if unicodedata.category(c)[0] in "CZ" or c in '/\\:*?"<>|' else c for c in topic)
    short = " ".join(kept.split())[:80].encode()[:240].decode(errors="ignore")
    return (short.strip(" .") or "report") + ".md"
