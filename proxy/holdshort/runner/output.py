"""What comes out: the final output in the type that the agent was given, and what models read of tools' outputs.

The service is asked for a JSON object. A type that is none (a list, a number, a union) is asked for as the one field
`response` of an object, and taken out again.
"""

from __future__ import annotations

import re
from typing import Any, Final, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from typing_extensions import TypedDict

from holdshort.runner.arguments import faults
from holdshort.runner.errors import ModelBehaviorError, UserError
from holdshort.runner.function_tool import UntitledSchema
from holdshort.runner.strict_schema import strict_schema
from holdshort.runner.tool_output import (
    ToolOutputFileContent,
    ToolOutputImage,
    ToolOutputText,
    mcp_output,
    tool_output,
)
from holdshort.wire import MalformedMessage, decode, encode

__all__ = [
    "OutputSchema",
    "ToolOutputFileContent",
    "ToolOutputImage",
    "ToolOutputText",
    "mcp_output",
    "output_schema",
    "tool_output",
]

WRAPPED: Final = "response"


class OutputSchema:
    """An output type as the service and the state need it.

    `strict=False` is for types that a strict schema cannot say, such as `dict[str, int]`; the answer is checked all the
    same.

    Raises:
        UserError: the type cannot be described.
    """

    def __init__(self, output_type: Any, *, strict: bool = True) -> None:
        self.output_type, self.strict = output_type, strict
        self.name = _name(output_type)
        owner = f"the output type `{self.name}`"
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(output_type)
            schema = self._adapter.json_schema(schema_generator=UntitledSchema)
            self.is_wrapped = not _is_object(schema)
            if self.is_wrapped:
                wrapper = TypedDict("Wrapper", {WRAPPED: output_type})  # type: ignore[misc]
                schema = TypeAdapter(wrapper).json_schema(schema_generator=UntitledSchema)
        except (PydanticUserError, ValueError, TypeError, NameError) as error:
            raise UserError(f"{owner} cannot be described: {error}") from error
        schema.pop("title", None)
        self.schema: dict[str, Any] = strict_schema(schema, owner) if strict else schema

    def format(self) -> dict[str, Any]:
        """Return what goes to the service as `text.format`."""
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", self.name).strip("_")[:64] or "final_output"
        return {"type": "json_schema", "name": name, "schema": self.schema, "strict": self.strict}

    def parse(self, text: str) -> Any:
        """Return the final output that the model's text is.

        Raises:
            ModelBehaviorError: it is not of the type; the message says where.
        """
        try:
            value = decode(text.encode("utf-8", "surrogatepass"))
        except MalformedMessage as fault:
            said = str(fault).replace("the message", "the text", 1)
            raise ModelBehaviorError(f"the final output is no JSON of `{self.name}`: {said}") from None
        if self.is_wrapped:
            if not isinstance(value, dict) or list(value) != [WRAPPED]:
                raise ModelBehaviorError(f"the final output is not an object with the one key `{WRAPPED}`")
            value = value[WRAPPED]
        return self.from_json(value)

    def to_json(self, value: Any) -> Any:
        """Return a final output as JSON; `from_json` makes the same of it again.

        Raises:
            UserError: there is no JSON of it.
        """
        try:
            return decode(self._adapter.dump_json(value, by_alias=True, round_trip=True))
        except (ValueError, MalformedMessage) as error:
            raise UserError(f"a final output of the type `{self.name}` cannot be saved: {error}") from error

    def from_json(self, value: Any) -> Any:
        """Return the final output that JSON means.

        Raises:
            ModelBehaviorError: it is not of the type; the message says where.
        """
        try:
            return self._adapter.validate_json(encode(value))
        except ValidationError as error:
            raise ModelBehaviorError(f"the final output is not what `{self.name}` says: {faults(error)}") from None


def output_schema(output_type: Any) -> OutputSchema | None:
    """Return the schema for an agent's `output_type`; None is text, and so is `str`."""
    if output_type is None or output_type is str:
        return None
    return output_type if isinstance(output_type, OutputSchema) else OutputSchema(output_type)


def _is_object(schema: dict[str, Any]) -> bool:
    """Whether values are always objects, at the root and not through a union."""
    name = schema.get("$ref")
    if isinstance(name, str):
        return _is_object(schema.get("$defs", {}).get(name.removeprefix("#/$defs/"), {}))
    return schema.get("type") == "object"


def _name(output_type: Any) -> str:
    inner = get_args(output_type)
    name = str(getattr(output_type, "__name__", "")) or str(output_type)
    return f"{name}[{', '.join(_name(each) for each in inner)}]" if inner and "[" not in name else name
