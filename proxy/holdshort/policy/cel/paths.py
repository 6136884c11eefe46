"""Paths as text: one spelling for each, and whether one lies under a folder. No file is looked at.

A server, a shell or a file system may read an odd path otherwise than we do, and then the rule speaks about another
file than the call. So whatever is known to be read in two ways is refused, and the condition fails: an error never
helps a call. Links are not followed, which nobody can do from here.
"""

import re
import unicodedata
from typing import Final

from holdshort.policy.cel.values import ConditionFailed

__all__ = ["MAX_PATH", "normalize_path", "under"]

MAX_PATH: Final = 4096
"""Characters of one path; Linux accepts no longer one."""

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ENCODED: Final = re.compile(r"%[0-9a-f]{2}", re.IGNORECASE)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def normalize_path(path: str) -> str:
    """Return `path` without `.`, `..` and doubled slashes. What rises above the start of a relative path stays `..`.

    Raises:
        ConditionFailed: the path is empty or too long, or it can be read in two ways.
    """
    _refuse(path)
    absolute = path.startswith("/")
    kept: list[str] = []
    for part in path.split("/"):
        if part in {"", "."}:
            continue
        if part != "..":
            kept.append(part)
        elif kept and kept[-1] != "..":
            kept.pop()
        elif not absolute:
            kept.append(part)
    return ("/" if absolute else "") + "/".join(kept) or "."


def under(path: str, folder: str) -> bool:
    """Say whether `path` is `folder` itself or lies somewhere below it, `..` counted.

    Raises:
        ConditionFailed: as `normalize_path`; or one of the two is absolute and the other is not.
    """
    inner, outer = normalize_path(path), normalize_path(folder)
    if inner.startswith("/") is not outer.startswith("/"):
        which = "the folder is absolute and the path is not" if outer.startswith("/") else "the path is absolute"
        raise ConditionFailed(f"{which}, and where a relative path starts is not known")
    if outer == "." or outer.endswith(".."):
        if outer != ".":
            raise ConditionFailed("the folder rises above the start of a relative path")
        return inner != ".." and not inner.startswith("../")
    return inner == outer or outer == "/" or inner.startswith(f"{outer}/")


def _refuse(path: str) -> None:
    if not path:
        raise ConditionFailed("a path is empty")
    if len(path) > MAX_PATH:
        raise ConditionFailed(f"a path has more than {MAX_PATH} characters")
    if _CONTROLS.search(path):
        raise ConditionFailed("a path has a control character")
    if "\\" in path:
        raise ConditionFailed("a path has a backslash, which separates folders on some systems only")
    if path != path.strip() or path[0] in "~$":
        raise ConditionFailed(
            "a path begins or ends with a space, or begins with `~` or `$`; servers read that differently"
        )
    if _SCHEME.match(path):
        raise ConditionFailed("a path begins like a URL or a drive")
    if _ENCODED.search(path):
        raise ConditionFailed("a path has a percent-encoded character, which some servers decode")
    if not path.isascii():
        _refuse_lookalikes(path)


def _refuse_lookalikes(path: str) -> None:
    if unicodedata.normalize("NFC", path) != path:
        raise ConditionFailed("a path is not in Unicode's composed form (NFC); file systems differ on it")
    for character in set(path) - {" "}:
        folded = unicodedata.normalize("NFKC", character)
        if unicodedata.category(character) in {"Cf", "Zs", "Cs", "Cn", "Co"} or (
            folded != character and any(mark in folded for mark in "./\\")
        ):
            raise ConditionFailed(
                "a path has an invisible character, or one that some servers turn into a dot or slash"
            )
