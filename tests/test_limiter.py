"""The limiter: its quota, how it grows back, what it tells, what it remembers."""

import pytest

from app.limiter import LOW, WINDOW_SECONDS, Limiter
from app.refusals import RateLimited

QUOTA = 60  # one a second


class Clock:
    """Time that passes when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> Limiter:
    return Limiter("test", QUOTA, size=3, clock=clock)


def taken(limiter: Limiter, key: str = "kim") -> int:
    """Take until the limiter refuses, and return how often it did not."""
    for count in range(10 * QUOTA):
        try:
            limiter.take(key)
        except RateLimited:
            return count
    return -1


def test_a_key_has_its_whole_quota_at_once_and_not_one_more(limiter: Limiter) -> None:
    assert taken(limiter) == QUOTA


def test_the_quota_grows_back_evenly_and_no_higher_than_it_was(limiter: Limiter, clock: Clock) -> None:
    taken(limiter)

    clock.now += 0.999
    assert taken(limiter) == 0
    clock.now += 0.001
    assert taken(limiter) == 1
    clock.now += 10
    assert taken(limiter) == 10
    clock.now += 10 * WINDOW_SECONDS
    assert taken(limiter) == QUOTA


def test_to_be_refused_costs_nothing(limiter: Limiter, clock: Clock) -> None:
    taken(limiter)
    for _ in range(1000):
        assert taken(limiter) == 0

    clock.now += 1

    assert taken(limiter) == 1


def test_keys_have_quotas_of_their_own(limiter: Limiter) -> None:
    taken(limiter, "kim")

    assert taken(limiter, "lee") == QUOTA


def test_who_keeps_to_the_rate_is_never_refused(limiter: Limiter, clock: Clock) -> None:
    for _ in range(10 * QUOTA):
        limiter.take("kim")
        clock.now += 1


def test_a_refusal_says_when_to_come_back(limiter: Limiter, clock: Clock) -> None:
    taken(limiter)
    clock.now += 0.25

    with pytest.raises(RateLimited) as refused:
        limiter.take("kim")

    assert refused.value.headers == {
        "Retry-After": "1",
        "RateLimit-Policy": f'"test";q={QUOTA};w=60',
        "RateLimit": '"test";r=0;t=1',
    }


def test_a_key_is_told_how_much_is_left_when_that_is_little(limiter: Limiter) -> None:
    told = [limiter.take("kim") for _ in range(QUOTA)]

    first = next(number for number, headers in enumerate(told) if headers)
    assert first == QUOTA * (1 - LOW)
    assert told[first] == [(b"ratelimit-policy", b'"test";q=60;w=60'), (b"ratelimit", b'"test";r=5;t=55')]
    assert told[-1] == [(b"ratelimit-policy", b'"test";q=60;w=60'), (b"ratelimit", b'"test";r=0;t=60')]


def test_no_more_keys_are_remembered_than_there_is_room_for(limiter: Limiter) -> None:
    for key in ("kim", "lee", "park"):
        taken(limiter, key)
    assert taken(limiter, "kim") == 0

    limiter.take("choi")

    assert len(limiter._whole_at) == 3
    assert taken(limiter, "lee") == 0
    assert taken(limiter, "kim") == QUOTA  # the oldest is forgotten


def test_a_quota_of_0_refuses_nobody(clock: Clock) -> None:
    limiter = Limiter("off", 0, clock=clock)

    assert taken(limiter) == -1
    assert not limiter._whole_at
