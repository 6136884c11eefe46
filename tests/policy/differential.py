"""The engine against the naive reading, on very many generated policies and calls.

    python tests/policy/differential.py --cases 100000 --seed 1

A case is one policy asked one question: about a call (and the grants there are for it), about the use of something
else, or about what is left out of lists. Prints how many there were, which lines of the precedence had a part in the
answers, and every difference; fails when there is one.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from holdshort.policy import BadScope, Policy, Verdict, find_grants, granted
from policy import oracle
from policy.built import access_of, call_of, compiles, grant_of, policy_of
from policy.generated import PEOPLE, Maker, Raw, shown

__all__ = ["LINES", "Difference", "Tally", "compare", "main"]

LINES = {
    1: "a rule above another that was about the same",
    2: "several layers with an opinion",
    3: "no layer with an opinion",
    4: "a condition that failed",
    5: "a grant that answered",
    6: "a pin that changed the verdict",
    7: "a rule beyond tools",
    8: "terms of several layers",
    9: "left out of a list",
}
"""What it takes for a line of the precedence to have had a part in an answer."""

CALLS, OTHERS = 8, 6


@dataclass
class Difference:
    """One question on which the two readings do not agree."""

    policy: Raw
    question: Raw
    engine: Any
    oracle: Any

    def __str__(self) -> str:
        return "\n".join(
            (
                f"policy:   {shown(self.policy)}",
                f"question: {shown(self.question)}",
                f"engine:   {self.engine}",
                f"oracle:   {self.oracle}",
            )
        )


@dataclass
class Tally:
    """What was compared so far. `lines` and `actions` count answers."""

    policies: int = 0
    cases: int = 0
    lines: Counter[int] = field(default_factory=Counter[int])
    actions: Counter[str] = field(default_factory=Counter[str])


def compare(seed: int | str, cases: int, tally: Tally | None = None) -> Iterator[Difference]:
    """Ask both about `cases` questions or a few more, and yield what they do not agree on."""
    tally = tally or Tally()
    until = tally.cases + cases
    maker = Maker(seed, compiles)
    while tally.cases < until:
        raw = maker.policy()
        policy = policy_of(raw)
        tally.policies += 1
        calls = [maker.call() for _ in range(CALLS)]
        # The same ones again, in another order: answers that come from memory are compared, too.
        for asked in [*calls, *reversed(calls)][: CALLS + 2]:
            yield from of_call(raw, policy, asked, tally)
            yield from of_list(raw, policy, asked, tally)
        for asked in (maker.other() for _ in range(OTHERS)):
            yield from of_access(raw, policy, asked, tally)
        yield from of_grants(raw, policy, maker, calls, tally)


def as_engine(verdict: Verdict) -> tuple[str, list[tuple[str, str]], list[str]]:
    because = [(each.layer, each.rule) for each in verdict.because]
    return verdict.action.value, because, [error.split("`: ")[0] for error in verdict.errors]


def as_oracle(answer: oracle.Answer) -> tuple[str, list[tuple[str, str]], list[str]]:
    return answer.action, answer.because, [f"{layer}: rule `{rule}" for layer, rule in answer.errors]


def terms_of(verdict: Verdict) -> dict[str, Any]:
    terms = verdict.terms
    return {
        "required_approvals": terms.required_approvals,
        "expires_after": terms.expires_after,
        "decisions": set(terms.decisions),
        "approvers": set(terms.approvers),
        "execute": terms.execute,
        "grants": terms.grants,
    }


def of_call(raw: Raw, policy: Policy, asked: Raw, tally: Tally) -> Iterator[Difference]:
    found, expected = policy.decide(call_of(asked)), oracle.call(raw, asked)
    tally.cases += 1
    tally.actions[expected.action] += 1
    tally.lines.update(expected.lines)
    if as_engine(found) != as_oracle(expected):
        yield Difference(raw, asked, as_engine(found), as_oracle(expected))
    elif expected.action == "ask" and terms_of(found) != expected.terms:
        yield Difference(raw, asked, terms_of(found), expected.terms)


def of_list(raw: Raw, policy: Policy, asked: Raw, tally: Tally) -> Iterator[Difference]:
    call = call_of(asked)
    found, expected = policy.hides(call.tool, call.caller), oracle.left_out(raw, asked)
    tally.cases += 1
    tally.lines.update([9] if expected else [])
    if found is not expected:
        yield Difference(raw, asked, f"left out: {found}", f"left out: {expected}")
    elif found and oracle.call(raw, asked).action != "hide":
        yield Difference(raw, asked, "left out", "not hidden at the call")


def of_access(raw: Raw, policy: Policy, asked: Raw, tally: Tally) -> Iterator[Difference]:
    access = access_of(asked)
    found, expected = as_engine(policy.access(access)), [as_oracle(each) for each in oracle.access(raw, asked)]
    tally.cases += 1
    tally.actions[found[0]] += 1
    if found[1] != [("default", "pass")]:
        tally.lines.update([7])
    if found not in expected:
        yield Difference(raw, asked, found, expected)
    left_out = policy.hides_access(access)
    if left_out and found[0] != "hide":
        yield Difference(raw, asked, "left out", "not hidden at the use")
    elif asked.get("plainly") in (None, asked["name"]):
        tally.lines.update([9] if left_out else [])
        if left_out is not oracle.left_out_other(raw, asked):
            yield Difference(raw, asked, f"left out: {left_out}", f"left out: {not left_out}")
    if asked["kind"] == "resource" and policy.hides_access(replace(access, name=f"{access.name}{{x}}"), template=True):
        for made in ("", "/", "/x", "b", ".txt", "/open/x"):
            seen = policy.access(replace(access, name=access.name + made))
            # In an odd spelling, what is left out may be a refusal in place of a hiding: neither can be used.
            if seen.action.value not in (("hide",) if asked["plainly"] == asked["name"] else ("hide", "deny")):
                yield Difference(raw, asked, f"template left out, and {made} appended: {seen}", "hidden")


def of_grants(raw: Raw, policy: Policy, maker: Maker, calls: list[Raw], tally: Tally) -> Iterator[Difference]:
    """Calls that ask, and grants that were made for calls much like them."""
    for asked in calls:
        answer = oracle.call(raw, asked)
        if answer.action != "ask" and not maker.some(0.2):
            continue
        kept: list[Raw] = []
        for number in range(3):
            grant = maker.grant(f"g{number}", asked)
            try:
                grant_of(grant)
            except BadScope as error:
                if not oracle.too_wide(grant):
                    yield Difference(raw, grant, f"refused: {error}", "no wider than a grant may be")
            else:
                kept.append(grant)
                if oracle.too_wide(grant):
                    yield Difference(raw, grant, "taken", "as wide as the tool")
        call = call_of(asked)
        verdict = policy.decide(call)
        acts_for = maker.random.choice((None, None, "ana"))
        for grant in kept:
            grant["acts_for"] = acts_for
        found = list(
            find_grants(
                map(grant_of, kept),
                verdict,
                call,
                asked["digest"],
                now=asked["now"],
                groups_of=PEOPLE.get,
                acts_for=acts_for,
            )
        )
        expected = list(oracle.answering(kept, answer, asked, PEOPLE))
        tally.cases += 1
        tally.lines.update([5] if expected else [])
        if [grant.id for grant in found] != expected:
            yield Difference({**raw, "grants": kept}, asked, [grant.id for grant in found], expected)
        for standing in found[:1]:
            let_through = granted(verdict, standing)
            if as_engine(let_through)[:2] != ("allow", [("grant", standing.id)]):
                yield Difference(raw, asked, let_through, "allowed by its grant")


def main() -> int:
    """Compare as many as were asked for, and say what came of it."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--cases", type=int, default=100_000)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--show", type=int, default=3, metavar="N", help="how many differences to print in full")
    chosen = words.parse_args()
    tally = Tally()
    started = time.monotonic()
    differences = 0
    for difference in compare(chosen.seed, chosen.cases, tally):
        differences += 1
        if differences <= chosen.show:
            print(f"{difference}\n")
    spent = time.monotonic() - started
    print(f"{tally.cases:,} questions to {tally.policies:,} policies in {spent:.0f} s (seed {chosen.seed})")
    for line, what in LINES.items():
        print(f"  line {line}: {tally.lines[line]:>9,}  {what}")
    print("  " + ", ".join(f"{action} {count:,}" for action, count in tally.actions.most_common()))
    print(f"{differences} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
