"""`${NAME}` and `${NAME:-default}` in values; `$${` is a plain `${`. What a variable holds is never shown.

`${env:NAME}`, as editors write it, means `${NAME}`.
"""

import re
from collections.abc import Mapping
from typing import Final

from holdshort.errors import ConfigError
from holdshort.policy.words import nearest

__all__ = ["BadInterpolation", "interpolate"]

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_EDITOR_NAMES: Final = frozenset({"workspaceFolder", "workspaceFolderBasename", "userHome", "pathSeparator"})
_NAME: Final = re.compile(r"(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


class BadInterpolation(ConfigError):
    """Raised when a reference cannot be read or its variable is missing; the message never holds a value."""


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """Return `text` with its references filled in from `environ`; a filled-in value is not looked at again.

    Raises:
        BadInterpolation: a missing variable, or a reference that is not one of the two forms.
    """

    def fill(found: re.Match[str]) -> str:
        if found.group() == "$${":
            return "${"
        inside, closed = found.groups()
        if not closed:
            raise BadInterpolation("`${` has no closing `}`; write `$${` for a plain `${`")
        reference = _NAME.fullmatch(inside)
        if reference is None:
            raise BadInterpolation(_why_not(inside))
        name, default = reference.groups()
        if default is not None:
            return environ.get(name) or str(default)
        try:
            return environ[name]
        except KeyError:
            if name in _EDITOR_NAMES:
                raise BadInterpolation(f"`${{{name}}}` is known to editors only; write the path itself") from None
            near = nearest(name, environ)
            hint = f"; did you mean `{near}`?" if near else f"; set it, or write `${{{name}:-default}}`"
            raise BadInterpolation(f"the environment variable `{name}` is not set{hint}") from None

    return _REFERENCE.sub(fill, text)


def _why_not(inside: str) -> str:
    if inside.startswith("input:"):
        return f"`${{{inside}}}` is asked for by an editor; set an environment variable and write `${{NAME}}`"
    return "expected `${NAME}` or `${NAME:-default}`; write `$${` for a plain `${`"
