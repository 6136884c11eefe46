"""A setting that nothing reads must not look as if it worked, and one that is read has a test of its own."""

import dataclasses
import re
from pathlib import Path

import holdshort
from holdshort.config import Config, LimitsConfig

PACKAGE = Path(holdshort.__file__).parent
TESTS = Path(__file__).parents[1]
DECLARING = {"model.py", "settings.py"}
SOURCE = "\n".join(
    path.read_text()
    for path in sorted(PACKAGE.rglob("*.py"))
    if not (path.parent.name == "config" and path.name in DECLARING)
)
LIMIT_TESTS = "\n".join(path.read_text() for path in sorted((TESTS / "server").glob("test_limits*.py")))


def test_every_limit_is_read() -> None:
    assert [
        limit.name for limit in dataclasses.fields(LimitsConfig) if not re.search(rf"limits\.{limit.name}\b", SOURCE)
    ] == []


def test_every_limit_has_a_test_that_sets_it() -> None:
    names = [limit.name for limit in dataclasses.fields(LimitsConfig)]

    assert [name for name in names if not re.search(rf'\b{name}(?:": |=)', LIMIT_TESTS)] == []


def test_every_switch_is_read() -> None:
    assert [
        setting.name
        for setting in dataclasses.fields(Config)
        if setting.type is bool and not re.search(rf"(?:config|loaded)\.{setting.name}\b", SOURCE)
    ] == []
