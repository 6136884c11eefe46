"""What the approval side counts: decisions made, by kind, and how often each approver may make one."""

from collections import Counter
from collections.abc import Mapping

from holdshort.approvals.access import Visit
from holdshort.approvals.deps import ApprovalLimits
from holdshort.approvals.pace import Paces
from holdshort.approvals.problems import Refused

__all__ = ["Tally"]


class Tally:
    """Counters of one process, since it started."""

    def __init__(self, limits: ApprovalLimits) -> None:
        self._decisions: Counter[str] = Counter()
        self._deciding = Paces(limits.decisions)
        self._logins = Paces(limits.logins)
        self._calls = Paces(limits.calls)

    def pace(self, visit: Visit) -> None:
        """Count one decision against its approver.

        Raises:
            Refused: `rate_limited`, with `Retry-After`.
        """
        _take(self._deciding, visit.principal.name, visit)

    def pace_call(self, visit: Visit) -> None:
        """Count one request about calls of its own against the agent.

        Raises:
            Refused: `rate_limited`, with `Retry-After`.
        """
        _take(self._calls, visit.principal.name, visit)

    def pace_login(self, visit: Visit) -> None:
        """Count one login attempt against the address it comes from.

        Raises:
            Refused: `rate_limited`, with `Retry-After`.
        """
        client = visit.request.client
        _take(self._logins, "" if client is None else client.host, visit)

    def decided(self, kind: str) -> None:
        self._decisions[kind] += 1

    @property
    def decisions(self) -> Mapping[str, int]:
        return self._decisions


def _take(paces: Paces, key: str, visit: Visit) -> None:
    wait = paces.take(key, visit.deps.clock())
    if wait:
        raise Refused(
            "rate_limited", f"too many at once; try again in {wait} seconds", headers={"retry-after": str(wait)}
        )
