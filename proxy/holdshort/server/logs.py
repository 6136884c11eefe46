"""Our own log: short lines on standard error for a person, JSON for a machine. Never arguments, results or tokens."""

import logging
import sys
from typing import Any

import structlog

__all__ = ["make_log"]


def make_log(*, verbose: bool = False, level: int | None = None) -> Any:
    """Return the process's logger, and send what libraries log the same way."""
    chosen = level if level is not None else logging.DEBUG if verbose else logging.INFO
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.UnicodeDecoder(),
            # Text from servers cannot forge lines or colour a terminal: JSON escapes what is not printable.
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(chosen),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    return structlog.get_logger("holdshort")
