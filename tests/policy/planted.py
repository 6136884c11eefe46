"""Faults put into a copy of the engine, each of which the comparison with the naive reading has to see.

    python tests/policy/planted.py

For every fault, the number of questions until the first difference is printed; fails when one is not seen. A fault is
put into the text of a module as it is imported, in a process of its own.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

__all__ = ["FAULTS", "Fault", "main", "questions_until_seen"]


class Fault(NamedTuple):
    """In a module of `holdshort.policy`, `ours` becomes `faulty`."""

    module: str
    ours: str
    faulty: str


FAULTS = (
    Fault("decide", "return max(actions", "return min(actions"),
    Fault("decide", "tool.name, caller.agent, caller.groups)\n", "tool.name, caller.agent)\n"),
    Fault("decide", "tool.name, caller.agent, caller.groups)\n", "tool.name, caller.groups)\n"),
    Fault("decide", "(tool.server, tool.name, caller", "(tool.name, caller"),
    Fault("decide", "        if conditional:", "        if False:"),
    Fault("decide", "return verdict if call.tool.pinned else", "return verdict if True else"),
    Fault("decide", "self.pins is PinMode.OFF or", ""),
    Fault("decide", "Verdict(Action.HIDE, (PINS_STRICT,)", "Verdict(Action.DENY, (PINS_STRICT,)"),
    Fault("decide", "grants=False)", "grants=True)"),
    Fault("decide", 'execute="claimed", grants=False)', "grants=False)"),
    Fault("decide", "expires_after=soonest, ", ""),
    Fault("decide", "*verdict.because, PINS_CHANGED", "PINS_CHANGED"),
    Fault("decide", "key=lambda mode: mode.strictness", "key=lambda mode: -mode.strictness"),
    Fault("decide", "action = most_strict(action for action, _ in said)", "action = said[0][0]"),
    Fault("decide", "if problem is not None:", "if False:"),
    Fault("decide", "if layer.default is not None]", "if layer.default is not None and not layer.rules]"),
    Fault("decide", "decisions=decisions | {", "decisions=decisions or {"),
    Fault("decide", "decisions &=", "decisions ="),
    Fault(
        "decide",
        "(expires_after if r.expires_after is None else r.expires_after for r in rules)",
        "(r.expires_after for r in rules if r.expires_after)",
    ),
    Fault("decide", 'rule.execute or "claimed" for', 'rule.execute or "on_decision" for'),
    Fault("decide", "grants=all(", "grants=any("),
    Fault("decide", "== 1 if r.grants is None", "> 0 if r.grants is None"),
    Fault("decide", "required_approvals=max(", "required_approvals=min("),
    Fault("decide", "for _, rule in winners] if action", "for _, rule in winners[:1]] if action"),
    Fault("decide", "opinions if rule.action is action]", "opinions[:1] if rule.action is action]"),
    Fault("decide", "for p in rule.except_tools", "for p in ()"),
    Fault(
        "decide",
        "p.matches_server(tool.server) and p.matches_tool(tool.name) for p in rule.tools",
        "p.matches_tool(tool.name) for p in rule.tools",
    ),
    Fault("decide", " or any(map(p.matches, caller.groups))", ""),
    Fault("decide", "if not tool.pinned and self.pins", "if False and self.pins"),
    Fault("decide", "not rule.tools or any(pattern", "not rule.tools or all(pattern"),
    Fault("decide", "        if rule.when.static:", "        if True:"),
    Fault("decide", "        elif rule.action is not Action.HIDE:", "        elif False:"),
    Fault(
        "decide",
        "            if holds:\n                return rule.action is Action.HIDE",
        "            if not holds:\n                return False",
    ),
    Fault("conditions", "return rule.action is not Action.ALLOW, problem", "return True, problem"),
    Fault(
        "conditions", "return rule.action is not Action.ALLOW, problem", "return rule.action is Action.HIDE, problem"
    ),
    Fault("conditions", "return rule.action is not Action.ALLOW, problem", "return False, problem"),
    Fault("conditions", "except BaseException as", "except Exception as"),
    Fault("conditions", "if answer is True or answer is False:", "if answer is not None:"),
    Fault("globs", "(?>.*?{piece})", "(?>.*{piece})"),
    Fault("globs", '"." if char == "?"', '".?" if char == "?"'),
    Fault("globs", "regex.fullmatch(name)", "regex.match(name)"),
    Fault("globs", "return ToolPattern(server, tool, text)", "return ToolPattern(server, tool.split('__')[0], text)"),
    Fault("globs", "rest = text.removeprefix(_CLIENT_PREFIX) or text", "pass"),
    Fault("globs", "self.tool.__eq__ if self.literal", "self.tool.startswith if self.literal"),
    Fault("access", "strictest = max(", "strictest = min("),
    Fault("access", "(access.kind, access.server, access.name, caller", "(access.kind, access.name, caller"),
    Fault("access", "if any(rule.when is not None for _, rules", "if any(False for _, rules"),
    Fault("access", "        if rule.when.static:", "        if True:"),
    Fault("access", "return False\n            continue", "continue\n            continue"),
    Fault("targets", "return pattern.matches_surely(uri) if action is Action.ALLOW else", "return"),
    Fault("targets", "else pattern.matches_some(uri)", "else pattern.matches_surely(uri)"),
    Fault("targets", " or any(map(p.matches, caller.groups))", ""),
    Fault("uris", "            del steps[-1:]", "            pass"),
    Fault("uris", 'if "%" in text else parts', "if False else parts"),
    Fault("uris", "self.matches_tool(uri.raw) and all(", "any("),
    Fault("grants", "grant.agent == call.caller.agent\n        and ", ""),
    Fault("grants", "        and grant.definition_digest == definition_digest\n", ""),
    Fault("grants", "self.uses >= self.max_uses", "self.uses > self.max_uses"),
    Fault("grants", "if now >= self.expires_at", "if now > self.expires_at"),
    Fault("grants", "        and grant.state(now) is GrantState.ACTIVE\n", ""),
    Fault("grants", "if type(one) is not type(other):", "if False:"),
    Fault("grants", "len(makers) < terms.required_approvals or", ""),
    Fault("grants", "len(makers) < terms.required_approvals", "len(makers) <= terms.required_approvals"),
    Fault("grants", " or acts_for in makers", ""),
    Fault("grants", "grant.agent in makers or", ""),
    Fault("grants", "if groups is None or not", "if groups is not None and not"),
    Fault("grants", "            if name not in self.pins:", "            if False:"),
    Fault(
        "grants",
        "            if name not in arguments:\n",
        "            if name not in arguments: continue\n            if False:\n",
    ),
    Fault("grants", "return None if answer is True", "return None if True"),
    Fault("grants", 'not terms.grants or "approve"', '"approve"'),
    Fault("grants", 'or "approve" not in terms.decisions', ""),
    Fault(
        "grants",
        "if verdict.action is not Action.ASK:\n        return\n",
        "if verdict.action is Action.HIDE:\n        return\n",
    ),
    Fault("model", "return all(name in allowed", "return any(name in allowed"),
    Fault("facts", "if trusted else None", ""),
    Fault("facts", '"destructiveHint": ("destructive", True)', '"destructiveHint": ("destructive", False)'),
    Fault("facts", "if isinstance(hints.get(key), bool)", "if key in hints"),
    Fault("shorthand", 'return "always" if value else "never"', 'return "never" if value else "always"'),
    Fault("shorthand", "except_tools=kept", "except_tools=kept[:1]"),
)


class _Planting(MetaPathFinder):
    """Puts one fault into the text of its module as it is imported."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != f"holdshort.policy.{self._fault.module}":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(fullname, spec.origin, self._fault)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, fault: Fault) -> None:
        super().__init__(fullname, path)
        self._fault = fault

    def get_code(self, fullname: str) -> CodeType:
        text = Path(self.path).read_text(encoding="utf-8")
        if self._fault.ours not in text:
            sys.exit(f"{self._fault.module} has no `{self._fault.ours}` any more: give the fault its new words")
        return compile(text.replace(self._fault.ours, self._fault.faulty), self.path, "exec")


def questions_until_seen(number: int, cases: int, seed: int = 1) -> int | None:
    """Return how many questions it took to see the fault of this number; None when `cases` were not enough.

    Raises:
        RuntimeError: the engine has no such text any more.
    """
    words = [sys.executable, __file__, "--fault", str(number), "--cases", str(cases), "--seed", str(seed)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode == 1:
        return None
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return int(done.stdout)


def _see(fault: Fault, cases: int, seed: int) -> int | None:
    sys.meta_path.insert(0, _Planting(fault))
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from policy.differential import Tally, compare

    tally: Any = Tally()
    try:
        for _ in compare(seed, cases, tally):
            return int(tally.cases)
    except BaseException:  # noqa: BLE001 - an engine that raises is seen, too
        return int(tally.cases)
    return None


def main() -> int:
    """Plant every fault, or the one that is named."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--cases", type=int, default=50_000, help="questions after which a fault counts as not seen")
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--fault", type=int, metavar="N", help=argparse.SUPPRESS)
    chosen = words.parse_args()
    if chosen.fault is not None:
        seen = _see(FAULTS[chosen.fault], chosen.cases, chosen.seed)
        print(seen)
        return 1 if seen is None else 0
    missed = 0
    for number, fault in enumerate(FAULTS):
        after = questions_until_seen(number, chosen.cases, chosen.seed)
        missed += after is None
        words_of = " ".join(fault.ours.split())
        print(f"{'not seen' if after is None else f'{after:,}':>10}  {fault.module}: {words_of[:60]}", flush=True)
    print(f"{len(FAULTS) - missed} of {len(FAULTS)} faults seen")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
