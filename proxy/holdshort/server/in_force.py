"""The policy in force: the one place everybody asks, so that one swap changes it for all at once."""

from holdshort.policy import Policy

__all__ = ["InForce"]


class InForce:
    """Which policy counts now. A verdict is by one policy as a whole: who needs it twice keeps what `policy` gave."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def policy(self) -> Policy:
        """Return the policy that counts now."""
        return self._policy
