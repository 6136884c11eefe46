"""What a request that is no call of a tool is about: the resource it reads, the prompt it gets."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from holdshort.policy import Kind

__all__ = ["QUIET", "USES", "Use", "uses_of"]

USES: Final = frozenset(
    {"resources/read", "resources/subscribe", "resources/unsubscribe", "prompts/get", "completion/complete"}
)
QUIET: Final = frozenset({"resources/unsubscribe", "completion/complete"})
"""Uses without a row of their own when they pass: one only ends something, the other comes with every key pressed."""


class Use(NamedTuple):
    """One thing that a request is about; `arguments` are a prompt's."""

    kind: Kind
    name: str
    arguments: Mapping[str, Any]

    def shown(self, prefix: str) -> str:
        """Return the name as the client wrote it; `prefix` is what this endpoint puts before names of the server."""
        return prefix + self.name if self.kind is Kind.PROMPT else self.name


def uses_of(params: Mapping[str, Any], method: str) -> list[Use] | None:
    """Return what a request of one of `USES` is about; None when it does not say."""
    if method == "prompts/get":
        name, values = params.get("name"), params.get("arguments", {})
        return [Use(Kind.PROMPT, name, values)] if isinstance(name, str) and isinstance(values, dict) else None
    if method != "completion/complete":
        uri = params.get("uri")
        return [Use(Kind.RESOURCE, uri, {})] if isinstance(uri, str) else None
    reference = params.get("ref")
    if not isinstance(reference, dict):
        return None
    context = params.get("context")
    arguments = context.get("arguments") if isinstance(context, dict) else None
    given = arguments if isinstance(arguments, dict) else {}
    # Whatever a server may take the reference for is judged, whichever type it names.
    about = [(Kind.PROMPT, reference.get("name")), (Kind.RESOURCE, reference.get("uri"))]
    return [Use(kind, name, given) for kind, name in about if isinstance(name, str)] or None
