"""Verdicts in words, for every command that tells why: short, numbered, and enough for somebody who was not there."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from holdshort.policy import Access, Call, Explanation, LayerOpinion, Policy, RuleReason

__all__ = ["explanation_lines", "layer_lines"]

_MOST_ELSEWHERE: Final = 5
"""How many rules that are about something else are named in a row."""


def layer_lines(policy: "Policy", question: "Call | Access") -> list[str]:
    """Return one line for each layer: what it says of `question`, and where."""
    from holdshort.policy import explain

    lines: list[str] = []
    for opinion in explain(policy, question).layers:
        place = f" ({opinion.place})" if opinion.place else ""
        lines.append(f"{opinion.layer}: {opinion.words}{place}")
    return lines


def explanation_lines(told: "Explanation", question: "Call | Access", known: str) -> Iterator[str]:
    """Return the whole explanation. `known` says where the facts of the tool are from."""
    from holdshort.policy.cases import target_of
    from holdshort.policy.shown import escaped

    verdict = told.verdict
    yield f"{verdict.action}: {escaped(target_of(question))} {_verb(question)} by {_caller(question)}"
    yield f"because {', '.join(f'{reason.layer}: {reason.rule}' for reason in verdict.because)}"
    yield ""
    yield "1. What was asked"
    yield from (f"   {line}" for line in _asked(question, known))
    yield ""
    yield "2. What each layer says"
    if not told.layers:
        yield "   there are no layers; without any policy every call asks"
    for opinion in told.layers:
        yield from (f"   {line}" for line in _layer(opinion))
    yield ""
    yield "3. Why this verdict"
    yield f"   {told.decided}"
    yield from (f"   error: {error}" for error in verdict.errors)
    if told.pins is not None:
        yield f"   {told.pins}"
    if told.terms:
        yield ""
        yield "4. How it is decided"
        for term in told.terms:
            by = ", ".join(f"{reason.layer}: {reason.rule}" for reason in term.said_by)
            yield f"   {term.term}: {term.words}{f'  ({by})' if by else ''}"
    if told.grant is not None and verdict.action != "allow":
        yield ""
        yield f"{5 if told.terms else 4}. Standing grants"
        yield f"   {told.grant}"


def _verb(question: "Call | Access") -> str:
    from holdshort.policy import Call, Kind

    if isinstance(question, Call):
        return "called"
    return {Kind.RESOURCE: "read", Kind.PROMPT: "used"}.get(question.kind, "asked of a client")


def _caller(question: "Call | Access") -> str:
    from holdshort.policy.shown import escaped

    caller = question.caller
    groups = f" (in {', '.join(sorted(caller.groups))})" if caller.groups else ""
    client = f" with {escaped(' '.join(filter(None, (caller.client, caller.client_version))))}" if caller.client else ""
    return f"{caller.agent}{groups}{client}"


def _asked(question: "Call | Access", known: str) -> Iterator[str]:
    from holdshort.policy import Call
    from holdshort.policy.shown import shown

    if question.arguments or isinstance(question, Call):
        yield f"arguments: {shown(question.arguments, 400)}"
    yield f"time: {shown(question.now)}"
    if isinstance(question, Call):
        tool = question.tool
        words = [
            "read-only" if tool.read_only else "not read-only",
            "destructive" if tool.destructive else "not destructive",
            "idempotent" if tool.idempotent else "not idempotent",
            "open-world" if tool.open_world else "not open-world",
        ]
        yield f"tool: {', '.join(words)} ({known})"


def _layer(opinion: "LayerOpinion") -> Iterator[str]:
    from holdshort.policy.explain import Part
    from holdshort.policy.shown import escaped
    from holdshort.policy.trace import Outcome

    part = {Part.DECIDES: " <- decides", Part.OVERRULED: ", overruled"}.get(opinion.part, "")
    said = f"says {opinion.action}" if opinion.action is not None else "abstains"
    yield f"{opinion.layer}: {said}{part}"
    if not opinion.rules:
        yield "  - it has no rules"
    elsewhere: list[RuleReason] = []
    later = 0
    for rule in opinion.rules:
        if rule.outcome in {Outcome.OTHER_KIND, Outcome.OTHER_TARGET}:
            elsewhere.append(rule)
        elif rule.outcome is Outcome.NOT_REACHED:
            later += 1
        else:
            yield from _elsewhere(elsewhere)
            elsewhere = []
            yield f"  - {rule.rule}{_place(rule)}: {escaped(rule.words)}"
            yield from (f"      {'  ' * seen.depth}{seen}" for seen in rule.seen)
    yield from _elsewhere(elsewhere)
    if later:
        yield f"  - {later} later {'rule was' if later == 1 else 'rules were'} not looked at"
    if opinion.action is None and "its default counts" in opinion.words:
        yield f"  - {opinion.words.rpartition('; ')[2]}"


def _elsewhere(rules: "list[RuleReason]") -> Iterator[str]:
    """The rules in a row that are about something else: the first few with what they are about, then their number."""
    for rule in rules[:_MOST_ELSEWHERE]:
        yield f"  - {rule.rule}{_place(rule)}: {rule.words}"
    if len(rules) > _MOST_ELSEWHERE:
        yield f"  - {len(rules) - _MOST_ELSEWHERE} more are about something else"


def _place(rule: "RuleReason") -> str:
    return f" ({rule.place})" if rule.place is not None else ""
