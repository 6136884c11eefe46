"""One request to the model, and exactly what is sent for it: the same bytes streamed or not, but for `stream`.

Items go out as they came in. Three things are left out, because the service sends them and does not take them back:
`created_by` of an item, `created_by` of an output of a shell, and `status` of reasoning.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from holdshort.runner.agent import ModelSettings
from holdshort.runner.data import Item
from holdshort.runner.errors import UserError

__all__ = ["Request", "body", "check_keeping", "may_repeat"]

ENCRYPTED = "reasoning.encrypted_content"
OWN_FIELDS = (
    "model",
    "instructions",
    "input",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "previous_response_id",
    "conversation",
    "store",
    "include",
    "max_output_tokens",
    "temperature",
    "top_p",
    "truncation",
    "reasoning",
    "text",
    "metadata",
    "prompt_cache_key",
    "stream",
)
"""The fields that settings and the run decide, in the order in which they are sent."""
NOT_OURS = ("background",)
"""Fields under which the service would answer in another way than the runner reads."""
RUN_BY_SERVICE = ("mcp", "code_interpreter")
"""Tools that the service runs by itself with an effect somewhere: asking twice may run them twice."""


@dataclass(slots=True, kw_only=True)
class Request:
    """What the model is asked. Its repr has neither texts nor tools: those may carry secrets."""

    agent: str
    model: str
    instructions: str | None = field(default=None, repr=False)
    input: Sequence[Item] = field(default=(), repr=False)
    tools: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    """As `tool_param` makes them."""
    previous_response_id: str | None = None
    conversation_id: str | None = None
    settings: ModelSettings = field(default_factory=ModelSettings, repr=False)
    output_schema: Mapping[str, Any] | None = field(default=None, repr=False)
    """The JSON Schema of a structured answer."""
    output_strict: bool = True
    """Whether the service holds the model to that schema; then every object in it is closed."""
    stream: bool = False
    chained: bool = False
    """Whether the next request will name the response to this one."""
    safe_to_repeat: bool = True
    """Whether it does no harm to ask again when the answer is lost; see `may_repeat`."""


def may_repeat(request: Request) -> bool:
    """Return whether the request may be sent again when it may have been answered already.

    Never in a conversation, which would get everything twice, nor where the service runs tools that have an effect.
    """
    effects = any(_runs_at_service(tool) for tool in request.tools)
    return request.safe_to_repeat and request.conversation_id is None and not effects


def check_keeping(
    store: bool | None,
    *,
    previous_response_id: str | None = None,
    conversation_id: str | None = None,
    chained: bool = False,
) -> None:
    """Check that what is built on is kept by somebody.

    Raises:
        UserError: two histories at once, or one that the service is told not to keep.
    """
    if conversation_id is not None and (previous_response_id is not None or chained):
        raise UserError(
            "`conversation_id` and `previous_response_id` are two histories of one run; give one of them, and not "
            "`auto_previous_response_id` with a conversation"
        )
    if store is False and (previous_response_id is not None or chained):
        raise UserError(
            "`store=False` keeps no response, so that none can be built on; take `store=False` away, or "
            "`previous_response_id` and `auto_previous_response_id`"
        )
    if store is False and conversation_id is not None:
        raise UserError("`store=False` keeps nothing in a conversation; take it away, or `conversation_id`")


def body(request: Request) -> dict[str, Any]:
    """Return what is sent, field by field in the order in which it is sent.

    A character that is no Unicode (half of a surrogate pair) is sent as U+FFFD, since no JSON text can carry it.

    Raises:
        UserError: settings that contradict each other, or something in the request that JSON cannot express.
    """
    settings = request.settings
    store = settings.store
    check_keeping(
        store,
        previous_response_id=request.previous_response_id,
        conversation_id=request.conversation_id,
        chained=request.chained,
    )
    for name in settings.extra_body:
        if name in OWN_FIELDS or name in NOT_OURS:
            raise UserError(
                f"agent `{request.agent}`: `extra_body` cannot say `{name}`; it is for fields that have no setting"
            )
    tools = [dict(tool) for tool in request.tools]
    sent: dict[str, Any] = {
        "model": request.model,
        "instructions": request.instructions,
        "input": [_as_input(item) for item in request.input],
        "tools": tools or None,
        "tool_choice": _tool_choice(request.agent, settings.tool_choice, tools),
        "parallel_tool_calls": settings.parallel_tool_calls if tools else None,
        "previous_response_id": request.previous_response_id,
        "conversation": request.conversation_id,
        "store": store,
        "include": _include(settings) or None,
        "max_output_tokens": settings.max_tokens,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "truncation": settings.truncation,
        "reasoning": _plain(settings.reasoning),
        "text": _text(request) or None,
        "metadata": settings.metadata,
        "prompt_cache_key": settings.prompt_cache_key,
    }
    sent = {name: value for name, value in sent.items() if value is not None} | settings.extra_body
    if request.stream:
        sent["stream"] = True
    return _unicode(request.agent, sent)


def _include(settings: ModelSettings) -> list[str]:
    # Nobody keeps the reasoning then; without its encrypted form it could not be sent back beside its call.
    more = (ENCRYPTED,) if settings.store is False else ()
    return list(dict.fromkeys((*settings.include, *more)))


def _plain(given: Any) -> Any:
    # Programs for the OpenAI Agents SDK give the client's own `Reasoning`.
    return given.model_dump(mode="json", exclude_unset=True) if isinstance(given, BaseModel) else given


def _text(request: Request) -> dict[str, Any]:
    text: dict[str, Any] = {}
    if request.output_schema is not None:
        schema = dict(request.output_schema)
        text["format"] = {
            "type": "json_schema",
            "name": "final_output",
            "schema": schema,
            "strict": request.output_strict,
        }
    if request.settings.verbosity is not None:
        text["verbosity"] = request.settings.verbosity
    return text


def _tool_choice(agent: str, choice: str | Mapping[str, Any] | None, tools: Sequence[Mapping[str, Any]]) -> Any:
    if choice is None or choice in ("auto", "none"):
        return choice
    if choice == "required":
        if not tools:
            raise UserError(f"agent `{agent}`: `tool_choice` is `required`, and there are no tools")
        return choice
    if not isinstance(choice, str):
        return dict(choice)
    for tool in tools:
        kind = tool.get("type")
        if kind in ("function", "custom") and tool.get("name") == choice:
            return {"type": kind, "name": choice}
        if kind == "mcp" and tool.get("server_label") == choice:
            return {"type": "mcp", "server_label": choice}
    if choice in [tool.get("type") for tool in tools if tool.get("type") not in ("function", "custom", "mcp")]:
        return {"type": choice}
    raise UserError(
        f"agent `{agent}`: `tool_choice` names `{choice}`, which is none of its tools; say `auto`, `required`, `none`, "
        "or a tool's name"
    )


def _as_input(item: Item) -> Item:
    if "created_by" in item:
        item = {name: value for name, value in item.items() if name != "created_by"}
    if item.get("type") == "reasoning" and "status" in item:
        item = {name: value for name, value in item.items() if name != "status"}
    output = item.get("output")
    if item.get("type") == "shell_call_output" and isinstance(output, list):
        item = {**item, "output": [_without_author(chunk) for chunk in output]}
    return item


def _without_author(chunk: Any) -> Any:
    return {name: value for name, value in chunk.items() if name != "created_by"} if isinstance(chunk, dict) else chunk


def _runs_at_service(tool: Mapping[str, Any]) -> bool:
    if tool.get("type") == "shell":
        environment = tool.get("environment")
        return not (isinstance(environment, Mapping) and environment.get("type") == "local")
    return tool.get("type") in RUN_BY_SERVICE


def _unicode(agent: str, sent: dict[str, Any]) -> dict[str, Any]:
    try:
        text = json.dumps(sent, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"agent `{agent}`: the request cannot be written as JSON: {error}") from error
    try:
        text.encode()
    except UnicodeEncodeError:
        # By way of UTF-16, where two halves that belong together become the character they mean.
        mended = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        whole: dict[str, Any] = json.loads(mended)
        return whole
    return sent
