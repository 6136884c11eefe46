"""Where parked calls and the decision log are kept. `contract` says what is promised, `sqlite` keeps it."""

from holdshort.store.contract import (
    ANY_ROW,
    ANYTHING,
    Change,
    EntryKind,
    InterruptionNotFound,
    LogEntry,
    LogFilter,
    NewEntry,
    Page,
    Query,
    QuotaExceeded,
    Quotas,
    Store,
    Verification,
)
from holdshort.store.folder import StateFolderError, choose_folder
from holdshort.store.granting import GrantNotFound, GrantPage, GrantQuery, GrantStore, Use
from holdshort.store.pinning import FIRST_USE, INSTRUCTIONS, Pin, PinDigests, PinMoved, PinNotFound, PinStore, Sighting
from holdshort.store.recording import NewRecording, RecordingStore
from holdshort.store.sqlite import DEFAULT_RETENTION, SQLiteStore, open_store

__all__ = [
    "ANYTHING",
    "ANY_ROW",
    "DEFAULT_RETENTION",
    "FIRST_USE",
    "INSTRUCTIONS",
    "Change",
    "EntryKind",
    "GrantNotFound",
    "GrantPage",
    "GrantQuery",
    "GrantStore",
    "InterruptionNotFound",
    "LogEntry",
    "LogFilter",
    "NewEntry",
    "NewRecording",
    "Page",
    "Pin",
    "PinDigests",
    "PinMoved",
    "PinNotFound",
    "PinStore",
    "Query",
    "QuotaExceeded",
    "Quotas",
    "RecordingStore",
    "SQLiteStore",
    "Sighting",
    "StateFolderError",
    "Store",
    "Use",
    "Verification",
    "choose_folder",
    "open_store",
]
