"""The life of one generation: `produce` tells the story, `generate` gives the guarantee."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

from anyio import Semaphore, create_task_group, move_on_after
from opentelemetry.trace import Tracer

from app import logs
from app.causes import failure_of, leaves
from app.claude import Claude
from app.draft import Draft, report_text, unkept_pieces
from app.errors import ClaudeStream, Refused, Superseded
from app.files import Files
from app.gate import Gate
from app.job import Job, count_end
from app.ledger import settle_calls
from app.metrics import Metrics
from app.models import Generation, Mode, StatusName, now
from app.patience import Limits
from app.prompts import closing_prompt, conclusion, finish_prompt, question, report_prompt, section_prompt
from app.queries import artifacts, generations, texts
from app.queries.artifacts import Version
from app.queries.texts import Piece
from app.redact import Redactor
from app.report import filename
from app.status import StatusMap
from app.store import Store
from app.text import ReportText, Strand
from app.writer import Writer

log = logging.getLogger("longhand.generate")

FINAL_WRITE_SECONDS = 10.0
"""How long the end of a generation may take to be recorded while it is being cancelled."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a generation works with."""

    store: Store
    files: Files
    claude: Claude
    gate: Gate
    statuses: StatusMap
    limits: Limits
    metrics: Metrics = field(default_factory=Metrics)
    tracer: Tracer | None = None
    redact: Redactor = field(default_factory=Redactor)


async def generate(job: Job, tools: Tools) -> None:
    """Run a generation to its end and record it.

    Promises:
    - Success, failure, time-out and cancellation all end here, each with its outcome in the store and in the status
      map; no exception leaves but cancellation, and that only after it was recorded.
    - Whatever does not end as completed leaves no file behind, but the partial report that a cancel asked to keep.
    - When the store cannot be told, the status map shows the end all the same, and `job.unrecorded` is set.
    """
    completed: Generation | None = None  # what stays if we fail or are cancelled below
    try:
        completed = await produce(job, tools)
    # The job's boundary: one bad topic must not cancel its siblings. A section may fail while another is cancelled.
    except* Exception as errors:  # noqa: BLE001
        note_failure(job, errors, tools.redact)
    finally:
        with move_on_after(FINAL_WRITE_SECONDS, shield=True):
            await conclude(job, completed, tools)
        show_end(job, completed, tools)


async def produce(job: Job, tools: Tools) -> Generation:
    """Write the report and save it; returns the completed generation."""
    draft = await begin(job, tools)
    writer = Writer(job, draft, tools.store, tools.claude, tools.gate, tools.limits, tools.metrics)
    with job.writing:
        if not job.finish_requested:
            await write(job, draft, writer, tools.limits.section_concurrency)
    if job.finish_requested:
        await finish(job, draft, writer)

    draft.saving()
    await settle_calls(job, tools.store)
    generation, text = whole(job), f"{draft.text}\n"
    saved = await tools.files.save(generation.topic_id, generation.id, text)
    version = Version(saved, filename(generation.topic), generation.partial)
    # A cancel from here on either finds the report completed or has its file removed by `conclude`.
    return await tools.store.write(artifacts.save_report, generation, question(generation), text, version)


async def begin(job: Job, tools: Tools) -> Draft:
    """Wait for a place to run, claim the generation and take up what is written of it."""
    await job.place.wait()
    tools.metrics.queue_seconds.observe(perf_counter() - job.accepted_at)
    if job.generation.status is StatusName.QUEUED:
        job.generation = await tools.store.write(generations.claim_generation, job.generation)
        tools.statuses.mark_generating(job.generation)
    generation = job.generation
    logs.bind(attempt=generation.attempt)
    kept = await tools.store.read(texts.kept_strands, generation.id) if generation.characters else []
    text = report_text(generation, kept)
    if generation.resumes > tools.limits.max_resumes and not is_whole(text, generation):
        raise ClaudeStream
    draft = Draft(job, text, tools.store, tools.statuses, tools.limits.checkpoint_seconds)
    log.info(
        "[BACKGROUND] Report generation started topic=%s generation=%s attempt=%s model=%s characters=%s",
        generation.topic_id, generation.id, generation.attempt, generation.model, text.characters,
    )  # fmt: skip
    return draft


async def write(job: Job, draft: Draft, writer: Writer, at_once: int) -> None:
    """Write the whole report: in one go, or its sections side by side, begun in their order."""
    strands = [strand for strand in draft.text.strands if not strand.done]
    if job.generation.mode is Mode.SINGLE:
        for strand in strands:
            await writer.write(strand, report_prompt(job.generation))
        return
    places = Semaphore(at_once)

    async def write_section(strand: Strand) -> None:
        await writer.write(strand, section_prompt(job.generation, strand.heading))
        places.release()

    async with create_task_group() as task_group:
        for number, strand in enumerate(strands):
            await places.acquire()
            task_group.start_soon(write_section, strand)
            if number == 0:  # its first text says that the brief is cached; the others then read it from there
                await draft.first_text.wait()


async def finish(job: Job, draft: Draft, writer: Writer) -> None:
    """End the report now: keep what is written, close what is in hand and write a closing section."""
    text = draft.text
    if is_whole(text, job.generation):
        return
    await draft.keep()
    job.generation = replace(job.generation, partial=True)
    if job.generation.mode is Mode.SINGLE:
        await writer.write(text.strands[0], finish_prompt(job.generation))
        return
    *begun, closing = closed_early(text.strands, job.generation)
    text.strands[:] = begun
    async with create_task_group() as task_group:
        for strand in begun:
            if not strand.done:
                task_group.start_soon(writer.write, strand, finish_prompt(job.generation, strand.heading))
    prompt = closing_prompt(job.generation, str(text))
    text.strands.append(closing)
    await writer.write(closing, prompt)


def is_whole(text: ReportText, generation: Generation) -> bool:
    """Whether nothing is left to write: every section, or the closing section of a report that ends early."""
    done = {strand.number for strand in text.strands if strand.done}
    planned = set(range(generation.sections_total)) if generation.mode is Mode.SECTIONS else {0}
    return len(done) == len(text.strands) and (done >= planned or generation.sections_total in done)


def closed_early(strands: list[Strand], generation: Generation) -> list[Strand]:
    """Return the sections that were begun and the closing section, which an earlier attempt may have begun as well."""
    begun = [strand for strand in strands if strand.written and strand.number < generation.sections_total]
    closing = [strand for strand in strands if strand.number == generation.sections_total]
    return begun + (closing or [Strand(generation.sections_total, conclusion(generation.language))])


def whole(job: Job) -> Generation:
    """Return the generation with all its sections done, unless it ended early."""
    generation = job.generation
    return generation if generation.partial else replace(generation, sections_done=generation.sections_total)


def note_failure(job: Job, errors: ExceptionGroup[Exception], redact: Redactor) -> None:
    """Note why a generation failed, and log it, unless somebody else owns it now. No secret stays in the message."""
    found = list(leaves(errors))
    if any(isinstance(leaf, Superseded) for leaf in found):
        job.superseded = True
        return
    error = next((leaf for leaf in found if isinstance(leaf, Refused)), found[0])  # its text must not stay
    job.failure = failure_of(error)
    job.failure.args = (redact(str(job.failure)),)
    log.error(
        "[BACKGROUND] Report generation failed topic=%s generation=%s error=%s",
        job.generation.topic_id, job.generation.id, job.failure, exc_info=error,
    )  # fmt: skip


async def conclude(job: Job, completed: Generation | None, tools: Tools) -> None:
    """Record how a generation ended, unless that is done."""
    if completed is None and not job.superseded:
        job.unrecorded = True  # what stays if the time is up below
        await discard_file(job.generation, tools)
        await record(job, tools)


async def record(job: Job, tools: Tools) -> None:
    """Write into the store how a generation ended that is not completed; `job.unrecorded` says whether that is left."""
    job.unrecorded = True
    try:
        await settle_calls(job, tools.store)
        await write_end(job, tools)
    except Superseded:
        job.superseded = True
    except Exception:  # the store is away, or refuses this one: that must not cancel its siblings
        log.exception(
            "[BACKGROUND] End of generation not recorded yet topic=%s generation=%s",
            job.generation.topic_id, job.generation.id,
        )  # fmt: skip
        return
    job.unrecorded = False


async def write_end(job: Job, tools: Tools) -> None:
    """End a generation as failed or cancelled, or put it back in the queue where neither is so."""
    pieces = unkept_pieces(job.text) if job.text else []
    if job.failure is not None:
        job.generation = await tools.store.write(generations.fail_generation, job.generation, job.failure, pieces)
        return
    if job.generation.status is not StatusName.QUEUED and not job.cancel_requested:
        job.generation = await tools.store.write(generations.put_back_generation, job.generation, pieces)
    if job.cancel_requested:  # from the start, or while it was put back
        job.generation = await write_cancel(job.generation, job.text, pieces, tools, keep_partial=job.keep_partial)


async def write_cancel(
    generation: Generation, text: ReportText | None, pieces: Sequence[Piece], tools: Tools, *, keep_partial: bool
) -> Generation:
    """End a generation as cancelled, with the partial report if that was asked for and there is text.

    `text` is None where this attempt had not begun, `pieces` what the store does not hold yet. Raises DatabaseFailed,
    or Superseded.
    """
    version = await save_partial(generation, text, tools) if keep_partial else None
    if version is None:
        return await tools.store.write(generations.cancel_generation, generation, pieces)
    try:
        return await tools.store.write(artifacts.save_partial, generation, pieces, version)
    except BaseException:
        with move_on_after(FINAL_WRITE_SECONDS, shield=True):
            await discard_file(generation, tools)
        raise


async def save_partial(generation: Generation, text: ReportText | None, tools: Tools) -> Version | None:
    """Save what was written so far, by an earlier attempt where this one had not begun.

    None when there is nothing, or no file can be written: the cancel holds all the same. Raises DatabaseFailed.
    """
    text = text or report_text(generation, await tools.store.read(texts.kept_strands, generation.id))
    if not text.characters:
        return None
    try:
        saved = await tools.files.save(generation.topic_id, generation.id, f"{text}\n")
    except OSError:
        _log(generation, "Partial report not saved", logging.ERROR, error=True)
        return None
    return Version(saved, filename(generation.topic), partial=True)


def show_end(job: Job, completed: Generation | None, tools: Tools) -> None:
    """Show how a generation ended, recorded or not; it will be recorded with the time that is shown."""
    if completed is not None:
        _log(job.generation, "Report generation completed")
        tools.statuses.mark_completed(completed)
        count_end(completed, StatusName.COMPLETED, tools.metrics)
        return
    if job.superseded:
        _log(job.generation, "Report generation was taken over", logging.WARNING)
        return
    if job.failure is not None or job.cancel_requested:
        job.generation = replace(job.generation, completed_at=job.generation.completed_at or now())
    if job.failure is not None:
        tools.statuses.mark_failed(job.generation, job.failure)
        count_end(job.generation, StatusName.FAILED, tools.metrics, job.failure.code)
    elif job.cancel_requested:
        _log(job.generation, "Report generation cancelled")
        tools.statuses.mark_cancelled(job.generation)
        count_end(job.generation, StatusName.CANCELLED, tools.metrics)
    elif not job.unrecorded:
        tools.statuses.mark_queued(job.generation)


async def discard_file(generation: Generation, tools: Tools) -> None:
    """Remove what an attempt may have left of the report's file."""
    try:
        await tools.files.discard(generation.topic_id, generation.id)
    except OSError:
        _log(generation, "File not removed", logging.ERROR, error=True)


def _log(generation: Generation, what: str, level: int = logging.INFO, *, error: bool = False) -> None:
    names = generation.topic_id, generation.id
    log.log(level, "[BACKGROUND] %s topic=%s generation=%s", what, *names, exc_info=error)
