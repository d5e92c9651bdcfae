"""Which credential a request carries: an access token before a session, and under TLS only what TLS has set."""

from typing import Any

import pytest

from app.credentials import COOKIE, SECRET, cookie, credential, csrf_of, new_secret, same

MINE, OTHER = "lh_" + "m" * 43, "lh_" + "o" * 43


def scope(*headers: tuple[str, str], scheme: str = "http") -> dict[str, Any]:
    return {"scheme": scheme, "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers]}


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], None),
        ([("cookie", f"longhand={MINE}")], (MINE, True)),
        ([("cookie", f"theme=dark; longhand={MINE}; lang=ko")], (MINE, True)),
        ([("cookie", "theme=dark"), ("cookie", f"longhand={MINE}")], (MINE, True)),  # as HTTP/2 may split them
        ([("cookie", "theme=dark")], None),
        ([("cookie", "longhand=")], None),
        ([("cookie", f"longhand={MINE}x")], None),
        ([("cookie", "longhand=wrong")], None),
        ([("cookie", f"__Host-longhand={MINE}")], None),
        ([("cookie", f"longhand={MINE}"), ("authorization", "Bearer a-token")], ("a-token", False)),
        ([("cookie", f"longhand={MINE}"), ("authorization", "bearer   a-token ")], ("a-token", False)),
        ([("cookie", f"longhand={MINE}"), ("authorization", "Bearer ")], None),
        ([("cookie", f"longhand={MINE}"), ("authorization", "Basic a2ltOmtpbQ==")], (MINE, True)),
        ([("authorization", f"Bearer {MINE}")], (MINE, False)),
    ],
)
def test_an_access_token_goes_before_a_session(headers: list[tuple[str, str]], found: tuple[str, bool] | None) -> None:
    assert credential(scope(*headers)) == found


def test_under_tls_a_cookie_that_was_set_without_is_not_taken() -> None:
    both = ("cookie", f"longhand={OTHER}; __Host-longhand={MINE}")

    assert cookie(scope(both, scheme="https"), COOKIE) == MINE
    assert cookie(scope(("cookie", f"longhand={OTHER}"), scheme="https"), COOKIE) is None
    assert cookie(scope(both), COOKIE) == OTHER


def test_a_secret_has_256_random_bits_in_a_form_that_the_log_hides() -> None:
    secrets = {new_secret() for _ in range(100)}

    assert len(secrets) == 100
    assert all(SECRET.fullmatch(secret) for secret in secrets)


def test_the_token_of_a_page_follows_from_the_secret_and_does_not_tell_it() -> None:
    assert csrf_of(MINE) == csrf_of(MINE) != csrf_of(OTHER)
    assert len(csrf_of(MINE)) == 64
    assert MINE not in csrf_of(MINE)


@pytest.mark.parametrize("given", [None, "", "0" * 64, csrf_of(OTHER), csrf_of(MINE)[:-1], "é", "\udce9"])
def test_nothing_but_the_token_itself_is_the_same(given: str | None) -> None:
    assert not same(given, csrf_of(MINE))
    assert same(csrf_of(MINE), csrf_of(MINE))
