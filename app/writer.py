"""Writes strands: calls Claude until a strand is whole, and tries again as long as patience lasts."""

import logging
from contextlib import nullcontext
from dataclasses import replace

from anyio import fail_after, sleep

from app.claude import Claude
from app.draft import Draft
from app.errors import ClaudeLimited, ClaudeRequest, ClaudeStream, Failure, Refused
from app.gate import Gate
from app.job import Job
from app.ledger import Call
from app.metrics import Metrics
from app.models import Generation, Mode, Phase, later
from app.patience import Limits, Patience, Waiting
from app.prompts import Prompt
from app.store import Store
from app.text import Strand

log = logging.getLogger("longhand.generate")

WHOLE = frozenset({"end_turn", "stop_sequence"})
WINDOW_FULL = "model_context_window_exceeded"
CUT_SHORT = frozenset({"max_tokens", WINDOW_FULL, "pause_turn"})
"""Why Claude stops: the answer is whole, or it is to be gone on from."""

BRIEF_SECONDS = 2.0
"""So short a pause keeps the generation's place to run."""

NOTICE = "> This {text} ends here: it was gone on from as often as is allowed, and the rest is not written."
NOTICE_KOREAN = "> 이 {text} 여기서 끝나요. 이어 쓸 수 있는 횟수를 다 써서 뒷부분은 쓰지 못했어요."


class Writer:
    """Writes the strands of one generation.

    Promises:
    - A strand goes on from what is written of it: after a break, a time-out in mid-report, an answer that was cut
      short, or a restart. Nothing that stands is asked for again.
    - While all its strands wait for longer than `BRIEF_SECONDS`, its place is given back. Waiting because Claude is
      limiting uses up no attempt.
    """

    def __init__(
        self, job: Job, draft: Draft, store: Store, claude: Claude, gate: Gate, limits: Limits, metrics: Metrics
    ) -> None:
        self._job = job
        self._draft = draft
        self._store = store
        self._claude = claude
        self._gate = gate
        self._limits = limits
        self._metrics = metrics
        self._waiting = Waiting()

    async def write(self, strand: Strand, prompt: Prompt) -> None:
        """Write a strand until it is whole. Raises a Failure when patience is at its end, or Superseded."""
        with self._job.place.writing():
            await self._write(strand, prompt)
        self._show_waiting()  # where all others wait

    async def _write(self, strand: Strand, prompt: Prompt) -> None:
        patience = Patience(self._limits, self._waiting)
        continuations = 0
        stop_reason = ""
        while not strand.done:
            before = strand.written
            try:
                stop_reason = await self._call(strand, prompt)
                if stop_reason == "refusal":
                    raise Refused
                if stop_reason in WHOLE and strand.written:
                    await self._draft.finished(strand)
                elif stop_reason in CUT_SHORT and strand.written > before:
                    continuations += 1
                    patience.forget()
                    if continuations > self._limits.max_continuations:
                        await self._end_partial(strand)
                else:
                    raise ClaudeStream
            except ClaudeRequest:
                if stop_reason != WINDOW_FULL or not strand.written:
                    raise
                await self._end_partial(strand)  # with what is written, the window is full before Claude begins
            except Failure as failure:
                await self._pause(strand, patience, failure, brought_text=strand.written > before)

    async def _call(self, strand: Strand, prompt: Prompt) -> str:
        """Ask Claude once, when it is our turn: in a place to run, and behind the gate."""
        await self._job.place.wait()
        while not self._gate.free:
            await self._wait_at_the_gate()
            self._draft.waited()
            await self._job.place.wait()
        with self._gate.turn() as taken:  # no await since it was found free: nobody else has the turn
            call = Call(self._job, self._draft, strand, self._store, self._metrics, taken)
            return await call.run(self._claude, prompt.after(str(strand.text) if strand.written else ""))

    async def _wait_at_the_gate(self) -> None:
        """Wait while Claude is limiting, without a place to run."""
        left = max(self._limits.max_wait - self._waiting.seconds, 0)
        try:
            with self._job.place.pausing(), self._waiting.one(), fail_after(left):
                while not self._gate.free:
                    self._show_waiting()
                    await self._gate.change()
        except TimeoutError as error:
            raise ClaudeLimited from error

    def _show_waiting(self) -> None:
        """Show that Claude is waited for, where nobody writes meanwhile."""
        if self._waiting.texts and not self._job.place.granted:
            self._draft.show(Phase.WAITING, later(self._gate.seconds))

    async def _pause(self, strand: Strand, patience: Patience, failure: Failure, *, brought_text: bool) -> None:
        """Wait before the next call, or raise the failure when patience is at its end."""
        generation = self._job.generation
        has_text = self._draft.text.characters > 0
        pause = patience.after(failure, brought_text=brought_text, has_text=has_text, resumes=generation.resumes)
        if pause and pause.limiting:
            self._metrics.limited.inc()
            self._gate.close(pause.seconds)  # before any await, so that no other call starts meanwhile
        if pause is None or pause.last:
            raise failure
        if pause.limiting:
            await self._draft.keep()
            return
        goes_on = int(strand.written > 0)
        self._metrics.retries.labels(failure.code).inc()
        self._metrics.resumes.inc(goes_on)
        self._job.generation = replace(generation, retries=generation.retries + 1, resumes=generation.resumes + goes_on)
        log.warning(
            "[BACKGROUND] Trying again topic=%s generation=%s section=%s in=%.1fs after=%s",
            generation.topic_id, generation.id, strand.number, pause.seconds, failure,
        )  # fmt: skip
        await self._draft.keep()
        self._draft.show_again()
        with self._job.place.pausing() if pause.seconds > BRIEF_SECONDS else nullcontext():
            await sleep(pause.seconds)

    async def _end_partial(self, strand: Strand) -> None:
        """Close a strand that was gone on from as often as is allowed, and say so in the report."""
        strand.text.add(f"\n\n{notice(self._job.generation)}")
        self._job.generation = replace(self._job.generation, partial=True)
        await self._draft.finished(strand)


def notice(generation: Generation) -> str:
    """Return what stands at the end of a text that was gone on from as often as is allowed."""
    in_one = generation.mode is Mode.SINGLE
    if generation.language.partition("-")[0].lower() == "ko":
        return NOTICE_KOREAN.format(text="보고서는" if in_one else "절은")
    return NOTICE.format(text="report" if in_one else "section")
