"""`holdshort approvals watch`: the event stream on a terminal, and a key to decide with.

A card is shown whole before any key counts, and a decision carries the fingerprint of that card.
"""

import json
import os
import queue
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from holdshort.approvals.inert import plain
from holdshort.cli.cards import card, conflict, outline
from holdshort.cli.endpoint import Connection, NoProxy, Told, answer_of, events_of

__all__ = ["follow", "watch_and_decide"]

_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.5, 10.0
_KEYS = "[a]pprove  [r]eject  [s]kip  [q]uit"


def follow(connection: Connection, *, as_json: bool) -> None:
    """Print a line for every change until interrupted."""
    try:
        for record in _changes(connection):
            print(json.dumps(record) if as_json else outline(record), flush=True)
    except KeyboardInterrupt:
        return


def watch_and_decide(connection: Connection) -> None:
    """Show waiting calls one after the other and take keys."""
    changes: queue.Queue[dict[str, Any] | Exception] = queue.Queue()
    wake_reader, wake_writer = os.pipe()

    def read() -> None:
        try:
            for record in _changes(connection, say=False):
                changes.put(record)
                os.write(wake_writer, b".")
        except Exception as error:  # noqa: BLE001 (handed to the thread that can tell the person)
            changes.put(error)
            os.write(wake_writer, b".")

    threading.Thread(target=read, daemon=True).start()
    try:
        with _keys_at_once():
            _Desk(connection, changes, wake_reader).run()
    except KeyboardInterrupt:
        return


class _Desk:
    """The call on top, those that wait, and what the person pressed."""

    def __init__(self, connection: Connection, changes: "queue.Queue[dict[str, Any] | Exception]", wake: int) -> None:
        self._connection = connection
        self._changes = changes
        self._wake = wake
        self._waiting: dict[str, dict[str, Any]] = {}
        self._skipped: set[str] = set()
        self._shown: dict[str, Any] | None = None

    def run(self) -> None:
        self._say("waiting for calls; q ends")
        while True:
            ready, _, _ = select.select([sys.stdin, self._wake], [], [])
            if self._wake in ready:
                os.read(self._wake, 4096)
                self._take_changes()
            if sys.stdin in ready and not self._press(os.read(sys.stdin.fileno(), 1).decode("ascii", "replace")):
                return

    def _take_changes(self) -> None:
        while not self._changes.empty():
            change = self._changes.get()
            if isinstance(change, Exception):
                raise change
            if change["state"] == "pending":
                self._waiting[change["id"]] = change
            elif self._waiting.pop(change["id"], None) is not None:
                self._say(outline(change))
            shown = self._shown
            if shown is not None and shown["id"] == change["id"]:
                if change["state"] != "pending":
                    self._shown = None
                elif change["fingerprint"] != shown["fingerprint"]:
                    self._say("it was edited; this is what would run now:")
                    self._shown = None
        if self._shown is None:
            self._show_next()

    def _show_next(self) -> None:
        self._shown = next((each for key, each in self._waiting.items() if key not in self._skipped), None)
        if self._shown is not None:
            self._say("\n" + card(self._shown, _now()))
            self._say(_KEYS)

    def _press(self, key: str) -> bool:
        if key in ("q", "\x04", ""):
            return False
        if self._shown is None:
            return True
        if key == "s":
            self._skipped.add(self._shown["id"])
            self._shown = None
            self._show_next()
        elif key == "a":
            self._say("approve exactly this? [y/N]")
            if os.read(sys.stdin.fileno(), 1) in (b"y", b"Y"):
                self._send("approve", None)
            else:
                self._say(f"not approved   {_KEYS}")
        elif key == "r":
            try:
                with _lines_again():
                    reason = input("reason (may be empty; Ctrl-D goes back): ")
            except EOFError:
                self._say(f"not rejected   {_KEYS}")
            else:
                self._send("reject", reason.strip() or None)
        return True

    def _send(self, decision: str, message: str | None) -> None:
        shown = self._shown
        if shown is None:
            return
        body = {"decision": decision, "fingerprint": shown["fingerprint"]}
        if message is not None:
            body["message"] = message
        try:
            self._connection.ask("POST", f"/v1/interruptions/{shown['id']}/decision", body)
        except Told as told:
            self._say((None if told.record is None else conflict(told.code, told.record)) or plain(str(told)))
            if told.status in (403, 429):
                self._skipped.add(shown["id"])
        else:
            # Another approver may have to agree; the call is not asked about again here.
            self._skipped.add(shown["id"])
        self._shown = None
        self._show_next()

    def _say(self, words: str) -> None:
        print(words, flush=True)


def _changes(connection: Connection, *, say: bool = True) -> Iterator[dict[str, Any]]:
    """Yield what waits, then every change, coming back after every cut with nothing missed.

    Raises:
        NoProxy: the first connection failed; later ones are tried again.
        Told: the proxy refuses us.
    """
    import httpx2

    last: str | None = None
    pause = _FIRST_PAUSE_SECONDS
    while True:
        headers = {} if last is None else {"last-event-id": last}
        try:
            with (
                connection.client() as client,
                client.stream("GET", "/v1/interruptions/events", headers=headers, timeout=httpx2.Timeout(60)) as stream,
            ):
                if stream.status_code != 200:
                    stream.read()
                    answer_of(stream)
                pause = _FIRST_PAUSE_SECONDS
                for event, identifier, data in events_of(stream):
                    if event == "hello" and last is None:
                        # After the stream is open: a call that comes in between is in both, and in neither missed.
                        yield from _pending(connection)
                    elif event == "interruption":
                        yield json.loads(data)
                    last = identifier
        except httpx2.TransportError as error:
            if last is None:
                raise NoProxy(f"{connection.url} ({error or type(error).__name__})") from None
        if say:
            print("the connection was cut; trying again", file=sys.stderr)
        time.sleep(pause)
        pause = min(pause * 2, _LAST_PAUSE_SECONDS)


def _pending(connection: Connection) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        page = connection.ask("GET", "/v1/interruptions", state="pending", limit=200, cursor=cursor)
        yield from reversed(page["interruptions"])
        cursor = page["next_cursor"]
        if cursor is None:
            return


@contextmanager
def _keys_at_once() -> Generator[None]:
    """Hand over every key as it is pressed."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextmanager
def _lines_again() -> Generator[None]:
    """Hand over whole lines, for something that is typed."""
    quick = termios.tcgetattr(sys.stdin)
    slow = termios.tcgetattr(sys.stdin)
    slow[3] |= termios.ICANON | termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, slow)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, quick)


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 (for words on a screen only)
