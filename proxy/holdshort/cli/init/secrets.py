"""Tokens stay out of new files: what looks like a secret becomes `${NAME}`, and its value is remembered for now.

What is taken for one wrongly costs a variable to set; what is missed would be copied, so doubt counts as a secret.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

__all__ = ["Secrets", "is_reference", "looks_secret"]

_NAMED: Final = re.compile(
    r"(?:token|secret|password|passwd|passphrase|credential|apikey|pgpass)s?(?:$|[^a-z])"
    r"|(?:^|[^a-z])(?:passw|pass|pwd|pat|key|auth|authorization|cookie|bearer|dsn|jwt|signature)s?(?:$|[^a-z])"
    r"|(?:connection|conn)[^a-z]?(?:string|str)|(?:database|postgres|mongo(?:db)?|redis)[^a-z]?ur[il]"
)
_NO_SECRET: Final = re.compile(r"(?:^|_)(?:max|min|num|limit|count|budget|file|path|dir|folder|id|name|type)(?:$|_)")
_KNOWN: Final = re.compile(
    r"(?:gh[pousr]_|github_pat_|glpat-|sk-|sk_|rk_|pk_live|xox[abeprs]-|xapp-|AKIA|ASIA|AIza|ya29\.|eyJ[A-Za-z0-9]|ntn_|secret_|"
    r"lin_api_|lin_oauth_|sntry[su]_|hf_|npm_|pypi-|dop_v1_|SG\.|shp(?:at|ss|ca)_|ATATT|figd_|-----BEGIN )"
)
_ONE_WORD: Final = re.compile(r"[A-Za-z0-9+/=_.~-]{20,}")
_HEADER: Final = re.compile(r"([A-Za-z][A-Za-z0-9-]*):\s*(\S.*)", re.DOTALL)
_SCHEME: Final = re.compile(r"(Bearer|Basic|Token|ApiKey|Api-Key|Key)\s+(\S.*)", re.IGNORECASE | re.DOTALL)
_ASSIGNED: Final = re.compile(r"(-{0,2}[A-Za-z][A-Za-z0-9_.-]*)=(.+)", re.DOTALL)
_FLAG: Final = re.compile(r"--?[A-Za-z][A-Za-z0-9_.-]*")
_DEFAULT: Final = re.compile(r"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*):-([^}]+)\}")
_GENERIC: Final = frozenset({"TOKEN", "API_KEY", "APIKEY", "KEY", "SECRET", "PASSWORD", "ACCESS_TOKEN", "AUTH_TOKEN"})
_BITS: Final = 3.3
"""Bits for each character, from which a long word without a meaning is taken for a secret."""


def is_reference(text: str) -> bool:
    """Say whether `text` refers to a variable already."""
    return re.search(r"(?<!\$)\$\{", text) is not None


def looks_secret(name: str, value: str) -> bool:
    """Say whether the value called `name` should not be copied."""
    if not value.strip() or is_reference(value):
        return False
    if _KNOWN.match(value.strip()):
        return True
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_").replace(".", "_")
    if _NAMED.search(words) and not _NO_SECRET.search(words):
        return value.lower() not in {"true", "false", "none", "null"} and not _is_file(value)
    return _is_random(value) or _has_password(value)


def _is_random(value: str) -> bool:
    if not _ONE_WORD.fullmatch(value) or _is_file(value) or value.count("/") > 1 or value.count(".") > 3:
        return False
    words = re.split(r"[-_./]", value)
    longest = max(words, key=len)
    if len(longest) < 12 or not (re.search(r"\d", longest) and re.search(r"[A-Za-z]", longest)):
        # A UUID, or several short words.
        return bool(re.fullmatch(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", value))
    counted = Counter(value)
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in counted.values())
    return bits >= _BITS


def _has_password(value: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@", value) is not None


def _is_file(value: str) -> bool:
    if not re.match(r"[~./]|[A-Za-z]:[\\/]", value) or len(value) > 1000:
        return False
    try:
        return Path(value).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False


class Secrets:
    """The values that were replaced, by the variables that stand for them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.values: dict[str, str] = {}
        """What each variable has to hold."""

    def hide(self, label: str, block: Mapping[str, Any]) -> dict[str, Any]:
        """Return a server's block with `${NAME}` in the place of every secret."""
        block = {key: self._without_defaults(value) for key, value in block.items()}
        hidden = dict(block)
        if isinstance(block.get("env"), dict):
            hidden["env"] = {
                key: self._named(label, key, str(value), own=True) if looks_secret(key, str(value)) else value
                for key, value in block["env"].items()
            }
        if isinstance(block.get("headers"), dict):
            hidden["headers"] = {key: self._header(label, key, str(value)) for key, value in block["headers"].items()}
        words = block.get("args")
        if isinstance(words, list) and all(isinstance(word, str | int | float) for word in words):
            hidden["args"] = self._arguments(label, [str(word) for word in words])
        if isinstance(block.get("url"), str):
            hidden["url"] = self._url(label, block["url"])
        return hidden

    def _without_defaults(self, value: Any) -> Any:
        """Leave out a secret that stands as the default of a reference: `${TOKEN:-abc}`."""
        if isinstance(value, dict):
            return {key: self._without_defaults(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._without_defaults(each) for each in value]
        return _DEFAULT.sub(self._without_default, value) if isinstance(value, str) else value

    def _without_default(self, found: re.Match[str]) -> str:
        name, default = found.groups()
        if not looks_secret(name, default):
            return found.group()
        if not self._environ.get(name):
            self.values.setdefault(name, default)
        return f"${{{name}}}"

    def _named(self, label: str, key: str, value: str, *, own: bool = False) -> str:
        """Remember a value, and return the reference to it. `own`: the key is the name of a variable itself."""
        words = re.sub(r"[^A-Z0-9]+", "_", key.upper()).strip("_") or "SECRET"
        server = re.sub(r"[^A-Z0-9]+", "_", label.upper()).strip("_") or "SERVER"
        longer = words if words.startswith(f"{server}_") else f"{server}_{words}"
        plain = own and words not in _GENERIC and re.fullmatch(r"[A-Z_][A-Z0-9_]*", words)
        longer = longer if re.match(r"[A-Z_]", longer) else f"_{longer}"
        choices = [*([words] if plain else []), longer, *(f"{longer}_{number}" for number in range(2, 1000))]
        for name in choices:
            held = self.values.get(name, self._environ.get(name))
            if held is None or held == value:
                self.values[name] = value
                return f"${{{name}}}"
        raise AssertionError("a thousand secrets of one name")

    def _header(self, label: str, key: str, value: str) -> str:
        if is_reference(value):
            return value
        scheme = _SCHEME.fullmatch(value)
        if key.lower() in {"authorization", "proxy-authorization"} and scheme:
            return f"{scheme[1]} {self._named(label, 'TOKEN', scheme[2])}"
        return self._named(label, key, value) if looks_secret(key, value) else value

    def _arguments(self, label: str, words: list[str]) -> list[str]:
        hidden: list[str] = []
        flag = ""
        for word in words:
            assigned, header = _ASSIGNED.fullmatch(word), _HEADER.fullmatch(word)
            if assigned and not _has_password(word) and looks_secret(assigned[1].lstrip("-"), assigned[2]):
                hidden.append(f"{assigned[1]}={self._named(label, assigned[1].lstrip('-'), assigned[2])}")
            elif "://" in word:
                hidden.append(self._url(label, word))
            elif header and (changed := self._header(label, header[1], header[2])) != header[2]:
                hidden.append(word[: header.start(2)] + changed)
            elif not word.startswith("-") and looks_secret(flag, word):
                hidden.append(self._named(label, flag or "secret", word))
            else:
                hidden.append(word)
            # Of `--key=value` nothing may end up in the name of a variable.
            flag = word.lstrip("-") if _FLAG.fullmatch(word) else ""
        return hidden

    def _url(self, label: str, url: str) -> str:
        """Replace a password, what a query names as a secret, and parts of the path that look like one."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return url
        hidden = url
        if parts.password and not is_reference(parts.password):
            hidden = hidden.replace(f":{parts.password}@", f":{self._named(label, 'PASSWORD', parts.password)}@", 1)
        for key, value in parse_qsl(parts.query):
            for written in dict.fromkeys((value, quote(value, safe=""))):
                if looks_secret(key, value) and f"{key}={written}" in hidden:
                    hidden = hidden.replace(f"{key}={written}", f"{key}={self._named(label, key, written)}", 1)
                    break
        for piece in parts.path.split("/"):
            if len(piece) >= 16 and looks_secret("", piece):
                hidden = hidden.replace(f"/{piece}", f"/{self._named(label, 'URL_KEY', piece)}", 1)
        return hidden
