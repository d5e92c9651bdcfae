"""Times and durations as people read them. Pure: what time it is now is given."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Form = Literal["moment", "clock", "day"]
"""How a time is said: "today 3:42 pm", "3:42 pm", "3 Nov"."""


def said(language: str, moment: str, now: str, form: Form) -> str:
    """Say a time in UTC, as `models.now` writes both."""
    then, here = datetime.fromisoformat(moment).astimezone(UTC), datetime.fromisoformat(now).astimezone(UTC)
    day, clock = partial(_day, language, then, here), _clock(language, then)
    match form:
        case "clock":
            return clock
        case "day":
            return day()
        case "moment":
            return f"{day()} {clock}"


def duration(language: str, seconds: float) -> str:
    """Say how long something took: 45 s, 6 min, 1 h 5 min."""
    units = ("초", "분", "시간") if language == "ko" else (" s", " min", " h")
    if round(seconds) < 60:
        return f"{max(round(seconds), 1)}{units[0]}"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes}{units[1]}"
    hours, rest = divmod(minutes, 60)
    return f"{hours:,}{units[2]} {rest}{units[1]}" if rest else f"{hours:,}{units[2]}"


def minutes_left(seconds: float) -> int:
    """Return the minutes to speak of: whole ones to ten, then in steps of five; 0: less than a minute."""
    if seconds < 60:
        return 0
    minutes = round(seconds / 60)
    return minutes if minutes <= 10 else 5 * round(minutes / 5)


def _clock(language: str, then: datetime) -> str:
    hour, late = then.hour % 12 or 12, then.hour >= 12
    if language == "ko":
        return f"{'오후' if late else '오전'} {hour}:{then.minute:02}"
    return f"{hour}:{then.minute:02} {'pm' if late else 'am'}"


def _day(language: str, then: datetime, here: datetime) -> str:
    korean = language == "ko"
    if then.date() == here.date():
        return "오늘" if korean else "today"
    if then.date() == here.date() - timedelta(days=1):
        return "어제" if korean else "yesterday"
    if korean:
        year = "" if then.year == here.year else f"{then.year}년 "
        return f"{year}{then.month}월 {then.day}일"
    year = "" if then.year == here.year else f" {then.year}"
    return f"{then.day} {MONTHS[then.month - 1]}{year}"
