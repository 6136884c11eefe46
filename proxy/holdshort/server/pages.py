"""What the approval side is told of everything else."""

from typing import Any

from holdshort import __version__
from holdshort.approvals.deps import ApprovalDeps
from holdshort.server.clock import utc_now
from holdshort.server.core import Core

__all__ = ["approval_deps"]


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
        servers=servers,
        session_file=core.state_dir / "sessions.json",
        version=__version__,
        public_url=core.config.public_url,
        allowed_hosts=core.config.allowed_hosts,
        allowed_origins=core.config.allowed_origins,
    )
