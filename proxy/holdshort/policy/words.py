"""What to say about a word we do not know: the nearest one we do."""

import difflib
from collections.abc import Iterable

__all__ = ["listed", "nearest", "unknown"]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the word in `known` that `word` was most likely meant to be, or None when nothing is near."""
    by_folded = {_folded(candidate): candidate for candidate in known}
    found = difflib.get_close_matches(_folded(word), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def listed(words: Iterable[str], last: str = "or") -> str:
    """Return the words in backticks: "`a`, `b` or `c`"."""
    quoted = [f"`{word}`" for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"


def unknown(kind: str, word: str, known: Iterable[str]) -> str:
    """Return the message for an unknown `word`: the nearest known one, or all of them when none is near."""
    choices = tuple(known)
    start = f"unknown {kind} `{word[:80]}`"
    near = nearest(word, choices)
    if near is not None:
        return f"{start}; did you mean `{near}`?"
    return f"{start}; expected {listed(choices)}" if choices else start


def _folded(word: str) -> str:
    return word[:80].lower().replace("-", "_")
