"""How a topic stands, as a page says it: shape, tone, badge and sentence. Pure."""

from dataclasses import dataclass

from app.models import Generation, Phase, StatusName, now, seconds_between
from app.snapshot import Snapshot
from app.words import Words, times

SHAPES = {
    "idle": ("dashed", "quiet", "page.svg"),
    "queued": ("clock", "quiet", "pen.svg"),
    "generating": ("pen", "accent", "pen.svg"),
    "waiting": ("bars", "wait", "bars.svg"),
    "completed": ("check", "ok", "check.svg"),
    "partial": ("half", "wait", "check.svg"),
    "failed": ("triangle", "bad", "triangle.svg"),
    "cancelled": ("barred", "quiet", "page.svg"),
}
"""Of each state the badge's shape, its tone, and the icon of the page."""


@dataclass(frozen=True, slots=True)
class Stand:
    """`short` is the sentence on a small window; `percent` is None where there is no bar."""

    name: str
    shape: str
    tone: str
    icon: str
    sentence: str
    short: str
    percent: int | None


def stand(snapshot: Snapshot, t: Words, clock: str | None = None, *, finishing: bool = False) -> Stand:
    """Say how a topic stands; `clock` is when Claude is tried again, as the page writes it.

    `finishing`: an end now was asked for.
    """
    name = state_name(snapshot)
    generation = snapshot.generation
    long, short = _sentences(snapshot, name, t, clock)
    if finishing and short:
        long = t("sentence_finishing")
    if generation and snapshot.status.unfinished and generation.attempt + generation.retries > 1:
        long += f" {t('attempt', attempt=generation.attempt + generation.retries)}"  # which keeps markup what it is
    return Stand(name, *SHAPES[name], long, short, _percent(snapshot))


def state_name(snapshot: Snapshot) -> str:
    """Return the word for a topic's state: its status, but `waiting` and `partial` have words of their own."""
    generation = snapshot.generation
    if snapshot.status is StatusName.GENERATING and snapshot.doing is Phase.WAITING:
        return "waiting"
    if snapshot.status is StatusName.COMPLETED and generation and generation.partial:
        return "partial"
    return str(snapshot.status)


def parts(snapshot: Snapshot, t: Words, *, percent: bool = True) -> tuple[str, str]:
    """Return how far a report is: percent, sections and time left; and the same for a small window."""
    generation = snapshot.generation
    assert generation is not None
    long = [t("part_percent", percent=generation.progress_percent)] if percent else []
    short = [*long]
    if generation.sections_total:
        long.append(t("part_sections", done=generation.sections_done, total=generation.sections_total))
    if snapshot.estimated_completion and snapshot.doing is Phase.WRITING:
        minutes = times.minutes_left(seconds_between(now(), snapshot.estimated_completion))
        long.append(t("part_left", minutes=minutes) if minutes else t("part_left_soon"))
        short += [t("part_left_short", minutes=minutes)] if minutes else []
    return t("join").join(long), t("join").join(short)


def took(generation: Generation) -> float:
    """Return how many seconds a generation took that has ended."""
    return seconds_between(generation.started_at or generation.created_at, generation.completed_at or now())


def _sentences(snapshot: Snapshot, name: str, t: Words, clock: str | None) -> tuple[str, str]:
    generation = snapshot.generation
    if generation is None or name == "failed":
        return "", ""
    match name, snapshot.doing:
        case "generating", Phase.WRITING:
            return parts(snapshot, t)
        case "generating", phase:
            key = f"sentence_{phase}"
        case "waiting", _:
            return (t("sentence_waiting", clock=clock) if clock else t("sentence_waiting_soon")), ""
        case "cancelled", _ if not generation.characters:
            key = "sentence_cancelled_empty"
        case _:
            key = f"sentence_{name}"
    duration = times.duration(t.language, took(generation))
    return t(key, characters=generation.characters, took=duration), ""


def _percent(snapshot: Snapshot) -> int | None:
    if snapshot.generation is None or not snapshot.status.unfinished:
        return None
    return snapshot.generation.progress_percent
