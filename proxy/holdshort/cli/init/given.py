"""Blocks of servers as they go into the new file: labels that can be used, references that can be filled in."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from holdshort.config.servers import check_label
from holdshort.server.naming import label_of

__all__ = ["filled_in", "kept_as_text", "rename", "variables_in"]

_REFERENCE: Final = re.compile(r"(?<!\$)\$\{([^}]*)\}")
_VARIABLE: Final = re.compile(r"(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(:-.*)?", re.DOTALL)
_LONGEST: Final = 64


def rename(label: str, block: Mapping[str, Any], taken: Sequence[str]) -> str:
    """Return `label`, or one like it that can name a server beside those `taken`."""
    if check_label(label) is None and label not in taken:
        return label
    fixed = re.sub(r"_{2,}", "_", re.sub(r"[^A-Za-z0-9_.-]+", "-", label)).strip("-_.")[:_LONGEST].strip("-_.")
    if not fixed:
        words = [str(block.get("command") or "server"), *map(str, block.get("args") or ())]
        fixed = label_of(words)
    if check_label(fixed) is not None:
        fixed = f"{fixed}-server"[:_LONGEST].strip("-_.")
    number, found = 2, fixed
    while found in taken:
        found, number = f"{fixed[: _LONGEST - 4]}-{number}", number + 1
    return found


def filled_in(block: Mapping[str, Any], project: Path) -> dict[str, Any]:
    """Return the block with every reference in a form that our files have; paths that editors know are written out.

    What an editor would ask for, `${input:tracker-token}`, becomes the variable `TRACKER_TOKEN`.
    """
    known = {
        "workspaceFolder": str(project),
        "workspaceRoot": str(project),
        "workspaceFolderBasename": project.name,
        "userHome": str(Path.home()),
        "pathSeparator": os.sep,
        "/": os.sep,
    }

    def one(found: re.Match[str]) -> str:
        inside = found[1]
        if inside in known:
            return known[inside]
        if inside.startswith("input:"):
            name = re.sub(r"[^A-Z0-9]+", "_", inside.removeprefix("input:").upper()).strip("_") or "INPUT"
            return f"${{{name if name[0].isalpha() else f'_{name}'}}}"
        variable = _VARIABLE.fullmatch(inside)
        if variable is None:
            return f"${found.group()}"
        return f"${{{variable[1]}{variable[2] or ''}}}"

    def every(text: str) -> str:
        return re.sub(r"(?<!\$)\$\{(?![^}]*\})", "$${", _REFERENCE.sub(one, text))

    return {key: _mapped(value, every) for key, value in block.items()}


def kept_as_text(words: Sequence[str]) -> list[str]:
    """Return words of a command line, which a shell has filled in already: a `${` in them is meant as it is."""
    return [word.replace("${", "$${") for word in words]


def variables_in(block: Mapping[str, Any]) -> list[str]:
    """Return the variables that have to be set for a block: those it refers to without a default."""
    found: dict[str, None] = {}

    def look(text: str) -> str:
        for inside in _REFERENCE.findall(text):
            if ":-" not in inside:
                found[inside] = None
        return text

    _mapped(dict(block), look)
    return list(found)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(each, change) for key, each in value.items()}
    return [_mapped(each, change) for each in value] if isinstance(value, list) else value
