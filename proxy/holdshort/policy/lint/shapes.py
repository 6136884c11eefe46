"""Conditions against the input schemas of the tools that their rule names."""

from collections.abc import Iterable, Mapping
from typing import Any

from holdshort.policy.cel import CelCondition, ConditionProblem, check_condition
from holdshort.policy.lint.findings import Finding, Surroundings, within
from holdshort.policy.lint.space import name_matches
from holdshort.policy.model import Kind, Layer, Rule

__all__ = ["find_ill_typed"]

_NAMED = 3


def find_ill_typed(layer: Layer, rule: Rule, around: Surroundings) -> Iterable[Finding]:
    """Yield a finding for each place of the condition that does not fit.

    What fits no tool that is known is a problem; what fits some and not others is a note, because one rule may be for
    tools of several shapes.
    """
    if rule.kind is not Kind.TOOL or not isinstance(rule.when, CelCondition):
        return
    schemas = {
        f"{server}__{name}": schema
        for server, tools in around.tools.items()
        for name, (_, schema) in tools.items()
        if schema is not None and name_matches(rule, server, name)
    }
    if not schemas:
        return
    wrong: dict[int, dict[str, ConditionProblem]] = {}
    for tool, schema in schemas.items():
        for problem in _problems(rule.when, schema):
            wrong.setdefault(problem.offset, {})[tool] = problem
    for offset, by_tool in sorted(wrong.items()):
        message = next(iter(by_tool.values())).message
        everywhere = len(by_tool) == len(schemas)
        if not everywhere and all(problem.tested for problem in by_tool.values()):
            continue  # the condition asks first whether the argument is there, as it should
        words = message
        if len(schemas) > 1:
            named = ", ".join(f"`{tool}`" for tool in list(by_tool)[:_NAMED])
            more = f" and {len(by_tool) - _NAMED} more" if len(by_tool) > _NAMED else ""
            words = f"{message} ({'all of ' if everywhere else ''}{named}{more})"
        code = "ill-typed" if everywhere else "ill-typed-some"
        place, where = within(rule, offset)
        yield Finding(code, f"{words}{where}", layer.name, rule.id, place)


def _problems(condition: CelCondition, schema: Mapping[str, Any]) -> list[ConditionProblem]:
    return list(check_condition(condition, schema))
