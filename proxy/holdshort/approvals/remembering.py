"""What an approver asks to have remembered, checked before anything is decided: a grant must cover its own call."""

from datetime import timedelta
from typing import Any, Final

from holdshort.approvals.access import Visit
from holdshort.approvals.bodies import AnyValueBody, RememberBody
from holdshort.approvals.problems import Refused
from holdshort.config.units import parse_seconds
from holdshort.interruption import FingerprintMismatch, Interruption, State, is_eligible
from holdshort.policy import DEFAULT_LIFETIME, DEFAULT_MAX_USES, BadScope, Scope, Wish, exactly, scope_from_json
from holdshort.wire import encode

__all__ = ["wish_for"]

_MAX_BYTES: Final = 64 * 1024


def wish_for(visit: Visit, record: Interruption, seen: str, body: RememberBody) -> dict[str, Any] | None:
    """Return the wish as it goes with the approval; None where the machine will refuse the approval anyway.

    Raises:
        FingerprintMismatch: the call changed since it was looked at.
        Refused: `invalid_remember`, with a pointer to what is wrong.
    """
    principal = visit.principal
    if record.state is not State.PENDING or not is_eligible(record, principal.name, principal.groups):
        return None
    if seen != record.fingerprint:
        raise FingerprintMismatch(record, seen)
    try:
        wish = Wish(_scope(record, body), _lifetime(visit, body.lifetime), _uses(visit, body.max_uses))
        _check(visit, record, wish.scope)
    except BadScope as error:
        raise Refused("invalid_remember", str(error), pointer=f"/remember{error.pointer}") from None
    return wish.to_json()


def _check(visit: Visit, record: Interruption, scope: Scope) -> None:
    if not record.terms.grants:
        raise BadScope("a rule that asks about this call, or a changed definition, lets no grant answer for it")
    if record.fingerprint != record.requested_fingerprint:
        raise BadScope("the call was edited; a grant is about what the agent itself asks for")
    if len(encode(scope.to_json())) > _MAX_BYTES:
        raise BadScope(f"at most {_MAX_BYTES // 1024} KiB of arguments can be remembered", "/arguments")
    misfit = scope.misfit(visit.deps.judge.call_of(record, record.arguments))
    if misfit is not None:
        raise BadScope(f"the grant would not cover this very call: {misfit}", "/arguments")


def _scope(record: Interruption, body: RememberBody) -> Scope:
    if body.arguments == "exact":
        named = exactly(record.arguments).to_json()["arguments"]
    else:
        named = {
            name: {"any": True} if isinstance(allowed, AnyValueBody) else {"in": allowed.values}
            for name, allowed in body.arguments.items()
        }
    return scope_from_json({"arguments": named, "when": body.when})


def _lifetime(visit: Visit, text: str | None) -> timedelta:
    longest = visit.deps.limits.grant_lifetime
    if text is None:
        return min(DEFAULT_LIFETIME, longest)
    seconds = parse_seconds(text, bare=False)
    if seconds is None:
        raise BadScope(f"`{text}` is no length of time; write `12h` or `7d`", "/for")
    if seconds > longest.total_seconds():
        raise BadScope(f"a grant lasts {_in_words(longest)} at most (`limits.grant_lifetime`)", "/for")
    return timedelta(seconds=seconds)


def _uses(visit: Visit, number: int | None) -> int:
    most = visit.deps.limits.grant_uses
    if number is None:
        return min(DEFAULT_MAX_USES, most)
    if number > most:
        raise BadScope(f"a grant has {most} uses at most (`limits.grant_uses`)", "/max_uses")
    return number


def _in_words(span: timedelta) -> str:
    return f"{span.days} days" if span >= timedelta(days=2) else f"{span.total_seconds():g} seconds"
