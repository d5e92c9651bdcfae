"""What the slots promise, as a machine that takes and leaves in any order, and as stories."""

from collections import Counter, deque

import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from trio.testing import wait_all_tasks_blocked

from app.models import UserId
from app.slots import Slots, Ticket

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

    with trio.fail_after(1):
        await ticket.wait()
