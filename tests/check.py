"""The whole check, from a fresh clone: `python3 tests/check.py`.

Makes `.venv` if there is none, installs what is missing, then runs format, lint, types, import layers and the tests.
Needs Python 3.11 or newer, git and Node; a browser is installed by package name where this process may do that.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")

STEPS: dict[str, list[str]] = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types (mypy)": ["mypy"],
    "types (pyright)": ["pyright", "--warnings"],
    "import layers": ["lint-imports"],
    # One process more than there are cores: many tests wait for a child or a deadline.
    "tests": ["pytest", "--numprocesses", str((os.cpu_count() or 1) + 1), "--dist", "loadfile"],
}


def run(words: list[str], **environment: str) -> None:
    """Run one command of the virtual environment, or end with its exit code."""
    print(f"$ {' '.join(words)}", flush=True)
    program, *rest = words
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    found = shutil.which(program, path=path)
    if found is None:
        sys.exit(f"`{program}` is not installed")
    done = subprocess.run([found, *rest], cwd=ROOT, env={**os.environ, "PATH": path, **environment}, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def install() -> None:
    """Bring the virtual environment up to what pyproject.toml asks for."""
    if not (BIN / "python").exists():
        print(f"$ python -m venv {VENV.name}", flush=True)
        venv.create(VENV, with_pip=True)
    run([str(BIN / "python"), "-m", "pip", "install", "--quiet", "--upgrade", "pip"])
    run([str(BIN / "python"), "-m", "pip", "install", "--quiet", "--editable", ".[dev]"])
    install_browser()


def install_browser() -> None:
    """Install Debian's Chromium for the page's tests, where that is possible; they skip and say so elsewhere."""
    if any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")):
        return
    if shutil.which("apt-get") is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        print("no Chromium here and no way to install it: the tests of the review page will be skipped", flush=True)
        return
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-qq"], **quiet)
    run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-dejavu-core"], **quiet)


def main() -> None:
    """Install, then check everything or the steps that are named."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--no-install", action="store_true", help="use .venv as it is")
    words.add_argument("--only", choices=list(STEPS), action="append", help="run only this step (may be repeated)")
    words.add_argument("rest", nargs="*", metavar="-- PYTEST ARGUMENT", help="passed on to pytest")
    chosen = words.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036 (this runs before anything is installed)
        sys.exit("Holdshort needs Python 3.11 or newer")
    if not chosen.no_install:
        install()
    for name, step in STEPS.items():
        if chosen.only and name not in chosen.only:
            continue
        print(f"\n== {name}", flush=True)
        run([*step, *chosen.rest] if name == "tests" else step)


if __name__ == "__main__":
    main()
