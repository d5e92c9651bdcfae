"""What a proxy says of a request: X-Forwarded-For, -Proto and -Host, or Forwarded (RFC 7239). Pure."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.addresses import Trusted, parsed

RawHeaders = Sequence[tuple[bytes, bytes]]

PAIR = re.compile(r'\s*([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",;]*))\s*(;|,|\Z)')
"""One parameter of a Forwarded header, and what follows it."""

NODE = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+)(?::\d+)?|([0-9A-Fa-f]*:[0-9A-Fa-f:.]+)")
"""An address, with or without its port."""

AUTHORITY = re.compile(r"[A-Za-z0-9._-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?")


class Origin(NamedTuple):
    """Where a request came from; None is what is not known or not fit to be believed."""

    address: str | None = None
    scheme: str | None = None
    host: str | None = None


def from_x_forwarded(headers: RawHeaders, trusted: Trusted) -> Origin:
    """Read the three headers. The proxy that we know wrote the last element of each."""
    nodes = _elements(headers, b"x-forwarded-for")
    protos, hosts = _elements(headers, b"x-forwarded-proto"), _elements(headers, b"x-forwarded-host")
    chosen = _client([{"for": node} for node in nodes], trusted)
    return _origin(chosen | {"proto": protos[-1] if protos else "", "host": hosts[-1] if hosts else ""})


def from_forwarded(headers: RawHeaders, trusted: Trusted) -> Origin:
    """Read the header of RFC 7239; one that is not well-formed says nothing."""
    text = ",".join(value.decode("latin-1") for name, value in headers if name == b"forwarded")
    elements: list[dict[str, str]] = [{}]
    place = 0
    while place < len(text):
        if (found := PAIR.match(text, place)) is None or found.end() == place:
            return Origin()
        quoted, plain = found[2], found[3]
        elements[-1][found[1].lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        if found[4] == ",":
            elements.append({})
        place = found.end()
    return _origin(_client(elements, trusted))


READERS: dict[str, Callable[[RawHeaders, Trusted], Origin]] = {
    "x-forwarded": from_x_forwarded,
    "forwarded": from_forwarded,
}
"""By the setting's word. Only one counts: a proxy that writes the one passes on what a client put into the other."""


def _elements(headers: RawHeaders, wanted: bytes) -> list[str]:
    text = ",".join(value.decode("latin-1") for name, value in headers if name == wanted)
    return [part.strip() for part in text.split(",")] if text else []


def _client(elements: list[dict[str, str]], trusted: Trusted) -> dict[str, str]:
    """Return the last element that no trusted proxy is in: whatever stands before it may be made up."""
    chosen: dict[str, str] = {}
    for element in reversed(elements):
        address = _address(element.get("for", ""))
        if address is None:  # "unknown", or nothing that could be believed
            return element | {"for": chosen.get("for", "")}
        chosen = element | {"for": address}
        if address not in trusted:
            break
    return chosen


def _address(node: str) -> str | None:
    found = NODE.fullmatch(node)
    address = parsed(found[1] or found[2] or found[3]) if found else None
    return None if address is None else str(address)


def _origin(element: dict[str, str]) -> Origin:
    scheme, host = element.get("proto", "").lower(), element.get("host", "")
    return Origin(
        element.get("for") or None,
        scheme if scheme in {"http", "https"} else None,
        host if AUTHORITY.fullmatch(host) else None,
    )
