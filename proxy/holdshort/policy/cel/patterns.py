"""Patterns in RE2's dialect: matched in time linear in the text, whatever the pattern and whoever wrote the text.

RE2 has no look-around and no back-references. As CEL has it, a pattern matches anywhere in the text unless it is
anchored with `^` and `$`; here `$` is the very end, not before a last line break.
"""

from functools import lru_cache
from typing import Any, Final

from holdshort.policy.cel.values import ConditionFailed

__all__ = ["MAX_PATTERN", "MAX_PROGRAM", "Pattern", "compile_pattern"]

MAX_PATTERN: Final = 1_000
"""Characters of one pattern."""
MAX_PROGRAM: Final = 2_000
"""Instructions of a compiled pattern: `a{1000}{2}` is short to write and long to run."""

_LIGHT_PROGRAM: Final = 64


class Pattern:
    """A compiled pattern. `weight` says how much dearer than a simple one it may be."""

    __slots__ = ("_compiled", "size", "weight")

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self.size: Final = int(compiled.programsize)
        self.weight: Final = 1 + self.size // _LIGHT_PROGRAM

    def search(self, text: str) -> bool:
        """Say whether the pattern matches somewhere in `text`."""
        return self._compiled.search(text) is not None


@lru_cache(maxsize=256)
def compile_pattern(text: str) -> Pattern:
    """Return the compiled pattern.

    Raises:
        ConditionFailed: it is no pattern of RE2, too long, or too large once compiled.
    """
    # Only a policy that has a pattern pays for the library.
    import re2  # type: ignore[import-untyped]

    if len(text) > MAX_PATTERN:
        raise ConditionFailed(f"a pattern of {len(text)} characters; at most {MAX_PATTERN} are read")
    options = re2.Options()
    options.log_errors = False
    try:
        pattern = Pattern(re2.compile(text, options))
    except re2.error as error:
        said = error.args[0] if error.args else ""
        reason = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        hint = "; RE2 has no look-around and no back-references" if "(?" in reason or "escape" in reason else ""
        raise ConditionFailed(f"no pattern of RE2: {reason}{hint}") from None
    if pattern.size > MAX_PROGRAM:
        raise ConditionFailed(f"the pattern takes {pattern.size} instructions; at most {MAX_PROGRAM} are run")
    return pattern
