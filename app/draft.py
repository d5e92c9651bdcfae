"""A report while it is written: its progress, what is kept of it, what of it is shown."""

import logging
from collections.abc import Callable
from dataclasses import replace

from anyio import Event, Lock, current_time

from app.errors import DatabaseFailed
from app.job import Job
from app.models import CallId, Generation, Mode, Phase, later
from app.prompts import conclusion
from app.queries import texts
from app.queries.texts import KeptStrand, Piece
from app.report import HeadingCounter, progress_percent, sections, sections_done
from app.status import StatusMap
from app.store import Store
from app.text import ReportText, Strand

log = logging.getLogger("longhand.generate")

CHECKPOINT_CHARACTERS = 4096
"""Text is kept in the store when so many characters have come, or after the setting's seconds."""

PUBLISH_SECONDS = 0.125
"""Growing text is shown at most this often, so that a waiting reader is not woken for each word."""

UNWATCHED_SECONDS = 1.0
"""How often it is shown where nobody waits for it: the next poll finds it no older."""

RATE_SECONDS = 2.0
"""How long text must have come before its rate says when the report will be done."""


class Draft:
    """The text of a generation in hand.

    Promises:
    - The job's generation holds the progress so far whenever it is shown or kept, and when a call has ended.
    - Text is kept in the store as it comes: after `checkpoint_seconds` or 4,096 characters at the latest, and before
      any reader sees it. A checkpoint that cannot be written is tried again when the next is due.
    - `unkept_pieces` is what the store does not hold yet, for whoever records the end.
    """

    def __init__(
        self, job: Job, text: ReportText, store: Store, statuses: StatusMap, checkpoint_seconds: float
    ) -> None:
        self.text = text
        self._job = job
        self._store = store
        self._statuses = statuses
        self._checkpoint_seconds = checkpoint_seconds
        self._headings = HeadingCounter()
        self._counted = 0
        self._phase = Phase.PREPARING
        self._retry_at: str | None = None
        self._tried_at = self._shown_at = current_time()
        self._writing_since: float | None = None
        self._had = text.characters
        self._unkept = self._untried = 0
        self._unseen = False
        self._takes_text = True
        self._keeping = Lock()
        self._calls: dict[CallId, Callable[[], int | None]] = {}
        self.first_text = Event()
        job.text, job.publish = text, self
        statuses.show_text(job.generation, text)
        self._measure()

    async def piece(self, strand: Strand, piece: str) -> None:
        """Take in a piece of a strand's text. Raises Superseded."""
        now = current_time()
        if self._writing_since is None:
            self._writing_since = now
            self.first_text.set()
        strand.add(piece)
        self._unkept += len(piece)
        self._untried += len(piece)
        self._unseen = True
        show = self._phase is not Phase.WRITING or now - self._shown_at >= self._interval
        if self._overdue or (show and self._is_awaited):
            await self.keep()
        if show:
            self._unseen = False
            self.show(Phase.WRITING)

    async def publish_in_a_lull(self) -> None:
        """Show and keep text that came too soon for either, or before its reader did, when none has come since.

        Raises nothing: what is wrong with a text, or with who owns it, the job finds out by itself.
        """
        try:
            if self._overdue or self._is_awaited:
                await self.keep()
        except Exception:  # noqa: BLE001 - one bad text must not cancel its siblings
            self._job.publish = None
            return
        if not self._job.settled.is_set():  # it may have ended meanwhile
            self._unseen = False
            self.show_again()

    @property
    def in_a_lull(self) -> bool:
        """Whether something waits to be shown or kept, and no text has come for a while that would take it along."""
        waiting = self._unseen or self._overdue or self._is_awaited
        return waiting and current_time() - self._shown_at >= self._interval

    @property
    def _interval(self) -> float:
        watched = self._statuses.is_watched(self._job.generation.topic_id)
        return PUBLISH_SECONDS if watched else UNWATCHED_SECONDS

    @property
    def _overdue(self) -> bool:
        """Whether text has waited to be kept for as long as it may."""
        too_long = self._unkept > 0 and current_time() - self._tried_at >= self._checkpoint_seconds
        return too_long or self._untried >= CHECKPOINT_CHARACTERS

    @property
    def _is_awaited(self) -> bool:
        """Whether a reader waits for text to be kept; where the database fails, the next checkpoint is early enough."""
        return self._unkept > 0 and self._takes_text and self._statuses.has_readers(self._job.generation.topic_id)

    def begin_call(self, strand: Strand, call_id: CallId, output: Callable[[], int | None]) -> None:
        """A call on a strand begins; `output` tells its output tokens so far, which each checkpoint writes down."""
        self._calls[call_id] = output
        strand.begin_call()

    def end_call(self, strand: Strand, call_id: CallId, *, whole: bool) -> None:
        """A call on a strand has ended: with a whole answer, or broken off."""
        del self._calls[call_id]
        strand.end_call(whole=whole)
        self._measure()

    async def finished(self, strand: Strand) -> None:
        """A strand is whole. Raises Superseded."""
        strand.done = True
        self.first_text.set()  # it may have been whole before this attempt, and then no text comes
        await self.keep()
        self.show_again()

    @property
    def writing(self) -> bool:
        """Whether text is coming."""
        return self._phase is Phase.WRITING

    def waited(self) -> None:
        """Claude is waited for no longer; what comes next is a call."""
        if self._phase is Phase.WAITING:
            self.show(Phase.PREPARING)

    def saving(self) -> None:
        """The text is whole and is being saved."""
        self.show(Phase.SAVING)

    def show_again(self) -> None:
        """Show what has changed of the generation."""
        self.show(self._phase, self._retry_at)

    def show(self, phase: Phase, retry_at: str | None = None) -> None:
        """Show how far the report is."""
        self._measure()
        self._phase, self._retry_at = phase, retry_at
        self._shown_at = current_time()
        self._statuses.mark_progress(self._job.generation, phase, self._estimated_completion(), retry_at)

    async def keep(self) -> None:
        """Keep in the store what it does not hold yet, unless the database fails. Raises Superseded."""
        async with self._keeping:  # strands that are written side by side keep their text in turn
            self._measure()
            self._tried_at, self._untried = current_time(), 0
            pieces, characters = unkept_pieces(self.text), self._unkept
            outputs = {call_id: tokens for call_id, output in self._calls.items() if (tokens := output()) is not None}
            try:
                await self._store.write(texts.keep_text, self._job.generation, pieces, outputs)
            except DatabaseFailed:
                self._takes_text = False
                log.warning(
                    "[BACKGROUND] Checkpoint not written topic=%s generation=%s",
                    self._job.generation.topic_id, self._job.generation.id, exc_info=True,
                )  # fmt: skip
            else:
                self._takes_text = True
                self._unkept -= characters  # more may have come meanwhile
                mark_kept(self.text, pieces)

    def _measure(self) -> None:
        """Count what is written into the job's generation."""
        generation = self._job.generation
        characters = self.text.characters
        self._job.generation = replace(
            generation,
            characters=characters,
            sections_done=self._sections_done(),
            progress_percent=progress_percent(characters, generation.expected_characters),
        )

    def _sections_done(self) -> int:
        generation = self._job.generation
        if generation.mode is Mode.SECTIONS:
            return sum(strand.done for strand in self.text.strands if strand.number < generation.sections_total)
        text = self.text.strands[0].text
        self._headings.feed(text.since(self._counted))
        self._counted = text.length
        return sections_done(self._headings.headings, generation.sections_total)

    def _estimated_completion(self) -> str | None:
        """Return when the report will be done at the rate so far; None until there is a rate, or past the estimate."""
        elapsed = 0.0 if self._writing_since is None else current_time() - self._writing_since
        came = self._job.generation.characters - self._had
        left = self._job.generation.expected_characters - self._job.generation.characters
        if elapsed < RATE_SECONDS or came <= 0 or left <= 0:
            return None
        return later(left * elapsed / came)


def report_text(generation: Generation, kept: list[KeptStrand]) -> ReportText:
    """Return a report's text as the store holds it: one strand, or one for each section, closing section included.

    Of a report that is to end now, no section is there that was not begun.
    """
    if generation.mode is Mode.SINGLE:
        headings = {0: ""}
    else:
        headings = dict(enumerate([*sections(generation.plan), conclusion(generation.language)]))
    found = {strand.section: strand for strand in kept}
    planned = () if generation.finish and found else range(max(generation.sections_total, 1))
    strands = []
    for number in sorted({*planned, *found} & set(headings)):
        strand = found.get(number, KeptStrand(number, "", done=False, seams=()))
        strands.append(Strand(number, headings[number], strand.text, done=strand.done, seams=strand.seams))
    return ReportText(generation.topic, strands)


def unkept_pieces(text: ReportText) -> list[Piece]:
    """Return what the store does not hold yet of each strand in which something was written."""
    return [
        Piece(strand.number, strand.kept, strand.text.since(strand.kept), strand.done, tuple(strand.seams))
        for strand in text.strands
        if strand.written and (strand.kept < strand.text.length or strand.done is not strand.kept_done)
    ]


def mark_kept(text: ReportText, pieces: list[Piece]) -> None:
    """Note that the store holds these pieces."""
    strands = {strand.number: strand for strand in text.strands}
    for piece in pieces:
        strands[piece.section].kept = piece.start + len(piece.text)
        strands[piece.section].kept_done = piece.done
