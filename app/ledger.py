"""The ledger: every call to Claude has a row, opened before the call and closed whatever happens to it."""

import logging
from collections.abc import Callable
from dataclasses import asdict, replace

from anyio import CancelScope, current_time
from opentelemetry.trace import SpanKind

from app.claude import Claude
from app.draft import Draft
from app.errors import DatabaseFailed
from app.job import Job
from app.metrics import Metrics
from app.models import CallId, Phase, Tokens
from app.prompts import Prompt
from app.queries import usage
from app.queries.usage import CallEnd, CallState
from app.spans import Attributes, span
from app.store import Store
from app.text import Strand

log = logging.getLogger("longhand.generate")

BYTES_A_TOKEN = 4
"""About how many bytes of UTF-8 a token has, for calls whose end was never told."""


class Call:
    """One call to Claude for a strand of a draft; listens to it, and tells `taken` when Claude has taken it.

    Promises: its row is opened before anything is asked of Claude, holds what Claude has told so far even after a kill,
    and is closed as completed, failed, cancelled or interrupted. Where Claude never told the final count, the output is
    estimated from the text that came (after a kill: that was kept), and the row says so. What the database does not
    take at the end of a call stays with the job, for `settle_calls`.
    """

    def __init__(
        self, job: Job, draft: Draft, strand: Strand, store: Store, metrics: Metrics, taken: Callable[[], None]
    ) -> None:
        self._job = job
        self._draft = draft
        self._strand = strand
        self._store = store
        self._metrics = metrics
        self._taken = taken
        self._tokens = Tokens()
        self._request_id: str | None = None
        self._call_id: CallId | None = None
        self._thinks = False
        self._told_all = False
        self._bytes = self._characters = 0
        self._began = current_time()
        self._first_at: float | None = None

    async def run(self, claude: Claude, prompt: Prompt) -> str:
        """Let Claude write, and return why it stopped. Raises a Failure, or Superseded."""
        model = self._job.generation.model
        asked = {"gen_ai.provider.name": "anthropic", "gen_ai.operation.name": "chat", "gen_ai.request.model": model}
        with span("claude", SpanKind.CLIENT, asked) as current:
            try:
                return await self._run(claude, prompt)
            finally:
                current.set_attributes(self._told())

    async def _run(self, claude: Claude, prompt: Prompt) -> str:
        generation = self._job.generation
        self._call_id = await self._store.write(usage.open_call, generation, generation.kind)
        self._began = current_time()
        self._draft.begin_call(self._strand, self._call_id, self.output)
        state, stop_reason = None, None
        try:
            stop_reason = await claude.write(prompt, self)
            state = CallState.COMPLETED
        except Exception as error:
            state = CallState.FAILED
            self._request_id = self._request_id or getattr(error, "request_id", None)
            raise
        finally:
            self._draft.end_call(self._strand, self._call_id, whole=stop_reason is not None)
            with CancelScope(shield=True):  # what it cost is told whatever happens; the store bounds the wait
                await self._close(state, stop_reason)
        return stop_reason

    def connected(self, request_id: str | None) -> None:
        self._request_id = request_id
        self._taken()
        self._log("Claude has taken the request", f" request={request_id}")

    def thinking(self) -> None:
        if not self._draft.writing and not self._thinks:
            self._thinks = True
            self._draft.show(Phase.THINKING)

    async def counted(self, tokens: Tokens, *, final: bool) -> None:
        self._tokens = tokens
        self._told_all = final
        self._show_tokens()
        assert self._call_id is not None
        try:
            await self._store.write(usage.count_call, self._call_id, self._request_id, tokens)
        except DatabaseFailed:
            log.warning("[BACKGROUND] Ledger row %s not updated", self._call_id, exc_info=True)

    async def piece(self, text: str) -> None:
        if self._first_at is None:
            self._first_at = current_time()
            model = self._job.generation.model
            self._metrics.first_text_seconds.labels(model).observe(self._first_at - self._began)
            self._log("First text", f" after={self._first_at - self._began:.1f}s")
        self._bytes += len(text.encode())
        self._characters += len(text)
        await self._draft.piece(self._strand, text)

    async def _close(self, state: CallState | None, stop_reason: str | None) -> None:
        """Close the row; without a state the call was cut off: by the server's stop, by the user or by a sibling."""
        stopped = self._job.scope.cancel_called and not self._job.cancel_requested
        cut = CallState.INTERRUPTED if stopped else CallState.CANCELLED
        self._tokens = replace(self._tokens, output=self.output())
        self._show_tokens()
        end = CallEnd(
            state=state or cut,
            request_id=self._request_id,
            stop_reason=stop_reason,
            tokens=self._tokens,
            estimated=not self._told_all and self._tokens != Tokens(),
            latency_ms=round((current_time() - self._began) * 1000),
            first_token_ms=None if self._first_at is None else round((self._first_at - self._began) * 1000),
        )
        self._count(end.state)
        assert self._call_id is not None
        self._job.unclosed.append((self._call_id, end))
        try:
            await settle_calls(self._job, self._store)
        except DatabaseFailed:
            log.warning("[BACKGROUND] Ledger row %s not closed yet", self._call_id, exc_info=True)

    def _count(self, state: CallState) -> None:
        """Count the call, its tokens, and how fast its text came."""
        model = self._job.generation.model
        self._metrics.calls.labels(model, state).inc()
        for kind, count in asdict(self._tokens).items():
            self._metrics.tokens.labels(model, kind).inc(count or 0)
        seconds = 0.0 if self._first_at is None else current_time() - self._first_at
        if seconds > 0:
            self._metrics.speed.labels(model).observe(self._characters / seconds)

    def _told(self) -> Attributes:
        """Return what a trace shows of the call, as far as it is known."""
        known = {
            "anthropic.request.id": self._request_id,
            "gen_ai.usage.input_tokens": self._tokens.input,
            "gen_ai.usage.output_tokens": self._tokens.output,
        }
        return {name: value for name, value in known.items() if value is not None}

    def output(self) -> int | None:
        """Return the output tokens so far: as Claude told them, or estimated; None before it told of any."""
        told = self._tokens.output
        return told if told is None or self._told_all else max(told, self._bytes // BYTES_A_TOKEN)

    def _show_tokens(self) -> None:
        """Count this call into the generation's tokens, in the place of what it counted before."""
        self._job.count(self, self._tokens)

    def _log(self, step: str, more: str = "") -> None:
        generation = self._job.generation
        log.info("[BACKGROUND] %s topic=%s generation=%s%s", step, generation.topic_id, generation.id, more)


async def settle_calls(job: Job, store: Store) -> None:
    """Close the rows of calls that have ended, unless that is done. Raises DatabaseFailed: try again later."""
    while job.unclosed:
        ended = job.unclosed.pop()
        try:
            await store.write(usage.close_call, *ended)
        except BaseException:
            job.unclosed.append(ended)
            raise
