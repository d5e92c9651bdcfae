"""The feed: the newest change of each topic, in order, for readers who come, go and come back."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import feed as feed_module
from app.feed import Feed
from app.models import TopicId, UserId, later

KIM, LEE = UserId(1), UserId(2)

topics = st.integers(1, 5)
changes = st.lists(st.tuples(topics, st.booleans()), max_size=30)
words = count()
"""Each change says something new, unless a test says what."""


def owner_of(topic_id: int) -> UserId:
    return KIM if topic_id % 2 else LEE


def publish(feed: Feed, topic_id: int, *, ended: bool = False, word: str = "") -> None:
    ended_at = later(60) if ended else None
    document = {"id": topic_id, "word": word or str(next(words)), "updated_at": ended_at}
    feed.publish(TopicId(topic_id), owner_of(topic_id), document, unfinished=not ended, ended_at=ended_at)


def topics_since(feed: Feed, number: int, owner: UserId | None = None) -> list[object]:
    found = feed.since(number, owner)
    assert found is not None
    return [change.document["id"] for change in found]


def test_a_topic_is_told_once_as_it_is_now() -> None:
    feed = Feed()

    publish(feed, 1, word="first")
    publish(feed, 2, word="first")
    publish(feed, 1, word="last")

    assert [(change.document["id"], change.document["word"]) for change in feed.since(0, None) or ()] == [
        (2, "first"),
        (1, "last"),
    ]


@given(changes, changes)
def test_from_any_number_on_each_topic_that_changed_since_is_told_in_order(
    before: list[tuple[int, bool]], after: list[tuple[int, bool]]
) -> None:
    feed = Feed()
    for topic_id, ended in before:
        publish(feed, topic_id, ended=ended)
    number = feed.mark.number
    for topic_id, ended in after:
        publish(feed, topic_id, ended=ended)

    expected = list(dict.fromkeys(topic_id for topic_id, _ in reversed(after)))[::-1]
    assert topics_since(feed, number) == expected
    for owner in (KIM, LEE):
        assert topics_since(feed, number, owner) == [topic for topic in expected if owner_of(topic) == owner]


@given(changes)
def test_the_mark_of_a_change_gives_all_that_came_after_it(history: list[tuple[int, bool]]) -> None:
    feed = Feed()
    for topic_id, ended in history:
        publish(feed, topic_id, ended=ended)
    found = feed.since(0, None) or []

    for number, change in enumerate(found, 1):
        assert feed.since(change.mark.number, None) == found[number:]
    assert feed.since(feed.mark.number, None) == []


@given(changes)
def test_what_is_unfinished_is_known(history: list[tuple[int, bool]]) -> None:
    feed = Feed()
    for topic_id, ended in history:
        publish(feed, topic_id, ended=ended)

    last = dict(history)
    assert {change.document["id"] for change in feed.unfinished(None)} == {t for t, ended in last.items() if not ended}
    for owner in (KIM, LEE):
        assert all(change.owner == owner for change in feed.unfinished(owner))
    assert len(feed.unfinished(KIM)) + len(feed.unfinished(LEE)) == len(feed.unfinished(None))


def test_the_mark_names_the_newest_end() -> None:
    feed = Feed()
    began = feed.mark
    publish(feed, 1)
    running = feed.mark
    publish(feed, 2, ended=True)
    ended = feed.mark
    publish(feed, 1)

    assert (running.ended_at, running.ended_topic) == (began.ended_at, began.ended_topic)
    assert (ended.ended_topic, ended.ended_at > began.ended_at) == (2, True)
    assert (feed.mark.ended_at, feed.mark.ended_topic) == (ended.ended_at, 2)
    assert [mark.number for mark in (began, running, ended, feed.mark)] == [0, 1, 2, 3]
    assert {mark.run for mark in (began, running, ended, feed.mark)} == {began.run}


def test_an_end_that_is_older_than_one_told_already_does_not_set_the_mark_back() -> None:
    feed = Feed()
    publish(feed, 1, ended=True)
    newest = feed.mark

    feed.publish(TopicId(2), KIM, {"id": 2}, unfinished=False, ended_at=later(-60))

    assert (feed.mark.ended_at, feed.mark.ended_topic) == (newest.ended_at, 1)


def test_every_process_has_a_name_of_its_own() -> None:
    assert Feed().mark.run != Feed().mark.run


def test_a_deleted_topic_is_told_as_deleted_and_stays_so_whoever_comes_late() -> None:
    feed = Feed()
    publish(feed, 1)
    publish(feed, 2)
    before = feed.mark.number
    woken = feed.next_change(KIM)

    feed.delete(TopicId(1), KIM)
    publish(feed, 1)

    (deleted,) = feed.since(before, KIM) or []
    assert woken.is_set()
    assert (deleted.event, deleted.document, deleted.mark) == ("deleted", {"id": 1}, feed.mark)
    assert feed.since(before, LEE) == []
    assert topics_since(feed, 0) == [2, 1]
    assert [change.document["id"] for change in feed.unfinished(None)] == [2]


def test_what_says_the_same_as_before_but_for_its_time_is_no_change() -> None:
    feed = Feed()
    publish(feed, 1, word="same")
    before, woken = feed.mark, feed.next_change(KIM)

    feed.publish(TopicId(1), KIM, {"id": 1, "word": "same", "updated_at": "later"}, unfinished=True)

    assert feed.mark == before
    assert not woken.is_set()


@given(changes)
def test_who_is_still_to_be_told_of_what_is_unfinished_is_told_of_all_of_it(history: list[tuple[int, bool]]) -> None:
    feed = Feed()
    for topic_id, ended in history:
        publish(feed, topic_id, ended=ended)

    for owner in (KIM, LEE, None):
        found = feed.since(feed.mark_before_unfinished(owner).number, owner)
        unfinished = feed.unfinished(owner)
        assert found is not None
        assert [change for change in found if change.unfinished] == unfinished
        assert bool(found) is bool(unfinished)


def test_no_more_topics_are_remembered_than_are_worth_it_and_who_missed_some_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed_module, "SIZE", 3)
    feed = Feed()
    for topic_id in range(1, 6):
        publish(feed, topic_id, ended=True)

    assert feed.since(0, None) is None
    assert feed.since(1, KIM) is None
    assert topics_since(feed, 2) == [3, 4, 5]


def test_what_is_unfinished_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "SIZE", 2)
    feed = Feed()
    publish(feed, 1)
    for topic_id in (2, 3, 4):
        publish(feed, topic_id, ended=True)
    ended_forgotten = [change.document["id"] for change in feed.since(3, None) or ()]
    for topic_id in (5, 6, 7):
        publish(feed, topic_id)

    assert ended_forgotten == [4]
    assert [change.document["id"] for change in feed.unfinished(None)] == [1, 5, 6, 7]


def test_a_change_wakes_its_owner_and_who_reads_all_and_nobody_else() -> None:
    feed = Feed()
    kim, kim_too, lee, everybody = [feed.next_change(owner) for owner in (KIM, KIM, LEE, None)]

    publish(feed, 1)

    assert [event.is_set() for event in (kim, kim_too, lee, everybody)] == [True, True, False, True]
    assert not feed.next_change(KIM).is_set()


def test_all_are_woken_when_the_server_is_about_to_stop() -> None:
    feed = Feed()
    events = [feed.next_change(owner) for owner in (KIM, LEE, None)]

    feed.wake_all()

    assert all(event.is_set() for event in events)


def test_who_has_gone_leaves_nothing_behind() -> None:
    feed = Feed()
    for owner in range(100):
        feed.next_change(UserId(owner))

    assert len(feed._events) == 0
