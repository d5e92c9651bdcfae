"""What a form may say, and what is told of what it may not."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as with_default
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from app.models import later
from app.pages.forms import Fault
from app.pages.look import language_of
from app.pages.visitor import Form
from app.queries import users
from app.routes.body import Text
from app.routes.resource import Request
from app.words import words

DAY = 86_400
MOST_DAYS = 36_500
MOST_LABEL = 100

LABEL = TypeAdapter(Annotated[Text, Field(max_length=MOST_LABEL)])


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with a field: the key of the sentence, and its values."""

    field: str
    key: str
    values: Mapping[str, object] = with_default(default_factory=dict)


def told(request: Request, wrong: Wrong | None) -> dict[str, Any]:
    """Return what a template has of what is wrong: in the summary, and at the field."""
    t = words(language_of(request))
    faults = [Fault(wrong.field, t(wrong.key, **wrong.values))] if wrong else []
    return {"errors": faults, "fault_of": {fault.field: fault.sentence for fault in faults}}


def kept(sent: Form | None) -> Form:
    """Return what a form shows again of what was typed; no secret is among it."""
    return {name: (sent or {}).get(name, "") for name in ("name", "label", "days", "admin")}


@dataclass(frozen=True, slots=True)
class TokenAsked:
    """A further access token, as a form asks for it. `expires_at` None: until it is revoked."""

    label: str
    expires_at: str | None


def token_asked(sent: Form) -> TokenAsked | Wrong:
    """Read the fields `label` and `days`."""
    try:
        label = LABEL.validate_python(sent.get("label", ""))
    except ValidationError:
        return Wrong("label", "label_unfit", {"most": MOST_LABEL})
    if label in users.OUR_LABELS:
        return Wrong("label", "label_ours")
    days = sent.get("days", "").strip()
    if not days:
        return TokenAsked(label, None)
    if not (days.isascii() and days.isdigit() and len(days) <= 5 and 1 <= int(days) <= MOST_DAYS):
        return Wrong("days", "days_unfit", {"most": MOST_DAYS})
    return TokenAsked(label, later(int(days) * DAY))
