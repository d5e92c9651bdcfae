"""What is shown once."""

from trio.testing import MockClock

from app.once import KEPT_SECONDS, SIZE, Once


async def test_a_text_is_given_once_and_to_nobody_else() -> None:
    once = Once()
    once.put("mine", "lh_secret")

    assert once.take("another's") is None
    assert once.take("mine") == "lh_secret"
    assert once.take("mine") is None


async def test_the_newest_counts() -> None:
    once = Once()
    once.put("mine", "first")
    once.put("mine", "second")

    assert (once.take("mine"), once.take("mine")) == ("second", None)


async def test_nobody_who_comes_late_is_given_it(mock_clock: MockClock) -> None:
    once = Once()
    once.put("in time", "a")
    once.put("late", "b")

    mock_clock.jump(KEPT_SECONDS * 0.99)
    in_time = once.take("in time")
    mock_clock.jump(KEPT_SECONDS * 0.01)

    assert (in_time, once.take("late")) == ("a", None)


async def test_its_memory_is_bounded() -> None:
    once = Once()
    for number in range(SIZE + 1):
        once.put(number, "x")

    assert (once.take(0), once.take(1)) == (None, "x")
