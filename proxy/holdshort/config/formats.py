"""The file formats as models, from which the JSON Schemas that editors complete from are generated.

The reader (`load.py`) judges files, with places and hints that no schema can give; these models only describe. Tests
hold the two together: the keys are the reader's own, what it accepts is valid here, and what it refuses for its shape
is not.
"""

import json
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from holdshort.config.load import FOREIGN_CONFIG_KEYS
from holdshort.config.model import LimitsConfig
from holdshort.config.servers import ALIASES, FOREIGN_SERVER_KEYS

__all__ = ["FORMATS", "CasesFile", "ConfigurationFile", "PolicyFile", "json_schema", "main", "schema_file"]

_DURATION: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d|w))+$"
_REFERENCE: Final = r"\$\{"

Reference = Annotated[str, Field(pattern=_REFERENCE, description="`${NAME}` or `${NAME:-default}`")]
Duration = Annotated[str, Field(pattern=_DURATION, examples=["30s", "30m", "24h", "7d"])] | Reference
Seconds = Annotated[float, Field(ge=0)] | Duration
Size = (
    Annotated[int, Field(ge=1)] | Annotated[str, Field(pattern=r"^[0-9]+ *[A-Za-z]*$", examples=["4MiB"])] | Reference
)
Count = Annotated[int, Field(ge=1)] | Reference
Switch = bool | Reference
Text = str
Scalar = str | int | float | bool
Names = str | Annotated[list[str], Field(min_length=1)]
Version = Literal[1]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}$")] | int
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
RuleId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")] | int
Approval = Literal["always", "never"] | bool
Decisions = Literal["approve", "edit", "reject", "respond"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ToolNames(_Model):
    """Tools by their own names."""

    tool_names: list[str] = []


class ToolLists(_Model):
    """The shape of the OpenAI Agents SDK: tools that always ask, tools that never do."""

    always: ToolNames | None = None
    never: ToolNames | None = None


class ToolFilter(_Model):
    """First only what is allowed stays, then what is blocked goes."""

    allowed_tool_names: list[str] | None = None
    blocked_tool_names: list[str] | None = None


class Server(_Model):
    """One server, as MCP clients write it: a program to start, or a URL to connect to."""

    command: Annotated[str | None, Field(description="The program to start, for a local server")] = None
    args: Annotated[list[Scalar] | None, Field(description="Its arguments")] = None
    env: Annotated[dict[str, Scalar | None] | None, Field(description="Its environment variables")] = None
    cwd: Annotated[str | None, Field(description="Its working folder; relative to this file")] = None
    url: Annotated[str | None, Field(description="Where to connect, for a hosted server")] = None
    headers: Annotated[dict[str, Scalar] | None, Field(description="HTTP headers to send")] = None
    type: Annotated[str | None, Field(description="`stdio`, `http` or `sse`; only needed for `sse`")] = None
    timeout: Annotated[Seconds | None, Field(description="How long it may be silent in one call")] = None
    disabled: Annotated[Switch, Field(description="Leave this server out")] = False
    trust_annotations: Annotated[
        Switch, Field(description="`false`: do not believe what the server declares about its tools")
    ] = True
    require_approval: Annotated[
        Approval | ToolLists | dict[str, Approval] | None,
        Field(description="Every shape that the OpenAI Agents SDK takes"),
    ] = None
    tool_filter: Annotated[ToolFilter | None, Field(description="Which tools there are")] = None
    allowed_tools: Annotated[list[str] | None, Field(description="The only tools there are")] = None


class Person(_Model):
    """Somebody with a bearer token."""

    name: Name
    token: Annotated[Scalar, Field(description="`${NAME}` keeps it out of the file")]
    groups: Annotated[Names | list[Name] | None, Field(description="Groups that rules can name")] = None


class Agent(Person):
    """One who asks."""

    acts_for: Annotated[Name | None, Field(description="The approver behind it, who may not decide its calls")] = None


class Approvals(_Model):
    """Where approvers are served."""

    listen: Annotated[Scalar | None, Field(description="Another address than `listen`")] = None
    public_url: Annotated[str | None, Field(description="The base of review links")] = None


class Hold(_Model):
    """How long a call that waits for approval is kept open."""

    default: Seconds | None = None
    clients: Annotated[dict[str, Seconds] | None, Field(description="By globs over the client's name")] = None


class Record(_Model):
    """What is recorded of calls, for replays."""

    keep: Annotated[Seconds | None, Field(description="How long; `7d` where it is not said")] = None
    arguments: Annotated[Switch, Field(description="`false`: only the facts of the tool and the caller")] = True
    redact: Annotated[
        Names | dict[str, Names] | None,
        Field(description="Names of arguments to leave out, at any depth; or such by globs over `server__tool`"),
    ] = None
    max_bytes: Annotated[Size | None, Field(description="The largest call whose arguments are recorded")] = None


class PackUse(_Model):
    """A pack, bound to servers by their labels."""

    pack: str
    servers: Annotated[Names | None, Field(description="Labels of the servers it is about")] = None


class Rule(_Model):
    """One rule. The first rule of a file that matches a call is the file's opinion."""

    id: Annotated[RuleId, Field(description="Its name in verdicts and in the log")]
    action: Annotated[Literal["allow", "ask", "deny", "hide"], Field(description="What happens to what it matches")]
    tools: Annotated[Names | None, Field(description="Globs over `server__tool`")] = None
    resources: Annotated[Names | None, Field(description="Globs over `server__uri`, in place of `tools`")] = None
    prompts: Annotated[Names | None, Field(description="Globs over `server__name`, in place of `tools`")] = None
    server_requests: Annotated[Names | None, Field(description="Globs over `server__method`, in place of `tools`")] = (
        None
    )
    agents: Annotated[Names | None, Field(description="Names or groups of agents, globs allowed")] = None
    when: Annotated[str | bool | None, Field(description="A condition over `args`, `tool`, `caller` and `now`")] = None
    approvers: Annotated[Names | None, Field(description="With `ask`: names or groups that may decide")] = None
    required_approvals: Annotated[Count | None, Field(description="With `ask`: how many approvers it takes")] = None
    expires_after: Annotated[Duration | None, Field(description="With `ask`: how long the call waits")] = None
    decisions: Annotated[
        Decisions | list[Decisions] | None, Field(description="With `ask`: what an approver may choose")
    ] = None
    execute: Annotated[
        Literal["claimed", "on_decision"] | None, Field(description="With `ask`: when the approved call runs")
    ] = None
    grants: Annotated[
        Switch | None, Field(description="With `ask`: whether a standing grant may answer in an approver's place")
    ] = None


class PolicyFile(_Model):
    """A policy file: one layer of rules."""

    version: Version = 1
    default: Annotated[
        Literal["allow", "ask", "deny"] | None, Field(description="When no layer at all has an opinion")
    ] = None
    pins: Annotated[Literal["first_use", "strict", "off"] | None, Field(description="What a tool's pin is worth")] = (
        None
    )
    packs: Annotated[
        str | PackUse | list[str | PackUse] | None, Field(description="Ready-made rules, after this file's own")
    ] = None
    loosens: Annotated[Names | None, Field(description="Digest of the policy that this one knowingly loosens")] = None
    rules: Annotated[list[Rule], Field(description="The rules, in order")] = []


class ConfigurationFile(_Model):
    """`holdshort.yaml`: servers, people and limits. The rules are in policy files."""

    version: Version = 1
    mcpServers: Annotated[dict[Label, Server] | None, Field(description="The servers, by label")] = None  # noqa: N815
    servers: Annotated[dict[Label, Server] | None, Field(description="The same as `mcpServers`")] = None
    agents: Annotated[list[Agent] | None, Field(description="Who may ask")] = None
    approvers: Annotated[list[Person] | None, Field(description="Who may decide")] = None
    policy: Annotated[Names | list[str] | None, Field(description="Policy files, one layer each")] = None
    listen: Annotated[Scalar | None, Field(description="Address of the proxy, `127.0.0.1:7411`")] = None
    approvals: Approvals | None = None
    hold: Annotated[Seconds | Hold | None, Field(description="How long a waiting call is kept open")] = None
    limits: Annotated[Any, Field(description="Limits")] = None
    state_dir: Annotated[str | None, Field(description="The state folder; relative to this file")] = None
    record: Annotated[
        Duration | bool | Record | None, Field(description="Record calls for `holdshort policy replay`; off by default")
    ] = None
    separation_of_duties: Annotated[
        Switch, Field(description="The person an agent acts for may not decide its calls")
    ] = False
    allowed_hosts: Annotated[Names | None, Field(description="More `Host` headers to answer to")] = None
    allowed_origins: Annotated[Names | None, Field(description="More `Origin` headers to answer to")] = None
    loosens: Annotated[Names | None, Field(description="Digest of the policy that this one knowingly loosens")] = None


class Annotations(_Model):
    """What the server declares of the tool, in MCP's own words."""

    model_config = ConfigDict(extra="allow")

    readOnlyHint: bool | None = None  # noqa: N815
    destructiveHint: bool | None = None  # noqa: N815
    idempotentHint: bool | None = None  # noqa: N815
    openWorldHint: bool | None = None  # noqa: N815


class ExpectedTerms(_Model):
    """Terms of an `ask`; only what is named is compared."""

    approvers: Any = None
    required_approvals: int | None = None
    expires_after: Duration | None = None
    decisions: Decisions | list[Decisions] | None = None
    execute: Literal["claimed", "on_decision"] | None = None
    grants: bool | None = None


class Case(_Model):
    """A question about one call, and the answer that is expected."""

    note: Annotated[str | None, Field(description="The rule in a sentence")] = None
    call: Annotated[str | None, Field(description="`server__tool`")] = None
    resource: Annotated[str | None, Field(description="`server__uri`, in place of `call`")] = None
    prompt: Annotated[str | None, Field(description="`server__name`, in place of `call`")] = None
    server_request: Annotated[str | None, Field(description="`server__method`, in place of `call`")] = None
    args: Annotated[dict[str, Any] | None, Field(description="The arguments")] = None
    agent: str | None = None
    groups: Names | list[str] | None = None
    client: str | None = None
    client_version: Scalar | None = None
    now: Annotated[str | None, Field(description="RFC 3339, UTC")] = None
    annotations: Annotations | None = None
    pinned: Annotated[bool | None, Field(description="`false`: the tool differs from its pin")] = None
    verdict: Literal["allow", "ask", "deny", "hide"]
    because: Annotated[Names | list[str] | None, Field(description="The rules that carry the verdict")] = None
    terms: ExpectedTerms | None = None
    errors: Annotated[bool | None, Field(description="Whether some condition could not be evaluated")] = None


class CasesFile(_Model):
    """`NAME.cases.yaml`: what a policy is meant to say, tested by `holdshort policy test`."""

    version: Version = 1
    policy: Annotated[Names | None, Field(description="The policy; unsaid, `NAME.yaml` beside this file")] = None
    cases: list[Case]


FORMATS: Final[dict[str, type[BaseModel]]] = {
    "config": ConfigurationFile,
    "policy": PolicyFile,
    "cases": CasesFile,
}
"""Every format by the name it has on the command line."""


def json_schema(format_name: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one of `FORMATS`.

    Raises:
        KeyError: there is no such format.
    """
    schema = FORMATS[format_name].model_json_schema()
    if format_name == "config":
        _complete_configuration(schema)
    _for_editors(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"holdshort {format_name}", **schema}


def schema_file(format_name: str) -> Path:
    """Return where the schema of one of `FORMATS` is kept in this installation."""
    return Path(__file__).parents[1] / "schemas" / f"{format_name}.schema.json"


def main() -> None:
    """Write the schemas anew: `python -m holdshort.config.formats`."""
    for format_name in FORMATS:
        text = json.dumps(json_schema(format_name), indent=2, ensure_ascii=False)
        schema_file(format_name).write_text(text + "\n")


def _complete_configuration(schema: dict[str, Any]) -> None:
    """Add what other clients write beside ours, and the limits, which have a table of their own."""
    server = schema["$defs"]["Server"]["properties"]
    for alias, meant in ALIASES.items():
        server[alias] = {**server[meant], "description": f"The same as `{meant}`"}
    for key in sorted(FOREIGN_SERVER_KEYS):
        server.setdefault(key, {"description": "A key of another client", "deprecated": True})
    for key in sorted(FOREIGN_CONFIG_KEYS):
        schema["properties"].setdefault(key, {"description": "A key of another client", "deprecated": True})
    limits: dict[str, Any] = {}
    for limit in fields(LimitsConfig):
        kind: Any = Seconds if limit.type is float else Size if limit.name.endswith("_bytes") else Count
        limits[limit.name] = {**TypeAdapter(kind).json_schema(), "default": limit.default}
    schema["properties"]["limits"] = {
        "type": ["object", "null"],
        "properties": limits,
        "additionalProperties": False,
        "description": "How much is too much",
    }


def _for_editors(schema: Any) -> None:
    """Leave out what only describes the models: titles that repeat the key, the null of a key that is not there."""
    if isinstance(schema, dict):
        if isinstance(schema.get("title"), str):
            del schema["title"]
        if "default" in schema and schema["default"] is None:
            del schema["default"]
            said = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
            if len(said) == 1:
                del schema["anyOf"]
                schema |= {**said[0], **schema}
            elif said:
                schema["anyOf"] = said
        if "patternProperties" in schema:
            schema["additionalProperties"] = False
        for value in schema.values():
            _for_editors(value)
    elif isinstance(schema, list):
        for value in schema:
            _for_editors(value)


if __name__ == "__main__":
    main()
