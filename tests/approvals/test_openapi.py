"""The published description is valid, complete, and true of what is answered."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from approvals.site import ANA, Site
from holdshort.approvals.app import make_app
from holdshort.approvals.problems import STATUS_OF


async def document(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = (await site.get("/openapi.json", None)).json()
    return found


async def test_the_description_is_valid_openapi(site: Site) -> None:
    found = await document(site)

    OpenAPIV31SpecValidator(found).validate()
    assert found["openapi"] == "3.1.0"


async def test_every_route_is_described_and_every_described_route_exists(site: Site) -> None:
    routes = {
        (method.lower(), route.path)
        for route in make_app(site.deps).routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    described = {(method, path) for path, methods in (await document(site))["paths"].items() for method in methods}

    assert described == routes


async def test_every_operation_has_an_id_of_its_own_and_says_how_to_be_let_in(site: Site) -> None:
    operations = [each for methods in (await document(site))["paths"].values() for each in methods.values()]

    assert len({each["operationId"] for each in operations}) == len(operations)
    assert all("security" in each and each["summary"] and each["tags"] for each in operations)


async def test_every_error_code_is_described_somewhere(site: Site) -> None:
    text = str((await document(site))["paths"])

    assert {code for code in STATUS_OF if f"`{code}`" not in text} == {"method_not_allowed"}


async def test_answers_are_as_described(site: Site) -> None:
    found = await document(site)
    record = await site.park()
    await site.decide(record, "edit", arguments={"path": "/data/new"}, message="other file")
    await site.run(record, {"content": [{"type": "text", "text": "done"}]})
    for path, sample in [
        ("/v1/interruptions", "/v1/interruptions"),
        ("/v1/interruptions/{id}", f"/v1/interruptions/{record.id}"),
        ("/v1/log", "/v1/log"),
        ("/v1/policy", "/v1/policy"),
        ("/v1/servers", "/v1/servers"),
        ("/healthz", "/healthz"),
        ("/readyz", "/readyz"),
        ("/openapi.json", "/openapi.json"),
    ]:
        schema = found["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        whole = {**schema, "components": found["components"]}
        jsonschema_rs.validator_for(whole).validate((await site.get(sample, ANA)).json())
