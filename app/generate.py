"""The life of one generation: `produce` tells the story, `generate` gives the guarantee."""

import logging
from dataclasses import dataclass

from anyio import move_on_after

from app.claude import Claude
from app.draft import Draft, settle_call
from app.errors import ClaudeStream, Refused, Superseded, failure_of
from app.files import Files
from app.job import Job
from app.models import Generation, StatusName
from app.prompts import question, report_prompt
from app.queries import artifacts, generations
from app.report import filename
from app.status import StatusMap
from app.store import Store

log = logging.getLogger("longhand.generate")

FINAL_WRITE_SECONDS = 10.0
"""How long the end of a generation may take to be recorded while it is being cancelled."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a generation works with."""

    store: Store
    files: Files
    claude: Claude
    statuses: StatusMap


async def generate(job: Job, tools: Tools) -> None:
    """Run a generation to its end and record it.

    Promises:
    - Success, failure, time-out and cancellation all end here, each with its outcome in the store and in the status
      map; no exception leaves but cancellation, and that only after it was recorded.
    - Whatever does not end as completed leaves no file behind.
    - When the store cannot be told, the status map shows the end all the same, and `job.unrecorded` is set.
    """
    completed: Generation | None = None  # what stays if we fail or are cancelled below
    try:
        completed = await produce(job, tools)
    except Superseded:
        job.superseded = True
    except Exception as error:  # the job's boundary: one bad topic must not cancel its siblings
        job.failure = failure_of(error)
        log.exception(
            "[BACKGROUND] Report generation failed topic=%s generation=%s error=%s",
            job.generation.topic_id, job.generation.id, job.failure,
        )  # fmt: skip
    finally:
        with move_on_after(FINAL_WRITE_SECONDS, shield=True):
            await conclude(job, completed, tools)


async def produce(job: Job, tools: Tools) -> Generation:
    """Write the report and save it; returns the completed generation."""
    await job.ticket.wait()
    if job.generation.status is StatusName.QUEUED:
        job.generation = await tools.store.write(generations.claim_generation, job.generation)
        tools.statuses.mark_generating(job.generation)
    generation = job.generation
    log.info(
        "[BACKGROUND] Report generation started topic=%s generation=%s attempt=%s model=%s",
        generation.topic_id, generation.id, generation.attempt, generation.model,
    )  # fmt: skip

    draft = Draft(job, tools.store, tools.statuses)
    stop_reason = await draft.call(tools.claude, report_prompt(generation))
    text = whole_text(draft.text, stop_reason)

    draft.saving()
    await settle_call(job, tools.store)
    saved = await tools.files.save(generation.topic_id, generation.id, text)
    # A cancel from here on either finds the report completed or has its file removed by `conclude`.
    return await tools.store.write(
        artifacts.save_report, job.generation, question(generation), text, saved, filename(generation.topic)
    )


def whole_text(text: str, stop_reason: str) -> str:
    """Return a report as it is saved. Raises Refused, or ClaudeStream for one that is cut short or empty."""
    if stop_reason == "refusal":
        raise Refused
    if stop_reason not in {"end_turn", "stop_sequence"} or not text.strip():
        raise ClaudeStream
    return text.strip() + "\n"


async def conclude(job: Job, completed: Generation | None, tools: Tools) -> None:
    """Say in the map how a generation ended, and first in the store unless that is done."""
    if completed is not None:
        log.info("[BACKGROUND] Report generation completed topic=%s generation=%s", completed.topic_id, completed.id)
        tools.statuses.mark_completed(completed)
    elif job.superseded:
        log.warning(
            "[BACKGROUND] Report generation was taken over topic=%s generation=%s",
            job.generation.topic_id, job.generation.id,
        )  # fmt: skip
    else:
        job.unrecorded = True  # what stays if the time is up below
        await discard_file(job, tools)
        await record(job, tools)
        show_end(job, tools)


async def record(job: Job, tools: Tools) -> None:
    """Write into the store how a generation ended that is not completed; `job.unrecorded` says whether that is left."""
    job.unrecorded = True
    try:
        await settle_call(job, tools.store)
        await write_end(job, tools.store)
    except Superseded:
        job.superseded = True
    except Exception:  # the store is away, or refuses this one: that must not cancel its siblings
        log.exception(
            "[BACKGROUND] End of generation not recorded yet topic=%s generation=%s",
            job.generation.topic_id, job.generation.id,
        )  # fmt: skip
        return
    job.unrecorded = False


async def write_end(job: Job, store: Store) -> None:
    """End a generation as failed or cancelled, or put it back in the queue where neither is so."""
    if job.failure is not None:
        job.generation = await store.write(generations.fail_generation, job.generation, job.failure)
        return
    if job.generation.status is not StatusName.QUEUED and not job.cancel_requested:
        job.generation = await store.write(generations.put_back_generation, job.generation)
    if job.cancel_requested:  # from the start, or while it was put back
        job.generation = await store.write(generations.cancel_generation, job.generation)


def show_end(job: Job, tools: Tools) -> None:
    """Say in the status map how a generation ended that is not completed."""
    if job.failure is not None:
        tools.statuses.mark_failed(job.generation, job.failure)
    elif job.cancel_requested:
        log.info(
            "[BACKGROUND] Report generation cancelled topic=%s generation=%s",
            job.generation.topic_id, job.generation.id,
        )  # fmt: skip
        tools.statuses.mark_cancelled(job.generation)
    elif not job.unrecorded:
        tools.statuses.mark_queued(job.generation)


async def discard_file(job: Job, tools: Tools) -> None:
    try:
        await tools.files.discard(job.generation.topic_id, job.generation.id)
    except OSError:
        log.exception(
            "[BACKGROUND] File not removed topic=%s generation=%s", job.generation.topic_id, job.generation.id
        )
