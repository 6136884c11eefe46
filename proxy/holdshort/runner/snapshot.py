"""A run as JSON and back, exactly. What is read is believed in nothing: it is checked against its JSON Schema and
against itself, and what does not hold together is refused whole.

The format is `schemas/run-state.schema.json`: a version, the run, what its agents were, and a signature if it has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema_rs

from holdshort.runner.data import CallData, CallKind, CallStatus, Entry, RunData, RunStatus, Source, UsageData
from holdshort.runner.errors import StateDamaged, StateVersionError
from holdshort.runner.plain import checked, parse, pointer
from holdshort.runner.signing import Secret, sign, verify

__all__ = ["READS", "VERSION", "Snapshot", "check_version", "read", "read_text", "run_of", "schema_file", "write"]

VERSION: Final = "1.0"
"""What is written."""
READS: Final = (VERSION,)
"""What is read."""
_KEY: Final = "holdshort_run_state"
_MAX_RUNS: Final = 32
"""Runs inside each other: as deep as a path of agents may be at the proxy."""

AgentPrints = Mapping[str, Mapping[str, Any]]
Snapshot = tuple[RunData, dict[str, dict[str, Any]]]
"""A run, and what its agents were when it was saved."""


def write(data: RunData, agents: AgentPrints, *, secret: Secret | None = None) -> dict[str, Any]:
    """Return the saved form of a run: plain JSON that shares nothing with it, signed if there is a secret.

    What this writes can be read again, or it is not written.

    Raises:
        StateDamaged: something in the run is no JSON, or contradicts the rest; the message names the place.
        UserError: the secret is too short.
    """
    document: dict[str, Any] = checked(
        {_KEY: VERSION, "run": _plain_run(data), "agents": {name: dict(each) for name, each in agents.items()}}
    )
    _check_shape(document)
    _check_sense(document["run"])
    if secret is not None:
        sign(document, secret)
    return document


def read_text(text: str | bytes, *, secret: Secret | None = None) -> Snapshot:
    """Read the text of a saved state; see `read`."""
    return read(parse(text), secret=secret)


def read(document: Any, *, secret: Secret | None = None) -> Snapshot:
    """Return what a saved state says. The version is looked at first, then the signature, then the rest.

    Raises:
        StateVersionError: this release does not read its version.
        StateTampered: its signature is wrong, missing, or there is no secret to check it with.
        StateDamaged: it is not what its schema says, or contradicts itself; the message names the place.
        UserError: the secret is too short.
    """
    check_version(document)
    whole = checked(document)
    verify(whole, secret)
    _check_shape(whole)
    _check_sense(whole["run"])
    return run_of(whole["run"]), whole["agents"]


def check_version(document: Any) -> None:
    """Refuse a state of a version that is not known, whatever else it says.

    Raises:
        StateVersionError: it is of another version.
        StateDamaged: it says no version, so it is no saved state.
    """
    if not isinstance(document, dict):
        checked(document)
        raise StateDamaged("the state at `/` is no JSON object; this is no saved state of a run")
    said = document.get(_KEY)
    if not isinstance(said, str):
        raise StateDamaged(f"the state at `/{_KEY}` names no version; this is no saved state of a run")
    if said not in READS:
        raise StateVersionError(
            f"the state is of version {said[:40]!a}, and this release reads {', '.join(READS)}; "
            "go on with the release that saved it, or start the run anew"
        )


def schema_file() -> Path:
    """Return where the JSON Schema of saved states is."""
    return Path(__file__).parents[1] / "schemas" / "run-state.schema.json"


def run_of(said: Mapping[str, Any]) -> RunData:
    """Return the run that a checked JSON object says."""
    fields: dict[str, Any] = {
        **said,
        "status": RunStatus(said["status"]),
        "history": [
            Entry(each["item"], Source(each["source"]), each["agent"], each["response_id"]) for each in said["history"]
        ],
        "calls": [_call_of(each) for each in said["calls"]],
        "usage": UsageData(**said["usage"]),
    }
    return RunData(**fields)


def _call_of(said: Mapping[str, Any]) -> CallData:
    run = said["run"]
    fields: dict[str, Any] = {
        **said,
        "kind": CallKind(said["kind"]),
        "status": CallStatus(said["status"]),
        "run": None if run is None else run_of(run),
    }
    return CallData(**fields)


def _plain_run(data: RunData) -> dict[str, Any]:
    said = {name: getattr(data, name) for name in data.__slots__}
    said["status"] = data.status.value
    said["history"] = [
        {"item": each.item, "source": each.source.value, "agent": each.agent, "response_id": each.response_id}
        for each in data.history
    ]
    said["calls"] = [_plain_call(each) for each in data.calls]
    said["usage"] = asdict(data.usage)
    return said


def _plain_call(call: CallData) -> dict[str, Any]:
    said = {name: getattr(call, name) for name in call.__slots__}
    said["kind"], said["status"] = call.kind.value, call.status.value
    said["run"] = None if call.run is None else _plain_run(call.run)
    return said


@cache
def _schema() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(parse(schema_file().read_bytes()))


def _check_shape(document: dict[str, Any]) -> None:
    for error in _schema().iter_errors(document):
        found = _deepest(error)
        # Values may be long, and may be what nobody should read in a log; the place says enough.
        raise StateDamaged(f"the state at `{pointer(found.instance_path)}` {_words(found)}")


def _deepest(error: jsonschema_rs.ValidationError) -> jsonschema_rs.ValidationError:
    """Return the fault itself, of a fault in something that may also be null."""
    if error.kind.name != "anyOf":
        return error
    inner = [_deepest(each) for branch in error.kind.as_dict()["context"] for each in branch]
    return max(inner, key=lambda each: len(each.instance_path))


def _words(error: jsonschema_rs.ValidationError) -> str:
    kind = error.kind.as_dict()
    match error.kind.name:
        case "additionalProperties":
            return f"has the unknown field `{str(kind['unexpected'][0])[:80]}`"
        case "required":
            return f"has no `{kind['property']}`"
        case "type":
            return f"has to be of type {' or '.join(kind['types']) if 'types' in kind else kind.get('type')}"
        case name:
            return f"does not fit the schema's `{name}`"


def _check_sense(run: Mapping[str, Any], at: str = "/run", depth: int = 1, keys: set[str] | None = None) -> None:
    """Refuse what no schema can: counts beyond the history, a key that two calls have, statuses without substance."""
    seen: set[str] = set() if keys is None else keys
    if depth > _MAX_RUNS:
        raise StateDamaged(
            f"the state at `{at}` is run {depth} of runs inside each other; at most {_MAX_RUNS} are read"
        )
    for name in ("known", "saved"):
        if run[name] > len(run["history"]):
            raise StateDamaged(f"the state at `{at}/{name}` counts more than the {len(run['history'])} in `history`")
    for place in _floats_for_integers(run):
        raise StateDamaged(f"the state at `{at}/{place}` has to be written as an integer")
    for index, call in enumerate(run["calls"]):
        here = f"{at}/calls/{index}"
        if call["key"] in seen:
            raise StateDamaged(f"the state at `{here}/key` has the key of another call")
        seen.add(call["key"])
        problem = _contradiction(call)
        if problem:
            raise StateDamaged(f"the state at `{here}` {problem}")
        if call["run"] is not None:
            _check_sense(call["run"], f"{here}/run", depth + 1, seen)


def _contradiction(call: Mapping[str, Any]) -> str | None:
    status, record = call["status"], call["interruption"]
    if (status == CallStatus.DONE) != (call["output"] is not None):
        return "is done without an output" if status == CallStatus.DONE else "has an output and is not done"
    if status in (CallStatus.PARKED, CallStatus.CLAIMED) and record is None:
        return f"is {status} without the proxy's record"
    if status == CallStatus.CLAIMED and call["token"] is None:
        return "is claimed without the claim's token"
    if call["run"] is not None and call["kind"] != CallKind.AGENT:
        return "has a run inside and is no call of an agent"
    if record is not None and type(record["revision"]) is not int:
        return "has a record whose revision is not written as an integer"
    return None


def _floats_for_integers(run: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is written as `1.0`: an integer to a schema, and not to a dataclass."""
    yield from (
        name for name in ("revision", "max_turns", "turn", "known", "saved", "written") if type(run[name]) is float
    )
    yield from (f"usage/{name}" for name, value in run["usage"].items() if type(value) is float)
    yield from (f"calls/{index}/token" for index, call in enumerate(run["calls"]) if type(call["token"]) is float)
