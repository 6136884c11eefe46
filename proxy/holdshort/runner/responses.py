"""A response of the service as one whole answer, or the reason why it is none.

Everything is read by name from whatever the client made of the bytes: a type that it does not know is kept as it came,
and no class is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdshort.runner.data import Item, UsageData
from holdshort.runner.failures import Failure, failed_by_service, garbage

__all__ = ["Answer", "answer_of", "refusal_of"]


@dataclass(slots=True, kw_only=True)
class Answer:
    """What the model said, whole."""

    response_id: str | None
    items: list[Item] = field(repr=False)
    """To the letter: fields that nobody here knows are kept."""
    usage: UsageData
    status: str = "completed"
    raw: Any = field(default=None, repr=False)
    """The client's own object."""

    @property
    def output(self) -> list[Item]:
        """The same as `items`, under the name it has in the OpenAI Agents SDK."""
        return self.items


def answer_of(response: Any) -> Answer:
    """Return the answer in a response that the service calls finished.

    Raises:
        Failure: it failed, ended early, or is nothing that can be read.
    """
    error, status = read(response, "error"), read(response, "status")
    if error:
        raise failed_by_service(text(error, "code"), text(error, "message") or str(error))
    if status == "incomplete":
        raise cut_short(response)
    output = read(response, "output")
    if not isinstance(output, list) or status not in (None, "completed"):
        if isinstance(status, str) and status != "completed":
            raise Failure(f"the model's answer is not finished: its status is `{status}`", reason="unfinished")
        raise garbage("the body is no response")
    response_id = read(response, "id")
    return Answer(
        response_id=response_id if isinstance(response_id, str) else None,
        items=[_item(one) for one in output],
        usage=_usage(read(response, "usage")),
        raw=response,
    )


def cut_short(response: Any) -> Failure:
    """Return why a response that calls itself incomplete is no answer."""
    reason = text(read(response, "incomplete_details"), "reason")
    because = {
        "max_output_tokens": "it reached `max_output_tokens`; raise `max_tokens` in the settings, or take it away",
        "content_filter": "the service's content filter stopped it",
    }.get(reason, reason or "the service does not say why")
    return Failure(f"the model's answer is incomplete: {because}", reason=reason)


def refusal_of(items: Iterable[Item]) -> str | None:
    """Return what the model said when it refused, or None where it did not: the refusals of all messages."""
    refusals: list[str] = []
    for item in items:
        content = item.get("content") if item.get("type") == "message" else None
        parts = [one for one in content if isinstance(one, Mapping)] if isinstance(content, list) else []
        refusals += [str(one.get("refusal") or "") for one in parts if one.get("type") == "refusal"]
    return "\n".join(refusals) if refusals else None


def read(thing: Any, name: str) -> Any:
    """Return a field of an object or of a mapping; None where there is none."""
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)


def text(thing: Any, name: str) -> str:
    """The same for a text; empty where there is none."""
    found = read(thing, name)
    return found if isinstance(found, str) else ""


def _item(one: Any) -> Item:
    try:
        item: Any = one.to_dict(mode="json", warnings=False) if hasattr(one, "to_dict") else one
        # What cannot be written again could be neither saved nor sent back.
        json.dumps(item, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise garbage("an item of the answer cannot be read") from error
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        raise garbage("an item of the answer has no type")
    return item


def _usage(usage: Any) -> UsageData:
    given = _count(usage, "input_tokens")
    made = _count(usage, "output_tokens")
    return UsageData(
        requests=1,
        input_tokens=given,
        cached_tokens=_count(read(usage, "input_tokens_details"), "cached_tokens"),
        output_tokens=made,
        reasoning_tokens=_count(read(usage, "output_tokens_details"), "reasoning_tokens"),
        total_tokens=_count(usage, "total_tokens") or given + made,
    )


def _count(thing: Any, name: str) -> int:
    found = read(thing, name)
    return found if isinstance(found, int) and found > 0 else 0
