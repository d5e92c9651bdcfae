"""The schemas of bodies and documents, as pydantic writes them."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from app.openapi import documents
from app.openapi.describe import Operation, Schema
from app.routes.generations import GenerateRequest

Refs = Mapping[Any, Schema]
"""By type: the reference to its schema."""


class Plain(GenerateJsonSchema):
    """Schemas without a title for every field."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's interface
        return False


def schemas(operations: Sequence[Operation], models: Sequence[str]) -> tuple[Refs, dict[str, Any]]:
    """Return a reference to the schema of each body and document, and all these schemas by name.

    `models` are those that a caller may choose.
    """
    bodies = {operation.body for operation in operations if operation.body}
    answers = {document for operation in operations for answer in operation.answers for document in answer.documents}
    told = answers | {documents.Problem}
    inputs: list[Any] = [
        *((body, "validation", TypeAdapter(body)) for body in sorted(bodies, key=_name)),
        *((document, "serialization", TypeAdapter(document)) for document in sorted(told, key=_name)),
    ]
    template = "#/components/schemas/{model}"
    refs, found = TypeAdapter.json_schemas(inputs, ref_template=template, schema_generator=Plain)
    named: dict[str, Any] = found["$defs"]
    if GenerateRequest in bodies:
        chosen, _ = named[GenerateRequest.__name__]["properties"]["model"]["anyOf"]
        chosen["enum"] = list(models)
    return {kind: ref for (kind, _), ref in refs.items()}, named


def _name(kind: Any) -> str:
    return str(kind.__name__)
