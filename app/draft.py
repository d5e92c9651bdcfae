"""The text of one attempt as it arrives: its progress, its checkpoints, its row in the ledger."""

import logging
from dataclasses import replace

from anyio import CancelScope, current_time

from app.claude import Claude
from app.errors import DatabaseFailed
from app.job import Job
from app.models import CallId, Phase, Tokens, later
from app.prompts import Prompt
from app.queries import generations, usage
from app.queries.usage import CallEnd, CallState
from app.report import HeadingCounter, progress_percent, sections_done
from app.status import StatusMap
from app.store import Store

log = logging.getLogger("longhand.generate")

CHECKPOINT_SECONDS = 2.0
CHECKPOINT_CHARACTERS = 4096
"""Text is kept in the store when either has passed since it last was."""

PUBLISH_SECONDS = 0.25
"""The status shows growing text at most this often, so that a waiting reader is not woken for each word."""

RATE_SECONDS = 2.0
"""How long text must have come before its rate says when the report will be done."""


class Draft:
    """A report while it is written; listens to Claude.

    Promises:
    - Every call to Claude has a row in the ledger: opened before the call, closed whatever happens to it. What the
      database does not take at the call's end stays with the job, for `settle_call`.
    - The job's generation always holds the progress so far.
    - Text is kept in the store as it comes; a checkpoint that cannot be written is tried again with the next piece.
    """

    def __init__(self, job: Job, store: Store, statuses: StatusMap) -> None:
        self._job = job
        self._store = store
        self._statuses = statuses
        self._pieces: list[str] = []
        self._unkept: list[str] = []
        self._headings = HeadingCounter()
        self._phase = Phase.PREPARING
        self._kept_at = self._shown_at = self._called_at = current_time()
        self._text_began: float | None = None
        self._request_id: str | None = None
        self._tokens = Tokens()

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    async def call(self, claude: Claude, prompt: Prompt) -> str:
        """Let Claude write on this draft, and return why it stopped."""
        call_id = await self._store.write(usage.open_call, self._job.generation, self._job.generation.kind)
        self._called_at = current_time()
        state, stop_reason = None, None
        try:
            stop_reason = await claude.write(prompt, self)
            state = CallState.COMPLETED
        except Exception:
            state = CallState.FAILED
            raise
        finally:
            with CancelScope(shield=True):  # what was spent is told whatever happens; the store bounds the wait
                await self._close_call(call_id, state, stop_reason)
        return stop_reason

    def connected(self, request_id: str | None) -> None:
        self._request_id = request_id
        self._log("Claude has taken the request", f" request={request_id}")

    def thinking(self) -> None:
        if self._phase is not Phase.THINKING:
            self._show(Phase.THINKING)

    def counted(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._job.generation = replace(self._job.generation, tokens=tokens)

    async def piece(self, text: str) -> None:
        now = current_time()
        if self._text_began is None:
            self._text_began = now
            self._log("First text", f" after={now - self._called_at:.1f}s")
        self._pieces.append(text)
        self._unkept.append(text)
        self._headings.feed(text)
        generation = self._job.generation
        characters = generation.characters + len(text)
        self._job.generation = replace(
            generation,
            characters=characters,
            sections_done=sections_done(self._headings.headings, generation.sections_total),
            progress_percent=progress_percent(characters, generation.expected_characters),
        )
        if self._phase is not Phase.WRITING or now - self._shown_at >= PUBLISH_SECONDS:
            self._show(Phase.WRITING)
        unkept = sum(map(len, self._unkept))
        if unkept >= CHECKPOINT_CHARACTERS or now - self._kept_at >= CHECKPOINT_SECONDS:
            await self._checkpoint()

    def saving(self) -> None:
        """Show that the text is whole and is being saved."""
        self._show(Phase.SAVING)

    async def _checkpoint(self) -> None:
        self._kept_at = current_time()
        text = "".join(self._unkept)
        start = self._job.generation.characters - len(text)
        try:
            await self._store.write(generations.add_checkpoint, self._job.generation, start, text)
        except DatabaseFailed:
            log.warning("[BACKGROUND] Checkpoint not written %s", self._names, exc_info=True)
        else:
            self._unkept.clear()

    async def _close_call(self, call_id: CallId, state: CallState | None, stop_reason: str | None) -> None:
        """Close the ledger's row; without a state the call was cut off, by the user or by the server's stop."""
        cut = CallState.CANCELLED if self._job.cancel_requested else CallState.INTERRUPTED
        first = None if self._text_began is None else round((self._text_began - self._called_at) * 1000)
        end = CallEnd(
            state=state or cut,
            request_id=self._request_id,
            stop_reason=stop_reason,
            tokens=self._tokens,
            estimated=stop_reason is None,
            latency_ms=round((current_time() - self._called_at) * 1000),
            first_token_ms=first,
        )
        self._job.unclosed = call_id, end
        try:
            await settle_call(self._job, self._store)
        except DatabaseFailed:
            log.warning("[BACKGROUND] Ledger row %s not closed yet %s", call_id, self._names, exc_info=True)

    def _show(self, phase: Phase) -> None:
        self._phase = phase
        self._shown_at = current_time()
        self._statuses.mark_progress(self._job.generation, phase, self._estimated_completion())

    def _estimated_completion(self) -> str | None:
        """Return when the report will be done at the rate so far; None until there is a rate, or past the estimate."""
        generation = self._job.generation
        elapsed = 0.0 if self._text_began is None else current_time() - self._text_began
        left = generation.expected_characters - generation.characters
        if elapsed < RATE_SECONDS or left <= 0:
            return None
        return later(left * elapsed / generation.characters)

    @property
    def _names(self) -> str:
        return f"topic={self._job.generation.topic_id} generation={self._job.generation.id}"

    def _log(self, step: str, more: str = "") -> None:
        log.info("[BACKGROUND] %s %s%s", step, self._names, more)


async def settle_call(job: Job, store: Store) -> None:
    """Close the ledger's row of a call that has ended, unless that is done. Raises DatabaseFailed: try again later."""
    if job.unclosed is None:
        return
    ended, job.unclosed = job.unclosed, None
    try:
        await store.write(usage.close_call, *ended)
    except DatabaseFailed:
        job.unclosed = ended
        raise
