"""The state diagram of the documentation, drawn from TRANSITIONS: it cannot say anything else than the table does.

`python -m holdshort.interruption.diagram > docs/states.md` brings the page up to date; a test fails while it is not.
"""

import sys

from holdshort.interruption.machine import FINAL, TRANSITIONS, Step
from holdshort.interruption.model import State

__all__ = ["mermaid", "page", "table"]

_HEAD = """\
# The life of a parked call

Drawn from the table in `proxy/holdshort/interruption/machine.py`; do not edit. The diagram shows what may follow what.
It cannot show the guards: who may decide, that expiry wins ties, that only the holder of the claim may report how a
call ended. Those are in the same file, numbered.

A call is sent to its upstream only while it is `executing`, and nothing leads from there back to `approved`:
one approval causes at most one dispatch.
"""


def mermaid() -> str:
    """Return the diagram as Mermaid text; steps that change no state are left to the table."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.PENDING}"]
    for state, steps in TRANSITIONS.items():
        targets: dict[State, list[Step]] = {}
        for step, target in steps.items():
            if target is not state:
                targets.setdefault(target, []).append(step)
        lines += [f"    {state} --> {target}: {', '.join(labels)}" for target, labels in targets.items()]
    lines += [f"    {state} --> [*]" for state in TRANSITIONS if state in FINAL]
    return "\n".join(lines)


def table() -> str:
    """Return the whole table as Markdown, one line per arrow."""
    lines = ["| from | step | to |", "|---|---|---|"]
    lines += [
        f"| {state} | {step} | {target} |" for state, steps in TRANSITIONS.items() for step, target in steps.items()
    ]
    return "\n".join(lines)


def page() -> str:
    """Return `docs/states.md` as it should be."""
    return f"{_HEAD}\n```mermaid\n{mermaid()}\n```\n\n## Every arrow\n\n{table()}\n"


if __name__ == "__main__":
    sys.stdout.write(page())
