"""Bodies of requests: read within bounds, parsed, checked."""

import json
import re
import unicodedata
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect

from app.errors import Invalid, MalformedJson, MalformedRequest, UnsupportedMediaType
from app.routes.resource import Request

LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
"""The shape of a BCP 47 tag (RFC 5646), without its registry."""

MAX_FIELDS = 100
"""More than any body has. To name each of a million bytes of unknown fields would hold everybody up."""

MAX_DEPTH = 32
"""How deep a body may be nested, whatever the parser would bear."""

MAX_PARTS = 10_000
"""How many strings, and how many brackets and commas, a body may have: a mebibyte of `[],` takes the parser half a
second, in which nobody else is served."""

STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A string of JSON, or what is there of it: an unfinished one must not be looked for again from each quotation mark."""

BRACKETS = bytes.maketrans(b"{}", b"[]")
NO_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but newline and tab, and halves of characters."""

REFUSED = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
PLAIN, SOLID = f"[^{REFUSED}]*", rf"[^\s{REFUSED}]"
"""Characters that a text may have, and one that is not trimmed, as the description of the API says it."""

MARKS = b"\1" * 31
"""More combining marks in a row than the Stream-Safe Text Format of UAX #15 has; sorting them takes quadratic time."""


def _clean(value: Any) -> Any:
    """Normalise to NFC, end lines with `\\n`, trim; refuse other control characters and halves of characters."""
    if not isinstance(value, str):
        return value
    text = _normalise(value.replace("\r\n", "\n").replace("\r", "\n"))
    if found := CONTROL.search(text):
        raise ValueError(f"the character U+{ord(found[0]):04X} is not allowed")
    return text.strip()


def _normalise(text: str) -> str:
    if unicodedata.is_normalized("NFC", text):
        return text
    if MARKS in bytes(map(bool, map(unicodedata.combining, text))):
        raise ValueError("more than 30 combining marks stand in a row")
    return unicodedata.normalize("NFC", text)


def _language(value: str) -> str:
    if len(value) > 35 or not LANGUAGE.fullmatch(value):
        raise ValueError("this is not a BCP 47 language tag such as 'ko' or 'en-GB'")
    return value


Text = Annotated[str, BeforeValidator(_clean), Field(json_schema_extra={"pattern": f"^{PLAIN}$"})]
Language = Annotated[
    Text,
    AfterValidator(_language),
    Field(json_schema_extra={"pattern": f"^{LANGUAGE.pattern}$", "maxLength": 35, "examples": ["ko", "en-GB"]}),
]


class Body(BaseModel):
    """What every body shares: strict types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


B = TypeVar("B", bound=Body)


async def body(request: Request, model: type[B]) -> B:
    """Read and check the body of a request; no body at all counts as `{}`.

    Raises UnsupportedMediaType, MalformedJson, MalformedRequest, RequestTimeout, BodyTooLarge or Invalid.
    """
    try:
        content = await request.body()
    except ClientDisconnect as error:
        raise MalformedRequest from error
    if content and request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType
    document = _parse(content) if content else {}
    if isinstance(document, dict) and len(document) > MAX_FIELDS:
        raise Invalid(("", f"There are more than {MAX_FIELDS} fields."))
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise invalid(error) from error


def invalid(error: ValidationError) -> Invalid:
    """Turn pydantic's findings into a problem."""
    return Invalid(*((pointer(fault["loc"]), _sentence(fault)) for fault in error.errors(include_url=False)))


def pointer(location: tuple[int | str, ...]) -> str:
    """Return the JSON pointer (RFC 6901) of a place."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in location)


def _parse(content: bytes) -> Any:
    if _is_intricate(content):
        sentence = f"The body is nested more than {MAX_DEPTH} deep, has more than {MAX_PARTS:,} parts, or is not whole."
        raise MalformedJson(sentence)
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise MalformedJson from error


def _is_intricate(content: bytes) -> bool:
    """Whether a body has more than `MAX_PARTS` strings, or brackets and commas, or whether brackets stand in each other
    more than `MAX_DEPTH` deep or without their like. Some 10 ms a MiB, whatever is in it."""
    if content.count(b'"') - content.count(rb"\"") > 2 * MAX_PARTS:  # where each begins and ends
        return True
    if content.count(b"[") + content.count(b"{") <= MAX_DEPTH and content.count(b",") <= MAX_PARTS:
        return False
    structure = STRING.sub(b"", content).translate(BRACKETS, NO_STRUCTURE)
    if len(structure) > MAX_PARTS:
        return True
    brackets = structure.replace(b",", b"")
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")  # the innermost ones
    return brackets != b""


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise MalformedJson("A name stands twice in one object of the body. Send each once.")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _sentence(fault: Any) -> str:
    match fault["type"]:
        case "extra_forbidden":
            return "There is no such field."
        case "model_type":
            return "A JSON object is needed here."
        case "missing":
            return "This field is needed."
        case "too_long" | "string_too_long":
            return f"This text has at most {fault['ctx']['max_length']:,} characters."
        case "too_short" | "string_too_short":
            return f"This text has at least {fault['ctx']['min_length']:,} characters."
        case _:
            message = str(fault["msg"]).removeprefix("Value error, ")
            return message[0].upper() + message[1:].rstrip(".") + "."
