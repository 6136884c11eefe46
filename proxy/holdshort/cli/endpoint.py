"""Where the running proxy is and what lets us in; and one way to ask it.

Address: `--url`, else HOLDSHORT_URL, else `endpoint.json` in the state folder. Token: `--token-file`, else
HOLDSHORT_APPROVER_TOKEN, else `approver-token` in the state folder.
"""

import json
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdshort.errors import HoldshortError

if TYPE_CHECKING:
    import httpx2

__all__ = ["Connection", "NoProxy", "NoToken", "Told", "connect", "events_of"]


class NoProxy(HoldshortError):
    """Raised when no proxy is running where we looked."""

    code = "no_proxy"

    def __init__(self, where: str) -> None:
        super().__init__(f"no proxy answers: {where}; start one with `holdshort serve` or `holdshort wrap -- COMMAND`")


class NoToken(HoldshortError):
    """Raised when there is no approver token to show."""

    code = "no_token"

    def __init__(self, where: str) -> None:
        super().__init__(f"no approver token: {where}; set HOLDSHORT_APPROVER_TOKEN or give `--token-file`")


class Told(HoldshortError):
    """Raised when the proxy answered with an error; `record` is the interruption it sent along."""

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        pointer = error.get("pointer")
        super().__init__(f"{pointer}: {error.get('message')}" if pointer else str(error.get("message")))
        self.status = status
        self.code = str(error.get("code", "unknown"))
        self.record: dict[str, Any] | None = error.get("interruption")


@dataclass(frozen=True, slots=True)
class Connection:
    """An address, and the token to show there."""

    url: str
    token: str = field(repr=False)

    @contextmanager
    def client(self) -> "Generator[httpx2.Client]":
        """A client that shows the token to this address alone: no redirects, and no proxy for our own machine."""
        import httpx2

        host = httpx2.URL(self.url).host
        with httpx2.Client(
            base_url=self.url,
            headers={"authorization": f"Bearer {self.token}"},
            follow_redirects=False,
            trust_env=host not in ("127.0.0.1", "localhost", "::1", "[::1]"),
            timeout=30,
        ) as client:
            yield client

    def ask(self, method: str, path: str, body: Any = None, **query: str | int | None) -> dict[str, Any]:
        """Return the JSON that the proxy answers.

        Raises:
            NoProxy: nobody answers.
            Told: it answered with an error.
        """
        import httpx2

        asked = {name: value for name, value in query.items() if value is not None}
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"content-type": "application/json"}
        try:
            with self.client() as client:
                response = client.request(method, path, content=content, params=asked, headers=headers)
        except httpx2.TransportError as error:
            raise NoProxy(f"{self.url} ({error or type(error).__name__})") from None
        return answer_of(response)


def answer_of(response: "httpx2.Response") -> dict[str, Any]:
    """Return the JSON of a response.

    Raises:
        NoProxy: it is not one of a proxy's.
        Told: it is an error.
    """
    try:
        answer = json.loads(response.content)
        if response.status_code >= 400:
            raise Told(response.status_code, answer["error"])
        if not isinstance(answer, dict):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NoProxy(f"{response.url.host} is something else (status {response.status_code})") from None
    return answer


def events_of(response: "httpx2.Response") -> Iterator[tuple[str, str, str]]:
    """Yield (event, id, data) of a server-sent event stream as they arrive."""
    event = identifier = data = ""
    for line in response.iter_lines():
        if not line:
            if data:
                yield event, identifier, data
            event = data = ""
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "id":
            identifier = value
        elif name == "data":
            data = f"{data}\n{value}" if data else value


def connect(url: str | None, state_dir: Path | None, token_file: Path | None) -> Connection:
    """Return how to reach the proxy.

    Raises:
        NoProxy: no address was given and none is announced.
        NoToken: there is no token.
    """
    from holdshort.store.folder import choose_folder

    folder = choose_folder(state_dir, os.environ)
    address = url or os.environ.get("HOLDSHORT_URL") or _announced(folder)
    return Connection(address.rstrip("/"), _token(folder, token_file))


def _announced(folder: Path) -> str:
    path = folder / "endpoint.json"
    try:
        url = json.loads(path.read_text())["url"]
    except FileNotFoundError:
        raise NoProxy(f"`{path}` is not there") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoProxy(f"`{path}` cannot be read ({error})") from None
    return str(url)


def _token(folder: Path, token_file: Path | None) -> str:
    if token_file is None:
        given = os.environ.get("HOLDSHORT_APPROVER_TOKEN", "").strip()
        if given:
            return given
    path = token_file or folder / "approver-token"
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise NoToken(f"`{path}`: {(error.strerror or str(error)).lower()}") from None
    if not token or not token.isascii() or not token.isprintable():
        raise NoToken(f"`{path}` does not hold one")
    return token
