"""What the Responses service answers when it refuses: status, code, parameter and the service's own sentence.

The sentences are those that users of the real service quote in public reports. Where none could be found the builder
says "unverified": the rule is the kit's, at least as strict as the service, in the service's manner of speaking.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "Refused",
    "duplicate_item",
    "item_not_found",
    "missing_parameter",
    "no_call",
    "no_output",
    "not_found",
    "previous_response_not_found",
    "wrong_value",
]


class Refused(Exception):
    """Raised to answer a request with an error of the service."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        type: str = "invalid_request_error",  # noqa: A002 (the service's own word)
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.error: dict[str, Any] = {"message": message, "type": type, "param": param, "code": code}

    def body(self) -> dict[str, Any]:
        """The JSON body of the answer."""
        return {"error": self.error}


def missing_parameter(param: str) -> Refused:
    return Refused(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def wrong_value(param: str, message: str, code: str = "invalid_value") -> Refused:
    return Refused(message, param=param, code=code)


def no_output(words: str, call_id: str) -> Refused:
    """A call in the history that nothing answers."""
    return Refused(f"No tool output found for {words} {call_id}.", param="input")


def no_call(words: str, call_id: str) -> Refused:
    """An output in the history that answers no call before it."""
    return Refused(f"No tool call found for {words} output with call_id {call_id}.", param="input")


def duplicate_item(item_id: str) -> Refused:
    message = f"Duplicate item found with id {item_id}. Remove duplicate items from your input and try again."
    return Refused(message, param="input")


def item_not_found(item_id: str) -> Refused:
    """An item that is named by its id alone, and that was never kept."""
    message = (
        f"Item with id '{item_id}' not found. Items are not persisted when `store` is set to false. "
        "Try again with `store` set to true, or remove this item from your input."
    )
    return Refused(message, status=404, param="input")


def previous_response_not_found(response_id: str) -> Refused:
    message = f"Previous response with id '{response_id}' not found."
    return Refused(message, param="previous_response_id", code="previous_response_not_found")


def not_found(what: str, name: str) -> Refused:
    """`what`: Response, Conversation or Item."""
    return Refused(f"{what} with id '{name}' not found.", status=404)
