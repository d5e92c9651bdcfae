"""What a proxy says: the address behind it, however many stand in between and whatever the client made up."""

import pytest

from app.addresses import Trusted
from app.forwarded import Origin, from_forwarded, from_x_forwarded

TRUSTED = Trusted(("10.0.0.0/8", "2001:db8::/32"))
CLIENT = "198.51.100.7"


def x_forwarded(*values: str, **others: str) -> Origin:
    headers = [(b"x-forwarded-for", value.encode()) for value in values]
    headers += [(f"x-forwarded-{name}".encode(), value.encode()) for name, value in others.items()]
    return from_x_forwarded(headers, TRUSTED)


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ((CLIENT,), CLIENT),
        ((f"{CLIENT}, 10.0.0.2",), CLIENT),
        ((CLIENT, "10.0.0.3 ,10.0.0.2"), CLIENT),
        ((f"203.0.113.66, {CLIENT}",), CLIENT),
        ((f"10.0.0.9, {CLIENT}, 10.0.0.2",), CLIENT),
        (("203.0.113.66", CLIENT), CLIENT),
        ((f"{CLIENT}:4711",), CLIENT),
        (("[2001:db9::1]:4711, 2001:db8::1",), "2001:db9::1"),
        (("2001:db9::1",), "2001:db9::1"),
        ((f"::ffff:{CLIENT}",), CLIENT),
        (("10.0.0.3, 10.0.0.2",), "10.0.0.3"),
        ((f"{CLIENT}, unknown, 10.0.0.2",), "10.0.0.2"),
        ((f"{CLIENT}, <script>",), None),
        (("",), None),
        ((), None),
    ],
)
def test_the_last_address_that_is_no_trusted_proxy_is_the_clients(values: tuple[str, ...], address: str | None) -> None:
    assert x_forwarded(*values).address == address


def test_of_the_scheme_and_the_host_the_last_one_counts() -> None:
    origin = x_forwarded(CLIENT, proto="http, https", host="made.up, reports.example.org:8443")

    assert origin == Origin(CLIENT, "https", "reports.example.org:8443")


@pytest.mark.parametrize(("proto", "host"), [("javascript", "a b"), ("", ""), ("https\x00", "x\r\ny"), ("ftp", "a/b")])
def test_a_scheme_and_a_host_that_are_none_are_not_believed(proto: str, host: str) -> None:
    assert x_forwarded(CLIENT, proto=proto, host=host) == Origin(CLIENT)


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        (f"for={CLIENT}", Origin(CLIENT)),
        (f"For={CLIENT};Proto=HTTPS;Host=reports.example.org", Origin(CLIENT, "https", "reports.example.org")),
        (f'for="{CLIENT}:4711";by=10.0.0.1', Origin(CLIENT)),
        ('for="[2001:db9::1]:4711"; proto=https', Origin("2001:db9::1", "https")),
        (f"for=203.0.113.66;host=made.up, for={CLIENT};proto=https", Origin(CLIENT, "https")),
        (f"for={CLIENT};proto=https, for=10.0.0.2;proto=http", Origin(CLIENT, "https")),
        (f'for="a, for=203.0.113.66", for={CLIENT}', Origin(CLIENT)),
        (f'for="{CLIENT}\\"", for=10.0.0.2', Origin("10.0.0.2")),
        ("for=_hidden;proto=https", Origin(None, "https")),
        ("for=unknown", Origin()),
        (f"for={CLIENT}, for", Origin()),
        (f'for="{CLIENT}', Origin()),
        ("", Origin()),
    ],
)
def test_the_header_of_the_standard_says_the_same(value: str, origin: Origin) -> None:
    assert from_forwarded([(b"forwarded", value.encode())], TRUSTED) == origin


def test_lines_of_the_standards_header_are_one_list() -> None:
    headers = [(b"forwarded", b"for=203.0.113.66"), (b"forwarded", f"for={CLIENT}".encode())]

    assert from_forwarded(headers, TRUSTED).address == CLIENT
