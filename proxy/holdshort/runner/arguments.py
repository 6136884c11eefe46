"""The arguments of a call, read once and strictly: what is asked about is what runs."""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError

from holdshort.runner.errors import ModelBehaviorError
from holdshort.wire import Limits, MalformedMessage, decode

__all__ = ["LIMITS", "BadArguments", "faults", "read_arguments"]

LIMITS: Final = Limits(max_bytes=16 << 20, max_depth=128, max_keys=100_000, max_string_bytes=16 << 20)
MOST_FAULTS: Final = 8


class BadArguments(ModelBehaviorError):
    """Raised when a call's arguments are not what its tool takes. Nothing was run; `problem` is for the model."""

    code = "bad_arguments"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"the arguments of `{name}` cannot be used, so nothing was run: {problem}")
        self.problem = problem


def read_arguments(text: str, name: str) -> dict[str, Any]:
    """Return the arguments of a call of `name`. No text at all stands for no arguments, as models use it.

    Raises:
        BadArguments: no JSON object, or one that two readers could read in two ways.
    """
    if not text.strip():
        return {}
    try:
        value = decode(text.encode("utf-8", "surrogatepass"), LIMITS)
    except MalformedMessage as fault:
        raise BadArguments(name, str(fault).replace("the message", "the text", 1)) from None
    if not isinstance(value, dict):
        raise BadArguments(name, "they must be a JSON object")
    return value


def faults(error: ValidationError) -> str:
    """Return what pydantic found, each fault with its place; values are left out."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    said = [f"`{'.'.join(str(step) for step in each['loc']) or 'the whole'}`: {each['msg']}" for each in found]
    if len(said) > MOST_FAULTS:
        said[MOST_FAULTS:] = [f"and {len(said) - MOST_FAULTS} more"]
    return "; ".join(said)
