"""The `Mcp-*` request headers of 2026-07-28, checked against the body and made anew from it.

Decisions are taken on the body alone; a header that says otherwise is refused, and none of the agent's is passed on.
The rules themselves are the SDK's pure validators; they are imported on first use, because they bring the whole SDK.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from holdshort.gate.catalog import Definition

__all__ = ["Rejection", "check_envelope", "check_parameters", "parameter_headers"]

_TASK_METHODS: Final = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})

Rejection = tuple[int, str, Any]
"""JSON-RPC error code, message and data."""


def check_envelope(body: Mapping[str, Any], headers: Iterable[tuple[str, str]]) -> Rejection | None:
    """Return why a modern request is refused, or None (MCP 2026-07-28, transports: standard request headers)."""
    from mcp.shared.inbound import (
        InboundLadderRejection,
        classify_inbound_request,
        decode_header_value,
        find_duplicated_routing_header,
    )
    from mcp_types.jsonrpc import HEADER_MISMATCH

    lines = list(headers)
    twice = find_duplicated_routing_header(lines)
    if twice is not None:
        return HEADER_MISMATCH, f"{twice} header appears more than once", None
    verdict = classify_inbound_request(body, headers=dict(lines))
    if isinstance(verdict, InboundLadderRejection):
        return verdict.code, verdict.message, verdict.data
    named = body["params"].get("taskId") if body["method"] in _TASK_METHODS else None
    if named is not None and decode_header_value(dict(lines).get("mcp-name")) != named:
        # Tasks extension 2026-07-28, streamable HTTP: routing headers.
        return HEADER_MISMATCH, "mcp-name header does not match the request body's 'taskId' parameter", None
    return None


def check_parameters(
    schema: object, arguments: Mapping[str, Any], headers: Iterable[tuple[str, str]]
) -> Rejection | None:
    """Return why the `Mcp-Param-*` headers of a call are refused, or None (same section, custom headers)."""
    from mcp.shared.inbound import validate_mcp_param_headers

    rejection = validate_mcp_param_headers(schema, arguments, _Lines(headers))
    return (rejection.code, rejection.message, rejection.data) if rejection is not None else None


def parameter_headers(definition: Definition, arguments: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the `Mcp-Param-*` headers that mirror `arguments`, as the tool's schema asks for them."""
    if not definition.has_header_parameters:
        return {}
    from mcp.shared.inbound import find_invalid_x_mcp_header, mcp_param_headers, x_mcp_header_map

    schema = definition.raw.get("inputSchema")
    if find_invalid_x_mcp_header(schema) is not None:
        return {}
    return mcp_param_headers(x_mcp_header_map(schema), arguments)


class _Lines(Mapping[str, str]):
    """Header lines as a mapping whose `items` still show a name that came twice."""

    def __init__(self, lines: Iterable[tuple[str, str]]) -> None:
        self._lines = list(lines)

    def __getitem__(self, key: str) -> str:
        return dict(self._lines)[key]

    def __iter__(self) -> Any:
        return (name for name, _ in self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def items(self) -> Any:
        return self._lines
