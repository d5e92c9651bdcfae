"""Addresses and names of the network: as settings write them, and as a request is compared with them. Pure."""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

UNIX = "unix"
"""How a setting names whoever connects through a Unix socket, who has no address."""

HOST = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*(?::\d{1,5})?|\[[0-9a-f:.]+\](?::\d{1,5})?")
ORIGIN = re.compile(r"https?://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::\d{1,5})?|\*")


class Trusted:
    """The proxies whose word about a request counts."""

    def __init__(self, named: Sequence[str]) -> None:
        self._unix = UNIX in named
        self._networks = [ip_network(name) for name in named if name != UNIX]

    def __contains__(self, address: str | None) -> bool:
        """Say whether who connects from this address is one of them; None is a Unix socket."""
        if address is None:
            return self._unix
        found = parsed(address)
        return found is not None and any(found in network for network in self._networks)


def parsed(address: str) -> IPv4Address | IPv6Address | None:
    """Read an address; one of IPv4 that is written as one of IPv6 is itself."""
    try:
        found = ip_address(address)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def client_of(address: str | None) -> str:
    """Return what a limit by address counts: an address of IPv4, the /64 that one client of IPv6 commonly has."""
    if address is None:
        return UNIX
    return _network_of(address) if ":" in address else address


@lru_cache(maxsize=1024)
def _network_of(address: str) -> str:
    found = parsed(address)
    return str(IPv6Network((int(found), 64), strict=False)) if isinstance(found, IPv6Address) else str(found or address)


def matches_host(host: str, patterns: Sequence[str]) -> bool:
    """Say whether a Host header fits; a pattern without a port fits every port, `*.` any name below."""
    whole = host.lower()
    name = re.sub(r":\d*\Z", "", whole).rstrip(".")
    return any(
        said == pattern or (pattern.startswith("*.") and said.endswith(pattern[1:]))
        for pattern in patterns
        for said in (name, whole)
    )


def check_proxies(values: tuple[str, ...]) -> tuple[str, ...]:
    """Raises ValueError for what names no proxy."""
    for value in values:
        try:
            value == UNIX or ip_network(value)
        except ValueError:
            raise ValueError(f"'{value}' is no address, no network such as 10.0.0.0/8, and not 'unix'") from None
    return values


def check_hosts(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names in lower case. Raises ValueError for what is no name of a host."""
    lowered = tuple(value.lower() for value in values)
    for value in lowered:
        if not HOST.fullmatch(value):
            raise ValueError(f"'{value}' is no name of a host such as example.org, example.org:8443 or *.example.org")
    return lowered


def check_origins(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the origins in lower case. Raises ValueError for what is no origin."""
    lowered = tuple(value.lower() for value in values)
    for value in lowered:
        if not ORIGIN.fullmatch(value):
            raise ValueError(f"'{value}' is no origin such as https://app.example.org: scheme and host, no path")
    return lowered
