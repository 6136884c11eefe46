"""A task group whose block may fail with a plain exception: the tasks in it serve the block and end with it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

__all__ = ["background"]


@asynccontextmanager
async def background() -> AsyncGenerator[TaskGroup, None]:
    """Yield a task group that is cancelled when its block ends.

    What the block raises comes out as it is, not as a group of one: whoever uses a link inside of a `with` block
    catches what the link raises, and need not know that there are tasks.
    """
    try:
        async with anyio.create_task_group() as tasks:
            try:
                yield tasks
            finally:
                tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
