"""Where the review page of a state folder is, for the command line and for processes that do not host it."""

import json
import os
from pathlib import Path

__all__ = ["announce", "announced", "withdraw"]

_FILE = "endpoint.json"


def announce(state_dir: Path, url: str) -> None:
    """Say that this process serves the review page at `url`."""
    draft = state_dir / f"{_FILE}.{os.getpid()}"
    draft.write_text(json.dumps({"url": url, "pid": os.getpid()}) + "\n")
    draft.chmod(0o600)
    draft.replace(state_dir / _FILE)


def announced(state_dir: Path) -> str | None:
    """Return the page's address; None when nobody has said one."""
    try:
        url = json.loads((state_dir / _FILE).read_text())["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return url if isinstance(url, str) else None


def withdraw(state_dir: Path) -> None:
    """Take back what this process announced; another's word stays."""
    path = state_dir / _FILE
    try:
        if json.loads(path.read_text()).get("pid") == os.getpid():
            path.unlink()
    except (OSError, ValueError, AttributeError):
        return
