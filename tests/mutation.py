"""How many small faults in the decision core its tests would see: `python tests/mutation.py`.

Needs `pip install mutmut==3.8.1`, which nothing else here needs. mutmut changes one operator, constant or argument at
a time and runs the tests that reach it; a mutant that no test sees survived. The package is copied to a temporary
folder first, so the working tree stays as it is. Decorated functions (properties, mostly) are not mutated.

Prints a table and every survivor, and fails below 85 % in all or in one module. Mutants that change nothing anybody
could see are named in `EQUIVALENT`, with the reason; they count as survivors all the same. Takes about ten minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

MODULES = ("access", "conditions", "decide", "facts", "globs", "grants", "memory", "targets")
"""What is mutated, of `holdshort.policy`: whatever has a part in a verdict, but for the languages of URIs and CEL."""

TESTS = ("precedence", "globs", "grants", "facts", "uris", "memory", "core_words")
DIFFERENTIAL = "tests/policy/test_differential.py::test_the_engine_agrees_with_the_naive_reading_of_the_precedence[0]"
"""One seed of it is enough here: what one does not see, others rarely do, and survivors meet all tests."""
LEAST = 0.85

_CAST = "`cast` does nothing when it runs"
_WORDS = "the four actions, as text, happen to sort by strictness"
_SLOWER = "nothing is remembered, or it is found again: slower, and the same answer"
_FILTERED = "rules of other kinds are taken out at another place, too"

EQUIVALENT: dict[str, str] = {
    "for name, allowed in cast(None, named).items():": _CAST,
    'for name, allowed in cast("XXMapping[str, Json]XX", named).items():': _CAST,
    'for name, allowed in cast("mapping[str, json]", named).items():': _CAST,
    'for name, allowed in cast("MAPPING[STR, JSON]", named).items():': _CAST,
    "pins[name] = None": "`ANY_VALUE` is None",
    'return condition is not None and getattr(condition, "reads_arguments", None) is True': "only true counts",
    "strictest = max((rule.action for _, rule in opinions), key=None)": _WORDS,
    "strictest = max((rule.action for _, rule in opinions), )": _WORDS,
    "return max(actions, key=None)": _WORDS,
    "return max(actions, )": _WORDS,
    "found = None": _SLOWER,
    "found = self._by_server.get(None)": _SLOWER,
    "row = None": _SLOWER,
    "row = self._rows.get(None)": _SLOWER,
    "kept = None": _SLOWER,
    "kept = self._by_server.get(None)": _SLOWER,
    "self.hidden = None": _SLOWER,
    "self.hidden = None if (verdict is None) or True else verdict.action is Action.HIDE": _SLOWER,
    "if len(access.name) < _LONGEST_KEPT:": _SLOWER,
    "return True": _FILTERED,
    'rest = after.rpartition("}")[2]': "only the first and the last literal part of a template are looked at",
    "conditional = None": "as good as false",
    "asking = [rule for _, rule in winners] if (action is Action.ASK) or True else []": "only `ask` rules have terms",
    'executes = {rule.execute or "XXclaimedXX" for rule in rules}': "whatever is not `on_decision` is `claimed`",
    'executes = {rule.execute or "CLAIMED" for rule in rules}': "whatever is not `on_decision` is `claimed`",
    "answers.pop(next(iter(answers)), )": "the key was there a moment ago; only another thread can take it",
    "return repr(one) == repr(other) if (isinstance(one, float)) or True else bool(one == other)": (
        "JSON values of one type that are equal are written alike"
    ),
}
"""By the line as the mutant has it: why no test can tell it from ours."""

CONFIG = """
[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["src", "tests"]
addopts = ["--import-mode=importlib", "-p", "no:cacheprovider"]
anyio_mode = "auto"
filterwarnings = ["error"]
timeout = 60

[tool.mutmut]
source_paths = ["src/holdshort"]
only_mutate = {mutate}
also_copy = ["src", "tests", "policies", "pyproject.toml"]
pytest_add_cli_args_test_selection = {tests}
mutate_only_covered_lines = false
"""

SETTINGS = """
from hypothesis import Phase, settings

# A mutant that was seen needs no smallest example.
seen = (Phase.explicit, Phase.generate)
settings.register_profile("mutation", derandomize=True, database=None, deadline=None, max_examples=60, phases=seen)
settings.load_profile("mutation")
"""


def lay_out(folder: Path, modules: tuple[str, ...]) -> None:
    """Copy package and tests into `folder`, as mutmut wants them, with its configuration."""
    without_bytecode = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "proxy" / "holdshort", folder / "src" / "holdshort", ignore=without_bytecode)
    shutil.copytree(ROOT / "tests" / "policy", folder / "tests" / "policy", ignore=without_bytecode)
    shutil.copytree(ROOT / "policies", folder / "policies")
    (folder / "tests" / "conftest.py").write_text(SETTINGS)
    mutate = json.dumps([f"src/holdshort/policy/{module}.py" for module in modules])
    tests = json.dumps([f"tests/policy/test_{name}.py" for name in TESTS] + [DIFFERENTIAL])
    (folder / "pyproject.toml").write_text(CONFIG.format(mutate=mutate, tests=tests))


def run(folder: Path, log: Path, jobs: int) -> int:
    """Let mutmut try every mutant; its output, which is long, goes to `log`."""
    with log.open("w") as out:
        words = [sys.executable, "-m", "mutmut", "run", "--max-children", str(jobs)]
        return subprocess.run(words, cwd=folder, stdout=out, stderr=subprocess.STDOUT, check=False).returncode


def outcomes(folder: Path, module: str) -> dict[str, str]:
    """Return what became of each mutant of `module`, by mutmut's name for it."""
    from mutmut.stats import status_by_exit_code  # type: ignore[import-not-found,unused-ignore]

    meta = folder / "mutants" / "src" / "holdshort" / "policy" / f"{module}.py.meta"
    codes: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
    return {name: str(status_by_exit_code[code]) for name, code in codes.items()}


def changed_lines(folder: Path, name: str) -> Iterator[str]:
    """Yield the lines that a mutant takes away and puts in, as a diff shows them."""
    shown = subprocess.run(
        [sys.executable, "-m", "mutmut", "show", name], cwd=folder, capture_output=True, text=True, check=False
    )
    for line in shown.stdout.splitlines():
        if line[:1] in {"-", "+"} and line[:3] not in {"---", "+++"}:
            yield line


def report(folder: Path, modules: tuple[str, ...]) -> bool:
    """Print the table and the survivors; say whether every module is good enough."""
    found = {module: outcomes(folder, module) for module in modules}
    total: Counter[str] = Counter()
    good = True
    print(f"{'module':<12} {'mutants':>8} {'killed':>7} {'survived':>9} {'no tests':>9} {'score':>7}")
    for module, statuses in found.items():
        counted = Counter(statuses.values())
        good &= row(module, counted)
        total += counted
    good &= row("all", total)
    for module, statuses in found.items():
        for name, status in statuses.items():
            if status not in KILLED:
                lines = list(changed_lines(folder, name))
                print(f"\n{module}: {name.removeprefix('holdshort.policy.')}: {status}")
                print("\n".join(lines))
                reasons = [EQUIVALENT[line[1:].strip()] for line in lines if line[1:].strip() in EQUIVALENT]
                if reasons:
                    print(f"  equivalent: {reasons[0]}")
    return good


KILLED = ("killed", "timeout", "segfault", "caught by type check")


def row(name: str, counted: Counter[str]) -> bool:
    """Print one line of the table; say whether its score is good enough."""
    mutants, killed = counted.total(), sum(counted[status] for status in KILLED)
    score = killed / mutants if mutants else 1.0
    survived = mutants - killed - counted["no tests"]
    print(f"{name:<12} {mutants:>8} {killed:>7} {survived:>9} {counted['no tests']:>9} {score:>7.1%}")
    return score >= LEAST


def main() -> int:
    """Mutate, test, report."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("modules", nargs="*", metavar="MODULE", help=f"only these (of {', '.join(MODULES)})")
    words.add_argument("--jobs", type=int, default=os.cpu_count() or 2, help="mutants at a time")
    words.add_argument("--keep", type=Path, metavar="FOLDER", help="work in this new folder, and leave it there")
    chosen = words.parse_args()
    modules = tuple(chosen.modules) or MODULES
    unknown = [module for module in modules if module not in MODULES]
    if unknown:
        words.error(f"no module of the decision core: {', '.join(unknown)}")
    if find_spec("mutmut") is None:
        words.error("mutmut is not installed; `pip install mutmut==3.8.1`")
    with tempfile.TemporaryDirectory() as made:
        folder = chosen.keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        lay_out(folder, modules)
        log = folder / "mutmut.log"
        if run(folder, log, chosen.jobs):
            print(log.read_text()[-4000:], file=sys.stderr)
            return 2
        return 0 if report(folder, modules) else 1


if __name__ == "__main__":
    sys.exit(main())
