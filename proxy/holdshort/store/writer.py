"""One thread writes. Writes that wait together are committed together; each keeps its own savepoint.

Two ways in. `run` queues a write for the thread: it is on disk when its answer arrives. `try_inline` commits right
here, on the event loop, without waiting for the disk, and only if nobody else is writing at this moment: a commit that
is in the write-ahead log survives the death of this process, and the thread brings it to disk a moment later.
"""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, cast

import anyio
import anyio.to_thread
import apsw

from holdshort.errors import HoldshortError
from holdshort.store.connection import DatabaseError, translated
from holdshort.store.faults import fault
from holdshort.store.wal import WriteAheadLog

__all__ = ["FLUSH_SECONDS", "Writer", "Written"]

T = TypeVar("T")

FLUSH_SECONDS: Final = 0.05
"""A commit made without the disk is brought there this much later: half of what is promised."""

_BUSY_SECONDS: Final = 5.0
_LARGEST_BATCH: Final = 256

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Written(Generic[T]):
    """What a write wants after its commit: its value, or an error that is to be raised although it was kept."""

    value: T
    error: HoldshortError | None = None
    after: tuple[str, ...] = ()
    """Fault points to pass once it is committed, before anyone is told."""
    changed: bool = False
    """Whether somebody may be waiting for this."""


Work = Callable[[apsw.Connection], Written[T]]


@dataclass(slots=True)
class _Job:
    work: Work[Any]
    durable: bool
    answer: "asyncio.Future[Any]"
    written: Written[Any] | None = None
    error: BaseException | None = None


_FLUSH: Final = "flush"
_STOP: Final = "stop"


class Writer:
    """The thread, its connection and its queue. Everything but the thread's own methods belongs to the event loop."""

    def __init__(
        self,
        path: Path,
        connection: apsw.Connection,
        *,
        checkpoint: Callable[[apsw.Connection], None],
        on_change: Callable[[], None],
    ) -> None:
        """`connection` is the one that writes to `path`; `checkpoint` writes something small.

        `on_change` is called on the event loop after a commit that somebody may be waiting for.
        """
        self._connection = connection
        self._wal = WriteAheadLog(path, connection)
        self._note_checkpoint = checkpoint
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | str] = queue.SimpleQueue()
        self._writing = threading.Lock()
        self._patient = False
        self._busy_since = 0.0
        self._wanted = False
        self._unflushed = False
        self._inline_works = True
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="holdshort-writer", daemon=True)

    def start(self) -> None:
        """Take over the connection; from now on nobody else uses it."""
        self._connection.set_busy_handler(self._busy)
        self._connection.set_wal_hook(self._wal.grew)
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._thread.start()

    async def close(self) -> None:
        """Finish what is queued, bring everything to disk and join the thread."""
        self._closed = True
        self._jobs.put(_STOP)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._thread.join)

    async def run(self, work: Work[T], *, durable: bool = True) -> T:
        """Commit `work` and return its value; `durable`: not before it is on disk.

        Raises:
            DatabaseError: it could not be written, and was not.
            HoldshortError: what the work itself raised.
        """
        if self._closed:
            raise DatabaseError("the store is closed")
        job = _Job(work, durable, self._loop.create_future())
        self._jobs.put(job)
        # Whoever gave up waiting could not know whether it was written; so nobody does.
        with anyio.CancelScope(shield=True):
            await job.answer
        return cast(T, job.answer.result())

    def try_inline(self, statement: Callable[[apsw.Connection], T]) -> T | None:
        """Run one writing statement right now, without waiting for the disk; None if somebody else is writing.

        A single statement is a transaction by itself, which is most of what makes this cheap.

        Raises:
            DatabaseError: it could not be written, and was not.
        """
        if not self._inline_works or self._closed or self._wanted or not self._writing.acquire(blocking=False):
            return None
        connection = self._connection
        first = False
        try:
            written = statement(connection)
            first, self._unflushed = not self._unflushed, True
        except apsw.BusyError:
            # Another process is writing: the thread can wait for it, the event loop cannot.
            return None
        except (apsw.Error, OSError):
            with translated():
                raise
        finally:
            self._writing.release()
        if first:
            self._jobs.put(_FLUSH)
        return written

    # What follows runs on the thread.

    def _serve(self) -> None:
        flush_at: float | None = None
        stopping = False
        while not stopping:
            batch, stopping, asked = self._gather(flush_at)
            if asked and flush_at is None:
                flush_at = time.monotonic() + FLUSH_SECONDS
            if batch:
                if self._commit(batch):
                    flush_at = None
                elif self._unflushed and flush_at is None:
                    flush_at = time.monotonic() + FLUSH_SECONDS
                self._deliver(batch)
            if flush_at is not None and (stopping or time.monotonic() >= flush_at):
                flush_at = None if self._flush() else time.monotonic() + FLUSH_SECONDS
            self._wal.shrink(self._alone)

    def _gather(self, flush_at: float | None) -> tuple[list[_Job], bool, bool]:
        """Wait for something to do; return the jobs, whether to stop, and whether a flush was asked for."""
        batch: list[_Job] = []
        asked = False
        timeout = None if flush_at is None else max(0.0, flush_at - time.monotonic())
        with contextlib.suppress(queue.Empty):
            found = self._jobs.get(timeout=timeout)
            while True:
                if isinstance(found, _Job):
                    batch.append(found)
                elif found is _STOP:
                    return batch, True, asked
                else:
                    asked = True
                if len(batch) >= _LARGEST_BATCH:
                    break
                found = self._jobs.get_nowait()
        return batch, False, asked

    def _commit(self, batch: Sequence[_Job]) -> bool:
        """Commit the batch and return whether everything written so far is on disk now."""
        durable = any(job.durable for job in batch) or not self._inline_works
        with self._alone():
            try:
                self._transact(batch, durable)
            except Exception as error:  # noqa: BLE001
                # Whatever it was, those who wait must hear of it, and the thread must live on.
                for job in batch:
                    job.written, job.error = None, error
                return False
            # One synced commit brings along everything committed before it.
            self._unflushed = not durable
            if durable:
                self._inline_works = True
            return durable

    def _transact(self, batch: Sequence[_Job], durable: bool) -> None:
        connection = self._connection
        self._patient = True
        try:
            if durable:
                connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                self._attempt(job)
            if durable:
                self._note_checkpoint(connection)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if durable:
                connection.execute("PRAGMA synchronous=NORMAL")
            self._patient = False

    def _attempt(self, job: _Job) -> None:
        connection = self._connection
        connection.execute("SAVEPOINT job")
        try:
            job.written = job.work(connection)
        except Exception as error:
            # A full or failing disk may have rolled back the whole batch: then nobody's write is there.
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO job")
            job.error = error
        connection.execute("RELEASE job")

    def _deliver(self, batch: Sequence[_Job]) -> None:
        for job in batch:
            if job.written is not None:
                try:
                    for point in job.written.after:
                        fault(point)
                except (HoldshortError, OSError) as error:
                    job.error = error
        # The loop is gone only when everybody who waited is.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._settle, batch)

    def _flush(self) -> bool:
        """Bring to disk what was committed without it, and say whether that worked.

        Nobody is kept from writing while the disk works. The note comes last, so that whoever queued behind it is next;
        what survives a power cut is the write-ahead log up to some point, so a note that survives vouches for every row
        before it.
        """
        if not self._unflushed:
            return True
        try:
            # Before the sync: a commit that sets it again afterwards may have come too late for it.
            self._unflushed = False
            self._wal.sync()
            with self._alone():
                self._note()
        except (apsw.Error, OSError, HoldshortError) as error:
            # Nothing more is promised without the disk until it works again.
            self._inline_works, self._unflushed = False, True
            _log.error("the decision log could not be brought to disk: %s", error)
            return False
        self._inline_works = True
        return True

    def _note(self) -> None:
        connection = self._connection
        self._patient = True
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._note_checkpoint(connection)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._patient = False

    @contextlib.contextmanager
    def _alone(self) -> Generator[None]:
        """Be the only one in this process who writes. The loop steps aside: locks are not fair, and it is fast."""
        self._wanted = True
        with self._writing:
            self._wanted = False
            yield

    def _busy(self, tries: int) -> bool:
        """Wait for another process, if the one who asks can: shorter and fairer steps than SQLite's own."""
        if not self._patient:
            return False
        now = time.monotonic()
        if tries == 0:
            self._busy_since = now
        if now - self._busy_since > _BUSY_SECONDS:
            return False
        time.sleep(min(0.0005 * (tries + 1), 0.005))
        return True

    # And this on the event loop again.

    def _settle(self, batch: Sequence[_Job]) -> None:
        changed = False
        for job in batch:
            changed |= job.written is not None and job.written.changed
            if job.answer.done():
                continue
            error = job.error if job.error is not None or job.written is None else job.written.error
            if error is None and job.written is not None:
                job.answer.set_result(job.written.value)
            else:
                job.answer.set_exception(_in_our_words(error))
        if changed:
            self._on_change()


def _in_our_words(error: BaseException | None) -> BaseException:
    if isinstance(error, apsw.Error | OSError):
        try:
            with translated():
                raise error
        except DatabaseError as ours:
            return ours
    return error or DatabaseError("the write was lost")
