"""The runner owns the task group: it starts, queues, cancels, drains and recovers generations."""

import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from anyio import CancelScope, Lock, create_task_group, move_on_after, sleep
from anyio.abc import TaskGroup

from app import logs
from app.draft import PUBLISH_SECONDS
from app.errors import (
    DatabaseFailed,
    GenerationInProgress,
    QueueFull,
    ShuttingDown,
    TooManyGenerations,
)
from app.generate import Tools, conclude, generate, write_cancel
from app.job import Job
from app.models import Generation, Order, StatusName, Topic, TopicId, UserId
from app.queries import acceptance, generations, topics
from app.queries.acceptance import Accepted, Key
from app.settings import Settings
from app.slots import Place, Slots
from app.spans import generation_span

log = logging.getLogger("longhand.runner")

INSIST_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses between tries to record an end that the database did not take; the last one repeats."""


class Runner:
    """The owner of all generations.

    Promises:
    - `start` returns only when the generation's row is committed and its task is spawned; whatever happens to the
      caller in between, a committed row has its task.
    - At most `max_concurrent` generations run at once; the others wait, first in first out, in turn between users.
    - A failing generation leaves its siblings alone.
    - `cancel` returns when the cancel (or the end that came first) is committed; the call to Claude is closed.
    - After `drain` nothing starts; what still ran after `drain_seconds` is back in the queue for the next start.

    Invariants: start, cancel and delete of one topic take turns; a job is listed from its spawn until the store knows
    its end.
    """

    def __init__(self, task_group: TaskGroup, tools: Tools, settings: Settings) -> None:
        self._task_group = task_group
        self._tools = tools
        self._settings = settings
        self.slots = Slots(settings.max_concurrent)
        self._jobs: dict[TopicId, Job] = {}
        self._of_user: Counter[UserId] = Counter()
        self._turns: WeakValueDictionary[TopicId, Lock] = WeakValueDictionary()
        self.draining = False

    async def start(self, topic: Topic, order: Order, key: Key | None) -> Accepted:
        """Accept a generation and run it in the background.

        Raises Invalid, GenerationInProgress, IdempotencyKeyReused, TooManyGenerations, QueueFull, ShuttingDown,
        NotFound or DatabaseFailed; then nothing has happened.
        """
        async with self._turn(topic.id):
            if key and (replayed := await self._tools.store.read(acceptance.remembered, key)):
                return replayed
            place = self._take_place(topic)
            accepted = None
            try:
                status = StatusName.GENERATING if place.granted else StatusName.QUEUED
                accepted = await self._tools.store.write(
                    acceptance.accept_generation, topic.id, order, self._settings.model, status, key
                )
                # No await between the committed row and the spawn: nobody can cancel us here.
                if accepted.generation:
                    self._spawn(Job(accepted.generation, place))
            finally:
                if accepted is None or accepted.generation is None:
                    self._leave_place(topic.user_id, place)
        return accepted

    async def cancel(self, topic_id: TopicId, *, keep_partial: bool = False) -> bool:
        """Cancel a topic's unfinished generation and wait until its end is committed; False when there is none.

        `keep_partial` saves what was written so far as a partial report. Raises DatabaseFailed when the generation was
        stopped but the store could not be told yet.
        """
        async with self._turn(topic_id):
            return await self._cancel(topic_id, keep_partial=keep_partial)

    async def finish(self, topic_id: TopicId) -> bool:
        """Ask a topic's unfinished generation for an end now; False when there is none. Raises DatabaseFailed.

        The wish is committed before this returns, so it holds across a restart.
        """
        async with self._turn(topic_id):
            if not await self._tools.store.write(generations.finish_topic, topic_id):
                return False
            # No await between the committed wish and the job's being told.
            if job := self._jobs.get(topic_id):
                job.finish_requested = True
                job.writing.cancel()
            return True

    def is_finishing(self, topic_id: TopicId) -> bool:
        """Whether an end now was asked for, of what is being written of a topic."""
        job = self._jobs.get(topic_id)
        return job is not None and job.finish_requested

    async def delete(self, topic_id: TopicId) -> None:
        """Cancel what runs for a topic and delete it, rows and files. Raises DatabaseFailed."""
        async with self._turn(topic_id):
            await self._cancel(topic_id)
            with CancelScope(shield=True):  # one step: a topic that stays keeps its files, one that goes leaves none
                await self._tools.files.set_aside(topic_id)
                try:
                    owner = await self._tools.store.write(topics.delete_topic, topic_id)
                except DatabaseFailed:
                    await self._tools.files.restore(topic_id)  # noqa: ASYNC120 - shielded above
                    raise
                self._tools.statuses.mark_deleted(topic_id, owner)
                await self._tools.files.clear_trash(topic_id)  # noqa: ASYNC120 - shielded above

    async def recover(self) -> None:
        """Run again what a stopped process left unfinished, oldest first, and end deletions that it began."""
        trashed = await self._tools.files.trashed()
        existing = await self._tools.store.read(topics.existing_topics, trashed)
        for topic_id in trashed:
            await (self._tools.files.restore if topic_id in existing else self._tools.files.clear_trash)(topic_id)
        found = await self._tools.store.write(generations.recover_generations)
        for generation in found:
            self._of_user[generation.user_id] += 1
            self._spawn(Job(generation, Place(self.slots, generation.user_id)))
        if found:
            log.info("[BACKGROUND] Going on with %d unfinished generations", len(found))

    async def drain(self) -> None:
        """Refuse new work, give what runs `drain_seconds` to end, and put the rest back. Safe to call again."""
        if not self.draining:
            self.draining = True
            self._tools.statuses.close()
            for job in list(self._jobs.values()):
                if not job.place.granted:
                    job.scope.cancel()
        with move_on_after(self._settings.drain_seconds):
            await self._all_settled()
        await self.stop()

    async def stop(self) -> None:
        """Put back at once whatever still runs."""
        self.draining = True
        self._tools.statuses.close()
        for job in list(self._jobs.values()):
            job.scope.cancel()
        await self._all_settled()

    async def _all_settled(self) -> None:
        for job in list(self._jobs.values()):
            await job.settled.wait()

    async def publish_in_lulls(self) -> None:
        """For ever: show what Claude has written just before it fell silent."""
        while True:
            await sleep(PUBLISH_SECONDS)
            async with create_task_group() as task_group:
                for job in self._jobs.values():
                    if job.publish and job.publish.in_a_lull and not job.settled.is_set():
                        task_group.start_soon(job.publish.publish_in_a_lull)

    def _take_place(self, topic: Topic) -> Place:
        """Check the limits and take a ticket, in one step that nobody can come between."""
        if self.draining:
            raise ShuttingDown
        if job := self._jobs.get(topic.id):
            raise GenerationInProgress.of(topic.id, job.generation.id)
        if self._of_user[topic.user_id] >= self._settings.max_per_user:
            raise TooManyGenerations
        if self.slots.full and self.slots.waiting >= self._settings.max_queued:
            raise QueueFull
        self._of_user[topic.user_id] += 1
        return Place(self.slots, topic.user_id)

    def _leave_place(self, user_id: UserId, place: Place) -> None:
        self._of_user[user_id] -= 1
        if not self._of_user[user_id]:
            del self._of_user[user_id]
        place.close()

    def _spawn(self, job: Job) -> None:
        self._jobs[job.generation.topic_id] = job
        self._show(job.generation)
        if self.draining:
            job.scope.cancel()  # accepted while the stop began: it is put back for the next start
        self._task_group.start_soon(self._run, job, name=f"generation {job.generation.id}")

    def _show(self, generation: Generation) -> None:
        if generation.status is StatusName.QUEUED:
            self._tools.statuses.mark_queued(generation)
        else:
            self._tools.statuses.mark_generating(generation)

    async def _run(self, job: Job) -> None:
        generation, topic_id = job.generation, job.generation.topic_id
        logs.bind(topic=topic_id, generation=generation.id)  # in this task and its own; it binds the attempt itself
        attributes = {"longhand.topic_id": topic_id, "longhand.generation_id": generation.id}
        try:
            with job.scope, generation_span(self._tools.tracer, attributes):
                await generate(job, self._tools)
        finally:
            self._leave_place(job.generation.user_id, job.place)
            job.settled.set()
        if job.unrecorded:
            await self._insist(job)
        del self._jobs[topic_id]
        self._tools.statuses.forget(topic_id)

    async def _insist(self, job: Job) -> None:
        """Try to record an end until the database takes it. A stop of the server ends this; the next start runs the
        generation again."""
        pauses = iter(INSIST_SECONDS)
        while job.unrecorded:
            await sleep(next(pauses, INSIST_SECONDS[-1]))
            await conclude(job, None, self._tools)  # whole: the file, too, may have been out of reach

    async def _cancel(self, topic_id: TopicId, *, keep_partial: bool = False) -> bool:
        job = self._jobs.get(topic_id)
        if job is None:
            return self.draining and await self._cancel_put_back(topic_id, keep_partial=keep_partial)
        if not job.settled.is_set():
            job.cancel_requested = True
            job.keep_partial = keep_partial
            job.scope.cancel()
            await job.settled.wait()
        if job.unrecorded:
            raise DatabaseFailed
        return True

    async def _cancel_put_back(self, topic_id: TopicId, *, keep_partial: bool) -> bool:
        """Cancel a generation that waits for the next start; False when there is none."""
        waiting = await self._tools.store.read(generations.latest_generation, topic_id)
        if waiting is None or not waiting.status.unfinished:
            return False
        with CancelScope(shield=True):  # one step: no file without its row
            await write_cancel(waiting, None, (), self._tools, keep_partial=keep_partial)
        return True

    def _turn(self, topic_id: TopicId) -> Lock:
        """Return the lock under which start, cancel and delete of one topic take turns."""
        lock = self._turns.get(topic_id)
        if lock is None:
            lock = self._turns[topic_id] = Lock()
        return lock


@asynccontextmanager
async def open_runner(tools: Tools, settings: Settings) -> AsyncIterator[Runner]:
    """Open the task group that owns every generation, and go on with what was left unfinished; drain at the end."""
    async with create_task_group() as task_group:
        runner = Runner(task_group, tools, settings)
        await runner.recover()
        task_group.start_soon(runner.publish_in_lulls)
        yield runner
        await runner.drain()
        task_group.cancel_scope.cancel()
