"""`holdshort policy test`: do the cases beside a policy still come out as their authors said?"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from holdshort.cli.policy.common import AsJson, assumed, counted, fail_usage, problem_json
from holdshort.cli.policy.telling import layer_lines

if TYPE_CHECKING:
    from holdshort.config.cases import CaseFile
    from holdshort.config.model import Problem
    from holdshort.policy.cases import CaseResult
    from holdshort.policy.coverage import Coverage

__all__ = ["run_tests"]

_SKIPPED: Final = frozenset({"node_modules", "venv", "__pycache__", "site-packages", "dist", "build"})


def run_tests(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATHS...]", help="Files of cases, or folders with some; by default all below this one."
        ),
    ] = None,
    min_coverage: Annotated[
        float | None,
        typer.Option(min=0, max=100, metavar="PERCENT", help="Fail unless so many of the rules spoke in some case."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table of the rules.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the cases in `NAME.cases.yaml` files against the policies they are about.

    A case names a call and the verdict it must get; docs/policy-lab.md has every key. Nothing is started and nothing
    is sent, and variables of the environment need not be set. Afterwards every rule is listed with what the cases did
    to it. Exit code 0: all passed. 1: some case failed, some file has problems, or too few rules are covered. 2: there
    are no cases.

    \b
    Examples:
      holdshort policy test
      holdshort policy test policies/team.cases.yaml
      holdshort policy test policies --min-coverage 100
      holdshort policy test --json | jq .failed
    """
    from holdshort.config import ConfigErrors
    from holdshort.config.cases import load_cases
    from holdshort.policy.cases import run_cases
    from holdshort.policy.coverage import cover

    files = sorted(_files(paths or [Path()]))
    if not files:
        fail_usage("there are no files of cases (`NAME.cases.yaml`) here")
    problems: list[Problem] = []
    told: list[tuple[CaseFile, Sequence[CaseResult], Coverage]] = []
    for file in files:
        try:
            found = load_cases(file, assumed(os.environ))
        except ConfigErrors as errors:
            problems.extend(errors.problems)
            continue
        ran = run_cases(found.policy, found.cases)
        told.append((found, ran, cover(found.policy, ran)))
    failed = sum(not result.passed for _, results, _ in told for result in results)
    low = [found for found, _, covered in told if min_coverage is not None and covered.percent < min_coverage]
    if as_json:
        print(json.dumps(_as_json(told, problems, min_coverage), ensure_ascii=False, indent=2))
    else:
        for problem in problems:
            print(problem)
        for found, results, covered in told:
            print("\n".join(_as_text(found, results, covered, quiet=quiet)))
    cases = sum(len(results) for _, results, _ in told)
    words = f"{counted(cases, 'case')} in {counted(len(told), 'file')}: {cases - failed} passed, {failed} failed"
    if problems:
        words += f"; {counted(len(problems), 'problem')} in files that were not run"
    print(words, file=sys.stderr)
    for found in low:
        print(f"{found.file}: fewer than {min_coverage:g}% of the rules spoke in some case", file=sys.stderr)
    if failed or problems or low:
        raise typer.Exit(1)


def _files(paths: Sequence[Path]) -> set[Path]:
    from holdshort.config.cases import is_cases_file

    found: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found.update(each for each in _below(path) if is_cases_file(each))
        elif path.is_file():
            if not is_cases_file(path):
                fail_usage(f"`{path}` is no file of cases; their names end in `.cases.yaml`")
            found.add(path)
        else:
            fail_usage(f"there is no `{path}`")
    return found


def _below(folder: Path) -> Iterator[Path]:
    for top, folders, files in os.walk(folder):
        here = Path(top)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and name not in _SKIPPED and not (here / name / "pyvenv.cfg").exists()
        ]
        yield from (here / name for name in files)


def _as_text(found: "CaseFile", results: "Sequence[CaseResult]", covered: "Coverage", *, quiet: bool) -> Iterator[str]:
    passed = sum(result.passed for result in results)
    yield f"{found.file}: {passed} of {counted(len(results), 'case')} passed"
    for result in results:
        if not result.passed:
            case = result.case
            yield f"  FAILED {case.place}: {case.note or case.target}"
            yield from (f"    {miss.what}: expected {miss.expected}, got {miss.got}" for miss in result.misses)
            yield from (f"    {line}" for line in layer_lines(found.policy, case.question))
    if quiet:
        return
    yield f"  {covered.covered} of {counted(len(covered.rules), 'rule')} spoke in some case ({covered.percent:.0f}%)"
    width = max((len(rule.rule.id) for rule in covered.rules), default=0)
    for rule in covered.rules:
        counts = f"decided {rule.decided}, overruled {rule.overruled}, looked at {rule.looked_at}"
        note = "" if rule.covered else f"  <- {_missed(rule.reach)} ({rule.rule.place or rule.layer})"
        yield f"    {rule.rule.id:<{width}}  {counts}{note}"


def _missed(reach: str) -> str:
    return "its condition never held" if reach == "looked at" else "no case reaches it"


def _as_json(
    told: "Sequence[tuple[CaseFile, Sequence[CaseResult], Coverage]]",
    problems: "Sequence[Problem]",
    min_coverage: float | None,
) -> dict[str, Any]:
    results = [result for _, each, _ in told for result in each]
    return {
        "ok": not problems
        and all(result.passed for result in results)
        and (min_coverage is None or all(covered.percent >= min_coverage for _, _, covered in told)),
        "passed": sum(result.passed for result in results),
        "failed": sum(not result.passed for result in results),
        "problems": [problem_json(problem) for problem in problems],
        "files": [
            {
                "file": found.file,
                "policy_digest": found.policy.digest,
                "cases": [_result_json(found, result) for result in each],
                "coverage": {
                    "percent": round(covered.percent, 1),
                    "rules": [
                        {
                            "layer": rule.layer,
                            "rule": rule.rule.id,
                            "place": str(rule.rule.place) if rule.rule.place else None,
                            "reach": rule.reach,
                            "decided": rule.decided,
                            "overruled": rule.overruled,
                            "looked_at": rule.looked_at,
                        }
                        for rule in covered.rules
                    ],
                },
            }
            for found, each, covered in told
        ],
    }


def _result_json(found: "CaseFile", result: "CaseResult") -> dict[str, Any]:
    case = result.case
    return {
        "note": case.note,
        "about": case.target,
        "place": str(case.place) if case.place else None,
        "passed": result.passed,
        "verdict": result.verdict.action,
        "because": [f"{reason.layer}:{reason.rule}" for reason in result.verdict.because],
        "misses": [{"what": miss.what, "expected": miss.expected, "got": miss.got} for miss in result.misses],
        "layers": [] if result.passed else layer_lines(found.policy, case.question),
    }
