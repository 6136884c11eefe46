"""A Python function becomes a tool: its signature is the schema, its docstring the description.

    @function_tool(needs_approval=True)
    async def send_mail(context: RunContext[Desk], to: str, text: str, urgent: bool = False) -> str: ...

The first parameter may be the run's context, told by its annotation; the model does not see it. Everything else is what
pydantic can describe. A function that is not async runs in a worker thread.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints, overload

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticUndefined

from holdshort.runner.arguments import BadArguments, faults, read_arguments
from holdshort.runner.docstrings import read_docstring
from holdshort.runner.errors import UserError
from holdshort.runner.strict_schema import strict_schema
from holdshort.runner.tools import FailureErrorFunction, FunctionTool, NeedsApproval, RunContext, ToolContext
from holdshort.wire import encode

if TYPE_CHECKING:
    from holdshort.runner.agent import Agent
    from holdshort.runner.guardrails import ToolInputGuardrail, ToolOutputGuardrail

__all__ = ["PythonFunction", "UntitledSchema", "function_tool"]

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What the service takes as the name of a tool."""

CONTEXTS = (RunContext, ToolContext)
IsEnabled = bool | Callable[[RunContext[Any], "Agent[Any]"], bool | Awaitable[bool]]


class UntitledSchema(GenerateJsonSchema):
    """Leaves out the titles that pydantic makes of names: they tell a model nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        return False


class PythonFunction:
    """The `on_invoke_tool` of a Python function."""

    def __init__(self, function: Callable[..., Any], name: str, said: dict[str, str]) -> None:
        self.function, self.name = function, name
        self.parameters = list(_parameters(function, name))
        hints = _hints(function, name)
        self.takes_context = bool(self.parameters) and _is_context(hints.get(self.parameters[0].name))
        if self.takes_context:
            self.parameters = self.parameters[1:]
        fields: dict[str, Any] = {}
        for index, parameter in enumerate(self.parameters):
            fields[_field(index)] = self._described(parameter, hints.get(parameter.name, Any), said)
        try:
            # Fields are numbered, the names are aliases: an argument may be called `schema` or `_id`.
            self.model: type[BaseModel] = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
            self.model.model_json_schema(schema_generator=UntitledSchema)
        except (PydanticUserError, ValueError, TypeError, NameError) as error:
            raise UserError(f"the arguments of the function tool `{name}` cannot be described: {error}") from error

    def _described(self, parameter: inspect.Parameter, hint: Any, said: dict[str, str]) -> tuple[Any, Any]:
        name = parameter.name
        if _is_context(hint):
            raise UserError(f"in the function tool `{self.name}`, `{name}` is a context, which only the first can be")
        notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        words = next((each for each in notes if isinstance(each, str)), said.get(name))
        given = FieldInfo.from_annotation(hint).description or (
            parameter.default.description if isinstance(parameter.default, FieldInfo) else None
        )
        named = Field(alias=name, validation_alias=name, serialization_alias=name, description=given or words or None)
        default = PydanticUndefined if parameter.default is parameter.empty else parameter.default
        if isinstance(default, FieldInfo):
            return Annotated[hint, default, named], default.default
        return Annotated[hint, named], default

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the arguments, as pydantic has it."""
        schema = self.model.model_json_schema(schema_generator=UntitledSchema)
        schema.pop("title", None)
        return schema

    def read(self, arguments: str) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and named values of a call.

        Raises:
            BadArguments: they are not what the signature says.
        """
        value = read_arguments(arguments, self.name)
        try:
            data = self.model.model_validate_json(encode(value))
        except ValidationError as error:
            raise BadArguments(self.name, faults(error)) from None
        except Exception as error:  # a validator of the user's own may raise anything
            raise BadArguments(self.name, f"{type(error).__name__}: {error}") from error
        values: list[Any] = []
        named: dict[str, Any] = {}
        for index, parameter in enumerate(self.parameters):
            field = _field(index)
            left_out = field not in data.model_fields_set and not isinstance(parameter.default, FieldInfo)
            value_ = parameter.default if left_out else getattr(data, field)
            if parameter.kind is parameter.KEYWORD_ONLY:
                named[parameter.name] = value_
            else:
                values.append(value_)
        return values, named

    async def __call__(self, context: ToolContext[Any], arguments: str) -> Any:
        """Run the function.

        Raises:
            BadArguments: it was not run.
        """
        values, named = self.read(arguments)
        call = functools.partial(self.function, *([context] if self.takes_context else []), *values, **named)
        if _is_async(self.function):
            return await call()
        # Abandoned when cancelled: a timeout has to end the wait for a thread that nobody can stop.
        result = await anyio.to_thread.run_sync(call, abandon_on_cancel=True)
        return await result if inspect.isawaitable(result) else result


@overload
def function_tool(function: Callable[..., Any], /) -> FunctionTool: ...
@overload
def function_tool(
    function: Callable[..., Any],
    /,
    *,
    name_override: str | None = None,
    description_override: str | None = None,
    needs_approval: NeedsApproval = False,
    strict_mode: bool = True,
    failure_error_function: FailureErrorFunction | Literal["default"] | None = "default",
    is_enabled: IsEnabled = True,
    timeout: float | None = None,
    tool_input_guardrails: Sequence[ToolInputGuardrail[Any]] = (),
    tool_output_guardrails: Sequence[ToolOutputGuardrail[Any]] = (),
) -> FunctionTool: ...
@overload
def function_tool(
    *,
    name_override: str | None = None,
    description_override: str | None = None,
    needs_approval: NeedsApproval = False,
    strict_mode: bool = True,
    failure_error_function: FailureErrorFunction | Literal["default"] | None = "default",
    is_enabled: IsEnabled = True,
    timeout: float | None = None,
    tool_input_guardrails: Sequence[ToolInputGuardrail[Any]] = (),
    tool_output_guardrails: Sequence[ToolOutputGuardrail[Any]] = (),
) -> Callable[[Callable[..., Any]], FunctionTool]: ...
def function_tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name_override: str | None = None,
    description_override: str | None = None,
    needs_approval: NeedsApproval = False,
    strict_mode: bool = True,
    failure_error_function: FailureErrorFunction | Literal["default"] | None = "default",
    is_enabled: IsEnabled = True,
    timeout: float | None = None,
    tool_input_guardrails: Sequence[ToolInputGuardrail[Any]] = (),
    tool_output_guardrails: Sequence[ToolOutputGuardrail[Any]] = (),
) -> FunctionTool | Callable[[Callable[..., Any]], FunctionTool]:
    """Make a tool of a function; also a decorator, with or without arguments.

    `timeout` is in seconds. Without `strict_mode`, arguments with a default may be left out, and open types such as
    `dict[str, int]` can be described; the model is not held to the schema then, but the arguments are checked.

    Raises:
        UserError: the function cannot be a tool; the message says why.
    """
    if function is None:
        return functools.partial(
            function_tool,
            name_override=name_override,
            description_override=description_override,
            needs_approval=needs_approval,
            strict_mode=strict_mode,
            failure_error_function=failure_error_function,
            is_enabled=is_enabled,
            timeout=timeout,
            tool_input_guardrails=tool_input_guardrails,
            tool_output_guardrails=tool_output_guardrails,
        )
    name = name_override or str(getattr(function, "__name__", ""))
    if not NAME.fullmatch(name):
        raise UserError(
            f"`{name}` cannot be the name of a function tool: "
            "give a `name_override` of at most 64 letters, digits, `_` or `-`"
        )
    if timeout is not None and not (math.isfinite(timeout) and timeout > 0):
        raise UserError(f"the timeout of the function tool `{name}` is {timeout}: give seconds above 0, or None")
    documented = read_docstring(_docstring(function))
    invoke = PythonFunction(function, name, documented.arguments)
    schema = invoke.schema()
    return FunctionTool(
        name=name,
        description=documented.description if description_override is None else description_override,
        params_json_schema=strict_schema(schema, f"the function tool `{name}`") if strict_mode else schema,
        on_invoke_tool=invoke,
        strict_json_schema=strict_mode,
        needs_approval=needs_approval,
        is_enabled=is_enabled,
        failure_error_function=failure_error_function,
        timeout_seconds=timeout,
        tool_input_guardrails=tool_input_guardrails,
        tool_output_guardrails=tool_output_guardrails,
    )


def _field(index: int) -> str:
    return f"argument_{index}"


def _parameters(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise UserError(f"the function tool `{name}` is a generator: return one value instead")
    parameters = list(inspect.signature(function).parameters.values())
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise UserError(
                f"in the function tool `{name}`, `{parameter}` stands for any number of arguments: "
                "take a list, or name them"
            )
    return parameters


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    plain = _plain(function)
    try:
        return get_type_hints(plain, include_extras=True)
    except NameError as error:
        raise UserError(
            f"in the function tool `{name}`, the annotation `{error.name}` is not known where the function is defined"
        ) from None


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that has the annotations: of a partial, or of an object that can be called."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


def _docstring(function: Callable[..., Any]) -> str | None:
    if isinstance(function, functools.partial):
        return _docstring(function.func)
    return inspect.getdoc(function if inspect.isroutine(function) else type(function))


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(_plain(function))


def _is_context(hint: Any) -> bool:
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return (get_origin(hint) or hint) in CONTEXTS
