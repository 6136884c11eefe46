"""Garbage collection for a process that serves: what start-up made stays, and is not looked through again."""

import gc
from typing import Final

__all__ = ["settle"]

_YOUNG: Final = 10_000
_MIDDLE: Final = 20
_OLD: Final = 20


def settle() -> None:
    """Call once everything is imported and built.

    A full collection looks at every object there is: tens of milliseconds over the modules alone, in the middle of
    somebody's call.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
