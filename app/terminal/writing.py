"""The story of `longhand write`: a topic, a generation, its progress, its end. The server may be anywhere."""

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal

from anyio import CancelScope, create_task_group, move_on_after, open_signal_receiver

from app.client import Client, ClientError, Event, LonghandProblem, Status, Watch
from app.saving import NotWritten
from app.terminal.codes import FAILED
from app.terminal.interruption import Interruption, Wish
from app.terminal.show import Show, summary
from app.terminal.words import encoded, plain

CANCEL_SECONDS = 10

Ask = Callable[[int], Wish]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What to write."""

    topic: str
    plan: str
    language: str
    instructions: str
    model: str | None
    mode: Literal["single", "sections"] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went: the last status, and the report where there is one. `exit_code` is 0 where there is.

    `left`: the report is still being written, as the person wishes.
    """

    exit_code: int
    status: Status | None = None
    content: bytes = b""
    topic_id: int | None = None
    left: bool = False


@asynccontextmanager
async def interruptible() -> AsyncIterator[Interruption[CancelScope]]:
    """Listen to Ctrl-C and SIGTERM for as long as the block lasts."""
    interruption = Interruption(CancelScope())
    with open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with create_task_group() as tasks:
            tasks.start_soon(interruption.listen, signals)
            yield interruption
            tasks.cancel_scope.cancel()


async def written(
    client: Client, assignment: Assignment, show: Show, interruption: Interruption[CancelScope], ask: Ask | None
) -> Outcome:
    """Have the report written and return what came of it.

    Ctrl-C asks, where there is somebody to ask, and otherwise cancels the generation as SIGTERM does, so that nothing
    more is spent; so does whatever else ends this early. Raises what the client raises.
    """
    topic_id = await _ordered(client, assignment, interruption)
    if topic_id is None:
        return Outcome(interruption.exit_code)
    watch = client.watch(topic_id, text=show.live, outages=True)
    settled = False
    try:
        with show:
            outcome = await attended(client, topic_id, watch, show, interruption, ask)
        settled = outcome.left or outcome.status is not None
    finally:
        if not settled:  # nobody waits for the report any more, so nothing more is spent on it
            with move_on_after(CANCEL_SECONDS, shield=True), suppress(ClientError):
                await client.cancel(topic_id)
    return outcome


async def attended(
    client: Client, topic_id: int, watch: Watch[Event], show: Show, interruption: Interruption[CancelScope],
    ask: Ask | None,
) -> Outcome:  # fmt: skip
    """Follow a report to its end, and ask at each Ctrl-C what is to become of it."""
    while True:
        with _until(interruption):
            return await _concluded(client, await show.follow(watch))
        wish = Wish.CANCEL
        if ask and interruption.exit_code == 128 + signal.SIGINT:
            show.pause()
            wish = ask(topic_id)
        if wish is not Wish.GO_ON:
            return Outcome(interruption.exit_code, topic_id=topic_id, left=wish is Wish.LEAVE)
        interruption.exit_code = 0
        show.go_on()


def _until(interruption: Interruption[CancelScope]) -> CancelScope:
    """Return the scope of what comes next: it ends with a signal, or is over where one has come already."""
    interruption.scope = CancelScope()
    if interruption.exit_code:
        interruption.scope.cancel()
    return interruption.scope


async def _ordered(client: Client, assignment: Assignment, interruption: Interruption[CancelScope]) -> int | None:
    """Start the generation and return its topic; None where that was interrupted. Leaves no topic that is refused."""
    topic_id: int | None = None
    with _until(interruption):
        topic = await client.add_topic(assignment.topic, plan=assignment.plan, language=assignment.language)
        topic_id = topic.id
        refused: LonghandProblem | None = None
        try:
            await client.generate(
                topic_id, instructions=assignment.instructions, model=assignment.model, mode=assignment.mode
            )
        except LonghandProblem as problem:
            refused = problem
        if refused is not None:
            with suppress(ClientError):
                await client.delete_topic(topic_id)
            raise refused
        return topic_id
    if topic_id is not None:  # the server may have taken the order all the same
        with move_on_after(CANCEL_SECONDS, shield=True), suppress(ClientError):
            await client.cancel(topic_id)
    return None


async def _concluded(client: Client, status: Status) -> Outcome:
    """Fetch the report of a generation that has ended."""
    if status.status != "completed" or status.artifact_id is None:
        return Outcome(FAILED, status)
    return Outcome(0, status, (await client.download(status.artifact_id)).encode())


def told(outcome: Outcome, show: Show, target: str | None, *, as_json: bool) -> int:
    """Say how it ended, and return the exit code. Raises NotWritten where the report failed."""
    status = outcome.status
    if as_json:
        print(encoded({"file": target, "left": outcome.left} | (plain(status) if status else {})))
    if outcome.left:
        show.say(f"It goes on without you. 'longhand watch {outcome.topic_id}' follows it.")
    elif status is None:
        show.say("Cancelled. Nothing was written.")
    elif target is None:
        raise NotWritten(summary(status))
    else:
        show.say(f"Wrote {target}: {summary(status)}")
    return outcome.exit_code
