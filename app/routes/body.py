"""Bodies of requests: read within bounds, parsed, checked."""

import json
import re
import unicodedata
from typing import Annotated, Any, NoReturn, TypeVar

from anyio import fail_after
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from app.errors import Invalid, MalformedJson, RequestTimeout, UnsupportedMediaType
from app.routes.resource import Request

BODY_SECONDS = 30.0
"""How long a body may take to arrive. Hypercorn itself would wait for ever."""

LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
"""The shape of a BCP 47 tag (RFC 5646), without its registry."""


def _clean(value: Any) -> Any:
    """Trim, normalise to NFC, end lines with `\\n`; refuse other control characters and halves of characters."""
    if not isinstance(value, str):
        return value
    text = unicodedata.normalize("NFC", value.replace("\r\n", "\n").replace("\r", "\n")).strip()
    for character in text:
        if unicodedata.category(character) in {"Cc", "Cs"} and character not in "\n\t":
            raise ValueError(f"the character U+{ord(character):04X} is not allowed")
    return text


def _language(value: str) -> str:
    if len(value) > 35 or not LANGUAGE.fullmatch(value):
        raise ValueError("this is not a BCP 47 language tag such as 'ko' or 'en-GB'")
    return value


Text = Annotated[str, BeforeValidator(_clean)]
Language = Annotated[Text, AfterValidator(_language)]


class Body(BaseModel):
    """What every body shares: strict types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


B = TypeVar("B", bound=Body)


async def body(request: Request, model: type[B]) -> B:
    """Read and check the body of a request; no body at all counts as `{}`.

    Raises UnsupportedMediaType, MalformedJson, RequestTimeout or Invalid; 413 comes from the application's limit.
    """
    try:
        with fail_after(BODY_SECONDS):
            content = await request.body()
    except TimeoutError as error:
        raise RequestTimeout from error
    if content and request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType
    try:
        return model.model_validate(_parse(content) if content else {})
    except ValidationError as error:
        raise invalid(error) from error


def invalid(error: ValidationError) -> Invalid:
    """Turn pydantic's findings into a problem."""
    return Invalid(*((_pointer(fault["loc"]), _sentence(fault)) for fault in error.errors(include_url=False)))


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise MalformedJson from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in location)


def _sentence(fault: Any) -> str:
    match fault["type"]:
        case "extra_forbidden":
            return "There is no such field."
        case "missing":
            return "This field is needed."
        case "too_long" | "string_too_long":
            return f"This text has at most {fault['ctx']['max_length']:,} characters."
        case "too_short" | "string_too_short":
            return f"This text has at least {fault['ctx']['min_length']:,} characters."
        case _:
            message = str(fault["msg"]).removeprefix("Value error, ")
            return message[0].upper() + message[1:].rstrip(".") + "."
