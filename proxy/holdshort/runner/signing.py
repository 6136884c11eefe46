"""Signatures of saved states: HMAC-SHA256 over the canonical form (RFC 8785): order of keys and spaces do not count.

A signature says that whoever wrote the state has the secret. It permits nothing: what may run is asked of the proxy.
Numbers are signed by value: `1` and `1.0` are one number in RFC 8785, as they are in JSON.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, Final

from holdshort.interruption import NoFingerprint, canonical
from holdshort.runner.errors import StateDamaged, StateTampered, UserError

__all__ = ["SIGNATURE", "Secret", "sign", "verify"]

SIGNATURE: Final = "signature"
"""The key of a saved state that has the signature of all the rest."""
Secret = bytes | str | Sequence[bytes | str]
"""One secret, or several: the first one signs, all of them are good for reading."""

_METHOD: Final = "hmac-sha256:"
_SHORTEST_BYTES: Final = 16


def sign(document: dict[str, Any], secret: Secret) -> None:
    """Add a signature to a document that has none.

    Raises:
        UserError: the secret is empty or short.
    """
    document[SIGNATURE] = _signature(_form(document), _keys(secret)[0])


def verify(document: dict[str, Any], secret: Secret | None) -> None:
    """Check the signature of a document, or that it has none where no secret is given.

    Raises:
        StateTampered: there is a signature and no secret, a secret and no signature, or they do not fit.
        UserError: the secret is empty or short.
    """
    if secret is None:
        if SIGNATURE in document:
            raise StateTampered("the state is signed, so it is read with its secret only; pass `secret=`")
        return
    keys = _keys(secret)
    if SIGNATURE not in document:
        raise StateTampered("the state is not signed, and with a secret only signed ones are read")
    said = document[SIGNATURE]
    form = _form({key: value for key, value in document.items() if key != SIGNATURE})
    given = said.encode() if isinstance(said, str) else b""
    # All keys are tried, whichever fits: the time says nothing about which it was.
    fits = [hmac.compare_digest(_signature(form, key).encode(), given) for key in keys]
    if not any(fits):
        raise StateTampered("the state was changed since it was signed, or signed with another secret")


def _keys(secret: Secret) -> list[bytes]:
    several = [secret] if isinstance(secret, bytes | str) else list(secret)
    keys = [each.encode() if isinstance(each, str) else each for each in several]
    if not keys or any(len(key) < _SHORTEST_BYTES for key in keys):
        raise UserError(
            f"a secret for states has at least {_SHORTEST_BYTES} bytes; make one with `secrets.token_bytes(32)`"
        )
    return keys


def _form(document: dict[str, Any]) -> bytes:
    try:
        return canonical(document)
    except NoFingerprint as error:
        raise StateDamaged(f"the state has no canonical form: {error}") from None


def _signature(form: bytes, key: bytes) -> str:
    return _METHOD + hmac.new(key, form, hashlib.sha256).hexdigest()
