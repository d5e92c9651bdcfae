"""What a form may say, and what is told of what it may not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from app.models import later
from app.pages.visitor import Form
from app.queries import users
from app.routes.body import Text

DAY = 86_400
MOST_DAYS = 36_500
MOST_LABEL = 100

LABEL = TypeAdapter(Annotated[Text, Field(max_length=MOST_LABEL)])


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a field: the key of the sentence, and its values."""

    name: str
    key: str
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenAsked:
    """A further access token, as a form asks for it. `expires_at` None: until it is revoked."""

    label: str
    expires_at: str | None


def token_asked(sent: Form) -> TokenAsked | Fault:
    """Read the fields `label` and `days`."""
    try:
        label = LABEL.validate_python(sent.get("label", ""))
    except ValidationError:
        return Fault("label", "label_unfit", {"most": MOST_LABEL})
    if label in users.OUR_LABELS:
        return Fault("label", "label_ours")
    days = sent.get("days", "").strip()
    if not days:
        return TokenAsked(label, None)
    if not (days.isascii() and days.isdigit() and len(days) <= 5 and 1 <= int(days) <= MOST_DAYS):
        return Fault("days", "days_unfit", {"most": MOST_DAYS})
    return TokenAsked(label, later(int(days) * DAY))
