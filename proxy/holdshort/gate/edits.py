"""Edited arguments are judged like a call of their own: the tool's schema first, then policy, before anyone approves.

Schemas come from servers, so nothing in one is fetched, and patterns run in linear time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import jsonschema_rs

from holdshort.gate.parking import overruled
from holdshort.interruption import Interruption
from holdshort.policy import Action, Call, Caller, Policy, ToolFacts, Verdict
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
        *,
        was_in_force: Callable[[str], bool] = lambda digest: False,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._groups_of = groups_of
        self._facts_of = facts_of
        self._was_in_force = was_in_force

    async def check_edit(self, interruption: Interruption, arguments: Mapping[str, Any]) -> Problem | None:
        """Return what is wrong with `arguments`; None when they may be sent."""
        definition = interruption.definition or {}
        wrong = _schema_problem(definition.get("inputSchema"), arguments)
        if wrong is not None:
            return wrong
        verdict = self._verdict(interruption, arguments)
        if verdict.action in (Action.DENY, Action.HIDE):
            rules = ", ".join(f"{because.layer} rule `{because.rule}`" for because in verdict.because)
            return Problem(f"policy forbids the call with these arguments ({rules})")
        return None

    async def overruled(self, interruption: Interruption) -> str | None:
        """Return why policy has overtaken a parked call, so that to approve it would be in vain; None if it has not.

        Only where it was parked under a policy of this process: another process judges its calls by its own.
        """
        digest = interruption.policy_digest
        if digest == self._policy().digest or not self._was_in_force(digest):
            return None
        return overruled(self._verdict(interruption, interruption.arguments), interruption)

    def call_of(self, interruption: Interruption, arguments: Mapping[str, Any]) -> Call:
        """Return the call as policy and conditions see it."""
        asked = interruption.requested_by
        caller = Caller(asked.agent, self._groups_of(asked.agent), asked.client, asked.client_version)
        facts = self._facts_of(interruption.server, {**(interruption.definition or {}), "name": interruption.tool})
        return Call(facts, arguments, caller, self._clock())

    def _verdict(self, interruption: Interruption, arguments: Mapping[str, Any]) -> Verdict:
        return self._policy().decide(self.call_of(interruption, arguments))


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
