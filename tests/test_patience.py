"""Patience: what is tried again, after how long, and when it is given up. Pure."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from app.errors import (
    ClaudeAuth,
    ClaudeLimited,
    ClaudeRequest,
    ClaudeStream,
    ClaudeTimeout,
    ClaudeUnavailable,
    Failure,
    Refused,
)
from app.patience import LIMITED_PAUSE, LONGEST_PAUSE, Limits, Patience, Pause, Waiting

LIMITS = Limits(
    max_attempts=4,
    max_resumes=20,
    max_retry_after=300,
    max_wait=3600,
    backoff_seconds=0.5,
    max_continuations=8,
    section_concurrency=4,
    checkpoint_seconds=2,
)

BROKEN = ClaudeStream()
SILENT = ClaudeTimeout()
FINAL = [ClaudeAuth(), ClaudeLimited(), ClaudeRequest("no"), Refused()]


def unavailable(retry_after: float | None = None) -> ClaudeUnavailable:
    return ClaudeUnavailable("500", retry_after=retry_after)


def limiting(retry_after: float | None = None) -> ClaudeUnavailable:
    return ClaudeUnavailable("529", limiting=True, retry_after=retry_after)


def after(
    patience: Patience, failure: Failure, *, brought_text: bool = False, has_text: bool = True, resumes: int = 0
) -> Pause | None:
    return patience.after(failure, brought_text=brought_text, has_text=has_text, resumes=resumes)


failures = st.sampled_from([BROKEN, SILENT, unavailable(), unavailable(7), limiting(), limiting(7), limiting(10_000)])


# What is given up at once.


@pytest.mark.parametrize("failure", FINAL)
@pytest.mark.parametrize("brought_text", [False, True])
def test_what_no_further_call_can_mend_is_given_up_at_once(failure: Failure, brought_text: bool) -> None:
    assert after(Patience(LIMITS), failure, brought_text=brought_text) is None


def test_silence_before_any_text_is_given_up_at_once() -> None:
    assert after(Patience(LIMITS), SILENT, has_text=False) is None


def test_silence_in_mid_report_is_tried_again_and_given_up_when_the_next_call_is_silent_too() -> None:
    patience = Patience(LIMITS)

    assert after(patience, SILENT, brought_text=True) is not None
    assert after(patience, SILENT) is None


def test_silence_after_new_text_is_not_the_same_silence() -> None:
    patience = Patience(LIMITS)

    assert all(after(patience, SILENT, brought_text=True) for _ in range(10))


@pytest.mark.parametrize("between", [BROKEN, unavailable()])
def test_silence_after_another_failure_is_not_silence_again(between: Failure) -> None:
    patience = Patience(LIMITS)

    assert after(patience, SILENT, brought_text=True)
    assert after(patience, between)
    assert after(patience, SILENT)


def test_waiting_between_two_silences_changes_nothing() -> None:
    patience = Patience(LIMITS)

    after(patience, SILENT, brought_text=True)
    after(patience, limiting(1))

    assert after(patience, SILENT) is None


# Attempts and resumes.


@pytest.mark.parametrize("max_attempts", [1, 2, 4])
def test_so_many_calls_in_a_row_without_new_text_are_made_and_no_more(max_attempts: int) -> None:
    patience = Patience(replace(LIMITS, max_attempts=max_attempts))

    pauses = [after(patience, BROKEN) for _ in range(max_attempts)]

    assert pauses[-1] is None
    assert all(pauses[:-1])


def test_a_call_that_brought_text_starts_the_count_again() -> None:
    patience = Patience(LIMITS)

    for _ in range(5):
        assert after(patience, BROKEN)
        assert after(patience, BROKEN)
        assert after(patience, BROKEN)
        assert after(patience, BROKEN, brought_text=True)


def test_a_call_that_ended_well_starts_all_counts_again() -> None:
    patience = Patience(LIMITS)
    for failure in (BROKEN, BROKEN, SILENT):
        after(patience, failure)

    patience.forget()

    assert after(patience, SILENT)
    assert all(after(patience, BROKEN) for _ in range(2))
    assert after(patience, BROKEN) is None


def test_so_many_resumes_are_made_in_all_though_each_brought_text() -> None:
    limits = replace(LIMITS, max_resumes=3)

    pauses = [after(Patience(limits), BROKEN, brought_text=True, resumes=resumes) for resumes in range(5)]

    assert [pause is not None for pause in pauses] == [True, True, True, False, False]


# How long.


@given(st.integers(0, 60), st.floats(0.01, 60), st.booleans())
def test_the_pause_is_drawn_from_nought_to_a_bound_that_doubles(
    barren: int, backoff: float, brought_text: bool
) -> None:
    limits = replace(LIMITS, backoff_seconds=backoff, max_attempts=1000)
    patience = Patience(limits, barren=barren)

    pause = after(patience, BROKEN, brought_text=brought_text)

    assert pause is not None
    assert not pause.limiting
    assert 0 <= pause.seconds <= min(backoff * 2 ** (0 if brought_text else barren + 1), LONGEST_PAUSE)


def test_the_jitter_is_full() -> None:
    pauses = [after(Patience(LIMITS, barren=2), BROKEN) for _ in range(400)]

    seconds = sorted(pause.seconds for pause in pauses if pause)
    assert seconds[0] < 0.4
    assert 3.6 < seconds[-1] <= 4


@given(st.floats(0, 100_000), st.floats(1, 1000), st.sampled_from([unavailable, limiting]))
def test_what_claude_asks_for_is_honoured_up_to_a_bound(
    asked: float, most: float, kind: Callable[[float], ClaudeUnavailable]
) -> None:
    patience = Patience(replace(LIMITS, max_retry_after=most))

    pause = after(patience, kind(asked))

    assert pause is not None
    assert pause.seconds == min(asked, most)


@given(st.integers(0, 60))
def test_without_a_word_the_wait_doubles_up_to_the_bound(limited: int) -> None:
    pause = after(Patience(LIMITS, limited=limited), limiting())

    most = min(LIMITED_PAUSE * 2**limited, LIMITS.max_retry_after)
    assert pause is not None
    assert most / 2 <= pause.seconds <= most


# Waiting.


def test_waiting_uses_up_no_attempt_however_often() -> None:
    patience = Patience(LIMITS)

    pauses = [after(patience, limiting(1), has_text=False) for _ in range(100)]

    assert pauses == [Pause(1, limiting=True)] * 100
    assert patience.barren == 0


def test_waiting_starts_no_count_again() -> None:
    patience = Patience(LIMITS)
    for failure in (BROKEN, BROKEN, BROKEN, limiting(1)):
        after(patience, failure)

    assert after(patience, BROKEN) is None


def test_a_wait_that_would_take_too_long_in_all_is_given_up() -> None:
    patience = Patience(LIMITS, Waiting(3595))

    assert after(patience, limiting(5)) == Pause(5, limiting=True)
    assert after(patience, limiting(6)) == Pause(6, limiting=True, last=True)


async def test_texts_that_wait_together_are_counted_once(mock_clock: MockClock) -> None:
    waiting = Waiting()

    with waiting.one():
        mock_clock.jump(1)
        with waiting.one():
            mock_clock.jump(2)
            meanwhile = waiting.texts, waiting.seconds
        mock_clock.jump(4)
    mock_clock.jump(8)
    with waiting.one():
        mock_clock.jump(16)

    assert [meanwhile, (waiting.texts, waiting.seconds)] == [(2, 3), (0, 23)]


def test_overloaded_in_mid_stream_after_new_text_is_a_break_like_any_other() -> None:
    patience = Patience(LIMITS, barren=3)

    pause = after(patience, limiting(), brought_text=True)

    assert pause is not None
    assert not pause.limiting
    assert patience.barren == 0


@given(st.lists(st.tuples(failures, st.booleans()), max_size=60))
def test_patience_is_finite_whatever_happens(history: list[tuple[Failure, bool]]) -> None:
    patience, resumes, barren = Patience(LIMITS), 0, 0

    for failure, brought_text in history:
        pause = after(patience, failure, brought_text=brought_text, resumes=resumes)
        if pause is None or pause.last:
            break
        assert 0 <= pause.seconds <= LIMITS.max_retry_after
        if pause.limiting:
            patience.waiting = Waiting(patience.waiting.seconds + pause.seconds)
        else:
            resumes, barren = resumes + 1, 0 if brought_text else barren + 1

    assert resumes <= LIMITS.max_resumes
    assert barren < LIMITS.max_attempts
    assert patience.waiting.seconds <= LIMITS.max_wait
