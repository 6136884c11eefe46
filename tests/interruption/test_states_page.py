"""The page about states says what the table says, because it is drawn from it."""

from pathlib import Path

from holdshort.interruption import TRANSITIONS, State
from holdshort.interruption.diagram import mermaid, page

PAGE = Path(__file__).parents[2] / "docs" / "states.md"


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m holdshort.interruption.diagram > docs/states.md`"


def test_the_diagram_shows_every_arrow_that_changes_the_state() -> None:
    drawn = mermaid()

    for state, steps in TRANSITIONS.items():
        for step, target in steps.items():
            if target is not state:
                line = next(line for line in drawn.splitlines() if f" {state} --> {target}:" in line)
                assert step.value in line
    assert all(state.value in drawn for state in State)
