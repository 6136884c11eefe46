"""The published description: OpenAPI 3.1, made from the route table and the models, so it cannot say anything else."""

import re
from collections.abc import Sequence
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from holdshort.approvals.access import Endpoint, Who
from holdshort.approvals.bodies import ErrorOut
from holdshort.approvals.problems import STATUS_OF

__all__ = ["describe"]

_ALWAYS: Final = ("malformed", "bad_origin", "bad_host", "unavailable")
_OF_WHO: Final = {
    Who.ANYONE: (),
    Who.READER: ("unauthenticated",),
    Who.AGENT: ("unauthenticated", "forbidden"),
    Who.APPROVER: ("unauthenticated", "forbidden"),
    Who.BROWSER: ("unauthenticated",),
    Who.OPERATOR: ("unauthenticated", "forbidden"),
}
_OF_BODY: Final = ("too_large", "timeout", "unsupported_media_type")
_SECURITY: Final[dict[Who, list[dict[str, list[str]]]]] = {
    Who.ANYONE: [],
    Who.READER: [{"bearer": []}, {"session": []}],
    Who.AGENT: [{"bearer": []}, {}],
    Who.APPROVER: [{"bearer": []}, {"session": []}],
    Who.BROWSER: [{"session": []}],
    Who.OPERATOR: [{"bearer": []}, {"session": []}, {}],
}


def describe(endpoints: Sequence[Endpoint], version: str) -> dict[str, Any]:
    """Return the OpenAPI document of `endpoints`."""
    models = {model for each in endpoints for model in (each.body, each.answer) if model is not None} | {ErrorOut}
    _, schemas = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Holdshort approvals",
            "version": version,
            "summary": "Parked tool calls, and the decisions about them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "interruptions", "description": "Parked calls, and decisions about them."},
            {"name": "calls", "description": "Calls that agents run themselves, and ask about first."},
            {"name": "grants", "description": "Standing grants: what is approved in advance."},
            {"name": "pins", "description": "The definitions that tools are pinned to."},
            {"name": "operations", "description": "What operators look at."},
            {"name": "page", "description": "The review page; a browser with a login uses it."},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas.get("$defs", {}),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An agent's or an approver's token."},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "__Host-holdshort",
                    "description": (
                        "A browser's login; over plain http the cookie is `holdshort-` and the port. "
                        "What changes state needs the header `x-csrf-token` too."
                    ),
                },
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "security": _SECURITY[endpoint.who],
        "responses": _responses(endpoint),
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", endpoint.path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": text, "schema": dict(schema)}
        for name, (text, schema) in endpoint.query.items()
    ]
    if parameters:
        found["parameters"] = parameters
    if endpoint.body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(endpoint.body)}}}
    return found


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"} if endpoint.answer is None else _ref(endpoint.answer)
    responses: dict[str, Any] = {
        str(endpoint.status): {"description": "Done.", "content": {endpoint.media: {"schema": schema}}}
    }
    for status, meaning in endpoint.also.items():
        responses[str(status)] = {"description": meaning, "content": {endpoint.media: {"schema": schema}}}
    codes = [*_ALWAYS, *_OF_WHO[endpoint.who], *(_OF_BODY if endpoint.body else ()), *endpoint.errors]
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(STATUS_OF[code], []).append(code)
    for status, grouped in sorted(by_status.items()):
        responses[str(status)] = {
            "description": ", ".join(f"`{code}`" for code in dict.fromkeys(grouped)),
            "content": {"application/json": {"schema": _ref(ErrorOut)}},
        }
    return responses


def _ref(model: type[Any]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
