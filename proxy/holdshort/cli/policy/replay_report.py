"""What a replay found, in words and as JSON: looser first, then stricter, then what cannot be told; grouped by rule."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from holdshort.cli.policy.common import counted
from holdshort.policy import GRANT_LAYER, Action, Because
from holdshort.policy.decide import BUILT_IN_DEFAULT
from holdshort.policy.replay import Group, Tally, Turn
from holdshort.policy.shown import escaped

if TYPE_CHECKING:
    from holdshort.policy import Policy

__all__ = ["report_json", "report_lines"]

_TITLES: Final = {
    Turn.LOOSER: "LOOSER: {} would be judged less strictly",
    Turn.STRICTER: "stricter: {} would be judged more strictly",
    Turn.OTHER_TERMS: "other terms: {} would ask as before, on other terms",
    Turn.UNTOLD: "cannot be told: {}",
}
_TERMS: Final = {
    "approvers": "approvers",
    "required_approvals": "required_approvals",
    "expires_after": "expires_after",
    "decisions": "decisions",
    "execute": "execute",
}
_FEW: Final = 5


def report_lines(
    tally: Tally,
    policy: "Policy",
    old: "Policy | None",
    *,
    limit: int,
    changed_only: bool,
    servers: Collection[str],
    explain: str,
) -> Iterator[str]:
    """Yield the report for people.

    `servers` are those that the file of the new policy has, if it has any; `explain` is a command that tells more about
    one call, with `{}` for its sequence.
    """
    if tally.first is None or tally.last is None:
        yield "no calls: there is nothing to replay"
        return
    yield (
        f"{counted(tally.calls, 'call')} between {_time(tally.first)} and {_time(tally.last)}, by "
        f"{counted(len(tally.agents), 'agent')} on {counted(len(tally.servers), 'server')}: "
        f"{len(tally)} {'changes' if len(tally) == 1 else 'change'}, {tally.untold} cannot be told"
    )
    names = _Names(policy, old)
    for turn, title in _TITLES.items():
        groups = tally.groups(turn)
        if not groups or (changed_only and turn is Turn.UNTOLD):
            continue
        number = sum(group.count for group in groups)
        yield ""
        yield title.format(counted(number, "call"))
        for group in groups[:limit]:
            yield from (f"  {line}" for line in _group(group, names, limit))
        if len(groups) > limit:
            yield f"  and {counted(len(groups) - limit, 'more group')}; --limit shows more"
    yield from _notes(tally, servers)
    if len(tally) and explain:
        yield ""
        yield f"why, for one of them: {explain.format(next(iter(tally)).sequences[0])}"


def _notes(tally: Tally, servers: Collection[str]) -> Iterator[str]:
    gone = sorted(tally.servers - set(servers)) if servers else []
    if gone:
        yield ""
        listed = ", ".join(f"`{name}`" for name in gone)
        yield f"note: the file has no server {listed}; its rules were asked all the same"
    if tally.taken_as_pinned:
        yield ""
        about = counted(tally.taken_as_pinned, "call")
        yield f"note: pins did not count when {about} came, so the tools are taken for what they are pinned to"


class _Names:
    """Rules by what people call them, with the place in their file where that is known."""

    def __init__(self, policy: "Policy", old: "Policy | None") -> None:
        self._new = _places(policy)
        self._old = {} if old is None else _places(old)

    def new(self, because: Sequence[Because]) -> str:
        return _listed(because, self._new)

    def old(self, because: Sequence[Because]) -> str:
        return _listed(because, self._old)


def _places(policy: "Policy") -> dict[Because, str]:
    return {
        Because(layer.name, rule.id): str(rule.place)
        for layer in policy.layers
        for rule in layer.rules
        if rule.place is not None
    }


def _listed(because: Sequence[Because], places: dict[Because, str]) -> str:
    return " and ".join(_named(each, places) for each in because) or "no rule"


def _named(because: Because, places: dict[Because, str]) -> str:
    if because.layer == GRANT_LAYER:
        return "a standing grant"
    if because == BUILT_IN_DEFAULT:
        return "no rule at all"
    if because.layer == "default":
        return "no rule at all" if because.rule == "pass" else f"`{because.rule}`"
    if because.rule == "default":
        return f"the default of {because.layer}"
    if because.layer == "pins":
        return "the tool's pin"
    place = places.get(because)
    return f"`{because.rule}` ({place if place is not None else because.layer})"


def _group(group: Group, names: _Names, limit: int) -> Iterator[str]:
    calls = counted(group.count, "call")
    possible = " or ".join(action for action in Action if action in group.told.possible)
    verdict = group.told.verdict
    if group.turn is Turn.UNTOLD:
        why = ", and ".join(sorted(gap.value for gap in group.told.gaps)) or "the old policy cannot be told"
        then = f"{group.then.action} -> " if group.told.because else ""
        on = f", which depends on {names.new(group.told.because)}" if group.told.because else ""
        yield f"{calls}: {then}{possible}{on}: {why}"
    elif verdict is not None and group.turn is Turn.OTHER_TERMS:
        yield f"{calls}: still ask, now by {names.new(verdict.because)}: {_other_terms(group)}"
    else:
        was = "ran by a standing grant" if group.then.because and group.then.because[0].layer == GRANT_LAYER else ""
        how = was or f"{group.then.action} by {names.old(group.then.because)}"
        because = group.told.because if verdict is None else verdict.because
        now = ", and no grant may answer" if group.grants_end and was else ""
        yield f"{calls}: {group.then.action} -> {possible} by {names.new(because)}{now}; was {how}"
    sorts = sorted(group.sorts.values(), key=lambda sort: (-sort.count, sort.first))
    shown = sorts[: min(_FEW, limit)]
    for sort in shown:
        often = f", {sort.count} times, first" if sort.count > 1 else ""
        who = f"{escaped(sort.target)} by {escaped(sort.agent)}"
        yield f"  {who}{often} at {_time(sort.first_at)}, sequence {sort.first}"
    rest = group.count - sum(sort.count for sort in shown)
    if rest:
        yield f"  and {counted(rest, 'other call')}"


def _other_terms(group: Group) -> str:
    verdict, terms = group.told.verdict, group.then.terms
    if verdict is None or terms is None:
        return "on other terms"
    changed = [name for name in _TERMS if getattr(verdict.terms, name) != getattr(terms, name)]
    said = [f"{name} {_term(getattr(terms, name))} -> {_term(getattr(verdict.terms, name))}" for name in changed]
    return ", ".join(said)


def _term(value: Any) -> str:
    if isinstance(value, tuple):
        return " and ".join("one of " + ", ".join(sorted(allowed)) for allowed in value) or "anybody"
    if isinstance(value, frozenset):
        return ", ".join(sorted(map(str, value)))
    return str(value)


def _time(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def report_json(tally: Tally, policy: "Policy", old: "Policy | None") -> dict[str, Any]:
    """Return everything that was found, with every sequence."""
    names = _places(policy)
    return {
        "calls": tally.calls,
        "first": None if tally.first is None else _time(tally.first),
        "last": None if tally.last is None else _time(tally.last),
        "agents": sorted(tally.agents),
        "servers": sorted(tally.servers),
        "changed": len(tally),
        "unchanged": tally.same,
        "cannot_be_told": tally.untold,
        "tool_not_listed": tally.unasked,
        "taken_as_pinned": tally.taken_as_pinned,
        "policy_digest": policy.digest,
        "old_policy_digest": None if old is None else old.digest,
        "groups": [_group_json(group, names) for group in tally],
    }


def _group_json(group: Group, places: dict[Because, str]) -> dict[str, Any]:
    verdict = group.told.verdict
    return {
        "turn": group.turn.value,
        "count": group.count,
        "was": {"action": group.then.action.value, "because": [_because(each, {}) for each in group.then.because]},
        "now": None
        if verdict is None
        else {"action": verdict.action.value, "because": [_because(each, places) for each in verdict.because]},
        "possible": [action.value for action in Action if action in group.told.possible],
        "missing": sorted(gap.name.lower() for gap in group.told.gaps),
        "needed_by": [_because(each, places) for each in group.told.because],
        "calls": [
            {"target": sort.target, "agent": sort.agent, "count": sort.count, "first": sort.first, "last": sort.last}
            for sort in group.sorts.values()
        ],
        "sequences": group.sequences.tolist(),
    }


def _because(because: Because, places: dict[Because, str]) -> dict[str, Any]:
    return {"layer": because.layer, "rule": because.rule, "place": places.get(because)}
