"""The way to the servers: every byte from one is capped, checked and kept away from every other."""

from holdshort.gate.upstream.link import (
    Emit,
    Era,
    Eras,
    Health,
    Link,
    Log,
    SessionGone,
    StatusFrame,
    UpstreamBackoff,
    UpstreamError,
    UpstreamLimits,
    UpstreamLost,
    UpstreamProtocol,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from holdshort.gate.upstream.upstream import Upstream, identity_digest

__all__ = [
    "Emit",
    "Era",
    "Eras",
    "Health",
    "Link",
    "Log",
    "SessionGone",
    "StatusFrame",
    "Upstream",
    "UpstreamBackoff",
    "UpstreamError",
    "UpstreamLimits",
    "UpstreamLost",
    "UpstreamProtocol",
    "UpstreamTimeout",
    "UpstreamUnreachable",
    "identity_digest",
]
