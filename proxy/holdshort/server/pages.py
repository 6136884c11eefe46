"""What the approval side is told of everything else."""

from datetime import timedelta
from typing import Any, Final

from holdshort import __version__
from holdshort.approvals.deps import ApprovalDeps, ApprovalLimits
from holdshort.approvals.pace import Pace
from holdshort.approvals.sessions import SessionLimits
from holdshort.config import LimitsConfig
from holdshort.server.clock import utc_now
from holdshort.server.core import Core

__all__ = ["approval_deps"]

_AROUND_ARGUMENTS: Final = 64 * 1024
"""Bytes of a decision around edited arguments, which have their own limit."""


def approval_deps(core: Core) -> ApprovalDeps:
    """Return what the approval side needs to know of everything else."""

    def servers() -> Any:
        return core.health()

    return ApprovalDeps(
        store=core.store,
        principals=core.principals,
        judge=core.judge(),
        clock=utc_now,
        policy=core.policy_view,
        explain=core.explain,
        calls=core.own,
        servers=servers,
        session_file=core.state_dir / "sessions.json",
        version=__version__,
        limits=_limits(core.config.limits),
        session_limits=_session_limits(core.config.limits),
        public_url=core.config.public_url,
        allowed_hosts=core.config.allowed_hosts,
        allowed_origins=core.config.allowed_origins,
    )


def _limits(limits: LimitsConfig) -> ApprovalLimits:
    return ApprovalLimits(
        decisions=Pace(limits.decisions_per_minute, limits.decisions_burst),
        max_body_bytes=limits.request_bytes + _AROUND_ARGUMENTS,
        body_seconds=limits.body_timeout,
        keepalive_seconds=limits.keepalive,
        recheck_seconds=limits.token_recheck,
        event_buffer=limits.event_buffer,
        grant_lifetime=timedelta(seconds=limits.grant_lifetime),
        grant_uses=limits.grant_uses,
    )


def _session_limits(limits: LimitsConfig) -> SessionLimits:
    return SessionLimits(
        idle=timedelta(seconds=limits.session_idle),
        absolute=timedelta(seconds=limits.session_absolute),
        code=timedelta(seconds=limits.login_link),
    )
