"""Is a policy more permissive than the one that it replaces? Every way in which it is, with a call to show for it."""

from holdshort.policy.loosening.compare import Surroundings, loosenings
from holdshort.policy.loosening.findings import Loosening, Reason, Witness

__all__ = ["Loosening", "Reason", "Surroundings", "Witness", "loosenings"]
