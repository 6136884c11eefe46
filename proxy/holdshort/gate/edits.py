"""Edited arguments are judged like a call of their own: the tool's schema first, then policy, before anyone approves.

Schemas come from servers, so nothing in one is fetched, and patterns run in linear time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import jsonschema_rs

from holdshort.interruption import Interruption
from holdshort.policy import Action, Call, Caller, Policy, ToolFacts
from holdshort.wire import encode

__all__ = ["EditJudge", "Problem"]

_MAX_SCHEMA_BYTES: Final = 256 * 1024
_REGEX_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Problem:
    """Why edited arguments may not be sent, and where in them."""

    message: str
    pointer: str = ""


class EditJudge:
    """Says whether an approver's arguments may be sent in place of the agent's."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        clock: Callable[[], datetime],
        groups_of: Callable[[str], frozenset[str]],
        facts_of: Callable[[str, Mapping[str, Any]], ToolFacts],
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._groups_of = groups_of
        self._facts_of = facts_of

    async def check_edit(self, interruption: Interruption, arguments: Mapping[str, Any]) -> Problem | None:
        """Return what is wrong with `arguments`; None when they may be sent."""
        definition = interruption.definition or {}
        wrong = _schema_problem(definition.get("inputSchema"), arguments)
        if wrong is not None:
            return wrong
        asked = interruption.requested_by
        caller = Caller(asked.agent, self._groups_of(asked.agent), asked.client, asked.client_version)
        facts = self._facts_of(interruption.server, {**definition, "name": interruption.tool})
        verdict = self._policy().decide(Call(facts, arguments, caller, self._clock()))
        if verdict.action in (Action.DENY, Action.HIDE):
            rules = ", ".join(f"{because.layer} rule `{because.rule}`" for because in verdict.because)
            return Problem(f"policy forbids the call with these arguments ({rules})")
        return None


def _schema_problem(schema: object, arguments: Mapping[str, Any]) -> Problem | None:
    if not isinstance(schema, dict):
        return None
    if len(encode(schema)) > _MAX_SCHEMA_BYTES:
        return Problem("the tool's input schema is too large to check an edit against; reject the call instead")
    try:
        validator = jsonschema_rs.validator_for(
            schema,
            offline=True,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=_REGEX_BYTES, dfa_size_limit=_REGEX_BYTES),
        )
        error = next(iter(validator.iter_errors(dict(arguments))), None)
    except (ValueError, jsonschema_rs.ReferencingError) as fault:
        return Problem(f"the tool's input schema cannot be used to check an edit: {str(fault)[:200]}")
    if error is None:
        return None
    return Problem(error.message[:500], "".join(f"/{_escaped(step)}" for step in error.instance_path))


def _escaped(step: str | int) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")
