"""What the slots promise, as a machine that takes and leaves in any order, and as stories."""

from collections import Counter, deque
from contextlib import ExitStack

import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from trio.testing import wait_all_tasks_blocked

from app.models import UserId
from app.slots import Place, Slots, Ticket

ANNA, BEN, CARA = map(UserId, range(1, 4))


class SlotsMachine(RuleBasedStateMachine):
    """Takes and leaves tickets; knows of the line only who took what, in order."""

    tickets: Bundle[Ticket] = Bundle("tickets")

    @initialize(total=st.integers(1, 4))
    def open(self, total: int) -> None:
        self.total = total
        self.slots = Slots(total)
        self.running: set[Ticket] = set()
        self.lines: dict[UserId, deque[Ticket]] = {}
        self.overtaken: dict[UserId, Counter[UserId]] = {}

    @rule(target=tickets, user_id=st.sampled_from([ANNA, BEN, CARA]))
    def take(self, user_id: UserId) -> Ticket:
        ticket = self.slots.take(user_id)
        assert ticket.granted == (len(self.running) < self.total)
        if ticket.granted:
            self.running.add(ticket)
        else:
            self.lines.setdefault(user_id, deque()).append(ticket)
            self.overtaken.setdefault(user_id, Counter())
        return ticket

    @rule(ticket=consumes(tickets))
    def leave(self, ticket: Ticket) -> None:
        self.slots.leave(ticket)
        if ticket in self.running:
            self.running.remove(ticket)
        else:
            assert not ticket.granted
            self.lines[ticket.user_id].remove(ticket)
            self.forget_if_empty(ticket.user_id)
        self.note_who_was_granted()

    def note_who_was_granted(self) -> None:
        granted = [ticket for line in self.lines.values() for ticket in line if ticket.granted]
        assert len(granted) <= 1
        for ticket in granted:
            assert self.lines[ticket.user_id].popleft() is ticket, "not first in, first out"
            self.running.add(ticket)
            del self.overtaken[ticket.user_id]
            for others in self.overtaken.values():
                others[ticket.user_id] += 1
                assert others[ticket.user_id] <= 1, "one user's second went before another's first"
            self.overtaken[ticket.user_id] = Counter()
            self.forget_if_empty(ticket.user_id)

    def forget_if_empty(self, user_id: UserId) -> None:
        if not self.lines[user_id]:
            del self.lines[user_id], self.overtaken[user_id]

    @invariant()
    def every_place_is_used_and_none_twice(self) -> None:
        waiting = sum(map(len, self.lines.values()))
        assert len(self.running) <= self.total
        assert len(self.running) == self.total or not waiting
        assert all(ticket.granted for ticket in self.running)
        assert self.slots.waiting == waiting
        assert self.slots.full == (len(self.running) == self.total)


SlotsMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestSlots = SlotsMachine.TestCase


def test_one_users_hundred_do_not_make_anothers_first_wait_for_all_of_them() -> None:
    slots = Slots(1)
    running = slots.take(ANNA)
    many = [slots.take(ANNA) for _ in range(100)]
    one = slots.take(BEN)

    slots.leave(running)
    slots.leave(many[0])

    assert one.granted
    assert [ticket.granted for ticket in many] == [True] + [False] * 99


def test_who_steps_out_of_the_line_holds_nobody_up() -> None:
    slots = Slots(1)
    running, gone, next_in_line = (slots.take(ANNA) for _ in range(3))

    slots.leave(gone)
    slots.leave(running)

    assert not gone.granted
    assert next_in_line.granted


async def test_who_waits_goes_on_when_a_place_is_free_and_not_before() -> None:
    slots = Slots(1)
    running, waiting = slots.take(ANNA), slots.take(BEN)
    began: list[str] = []

    async def run() -> None:
        await waiting.wait()
        began.append("ran")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        assert began == []
        slots.leave(running)

    assert began == ["ran"]


async def test_who_is_granted_already_does_not_wait() -> None:
    ticket = Slots(1).take(ANNA)

    with trio.fail_after(5):
        await ticket.wait()


# A generation's place


def freely_granted(slots: Slots) -> bool:
    """Whether one more could run at this moment."""
    ticket = slots.take(CARA)
    granted = ticket.granted
    slots.leave(ticket)
    return granted


async def test_a_place_is_given_back_while_all_who_write_pause_and_taken_again_behind_the_others() -> None:
    slots = Slots(1)
    place, other = Place(slots, ANNA), slots.take(BEN)

    with place.writing():
        await place.wait()
        with place.pausing():
            paused = (place.granted, other.granted)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(place.wait)
            await wait_all_tasks_blocked()
            in_line = (place.granted, slots.waiting)
            slots.leave(other)
        again = place.granted

    assert paused == (False, True)
    assert in_line == (False, 1)
    assert again


async def test_a_place_is_kept_while_one_of_those_who_write_does_not_pause() -> None:
    slots = Slots(1)
    place = Place(slots, ANNA)

    with place.writing(), place.writing(), place.pausing():
        one_pauses = freely_granted(slots)
        with place.pausing():
            both_pause = freely_granted(slots)

    assert (one_pauses, both_pause) == (False, True)


async def test_a_place_is_given_back_when_the_last_who_does_not_pause_has_written() -> None:
    slots = Slots(1)
    place = Place(slots, ANNA)

    with place.writing():
        with place.writing(), place.pausing():
            before = freely_granted(slots)
        with place.pausing():
            after = freely_granted(slots)

    assert (before, after) == (False, True)


async def test_a_place_is_given_back_when_a_sibling_ends_while_the_rest_pauses() -> None:
    slots = Slots(1)
    place = Place(slots, ANNA)

    with ExitStack() as sibling:
        sibling.enter_context(place.writing())
        with place.writing(), place.pausing():
            before = freely_granted(slots)
            sibling.close()
            after = freely_granted(slots)

    assert (before, after) == (False, True)


async def test_siblings_that_come_back_from_a_pause_share_one_place() -> None:
    slots = Slots(2)
    place = Place(slots, ANNA)
    with place.writing(), place.writing():
        with place.pausing(), place.pausing():
            pass
        await place.wait()
        await place.wait()

        assert freely_granted(slots)
        other = slots.take(BEN)
        assert not freely_granted(slots)

    slots.leave(other)


async def test_a_closed_place_is_free_for_others_and_may_be_closed_again() -> None:
    slots = Slots(1)
    running, waiting = Place(slots, ANNA), Place(slots, BEN)

    waiting.close()
    after_the_line = slots.waiting
    running.close()
    running.close()

    assert after_the_line == 0
    assert freely_granted(slots)
    assert not running.granted
