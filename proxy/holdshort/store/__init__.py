"""Where parked calls and the decision log are kept. `contract` says what is promised, `sqlite` keeps it."""

from holdshort.store.contract import (
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

__all__ = [
    "Change",
    "EntryKind",
    "InterruptionNotFound",
    "LogEntry",
    "LogFilter",
    "NewEntry",
    "Page",
    "Query",
    "QuotaExceeded",
    "Quotas",
    "Store",
    "Verification",
]
