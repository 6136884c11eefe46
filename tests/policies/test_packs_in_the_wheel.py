"""What is installed from the wheel has the packs, with nothing of the checkout in reach."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from docs.pages import ROOT
from holdshort.config import pack_names
from kit.missing import Missing, require

pytestmark = pytest.mark.timeout(240)

SITE = "from importlib.metadata import distribution; print(distribution('apsw').locate_file(''))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built through the source distribution, as a release is."""
    folder = tmp_path_factory.mktemp("dist")

    def build() -> Path:
        uv = shutil.which("uv")
        if uv is None:
            raise Missing("uv is not installed, so no wheel can be built here")
        done = subprocess.run(
            [uv, "build", "--quiet", "--out-dir", str(folder), str(ROOT)],
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        if done.returncode != 0:
            raise Missing(f"no wheel could be built: {done.stderr.strip()[-2000:]}")
        return next(folder.glob("*.whl"))

    return require(build)


def test_the_wheel_has_every_pack_with_its_cases(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name.removeprefix("holdshort/packs/") for name in archive.namelist() if "/packs/" in name}

    assert packed >= {f"{name}{ending}" for name in pack_names() for ending in (".yaml", ".cases.yaml")}
    assert "README.md" in packed


def test_an_installed_holdshort_finds_its_packs(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, which borrows only the libraries from this one."""
    venv.create(tmp_path / "venv", symlinks=True)
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    ours = subprocess.run([sys.executable, "-c", SITE], capture_output=True, text=True, check=True, timeout=30)
    # A plain path, not this environment's own `.pth` files: those lead back to the checkout.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    python = tmp_path / "venv" / "bin" / "python"
    run = f"import sys; sys.path.append({ours.stdout.strip()!r}); from holdshort.cli import main; main()"

    def holdshort(*words: str) -> str:
        done = subprocess.run(
            [str(python), "-c", run, *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env=environ,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    (tmp_path / "team.yaml").write_text("packs: [memory]\n")
    listed = json.loads(holdshort("policy", "packs", "--json"))
    told = json.loads(holdshort("policy", "explain", "memory", "read_graph", "--json", "-c", "team.yaml"))

    assert [pack["name"] for pack in listed["packs"]] == list(pack_names())
    assert told["verdict"] == "allow"
    assert told["because"] == [{"layer": "team.yaml", "rule": "memory/reads"}]
