"""Values that stand for all others: one from each side of everything that is asked about them.

Between two neighbouring numbers that conditions name, one number answers like every other; of all texts that match the
same globs, one does. So a handful of values has every combination of answers that any value has.
"""

from collections.abc import Iterator
from itertools import combinations as choices
from itertools import pairwise, product
from typing import Any, Final

from holdshort.policy.loosening.names import TooMany, combinations
from holdshort.policy.loosening.wants import Number, Want

__all__ = ["MISSING", "texts_for", "values_for"]

MISSING: Final = object()
"""In the place of a value: there is none."""

_MOST_VALUES: Final = 600
_MOST_ITEMS: Final = 4
_BEYOND: Final = 2**63
"""The first integer that conditions refuse to speak of."""


def values_for(want: Want) -> list[Any]:
    """Return values, `MISSING` first, that between them answer everything in `want` in every way it can be answered.

    Raises:
        TooMany: there are more than can be looked at, or the forms of `want` do not go together.
    """
    found = [MISSING, *_present(want)]
    if len(found) > _MOST_VALUES:
        raise TooMany
    return found


def _present(want: Want) -> Iterator[Any]:
    if not want.read and not want.below:
        yield "x"
        return
    yield from _numbers(want)
    yield from _texts(want)
    yield from (True, False, None)
    yield from _lists(want)
    yield from _maps(want)


def _numbers(want: Want) -> Iterator[Number]:
    found: list[Number] = []
    named = sorted(want.numbers)
    if not named:
        found = [1, 1.5]
    else:
        low, high = named[0], named[-1]
        for number in named:
            found += [int(number), float(number)] if number == int(number) else [number]
        found += [int(low // 1) - 1, float(low) - 0.5, int(high // 1) + 1, float(high) + 0.5]
        for before, after in pairwise(named):
            middle = before + (after - before) / 2
            found.append(middle)
            whole = int(before // 1) + 1
            if whole < after:
                found.append(whole)
    yield from found
    yield from (_BEYOND, -_BEYOND - 1)


def texts_for(want: Want) -> list[str]:
    """Return texts that between them match every combination of the globs in `want`.

    Raises:
        TooMany: there are too many of them.
    """
    return [found.name for found in combinations([(one,) for one in sorted(want.texts, key=repr)], most_states=5000)]


def _texts(want: Want) -> Iterator[str]:
    if want.sizes:
        if want.texts:
            # Which texts have a given length and a given start is another question; it is not asked here.
            raise TooMany
        yield from ("x" * size for size in _around(want.sizes))
    elif want.texts:
        yield from texts_for(want)
    else:
        yield "x"


def _lists(want: Want) -> Iterator[list[Any]]:
    if len(want.items) > _MOST_ITEMS or (want.items and want.sizes):
        raise TooMany
    if want.sizes:
        yield from (["x"] * size for size in _around(want.sizes))
        return
    items = [want.items[key] for key in sorted(want.items)]
    for count in range(len(items) + 1):
        for some in choices(items, count):
            yield list(some)
            if items:
                # What comes before a number beyond 64 bits is found, what comes after is an error.
                yield [*some, _BEYOND]


def _maps(want: Want) -> Iterator[dict[str, Any]]:
    if want.sizes:
        if want.below or want.items:
            raise TooMany
        yield from ({f"k{number}": 0 for number in range(size)} for size in _around(want.sizes))
        return
    names = sorted(want.below)
    each = [values_for(want.below[name]) for name in names]
    count = 1
    for some in each:
        count *= len(some)
        if count > _MOST_VALUES:
            raise TooMany
    for made in product(*each):
        yield {name: value for name, value in zip(names, made, strict=True) if value is not MISSING}


def _around(sizes: set[int]) -> list[int]:
    near = {size + step for size in sizes for step in (-1, 0, 1)} | {0}
    return sorted(size for size in near if size >= 0)
