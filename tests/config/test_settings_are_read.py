"""A setting that nothing reads must not look as if it worked: it is refused, by the lists in `config/later.py`."""

import dataclasses
import re
from pathlib import Path

import holdshort
from holdshort.config import Config, LimitsConfig
from holdshort.config.later import LATER_LIMITS, LATER_SETTINGS

PACKAGE = Path(holdshort.__file__).parent
DECLARING = {"model.py", "settings.py", "later.py"}
SOURCE = "\n".join(
    path.read_text()
    for path in sorted(PACKAGE.rglob("*.py"))
    if not (path.parent.name == "config" and path.name in DECLARING)
)


def test_exactly_the_limits_that_nothing_reads_are_refused() -> None:
    unread = {
        limit.name for limit in dataclasses.fields(LimitsConfig) if not re.search(rf"limits\.{limit.name}\b", SOURCE)
    }

    assert unread == LATER_LIMITS


def test_exactly_the_switches_that_nothing_reads_are_refused() -> None:
    unread = {
        setting.name
        for setting in dataclasses.fields(Config)
        if setting.type is bool and not re.search(rf"(?:config|loaded)\.{setting.name}\b", SOURCE)
    }

    assert unread == LATER_SETTINGS
