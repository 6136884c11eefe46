"""`holdshort policy packs`: the list, one pack, and a name that is none."""

from __future__ import annotations

import json
import subprocess
import sys

from holdshort.config import pack_names, pack_path


def packs(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "holdshort", "policy", "packs", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_pack_is_listed_with_one_line() -> None:
    done = packs()

    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert [line.split()[0] for line in lines] == list(pack_names())
    assert all(line.endswith(".") for line in lines)


def test_a_pack_is_printed_as_it_is() -> None:
    done = packs("filesystem")

    assert (done.returncode, done.stdout) == (0, pack_path("filesystem").read_text())


def test_as_json_each_says_what_servers_it_is_for() -> None:
    listed = {pack["name"]: pack for pack in json.loads(packs("--json").stdout)["packs"]}

    assert listed["git"]["servers"] == ["git"]
    assert listed["strict"]["servers"] == []
    assert listed["strict"]["summary"].startswith("For any server")


def test_one_pack_as_json_has_its_text() -> None:
    told = json.loads(packs("time", "--json").stdout)

    assert told["text"] == pack_path("time").read_text()


def test_a_name_that_is_none_gets_the_nearest() -> None:
    done = packs("slak")

    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean `slack`?" in done.stderr
