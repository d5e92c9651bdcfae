"""Passwords: hashed with Argon2id, the same however they are typed, and the same work for whoever has none."""

from typing import Literal
from unicodedata import normalize

import pytest
from argon2 import PasswordHasher, extract_parameters

from app.passwords import FEWEST, HASHER, MOST, NOBODYS, PasswordUnfit, hashed, normalised, verified

PASSWORD = "비밀번호는 열 글자부터"
QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


class Counting(PasswordHasher):
    """Counts what it compares."""

    compared: list[str | bytes]

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - as it is called there
        self.compared.append(hash)
        return super().verify(hash, password)


def counting() -> Counting:
    hasher = Counting(time_cost=1, memory_cost=64, parallelism=1)
    hasher.compared = []
    return hasher


def test_a_password_is_right_and_no_other_is() -> None:
    kept = hashed(PASSWORD)

    assert verified(PASSWORD, kept) == (True, None)
    for other in (f"{PASSWORD} ", PASSWORD[:-1], PASSWORD.upper() + "!", kept):
        assert verified(other, kept) == (False, None)


def test_a_hash_is_argon2id_with_64_mib_and_differs_each_time() -> None:
    first, second = hashed(PASSWORD), hashed(PASSWORD)

    assert first != second
    assert first.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert PASSWORD not in first


def test_a_keyboard_that_takes_hangul_apart_types_the_same_password() -> None:
    assert verified(normalize("NFD", PASSWORD), hashed(PASSWORD, QUICK), QUICK).right


@pytest.mark.parametrize(
    ("password", "fault"),
    [
        ("", "short"), ("x" * (FEWEST - 1), "short"), (normalize("NFD", "가나다라마"), "short"),
        ("x" * (MOST + 1), "long"), ("x" * 1_000_000, "long"), ("\u0301" * 1_000_000, "long"),
        ("line one\nline two", "characters"), ("nul\0nul\0nul\0", "characters"), ("half \ud800 of one", "characters"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_password_is_none(password: str, fault: str) -> None:
    with pytest.raises(PasswordUnfit) as refused:
        hashed(password, QUICK)

    assert refused.value.fault == fault
    assert password not in str(refused.value) or not password


def test_the_bounds_themselves_are_within() -> None:
    for password in ("x" * FEWEST, "가" * MOST, normalize("NFD", "각" * MOST)):
        assert verified(password, hashed(password, QUICK), QUICK).right


@pytest.mark.parametrize("password", [PASSWORD, "short", "x" * 1_000_000, "half \ud800 of one"])
@pytest.mark.parametrize("known", [True, False])
def test_the_same_work_is_done_whoever_is_asked_for_and_whatever_is_typed(password: str, known: bool) -> None:
    hasher = counting()

    verdict = verified(password, hashed("another password", QUICK) if known else None, hasher)

    assert verdict == (False, None)
    assert len(hasher.compared) == 1


def test_what_is_compared_for_nobody_costs_what_a_hash_of_today_costs_and_fits_nothing() -> None:
    assert extract_parameters(NOBODYS) == extract_parameters(hashed(PASSWORD))
    assert extract_parameters(NOBODYS).memory_cost == HASHER.memory_cost
    for password in ("", "A" * 32, PASSWORD):
        assert not verified(password, None).right


def test_a_hash_of_other_parameters_is_made_anew_when_the_password_is_right() -> None:
    old = hashed(PASSWORD, QUICK)

    right, wrong = verified(PASSWORD, old), verified("a wrong password", old)

    assert wrong == (False, None)
    assert right.fresh is not None
    assert verified(PASSWORD, right.fresh) == (True, None)


@pytest.mark.parametrize("kept", ["", "no hash", "$argon2id$v=19$m=65536,t=3,p=1$x$y", "$2b$12$abc"])
def test_what_is_no_hash_fits_nothing(kept: str) -> None:
    assert not verified(PASSWORD, kept, QUICK).right


def test_a_password_is_normalised_once() -> None:
    assert normalised(normalize("NFD", PASSWORD)) == normalize("NFC", PASSWORD)
