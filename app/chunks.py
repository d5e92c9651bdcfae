"""The chunks of an HTTP/1.1 response: those that came together, joined to one."""

import re

CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*(?:\r\n|$)", re.IGNORECASE)
SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
LONGEST_HEAD = 65536
LONGEST_LINE = 1024
"""Bytes: beyond these a head passes unread, and a chunk's first line is none."""

MALFORMED = b"malformed\r\n"
"""Stands for a chunk that is none, so that whoever reads the response finds it so."""


class Joiner:
    """Joins the chunks of one response after another as they come in: the HTTP client pays for each chunk anew.

    Promises: the response means what it meant, however it is cut; what is not chunked passes unchanged; what is
    malformed stays malformed. No byte of a body waits for a later one.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A response is to come."""
        self._head: bytes | None = b""
        """What came of the head, while it is not whole."""
        self._joins = False
        self._rest = b""
        self._left = 0
        self._inside = False
        """Whether a chunk was begun: its line end stands before the next one's size."""

    def feed(self, data: bytes) -> bytes:
        """Take in some bytes, and return what is to be read in their place; none when more are needed for that."""
        if self._head is not None:
            return self._read_head(data)
        return self._join(data) if self._joins else data

    def _read_head(self, data: bytes) -> bytes:
        head, end, body = ((self._head or b"") + data).partition(b"\r\n\r\n")
        if not end and len(head) < LONGEST_HEAD:
            self._head = head
            return data
        before = data[: len(data) - len(body)]
        if head.startswith(b"HTTP/1.1 1") and not head.startswith(b"HTTP/1.1 101"):
            self._head = b""  # another follows
            return before + self._read_head(body)
        self._head = None
        self._joins = bool(end and CHUNKED.search(head))
        return before + self.feed(body)

    def _join(self, data: bytes) -> bytes:
        data = self._rest + data
        parts: list[bytes] = []
        at = 0
        while at < len(data):
            if self._left:
                part = data[at : at + self._left]
                parts.append(part)
                at += len(part)
                self._left -= len(part)
                continue
            end = data.find(b"\r\n", at + 2 * self._inside)
            if end < 0 and len(data) - at < LONGEST_LINE:
                break
            size = self._size(data[at:end] if end >= 0 else b"")
            if not size:  # the last chunk, behind which other lines may stand, or none
                self._joins = False
                return _chunk(parts) + (MALFORMED if size is None else b"0" + data[end:])
            self._left, self._inside, at = size, True, end + 2
        self._rest = data[at:]
        return _chunk(parts)

    def _size(self, line: bytes) -> int | None:
        """Return the size that a chunk's first line tells; None when it is none."""
        if self._inside:
            if not line.startswith(b"\r\n"):
                return None
            line = line[2:]
        size = line.partition(b";")[0].rstrip(b" \t")
        return int(size, 16) if SIZE.fullmatch(size) else None


def _chunk(parts: list[bytes]) -> bytes:
    return b"%x\r\n%b\r\n" % (sum(map(len, parts)), b"".join(parts)) if parts else b""
