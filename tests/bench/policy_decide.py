"""How long one verdict takes, by number of rules: from memory, for the first time, and with conditions.

Run it: `python tests/bench/policy_decide.py`. The numbers are printed, never asserted: machines differ. On a busy
machine the slowest calls are those in which another process had its turn; the last column counts only our own time.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count

from holdshort.policy import (
    Action,
    Call,
    Caller,
    Layer,
    Policy,
    Rule,
    ToolFacts,
    compile_condition,
    compile_policy,
    parse_tool_pattern,
)

__all__ = ["main"]

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CALLER = Caller("ci-bot", frozenset({"ci"}), "bench", "1")
ARGUMENTS = {"amount": 120, "url": "https://api.example.com/v1/items?page=2"}
ROUNDS = 3_000


CONDITIONS = {
    "tool.read_only": "tool.read_only",
    "args.amount": "!has(args.amount) || args.amount > 100",
    "in_domain": 'in_domain(args.url, "example.com")',
}
"""What the rules ask, by the name of the case."""


def build(rules: int, text: str | None = None) -> Policy:
    """Three layers, twenty servers, plain names and globs mixed, as a large team's files would have."""
    when = None if text is None else compile_condition(text)
    made = [
        Rule(
            f"r{number}",
            (Action.ALLOW, Action.ASK, Action.DENY)[number % 3],
            tools=(parse_tool_pattern(f"server{number % 20}__tool{number}{'_*' if number % 2 else ''}"),),
            when=when,
        )
        for number in range(rules)
    ]
    return compile_policy([Layer(f"layer{at}", tuple(made[at::3]), Action.ASK) for at in range(3)])


def calls(rules: int, fresh: Iterator[int] | None) -> Callable[[], Call]:
    """Return a maker of calls: always the same one, or each time one of a tool never seen before."""
    last = rules - 1
    same = Call(ToolFacts(f"server{last % 20}", f"tool{last}_x"), ARGUMENTS, CALLER, NOW)
    if fresh is None:
        return lambda: same
    return lambda: Call(ToolFacts(f"server{last % 20}", f"tool{last}_{next(fresh)}"), {}, CALLER, NOW)


def microseconds(policy: Policy, make: Callable[[], Call]) -> tuple[float, float, float]:
    """Return median and 99th percentile of one `decide`, and the latter in processor time, in microseconds."""
    policy.decide(make())
    spent = sorted(timed(policy, make(), time.perf_counter_ns) for _ in range(ROUNDS))
    ours = sorted(timed(policy, make(), time.thread_time_ns) for _ in range(ROUNDS))
    return spent[len(spent) // 2] / 1000, spent[len(spent) * 99 // 100] / 1000, ours[len(ours) * 99 // 100] / 1000


def timed(policy: Policy, call: Call, clock: Callable[[], int]) -> int:
    """Return the nanoseconds that one `decide` takes by `clock`."""
    started = clock()
    policy.decide(call)
    return clock() - started


def main() -> None:
    """Print the table."""
    print(f"{'rules':>6}  {'case':<26} {'median µs':>10} {'p99 µs':>8} {'own p99 µs':>11}")
    for rules in (10, 100, 1_000, 10_000):
        plain = build(rules)
        for case, policy, fresh in (
            ("known tool", plain, None),
            ("tool never seen", plain, count()),
            *((f"known tool, {name}", build(rules, text), None) for name, text in CONDITIONS.items()),
        ):
            median, high, ours = microseconds(policy, calls(rules, fresh))
            print(f"{rules:>6}  {case:<26} {median:>10.2f} {high:>8.2f} {ours:>11.2f}")


if __name__ == "__main__":
    main()
