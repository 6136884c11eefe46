"""Sealed echoes: what a client must bring back unchanged is encrypted, bound to its call, and good once.

A `requestState` passes through the agent, so it is the agent's to forge (MCP 2026-07-28, multi round-trip requests:
"attacker-controlled"). It therefore carries no authority: it names an interruption, and the store decides.
"""

import base64
import binascii
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from holdshort.errors import HoldshortError
from holdshort.wire import decode, encode

__all__ = ["LEG_LIFETIME", "BrokenSeal", "Leg", "Sealer", "load_seal_key"]

_PREFIX: Final = "hs1."
_NONCE_BYTES: Final = 12


class BrokenSeal(HoldshortError):
    """Raised when a `requestState` is not one of ours as we made it for this call, or came too late."""

    code = "broken_seal"


@dataclass(frozen=True, slots=True)
class Leg:
    """One `input_required` leg of a parked call: what comes back with the client's next request."""

    interruption: str
    agent: str
    fingerprint: str
    number: int
    nonce: str
    until: datetime
    upstream_state: str | None = None
    """The upstream's own `requestState`, when the call is running and the upstream asked for input."""
    token: int | None = None
    """The fencing token of the running call, with `upstream_state`."""


class Sealer:
    """Seals and opens legs with AES-256-GCM under the state folder's key, so any process on that folder can."""

    def __init__(self, key: bytes) -> None:
        # Imported here: a `wrap` whose client is of the handshake era never seals anything.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(key)

    def seal(self, leg: Leg) -> str:
        """Return the opaque text for the client."""
        body: dict[str, Any] = {
            "i": leg.interruption,
            "a": leg.agent,
            "f": leg.fingerprint,
            "n": leg.number,
            "o": leg.nonce,
            "u": leg.until.timestamp(),
        }
        if leg.token is not None:
            body |= {"s": leg.upstream_state, "t": leg.token}
        nonce = os.urandom(_NONCE_BYTES)
        return _PREFIX + base64.urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, encode(body), None)).decode()

    def open(self, text: str, *, agent: str, fingerprint: str, now: datetime) -> Leg:
        """Return the leg that `text` seals, for this agent and exactly this call.

        Raises:
            BrokenSeal: forged, altered, expired, or made for another agent or call.
        """
        from cryptography.exceptions import InvalidTag

        try:
            sealed = base64.b64decode(text.removeprefix(_PREFIX), altchars=b"-_", validate=True)
            body = decode(self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None))
        except (InvalidTag, binascii.Error, ValueError, HoldshortError):
            raise BrokenSeal("the `requestState` is not one this proxy made; send the call again without it") from None
        leg = Leg(
            body["i"],
            body["a"],
            body["f"],
            body["n"],
            body["o"],
            datetime.fromtimestamp(body["u"], tz=now.tzinfo),
            body.get("s"),
            body.get("t"),
        )
        if leg.agent != agent or leg.fingerprint != fingerprint:
            raise BrokenSeal("the `requestState` belongs to another call; send this call without it")
        if now >= leg.until:
            raise BrokenSeal("the `requestState` is too old; send the call again without it")
        return leg

    @staticmethod
    def is_ours(text: object) -> bool:
        """Whether `text` claims to be sealed by us; only opening it tells."""
        return isinstance(text, str) and text.startswith(_PREFIX)


LEG_LIFETIME: Final = timedelta(minutes=10)
"""How long a client may take to come back with a leg."""


def load_seal_key(state_dir: Path) -> bytes:
    """Return the folder's 32-byte key, made on first use; two processes that race end with the same key."""
    path = state_dir / "seal.key"
    if not path.exists():
        fresh = state_dir / f"seal.key.{os.getpid()}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    key = path.read_bytes()
    if len(key) != 32:
        raise BrokenSeal(f"{path} is not a 32-byte key; remove it to have a new one made")
    return key
