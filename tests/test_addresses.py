"""Names and addresses: who is trusted, who counts as one client, which hosts are meant."""

import pytest

from app.addresses import Trusted, client_of, matches_host


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("127.0.0.1", True),
        ("::ffff:127.0.0.1", True),
        ("127.0.0.2", False),
        ("10.200.0.1", True),
        ("11.0.0.1", False),
        ("2001:db8:1::5", True),
        ("2001:db8:2::5", False),
        (None, True),
        ("no address", False),
        ("", False),
    ],
)
def test_a_proxy_is_trusted_by_its_address_its_network_or_the_unix_socket(address: str | None, trusted: bool) -> None:
    assert (address in Trusted(("127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48", "unix"))) is trusted


def test_nobody_is_trusted_unless_named() -> None:
    assert all(address not in Trusted(()) for address in ("127.0.0.1", "::1", None))


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "unix"),
    ],
)
def test_a_client_is_an_address_of_ipv4_or_a_64_of_ipv6(address: str | None, client: str) -> None:
    assert client_of(address) == client


@pytest.mark.parametrize(
    ("host", "pattern"),
    [
        ("example.org", "example.org"),
        ("EXAMPLE.org", "example.org"),
        ("example.org:8443", "example.org"),
        ("example.org.", "example.org"),
        ("example.org:8443", "example.org:8443"),
        ("a.example.org", "*.example.org"),
        ("a.b.example.org:80", "*.example.org"),
        ("a.example.org:8443", "*.example.org:8443"),
        ("[::1]:8000", "[::1]"),
        ("[::1]", "[::1]"),
    ],
)
def test_a_host_that_is_meant_fits(host: str, pattern: str) -> None:
    assert matches_host(host, ("other.example", pattern))


@pytest.mark.parametrize(
    ("host", "pattern"),
    [
        ("", "example.org"),
        ("example.com", "example.org"),
        ("example.org:80", "example.org:8443"),
        ("example.org", "example.org:8443"),
        ("example.org", "*.example.org"),
        ("evilexample.org", "*.example.org"),
        ("example.org.evil.com", "example.org"),
        ("example.org:80@evil.com", "example.org"),
        ("example.org:x", "example.org"),
        ("a.example.org:80", "*.example.org:8443"),
    ],
)
def test_a_host_that_is_not_meant_does_not_fit(host: str, pattern: str) -> None:
    assert not matches_host(host, (pattern,))
