"""Addresses as people write them."""

import pytest

from app.client import Client
from app.client.address import base_url, is_local


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("localhost:8000", "http://localhost:8000"),
        ("localhost", "http://localhost"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("127.0.0.1:8000/longhand", "http://127.0.0.1:8000/longhand"),
        ("reports.example.org", "https://reports.example.org"),
        (" https://reports.example.org/longhand/ ", "https://reports.example.org/longhand/"),
    ],
)
def test_a_scheme_may_be_left_out(text: str, url: str) -> None:
    assert str(base_url(text)) == url


@pytest.mark.parametrize(
    "text", ["", "ftp://reports.example.org", "http://", "https://lh_token@reports.example.org", "http://a/?token=1"]
)
def test_what_is_no_address_of_a_server_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Client(text, "token")


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.0.0.2", True), ("::1", True), ("reports.localhost", True), ("10.0.0.1", False)],
)
def test_this_machine_is_known_by_its_names(host: str, *, local: bool) -> None:
    assert is_local(host) is local
